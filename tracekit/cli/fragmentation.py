"""``tracekit fragmentation``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.notes import NO_END
from tracekit.cli.options import AsJson, Log, NoCache, most_shown
from tracekit.cli.output import opened, put, put_lines, terminal_width
from tracekit.cli.replay import moment_document
from tracekit.errors import UsageError
from tracekit.report.fragmentation import fragmentation_lines
from tracekit.report.json import json_document
from tracekit.report.shades import shades_for

if TYPE_CHECKING:
    from tracekit.replay.fragmentation import Fragmentation
    from tracekit.store.database import Store

DEFAULT_GROUPS = 10
_PERCENT = re.compile(r"[0-9]+(\.[0-9]+)?%?", re.ASCII)


@dataclass(frozen=True, slots=True)
class FragmentationOptions:
    """What `fragmentation` was asked."""

    log: Log
    at: Annotated[str, typer.Option("--at", metavar="MOMENT", help="The instant to look at.")] = "end"
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="GROUPING",
            help="Add up what keeps arenas by site (file and line), function, file, type, stack, thread or "
            "age.",
        ),
    ] = "site"
    below: Annotated[
        str,
        typer.Option(
            "--below", metavar="PERCENT", help="An arena is nearly empty when less of it is in use than this."
        ),
    ] = "25%"
    pools: Annotated[
        int,
        typer.Option("--pools", metavar="N", help="Draw the inside of so many arenas, the emptiest ones."),
    ] = 3
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            help="Groups to show, 0 for all. [default: 10 in the table, all in JSON]",
        ),
    ] = None
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        for name, value in (("--pools", self.pools), ("--limit", self.limit)):
            if value is not None and value < 0:
                raise UsageError(f"{name} cannot be {value}", hint="0 is the least")
        percent(self.below)

    @property
    def most(self) -> int | None:
        """Groups to show; None for all."""
        return most_shown(self.limit, None if self.as_json else DEFAULT_GROUPS)


def percent(text: str) -> float:
    """The share of ``25%`` or ``25``, 0 to 1. Raises UsageError."""
    value = float(text.rstrip("%")) / 100 if _PERCENT.fullmatch(text) else 0.0
    if not 0 < value <= 1:
        raise UsageError(
            f"--below cannot be '{text}'", hint="give a percentage above 0 and up to 100, like 25%"
        )
    return value


def run(options: FragmentationOptions) -> int:
    """Show why memory is not returned to the system: how full it is, and which blocks keep it.

    CPython gives memory for small objects back in whole arenas (1 MiB), and only when nothing in one is in
    use. The command lays out the objects that were alive at a moment in the arenas that were there, draws how
    full these are, and ranks the code whose objects keep nearly empty ones: by the memory that goes back to
    the system when they are freed. It needs a recording of the native engine.

    A MOMENT is what `tracekit replay --help` says.

    Examples:
        tracekit fragmentation app.tkt
        tracekit fragmentation app.tkt --at mark:done --by type
        tracekit fragmentation app.tkt --below 50% --by stack --limit 3
        tracekit fragmentation app.tkt --json

    """
    from tracekit.cli.options import choice
    from tracekit.replay.holders import GROUPINGS

    choice("--by", options.by, GROUPINGS)
    with opened(options.log, cache=not options.no_cache) as store:
        document = _document(store, options)
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(fragmentation_lines(document, shades_for(sys.stdout), width=terminal_width(sys.stdout)))
    return 0


def _document(store: Store, options: FragmentationOptions) -> dict[str, Any]:
    import msgspec

    from tracekit.replay.fragmentation import fragmentation
    from tracekit.replay.moment import resolve_moment
    from tracekit.replay.pins import MOST_TOGETHER

    moment = resolve_moment(store, options.at)
    found = fragmentation(store, moment, by=options.by, below=percent(options.below), drawn=options.pools)
    document: dict[str, Any] = msgspec.to_builtins(found)
    groups = document["pins"]["groups"]
    shown = groups[: options.most]
    document["pins"] |= {
        "together": MOST_TOGETHER,
        "groups": shown,
        "groups_omitted": len(groups) - len(shown),
    }
    return {
        **document,
        "moment": moment_document(moment),
        "notes": _notes(found, complete=store.complete, by=options.by),
    }


def _notes(found: Fragmentation, *, complete: bool, by: str) -> list[str]:
    """What the recording cannot tell about the arenas."""
    notes = []
    if not complete:
        notes.append(NO_END)
    if not found.older_known:
        notes.append(
            "an approximation: the recording does not know what was allocated before it began, so that "
            "arenas older than it are missing, or fuller than shown"
        )
    if by == "type":
        notes.append(
            "'<unknown>' is memory behind objects (tables of dicts, attributes), and objects whose type was "
            "not seen"
        )
    return notes
