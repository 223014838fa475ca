"""``tracekit verify``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

from dataclasses import dataclass

from tracekit.cli.options import AsJson, Log
from tracekit.cli.output import put, put_lines, terminal_width
from tracekit.report.json import json_document
from tracekit.report.verifications import verification_lines


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """What `verify` was asked."""

    log: Log
    as_json: AsJson = False


def run(options: VerifyOptions) -> int:
    """Check a log: checksums, the order of its events, and that every free ends a living block.

    Exits 0 when nothing is wrong, and 1 when something is; every problem is a line that says what is lost.
    A log whose program or recorder was killed is shorter than it would have been, but not damaged.

    Examples:
        tracekit verify app.tkt
        tracekit verify app.tkt --json
        tracekit verify app.tkt || tracekit recover app.tkt -o good.tkt

    """
    import sys

    import msgspec

    from tracekit.log.verify import verify

    result = verify(options.log)
    document = {**msgspec.to_builtins(result), "ok": result.ok}
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(verification_lines(document, width=terminal_width(sys.stdout)))
    return 0 if result.ok else 1
