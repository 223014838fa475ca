"""Doubles for the tests of the simulator: a trace in memory, and a second, deliberately naive pymalloc."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from traces import sample_header

from tracekit.events import Cause, Domain, Header, Totals
from tracekit.record.capabilities import CAPABILITIES
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.store.steps import Steps

Step = tuple[int, int, Domain, Cause | None]
"""(block, size, domain, cause): an allocation where the cause is None, otherwise the free of the block."""

PORTABLE = sample_header(
    engine="portable",
    capabilities=CAPABILITIES["portable"],
)
NATIVE = sample_header()


def as_steps(steps: Sequence[Step], first_seq: int = 1, born: dict[int, int] | None = None) -> Steps:
    """Columns of steps, a millisecond each. ``born`` carries blocks over from one batch to the next."""
    born = {} if born is None else born
    seqs = np.arange(first_seq, first_seq + len(steps), dtype=np.int64)
    alloc_seq = np.zeros(len(steps), np.int64)
    for row, (block, _, _, cause) in enumerate(steps):
        if cause is None:
            born[block] = first_seq + row
        alloc_seq[row] = born[block]
    return Steps(
        seq=seqs,
        time_ns=seqs * 1_000_000,
        is_free=np.array([cause is not None for *_, cause in steps], np.bool_),
        alloc_seq=alloc_seq,
        size=np.array([size for _, size, _, _ in steps], np.int64),
        domain=np.array([domain for _, _, domain, _ in steps], np.uint8),
        stack_id=np.zeros(len(steps), np.int32),
        cause=np.array([cause or 0 for *_, cause in steps], np.uint8),
    )


def batches(steps: Sequence[Step], length: int) -> Iterator[Steps]:
    """Steps in batches of ``length``."""
    born: dict[int, int] = {}
    for start in range(0, len(steps), length):
        yield as_steps(steps[start : start + length], 1 + start, born)


@dataclass
class FakeRows:
    answer: list[tuple[object, ...]]

    def rows(self) -> Iterator[tuple[object, ...]]:
        return iter(self.answer)


@dataclass
class FakeTrace:
    """A trace source that holds its steps; ``collections`` and ``peak_arenas`` are what its tables say."""

    steps_in_order: Sequence[Step]
    header: Header = PORTABLE
    collections: list[tuple[object, ...]] = field(default_factory=list)
    peak_arenas: int = 0
    batch: int = 7
    trace_id: int = 1

    @property
    def totals(self) -> Totals:
        frees = sum(cause is not None for *_, cause in self.steps_in_order)
        return Totals(allocations=len(self.steps_in_order) - frees, frees=frees + 2, unmatched_frees=2)

    def steps(self) -> Iterator[Steps]:
        return batches(self.steps_in_order, self.batch)

    def query(self, sql: str, parameters: Sequence[object] = (), /) -> FakeRows:
        assert parameters[0] == self.trace_id
        return FakeRows(self.collections if "gc_collections" in sql else [(self.peak_arenas,)])


def allocations(sizes: Iterable[int], domain: Domain = Domain.PYTHON, first: int = 0) -> list[Step]:
    """One allocation a size, blocks numbered from ``first``."""
    return [(first + number, size, domain, None) for number, size in enumerate(sizes)]


def frees(steps: Iterable[Step], cause: Cause = Cause.REFCOUNT) -> list[Step]:
    """The frees of allocations."""
    return [(block, size, domain, cause) for block, size, domain, _ in steps]


@st.composite
def programs(draw: st.DrawFn, domains: Sequence[Domain] = (Domain.PYTHON,), most: int = 600) -> list[Step]:
    """Random allocations and frees: runs of a few sizes, freed in any order."""
    rng = draw(st.randoms(use_true_random=False))
    count = draw(st.integers(1, most))
    sizes = draw(st.lists(st.integers(0, 700), min_size=1, max_size=4))
    live: list[Step] = []
    steps: list[Step] = []
    for number in range(count):
        growing = number % 200 < 120
        if not live or (rng.random() < 0.7) == growing:
            live.append((number, rng.choice(sizes), rng.choice(domains), None))
            steps.append(live[-1])
        else:
            block, size, domain, _ = live.pop(rng.randrange(len(live)) if rng.random() < 0.5 else 0)
            steps.append((block, size, domain, rng.choice([Cause.REFCOUNT, Cause.GC])))
    return steps


@dataclass(eq=False)
class NaivePool:
    """Blocks by name; ``size_class`` None: nobody's."""

    blocks: set[int] = field(default_factory=set)
    size_class: int | None = None


@dataclass(eq=False)
class NaiveArena:
    pools: list[NaivePool]

    @property
    def free(self) -> int:
        return sum(not pool.blocks for pool in self.pools)


class NaivePyMalloc:
    """pymalloc by its description, with plain lists and searches instead of links and fingers.

    ``arenas``: all, oldest first. ``usable``: those with a free pool, fullest first. ``used``: for each size
    class the pools that are neither empty nor full, the one to be used next first.
    """

    def __init__(self, parameters: PyMallocParameters) -> None:
        self.parameters = parameters
        self.arenas: list[NaiveArena] = []
        self.usable: list[NaiveArena] = []
        self.used: dict[int, list[NaivePool]] = {}

    def capacity(self, size_class: int) -> int:
        return (self.parameters.pool_size - 48) // (16 * (size_class + 1))

    def allocate(self, block: int, size_class: int) -> None:
        row = self.used.setdefault(size_class, [])
        if not row:
            if not self.usable:
                arena = NaiveArena([NaivePool() for _ in range(self.parameters.pools_per_arena)])
                self.arenas.append(arena)
                self.usable.append(arena)
            arena = self.usable[0]
            row.append(next(pool for pool in arena.pools if not pool.blocks))
            row[0].size_class = size_class
            if arena.free == 1:
                self.usable.remove(arena)
        row[0].blocks.add(block)
        if len(row[0].blocks) == self.capacity(size_class):
            del row[0]

    def free(self, block: int) -> None:
        arena = next(one for one in self.arenas if any(block in pool.blocks for pool in one.pools))
        pool = next(pool for pool in arena.pools if block in pool.blocks)
        assert pool.size_class is not None
        row = self.used[pool.size_class]
        pool.blocks.remove(block)
        if pool not in row:
            row.insert(0, pool)
        if pool.blocks:
            return
        row.remove(pool)
        pool.size_class = None
        is_last = bool(self.usable) and self.usable[-1] is arena
        if arena in self.usable:
            self.usable.remove(arena)
            if arena.free == len(arena.pools) and not is_last:
                self.arenas.remove(arena)
                return
        # Behind all that are fuller, before those that are as full.
        place = sum(other.free < arena.free for other in self.usable)
        self.usable.insert(place, arena)
