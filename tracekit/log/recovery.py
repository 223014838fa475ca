"""`tracekit recover`: copies what is sound in a damaged log to a new one."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from tracekit.errors import LogCorruptError, NotALogError, OutputExistsError, OutputUnwritableError
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
    MemorySample,
    Notice,
    Stack,
)
from tracekit.log.checks import Numbers, Rules
from tracekit.log.columns import decode_batch
from tracekit.log.livetypes import decode_live_types
from tracekit.log.reader import LOST
from tracekit.log.scan import Damage, LogFile
from tracekit.log.standins import is_empty, stand_ins, unknown_header
from tracekit.log.totals import TotalsFold
from tracekit.log.writer import LogWriter


class Recovery(Struct):
    """What ``recover`` kept and what it had to leave out (one line a loss, in the order of the file).

    ``bytes_lost`` counts bytes of the source that hold nothing which could be kept.
    """

    records_kept: int = 0
    events_kept: int = 0
    bytes_lost: int = 0
    losses: list[str] = []


def recover(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, force: bool = False
) -> Recovery:
    """Copy every sound record of ``source`` to the new log ``target``, which then passes ``verify``.

    Before the first loss stands a notice with the code ``records-lost``; numbers whose definition was lost
    are defined as ``<lost>``; the footer has the totals of what was kept. The source is never modified, and
    the target appears under its name only when it is whole.

    Raises OutputExistsError when the target exists (without ``force``) or is the source,
    OutputUnwritableError when the disk refuses it, FileMissingError, NotALogError and LogVersionError for a
    source that cannot be read at all.
    """
    with LogFile(source) as file:
        rescue = _Rescue()
        try:
            file.version()
        except LogCorruptError as error:
            rescue.lose(error.message, 0)
        with _new_file(file.path, Path(target), force=force) as temporary:
            rescue.copy(file, temporary)
        return rescue.result


@contextmanager
def _new_file(source: Path, target: Path, *, force: bool) -> Iterator[Path]:
    """A temporary file beside ``target`` that takes its name at the end, or goes away on an error."""
    temporary = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        _check_target(source, target, force=force)
        yield temporary
        _check_target(source, target, force=force)
        temporary.replace(target)
    except OSError as error:
        raise OutputUnwritableError(f"{target} cannot be written: {error.strerror}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def _check_target(source: Path, target: Path, *, force: bool) -> None:
    if not target.exists():
        return
    if target.is_dir():
        raise OutputUnwritableError(f"{target} is a folder", hint="name a file")
    if target.samefile(source):
        raise OutputExistsError(f"{target} is the log to recover", hint="name another file")
    if not force:
        raise OutputExistsError(f"{target} exists", hint="use --force to replace it")


class _Rescue:
    """The state of one recovery."""

    def __init__(self) -> None:
        self.result = Recovery()
        self._rules = Rules()
        self._fold = TotalsFold()
        self._writer: LogWriter | None = None
        self._noticed = False
        self._complete = False
        self._exit_status: int | None = None
        self._time = 0

    def lose(self, text: str, count: int) -> None:
        """Note a loss of ``count`` bytes."""
        self.result.losses.append(text)
        self.result.bytes_lost += count
        self._rules.lost = True

    def copy(self, file: LogFile, temporary: Path) -> None:
        """Write all that is sound in ``file`` to ``temporary``."""
        try:
            for found in file.walk():
                if isinstance(found, Damage):
                    self.lose(str(found), found.stop - found.offset)
                elif found.record is not None:
                    self._open(temporary, found.record)
                    problem = self._take(found.record)
                    if problem:
                        where = f"record {found.number} at offset {found.offset}"
                        self.lose(f"{where}: {problem}", found.stop - found.offset)
            if file.torn_bytes:
                self.lose(
                    f"the last {file.torn_bytes} bytes: a record that was never finished", file.torn_bytes
                )
            if self._writer is None:
                raise NotALogError(
                    f"{file.path} holds no sound record", hint="nothing can be recovered from it"
                )
            self._notice()
            self._writer.close(self._fold.totals, complete=self._complete, exit_status=self._exit_status)
        finally:
            if self._writer is not None:
                self._writer.abandon()

    def _open(self, temporary: Path, first: LogRecord) -> None:
        if self._writer is None:
            header = first if isinstance(first, Header) else unknown_header()
            self._writer = LogWriter(temporary.open("wb"), header)

    def _write(self, record: LogRecord) -> None:
        assert self._writer is not None  # noqa: S101 (opened before the first record is taken)
        self._notice()
        self._writer.write(record)

    def _notice(self) -> None:
        """Before anything that follows a loss: the notice which allows it."""
        if not self.result.losses or self._noticed or self._writer is None:
            return
        self._noticed = True
        text = "Parts of this recording were damaged and are not in it: 'tracekit recover' left them out."
        self._writer.write(Notice(LOST, max(self._rules.next_seq - 1, 0), self._time, text))

    def _take(self, record: LogRecord) -> str:
        """Keep a record; why it cannot be kept, if it cannot."""
        match record:
            case Header():
                self.result.records_kept += 1
            case Definitions():
                self._definitions(record)
            case EventBatch():
                return self._batch(record)
            case CollectionStart() | CollectionStop() | Mark():
                if not isinstance(record, CollectionStop):
                    self._stand_in(threads={record.thread_id})
                if isinstance(record, Mark) and record.stacks:
                    self._stand_in(
                        threads={own.thread_id for own in record.stacks},
                        stacks={own.stack_id for own in record.stacks},
                    )
                return next(iter(self._rules.detail(record)), "")
            case LiveTypes():
                return self._live_types(record)
            case Footer():
                self._exit_status = record.exit_status
                self.result.records_kept += 1
            case Notice() | MemorySample():
                self._noticed |= isinstance(record, Notice) and record.code == LOST
                self._rules.lost |= self._noticed
                self._keep(record)
        return ""

    def _live_types(self, record: LiveTypes) -> str:
        """Keep types of live blocks, with stand-ins for types that were lost."""
        try:
            _, type_id = decode_live_types(record)
        except LogCorruptError as error:
            return error.message
        self._stand_in(types=self._rules.types.missing(type_id))
        problem = next(iter(self._rules.live_types(record)), "")
        if not problem:
            self._keep(record)
        return problem

    def _keep(self, record: LogRecord) -> None:
        self._write(record)
        self.result.records_kept += 1

    def _batch(self, batch: EventBatch) -> str:
        """Keep a batch and the details that waited for it."""
        if batch.first_seq < self._rules.next_seq:
            return f"its events from {batch.first_seq} on were there before"
        try:
            columns = decode_batch(batch)
            self._fold.apply(columns)
        except LogCorruptError as error:
            return error.message
        rules = self._rules
        if batch.first_seq > rules.next_seq:
            self.lose(f"events {rules.next_seq} to {batch.first_seq - 1} are missing", 0)
        self._stand_in(
            threads=rules.threads.missing(columns.thread_id),
            stacks=rules.stacks.missing(columns.stack_id),
            types=rules.types.missing(columns.type_id),
        )
        details, problems = rules.batch(columns)
        for problem in problems:
            self.lose(problem, 0)
        for detail in details:
            self._keep(detail)
            self._complete |= isinstance(detail, Mark) and detail.own and detail.name == "end"
        self._keep(batch)
        self._time = batch.last_time_ns
        self.result.events_kept += len(columns)
        return ""

    def _definitions(self, record: Definitions) -> None:
        """Keep the definitions that can stand, with stand-ins for those that they refer to and were lost."""
        rules = self._rules
        for thread in record.threads:  # may come again, with its name
            rules.threads.add(thread.thread_id)
        codes = [item for item in record.codes if self._is_new("code", item.code_id, rules.codes)]
        types = [item for item in record.types if self._is_new("type", item.type_id, rules.types)]
        self._write_definitions(Definitions(threads=record.threads, codes=codes, types=types))
        parents = {stack.parent_id for stack in record.stacks}
        own = {stack.stack_id for stack in record.stacks}
        self._stand_in(stacks=parents - own, codes={stack.code_id for stack in record.stacks})
        stacks = [
            stack
            for stack in record.stacks
            if self._can_stand(stack) and self._is_new("stack", stack.stack_id, rules.stacks)
        ]
        self._stand_in(codes={line.code_id for line in record.lines})
        self._write_definitions(
            Definitions(
                stacks=stacks,
                lines=record.lines,
                older_arenas=record.older_arenas,
                older_pools=record.older_pools,
                gc_settings=record.gc_settings,
            )
        )
        self.result.records_kept += 1

    def _is_new(self, name: str, number: int, defined: Numbers) -> bool:
        if number in defined or (number == 0 and name != "thread"):
            self.lose(f"a second definition of {name} {number}", 0)
            return False
        defined.add(number)
        return True

    def _can_stand(self, stack: Stack) -> bool:
        """Whether all that the stack refers to is there; only a log that broke the rules makes it false."""
        parent_is_there = stack.parent_id == 0 or stack.parent_id in self._rules.stacks
        if stack.parent_id < stack.stack_id and parent_is_there and stack.code_id in self._rules.codes:
            return True
        self.lose(f"stack {stack.stack_id} refers to what comes after it", 0)
        return False

    def _stand_in(
        self,
        *,
        threads: Iterable[int] = (),
        codes: Iterable[int] = (),
        stacks: Iterable[int] = (),
        types: Iterable[int] = (),
    ) -> None:
        """Define the numbers among these that are not defined."""
        made = stand_ins(self._rules, threads=threads, codes=codes, stacks=stacks, types=types)
        if not is_empty(made) and not self.result.losses:
            self.lose("numbers are used that were never defined", 0)
        self._write_definitions(made)

    def _write_definitions(self, record: Definitions) -> None:
        if not is_empty(record):
            self._write(record)
