"""Turns the events of one log into the rows of the store.

The ingest is a fold over batches of columns: no Python code runs once an event, and memory is that of the
live blocks. A row of ``allocations`` is written when its block dies, so rows arrive sorted by ``free_seq``;
they go to the table in tiers of lifetime, a whole row group of one tier at a time, so that the zone maps of
a row group span few events and a query for one instant skips nearly all of them. Blocks that never die come
last.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import duckdb
import numpy as np

from tracekit.errors import LogCorruptError
from tracekit.events import LiveTypes
from tracekit.log.columns import COLUMN_TYPES, NOTHING, EventColumns, IntArray
from tracekit.log.live import live_deltas
from tracekit.log.livetypes import KnownTypes, decode_live_types
from tracekit.log.reader import LogReader
from tracekit.log.totals import TotalsFold
from tracekit.store.details import Details
from tracekit.store.rows import RowBuffer, insert_rows
from tracekit.store.traces import Span, write_trace

MERGE_EVENTS = 1 << 18
"""Small batches are joined up to this many events: each step of the fold costs time for all live blocks."""

LIFETIME_TIERS = (1 << 16, 1 << 23)
"""Lifetimes (in events) at which one tier of rows ends and the next begins."""

Progress = Callable[[int, int], None]


def ingest(
    connection: duckdb.DuckDBPyConnection, reader: LogReader, trace_id: int, progress: Progress | None = None
) -> None:
    """Write all rows of one log into tables that exist; the transaction is the caller's.

    ``progress`` is called with the bytes of the log read so far and in all. Raises LogCorruptError for a log
    that contradicts itself.
    """
    try:
        _Fold(connection, reader, trace_id).run(progress)
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        raise LogCorruptError(f"{reader.path}: a number that no recording can hold ({error})") from error
    except LogCorruptError as error:
        if str(reader.path) in error.message:
            raise
        raise LogCorruptError(f"{reader.path}: {error.message}") from None


@dataclass(frozen=True, slots=True)
class _Level:
    """What was alive after one event; a row of ``timeline``."""

    seq: int
    time_ns: int
    live_bytes: int
    live_blocks: int

    def columns(self) -> dict[str, IntArray]:
        return {field.name: np.array([getattr(self, field.name)], np.int64) for field in fields(self)}


class _Fold:
    """The state of one ingest."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, reader: LogReader, trace_id: int) -> None:
        self._connection = connection
        self._reader = reader
        self._trace_id = trace_id
        self._totals = TotalsFold()
        self._details = Details()
        self._live_types = KnownTypes()
        self._first_seq: int | None = None
        self._tiers = [self._buffer("allocations") for _ in range(len(LIFETIME_TIERS) + 1)]
        self._timeline = self._buffer("timeline")
        self._unmatched = self._buffer("unmatched_frees")
        self._reallocs = self._buffer("reallocs")
        self._last: _Level | None = None
        self._peak: _Level | None = None
        self._peak_listed = False
        self._waiting: list[EventColumns] = []
        self._waiting_events = 0

    def _buffer(self, table: str) -> RowBuffer:
        return RowBuffer(self._connection, table, self._trace_id)

    def run(self, progress: Progress | None) -> None:
        """Read the whole log and write everything."""
        for offset, record in self._reader.decoded():
            if isinstance(record, EventColumns):
                self._add(record)
            elif isinstance(record, LiveTypes):
                self._join()
                self._live_types.take(*decode_live_types(record))
                self._live_types.keep(self._totals.live.columns["alloc_seq"])
            else:
                self._details.take(record)
            if progress is not None:
                progress(offset, self._reader.size)
        self._join()
        self._finish()
        if progress is not None:
            progress(self._reader.size, self._reader.size)

    def _add(self, batch: EventColumns) -> None:
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
        self._apply(first)

    def _apply(self, batch: EventColumns) -> None:
        live = self._totals.live
        before_bytes, before_blocks = live.live_bytes, len(live)
        died = self._totals.apply(batch)
        change_bytes, change_blocks = live_deltas(batch, died)
        if self._first_seq is None:
            self._first_seq = batch.first_seq
        self._details.take_events(batch)
        self._levels(batch, before_bytes + np.cumsum(change_bytes), before_blocks + np.cumsum(change_blocks))
        rows = died.rows[died.matched]
        block = {name: values[died.matched] for name, values in died.block.items()}
        self._dead(
            block
            | {
                "free_seq": batch.first_seq + rows,
                "freed_ns": batch.time_ns[rows],
                "type_id": batch.type_id[rows],
                "cause": batch.cause[rows],
                "freed_thread_id": batch.thread_id[rows],
            }
        )
        rows = died.rows[~died.matched]
        names = ("time_ns", "thread_id", "address", "alloc_seq", "cause", "type_id")
        self._unmatched.add(
            {"seq": batch.first_seq + rows} | {name: getattr(batch, name)[rows] for name in names}
        )
        rows = np.flatnonzero(batch.allocations & (batch.alloc_seq != NOTHING))
        self._reallocs.add({"alloc_seq": batch.first_seq + rows, "realloc_of": batch.alloc_seq[rows]})

    def _dead(self, rows: dict[str, IntArray]) -> None:
        tier = np.searchsorted(LIFETIME_TIERS, rows["free_seq"] - rows["alloc_seq"], side="right")
        for number, buffer in enumerate(self._tiers):
            wanted = tier == number
            buffer.add({name: values[wanted] for name, values in rows.items()})

    def _levels(self, batch: EventColumns, live_bytes: IntArray, live_blocks: IntArray) -> None:
        def level(row: int) -> _Level:
            time_ns = int(batch.time_ns[row])
            return _Level(batch.first_seq + row, time_ns, int(live_bytes[row]), int(live_blocks[row]))

        ends = np.flatnonzero(batch.time_ns[1:] != batch.time_ns[:-1])
        if self._last is not None and self._last.time_ns != batch.time_ns[0]:
            self._timeline.add(self._last.columns())
            self._peak_listed |= self._last == self._peak
        self._last = level(len(batch) - 1)
        top = self._totals.totals.peak_seq - batch.first_seq
        if top >= 0:
            self._peak = level(top)
            self._peak_listed = bool(np.any(ends == top))
        columns = {"time_ns": batch.time_ns, "live_bytes": live_bytes, "live_blocks": live_blocks}
        rows = {name: values[ends] for name, values in columns.items()}
        self._timeline.add({"seq": batch.first_seq + ends} | rows)

    def _finish(self) -> None:
        if self._last is not None and self._peak is not None:
            self._timeline.add(self._last.columns())
            if not self._peak_listed and self._peak != self._last:
                self._timeline.add(self._peak.columns())
        for buffer in (*self._tiers, self._timeline, self._unmatched, self._reallocs):
            buffer.finish()
        live = self._totals.live.columns
        live = live | {"type_id": self._live_types.of(live["alloc_seq"])}
        insert_rows(self._connection, "live", self._trace_id, live)
        self._details.write(self._connection, self._trace_id)
        last_seq = self._last.seq if self._last else None
        span = Span(self._first_seq, last_seq, self._details.own_mark("end"))
        write_trace(self._connection, self._trace_id, self._reader, self._totals.totals, span)
