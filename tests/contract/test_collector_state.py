"""What only the native engine can look at in CPython: the state of the collector, and free lists."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import pytest
from record_support import PYTHON, Stage, run

from tracekit.log.reader import LogReader
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


FREE_LISTS_PROGRAM = """\
import gc, sys
gc.disable()
gc.collect()
dead = [[[] for _ in range(50)], [{} for _ in range(30)]]
dead += [[tuple([number] * size) for number in range(3 * size)] for size in range(1, 21)]
dead += [[float(number) for number in range(50)], [{str(number): 1} for number in range(40)]]
dead = number = None
sys._debugmallocstats()
gc.collect(0)
sys._debugmallocstats()
gc.collect(2)
sys._debugmallocstats()
"""

BEGINNING_PROGRAM = """\
import gc, sys, tracekit
gc.disable()
gc.collect()
dead = [[tuple([number] * size) for number in range(100 * size)] for size in (15, 17)]
dead = None
with tracekit.record("LOG", engine="native", force=True):
    sys._debugmallocstats()
"""


def waiting(printed: bytes) -> list[list[int]]:
    """What sys._debugmallocstats() printed of free lists each time: dicts, lists, tuples by size, floats."""
    lines = re.findall(rb"(\d+) free (?:\d+-sized )?Py(Dict|Float|List|Tuple)Object", printed)
    kinds = [kind for _, kind in lines]
    assert kinds == [b"Dict", b"Float", b"List", *[b"Tuple"] * 20] * (len(lines) // 23)
    counts = [int(count) for count, _ in lines]
    return [[counts[at], *counts[at + 2 : at + 23], counts[at + 1]] for at in range(0, len(counts), 23)]


def test_free_lists_at_collections(stage: Stage) -> None:
    """CPython says itself how many wait. One dict it takes to call the recorder, and puts back then."""
    stage.write({"program.py": FREE_LISTS_PROGRAM})
    outcome = stage.record(["program.py"])
    assert outcome.status == 0
    dropped, after_young, after_full = waiting(outcome.stderr)
    assert dropped[0] >= 30
    assert dropped[1] >= 50
    assert all(count >= 3 * size for size, count in enumerate(dropped[2:22], 1))
    assert dropped[22] >= 40
    assert after_young == dropped
    assert after_full == [1] + [0] * 22
    with open_store(stage.log, cache=False) as store:
        sql = "SELECT generation, free_lists_before, free_lists_after FROM gc_collections ORDER BY start_seq"
        (*_, young, full) = store.query(sql).rows()
    assert isinstance(young[1], list)
    keys = young[1][-1]
    assert 30 <= keys <= 80  # of the dicts; nothing prints these
    seen = [dropped[0] - 1, *dropped[1:], keys]
    assert young == (0, seen, seen)
    assert full == (2, seen, [0] * 24)


def test_free_lists_at_the_beginning(stage: Stage) -> None:
    """Those of kinds that the recorder does not use are exact; of the others it takes and returns a few."""
    stage.write({"program.py": BEGINNING_PROGRAM.replace("LOG", str(stage.log))})
    outcome = run([*PYTHON, "program.py"], stage.folder)
    assert outcome.status == 0
    (truth,) = waiting(outcome.stderr)
    with LogReader(stage.log) as reader:
        found = reader.header.collector.free_lists
    assert found is not None
    assert (found[1 + 15], found[1 + 17]) == (truth[1 + 15], truth[1 + 17])
    assert found[1 + 15] > 1400  # what is imported to begin with takes some out
    assert found[1 + 17] > 1600
    assert all(abs(one - other) <= 10 for one, other in zip(found[:-1], truth, strict=True))


SETTINGS_PROGRAM = """\
import gc, json, tracekit
first = gc.get_threshold()
tracekit.mark("off")
gc.disable()
kept = [[number] for number in range(3 * first[0])]
tracekit.mark("on")
gc.enable()
kept.append([1])
tracekit.mark("other")
gc.set_threshold(300, 5, 7)
kept.append([2])
gc.set_threshold(300, 6, 8)
gc.collect()
gc.set_threshold(0)
kept.append([3])
print(json.dumps(first))
"""


def test_settings_of_the_collector(stage: Stage) -> None:
    """Each is known from the first allocation on that it could make collect, or not."""
    stage.write({"program.py": SETTINGS_PROGRAM})
    outcome = stage.record(["program.py"])
    assert outcome.status == 0
    first = tuple(json.loads(outcome.stdout))
    with open_store(stage.log, cache=False) as store:
        sql = "SELECT enabled, threshold0, threshold1, threshold2, seq FROM gc_settings ORDER BY seq"
        rows = list(store.query(sql).rows())
        marks = {name: int(str(seq)) for name, seq in store.query("SELECT name, seq FROM marks").rows()}
        (due,) = store.query(
            "SELECT min(start_seq) FROM gc_collections WHERE start_seq > ?", [marks["on"]]
        ).rows()
    assert [row[:4] for row in rows] == [
        (True, *first),
        (False, *first),
        (True, *first),
        (True, 300, 5, 7),
        (True, 300, 6, 8),
        (True, 0, 6, 8),
    ]
    seqs = [int(str(row[4])) for row in rows]
    assert seqs[0] <= marks["start"] + 1
    assert marks["off"] < seqs[1] < marks["on"] < seqs[2] < marks["other"] < seqs[3]
    assert seqs[2] < int(str(due[0])) <= seqs[2] + 12
