"""Doubles for the tests of the simulator: a trace in memory, and a second, deliberately naive pymalloc."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from hypothesis import strategies as st
from traces import sample_header

from tracekit.events import Cause, Domain, Header, Totals
from tracekit.record.capabilities import CAPABILITIES
from tracekit.simulator.settings import Reference
from tracekit.store.steps import IntArray, Steps

Step = tuple[int, int, Domain, Cause | None]
"""(block, size, domain, cause): an allocation where the cause is None, otherwise the free of the block."""

PORTABLE = sample_header(
    engine="portable",
    capabilities=CAPABILITIES["portable"],
)
NATIVE = sample_header()


def as_steps(steps: Sequence[Step]) -> Steps:
    """Columns of steps, numbered from 1, a millisecond each.

    The allocation behind a free by realloc, in the same domain, is the new block of that realloc. Blocks that
    a collection freed were garbage of the recorded collection 0.
    """
    seqs = np.arange(1, len(steps) + 1, dtype=np.int64)
    born: dict[int, int] = {}
    moved: dict[Domain, int] = {}
    alloc_seq, realloc_of = np.zeros(len(steps), np.int64), np.full(len(steps), -1, np.int64)
    for row, (block, _, domain, cause) in enumerate(steps):
        if cause is None:
            born[block] = 1 + row
            realloc_of[row] = moved.pop(domain, -1)
        elif cause == Cause.REALLOC:
            moved[domain] = born[block]
        alloc_seq[row] = born[block]
    collected = [born[block] for block, *_, cause in steps if cause == Cause.GC]
    return Steps(
        seq=seqs,
        time_ns=seqs * 1_000_000,
        is_free=np.array([cause is not None for *_, cause in steps], np.bool_),
        alloc_seq=alloc_seq,
        size=np.array([size for _, size, _, _ in steps], np.int64),
        domain=np.array([domain for _, _, domain, _ in steps], np.uint8),
        stack_id=np.zeros(len(steps), np.int32),
        cause=np.array([cause or 0 for *_, cause in steps], np.uint8),
        thread_id=np.ones(len(steps), np.int32),
        gc_tracked=np.zeros(len(steps), np.bool_),
        realloc_of=realloc_of,
        garbage=np.where(np.isin(alloc_seq, collected), 0, -1).astype(np.int32),
        address=np.zeros(len(steps), np.int64),
        free_list=np.zeros(len(steps), np.uint8),
    )


def no_reference() -> Reference:
    """A recording without collections."""
    none = np.empty(0, np.int64)
    return Reference(
        start_seq=none,
        stop_seq=none,
        generation=none,
        asked=np.empty(0, np.bool_),
        off=np.zeros(1, np.bool_),
        thresholds=np.full((1, 3), 10, np.int64),
        correction=none,
        young_share=np.empty(0),
        full_share=np.empty(0),
    )


def differences(one: object, other: object, name: str = "outcome") -> list[str]:
    """Where two outcomes differ, field by field: in the value, or in the type of a column."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        same = one.dtype == other.dtype and np.array_equal(one, other)
        return [] if same else [f"{name}: {one} {one.dtype}, {other} {other.dtype}"]
    if dataclasses.is_dataclass(one) and type(one) is type(other):
        names = [field.name for field in dataclasses.fields(one)]
        return [
            text
            for inner in names
            for text in differences(getattr(one, inner), getattr(other, inner), f"{name}.{inner}")
        ]
    return [] if (type(one), one) == (type(other), other) else [f"{name}: {one!r}, {other!r}"]


def windows(steps: Steps, length: int) -> Iterator[Steps]:
    """Steps in windows of ``length``."""
    for start in range(0, len(steps), length):
        yield Steps(*(getattr(steps, name)[start : start + length] for name in Steps.__dataclass_fields__))


def batches(steps: Sequence[Step], length: int) -> Iterator[Steps]:
    """Steps in batches of ``length``."""
    return windows(as_steps(steps), length)


@dataclass
class FakeRows:
    answer: list[tuple[object, ...]]

    def rows(self) -> Iterator[tuple[object, ...]]:
        return iter(self.answer)


@dataclass
class FakeTrace:
    """A trace source that holds its steps; ``tables`` are the rows that are read of some tables."""

    steps_in_order: Sequence[Step]
    header: Header = PORTABLE
    tables: dict[str, list[tuple[object, ...]]] = field(default_factory=dict)
    batch: int = 7
    trace_id: int = 1

    @property
    def totals(self) -> Totals:
        frees = sum(cause is not None for *_, cause in self.steps_in_order)
        return Totals(allocations=len(self.steps_in_order) - frees, frees=frees)

    def steps(self) -> Iterator[Steps]:
        return batches(self.steps_in_order, self.batch)

    def outlines(self) -> Iterator[Steps]:
        return self.steps()

    def older_blocks(self) -> tuple[IntArray, IntArray]:
        return np.empty(0, np.int64), np.empty(0, np.int64)

    def used_pools(self, addresses: range, pool_size: int, most_bytes: int) -> IntArray:
        assert len(addresses) > pool_size > most_bytes
        return np.empty(0, np.int64)

    def shared_blocks(self, most_for_one: int) -> tuple[IntArray, IntArray]:
        assert most_for_one > 1
        return np.empty(0, np.int64), np.empty(0, np.int64)

    def path_bytes(self) -> IntArray:
        return np.zeros(1, np.int64)

    def query(self, sql: str, parameters: Sequence[object] = (), /) -> FakeRows:
        if "moment(" in sql:
            return FakeRows([(3 if parameters[0] == "mark:there" else None,)])
        assert self.trace_id in parameters
        if "free_lists" in sql:
            return FakeRows([])
        return FakeRows(next((rows for table, rows in self.tables.items() if f"FROM {table}" in sql), []))


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
