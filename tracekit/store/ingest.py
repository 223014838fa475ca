"""Turns the events of one log into the rows of the store.

The ingest is a fold over batches of columns: no Python code runs once an event, and memory is that of the
live blocks. A row of ``allocations`` is written when its block dies, so rows arrive sorted by ``free_seq``;
they go to the table in tiers of lifetime, a whole row group of one tier at a time, so that the zone maps of
a row group span few events and a query for one instant skips nearly all of them. Blocks that never die come
last. One thread reads and pairs, others write (:class:`~tracekit.store.rows.Writers`).

A log that is not closed can grow: what is needed to go on later is returned as a :class:`Resume`.
"""

from __future__ import annotations

from collections.abc import Callable

import duckdb
import numpy as np
from msgspec import Struct

from tracekit.errors import LogCorruptError
from tracekit.events import LiveTypes
from tracekit.log.columns import BatchMemory, EventColumns
from tracekit.log.lifetimes import LIVE, OUTPUTS, Arrays, FoldState, lifetimes, provisional
from tracekit.log.livetypes import decode_live_types
from tracekit.log.reader import LogReader, Position
from tracekit.store import rows
from tracekit.store.details import Details
from tracekit.store.rows import Connect, RowBuffer, Writers, insert_rows
from tracekit.store.schema import make_tables
from tracekit.store.traces import Span, write_trace

_TABLES = {"short": "allocations", "medium": "allocations", "long": "allocations"}

_REPLACED = (
    *("traces", "threads", "codes", "types", "stacks"),
    *("gc_collections", "gc_settings", "marks", "arenas", "memory_samples", "notices"),
    *("source_lines", "mark_stacks", "older_blocks"),
)
"""Tables that are written as a whole each time."""

_LIVE = """
SELECT alloc_seq, allocated_ns AS time_ns, address, size, enum_code(domain)::UTINYINT AS domain, thread_id,
       stack_id, type_id
FROM allocations WHERE trace_id = ? AND free_seq IS NULL ORDER BY alloc_seq
"""

Progress = Callable[[int, int], None]


class Resume(Struct, frozen=True):
    """Where an ingest stopped, and what it has to know besides the tables in order to go on."""

    position: Position
    details: Details
    fold: FoldState
    first_seq: int | None


def ingest(
    connect: Connect,
    reader: LogReader,
    trace_id: int,
    progress: Progress | None = None,
    resume: Resume | None = None,
) -> Resume | None:
    """Make the tables and write all rows of one log, or the rows that are new since ``resume``.

    ``connect`` gives connections to a database that nobody else reads yet: they commit one by one.
    ``progress`` is called with the bytes of the log read so far and in all. Returns where to go on when the
    log was not closed. Raises LogCorruptError for a log that contradicts itself.
    """
    try:
        with connect() as connection:
            return _Ingest(connection, reader, trace_id, resume).run(connect, progress)
    except (duckdb.ConversionException, duckdb.OutOfRangeException) as error:
        raise LogCorruptError(f"{reader.path}: a number that no recording can hold ({error})") from error
    except LogCorruptError as error:
        if str(reader.path) in error.message:
            raise
        raise LogCorruptError(f"{reader.path}: {error.message}") from None


class _Ingest:
    """The state of one ingest."""

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, reader: LogReader, trace_id: int, resume: Resume | None
    ) -> None:
        self._connection = connection
        self._reader = reader
        self._trace_id = trace_id
        self._position = resume.position if resume else None
        self._details = resume.details if resume else Details()
        self._first_seq = resume.first_seq if resume else None
        self._buffers: dict[str, RowBuffer] = {}
        live = self._take_back(resume.fold) if resume else None
        self._fold = lifetimes(self._emit, rows.CHUNK_ROWS, resume.fold if resume else None, live)

    def run(self, connect: Connect, progress: Progress | None) -> Resume | None:
        """Read what is there and write everything."""
        prepare = make_tables if self._position is None else None
        with Writers(connect, self._trace_id, prepare) as writers:
            for name in OUTPUTS:
                self._buffers[name] = RowBuffer(writers, _TABLES.get(name, name), self._fold.recycle)
            self._read(progress)
            state = self._fold.finish()
            for level in provisional(state):
                self._buffers["timeline"].add(level.columns())
            for buffer in self._buffers.values():
                buffer.finish()
        self._write_rest(state)
        if progress is not None:
            progress(self._reader.size, self._reader.size)
        if self._reader.footer is not None:
            return None
        return Resume(self._reader.position(), self._details, state, self._first_seq)

    def _read(self, progress: Progress | None) -> None:
        memory = None if self._fold.keeps_batches else BatchMemory()
        for offset, record in self._reader.decoded(self._position, memory):
            if isinstance(record, EventColumns):
                if self._first_seq is None:
                    self._first_seq = record.first_seq
                self._details.take_events(record)
                self._fold.apply(record)
            elif isinstance(record, LiveTypes):
                self._fold.types(*decode_live_types(record))
            else:
                self._details.take(record)
            if progress is not None:
                progress(offset, self._reader.size)

    def _emit(self, output: str, columns: Arrays) -> None:
        self._buffers[output].add(columns)

    def _take_back(self, state: FoldState) -> Arrays:
        """Remove what is only right as long as nothing follows. Returns the live blocks."""
        execute, trace = self._connection.execute, self._trace_id
        found = execute(_LIVE, [trace]).fetchnumpy()
        live = {name: np.ma.getdata(found[name]).astype(LIVE[name]) for name in LIVE}
        execute("DELETE FROM allocations WHERE trace_id = ? AND free_seq IS NULL", [trace])
        for level in provisional(state):
            execute("DELETE FROM timeline WHERE trace_id = ? AND seq = ?", [trace, level.seq])
        for table in _REPLACED:
            execute(f"DELETE FROM {table} WHERE trace_id = ?", [trace])  # noqa: S608 - names from above
        return live

    def _write_rest(self, state: FoldState) -> None:
        self._connection.execute("BEGIN TRANSACTION")
        insert_rows(self._connection, "live", self._trace_id, self._fold.live())
        self._details.write(self._connection, self._trace_id)
        last_seq = state.last.seq if state.last else None
        span = Span(self._first_seq, last_seq, self._details.own_mark("end"))
        write_trace(self._connection, self._trace_id, self._reader, state.totals, span)
        self._connection.execute("COMMIT")
