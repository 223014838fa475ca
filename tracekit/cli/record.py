"""``tracekit record``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.arguments import Asked, split_arguments
from tracekit.cli.command import Command
from tracekit.cli.options import Force
from tracekit.errors import UsageError

if TYPE_CHECKING:
    from tracekit.record.session import Kind


class RecordCommand(Command):
    """Takes the program and its arguments off the command line before anything parses them."""

    usage_arguments = "(SCRIPT | -m MODULE | -c CODE) [ARGS]..."

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse our own options; the program goes to the parameters as it was typed."""
        split = split_arguments(args)
        rest = super().parse_args(ctx, split.own)
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
    no_source: Annotated[
        bool, typer.Option("--no-source", help="Leave the source text of the program out of the log.")
    ] = False
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
    from tracekit.cli.recording import record_program

    kind: Kind = "module" if options.module is not None else "code" if options.code is not None else "script"
    target = options.module or options.code or options.script or ""
    return record_program(
        Asked(
            kind,
            target,
            options.args,
            output=None if options.output is None else str(options.output),
            force=options.force,
            engine=options.engine,
            follow=options.follow,
            max_frames=options.max_frames,
            no_source=options.no_source,
            quiet=options.quiet,
        )
    )
