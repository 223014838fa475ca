"""``tracekit dump``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import typer

from tracekit.cli.options import Log
from tracekit.cli.output import put
from tracekit.report.text import ascii_json


@dataclass(frozen=True, slots=True)
class DumpOptions:
    """What `dump` was asked."""

    log: Log
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON lines, which is what it does anyway.")
    ] = False


def run(options: DumpOptions) -> int:
    """Print every record of a log as one JSON object a line, for eyes and for tests.

    The header comes first; definitions come before their first use; events come one by one in the order of
    their numbers, with the type of the record in the key "type". The lines go to stdout as the log is read.

    Examples:
        tracekit dump app.tkt | head -1 | python -m json.tool
        tracekit dump app.tkt | grep '"gc-stop"'

    """
    from tracekit.log.dump import dump

    for line in dump(options.log):
        put(ascii_json(line) + "\n")
    return 0
