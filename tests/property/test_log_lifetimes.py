"""The fold of events into lifetimes: kernel and numpy against a naive one, stopped and taken up anywhere."""

from __future__ import annotations

import itertools
import random
from collections import defaultdict
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.errors import LogCorruptError
from tracekit.events import EventKind
from tracekit.log import lifetimes as module
from tracekit.log.columns import COLUMN_TYPES, MAX_BATCH_BYTES, NOTHING, EventColumns, empty_columns
from tracekit.log.lifetimes import (
    LIVE,
    OUTPUTS,
    Arrays,
    KernelLifetimes,
    Lifetimes,
    NumpyLifetimes,
    provisional,
)

native = pytest.mark.skipif(getattr(module, "kernels", None) is None, reason="the kernels are not built")

TIERS = (5, 40)
Rows = dict[str, list[tuple[int, ...]]]


def random_columns(seed: int, count: int, first_seq: int) -> EventColumns:
    """Events of all kinds; frees of what lives, of what does not, and of nothing."""
    chance = random.Random(seed)
    columns = empty_columns(first_seq, count)
    born: list[int] = []
    now = 0
    for row in range(count):
        now += chance.choice([0, 0, 0, 1, 50])
        columns.time_ns[row] = now
        columns.thread_id[row] = chance.randrange(3)
        kind = chance.choice(
            [EventKind.ALLOCATION] * 5 + [EventKind.FREE] * 4 + [EventKind.GC_START, EventKind.MARK]
        )
        columns.kind[row] = kind
        if kind == EventKind.ALLOCATION:
            columns.address[row] = 16 * chance.randrange(1 << 20)
            columns.size[row] = chance.choice([0, 1, 28, 56, 1 << 40])
            columns.domain[row] = chance.randrange(6)
            columns.stack_id[row] = chance.randrange(1 << 10)
            if born and chance.random() < 0.1:
                columns.alloc_seq[row] = chance.choice(born)
            born.append(first_seq + row)
        elif kind == EventKind.FREE:
            columns.cause[row] = chance.randrange(4)
            columns.type_id[row] = chance.randrange(9)
            if born and chance.random() < 0.9:
                columns.alloc_seq[row] = chance.choice(born[-20:] if chance.random() < 0.7 else born)
            elif row and chance.random() < 0.5:
                columns.alloc_seq[row] = first_seq + chance.randrange(row)  # perhaps no allocation at all
            else:
                columns.address[row] = 16
    return columns


def naive(columns: EventColumns, types: dict[int, dict[int, int]]) -> tuple[Rows, list[tuple[int, ...]]]:
    """Rows of all outputs and the live blocks, one event after the other."""
    found: Rows = {name: [] for name in OUTPUTS}
    live: dict[int, dict[str, int]] = {}
    levels: list[tuple[int, int, int, int]] = []
    for row in range(len(columns)):
        seq = columns.first_seq + row
        event = {name: int(getattr(columns, name)[row]) for name in COLUMN_TYPES}
        for ended, type_id in types.get(row, {}).items():
            if ended in live:
                live[ended]["type_id"] = type_id
        if event["kind"] == EventKind.ALLOCATION:
            live[seq] = event | {"alloc_seq": seq, "type_id": 0}
            if event["alloc_seq"] != NOTHING:
                found["reallocs"].append((seq, event["alloc_seq"]))
        elif event["kind"] == EventKind.FREE:
            block = live.pop(event["alloc_seq"], None)
            if block is None:
                names = ("time_ns", "thread_id", "address", "alloc_seq", "cause", "type_id")
                found["unmatched_frees"].append((seq, *(event[name] for name in names)))
            else:
                life = seq - block["alloc_seq"]
                tier = "short" if life < TIERS[0] else "medium" if life < TIERS[1] else "long"
                dead = block | {
                    "free_seq": seq,
                    "freed_ns": event["time_ns"],
                    "freed_thread_id": event["thread_id"],
                }
                dead |= {"type_id": event["type_id"], "cause": event["cause"]}
                found[tier].append(tuple(dead[name] for name in OUTPUTS[tier]))
        total = sum(block["size"] for block in live.values())
        levels.append((seq, event["time_ns"], total, len(live)))
    if levels:
        peak = max(range(len(levels)), key=lambda row: (levels[row][2], -row))
        last_of_time = [a for a, b in itertools.pairwise(levels) if a[1] != b[1]]
        found["timeline"] = sorted({*last_of_time, levels[-1], levels[peak]})
    return found, [tuple(block[name] for name in LIVE) for _, block in sorted(live.items())]


class Taker:
    """Collects what a fold gives away, and gives the columns back to be written over."""

    def __init__(self) -> None:
        self.rows: Rows = {name: [] for name in OUTPUTS}
        self.fold: Lifetimes | None = None

    def __call__(self, output: str, columns: Arrays) -> None:
        assert list(columns) == list(OUTPUTS[output])
        assert all(values.dtype == OUTPUTS[output][name] for name, values in columns.items())
        self.rows[output] += zip(*(values.tolist() for values in columns.values()), strict=True)
        if self.fold is not None:
            self.fold.recycle(columns)


def folded(
    form: Any, columns: EventColumns, cuts: dict[int, str], types: dict[int, dict[int, int]]
) -> tuple[Rows, list[tuple[int, ...]], object]:
    """Fold a batch in parts; after those that ``cuts`` calls "stop" with a fold that goes on from a state."""
    taker = Taker()

    def begin(*state: Any) -> Lifetimes:
        arguments = (7, *state) if form is KernelLifetimes else state
        fold: Lifetimes = form(taker, *arguments)
        taker.fold = fold if form is KernelLifetimes else None
        return fold

    fold = begin(None, None)
    start = 0
    for cut in sorted({*cuts, *types, len(columns)}):
        fold.apply(columns.rows(start, cut))
        start = cut
        known = types.get(cut, {})
        if known:
            fold.types(
                np.array(sorted(known), np.int64), np.array([known[seq] for seq in sorted(known)], np.int64)
            )
        if cuts.get(cut) == "stop":
            state, live = fold.finish(), fold.live()
            fold = begin(state, live)
    state = fold.finish()
    for level in provisional(state):
        taker("timeline", level.columns())
    taker.rows["timeline"].sort()
    alive = list(zip(*(values.tolist() for values in fold.live().values()), strict=True))
    return taker.rows, alive, state


@pytest.mark.parametrize("form", [pytest.param(KernelLifetimes, marks=native), NumpyLifetimes])
@settings(max_examples=examples(60), deadline=None)
@given(
    seed=st.integers(0, 1 << 30),
    count=st.integers(0, 150),
    first_seq=st.sampled_from([0, 7, 1 << 40]),
    cuts=st.dictionaries(st.integers(0, 150), st.sampled_from(["part", "stop"]), max_size=5),
    told=st.lists(st.tuples(st.integers(0, 150), st.integers(0, 150), st.integers(1, 9)), max_size=12),
)
def test_as_one_event_after_the_other(  # noqa: PLR0917 - what hypothesis draws
    form: Any, seed: int, count: int, first_seq: int, cuts: dict[int, str], told: list[tuple[int, int, int]]
) -> None:
    columns = random_columns(seed, count, first_seq)
    types: dict[int, dict[int, int]] = defaultdict(dict)
    for row, block, type_id in told:
        if block < row < count:
            types[row][first_seq + block] = type_id
    cuts = {cut: what for cut, what in cuts.items() if cut <= count}
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(module, "LIFETIME_TIERS", TIERS)
        rows, live, state = folded(form, columns, cuts, types)
    wanted_rows, wanted_live = naive(columns, types)
    assert rows == wanted_rows
    assert live == wanted_live
    assert (state.totals.events, state.totals.end_blocks) == (count, len(live))  # type: ignore[attr-defined]


@pytest.mark.parametrize("form", [pytest.param(KernelLifetimes, marks=native), NumpyLifetimes])
def test_more_than_any_memory(form: Any) -> None:
    columns = empty_columns(0, 3)
    columns.size[:] = MAX_BATCH_BYTES // 2
    fold = form(Taker(), *((7,) if form is KernelLifetimes else ()), None, None)
    with pytest.raises(LogCorruptError, match="more than any memory"):
        fold.apply(columns)
        fold.finish()


LIVING: Arrays = {name: np.array([2, 5], dtype) for name, dtype in LIVE.items()}


@pytest.mark.parametrize("form", [pytest.param(KernelLifetimes, marks=native), NumpyLifetimes])
@pytest.mark.parametrize(
    "changes",
    [{"alloc_seq": [5, 5]}, {"alloc_seq": [-1, 3]}, {"size": [-1, 3]}, {"size": [1 << 62, 1 << 61]}],
)
def test_blocks_that_cannot_be_alive(form: Any, changes: dict[str, list[int]]) -> None:
    live = LIVING | {name: np.array(values, LIVE[name]) for name, values in changes.items()}
    empty = NumpyLifetimes(Taker(), None, None).finish()
    with pytest.raises(LogCorruptError, match="cannot be alive"):
        form(Taker(), *((7,) if form is KernelLifetimes else ()), empty, live)


@native
def test_the_kernel_refuses_what_does_not_fit() -> None:
    pairs = module.kernels.Pairs(*TIERS)  # type: ignore[attr-defined]
    batch = random_columns(1, 10, 0)
    columns = tuple(getattr(batch, name) for name in COLUMN_TYPES)
    assert pairs.full() == 0, "no output has any room yet"
    assert pairs.run(0, columns, 0) == 0
    for arguments in (
        (0, columns[:3], 0),
        (0, columns[::-1], 0),
        (0, columns, 11),
        (-1, columns, 0),
        (0, columns, -1),
    ):
        with pytest.raises(ValueError, match=r"columns|no such"):
            pairs.run(*arguments)
    for which, given_columns in ((9, ()), (-1, ()), (4, (np.zeros(3, np.int64), np.zeros(4, np.int64)))):
        with pytest.raises(ValueError, match=r"no such output|columns"):
            pairs.output(which, given_columns)
    with pytest.raises(ValueError, match="another length"):
        pairs.live(tuple(LIVING.values()))
    with pytest.raises(BufferError):
        pairs.output(4, (bytes(8), bytes(8)))
