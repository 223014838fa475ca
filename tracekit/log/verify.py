"""`tracekit verify`: everything that is wrong with a log, not only the first of it."""

from __future__ import annotations

import os

import numpy as np
from msgspec import Struct, structs

from tracekit.errors import LogCorruptError, NotALogError
from tracekit.events import (
    CollectionStart,
    CollectionStop,
    Definitions,
    EventBatch,
    Footer,
    Header,
    IndexEntry,
    LiveTypes,
    LogRecord,
    Mark,
    Notice,
)
from tracekit.log.checks import Detail, Rules
from tracekit.log.columns import NOTHING, EventColumns, decode_batch
from tracekit.log.live import Died
from tracekit.log.reader import LOST
from tracekit.log.scan import Damage, LogFile
from tracekit.log.totals import TotalsFold
from tracekit.log.writer import MAX_INDEX_ENTRIES

MAX_PROBLEMS = 100
"""Problems that are listed; more are only counted."""


class Verification(Struct):
    """What ``verify`` found.

    ``records`` and ``events`` count what is sound. ``complete``: the program reached its own end; ``closed``:
    footer and trailer are there. ``torn_bytes`` belong to a last record that was never finished.
    """

    path: str
    records: int = 0
    events: int = 0
    complete: bool = False
    closed: bool = False
    torn_bytes: int = 0
    problems: list[str] = []

    @property
    def ok(self) -> bool:
        """Nothing is wrong and nothing is lost."""
        return not self.problems


def verify(path: str | os.PathLike[str]) -> Verification:
    """Hold every byte and every rule of a log: checksums, order, references, pairing, totals, index.

    Damage never raises, it is a problem in the result. Raises FileMissingError, NotALogError and
    LogVersionError for a file that cannot be looked at.
    """
    with LogFile(path) as file:
        check = _Check(Verification(str(file.path)))
        try:
            file.version()
        except LogCorruptError as error:
            check.problem(error.message)
        for found in file.walk():
            if isinstance(found, Damage):
                check.damage(found)
            elif found.record is not None:
                check.record(found.number, found.offset, found.record)
        if check.seen == 0:
            raise NotALogError(
                f"{file.path} ends before its header does", hint="the recording had hardly begun"
            )
        return check.finish(file.torn_bytes, closed=file.closed)


class _Check:
    """The state of one verification."""

    def __init__(self, result: Verification) -> None:
        self.result = result
        self.seen = 0
        self._more = 0
        self._rules = Rules()
        self._fold = TotalsFold()
        self._damaged = False
        self._time = 0
        self._batches: list[IndexEntry] = []
        self._footer: Footer | None = None

    def problem(self, text: str) -> None:
        """Note something that is wrong."""
        if len(self.result.problems) < MAX_PROBLEMS:
            self.result.problems.append(text)
        else:
            self._more += 1

    def damage(self, damage: Damage) -> None:
        """Bytes that hold no record: what comes after may miss events, details and definitions."""
        self.seen += 1
        self.problem(f"{damage} ({damage.stop - damage.offset} bytes are lost)")
        self._damaged = self._rules.lost = self._rules.definitions_lost = True

    def record(self, number: int, offset: int, record: LogRecord) -> None:
        """Hold one record against all that came before."""
        self.seen += 1
        self.result.records += 1
        problems: list[str] = []
        match record:
            case Definitions():
                problems = self._rules.definitions(record)
            case CollectionStart() | CollectionStop() | Mark():
                problems = self._rules.detail(record)
            case EventBatch():
                problems = self._batch(offset, record)
            case LiveTypes():
                problems = self._rules.live_types(record)
            case Notice(code=code) if code == LOST:
                self._rules.lost = True
            case Footer():
                self._footer = record
            case Header() | _:
                pass
        for text in problems:
            self.problem(f"record {number} at offset {offset}: {text}")

    def _batch(self, offset: int, batch: EventBatch) -> list[str]:
        gaps = len(self._rules.missing)
        try:
            columns = decode_batch(batch)
            details, problems = self._rules.batch(columns)
            if self._rules.next_seq != batch.first_seq + batch.count:  # events that were there before
                return problems
            died = self._fold.apply(columns)
        except LogCorruptError as error:
            self._damaged = self._rules.lost = True
            return [error.message]
        if self._damaged:
            for first, after in self._rules.missing[gaps:]:
                problems.append(f"events {first} to {after - 1} are missing before it")
        self._batches.append(
            IndexEntry(offset, batch.first_seq, batch.count, batch.first_time_ns, batch.last_time_ns)
        )
        self.result.events += len(columns)
        self.result.complete |= any(_is_end(detail) for detail in details)
        return [*problems, *self._times(columns), *self._pairing(columns, died)]

    def _times(self, columns: EventColumns) -> list[str]:
        steps = np.diff(columns.time_ns, prepend=self._time)
        self._time = int(columns.time_ns[-1])
        back = np.flatnonzero(steps < 0)
        return [f"time goes back at event {columns.first_seq + int(back[0])}"] if len(back) else []

    def _pairing(self, columns: EventColumns, died: Died) -> list[str]:
        """Every free ends a block that is alive, every realloc replaces one that is not any more."""
        problems = []
        wanted = columns.alloc_seq[died.rows]
        for row in np.flatnonzero(~died.matched & (wanted != NOTHING)).tolist():
            if not self._is_missing(int(wanted[row])):
                seq = columns.first_seq + int(died.rows[row])
                problems.append(f"event {seq} frees the block of event {wanted[row]}, which is not alive")
        return problems + self._reallocs(columns, died)

    def _reallocs(self, columns: EventColumns, died: Died) -> list[str]:
        linked = np.flatnonzero(columns.allocations & (columns.alloc_seq != NOTHING))
        old = columns.alloc_seq[linked]
        alive = np.isin(old, self._fold.live.columns["alloc_seq"])
        # Not alive after the batch: then it must have died before this row, not after it.
        wanted = columns.alloc_seq[died.rows]
        order = np.argsort(wanted, kind="stable")
        place = np.searchsorted(wanted[order], old)
        here = place < len(order)
        here[here] = wanted[order[place[here]]] == old[here]
        alive[here] |= died.rows[order[place[here]]] > linked[here]
        return [
            f"event {columns.first_seq + row} replaces the block of event {block}, which is still alive"
            for row, block in zip(linked[alive].tolist(), old[alive].tolist(), strict=True)
            if not self._may_have_died(block, columns.first_seq + row)
        ]

    def _may_have_died(self, block: int, before: int) -> bool:
        """Whether the free of a block may be among the events that are missing before another event."""
        return any(first < before and after > block for first, after in self._rules.missing)

    def _is_missing(self, seq: int) -> bool:
        return any(first <= seq < after for first, after in self._rules.missing)

    def finish(self, torn_bytes: int, *, closed: bool) -> Verification:
        """What can only be said at the end."""
        result = self.result
        result.torn_bytes, result.closed = torn_bytes, closed
        if torn_bytes:
            self.problem(f"the file ends within a record: its last {torn_bytes} bytes are lost")
        if self._rules.pending and not torn_bytes and self._footer:
            self.problem(f"{self._rules.pending} details describe events that never come")
        if self._footer and not self._damaged:
            self._hold_footer(self._footer)
        if self._more:
            result.problems.append(f"and {self._more} more problems")
        return result

    def _hold_footer(self, footer: Footer) -> None:
        found = self._fold.totals
        if footer.totals.duration_ns > found.duration_ns:  # time may pass after the last event
            found = structs.replace(found, duration_ns=footer.totals.duration_ns)
        for name, value in structs.asdict(footer.totals).items():
            if value != getattr(found, name):
                self.problem(f"the footer says {name} {value}, the events give {getattr(found, name)}")
        if footer.complete != self.result.complete:
            says, is_there = ("", "not ") if footer.complete else ("not ", "")
            self.problem(f"the footer says {says}complete, but the mark 'end' is {is_there}there")
        stride = 1
        while len(self._batches) > MAX_INDEX_ENTRIES * stride:
            stride *= 2
        there = self._batches[::stride]
        if len(footer.index) != len(there):
            self.problem(f"the footer's index has {len(footer.index)} entries, {len(there)} belong there")
        for number, (entry, batch) in enumerate(zip(footer.index, there, strict=False)):
            if entry != batch:
                self.problem(f"entry {number} of the footer's index does not name the batch that is there")


def _is_end(detail: Detail) -> bool:
    return isinstance(detail, Mark) and detail.own and detail.name == "end"
