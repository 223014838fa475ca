"""Reads logs: whole ones, ones still being written, and ones whose writer died."""

from __future__ import annotations

import os
from collections.abc import Iterator
from types import TracebackType
from typing import Self

from msgspec import Struct

from tracekit.errors import LogCorruptError, NotALogError
from tracekit.events import (
    CollectionStart,
    CollectionStop,
    Definitions,
    EventBatch,
    Footer,
    Header,
    LiveTypes,
    LogRecord,
    Mark,
    Notice,
)
from tracekit.log.checks import Rules
from tracekit.log.columns import BatchMemory, EventColumns, decode_batch
from tracekit.log.format import FRAME, PRELUDE, unpack_frame
from tracekit.log.scan import Damage, LogFile, Sound

LOST = "records-lost"
"""Code of the notice after which events and details may be missing: `tracekit recover` left something out."""


class Position(Struct, frozen=True):
    """How far a log was read: behind the record at ``last_offset``, whose frame tells the log from others."""

    offset: int
    number: int
    last_offset: int
    last_frame: bytes
    rules: Rules


class LogReader:
    """An open log, read from beginning to end as often as asked.

    Raises FileMissingError, NotALogError, LogVersionError or LogCorruptError when it cannot be opened, which
    needs a whole prelude and a whole header. ``size`` is the length at that moment: what is appended later
    is not seen. A log may end in the middle of a record (its writer was killed, or is still writing): the
    records before it are read, and ``torn_bytes`` says how many bytes were left over. ``footer`` is None
    for such a log, and for one whose footer is damaged (which reading to the end then reports).
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._file = LogFile(path)
        try:
            self.path, self.size = self._file.path, self._file.size
            self.version = self._file.version()
            first = self._file.record_at(PRELUDE.size, 0) if self.size >= PRELUDE.size + FRAME.size else None
            if isinstance(first, Damage):
                raise self._corrupt(first)
            if first is None or not isinstance(first.record, Header):
                raise NotALogError(
                    f"{self.path} ends before its header does", hint="the recording had hardly begun"
                )
            self.header: Header = first.record
            self.footer: Footer | None = self._read_footer()
            self.torn_bytes = 0 if self.footer else self._count_torn_bytes()
            self._reached = (PRELUDE.size, 0, PRELUDE.size)
            self._rules = Rules()
        except BaseException:
            self._file.close()
            raise

    def records(
        self, *, batches: bool = True, start: tuple[int, int] = (PRELUDE.size, 0)
    ) -> Iterator[tuple[int, LogRecord]]:
        """(offset, record) of every whole record, in order, the header first or from offset and number on.

        With ``batches`` false the batches that the footer's index names are left out: their checksums are
        tested, but they are not decompressed. Raises LogCorruptError naming number and offset of a record
        that is damaged.
        """
        named = self.footer.index if self.footer and not batches else []
        for found in self._file.walk(frozenset(entry.offset for entry in named), start):
            if isinstance(found, Damage):
                raise self._corrupt(found)
            if not isinstance(found.record, Footer):  # one without its trailer is read again later
                self._reached = (found.stop, found.number + 1, found.offset)
            if found.record is not None:
                yield found.offset, found.record

    def events(self) -> Iterator[EventColumns]:
        """Every batch of events, decoded. Raises LogCorruptError as :meth:`decoded` does."""
        for _, record in self.decoded():
            if isinstance(record, EventColumns):
                yield record

    def position(self) -> Position:
        """Where :meth:`decoded` is, when it has come to its end: a later reader can go on from there."""
        offset, number, last = self._reached
        return Position(offset, number, last, self._file.read_at(last, FRAME.size), self._rules)

    def continues(self, position: Position) -> bool:
        """Whether this is the log that was read up to a position, perhaps grown since."""
        if not PRELUDE.size <= position.last_offset < position.offset <= self.size:
            return False
        return self._file.read_at(position.last_offset, FRAME.size) == position.last_frame

    def decoded(
        self, after: Position | None = None, memory: BatchMemory | None = None
    ) -> Iterator[tuple[int, LogRecord | EventColumns]]:
        """Like :meth:`records`, with batches decoded to columns and everything held against the rules.

        The details of events (collections, marks) come immediately before the columns that hold their events
        and with the offset of these: a detail whose batch is not there, in a log that was cut off between
        the two, never comes. What comes refers only to what came before: numbers are defined once and before
        their use, a stack's parent has a smaller number, every event follows the one before it in ``seq``
        (except after a notice :data:`LOST`), and every collection and mark has its detail.
        With ``after`` it goes on there; with ``memory`` columns are only good until the next ones come.

        Raises LogCorruptError naming the offset of a record that breaks a rule.
        """
        rules = self._rules = after.rules if after else Rules()
        start = (after.offset, after.number) if after else (PRELUDE.size, 0)
        self._reached = (*start, after.last_offset if after else PRELUDE.size)
        for offset, record in self.records(start=start):
            match record:
                case Definitions():
                    self._refuse(offset, rules.definitions(record))
                    yield offset, record
                case CollectionStart() | CollectionStop() | Mark():
                    self._refuse(offset, rules.detail(record))
                case LiveTypes():
                    self._refuse(offset, rules.live_types(record))
                    yield offset, record
                case EventBatch():
                    try:
                        columns = decode_batch(record, memory)
                    except LogCorruptError as error:
                        self._refuse(offset, [error.message])
                        raise
                    details, problems = rules.batch(columns)
                    self._refuse(offset, problems)
                    for detail in details:
                        yield offset, detail
                    yield offset, columns
                case _:
                    if isinstance(record, Notice) and record.code == LOST:
                        rules.lost = True
                    yield offset, record

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _corrupt(self, damage: Damage) -> LogCorruptError:
        hint = f"'tracekit recover {self.path} -o NEW.tkt' keeps all the others"
        return LogCorruptError(f"{self.path}: {damage}", hint=hint)

    def _refuse(self, offset: int, problems: list[str]) -> None:
        if problems:
            hint = f"'tracekit verify {self.path}' lists everything that is wrong with it"
            raise LogCorruptError(f"{self.path}: record at offset {offset}: {problems[0]}", hint=hint)

    def _read_footer(self) -> Footer | None:
        """The footer that the trailer points to; reading to the end reports it when there is none."""
        offset = self._file.trailer()
        if offset is None or not PRELUDE.size <= offset < self.size:
            return None
        found = self._file.record_at(offset, -1)
        return found.record if isinstance(found, Sound) and isinstance(found.record, Footer) else None

    def _count_torn_bytes(self) -> int:
        """Bytes after the last whole record, from the frames alone; 0 when a frame is damaged."""
        offset = PRELUDE.size
        while offset < self.size:
            head = self._file.read_at(offset, FRAME.size)
            frame = unpack_frame(head)
            if frame is None:
                return self.size - offset if len(head) < FRAME.size else 0
            if offset + FRAME.size + frame[0] > self.size:
                break
            offset += FRAME.size + frame[0]
        return self.size - offset
