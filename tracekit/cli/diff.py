"""``tracekit diff``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.notes import heap_notes, pair_notes
from tracekit.cli.options import AsJson, NoCache, check_limit, choice, most_shown, size
from tracekit.cli.output import opened, put, put_lines, terminal_width
from tracekit.cli.replay import DEFAULT_GROUPS, moment_document
from tracekit.errors import UsageError
from tracekit.report.json import json_document
from tracekit.report.recordings import recordings_lines

if TYPE_CHECKING:
    from tracekit.replay.recordings import RecordingDifference, Side
    from tracekit.store.database import Store

DEFAULT_MOMENT = "peak"
_PERCENT = re.compile(r"(\d+(?:\.\d+)?)%")


@dataclass(frozen=True, slots=True)
class DiffOptions:
    """What `diff` was asked."""

    old: Annotated[Path, typer.Argument(metavar="OLD", help="The log of the recording before.")]
    new: Annotated[Path, typer.Argument(metavar="NEW", help="The log of the recording after.")]
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="MOMENT", help="The instant to look at in both. [default: peak]"),
    ] = None
    old_at: Annotated[
        str | None, typer.Option("--old-at", metavar="MOMENT", help="The instant of the old recording.")
    ] = None
    new_at: Annotated[
        str | None, typer.Option("--new-at", metavar="MOMENT", help="The instant of the new recording.")
    ] = None
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="GROUPING",
            help="Add up by site (file and line), function, file, type, stack, thread or domain.",
        ),
    ] = "site"
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            help="Groups to show, 0 for all. [default: 20 in the table, all in JSON]",
        ),
    ] = None
    fail_above: Annotated[
        str | None,
        typer.Option(
            "--fail-above",
            metavar="SIZE|PERCENT",
            help="Exit with status 1 if the new heap is larger by more than this: 5MiB or 10% say.",
        ),
    ] = None
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        if self.at is not None and (self.old_at is not None or self.new_at is not None):
            raise UsageError(
                "--at and --old-at/--new-at exclude each other", hint="--at is the instant of both"
            )
        check_limit(self.limit)
        self.allowed(0)

    def allowed(self, old_bytes: int) -> int | None:
        """The growth that does not fail, for an old heap of so many bytes. Raises UsageError."""
        if self.fail_above is None:
            return None
        percent = _PERCENT.fullmatch(self.fail_above.strip())
        if percent:
            return int(old_bytes * float(percent[1]) / 100)
        return 0 if self.fail_above.strip() == "0" else size("--fail-above", self.fail_above)

    @property
    def most(self) -> int | None:
        """Groups to show; None for all."""
        return most_shown(self.limit, None if self.as_json else DEFAULT_GROUPS)


def run(options: DiffOptions) -> int:
    """Show what changed from one recording of a program to another, most growth first.

    Compares what is alive at one moment of each, at the peak for example (replay explains what a MOMENT is).
    A line that has moved is still the same line: within their function, lines are matched by their text. A
    program may lie in another folder than before. With --fail-above the exit status is 1 when the new heap is
    larger by more than that.

    Examples:
        tracekit diff before.tkt after.tkt
        tracekit diff before.tkt after.tkt --at end --by type
        tracekit diff main.tkt branch.tkt --fail-above 5%
        tracekit diff a.tkt b.tkt --old-at mark:warm --new-at 50% --json

    """
    from tracekit.replay.heap import GROUPINGS
    from tracekit.replay.moment import resolve_moment
    from tracekit.replay.recordings import recordings_difference

    choice("--by", options.by, GROUPINGS)
    cache = not options.no_cache
    with opened(options.old, cache=cache) as old, opened(options.new, cache=cache) as new:
        moments = (
            resolve_moment(old, options.old_at or options.at or DEFAULT_MOMENT),
            resolve_moment(new, options.new_at or options.at or DEFAULT_MOMENT),
        )
        found = recordings_difference(old, new, *moments, by=options.by)
        document = _document(options, old, new, found)
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(recordings_lines(document, width=terminal_width(sys.stdout)))
    return int(document["failed"])


def _document(options: DiffOptions, old: Store, new: Store, found: RecordingDifference) -> dict[str, Any]:
    import msgspec

    shown = found.groups[: options.most]
    allowed = options.allowed(found.old.total_bytes)
    notes = [heap_notes(store.header, options.by, complete=store.complete) for store in (old, new)]
    return {
        "old": _side(old, found.old),
        "new": _side(new, found.new),
        "by": options.by,
        "total_bytes": found.total_bytes,
        "total_blocks": found.total_blocks,
        "statuses": {name: msgspec.to_builtins(total) for name, total in found.statuses.items()},
        "unchanged": found.unchanged,
        "groups": msgspec.to_builtins(shown),
        "groups_omitted": len(found.groups) - len(shown),
        "fail_above": None if allowed is None else {"text": options.fail_above, "bytes": allowed},
        "failed": allowed is not None and found.total_bytes > allowed,
        "notes": [
            *pair_notes(old.header, new.header, options.by, found.untold_bytes),
            *(note for note in notes[0] if note in notes[1]),
            *(f"old: {note}" for note in notes[0] if note not in notes[1]),
            *(f"new: {note}" for note in notes[1] if note not in notes[0]),
        ],
    }


def _side(store: Store, side: Side) -> dict[str, Any]:
    return {
        "path": side.path,
        "moment": moment_document(side.moment),
        "total_bytes": side.total_bytes,
        "total_blocks": side.total_blocks,
        "peak_bytes": side.peak_bytes,
        "end_bytes": side.end_bytes,
        "end_blocks": side.end_blocks,
        "allocations": side.allocations,
        "gc_collections": side.gc_collections,
        "duration_s": side.duration_ns / 1e9,
        "python": store.header.python.version,
        "engine": store.header.engine,
        "argv": store.header.argv,
        "complete": store.complete,
    }
