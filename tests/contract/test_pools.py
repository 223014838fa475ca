"""What pymalloc held before the recording began, and with it all that it holds, against CPython's figures.

``sys._debugmallocstats()`` goes through the arenas and counts pools and blocks in use, but not while hooks
are above the allocator. So it is called where they have just been taken away: at the end of a recording, of
which a program makes several. From the store follows what is in use after the last event, the arenas, and in
them the blocks that were recorded and the older ones. Both must be the same, number by number.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest
from record_support import PYTHON, Outcome, Stage, environment, run, sound

from tracekit.record.select import native_trouble
from tracekit.store.database import Store
from tracekit.store.opening import open_store

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

ARENA_BYTES, POOL_BYTES, HEADER_BYTES, CLASS_BYTES = 1 << 20, 1 << 14, 48, 16


class Figures(NamedTuple):
    """What is in use: arenas, and by the size of their blocks pools and blocks."""

    arenas: int
    pools: Counter[int]
    blocks: Counter[int]


@pytest.fixture
def native(tmp_path: Path) -> Stage:
    """A stage of the native engine."""
    folder = tmp_path / "stage"
    folder.mkdir()
    return Stage(folder, "native", tmp_path / "app.tkt")


def said(stderr: bytes) -> list[Figures]:
    """The figures of each call of ``sys._debugmallocstats()``."""
    found = []
    for part in stderr.decode().split("Small block threshold = 512")[1:]:
        rows = re.findall(r"^ +\d+ +(\d+) +(\d+) +(\d+) +\d+$", part, re.MULTILINE)
        arenas = re.search(r"# arenas allocated current += +([\d,]+)", part)
        assert rows and arenas
        figures = [(int(size), int(pools), int(blocks)) for size, pools, blocks in rows]
        pools = Counter({size: count for size, count, _ in figures})
        blocks = Counter({size: count for size, _, count in figures})
        found.append(Figures(int(arenas[1].replace(",", "")), +pools, +blocks))
    return found


class Change(NamedTuple):
    """An event: a block (or an arena, of class 0) comes or goes."""

    seq: int
    comes: bool
    address: int
    block_size: int


def rows(store: Store, sql: str) -> list[tuple[int, ...]]:
    return [
        tuple(-1 if value is None else int(str(value)) for value in row) for row in store.query(sql).rows()
    ]


def changes(store: Store) -> list[Change]:
    """All that comes and goes in the object allocator; what is older than the recording comes at -1."""
    found = []
    for address, block_size, free_seq in rows(
        store, "SELECT address, block_size, free_seq FROM older_blocks"
    ):
        found += [Change(-1, True, address, block_size), Change(free_seq, False, address, block_size)]
    for address, alloc_seq, free_seq in rows(store, "SELECT address, alloc_seq, free_seq FROM arenas"):
        found += [Change(alloc_seq, True, address, 0), Change(free_seq, False, address, 0)]
    older = {change.address: change.block_size for change in found}
    # A realloc that leaves a block in its place leaves it in its size class.
    classes = {
        (seq + 1, address): older[address]
        for seq, address in rows(store, "SELECT seq, address FROM unmatched_frees WHERE cause = 'realloc'")
        if address in older
    }
    for address, size, alloc_seq, free_seq, moves in rows(
        store,
        "SELECT address, size, alloc_seq, free_seq, CAST(freed_by = 'realloc' AS INTEGER) FROM allocations"
        " WHERE domain <> 'raw' AND size > 0 ORDER BY alloc_seq",
    ):
        block_size = classes.get((alloc_seq, address), -(-size // CLASS_BYTES) * CLASS_BYTES)
        if moves == 1:
            classes[free_seq + 1, address] = block_size
        found += [Change(alloc_seq, True, address, block_size), Change(free_seq, False, address, block_size)]
    return sorted(change for change in found if change.comes or change.seq >= 0)


def figures(arenas: set[int], blocks: dict[int, int]) -> Figures:
    """What is in use, of the blocks that lie in arenas: others were too large for them once."""
    starts = sorted(arenas)
    pools: dict[int, int] = {}
    count: Counter[int] = Counter()
    for address, block_size in blocks.items():
        place = bisect_right(starts, address)
        if place and address < starts[place - 1] + ARENA_BYTES:
            pool = address // POOL_BYTES
            assert pools.setdefault(pool, block_size) == block_size
            assert (address - pool * POOL_BYTES - HEADER_BYTES) % block_size == 0
            count[block_size] += 1
    return Figures(len(arenas), Counter(pools.values()), count)


def at_end(store: Store) -> Figures:
    """What is in use after the last event; that all comes before it goes is checked on the way."""
    arenas: set[int] = set()
    blocks: dict[int, int] = {}
    for _, comes, address, block_size in changes(store):
        if block_size == 0:
            (arenas.add if comes else arenas.remove)(address)
        elif comes:
            assert blocks.setdefault(address, block_size) == block_size
        else:
            assert blocks.pop(address) == block_size
    return figures(arenas, blocks)


WITNESS = """
import sys
from tracekit._native import _engine
stop, ask = _engine.stop, sys._debugmallocstats
def stop_and_ask():
    stop()
    ask()
_engine.stop = stop_and_ask
"""
WORK = """
import gc, random
chance = random.Random(5)
def make(n):
    kind = chance.randrange(7)
    if kind == 0: return "x" * chance.randrange(600)
    if kind == 1: return [chance.random() for _ in range(chance.randrange(80))]
    if kind == 2: return {i: str(i) for i in range(chance.randrange(30))}
    if kind == 3: return bytearray(chance.randrange(600))
    if kind == 4: return set(range(chance.randrange(40)))
    if kind == 5: return object()
    return type("Made", (), {"x": n})()
kept = []
def work(share):
    global kept
    kept += [make(i) for i in range(4_000)]
    for _ in range(2_000):
        item = kept[chance.randrange(len(kept))]
        if isinstance(item, list): item.append(item[:2])
        elif isinstance(item, bytearray): item.extend(b"more of it"); del item[: len(item) // 5]
    kept = [item for item in kept if chance.random() < share]
"""
SHARES = (1.0, 0.3, 0.0)


def test_a_whole_program(native: Stage, tmp_path: Path) -> None:
    """Whose recording begins with what the interpreter needs, and ends before the interpreter does."""
    site = tmp_path / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(WITNESS)
    native.write({"program.py": WORK + f"for share in {SHARES}: work(share)\nwork(0.5)"})
    outcome = native.record(["program.py"], env=environment(PYTHONPATH=str(site)))
    assert outcome.status == 0
    native.sound()
    (truth,) = said(outcome.stderr)
    with open_store(native.log, cache=False) as store:
        assert at_end(store) == truth
        assert len(rows(store, "SELECT address FROM older_blocks WHERE free_seq IS NOT NULL")) > 50


def test_in_the_middle_of_a_program(native: Stage) -> None:
    """Recordings that begin when there is a heap already, with holes in it, one after the other."""
    text = f"""
import tracekit
older = [bytes(chance.randrange(470)) for _ in range(25_000)]
older = [item for item in older if chance.random() < 0.4]
for n, share in enumerate({SHARES}):
    with tracekit.record(f"{{n}}.tkt", engine="native"):
        del older[:: 2 + n]
        work(share)
with tracekit.record("nothing.tkt", engine="native"):
    pass
"""
    native.write({"program.py": WITNESS + WORK + text})
    outcome = run([*PYTHON, "program.py"], native.folder)
    assert (outcome.status, outcome.stdout) == (0, b"")
    for name, truth in zip([*range(len(SHARES)), "nothing"], said(outcome.stderr), strict=True):
        log = native.folder / f"{name}.tkt"
        sound(log, complete=True)
        with open_store(log, cache=False) as store:
            assert at_end(store) == truth, name


@pytest.mark.parametrize("allocator", ["malloc", "debug", "pymalloc"])
def test_other_allocators(native: Stage, allocator: str) -> None:
    """Nothing is told where blocks are not CPython's own, or are moved by a layer above it."""
    native.write({"program.py": "print(len([str(i) for i in range(30_000)]))"})
    outcome = native.record(["program.py"], env=environment(PYTHONMALLOC=allocator))
    assert outcome == Outcome(b"30000\n", b"", 0)
    native.sound()
    with open_store(native.log, cache=False) as store:
        (count,) = rows(store, "SELECT (SELECT count(*) FROM older_blocks), (SELECT count(*) FROM arenas)")
    assert (count[0] > 1000, count[1] > 0) == (allocator == "pymalloc", allocator != "malloc")
