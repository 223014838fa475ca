"""Reads logs: whole ones, ones still being written, and ones whose writer died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from tracekit.errors import FileMissingError, LogCorruptError, NotALogError
from tracekit.events import EventBatch, Footer, Header, LogRecord, Notice
from tracekit.log.columns import EventColumns, decode_batch
from tracekit.log.format import (
    FRAME,
    MAX_STORED_BYTES,
    PRELUDE,
    TRAILER,
    check_prelude,
    footer_offset,
    unpack_frame,
    unpack_payload,
)

LOST = "records-lost"
"""Code of the notice that allows a gap in ``seq`` after it: `tracekit recover` left something out."""


class LogReader:
    """An open log, read from beginning to end as often as asked.

    Raises FileMissingError, NotALogError, LogVersionError or LogCorruptError when it cannot be opened, which
    needs a whole prelude and a whole header. ``size`` is the length at that moment: what is appended later
    is not seen. A log may end in the middle of a record (its writer was killed, or is still writing): the
    records before it are read, and ``torn_bytes`` says how many bytes were left over.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file: BinaryIO = _open(self.path)
        try:
            self.size = os.fstat(self._file.fileno()).st_size
            self.version = check_prelude(self._file.read(PRELUDE.size), str(self.path))
            self.torn_bytes = 0
            first = next(iter(self.records()), None)
            if first is None:
                raise NotALogError(
                    f"{self.path} ends before its header does", hint="the recording had hardly begun"
                )
            if not isinstance(first[1], Header):
                raise LogCorruptError(f"{self.path}: record 0 is not a header")
            self.header: Header = first[1]
            self.footer: Footer | None = self._read_footer()
        except BaseException:
            self._file.close()
            raise

    def records(self) -> Iterator[tuple[int, LogRecord]]:
        """(offset, record) of every whole record, in order, the header first.

        Raises LogCorruptError naming number and offset of a record that is damaged.
        """
        offset, number = PRELUDE.size, 0
        end = self.size
        while True:
            self.torn_bytes = end - offset
            if offset == end or end - offset < FRAME.size:
                if footer_offset(self._read_at(offset, end - offset)) is not None:
                    self.torn_bytes = 0
                return
            record, stop = self._record_at(offset, number)
            if record is None:
                return
            yield offset, record
            offset, number = stop, number + 1

    def events(self) -> Iterator[EventColumns]:
        """Every batch of events, decoded. Raises LogCorruptError as :meth:`records` does."""
        for _, record in self.decoded():
            if isinstance(record, EventColumns):
                yield record

    def decoded(self) -> Iterator[tuple[int, LogRecord | EventColumns]]:
        """Like :meth:`records`, with batches decoded to columns and checked to follow each other in seq."""
        next_seq, lost = 0, False
        for offset, record in self.records():
            if isinstance(record, Notice) and record.code == LOST:
                lost = True
            if not isinstance(record, EventBatch):
                yield offset, record
                continue
            if record.first_seq < next_seq or (record.first_seq > next_seq and not lost):
                raise LogCorruptError(
                    f"{self.path}: the batch at offset {offset} begins with event {record.first_seq} "
                    f"where {next_seq} belongs"
                )
            try:
                columns = decode_batch(record)
            except LogCorruptError as error:
                raise LogCorruptError(f"{self.path}: the batch at offset {offset}: {error.message}") from None
            next_seq = record.first_seq + record.count
            yield offset, columns

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _read_at(self, offset: int, count: int) -> bytes:
        return os.pread(self._file.fileno(), count, offset)

    def _record_at(self, offset: int, number: int) -> tuple[LogRecord | None, int]:
        """The record at an offset and where it ends; (None, offset) when the file ends within it."""
        frame = unpack_frame(self._read_at(offset, FRAME.size))
        where = f"{self.path}: record {number} at offset {offset}"
        hint = f"'tracekit recover {self.path} -o NEW.tkt' keeps all the others"
        if frame is None:
            raise LogCorruptError(f"{where}: its frame is damaged", hint=hint)
        stored, raw, encoding, checksum = frame
        start, stop = offset + FRAME.size, offset + FRAME.size + stored
        if stop > self.size:
            return None, offset
        payload = self._read_at(start, min(stored, MAX_STORED_BYTES))
        try:
            return unpack_payload(payload, raw, encoding, checksum), stop
        except LogCorruptError as error:
            raise LogCorruptError(f"{where}: {error.message}", hint=hint) from None

    def _read_footer(self) -> Footer | None:
        offset = footer_offset(self._read_at(max(0, self.size - TRAILER.size), TRAILER.size))
        if offset is None or not PRELUDE.size <= offset < self.size:
            return None
        record, stop = self._record_at(offset, -1)
        if isinstance(record, Footer) and stop + TRAILER.size == self.size:
            return record
        raise LogCorruptError(f"{self.path}: the trailer points to offset {offset}, where no footer is")


def _open(path: Path) -> BinaryIO:
    try:
        if path.is_dir():
            raise NotALogError(f"{path} is a folder, not a tracekit log")
        return path.open("rb")
    except FileNotFoundError:
        raise FileMissingError(f"{path} does not exist", hint="record one with 'tracekit record'") from None
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror}") from None
