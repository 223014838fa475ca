"""A timeline as charts and as words. Takes the document of ``timeline --json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import Any

from tracekit.report.heaps import moment_text, note_lines
from tracekit.report.plots import LABEL_COLUMNS, bars, digits, labelled
from tracekit.report.text import printable
from tracekit.report.units import human_bytes, human_count, human_seconds, plural

LIVE_ROWS = 10
RSS_ROWS = 5
MARKS_SHOWN = len(ascii_lowercase)
_MORE_MARKS = "*"
_LEFT = LABEL_COLUMNS + 2

_CYAN, _YELLOW, _RED, _PLAIN = "\x1b[36m", "\x1b[33m", "\x1b[31m", "\x1b[0m"


def columns_for_steps(width: int) -> int:
    """How many steps fit a terminal of this width."""
    return max(1, width - _LEFT)


def timeline_lines(
    document: Mapping[str, Any], *, width: int | None = None, blocks: bool = True, colour: bool = False
) -> Iterator[str]:
    """Lines of a timeline: charts of live bytes and of RSS, collections, marks, and the numbers in words.

    ``blocks`` false draws in ASCII; ``width`` wraps the notes only: a step is a column.
    """
    steps = document["steps"]
    yield f"timeline from {moment_text(document['from'])}"
    yield f"         to   {moment_text(document['to'])}"
    yield f"{plural(len(steps), 'column')} of {_step_text(document)}"
    yield ""
    live = [step["most_bytes"] for step in steps]
    yield "live bytes, the most within each column"
    yield from _chart(live, LIVE_ROWS, blocks, _CYAN if colour else "")
    if document["largest_rss"]:
        yield ""
        yield "resident memory of the process (RSS)"
        yield from _chart(_carried(document), RSS_ROWS, blocks, _YELLOW if colour else "")
    yield from _collections(steps, blocks, _RED if colour else "")
    yield from _axis(document, len(steps))
    yield ""
    yield from _words(document)
    yield from _mark_names(document["marks"])
    yield from note_lines(document["notes"], width=width)


def _step_text(document: Mapping[str, Any]) -> str:
    start, end, count = document["from"], document["to"], len(document["steps"])
    if document["x"] == "time":
        return f"{human_seconds((end['time_s'] - start['time_s']) / count)} each"
    events = (end["seq"] - start["seq"]) / count
    return f"{human_count(round(events))} events each" if events >= 1 else "less than an event each"


def _chart(values: Sequence[int | None], rows: int, blocks: bool, colour: str) -> Iterator[str]:
    top = max((value for value in values if value), default=0)
    labels = [human_bytes(top), *[""] * (rows - 1)]
    if rows >= LIVE_ROWS and top > 1:
        labels[rows // 2] = human_bytes(top // 2)
    chart = bars(values, rows, blocks=blocks)
    if colour:
        chart = [f"{colour}{row}{_PLAIN}" for row in chart]
    yield from labelled(chart, labels, blocks=blocks)


def _carried(document: Mapping[str, Any]) -> list[int | None]:
    """RSS for every step: that of the last sample where a step has none."""
    carried, last = [], document["rss_before_bytes"]
    for step in document["steps"]:
        last = step["rss_bytes"] if step["rss_bytes"] is not None else last
        carried.append(last)
    return carried


def _collections(steps: Sequence[Mapping[str, Any]], blocks: bool, colour: str) -> Iterator[str]:
    """A row for each generation that was collected: digits, or bars where there are too many for them."""
    rows = [[step["collections"][generation] for step in steps] for generation in range(3)]
    if not any(map(any, rows)):
        return
    yield ""
    yield "collections within each column, by generation"
    for generation, counts in enumerate(rows):
        most = max(counts)
        if not most:
            continue
        line = digits(counts) if most < 10 else bars(counts, 1, blocks=blocks)[0]
        shortest = str(most) if most < 1000 else f"{most // 1000}k"
        label = str(generation) if most < 10 else f"{generation}, max {shortest}"
        shown = f"{colour}{line}{_PLAIN}" if colour else line.rstrip()
        yield f"{label:>{LABEL_COLUMNS}}  {shown}"


def _axis(document: Mapping[str, Any], columns: int) -> Iterator[str]:
    """The letters of the marks, and where the axis begins and ends."""
    places = [" "] * columns
    for number, mark in reversed(list(enumerate(_named(document["marks"])))):
        places[mark["step"]] = ascii_lowercase[number] if number < MARKS_SHOWN else _MORE_MARKS
    if any(place != " " for place in places):
        yield f"{'marks':>{LABEL_COLUMNS}}  {''.join(places)}".rstrip()
    first, last = (_place(document, document[end]) for end in ("from", "to"))
    gap = max(1, columns - len(first) - len(last))
    yield f"{' ' * _LEFT}{first}{' ' * gap}{last}"


def _place(document: Mapping[str, Any], moment: Mapping[str, Any]) -> str:
    if document["x"] == "time":
        return human_seconds(moment["time_s"])
    return human_count(moment["seq"])


def _named(marks: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """The program's marks: those of the recorder are the ends of the axis."""
    return [mark for mark in marks if not mark["own"]]


def _words(document: Mapping[str, Any]) -> Iterator[str]:
    peak, rss = document["peak"], document["largest_rss"]
    sure = "peak" if document["exact"] or peak["of_recording"] else "highest seen"
    where = f"event {human_count(peak['seq'])}, {human_seconds(peak['time_s'])}"
    yield f"{sure} {human_bytes(peak['bytes'])} ({where})"
    yield f"at {printable(document['to']['text'])} {human_bytes(document['end_bytes'])} in " + plural(
        document["end_blocks"], "block"
    )
    if rss:
        yield f"largest RSS {human_bytes(rss['rss_bytes'])} ({human_seconds(rss['time_s'])})"
    runs = [sum(step["collections"][generation] for step in document["steps"]) for generation in range(3)]
    pause_s = sum(step["pause_s"] for step in document["steps"])
    if any(runs):
        by = " / ".join(map(human_count, runs))
        count = plural(sum(runs), "collection")
        yield f"{count} ({by} of generation 0 / 1 / 2) took {human_seconds(pause_s)}"
    else:
        yield "no collections"


def _mark_names(marks: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    named = _named(marks)
    if named:
        yield ""
    for letter, mark in zip(ascii_lowercase, named, strict=False):
        where = f"event {human_count(mark['seq'])}, {human_seconds(mark['time_s'])}"
        yield f"{letter}  {printable(mark['name'])} ({where})"
    if len(named) > MARKS_SHOWN:
        yield f"{_MORE_MARKS}  {plural(len(named) - MARKS_SHOWN, 'more mark')} (--json names them)"
