"""``tracekit gc``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.notes import collector_notes
from tracekit.cli.options import AsJson, Log, NoCache, check_limit, most_shown
from tracekit.cli.output import opened, put, put_lines, terminal_width
from tracekit.cli.replay import moment_document
from tracekit.errors import UsageError
from tracekit.report.garbage import collection_lines, collector_lines, counts_lines
from tracekit.report.json import json_document

if TYPE_CHECKING:
    from tracekit.replay.counts import Recorded
    from tracekit.replay.garbage import Collection
    from tracekit.store.database import Store

DEFAULT_ROWS = 10
DEFAULT_GROUPINGS = ("type", "site")


@dataclass(frozen=True, slots=True)
class GcOptions:
    """What `gc` was asked."""

    log: Log
    number: Annotated[
        int | None, typer.Option("--collection", metavar="N", help="Show one collection (gc:N), from 0.")
    ] = None
    at: Annotated[
        str | None,
        typer.Option("--at", metavar="MOMENT", help="Show the counts and thresholds at an instant."),
    ] = None
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="GROUPING",
            help="Add up what was freed by site, function, file, module, type, stack, thread or "
            "domain. [default: by type, and by site]",
        ),
    ] = None
    sort: Annotated[
        str,
        typer.Option("--sort", metavar="ORDER", help="Collections by pause, by freed (bytes) or in order."),
    ] = "pause"
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit", metavar="N", help="Rows of each table, 0 for all. [default: 10 as text, all in JSON]"
        ),
    ] = None
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        if self.at is not None and self.number is not None:
            raise UsageError(
                "--at and --collection exclude each other", hint="gc:N is the moment after collection N"
            )
        check_limit(self.limit, "rows")

    @property
    def most(self) -> int | None:
        """Rows of each table; None for all."""
        return most_shown(self.limit, None if self.as_json else DEFAULT_ROWS)


def run(options: GcOptions) -> int:
    """Show the collections of the garbage collector: how long they took, what they freed, and who made it.

    First a summary by generation, with the share of the run's time; then the types and the places of what
    only the collector could free, which is where reference cycles are made; then the longest pauses.

    --collection N shows one collection. --at MOMENT shows what gc.get_count() and gc.get_threshold() were at
    an instant: counts are recorded at the start of each collection, and estimated in between.

    Examples:
        tracekit gc app.tkt
        tracekit gc app.tkt --by stack --limit 5
        tracekit gc app.tkt --sort freed
        tracekit gc app.tkt --collection 17
        tracekit gc app.tkt --at 1.5s

    """
    from tracekit.cli.options import choice
    from tracekit.replay.garbage import SORTS
    from tracekit.replay.heap import BY_ORIGIN

    choice("--sort", options.sort, SORTS)
    if options.by is not None:
        choice("--by", options.by, BY_ORIGIN)
    with opened(options.log, cache=not options.no_cache) as store:
        if options.at is not None:
            document, lines = _counts(store, options.at), counts_lines
        elif options.number is not None:
            document, lines = _one(store, options, options.number), collection_lines
        else:
            document, lines = _all(store, options), collector_lines
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(lines(document, width=terminal_width(sys.stdout)))
    return 0


def _all(store: Store, options: GcOptions) -> dict[str, Any]:
    import msgspec

    from tracekit.replay.counts import collector_settings
    from tracekit.replay.garbage import collections, collector_summary

    summary = collector_summary(store)
    found = collections(store, sort=options.sort, limit=options.most)
    generations = [
        _in_seconds(msgspec.to_builtins(generation), "pause", "median_pause", "longest_pause")
        for generation in summary.generations
    ]
    garbage = _garbage(store, options, None)
    start = store.header.collector
    return {
        "duration_s": summary.duration_ns / 1e9,
        "pause_s": summary.pause_ns / 1e9,
        "pause_share": summary.pause_ns / summary.duration_ns if summary.duration_ns else None,
        "count": summary.collections,
        "thresholds_at_start": list(start.thresholds),
        "enabled_at_start": start.enabled,
        "settings": [_in_seconds(msgspec.structs.asdict(one), "time") for one in collector_settings(store)],
        "generations": generations,
        "garbage": garbage,
        "sort": options.sort,
        "collections": [_collection(one) for one in found],
        "collections_omitted": summary.collections - len(found),
        "notes": collector_notes(store.header, [one["by"] for one in garbage], complete=store.complete),
    }


def _one(store: Store, options: GcOptions, number: int) -> dict[str, Any]:
    from tracekit.replay.garbage import collection

    found = collection(store, number)
    garbage = _garbage(store, options, found)
    return {
        "collection": _collection(found),
        "garbage": garbage,
        "notes": collector_notes(store.header, [one["by"] for one in garbage], complete=True),
    }


def _garbage(store: Store, options: GcOptions, of: Collection | None) -> list[dict[str, Any]]:
    """What was freed, in every grouping that was asked for."""
    import msgspec

    from tracekit.replay.garbage import garbage

    known = store.header.capabilities.types
    groupings = (options.by,) if options.by else DEFAULT_GROUPINGS if known else DEFAULT_GROUPINGS[1:]
    documents = []
    for by in groupings:
        found = msgspec.to_builtins(garbage(store, by=by, of=of))
        shown = found["groups"][: options.most]
        documents.append({**found, "groups": shown, "groups_omitted": len(found["groups"]) - len(shown)})
    return documents


def _counts(store: Store, text: str) -> dict[str, Any]:
    from tracekit.replay.counts import counts_at
    from tracekit.replay.moment import resolve_moment

    found = counts_at(store, resolve_moment(store, text))
    return {
        "moment": moment_document(found.moment),
        "counts": list(found.counts),
        "thresholds": list(found.thresholds),
        "thresholds_certain": found.thresholds_certain,
        "collecting": found.collecting,
        "before": _recorded(found.before),
        "after": _recorded(found.after),
        "count0_derived_at_after": found.check,
        "enabled": found.enabled,
        "enabled_at_start": store.header.collector.enabled,
        "types_known": store.header.capabilities.types,
        "engine": store.header.engine,
    }


def _recorded(found: Recorded | None) -> dict[str, Any] | None:
    import msgspec

    if found is None:
        return None
    document = msgspec.to_builtins(found)
    time_ns = document.pop("time_ns")
    return {**document, "time_s": None if time_ns is None else time_ns / 1e9}


def _collection(found: Collection) -> dict[str, Any]:
    import msgspec

    return _in_seconds(msgspec.to_builtins(found), "started", "pause")


def _in_seconds(document: dict[str, Any], *names: str) -> dict[str, Any]:
    """The document with these times in seconds instead of nanoseconds, in their places."""
    renamed = {f"{name}_ns": f"{name}_s" for name in names}
    return {
        renamed.get(key, key): value / 1e9 if key in renamed and value is not None else value
        for key, value in document.items()
    }
