"""One recording from the outside: start the program, collect until it is gone, close the log.

The program is run by a plain ``python`` with its own arguments; all that differs is one folder on PYTHONPATH,
which takes itself away again before the program begins (``_site/sitecustomize.py``). This process waits for
the program as a shell would, passes on the signals that only it received, and reports the program's own exit
status.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import time
import uuid
from pathlib import Path
from typing import BinaryIO, Final, Literal

from msgspec import Struct

from tracekit._version import __version__
from tracekit.errors import OutputExistsError, OutputUnwritableError, PlatformError, ProgramMissingError
from tracekit.events import AllocatorInfo, CollectorInfo, Header, Notice, PythonInfo, Totals
from tracekit.log.writer import LogWriter
from tracekit.record.collector import Collector, Facts, header_of
from tracekit.record.decode import RingItem, RingReader
from tracekit.record.process import Child
from tracekit.record.select import Selection, select

SYNC_INTERVAL_NS: Final = 20_000_000
IDLE_SECONDS: Final = 0.002
SAMPLE_SECONDS: Final = 0.05
MAX_FRAMES: Final = 64


class Program(Struct, frozen=True):
    """What to run, as python's command line knows it: ``SCRIPT``, ``-m MODULE`` or ``-c CODE``."""

    kind: Literal["script", "module", "code"]
    target: str
    args: list[str]

    @property
    def arguments(self) -> list[str]:
        """The arguments that python gets."""
        option = {"script": [], "module": ["-m"], "code": ["-c"]}[self.kind]
        return [*option, self.target, *self.args]


class RecordOptions(Struct, frozen=True, kw_only=True):
    """How to record. ``output`` None means :func:`default_output`; ``max_frames`` is a limit a call path."""

    program: Program
    output: Path | None = None
    force: bool = False
    engine: str = "auto"
    max_frames: int = MAX_FRAMES


class Recorded(Struct, frozen=True):
    """What came of it. ``exit_status`` is negative for a signal; ``output`` is None when no log was made."""

    output: Path | None
    exit_status: int
    complete: bool
    engine: str
    engine_reason: str
    totals: Totals
    log_bytes: int
    notices: list[Notice]


def default_output(program: Program) -> Path:
    """Where a recording goes when nobody says: ``app.tkt`` for ``app.py`` and for ``-m package.app``."""
    if program.kind == "code" or program.target == "-":
        return Path("command.tkt")
    if program.kind == "module":
        return Path(f"{program.target.rpartition('.')[2] or 'module'}.tkt")
    return Path(f"{Path(program.target).resolve().stem or 'script'}.tkt")


def record(options: RecordOptions) -> Recorded:
    """Run a program and record it.

    Raises ProgramMissingError, OutputExistsError, OutputUnwritableError, EngineUnavailableError or
    PlatformError before the program is started; nothing is written then. Once the program runs, trouble of
    the recorder's own ends the recording, not the program, and is told in ``notices``.
    """
    if not sys.platform.startswith("linux"):
        raise PlatformError(f"recording works on Linux only so far, and this is {sys.platform}")
    selection = select(options.engine)
    program = options.program
    _check_program(program)
    output = options.output or default_output(program)
    target = _Output(output, force=options.force)
    try:
        return _run(options, selection, target)
    finally:
        target.discard()


def _run(options: RecordOptions, selection: Selection, target: _Output) -> Recorded:
    ring = RingReader(max_frames=options.max_frames, sync_interval_ns=SYNC_INTERVAL_NS)
    with contextlib.closing(ring):

        def open_log(facts: Facts) -> LogWriter:
            writer = LogWriter(target.file, header_of(_header(options, selection), facts))
            target.publish()
            return writer

        collector = Collector(open_log)
        with Child(options.program.arguments, _environment(ring.path)) as child:
            failure = _collect(ring, collector, child)
            status = child.status
        log_bytes = 0
        if failure is None and collector.attached:
            try:
                log_bytes = _finish(collector, status)
            except Exception as error:  # noqa: BLE001 - the program's status is still to be told
                failure = error
        if failure is not None:
            collector.notice("log-not-written", f"the log ends early: {_reason(failure)}")
            log_bytes = collector.abandon()
        elif not collector.attached:
            collector.notice("not-recorded", "the program never reached the recorder, so there is no log")
    return Recorded(
        output=target.path if target.published else None,
        exit_status=status,
        complete=collector.complete and failure is None,
        engine=selection.engine,
        engine_reason=selection.reason,
        totals=collector.totals,
        log_bytes=log_bytes,
        notices=collector.notices,
    )


def _collect(ring: RingReader, collector: Collector, child: Child) -> Exception | None:
    """Drain the ring until the program is gone and the ring is empty. Returns what ended the log early."""
    failure: Exception | None = None
    next_sample = 0.0
    while True:
        gone = not child.running
        items: list[RingItem] = []
        if failure is None:
            try:
                items = ring.drain()
                collector.take(items)
                now = time.monotonic()
                if collector.attached and not gone and now >= next_sample:
                    next_sample = now + SAMPLE_SECONDS
                    rss = child.resident_bytes()
                    if rss:
                        collector.sample_memory(rss)
            except Exception as error:  # noqa: BLE001 - whatever it is, the program must not die of it
                failure = error
                ring.stop_target()
        if not items:
            if gone:
                return failure
            child.wait(IDLE_SECONDS)


def _reason(failure: Exception) -> str:
    if isinstance(failure, OSError):
        return failure.strerror or str(failure)
    return f"{type(failure).__name__}: {failure}"


def _finish(collector: Collector, status: int) -> int:
    if not collector.complete:
        how = f"was killed by signal {-status}" if status < 0 else f"exited with status {status}"
        collector.notice("no-end", f"the program {how} without passing through Python's own end")
    return collector.close(status)


def _header(options: RecordOptions, selection: Selection) -> Header:
    nothing = PythonInfo("", 0, "", "", "")
    return Header(
        trace_uuid=str(uuid.uuid4()),
        tool_version=__version__,
        engine=selection.engine,
        engine_reason=selection.reason,
        capabilities=selection.capabilities,
        python=nothing,
        platform=platform.platform(),
        pid=0,
        argv=options.program.arguments,
        cwd=str(Path.cwd()),
        started_at_ns=0,
        max_frames=options.max_frames,
        # pycore_obmalloc.h of 3.11 to 3.13 on 64-bit machines (USE_LARGE_ARENAS, USE_LARGE_POOLS).
        allocator=AllocatorInfo(
            page_size=os.sysconf("SC_PAGE_SIZE"),
            arena_size=1 << 20,
            pool_size=1 << 14,
            alignment=16,
            small_request_threshold=512,
        ),
        collector=CollectorInfo((0, 0, 0), enabled=True),
        sync_interval_ns=SYNC_INTERVAL_NS,
    )


def _environment(ring_path: str) -> dict[str, str]:
    environment = dict(os.environ)
    if _locale_was_coerced():
        del environment["LC_CTYPE"]
    before = environment.get("PYTHONPATH")
    site = str(Path(__file__).resolve().parent / "_site")
    environment["PYTHONPATH"] = f"{site}{os.pathsep}{before}" if before else site
    environment["TRACEKIT_RING"] = ring_path
    if before is not None:
        environment["TRACEKIT_PYTHONPATH"] = before
    return environment


def _locale_was_coerced() -> bool:
    """Whether Python itself set LC_CTYPE, in the locale "C" (PEP 538): the program's Python will, too."""
    if os.environ.get("LC_CTYPE") not in {"C.UTF-8", "C.utf8", "UTF-8"}:
        return False
    try:
        inherited = Path("/proc/self/environ").read_bytes()
    except OSError:
        return False
    return not any(entry.startswith(b"LC_CTYPE=") for entry in inherited.split(b"\0"))


def _check_program(program: Program) -> None:
    if program.kind != "script" or program.target == "-":
        return
    path = Path(program.target)
    if not path.exists():
        raise ProgramMissingError(f"there is no script {program.target!r} here", hint="check the path")
    if path.is_dir() and not (path / "__main__.py").exists():
        raise ProgramMissingError(f"{program.target} is a folder without a __main__.py")
    if not os.access(path, os.R_OK):
        raise ProgramMissingError(f"{program.target} cannot be read")


class _Output:
    """The log's file: written under a temporary name until its header is there, then put in place at once."""

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path = path
        self._force = force
        self.published = False
        if path.is_dir():
            raise OutputUnwritableError(f"{path} is a folder", hint="name a file with -o")
        if path.exists() and not path.is_file():
            raise OutputUnwritableError(f"{path} is no regular file", hint="name another with -o")
        if (path.exists() or path.is_symlink()) and not force:
            raise OutputExistsError(
                f"{path} exists", hint="use --force to replace it, or -o for another name"
            )
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.file: BinaryIO = self._temporary.open("xb", buffering=0)
        except OSError as error:
            raise OutputUnwritableError(
                f"{path} cannot be written: {error.strerror}", hint="choose another place with -o"
            ) from None

    def publish(self) -> None:
        """Give the file its name. Raises OSError when that is taken now and ``force`` is off."""
        if self._force or not self._linked():
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink()
        self.published = True

    def _linked(self) -> bool:
        """Take the name if it is free. False on a file system without links, where a look must do."""
        try:
            os.link(self._temporary, self.path)
        except OSError:
            if self.path.exists() or self.path.is_symlink():
                raise
            return False
        return True

    def discard(self) -> None:
        """Close the file, and remove it if it was never published."""
        self.file.close()
        if not self.published:
            self._temporary.unlink(missing_ok=True)
