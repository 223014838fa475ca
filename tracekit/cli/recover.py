"""``tracekit recover``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tracekit.cli.options import AsJson, Force, Log
from tracekit.cli.output import put, say
from tracekit.report.json import json_document
from tracekit.report.verifications import recovery_lines


@dataclass(frozen=True, slots=True)
class RecoverOptions:
    """What `recover` was asked."""

    log: Log
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The log to write. Required.")
    ]
    force: Force = False
    as_json: AsJson = False


def run(options: RecoverOptions) -> int:
    """Copy all that can be read of a damaged log to a new one.

    The damaged log is only read. The new one is a whole log with a footer; where records had to be left out,
    it says so in a notice, and every loss is reported on stderr. A log that only lacks its footer, because
    its writer was killed, needs no recovery: every command reads it up to its last whole record.

    Examples:
        tracekit recover broken.tkt -o good.tkt
        tracekit recover broken.tkt -o good.tkt --json

    """
    import msgspec

    from tracekit.log.recovery import recover

    document = msgspec.to_builtins(recover(options.log, options.output, force=options.force))
    if options.as_json:
        put(json_document(document))
        return 0
    for line in recovery_lines(document):
        say(line)
    say(f"next: tracekit info {shlex.quote(str(options.output))}")
    return 0
