"""``tracekit info``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import sys
from dataclasses import dataclass

from tracekit.cli.options import AsJson, Log
from tracekit.cli.output import put, put_lines, terminal_width
from tracekit.report.json import json_document
from tracekit.report.summaries import summary_lines


@dataclass(frozen=True, slots=True)
class InfoOptions:
    """What `info` was asked."""

    log: Log
    as_json: AsJson = False


def run(options: InfoOptions) -> int:
    """Print what a log says about itself: the program, the engine, how many events, the peak, the marks.

    A log of a program that is still running, or that was killed, can be read too; it is then "not complete".
    Sizes are bytes and times are seconds in the JSON.

    Examples:
        tracekit info app.tkt
        tracekit info app.tkt --json

    """
    import msgspec

    from tracekit.log.summary import summarize

    document = msgspec.to_builtins(summarize(options.log))
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(summary_lines(document, width=terminal_width(sys.stdout)))
    return 0
