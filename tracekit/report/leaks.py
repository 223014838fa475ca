"""What leaks, as text: a verdict, a table, more on the first few. Takes the document of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.heaps import moment_text, note_lines
from tracekit.report.tables import Column, table
from tracekit.report.text import printable, wrapped
from tracekit.report.units import (
    human_bytes,
    human_change,
    human_count,
    human_seconds,
    human_share,
    plural,
)

BARS = "▁▂▃▄▅▆▇█"
ASCII_BARS = "_.-:=+*#"
"""For streams that cannot print the other ones."""

_DETAILED = 3
_FRAMES = 8
_PLACES = ("innermost", "stack")
_UNCUT = ("type", "thread", "domain")
_NAMES = {"innermost": "line", "stack": "call path"}


def leak_lines(document: Mapping[str, Any], *, width: int | None = None, bars: str = BARS) -> Iterator[str]:
    """Lines of a search for leaks; one line when there is nothing to say.

    ``document``: since and to {text, seq, time_s}, by, steps, growth_bytes, strong, strong_bytes, grown,
    leaks (the fields of :class:`tracekit.replay.leaks.Leak`), leaks_omitted, notes, next.
    """
    leaks = document["leaks"]
    since, to = moment_text(document["since"]), moment_text(document["to"])
    if not document["grown"]:
        yield f"nothing that was allocated after {since} and is alive at {to} has grown"
        yield from note_lines(document["notes"], width=width)
        return
    yield f"from {since}"
    yield f"to   {to}"
    yield from wrapped(_verdict(document), width)
    yield ""
    yield from _table(document, width, bars)
    if document["leaks_omitted"]:
        what = plural(document["leaks_omitted"], "more group that grew", "more groups that grew")
        yield f"... and {what} (--limit 0 shows all)"
    for number, leak in enumerate(leaks[:_DETAILED], 1):
        if leak["evidence"] != "weak":
            yield ""
            yield from _details(number, leak, document, width)
    yield from note_lines(document["notes"], width=width)
    yield ""
    yield f"next: {printable(document['next'])}"


def _verdict(document: Mapping[str, Any]) -> str:
    name = _NAMES.get(document["by"], document["by"])
    heap = f"the whole heap {_changed(document['growth_bytes'])}"
    if not document["strong"]:
        return f"no {name} kept growing all the time: no strong evidence of a leak; {heap}"
    names = plural(document["strong"], name)
    grew = human_bytes(document["strong_bytes"])
    return f"{names} kept growing all the time, by {grew} together: strong evidence of a leak; {heap}"


def _changed(size: int) -> str:
    if not size:
        return "did not change"
    return f"{'grew' if size > 0 else 'shrank'} by {human_bytes(abs(size))}"


def _table(document: Mapping[str, Any], width: int | None, bars: str) -> Iterator[str]:
    by = document["by"]
    columns = (
        Column("evidence"),
        Column("growth", "right"),
        Column("kept", "right"),
        Column("grew", "right"),
        Column("over time"),
        Column(by, cut="middle" if by == "function" else "end" if by in _UNCUT else "start"),
    )
    rows = (
        (
            leak["evidence"],
            human_change(leak["growth_bytes"]),
            human_share(leak["blocks"], leak["made_blocks"]),
            f"{leak['steps_grown']}/{document['steps']}",
            sparkline(leak["levels"], bars),
            leak["key"],
        )
        for leak in document["leaks"]
    )
    yield from table(columns, rows, width=width)


def sparkline(levels: Sequence[int], bars: str = BARS) -> str:
    """Numbers over time in one line of text, a character each, from the lowest to the highest bar."""
    low, high = min(levels, default=0), max(levels, default=0)
    span = max(high - low, 1)
    return "".join(bars[(level - low) * (len(bars) - 1) // span] for level in levels)


def _details(
    number: int, leak: Mapping[str, Any], document: Mapping[str, Any], width: int | None
) -> Iterator[str]:
    label = f"{number}. "
    by = document["by"]
    yield f"{label}{printable(_frame(leak['path'][-1]) if by == 'stack' and leak['path'] else leak['key'])}"
    seconds = document["to"]["time_s"] - document["since"]["time_s"]
    before, after = leak["levels"][0], leak["levels"][-1]
    grew = f"from {human_bytes(before)} to {human_bytes(after)} in {human_seconds(seconds)}"
    if leak["bytes_per_s"] is not None:
        grew += f" ({human_bytes(round(leak['bytes_per_s']))} a second)"
    if leak["bytes_per_mark"] is not None:
        name = document["since"]["text"]
        grew += f", {human_bytes(round(leak['bytes_per_mark']))} from one {name} to the next"
    lines = [("grew", grew), ("alive", _alive(leak))]
    if leak["types"] and by != "type":
        lines.append(("types", _parts(leak["types"])))
    places = leak["allocated_at"]
    if by not in _PLACES and places and (len(places) > 1 or places[0]["key"] != leak["key"]):
        lines.append(("where", _parts(places)))
    if leak["path"]:
        lines.append(("path", _path(leak["path"])))
    for title, text in lines:
        start = " " * len(label) + f"{title:<6} "
        yield from wrapped(start + printable(text), width, indent=len(start))


def _alive(leak: Mapping[str, Any]) -> str:
    blocks = f"{human_count(leak['blocks'])} of {plural(leak['made_blocks'], 'block')} made since"
    return f"{blocks} ({human_bytes(leak['bytes'])} of {human_bytes(leak['made_bytes'])})"


def _parts(groups: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{group['key']} {human_bytes(group['bytes'])}" for group in groups)


def _path(frames: Sequence[Mapping[str, Any]]) -> str:
    texts = [_frame(frame) for frame in frames]
    return " > ".join(["..."] * (len(texts) > _FRAMES) + texts[-_FRAMES:])


def _frame(frame: Mapping[str, Any]) -> str:
    return f"{frame['function']} ({frame['file'].rpartition('/')[2]}:{frame['line']})"
