"""Collections of the garbage collector as text. All take the documents of ``gc --json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

from tracekit.report.heaps import group_table, moment_text, note_lines
from tracekit.report.pairs import pair_lines
from tracekit.report.tables import Column, table
from tracekit.report.units import human_bytes, human_count, human_seconds, human_share, plural

_ORDERS = {"pause": "the longest pauses", "freed": "those that freed most", "order": "in their order"}
_PLACES = {"site": "by the site that allocated them"}
_ESTIMATE = (
    "counts are estimates between collections: count 0 follows from blocks of types that the collector "
    "tracks, counts 1 and 2 from the collection before"
)


def collector_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of all collections: their time, a table by generation, garbage, single collections, notes."""
    if not document["count"]:
        yield from _none(document)
        return
    yield (
        f"{plural(document['count'], 'collection')} took {human_seconds(document['pause_s'])} of "
        f"{human_seconds(document['duration_s'])}"
        + (f", {_share(document['pause_share'])} of the recorded run" if document["duration_s"] else "")
    )
    yield ""
    yield from _generations(document["generations"], width)
    yield from _garbage(document["garbage"], width, "freed by the collector")
    yield ""
    yield f"collections: {_ORDERS[document['sort']]}"
    yield ""
    yield from _collections(document["collections"], width)
    if document["collections_omitted"]:
        more = plural(document["collections_omitted"], "more collection")
        yield f"... and {more} (--limit 0 shows all, --collection N one of them)"
    notes = [*_setting_notes(document), *document["notes"]]
    lost = sum(generation["uncollectable"] for generation in document["generations"])
    if lost:
        notes.insert(0, f"{plural(lost, 'object was', 'objects were')} uncollectable (gc.garbage)")
    yield from note_lines(notes, width=width)


def _setting_notes(document: Mapping[str, Any]) -> Iterator[str]:
    """What the program itself did to the collector."""
    settings = document["settings"]
    ends = [*(one["time_s"] for one in settings[1:]), document["duration_s"]]
    off = [end - one["time_s"] for one, end in zip(settings, ends, strict=False) if not one["enabled"]]
    if off:
        times = "once" if len(off) == 1 else f"{human_count(len(off))} times"
        yield f"the collector was off {times}, {human_seconds(max(0.0, sum(off)))} in all (table gc_settings)"
    others = [one["thresholds"] for one in settings]
    changes = sum(before != after for before, after in pairwise(others))
    if changes:
        yield f"the program set its thresholds {plural(changes, 'time')} (table gc_settings)"


def _none(document: Mapping[str, Any]) -> Iterator[str]:
    state = "enabled" if document["enabled_at_start"] else "disabled"
    yield (
        f"no collections: the collector did not run in {human_seconds(document['duration_s'])}; "
        f"at the start it was {state}, thresholds {_triple(document['thresholds_at_start'])}"
    )
    yield from note_lines(list(_setting_notes(document)))


def _generations(generations: Sequence[Mapping[str, Any]], width: int | None) -> Iterator[str]:
    titles = ("generation", "runs", "pauses", "median", "longest", "objects", "blocks", "bytes")
    rows = (
        (
            _number(one["generation"]),
            human_count(one["collections"]),
            human_seconds(one["pause_s"]),
            _seconds(one["median_pause_s"]),
            _seconds(one["longest_pause_s"]),
            human_count(one["collected"]),
            human_count(one["freed_blocks"]),
            human_bytes(one["freed_bytes"]),
        )
        for one in generations
    )
    yield from table([Column(title, "right") for title in titles], rows, width=width)


def _garbage(garbage: Sequence[Mapping[str, Any]], width: int | None, what: str) -> Iterator[str]:
    """A table for each grouping of what was freed."""
    for number, one in enumerate(garbage):
        known, older = one["total_blocks"], one["older_blocks"]
        if number and not known:
            return
        yield ""
        total = f"{human_bytes(one['total_bytes'])} in {plural(known, 'block')}"
        place = _PLACES.get(one["by"], f"by {one['by']}")
        if number:
            yield f"the same {place}"
        else:
            yield f"{what}: {total}, {place}" if known else f"{what}: no block of this recording"
            if older:
                yield f"and {plural(older, 'block')} older than the recording, of unknown size"
        if not known:
            continue
        yield ""
        yield from group_table(one["by"], one["groups"], one["total_bytes"], width=width)
        if one["groups_omitted"]:
            yield f"... and {plural(one['groups_omitted'], 'more group')} (--limit 0 shows all)"


def _collections(collections: Sequence[Mapping[str, Any]], width: int | None) -> Iterator[str]:
    titles = ("gc", "gen", "at", "pause", "objects", "blocks", "bytes")
    columns = [*(Column(title, "right") for title in titles), Column("mostly")]
    rows = (
        (
            _number(one["gc_id"]),
            _number(one["generation"]),
            _seconds(one["started_s"]),
            _seconds(one["pause_s"]),
            _number(one["collected"]),
            human_count(one["freed_blocks"]),
            human_bytes(one["freed_bytes"]),
            _mostly(one["types"]),
        )
        for one in collections
    )
    yield from table(columns, rows, width=width)


def _mostly(types: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(one["key"].removeprefix("builtins.") for one in types)


def collection_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of one collection, and what it freed."""
    one = document["collection"]
    yield f"collection {_number(one['gc_id'])} of generation {_number(one['generation'])}"
    yield from pair_lines(
        (
            ("  started", f"{_seconds(one['started_s'])}, event {_number(one['start_seq'])}"),
            ("  stopped", f"event {_number(one['stop_seq'])}" if one["stop_seq"] is not None else "never"),
            ("  pause", _seconds(one["pause_s"])),
            ("  thread", one["thread"] or "unknown"),
            ("  collected", f"{_number(one['collected'])} objects"),
            ("  uncollectable", f"{_number(one['uncollectable'])} objects"),
            ("  counts", f"{_triple(one['counts'])} at its start"),
            ("  thresholds", _triple(one["thresholds"])),
        ),
        width=width,
    )
    yield from _garbage(document["garbage"], width, "freed")
    yield from note_lines(document["notes"], width=width)


def counts_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of the counts and thresholds at a moment, and the records on both sides of it."""
    yield f"collector at {moment_text(document['moment'])}"
    if document["collecting"]:
        yield f"within {_name(document['before'])}"
    yield ""
    columns = (Column(""), Column("at", "right"), Column("counts", "right"), Column("thresholds", "right"))
    yield from table(columns, _moments(document), width=width)
    yield from note_lines(list(_count_notes(document)), width=width)


def _moments(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    before, after, moment = document["before"], document["after"], document["moment"]
    if before:
        yield _moment(before)
    yield (
        "this moment",
        human_seconds(moment["time_s"]),
        _triple(document["counts"]),
        _triple(document["thresholds"]),
    )
    if after:
        yield _moment(after)


def _moment(recorded: Mapping[str, Any]) -> tuple[str, str, str, str]:
    counts, thresholds = recorded["counts"], recorded["thresholds"]
    start = f"start of {_name(recorded)}"
    return start, _seconds(recorded["time_s"]), _triple(counts), _triple(thresholds)


def _name(recorded: Mapping[str, Any]) -> str:
    return f"gc:{_number(recorded['gc_id'])} (generation {_number(recorded['generation'])})"


def _count_notes(document: Mapping[str, Any]) -> Iterator[str]:
    before, after = document["before"], document["after"]
    if not document["types_known"]:
        yield (
            "count 0 between collections needs the types of blocks, which the "
            f"{document['engine']} engine does not record; the native engine does (record --engine native)"
        )
    elif not before and not after:
        yield "no collection was recorded, and so no counts"
    else:
        yield _ESTIMATE
        yield _checked(document)
    if document["enabled"] is False:
        yield "the collector was off (gc.disable)"
        return
    if not document["thresholds_certain"]:
        where = f"gc:{_number(before['gc_id'])}" if before else "the recording's start"
        then = (
            f"and are others at gc:{_number(after['gc_id'])}"
            if after
            else "and no later collection tells more"
        )
        yield f"thresholds are those at {where}, {then}"
    count, threshold = document["counts"][0], document["thresholds"][0]
    if not document["collecting"] and count is not None and threshold and count > threshold + 1:
        yield "count 0 is above its threshold: the collector was " + (
            "about to run" if document["enabled"] else "disabled, or about to run"
        )


def _checked(document: Mapping[str, Any]) -> str:
    after, derived = document["after"], document["count0_derived_at_after"]
    if after is None:
        return "no later collection recorded a count that would confirm count 0"
    then = f"gc:{_number(after['gc_id'])}"
    recorded = after["counts"][0]
    if derived is None:
        return f"no collection came before: count 0 was reckoned back from what {then} recorded"
    if derived == recorded:
        return (
            f"confirmed: the estimate continued to the start of {then} gives exactly what was recorded there"
        )
    return (
        f"not confirmed: the estimate continued to the start of {then} gives {human_count(derived)}, "
        f"recorded are {_number(recorded)}"
    )


def _triple(values: Sequence[int | None]) -> str:
    return ", ".join(map(_number, values))


def _number(value: int | None) -> str:
    return "?" if value is None else human_count(value)


def _seconds(value: float | None) -> str:
    return "?" if value is None else human_seconds(value)


def _share(share: float | None) -> str:
    return human_share(round((share or 0) * 10_000), 10_000)
