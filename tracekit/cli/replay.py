"""``tracekit replay``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.notes import heap_notes
from tracekit.cli.options import AsJson, Log, NoCache
from tracekit.cli.output import opened, put, put_lines, terminal_width
from tracekit.errors import UsageError
from tracekit.report.heaps import difference_lines, heap_lines
from tracekit.report.json import json_document

if TYPE_CHECKING:
    from tracekit.replay.moment import Moment
    from tracekit.store.database import Store

DEFAULT_GROUPS = 20


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What `replay` was asked."""

    log: Log
    at: Annotated[
        str | None, typer.Option("--at", metavar="MOMENT", help="The instant to look at. [default: peak]")
    ] = None
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="MOMENT", help="Show what changed since this. [default: start]"),
    ] = None
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="MOMENT", help="Show what changed until this. [default: end]"),
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
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        if self.at is not None and (self.start is not None or self.end is not None):
            raise UsageError(
                "--at and --from/--to exclude each other", hint="one shows a moment, the others a difference"
            )
        if self.limit is not None and self.limit < 0:
            raise UsageError(f"--limit cannot be {self.limit}", hint="give 0 for all groups")

    @property
    def most(self) -> int | None:
        """Groups to show; None for all."""
        if self.limit is None:
            return None if self.as_json else DEFAULT_GROUPS
        return self.limit or None


def run(options: ReplayOptions) -> int:
    """Show what was alive at any moment, grouped, largest first; or what changed between two moments.

    A MOMENT is start, end, peak, a time (1.5s, 200ms), a share of the time (50%), an event (seq:N), a
    collection (gc:N), or a mark that the program set with tracekit.mark("NAME") (mark:NAME). The heap "at" an
    event is the heap after it. With --from or --to the groups are those that changed, most growth first.

    Examples:
        tracekit replay app.tkt
        tracekit replay app.tkt --at 1.5s --by function
        tracekit replay app.tkt --from mark:warm --to end --by stack
        tracekit replay app.tkt --at end --by file --json

    """
    from tracekit.cli.options import choice
    from tracekit.replay.heap import GROUPINGS

    choice("--by", options.by, GROUPINGS)
    with opened(options.log, cache=not options.no_cache) as store:
        if options.start is None and options.end is None:
            document, lines = _heap(store, options), heap_lines
        else:
            document, lines = _difference(store, options), difference_lines
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(lines(document, width=terminal_width(sys.stdout)))
    return 0


def moment_document(moment: Moment) -> dict[str, Any]:
    """A moment as it stands in JSON."""
    return {"text": moment.text, "seq": moment.seq, "time_s": moment.time_s}


def _heap(store: Store, options: ReplayOptions) -> dict[str, Any]:
    from tracekit.replay.heap import heap_at
    from tracekit.replay.moment import resolve_moment

    heap = heap_at(store, resolve_moment(store, "peak" if options.at is None else options.at), by=options.by)
    return {
        "moment": moment_document(heap.moment),
        "total_bytes": heap.total_bytes,
        "total_blocks": heap.total_blocks,
        **_groups(heap.groups, options),
        "notes": heap_notes(store.header, options.by, complete=store.complete),
    }


def _difference(store: Store, options: ReplayOptions) -> dict[str, Any]:
    from tracekit.replay.difference import difference
    from tracekit.replay.moment import resolve_moment

    start = resolve_moment(store, "start" if options.start is None else options.start)
    end = resolve_moment(store, "end" if options.end is None else options.end)
    result = difference(store, start, end, by=options.by)
    return {
        "from": moment_document(result.start),
        "to": moment_document(result.end),
        "total_bytes": result.total_bytes,
        "total_blocks": result.total_blocks,
        **_groups(result.groups, options),
        "notes": heap_notes(store.header, options.by, complete=store.complete),
    }


def _groups(groups: list[Any], options: ReplayOptions) -> dict[str, Any]:
    import msgspec

    shown = groups[: options.most]
    return {
        "by": options.by,
        "groups": msgspec.to_builtins(shown),
        "groups_omitted": len(groups) - len(shown),
    }
