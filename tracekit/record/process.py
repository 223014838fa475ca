"""The program as a child process that behaves, for the world, as if it had been started directly."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import time

from tracekit.record.ring import process_gone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import FrameType, TracebackType
    from typing import Final, Self

FORWARDED: Final = (
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGTERM,
    signal.SIGHUP,
    signal.SIGUSR1,
    signal.SIGUSR2,
    signal.SIGALRM,
)
"""Signals that the program should get when only the recorder does."""

WITNESS_SECONDS: Final = 5.0
"""How long to wait for the witness's answer, which comes at once unless the machine is very busy."""

GROUP_SECONDS: Final = 0.02
"""The kernel gives a signal to one process of a group after the other; the last has it after this."""

_QUESTION: Final = signal.SIGRTMIN
"""Sent to the witness. The kernel hands out pending signals by their numbers, so this one comes last."""

# Blocks nothing itself: it is started with the signals blocked, and takes them one after the other.
_WITNESS_CODE: Final = """
import _signal, os, sys
parent = int(sys.argv[1])
numbers = {int(number) for number in sys.argv[2:]}
while os.getppid() == parent:
    info = _signal.sigtimedwait(numbers, 1)
    if info is not None:
        os.write(1, bytes([info.si_signo]))
"""


class _Witness:
    """A small process beside the program, in the same process group, that tells which signals it gets.

    What it gets was sent to the whole group (typed at the terminal, ``kill %1`` in a shell, killpg), and so
    the program has it already; a signal itself does not tell that.
    """

    def __init__(self) -> None:
        self._told_of: set[int] = set()
        self._told, told = os.pipe()
        try:
            with open(os.devnull, "r+b", buffering=0) as nowhere:
                self._pid = os.posix_spawn(
                    sys.executable,
                    [
                        sys.executable,
                        "-ISc",
                        _WITNESS_CODE,
                        str(os.getpid()),
                        *(str(int(n)) for n in (*FORWARDED, _QUESTION)),
                    ],
                    {},
                    setsigmask={*FORWARDED, _QUESTION},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 0),
                        (os.POSIX_SPAWN_DUP2, told, 1),
                        (os.POSIX_SPAWN_DUP2, nowhere.fileno(), 2),
                    ],
                )
        except BaseException:
            os.close(self._told)
            raise
        finally:
            os.close(told)

    def ours_only(self, numbers: set[int]) -> set[int]:
        """Those of the signals, which we got, that the rest of the group did not get."""
        self._ask()
        if not numbers <= self._told_of:
            time.sleep(GROUP_SECONDS)
            self._ask()
        rest = numbers - self._told_of
        self._told_of -= numbers
        return rest

    def _ask(self) -> None:
        """Learn of all signals that the witness had when it was asked."""
        os.kill(self._pid, _QUESTION)
        deadline = time.monotonic() + WITNESS_SECONDS
        while select.select([self._told], [], [], max(0.0, deadline - time.monotonic()))[0]:
            told = os.read(self._told, 1)
            if not told or told[0] == _QUESTION:
                return
            self._told_of.add(told[0])

    def close(self) -> None:
        """End it."""
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)
        os.close(self._told)


class Child:
    """A running ``python ARGUMENTS``. Use as a context manager, which also guards the signals.

    Signals that are meant for the program are passed on by :meth:`pass_on_signals`, unless the program has
    them already.
    In another thread than the main one nothing is passed on, because Python has no handlers there.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._arguments = arguments
        self._environment = environment
        self._status: int | None = None
        self._noted: list[int] = []
        self._end: int | None = None
        self.pid = 0
        self.interrupted = False
        """Whether a signal came for us after the program had ended."""

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            self._guard_signals(stack)
            self._witness = _Witness()
            stack.callback(self._witness.close)
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *self._arguments],
                self._environment,
                # Python ignores these two, and a child would inherit that (subprocess does the same).
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
            with contextlib.suppress(OSError):  # Linux before 5.3, or not allowed: we look more often
                self._end = os.pidfd_open(self.pid)
                stack.callback(os.close, self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._stack:
            if self.running:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)

    def _guard_signals(self, stack: contextlib.ExitStack) -> None:
        for number in FORWARDED:
            before = signal.getsignal(number)
            if before is not signal.SIG_IGN:
                try:
                    signal.signal(number, self._note)
                except ValueError:  # not the main thread
                    return
                stack.callback(signal.signal, number, signal.SIG_DFL if before is None else before)

    @property
    def running(self) -> bool:
        """Whether the program still runs; collects its exit status when it does not."""
        if self._status is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._status = os.waitstatus_to_exitcode(status)
        return self._status is None

    @property
    def status(self) -> int:
        """Exit status, negative for a signal."""
        if self._status is None:
            raise RuntimeError("the program still runs")
        return self._status

    def wait(self, seconds: float, others: Iterable[int] = ()) -> None:
        """Sleep, but not beyond the program's end or until one of the ``others`` (descriptors) is ready."""
        # Not signal.sigtimedwait(): it returns uninitialized memory when it is interrupted at its timeout.
        poll = select.poll()
        if self._end is not None and self._status is None:
            poll.register(self._end, select.POLLIN)
        for descriptor in others:
            poll.register(descriptor, select.POLLIN)
        poll.poll(seconds * 1000)

    def pass_on_signals(self) -> None:
        """Send the program what only we received since the last call."""
        while self._noted:
            noted, self._noted = self._noted, []
            ours = self._witness.ours_only(set(noted))
            for number in noted:
                if number in ours and self.running:
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(self.pid, number)

    def resident_bytes(self) -> int:
        """Resident set size of the program now, 0 when it cannot be told."""
        return resident_bytes(self.pid)

    def close(self) -> None:
        """What is to be forgotten of it is forgotten at the end of the context."""

    def _note(self, number: int, _: FrameType | None) -> None:
        if self._status is None:
            self._noted.append(number)
        else:
            self.interrupted = True


class Other:
    """A process that is not our child, as far as one can look at it from outside."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.descriptor: int | None = None
        with contextlib.suppress(OSError):  # Linux before 5.3, or not allowed: look it up each time
            self.descriptor = os.pidfd_open(pid)

    @property
    def running(self) -> bool:
        """Whether it still runs; a zombie does not."""
        if self.descriptor is None:
            return not process_gone(self.pid)
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        return not poll.poll(0)

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond its end."""
        poll = select.poll()
        if self.descriptor is not None:
            poll.register(self.descriptor, select.POLLIN)
        poll.poll(seconds * 1000)

    def resident_bytes(self) -> int:
        """Resident set size now, 0 when it cannot be told."""
        return resident_bytes(self.pid)

    def close(self) -> None:
        """Forget it."""
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def let_program_run() -> Callable[[], None]:
    """From now on this thread does not interrupt a program that has the processor. Returns how to undo that.

    The collector wakes up every few milliseconds. A kernel that had it run at once, on the program's own
    processor, made the program wait; under SCHED_BATCH it runs on another one or a little later (sched(7)).
    """
    try:
        if os.sched_getscheduler(0) == os.SCHED_OTHER:
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
            return _run_as_ever
    except OSError:  # not allowed, and not needed
        pass
    return _do_nothing


def _run_as_ever() -> None:
    with contextlib.suppress(OSError):
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _do_nothing() -> None:
    """There is nothing to undo."""


def resident_bytes(pid: int) -> int:
    """Resident set size of a process now, 0 when it cannot be told (proc_pid_statm(5))."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as file:
            pages = int(file.read().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def started_ns(pid: int) -> int:
    """When a process began, in nanoseconds since 1970; 0 when it cannot be told (proc_pid_stat(5))."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            ticks = int(file.read().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return 0
    # To the end of the tick, of which the kernel tells the beginning.
    up_ns = (ticks + 1) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
    return time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME) + up_ns
