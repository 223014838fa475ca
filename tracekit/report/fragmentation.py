"""How full the arenas are, and what keeps them, as text. Takes the document of ``fragmentation --json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.heaps import CUT, moment_text, note_lines
from tracekit.report.shades import Shades, map_lines
from tracekit.report.tables import Column, table
from tracekit.report.text import wrapped
from tracekit.report.units import human_bytes, human_count, human_seconds, human_share, plural

_UNUSED = (
    ("free_block_bytes", "free places among objects of one size, in pools; kept for objects of that size"),
    ("free_pool_bytes", "free pools in arenas that are in use; kept for small objects of any size"),
    ("free_arena_bytes", "arenas without any object, which Python keeps at hand or is about to return"),
    ("overhead_bytes", "the allocator's own, and sizes rounded up"),
)


_WITH_NEXT = "with next"
"""Said of blocks that only keep arenas which the blocks of a later line keep, too."""

_WIDE = 100
"""Columns of a terminal from which on there is room to say what most of the blocks are."""

_STRIP = 64
"""Pools drawn in a line: all of an arena, as CPython is built on 64 bits."""


def fragmentation_lines(
    document: Mapping[str, Any], shades: Shades, *, width: int | None = None
) -> Iterator[str]:
    """Lines: what arenas are, how full they are, the map, what keeps the emptiest ones, notes.

    ``document``: a ``tracekit.replay.fragmentation.Fragmentation`` as plain values, with moment {text, seq,
    time_s}, pins.together, pins.groups_omitted and notes.
    """
    totals, pins = document["totals"], document["pins"]
    yield f"fragmentation at {moment_text(document['moment'])}"
    yield ""
    yield from wrapped(_explanation(document), width)
    yield ""
    if not totals["arenas"]:
        yield "no arenas are known at this moment"
    else:
        yield from _filling(document, width)
        yield ""
        yield from map_lines([arena["share"] for arena in document["arenas"]], shades, width)
        yield from _pools(document, shades, width)
        yield ""
        yield from _pins(pins, width)
    yield from _outside(document, width)
    yield from note_lines(document["notes"], width=width)


def _explanation(document: Mapping[str, Any]) -> str:
    return (
        f"Python takes memory for objects of up to {document['threshold']} bytes from the system in pieces "
        f"of {human_bytes(document['arena_size'])} (arenas), and gives a piece back only when no object in "
        "it is alive: a single one that stays keeps the whole piece."
    )


def _filling(document: Mapping[str, Any], width: int | None) -> Iterator[str]:
    totals, pins = document["totals"], document["pins"]
    used, held = totals["requested_bytes"], totals["arena_bytes"]
    yield (
        f"{human_bytes(held)} held in {plural(totals['arenas'], 'arena')}; objects take "
        f"{human_bytes(used)} of it ({human_share(used, held)})"
    )
    yield (
        f"{human_bytes(pins['bytes'])} held in {plural(pins['arenas'], 'arena')} that "
        f"{'is' if pins['arenas'] == 1 else 'are'} nearly empty: under {100 * pins['below']:g}% in use"
    )
    yield ""
    yield "what the rest is:"
    overhead = sum(totals[name] for name in ("rounding_bytes", "header_bytes", "unaligned_bytes"))
    counts = {**totals, "overhead_bytes": overhead}
    for name, text in _UNUSED:
        if counts[name]:
            lead = f"{human_bytes(counts[name]):>11}  {human_share(counts[name], held):>5}  "
            yield from wrapped(lead + text, width, indent=len(lead)) if width else [lead + text]


def _pools(document: Mapping[str, Any], shades: Shades, width: int | None) -> Iterator[str]:
    drawn = [arena for arena in document["arenas"] if arena["pools"] is not None]
    if not drawn:
        return
    which = "the emptiest arena" if len(drawn) == 1 else f"the {len(drawn)} emptiest arenas"
    yield ""
    yield from wrapped(
        f"inside {which}: one character is a part of {human_bytes(document['pool_size'])} (pool), which "
        "holds objects of one size:",
        width,
    )
    for arena in drawn:
        share = f"{100 * arena['share']:.1f}%"
        shares = [part["share"] for part in arena["pools"]]
        strip, *more = (shades.draw(shares[at : at + _STRIP]) for at in range(0, len(shares), _STRIP))
        yield f"  {share:>5}  {strip}" + (f"  {_age(arena)}" if width is None or width >= 110 else "")
        yield from (f"         {rest}" for rest in more)


def _age(arena: Mapping[str, Any]) -> str:
    blocks = plural(arena["blocks"], "block")
    if arena["age_s"] is None:
        return f"{blocks}, older than the recording"
    return f"{blocks}, {human_seconds(arena['age_s'])} old"


def _pins(pins: Mapping[str, Any], width: int | None) -> Iterator[str]:
    if not pins["arenas"]:
        yield "no arena is nearly empty: what is held is in use, and `tracekit replay` shows by what"
        return
    yield from wrapped(
        'What keeps the nearly empty arenas. "returned" is the memory that goes back to the system when the '
        "blocks of this line and of all lines above it are freed (up to one arena less: Python keeps one "
        'at hand). "alone" are arenas that hold nothing else, "shared" hold blocks of other lines, too.',
        width,
    )
    yield ""
    columns = _columns(pins)
    if width is not None and width < _WIDE:
        columns = columns[:-1]
    yield from table(columns, (row[: len(columns)] for row in _rows(pins["groups"])), width=width)
    if pins["groups_omitted"]:
        yield f"... and {plural(pins['groups_omitted'], 'more group')} (--limit 0 shows all)"
    yield from _not_ranked(pins, width)


def _columns(pins: Mapping[str, Any]) -> tuple[Column, ...]:
    by = pins["by"]
    other = "type" if by in ("site", "function", "file", "stack") else "site"
    return (
        Column("returned", "right"),
        Column("alone", "right"),
        Column("shared", "right"),
        Column("blocks", "right"),
        Column("bytes", "right"),
        Column(by, cut=CUT.get(by, "end")),
        Column(f"mostly ({other})", cut=CUT.get(other, "end")),
    )


def _rows(groups: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    so_far = 0
    for pin in groups:
        returned = pin["returned_bytes"]
        if returned is None:
            text = "-"
        else:
            text = human_bytes(returned) if returned > so_far else _WITH_NEXT
            so_far = returned
        yield (
            text,
            human_count(pin["arenas_alone"]),
            human_count(pin["arenas_shared"]),
            human_count(pin["blocks"]),
            human_bytes(pin["bytes"]),
            pin["key"],
            pin["mostly"],
        )


def _not_ranked(pins: Mapping[str, Any], width: int | None) -> Iterator[str]:
    said = []
    if pins["arenas_older"]:
        said.append(
            f"{plural(pins['arenas_older'], 'nearly empty arena')} "
            f"{'holds' if pins['arenas_older'] == 1 else 'hold'} blocks from before the recording, of the "
            "interpreter itself for example: no change to the recorded program returns them."
        )
    if pins["arenas_spread"]:
        others = " or ".join(f"--by {by}" for by in ("file", "stack", "age") if by != pins["by"])
        said.append(
            f"{plural(pins['arenas_spread'], 'nearly empty arena')} "
            f"{'is' if pins['arenas_spread'] == 1 else 'are'} held by more than {pins['together']} "
            f"{_PLURALS[pins['by']]} at once and not ranked: no few changes return them. {others} may show "
            "what they have in common."
        )
    said.append(
        "What helps: make what stays before what goes (fill caches and import first); or rebuild it when the "
        "work is done, which packs it together (x = pickle.loads(pickle.dumps(x))); or do the work in a "
        "process that ends."
    )
    yield ""
    for text in said:
        yield from wrapped(text, width)


_PLURALS = {"stack": "call paths", "age": "ages"} | {
    by: f"{by}s" for by in ("site", "function", "file", "type", "thread")
}


def _outside(document: Mapping[str, Any], width: int | None) -> Iterator[str]:
    outside = document["outside"]
    if not outside["blocks"]:
        return
    yield ""
    text = (
        f"not in these arenas: {human_bytes(outside['bytes'])} in {plural(outside['blocks'], 'block')} that "
        "are larger, or of other allocators"
    )
    if outside["small_blocks"]:
        where = (
            "were made smaller there by a realloc, which does not move them"
            if document["older_known"]
            else "lie in arenas older than the recording"
        )
        text += (
            f"; {human_bytes(outside['small_bytes'])} in {plural(outside['small_blocks'], 'small block')} "
            f"among these {where}"
        )
    yield from wrapped(text, width)
