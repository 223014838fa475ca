"""``tracekit record``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import os
import shlex
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from tracekit.cli.arguments import plain_options, split_arguments
from tracekit.cli.command import Command
from tracekit.cli.options import Force, choice
from tracekit.cli.output import say
from tracekit.errors import UsageError
from tracekit.report.recorded import recorded_lines
from tracekit.report.units import human_bytes, plural

if TYPE_CHECKING:
    from tracekit.record.recorded import Recorded, RecordedLog

MOST_OF_A_COMMAND = 60
"""Characters of a followed process's command line that are shown."""
ENGINES = ("auto", "native", "portable")


class RecordCommand(Command):
    """Takes the program and its arguments off the command line before anything parses them."""

    usage_arguments = "(SCRIPT | -m MODULE | -c CODE) [ARGS]..."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse our own options; the program goes to the parameters as it was typed."""
        split = split_arguments(args)
        plain = None if split.kind is None else plain_options(split.own)
        if plain is None:
            rest = super().parse_args(ctx, split.own)
        else:
            rest = []
            ctx.params.update(plain)
        for name in ("script", "module", "code"):
            ctx.params[name] = split.target if name == split.kind else None
        ctx.params["args"] = split.rest
        return rest


COMMAND = RecordCommand
"""What `register` is to make of it."""


@dataclass(frozen=True, slots=True)
class RecordCommandOptions:
    """What `record` was asked."""

    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The log to write. [default: by the program's name]"
        ),
    ] = None
    force: Force = False
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="NAME", help="auto, native (exact), or portable (pure Python)."),
    ] = "auto"
    follow: Annotated[
        bool,
        typer.Option("--follow", help="Record Python child processes, too, each into a log of its own."),
    ] = False
    max_frames: Annotated[
        int,
        typer.Option(
            "--max-frames", metavar="N", help="Innermost frames of a call path to keep (portable engine)."
        ),
    ] = 64
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Do not say what was recorded.")] = False
    module: Annotated[
        str | None, typer.Option("-m", metavar="MODULE", help="Run a module, as 'python -m' does.")
    ] = None
    code: Annotated[str | None, typer.Option("-c", metavar="CODE", help="Run code, as 'python -c' does.")] = (
        None
    )
    script: Annotated[
        str | None, typer.Argument(metavar="SCRIPT", help="Run a script, as 'python SCRIPT' does.")
    ] = None
    args: Annotated[
        list[str],
        typer.Argument(metavar="ARGS", help="Arguments of the program; all that follows it is its own."),
    ] = field(default_factory=list)

    def __post_init__(self) -> None:
        choice("--engine", self.engine, ENGINES)
        if self.max_frames < 1:
            raise UsageError(f"--max-frames cannot be {self.max_frames}", hint="give 1 or more")
        if self.script is None and self.module is None and self.code is None:
            raise UsageError(
                "there is no program to record", hint="give a SCRIPT, -m MODULE or -c CODE (see --help)"
            )


def run(options: RecordCommandOptions) -> int:
    """Run a program as python would, and record its memory.

    The program sees its own arguments, stdin, stdout and signals, and nothing is printed while it runs. At
    its end, what was recorded is said on stderr, and tracekit exits with the program's own status (or dies by
    the signal that it died of). A program that is killed leaves a log that holds all until then.

    Child processes run unrecorded. With --follow, those that run Python (by fork, multiprocessing or
    subprocess) are recorded into app.PID.tkt beside app.tkt, and tracekit waits for the last of them.

    Examples:
        tracekit record app.py
        tracekit record -o app.tkt app.py --an-option-of-the-app
        tracekit record -o tests.tkt -m pytest tests
        tracekit record --follow app.py
        tracekit record -c "print(sum(range(10)))"

    """
    from tracekit.record.session import Program, RecordOptions, record

    kind: Literal["script", "module", "code"] = (
        "module" if options.module is not None else "code" if options.code is not None else "script"
    )
    target = options.module or options.code or options.script or ""
    recorded = record(
        RecordOptions(
            program=Program(kind=kind, target=target, args=options.args),
            output=options.output,
            force=options.force,
            engine=options.engine,
            max_frames=options.max_frames,
            follow=options.follow,
            tell=_say_nothing_of_it if options.quiet else _say_if_possible,
        )
    )
    if not options.quiet:
        try:
            _tell(recorded)
        except OSError:
            _say_nothing()
    if recorded.exit_status < 0:
        _die_by(-recorded.exit_status)
        return 128 - recorded.exit_status
    return recorded.exit_status


def _tell(recorded: Recorded) -> None:
    import msgspec

    document = cast(
        "dict[str, Any]", msgspec.to_builtins({"totals": recorded.totals, "notices": recorded.notices})
    )
    for line in recorded_lines(
        document["totals"],
        document["notices"],
        log=None if recorded.output is None else str(recorded.output),
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
        say(f"next: tracekit replay {shlex.quote(str(recorded.output))} --at peak")


def _followed_line(log: RecordedLog) -> str:
    size = f"{human_bytes(log.log_bytes)}, {plural(log.totals.events, 'event')}"
    what = shlex.join(log.argv)
    what = what if len(what) <= MOST_OF_A_COMMAND else f"{what[:MOST_OF_A_COMMAND]}..."
    return f"log {log.output}, {size}{'' if log.complete else ', not complete'}; process {log.pid}: {what}"


def _say_if_possible(text: str) -> None:
    with suppress(OSError):
        say(text)


def _say_nothing_of_it(_: str) -> None:
    """For --quiet."""


def _say_nothing() -> None:
    """Nobody reads stderr any more, which is no reason to end otherwise than the program did."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _die_by(number: int) -> None:
    """End as the program did, so that whoever waits for us learns the same. Returns only if that fails."""
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
