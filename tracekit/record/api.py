"""``with tracekit.record("app.tkt"):`` records a part of a running program. Runs in the target.

The engine is the one that ``tracekit record`` puts into a program. The process that writes the log is
started here, and is no child of this one when the block begins, so that waiting for children works as ever.
"""

from __future__ import annotations

import os
import sys
import time

from tracekit import errors
from tracekit.errors import AlreadyRecordingError, CollectorError, PlatformError
from tracekit.record import active
from tracekit.record.bootstrap import engine_at
from tracekit.record.facts import in_sub_interpreter
from tracekit.record.ring import process_gone
from tracekit.record.slots import OUTCOME_CLOSED, OUTCOME_NONE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from tracekit.record.contract import Engine

PATIENCE_SECONDS = 60.0
"""How long the collector may take for what is left when the block ends; it is less than one ring."""

# The first process ends at once, so that the second has no parent here. What it needs besides Python it finds
# where this program would look for it; of several copies of tracekit it is the one that this program has.
_LAUNCH = """
import os, sys
if os.fork():
    os._exit(0)
os.setsid()
import _signal
_signal.pthread_sigmask(_signal.SIG_SETMASK, [])
os.closerange(4, max([4, *map(int, os.listdir("/proc/self/fd"))]) + 1)
sys.path += [entry for entry in sys.argv[5:] if entry not in sys.path]
sys.path.insert(0, sys.argv[-1])
import tracekit
del sys.path[0]
from tracekit.record.service import serve
serve(3, *sys.argv[1:5])
"""

_claims: dict[int, object] = {}
"""Who records, by process (a fork's child inherits its parent's entry, which is not its own)."""


class Recording:
    """Records this process while the block runs. ``output`` is the absolute path of the log.

    Entering raises AlreadyRecordingError when this process is being recorded, OutputExistsError,
    OutputUnwritableError, UsageError (no such engine), EngineUnavailableError, PlatformError or
    CollectorError. Leaving waits until the log is closed, and raises CollectorError when it is not whole,
    unless the block itself raised.
    """

    def __init__(self, output: str | os.PathLike[str], *, force: bool = False, engine: str = "auto") -> None:
        self.output = os.path.abspath(os.fspath(output))
        self._force = force
        self._wanted = engine
        self._engine: Engine | None = None
        self._collector = 0
        self._pid = 0

    @property
    def engine(self) -> str:
        """Name of the engine that records; empty outside of the block."""
        return "" if self._engine is None else self._engine.name

    def __enter__(self) -> Self:
        pid = os.getpid()
        if active.engine is not None or _claims.setdefault(pid, self) is not self or self._engine is not None:
            raise AlreadyRecordingError(
                "this process is being recorded already", hint="there can be one recording at a time"
            )
        try:
            if in_sub_interpreter():
                raise PlatformError("a sub-interpreter cannot be recorded")
            self._engine = self._begin()
            self._pid = pid
        except BaseException:
            _claims.pop(pid, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        engine, self._engine = self._engine, None
        if engine is None or os.getpid() != self._pid:
            return  # a fork's child leaves the block, and the recording is its parent's
        try:
            engine.stop()
            trouble = self._trouble(engine)
            engine.release()
        finally:
            _claims.pop(self._pid, None)
        if trouble and value is None:
            raise CollectorError(f"the log {self.output} is not whole: {trouble}")

    def _begin(self) -> Engine:
        told, telling = os.pipe()
        try:
            try:
                self._launch(telling)
            finally:
                os.close(telling)
            answer = _read_all(told)
            ring_path, name, collector = _understood(answer)
            self._collector = int(collector)
            try:
                engine = engine_at(ring_path, name)
            except (ImportError, OSError, ValueError, RuntimeError) as error:
                raise CollectorError(f"this process cannot be recorded: {error}") from None
        finally:
            os.close(told)  # the collector sees this, and whether we attached to the ring
        engine.start()
        return engine

    def _launch(self, telling: int) -> None:
        if not sys.executable:
            raise CollectorError("the collector cannot be started: sys.executable is empty")
        root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        arguments = [self.output, str(int(self._force)), self._wanted, str(os.getpid())]
        places = [os.path.abspath(entry) for entry in sys.path]
        actions = [
            (os.POSIX_SPAWN_DUP2, telling, 3),
            *((os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 1, 2)),
        ]
        try:
            launcher = os.posix_spawn(
                sys.executable,
                [sys.executable, "-IBc", _LAUNCH, *arguments, *places, root],
                os.environ,
                file_actions=actions,
            )
        except OSError as error:
            raise CollectorError(f"the collector cannot be started: {error}") from None
        try:
            os.waitpid(launcher, 0)
        except ChildProcessError:  # the program ignores SIGCHLD, or waits for whatever child there is
            return

    def _trouble(self, engine: Engine) -> str:
        """Wait until the log is closed. Returns what is wrong with it."""
        started = time.monotonic()
        pause, next_look = 0.0005, started
        while True:
            outcome = engine.outcome()
            if outcome & 0xFF == OUTCOME_CLOSED:
                return ""
            if outcome != OUTCOME_NONE:
                return os.strerror(outcome >> 8) if outcome >> 8 else "the collector failed"
            now = time.monotonic()
            if now >= next_look:
                next_look = now + 0.1
                # Its last word comes before its end.
                if process_gone(self._collector) and engine.outcome() == OUTCOME_NONE:
                    return "the process that wrote it is gone"
            if now > started + PATIENCE_SECONDS:
                return f"the process that writes it did not finish within {PATIENCE_SECONDS:.0f} s"
            time.sleep(pause)
            pause = min(2 * pause, 0.02)


def record(output: str | os.PathLike[str], *, force: bool = False, engine: str = "auto") -> Recording:
    """Record this process while a block runs: ``with tracekit.record("app.tkt"): ...``.

    ``force`` replaces the output if it exists; ``engine`` is ``auto``, ``native`` or ``portable``. Nothing
    happens before the block is entered; see :class:`Recording` for the errors.
    """
    return Recording(output, force=force, engine=engine)


def _read_all(descriptor: int) -> bytes:
    parts: list[bytes] = []
    while not parts or (parts[-1] and not parts[-1].endswith(b"\n")):
        parts.append(os.read(descriptor, 65_536))
    return b"".join(parts)


def _understood(answer: bytes) -> list[str]:
    """The ring's path, the engine and the collector's number, as the collector said. Raises its error."""
    what, *values = os.fsdecode(answer).rstrip("\n").split("\0")
    if what == "ready":
        return values
    if what == "error":
        for kind in errors.all_errors():
            if kind.code == values[0]:
                raise kind(values[1], hint=values[2])
    raise CollectorError("the process that should write the log could not start")
