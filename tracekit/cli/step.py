"""``tracekit step``."""

# ruff: noqa: PLC0415 - the library and Textual are imported when they are needed, so that `--help` is quick

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from tracekit.cli.options import Log, NoCache, choice
from tracekit.cli.output import opened
from tracekit.errors import ExtraMissingError, UsageError


@dataclass(frozen=True, slots=True)
class StepOptions:
    """What `step` was asked."""

    log: Log
    at: Annotated[str, typer.Option("--at", metavar="MOMENT", help="Where to begin.")] = "peak"
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="GROUPING",
            help="Show the heap by site, function, file, type, thread, domain or stack (a call tree).",
        ),
    ] = "site"
    no_cache: NoCache = False


def run(options: StepOptions) -> int:
    """Step through a recording on the screen, forwards and backwards, with the heap at every event.

    Shows what is alive over time, the heap at the position by whatever you choose, and what the event there
    did: to which block, on which line, for how long. Moves by events, collections and marks, to the next
    allocation of a group, and between a block's allocation and its free. The key ? lists all keys. Needs a
    terminal, and the extra "step".

    Examples:
        tracekit step app.tkt
        tracekit step app.tkt --at mark:warm --by type
        tracekit step app.tkt --at 50% --by stack

    """
    from tracekit.replay.heap import BY_ORIGIN

    choice("--by", options.by, BY_ORIGIN)
    _check_terminal(options)
    try:
        import textual  # noqa: F401
    except ImportError:
        raise ExtraMissingError(
            "step needs Textual, which is not installed", hint="pip install 'tracekit-memory[step]'"
        ) from None
    with opened(options.log, cache=not options.no_cache) as store:
        from tracekit.replay.moment import resolve_moment

        moment = resolve_moment(store, options.at)

        from tracekit.cli.stepping.model import Recording
        from tracekit.cli.stepping.screen import StepApp

        app = StepApp(Recording(store, moment, options.by))
        app.run()
    return app.return_code or 0


def _check_terminal(options: StepOptions) -> None:
    able = os.environ.get("TERM", "") not in ("dumb", "unknown", "")
    if not (sys.stdin.isatty() and sys.stdout.isatty() and able):
        raise UsageError(
            "step needs a terminal with a screen",
            hint=f"'tracekit replay {options.log} --at {options.at}' prints the heap anywhere",
        )
