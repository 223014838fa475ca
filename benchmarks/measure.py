"""Runs one program as a whole process, and measures it from outside.

Wall time is from the start of the command until it has ended, the recorder's own process and the closing of
its file included. CPU time is that of the command and of all processes that it waited for (wait4(2)).

Peak memory is that of the program itself, not of a recorder beside it: the program is found among the
children of the command, and its VmHWM is read from /proc/PID/status (proc(5)) every millisecond. The kernel
keeps that mark itself, so a reading misses nothing that came before it; only what a program gains in its last
millisecond can be lost. ru_maxrss will not do: it is the largest of all processes that the command waited
for, and it begins with the size of the process that started the command. Looking costs the program a little,
so the run that is watched is never the one that is timed.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from msgspec import Struct

from benchmarks.recorders import Content, Recorder
from tracekit.errors import TracekitError

TIMEOUT_SECONDS = 300.0
LOOK_SECONDS = 0.001


class RunFailedError(Exception):
    """A run ended with another status than 0, or not in time."""


class Run(Struct, frozen=True, omit_defaults=True):
    """One run. Seconds and bytes; ``peak_rss`` is 0 for a run that was not watched."""

    wall_s: float
    cpu_s: float
    peak_rss: int = 0
    events: int = 0
    log_bytes: int = 0


def environment() -> dict[str, str]:
    """The surroundings of every run: nothing set that changes Python, and the same hashes each time."""
    values = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return values | {"PYTHONHASHSEED": "0"}


class Timing(Struct, frozen=True, omit_defaults=True):
    """How long a command took, in seconds; ``peak_rss`` in bytes is 0 where nobody looked."""

    wall_s: float
    cpu_s: float
    peak_rss: int = 0


def timed(
    command: list[str], look: Callable[[int], int] | None = None, *, timeout: float = TIMEOUT_SECONDS
) -> Timing:
    """Run a command to its end. ``look`` is called with its process and gives the peak of memory.

    Raises RunFailedError when it ends with another status than 0, or not in ``timeout`` seconds.
    """
    peak = 0
    with tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        pid = _spawn(command, errors.fileno())
        try:
            if look:
                peak = look(pid)
            _wait(pid, timeout)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - start
        if status:
            errors.seek(0)
            last = errors.read().decode(errors="replace").strip().splitlines()[-1:]
            raise RunFailedError(f"status {os.waitstatus_to_exitcode(status)}: {' '.join(last)}")
    return Timing(wall, usage.ru_utime + usage.ru_stime, peak)


def run(recorder: Recorder, program: Path, folder: Path, *, watched: bool = False) -> Run:
    """Run ``program`` under ``recorder``; its file goes to ``folder`` and is removed again.

    A watched run tells ``peak_rss``, and its times are not to be used. Raises RunFailedError.
    """
    output = folder / "recording"
    command = recorder.command(program, output)

    def look(pid: int) -> int:
        return _watch(pid, 0 if recorder.apart else pid, f"{command[0]}\0{program}\0".encode())

    try:
        timing = timed(command, look if watched else None)
        content = _content(recorder, output)
    finally:
        output.unlink(missing_ok=True)
    return Run(
        wall_s=timing.wall_s,
        cpu_s=timing.cpu_s,
        peak_rss=timing.peak_rss,
        events=content.events if content else 0,
        log_bytes=content.bytes if content else 0,
    )


def _content(recorder: Recorder, output: Path) -> Content | None:
    """What was recorded. Raises RunFailedError when that cannot be told."""
    if recorder.content is None:
        return None
    try:
        return recorder.content(output)
    except (OSError, ValueError, TracekitError) as error:
        reason = (
            "nothing was recorded" if not output.exists() else str(error).replace(str(output), "the file")
        )
        raise RunFailedError(reason) from None


def _spawn(command: list[str], errors: int) -> int:
    """Start a command in a process group of its own, so that all of it can be ended."""
    return os.posix_spawn(
        command[0],
        command,
        environment(),
        setpgroup=0,
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0),
            (os.POSIX_SPAWN_DUP2, errors, 2),
        ],
    )


def _wait(pid: int, timeout: float) -> None:
    """Sleep until a child has ended, without taking its status."""
    descriptor = os.pidfd_open(pid)
    try:
        if not select.select([descriptor], [], [], timeout)[0]:
            raise RunFailedError(f"not done after {timeout:.0f} s")
    finally:
        os.close(descriptor)


def _watch(command: int, target: int, arguments: bytes) -> int:
    """Largest resident set of the program in bytes, once the command has ended.

    ``target`` is the program's process; when that is 0, it is a child of the command with these arguments.
    """
    peak = 0
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while os.waitid(os.P_PID, command, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        if time.monotonic() > deadline:
            raise RunFailedError(f"not done after {TIMEOUT_SECONDS:.0f} s")
        target = target or _child(command, arguments)
        if target:
            peak = max(peak, high_water(target))
        time.sleep(LOOK_SECONDS)
    return peak


def _child(parent: int, arguments: bytes) -> int:
    """The child of a process that runs with exactly these arguments, 0 when there is none (yet).

    Until a new process has its own program it shows its parent's arguments, and shares its memory.
    """
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, ValueError):
                status = (entry / "stat").read_bytes()
                if int(status.rpartition(b")")[2].split()[1]) != parent:
                    continue
                if (entry / "cmdline").read_bytes() == arguments:
                    return int(entry.name)
    return 0


def high_water(pid: int | str) -> int:
    """VmHWM of a process (or of "self") in bytes, 0 when it has no memory any more."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
