"""Appends records to a log, so that whatever stops the writer leaves a log that opens."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import BinaryIO, Self

from tracekit.events import (
    MAX_DEFINITIONS,
    Definitions,
    EventBatch,
    Footer,
    Header,
    IndexEntry,
    LogRecord,
    Totals,
)
from tracekit.log.columns import MAX_BATCH_EVENTS, EventColumns, encode_batch
from tracekit.log.format import pack_prelude, pack_record, pack_trailer

_REFERRING = ("stacks", "lines", "older_arenas", "older_pools", "gc_settings")
_LISTS = ("threads", "codes", "types", *_REFERRING)

MAX_INDEX_ENTRIES = 1 << 18
"""Batches that the index of a footer names, at most."""


class LogWriter:
    """Writes a log to an open binary file, which it then owns.

    Order is the caller's: definitions before their first use, and the details of a collection or a mark
    before the batch that holds their event. Every record goes to the kernel as one write, so that a reader
    (or the survivor of a crash) sees whole records and at most one torn one at the end. When the disk
    refuses a record, the file is cut back to the last whole one and the OSError is passed on.
    """

    def __init__(self, file: BinaryIO, header: Header, *, level: int = 3) -> None:
        self._file = file
        self._level = level
        self._offset = 0
        self._index: list[IndexEntry] = []
        self._batches, self._stride = 0, 1
        self._append(pack_prelude() + pack_record(header))

    @property
    def bytes_written(self) -> int:
        """Length of the log so far."""
        return self._offset

    def write(self, record: LogRecord) -> None:
        """Append one record (definitions beyond what one may hold as several).

        Raises OSError when the disk refuses it and ValueError when it is larger than a log can hold.
        """
        if isinstance(record, Definitions) and _longest(record) > MAX_DEFINITIONS:
            for part in _parts(record):
                self.write(part)
            return
        offset = self._offset
        self._append(pack_record(record, level=self._level))
        if isinstance(record, EventBatch):
            self._enter(
                IndexEntry(offset, record.first_seq, record.count, record.first_time_ns, record.last_time_ns)
            )

    def write_events(self, columns: EventColumns) -> None:
        """Append a batch of events (several where one may not hold them all)."""
        for start in range(0, len(columns), MAX_BATCH_EVENTS):
            self.write(encode_batch(columns.rows(start, start + MAX_BATCH_EVENTS)))

    def _enter(self, entry: IndexEntry) -> None:
        """Index every batch, or where these are too many for a footer every 2nd, 4th, 8th..."""
        if self._batches % self._stride == 0:
            self._index.append(entry)
        self._batches += 1
        if len(self._index) > MAX_INDEX_ENTRIES:
            self._index = self._index[::2]
            self._stride *= 2

    def close(self, totals: Totals, *, complete: bool, exit_status: int | None) -> None:
        """Append footer and trailer, and close the file."""
        offset = self._offset
        footer = Footer(totals, complete, exit_status, self._index)
        try:
            self._append(pack_record(footer, level=self._level) + pack_trailer(offset))
        finally:
            self.abandon()

    def abandon(self) -> None:
        """Close the file without a footer; the log opens and is reported as not closed."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.abandon()

    def _append(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._file.fileno(), view) :]
        except OSError:
            os.ftruncate(self._file.fileno(), self._offset)
            os.lseek(self._file.fileno(), self._offset, os.SEEK_SET)
            raise
        self._offset += len(data)


def _longest(record: Definitions) -> int:
    return max(len(getattr(record, name)) for name in _LISTS)


def _parts(record: Definitions) -> Iterator[Definitions]:
    """The same definitions in records that are short enough, what is referred to first."""
    for start in range(0, _longest(record), MAX_DEFINITIONS):
        part = slice(start, start + MAX_DEFINITIONS)
        yield Definitions(threads=record.threads[part], codes=record.codes[part], types=record.types[part])
    for start in range(0, _longest(record), MAX_DEFINITIONS):
        part = slice(start, start + MAX_DEFINITIONS)
        rest = {name: getattr(record, name)[part] for name in _REFERRING}
        if any(rest.values()):
            yield Definitions(**rest)
