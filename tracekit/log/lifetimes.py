"""The fold that turns events into lifetimes: what died, what is alive, and how much that was over time.

It has two forms with one behaviour: one around the compiled kernel, and one in numpy where that is not there.
Rows leave it as columns, named as in ``OUTPUTS``, as soon as they are complete; memory is that of the live
blocks and of the rows that wait to fill a chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracekit.errors import LogCorruptError
from tracekit.events import Totals
from tracekit.log.columns import COLUMN_TYPES, NOTHING, EventColumns, IntArray
from tracekit.log.live import LIVE_COLUMNS, live_deltas
from tracekit.log.livetypes import KnownTypes
from tracekit.log.totals import TotalsFold

try:
    from tracekit._native import _kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]

LIFETIME_TIERS = (1 << 16, 1 << 23)
"""Lifetimes (in events) at which one tier of rows ends and the next begins."""

MERGE_EVENTS = 1 << 18
"""Without the kernel batches are joined up to this many events: a step costs time for all live blocks."""

_FREE = ("time_ns", "thread_id", "address", "alloc_seq", "cause", "type_id")
"""What is told of a free that ended nothing known."""

_DEAD: dict[str, type[np.generic]] = {
    "alloc_seq": np.int64,
    "free_seq": np.int64,
    "time_ns": np.int64,
    "freed_ns": np.int64,
    **{name: COLUMN_TYPES[name] for name in ("address", "size", "domain", "thread_id", "stack_id")},
    "type_id": np.int32,
    "cause": np.uint8,
    "freed_thread_id": np.int32,
}
OUTPUTS: dict[str, dict[str, type[np.generic]]] = {
    "short": _DEAD,
    "medium": _DEAD,
    "long": _DEAD,
    "unmatched_frees": {"seq": np.int64, **{name: COLUMN_TYPES[name] for name in _FREE}},
    "reallocs": {"alloc_seq": np.int64, "realloc_of": np.int64},
    "timeline": {"seq": np.int64, "time_ns": np.int64, "live_bytes": np.int64, "live_blocks": np.int64},
}
"""Columns of each output. ``short``, ``medium`` and ``long`` are the tiers of blocks that died, in the order
in which they did; ``unmatched_frees`` ended nothing known; ``timeline`` is the level after the last event of
each time, and after the peak."""

LIVE: dict[str, type[np.generic]] = {name: COLUMN_TYPES[name] for name in (*LIVE_COLUMNS, "type_id")}
"""Columns of the live blocks."""

Arrays = dict[str, npt.NDArray[Any]]
Emit = Callable[[str, Arrays], None]
"""Takes rows of an output; the arrays are the taker's, who may give them back with ``recycle``."""


class Level(Struct, frozen=True):
    """What was alive after one event; a row of ``timeline``."""

    seq: int
    time_ns: int
    live_bytes: int
    live_blocks: int

    def columns(self) -> Arrays:
        """The level as an output of one row."""
        return {name: np.array([getattr(self, name)], np.int64) for name in self.__struct_fields__}


class FoldState(Struct, frozen=True):
    """What a fold has to know besides the live blocks in order to go on. ``peak_listed``: in ``timeline``."""

    totals: Totals
    last: Level | None
    peak: Level | None
    peak_listed: bool


class Lifetimes(Protocol):
    """The fold. ``apply`` in the order of the events; ``finish`` gives away what is complete."""

    keeps_batches: bool
    """Whether a batch is still needed when ``apply`` has returned."""

    def apply(self, batch: EventColumns) -> None:
        """Take events into account. Raises LogCorruptError when more is alive than any memory holds."""

    def recycle(self, columns: Arrays) -> None:
        """Take back the columns of rows that are no longer needed; from any thread."""

    def types(self, alloc_seq: IntArray, type_id: IntArray) -> None:
        """Take types of live blocks, ``alloc_seq`` ascending."""

    def finish(self) -> FoldState:
        """Give away all rows; :func:`provisional` has those that more events would replace."""

    def live(self) -> Arrays:
        """The live blocks (``LIVE``), in the order of ``alloc_seq``."""


def provisional(state: FoldState) -> list[Level]:
    """Levels that belong into ``timeline`` when no event follows: the last one, and the peak."""
    levels = [state.last] if state.last else []
    if state.peak and not state.peak_listed and state.peak != state.last:
        levels.append(state.peak)
    return levels


def lifetimes(
    emit: Emit, chunk_rows: int, state: FoldState | None = None, live: Arrays | None = None
) -> Lifetimes:
    """A fold, at the beginning or where another one left off (its ``finish`` and ``live``).

    Where the kernel is there, rows are given away ``chunk_rows`` at a time until the end.
    Raises LogCorruptError when the blocks cannot be alive together.
    """
    if kernels is None:
        return NumpyLifetimes(emit, state, live)
    return KernelLifetimes(emit, chunk_rows, state, live)


def _too_much(seq: int) -> LogCorruptError:
    return LogCorruptError(f"the blocks alive at event {seq} add up to more than any memory")


class KernelLifetimes:
    """The fold around the compiled kernel."""

    keeps_batches = False

    def __init__(self, emit: Emit, chunk_rows: int, state: FoldState | None, live: Arrays | None) -> None:
        self._emit = emit
        self._chunk_rows = chunk_rows
        self._kernel = kernels.Pairs(*LIFETIME_TIERS)
        self._totals = state.totals if state else Totals()
        self._peak_time_ns = state.peak.time_ns if state and state.peak else 0
        if live is not None:
            try:
                self._kernel.restore(tuple(np.ascontiguousarray(live[name], LIVE[name]) for name in LIVE))
            except ValueError as error:
                raise LogCorruptError(str(error)) from None
        if state and state.last and state.peak:
            last, peak = state.last, state.peak
            self._kernel.last = (last.seq, last.time_ns, last.live_bytes, last.live_blocks)
            self._kernel.peak = (peak.seq, peak.live_bytes, peak.live_blocks, state.peak_listed)
        self._filling: dict[str, Arrays] = {}
        self._spare: dict[int, list[Arrays]] = {len(columns): [] for columns in OUTPUTS.values()}
        for number, name in enumerate(OUTPUTS):
            self._renew(number, name)

    def _renew(self, number: int, name: str) -> None:
        """Give the kernel fresh columns for an output, and away what it has filled."""
        filled = self._filling.get(name)
        try:
            fresh = self._spare[len(OUTPUTS[name])].pop()
        except IndexError:
            fresh = {column: np.empty(self._chunk_rows, dtype) for column, dtype in OUTPUTS[name].items()}
        self._filling[name] = fresh
        rows = self._kernel.output(number, tuple(fresh.values()))
        if filled is not None and rows:
            self._emit(name, {column: values[:rows] for column, values in filled.items()})

    def recycle(self, columns: Arrays) -> None:
        """Memory that was used is written to faster than memory that is new."""
        whole = {column: values.base for column, values in columns.items() if values.base is not None}
        self._spare[len(columns)].append(whole)

    def apply(self, batch: EventColumns) -> None:
        """Take events into account."""
        columns = tuple(np.ascontiguousarray(getattr(batch, name)) for name in COLUMN_TYPES)
        row, count = 0, len(batch)
        while row < count:
            try:
                row = self._kernel.run(batch.first_seq, columns, row)
            except OverflowError:
                raise _too_much(self._kernel.last[0] + 1) from None
            while row < count and (full := self._kernel.full()) >= 0:
                self._renew(full, list(OUTPUTS)[full])
        self._count(batch)

    def _count(self, batch: EventColumns) -> None:
        if not len(batch):
            return
        before = self._totals
        allocations, frees, unmatched, collections, allocated_bytes = self._kernel.counts()
        peak_seq, peak_bytes, peak_blocks, _ = self._kernel.peak
        if peak_seq >= batch.first_seq:
            self._peak_time_ns = int(batch.time_ns[peak_seq - batch.first_seq])
        self._totals = Totals(
            events=before.events + len(batch),
            allocations=before.allocations + allocations,
            frees=before.frees + frees,
            unmatched_frees=before.unmatched_frees + unmatched,
            gc_collections=before.gc_collections + collections,
            allocated_bytes=before.allocated_bytes + allocated_bytes,
            peak_bytes=peak_bytes,
            peak_blocks=peak_blocks,
            peak_seq=peak_seq,
            end_bytes=self._kernel.live_bytes,
            end_blocks=len(self._kernel),
            duration_ns=int(batch.time_ns[-1]),
        )

    def types(self, alloc_seq: IntArray, type_id: IntArray) -> None:
        """Take types of live blocks."""
        self._kernel.types(np.ascontiguousarray(alloc_seq, np.int64), np.ascontiguousarray(type_id, np.int64))

    def finish(self) -> FoldState:
        """Give away all rows."""
        for number, name in enumerate(OUTPUTS):
            self._renew(number, name)
        if not self._totals.events:
            return FoldState(self._totals, None, None, peak_listed=False)
        seq, live_bytes, live_blocks, listed = self._kernel.peak
        peak = Level(seq, self._peak_time_ns, live_bytes, live_blocks)
        return FoldState(self._totals, Level(*self._kernel.last), peak, listed)

    def live(self) -> Arrays:
        """The live blocks."""
        columns: Arrays = {name: np.empty(len(self._kernel), dtype) for name, dtype in LIVE.items()}
        self._kernel.live(tuple(columns.values()))
        order = np.argsort(columns["alloc_seq"])
        return {name: values[order] for name, values in columns.items()}


class NumpyLifetimes:
    """The same in numpy: each step is a few passes over a batch and the live blocks."""

    keeps_batches = True

    def __init__(self, emit: Emit, state: FoldState | None, live: Arrays | None) -> None:
        self._emit = emit
        self._fold = TotalsFold()
        self._types = KnownTypes()
        self._last = state.last if state else None
        self._peak = state.peak if state else None
        self._peak_listed = bool(state and state.peak_listed)
        if state is not None and live is not None:
            self._fold.totals = state.totals
            self._fold.live.restore(live)
            known = live["type_id"] > 0
            self._types.take(live["alloc_seq"][known], live["type_id"][known].astype(np.int64))
        self._waiting: list[EventColumns] = []
        self._waiting_events = 0

    def apply(self, batch: EventColumns) -> None:
        """Take events into account; they may wait for others."""
        if not len(batch):
            return
        expected = self._waiting[0].first_seq + self._waiting_events if self._waiting else batch.first_seq
        if batch.first_seq != expected or self._waiting_events + len(batch) > MERGE_EVENTS:
            self._join()
        self._waiting.append(batch)
        self._waiting_events += len(batch)

    def _join(self) -> None:
        if not self._waiting:
            return
        first = self._waiting[0]
        if len(self._waiting) > 1:
            joined = {
                name: np.concatenate([getattr(batch, name) for batch in self._waiting])
                for name in COLUMN_TYPES
            }
            first = EventColumns(first.first_seq, **joined)
        self._waiting, self._waiting_events = [], 0
        self._step(first)

    def _step(self, batch: EventColumns) -> None:
        live = self._fold.live
        before_bytes, before_blocks = live.live_bytes, len(live)
        died = self._fold.apply(batch)
        change_bytes, change_blocks = live_deltas(batch, died)
        self._levels(batch, before_bytes + np.cumsum(change_bytes), before_blocks + np.cumsum(change_blocks))
        rows = died.rows[died.matched]
        dead: Arrays = {name: values[died.matched] for name, values in died.block.items()}
        dead |= {
            "free_seq": batch.first_seq + rows,
            "freed_ns": batch.time_ns[rows],
            "type_id": batch.type_id[rows],
            "cause": batch.cause[rows],
            "freed_thread_id": batch.thread_id[rows],
        }
        tier = np.searchsorted(LIFETIME_TIERS, dead["free_seq"] - dead["alloc_seq"], side="right")
        for number, name in enumerate(("short", "medium", "long")):
            self._give(name, {column: values[tier == number] for column, values in dead.items()})
        rows = died.rows[~died.matched]
        unmatched = {name: getattr(batch, name)[rows] for name in _FREE}
        self._give("unmatched_frees", {"seq": batch.first_seq + rows} | unmatched)
        rows = np.flatnonzero(batch.allocations & (batch.alloc_seq != NOTHING))
        self._give("reallocs", {"alloc_seq": batch.first_seq + rows, "realloc_of": batch.alloc_seq[rows]})

    def _give(self, name: str, columns: Arrays) -> None:
        if len(next(iter(columns.values()))):
            self._emit(name, {column: columns[column] for column in OUTPUTS[name]})

    def _levels(self, batch: EventColumns, live_bytes: IntArray, live_blocks: IntArray) -> None:
        def level(row: int) -> Level:
            time_ns = int(batch.time_ns[row])
            return Level(batch.first_seq + row, time_ns, int(live_bytes[row]), int(live_blocks[row]))

        ends = np.flatnonzero(batch.time_ns[1:] != batch.time_ns[:-1])
        if self._last is not None and self._last.time_ns != batch.time_ns[0]:
            self._emit("timeline", self._last.columns())
            self._peak_listed |= self._last == self._peak
        self._last = level(len(batch) - 1)
        top = self._fold.totals.peak_seq - batch.first_seq
        if top >= 0:
            self._peak = level(top)
            self._peak_listed = bool(np.any(ends == top))
        columns = {"time_ns": batch.time_ns, "live_bytes": live_bytes, "live_blocks": live_blocks}
        rows = {name: values[ends] for name, values in columns.items()}
        self._give("timeline", {"seq": batch.first_seq + ends} | rows)

    def recycle(self, columns: Arrays) -> None:
        """There is nothing to gain here."""

    def types(self, alloc_seq: IntArray, type_id: IntArray) -> None:
        """Take types of live blocks."""
        self._join()
        self._types.take(alloc_seq, type_id)
        self._types.keep(self._fold.live.columns["alloc_seq"])

    def finish(self) -> FoldState:
        """Give away all rows."""
        self._join()
        return FoldState(self._fold.totals, self._last, self._peak, self._peak_listed)

    def live(self) -> Arrays:
        """The live blocks."""
        self._join()
        columns = self._fold.live.columns
        return {**columns, "type_id": self._types.of(columns["alloc_seq"]).astype(np.int32)}
