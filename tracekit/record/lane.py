"""One recorded process from the collector's side: its ring, what is collected out of it, and its log."""

from __future__ import annotations

import os
import time
import uuid
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol

from tracekit._version import __version__
from tracekit.events import AllocatorInfo, CollectorInfo, Header, PythonInfo
from tracekit.log.writer import LogWriter
from tracekit.record import slots
from tracekit.record.capabilities import CAPABILITIES
from tracekit.record.collector import Collector, Facts, header_of
from tracekit.record.decode import RingReader
from tracekit.record.outputs import Output
from tracekit.record.process import started_ns
from tracekit.record.recorded import RecordedLog
from tracekit.record.ringfile import RingFile
from tracekit.record.select import Selection

SAMPLE_SECONDS: Final = 0.05


class Process(Protocol):
    """What a lane needs to know of the process that it records."""

    pid: int

    @property
    def running(self) -> bool:
        """Whether it still runs."""

    def resident_bytes(self) -> int:
        """Resident set size now, 0 when it cannot be told."""

    def close(self) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all logs of a recording have in common; it began at ``began_ns`` (since 1970)."""

    selection: Selection
    max_frames: int
    sync_interval_ns: int
    source: bool = True
    began_ns: int = field(default_factory=time.time_ns)


class Lane:
    """Collects what one process writes until that is gone, and closes its log.

    ``argv`` and ``cwd`` None mean that the process itself says them.
    """

    def __init__(  # noqa: PLR0913 - what a lane is made of
        self,
        file: RingFile,
        output: Output,
        process: Process,
        setting: Setting,
        *,
        argv: list[str] | None = None,
        cwd: str | None = None,
    ) -> None:
        self.output = output
        self.process = process
        self.left: Literal["", "exec", "interrupted", "refused"] = ""
        """Why nobody waits for the process's end any more."""
        self._file = file
        self._ring = RingReader(file)
        self._setting = setting
        self._argv = argv
        self._cwd = cwd
        self._next_sample = 0.0
        self._all_taken = False
        self._settled = False
        self._failure: Exception | None = None
        self.argv: list[str] = argv or []
        self.collector = Collector(self._open_log)

    def _open_log(self, facts: Facts) -> LogWriter:
        self.argv = facts["argv"].split("\0") if self._argv is None else self._argv
        cwd = facts["cwd"] if self._cwd is None else self._cwd
        header = header_of(base_header(self._setting, self.argv, cwd), facts)
        # A fork runs what its parent loaded, perhaps long ago. Where a process itself began the
        # recording, it runs what was loaded since its own beginning.
        began_ns = min(self._setting.began_ns, started_ns(header.pid) or self._setting.began_ns)
        if self._setting.source:
            self.collector.sources.begin(cwd, began_ns, fresh=self._argv is not None)
        writer = LogWriter(self.output.file, header)
        self.output.publish()
        return writer

    @property
    def gone(self) -> bool:
        """Whether nothing more will be written to the ring than what is in it now."""
        return bool(self.left) or not self.process.running

    def drain(self, *, gone: bool) -> bool:
        """Take what is in the ring. False when there was nothing (more)."""
        if self._failure is not None:
            return False
        ended = self.over  # before the drain: then what is found now is all there is
        try:
            items = self._ring.drain()
            self.collector.take(items)
            self._all_taken = ended and not items
            now = time.monotonic()
            if self.collector.attached and not gone and now >= self._next_sample:
                self._next_sample = now + SAMPLE_SECONDS
                rss = self.process.resident_bytes()
                if rss:
                    self.collector.sample_memory(max(0, rss - self._file.touched_bytes))
        except Exception as error:  # noqa: BLE001 - whatever it is, the program must not die of it
            self._failure = error
            self._file.stop_target()
            return False
        return bool(items)

    def settle(self) -> None:
        """When all was taken of a process that takes itself down: do now what nobody has to wait for."""
        if self._settled or not self._all_taken or self._failure is not None:
            return
        self._settled = True
        try:
            self.collector.settle()
        except Exception as error:  # noqa: BLE001 - as above
            self._failure = error
            self._file.stop_target()
            return
        self._ring.settle()

    @property
    def fill(self) -> float:
        """The part of the ring that waits to be drained, 0 to 1."""
        return self._ring.backlog / self._file.capacity

    def read_sources(self, until: float) -> bool:
        """Read source text until then (``time.monotonic``). False when there is no more to read."""
        return self._failure is None and self.collector.sources.read(until)

    @property
    def over(self) -> bool:
        """Whether the process has recorded its own end, or nothing can be written any more."""
        return self._failure is not None or self._file.state == slots.STATE_ENDED

    def leave(self, why: Literal["exec", "interrupted", "refused"]) -> None:
        """Stop recording the process, which goes on."""
        self._file.stop_target()
        self.left = self.left or why

    def finish(self, status: int | None) -> RecordedLog:
        """Close the log and the ring. ``status`` is the process's exit status as far as it is known."""
        log_bytes = 0
        collector = self.collector
        if self._failure is None and collector.attached:
            try:
                log_bytes = self._close_log(status)
            except Exception as error:  # noqa: BLE001 - the program's status is still to be told
                self._failure = error
        if self._failure is not None:
            collector.notice("log-not-written", f"the log ends early: {_reason(self._failure)}")
            log_bytes = collector.abandon()
        elif not collector.attached:
            collector.notice("not-recorded", "the program never reached the recorder, so there is no log")
        self._tell_target()
        self._ring.close()
        self.output.discard()
        self.process.close()
        return RecordedLog(
            pid=self.process.pid,
            argv=self.argv,
            output=self.output.path if self.output.published else None,
            complete=collector.complete and self._failure is None,
            totals=collector.totals,
            log_bytes=log_bytes,
            notices=collector.notices,
        )

    def _close_log(self, status: int | None) -> int:
        if self.collector.complete:
            pass
        elif self.left == "exec":
            self.collector.notice("no-end", "the process started another program in its own place (exec)")
        elif self.left == "interrupted":
            self.collector.notice("follow-ended", "the recorder was told to end while the process still ran")
        else:
            how = "ended"
            if status is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
            self.collector.notice("no-end", f"the program {how} without passing through Python's own end")
        return self.collector.close(status)

    def _tell_target(self) -> None:
        outcome = slots.OUTCOME_CLOSED if self._failure is None else slots.OUTCOME_FAILED
        number = getattr(self._failure, "errno", None) or 0
        self._file.tell(outcome | number << 8)


def _reason(failure: Exception) -> str:
    if isinstance(failure, OSError):
        return failure.strerror or str(failure)
    return f"{type(failure).__name__}: {failure}"


def base_header(setting: Setting, argv: list[str], cwd: str) -> Header:
    """A header without what the process says of itself (:func:`tracekit.record.collector.header_of`)."""
    nothing = PythonInfo("", 0, "", "", "")
    machine = os.uname()
    return Header(
        trace_uuid=str(uuid.uuid4()),
        tool_version=__version__,
        engine=setting.selection.engine,
        engine_reason=setting.selection.reason,
        capabilities=CAPABILITIES[setting.selection.engine],
        python=nothing,
        platform=f"{machine.sysname}-{machine.release}-{machine.machine}",
        pid=0,
        argv=argv,
        cwd=cwd,
        started_at_ns=0,
        max_frames=setting.max_frames,
        # pycore_obmalloc.h of 3.11 to 3.13 on 64-bit machines (USE_LARGE_ARENAS, USE_LARGE_POOLS).
        allocator=AllocatorInfo(
            page_size=os.sysconf("SC_PAGE_SIZE"),
            arena_size=1 << 20,
            pool_size=1 << 14,
            alignment=16,
            small_request_threshold=512,
        ),
        collector=CollectorInfo((0, 0, 0), enabled=True),
        sync_interval_ns=setting.sync_interval_ns,
    )
