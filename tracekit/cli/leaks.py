"""``tracekit leaks``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.notes import heap_notes
from tracekit.cli.options import AsJson, Log, NoCache, check_limit, most_shown
from tracekit.cli.output import opened, put, put_lines, terminal_width
from tracekit.cli.replay import moment_document
from tracekit.report.json import json_document
from tracekit.report.leaks import ASCII_BARS, BARS, leak_lines
from tracekit.report.text import can_write
from tracekit.report.units import human_bytes, plural

if TYPE_CHECKING:
    from tracekit.replay.leaks import Leak, Leaks
    from tracekit.store.database import Store

DEFAULT_LEAKS = 10
DEFAULT_LEAKS_IN_JSON = 100
_FEW = 8
"""With fewer steps than these a leak cannot be told from a cache that is being filled."""


@dataclass(frozen=True, slots=True)
class LeaksOptions:
    """What `leaks` was asked."""

    log: Log
    since: Annotated[
        str | None,
        typer.Option(
            "--since",
            metavar="MOMENT",
            help="Look at allocations after this. [default: half of the run]",
        ),
    ] = None
    until: Annotated[
        str | None,
        typer.Option("--to", metavar="MOMENT", help="Look at what is alive at this. [default: end]"),
    ] = None
    by: Annotated[
        str,
        typer.Option(
            "--by",
            metavar="GROUPING",
            help="Add up by site (the line of your own code), innermost (line of any code), function, file, "
            "type, stack, thread or domain.",
        ),
    ] = "site"
    own: Annotated[
        list[Path] | None,
        typer.Option(
            "--own",
            metavar="PATH",
            help="A folder or file whose code is your own, though it is in site-packages. May be repeated.",
        ),
    ] = None
    imports: Annotated[
        bool, typer.Option("--imports", help="Count what was allocated while a module was imported, too.")
    ] = False
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", help="Leaks to show, 0 for all. [default: 10 in the table, 100 in JSON]"
        ),
    ] = None
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        check_limit(self.limit)

    @property
    def most(self) -> int | None:
        """Leaks to show; None for all."""
        return most_shown(self.limit, DEFAULT_LEAKS_IN_JSON if self.as_json else DEFAULT_LEAKS)


def run(options: LeaksOptions) -> int:
    """Find what leaks: lines whose memory grows and grows, and stays.

    Looks at what was allocated after one moment, is alive at another, and was not allocated by an import.
    What kept growing between the two comes first; caches that filled up once, and buffers that come and go,
    come last. MOMENT is as in `tracekit replay --help`.

    Examples:
        tracekit leaks app.tkt
        tracekit leaks app.tkt --since mark:warm
        tracekit leaks app.tkt --since 10s --to 60s --by function
        tracekit leaks app.tkt --by type --json

    """
    from tracekit.cli.options import choice
    from tracekit.replay.leaks import GROUPINGS, leaks
    from tracekit.replay.moment import resolve_moment

    choice("--by", options.by, GROUPINGS)
    with opened(options.log, cache=not options.no_cache) as store:
        since = None if options.since is None else resolve_moment(store, options.since)
        until = None if options.until is None else resolve_moment(store, options.until)
        own = [_folder(path) for path in options.own or ()]
        found = leaks(
            store, since, until, by=options.by, limit=options.most, imports=options.imports, own=own
        )
        document = _document(store, found, options)
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(leak_lines(document, width=terminal_width(sys.stdout), bars=_bars()))
    return 0


def _document(store: Store, found: Leaks, options: LeaksOptions) -> dict[str, Any]:
    import msgspec

    return {
        "since": moment_document(found.since),
        "to": moment_document(found.until),
        "by": found.by,
        "instants": [{"seq": instant.seq, "time_s": instant.time_ns / 1e9} for instant in found.instants],
        "steps": len(found.instants) - 1,
        "growth_bytes": found.growth_bytes,
        "strong": found.strong,
        "strong_bytes": found.strong_bytes,
        "grown": found.grown,
        "imported_bytes": found.imported_bytes,
        "imported_blocks": found.imported_blocks,
        "full_collections": found.full_collections,
        "leaks": msgspec.to_builtins(found.leaks),
        "leaks_omitted": found.grown - len(found.leaks),
        "notes": [*_notes(store, found), *heap_notes(store.header, found.by, complete=store.complete)],
        "next": shlex.join(_next(found, options)),
    }


def _notes(store: Store, found: Leaks) -> list[str]:
    notes = []
    if found.imported_blocks:
        amount = f"{human_bytes(found.imported_bytes)} in {plural(found.imported_blocks, 'block')}"
        notes.append(f"{amount} that imports allocated, and that stay, are left out (--imports counts them)")
    if found.leaks:
        notes.append(
            "strong: it kept growing through all four quarters of the time; fair: through three of them; "
            "weak: it grew once, for a while, or came and went"
        )
    if found.by in OWN and any(_scattered(leak) for leak in found.leaks[:DEFAULT_LEAKS]):
        notes.append(
            "some of this is allocated in many lines of libraries: --by innermost shows those, and --own "
            "makes a library count as your own code"
        )
    if any(leak.evidence != "weak" for leak in found.leaks) and not found.full_collections:
        notes.append(
            "no full collection of the garbage collector ran in this time, so that some of this may be "
            "garbage in cycles that waits for one"
        )
    if found.leaks and len(found.instants) - 1 < _FEW:
        notes.append("too little happened in this time to tell a leak from a cache that is being filled")
    if not store.complete:
        notes.append("'end' is the last event: what the program was using then is alive, too")
    return notes


OWN = ("site", "function", "file")
"""Groupings by the program's own code."""


def _scattered(leak: Leak) -> bool:
    """Whether no single line allocated half of what the own line is charged with."""
    return leak.evidence != "weak" and 2 * leak.allocated_at[0].bytes < leak.bytes


def _next(found: Leaks, options: LeaksOptions) -> list[str]:
    """The command that shows where the growth comes from, call path by call path."""
    moments = ["--from", found.since.text, "--to", found.until.text]
    return ["tracekit", "replay", str(options.log), *moments, "--by", "stack"]


def _folder(path: Path) -> str:
    return f"{path.resolve()}/" if path.is_dir() else str(path.absolute())


def _bars() -> str:
    """Characters to draw with, which the encoding of stdout must have."""
    return BARS if can_write(BARS, sys.stdout.encoding) else ASCII_BARS
