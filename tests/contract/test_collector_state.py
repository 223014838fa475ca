"""What only the native engine can look at in CPython: the state of the collector, and free lists."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from record_support import Stage

from tracekit.store.database import Store
from tracekit.store.opening import open_store

PROGRAM = """\
import gc, json, tracekit
gc.disable()
class Node:
    def __init__(self):
        self.me = self
kept = [Node() for _ in range(5000)]
gc.collect()
found = [len(gc.get_objects(generation=2))]
more = [Node() for _ in range(700)]
gc.collect(1)
gc.collect()
found.append(len(gc.get_objects(generation=2)))
gc.collect()
print(json.dumps(found))
dead = [DICTS]; dead = None
"""
PROGRAM = PROGRAM.replace("DICTS", "{}, " * 40)
LAST_LINE = PROGRAM.count("\n")


@pytest.fixture(params=["native"])
def engine(request: pytest.FixtureRequest) -> str:
    """The one that has what is asked for here."""
    return str(request.param)


@pytest.fixture
def recorded(stage: Stage) -> Iterator[tuple[Store, list[int]]]:
    """The recording of the program, and what it printed."""
    stage.write({"program.py": PROGRAM})
    outcome = stage.record(["program.py"])
    assert outcome.status == 0
    with open_store(stage.log, cache=False) as store:
        yield store, json.loads(outcome.stdout)


def test_long_lived_objects(recorded: tuple[Store, list[int]]) -> None:
    """After a full collection the total is what is in the oldest generation; a few die by themselves then."""
    store, found = recorded
    rows = store.query(
        "SELECT generation, long_lived_total, long_lived_pending FROM gc_collections ORDER BY start_seq"
    ).rows()
    states = [tuple(int(str(value)) for value in row) for row in rows][-4:]
    (first, before, _), (young, total, none), (full, same, pending), (last, later, zero) = states
    assert (first, young, full, last) == (2, 1, 2, 2)
    assert before < 5000 <= found[0] <= total <= found[0] + 20
    assert (none, zero) == (0, 0)
    assert same == total
    assert 700 <= pending <= 700 + 100
    assert found[1] <= later <= found[1] + 20


def test_objects_in_free_lists_have_their_types(recorded: tuple[Store, list[int]]) -> None:
    store, _ = recorded
    rows = store.query(
        """SELECT y.name, count(*) FROM heap_at(moment('end')) h JOIN types y USING (trace_id, type_id)
           JOIN stack_sites s USING (trace_id, stack_id) WHERE s.line = ? AND s.function = '<module>'
           GROUP BY y.name""",
        [LAST_LINE],
    ).rows()
    (count,) = [count for name, count in rows if name == "builtins.dict"]
    assert 20 <= int(str(count)) <= 40
