"""The program as a child process that behaves, for the world, as if it had been started directly."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType, TracebackType
from typing import Any, Final, Self

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

_FROM_KERNEL: Final = 0x80  # SI_KERNEL: typed at the terminal, so that the whole foreground group has it


class Child:
    """A running ``python ARGUMENTS``. Use as a context manager, which also guards the signals.

    Signals are blocked rather than handled, and looked at when we wait: only so does the kernel tell whether
    a signal came from the terminal, which reaches the program by itself, or was sent to this process alone.
    """

    def __init__(self, arguments: list[str], environment: dict[str, str]) -> None:
        self._arguments = arguments
        self._environment = environment
        self._status: int | None = None
        self.pid = 0

    def __enter__(self) -> Self:
        self._previous = {number: signal.getsignal(number) for number in FORWARDED}
        for number, handler in self._previous.items():
            # A thread that was started before us may take a signal; then this handler passes it on.
            if handler is not signal.SIG_IGN:
                signal.signal(number, self._pass_on)
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
        try:
            self.pid = os.posix_spawn(
                sys.executable,
                [sys.executable, *self._arguments],
                self._environment,
                setsigmask=self._mask,
                # Python ignores these two, and a child would inherit that (subprocess does the same).
                setsigdef=[signal.SIGPIPE, signal.SIGXFSZ],
            )
        except BaseException:
            self._restore()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.running:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        self._restore()

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

    def wait(self, seconds: float) -> None:
        """Sleep, but not beyond the program's end; pass on signals that only we received."""
        info = signal.sigtimedwait({*FORWARDED, signal.SIGCHLD}, seconds)
        if info is not None and info.si_signo != signal.SIGCHLD and info.si_code != _FROM_KERNEL:
            self._pass_on(info.si_signo, None)

    def resident_bytes(self) -> int:
        """Resident set size of the program now, 0 when it cannot be told (proc_pid_statm(5))."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def _pass_on(self, number: int, _: FrameType | None) -> None:
        if self.pid and self._status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _restore(self) -> None:
        for number, handler in self._previous.items():
            restored: Any = signal.SIG_DFL if handler is None else handler
            if handler is not signal.SIG_IGN:
                signal.signal(number, restored)
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)
