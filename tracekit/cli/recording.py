"""Runs ``tracekit record``, without the option parser: a program waits for what is imported here."""

# ruff: noqa: PLC0415 - the library is imported when it is needed

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from tracekit.cli.arguments import Asked
    from tracekit.record.recorded import Recorded, RecordedLog

SELDOM = (50_000, 20, 100)
"""Thresholds of the collector of cycles in the recorder's own process."""

MOST_OF_A_COMMAND = 60
"""Characters of a followed process's command line that are shown."""


def record_program(asked: Asked) -> int:
    """Record, say what was recorded, and end as the program did."""
    from tracekit.record.session import Program, RecordOptions, record

    # This process keeps what it learns (call paths above all) and makes no cycles of it. A full collection at
    # the end, for which whoever waits for the program would wait, too, took up to 30 ms.
    gc.freeze()
    gc.set_threshold(*SELDOM)
    recorded = record(
        RecordOptions(
            program=Program(kind=asked.kind, target=asked.target, args=asked.args),
            output=asked.output,
            force=asked.force,
            engine=asked.engine,
            max_frames=asked.max_frames,
            follow=asked.follow,
            source=not asked.no_source,
            tell=_say_nothing_of_it if asked.quiet else _say_if_possible,
            meanwhile=_say_nothing_of_it if asked.quiet else _load_what_tells,
        )
    )
    if not asked.quiet:
        try:
            _tell(recorded)
        except OSError:
            _say_nothing()
    if recorded.exit_status < 0:
        _die_by(-recorded.exit_status)
        return 128 - recorded.exit_status
    return recorded.exit_status


def _load_what_tells() -> None:
    """Done while the program starts, so that nobody waits for it at the program's end."""
    import shlex  # noqa: F401

    from tracekit.cli import output  # noqa: F401
    from tracekit.report import recorded  # noqa: F401


def _tell(recorded: Recorded) -> None:
    import shlex

    import msgspec

    from tracekit.cli.output import say
    from tracekit.report.recorded import recorded_lines

    document: dict[str, Any] = msgspec.to_builtins({"totals": recorded.totals, "notices": recorded.notices})
    for line in recorded_lines(
        document["totals"],
        document["notices"],
        log=recorded.output,
        log_bytes=recorded.log_bytes,
        engine=f"{recorded.engine} engine ({recorded.engine_reason})",
        complete=recorded.complete,
        exit_status=recorded.exit_status,
    ):
        say(line)
    for log in recorded.followed:
        say(_followed_line(log))
    for line in recorded.unfollowed:
        say(f"not recorded: {line}")
    if recorded.output is not None:
        say(f"next: tracekit replay {shlex.quote(recorded.output)} --at peak")


def _followed_line(log: RecordedLog) -> str:
    import shlex

    from tracekit.report.units import human_bytes, plural

    size = f"{human_bytes(log.log_bytes)}, {plural(log.totals.events, 'event')}"
    what = shlex.join(log.argv)
    what = what if len(what) <= MOST_OF_A_COMMAND else f"{what[:MOST_OF_A_COMMAND]}..."
    return f"log {log.output}, {size}{'' if log.complete else ', not complete'}; process {log.pid}: {what}"


def _say_if_possible(text: str) -> None:
    from tracekit.cli.output import say

    with suppress(OSError):
        say(text)


def _say_nothing_of_it(_: str = "") -> None:
    """For --quiet."""


def _say_nothing() -> None:
    """Nobody reads stderr any more, which is no reason to end otherwise than the program did."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _die_by(number: int) -> None:
    """End as the program did, so that whoever waits for us learns the same. Returns only if that fails."""
    import signal

    with suppress(OSError):
        sys.stdout.flush()
    with suppress(OSError, ValueError):
        import resource

        # The core of interest is the program's, not ours.
        resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    with suppress(OSError, ValueError):
        signal.signal(number, signal.SIG_DFL)
    with suppress(OSError, ValueError):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
    os.kill(os.getpid(), number)
