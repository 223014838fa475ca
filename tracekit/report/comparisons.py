"""Several scenarios side by side, and over time. Takes documents of ``simulate --json``: simulations.py."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import Any, Final

from tracekit.report.curves import (
    ENDED,
    Canvas,
    Curve,
    axis_line,
    draw_curves,
    grid_lines,
    letter_in_colour,
)
from tracekit.report.heaps import note_lines
from tracekit.report.simulations import (
    UNKNOWN,
    Document,
    bounds_of,
    counts_text,
    out_of_memory_lines,
    range_text,
    seconds_text,
    share_text,
)
from tracekit.report.tables import GAP, Column, table
from tracekit.report.text import columns_of, cut, printable, wrapped
from tracekit.report.units import human_bytes, human_count, human_seconds

PLOTTED: Final = {
    "live": ("live_bytes", "live bytes", human_bytes),
    "footprint": ("footprint", "bytes held from the system (footprint)", human_bytes),
    "arenas": ("arenas", "arenas", human_count),
}
"""By what is plotted: the fields of the timeline, words, units."""

PLOT_ROWS = 12
_LEAST_TITLE = 12
_HEAP_GROUPS = 5
_NO = "no"
_ROOMY = 110
"""Columns of a terminal from which on nothing is shortened."""

_FRAGMENTATION = ("fragmentation", "frag.")


def comparison_lines(
    documents: Sequence[Document], *, width: int | None = None, plot: Sequence[str] = ()
) -> Iterator[str]:
    """Lines of several scenarios: the table, ``plot``, who ran out of memory, what is unknown."""
    yield from compared_table(documents, width)
    if not plot:
        yield from _legend(documents, width)
    yield from fidelity_lines(documents, width)
    if plot:
        yield ""
        yield from plot
    yield from compared_notes(documents, width)


def compared_table(documents: Sequence[Document], width: int | None) -> Iterator[str]:
    """The table with a column a scenario where that fits (or nothing has to), else with a row a scenario."""
    rows = [*_facts(documents)]
    titles = _titles(documents)
    left = max(columns_of(name) for name, _ in rows)
    sizes = [max(columns_of(cells[at]) for _, cells in rows) for at in range(len(documents))]
    if width is not None:
        room = width - left - len(GAP) * len(documents)
        limits = range(max(map(columns_of, titles)), _LEAST_TITLE - 1, -1)
        fitting = (most for most in limits if sum(_sizes(sizes, titles, most)) <= room)
        most = next(fitting, None)
        if most is None and sum(_sizes(sizes, titles, _LEAST_TITLE)) > room:
            yield from row_table(documents, width=width)
            return
        titles = [
            cut(title, size)
            for title, size in zip(titles, _sizes(sizes, titles, most or _LEAST_TITLE), strict=True)
        ]
    columns = [Column(""), *(Column(title, "right") for title in titles)]
    yield from table(columns, [[name, *cells] for name, cells in rows], width=width)


def _sizes(cells: Sequence[int], titles: Sequence[str], most: int) -> list[int]:
    """How wide columns get when their titles are cut to ``most``, or to what their cells take anyway."""
    return [max(cell, min(most, columns_of(title))) for cell, title in zip(cells, titles, strict=True)]


def row_table(
    documents: Sequence[Document],
    *,
    width: int | None = None,
    letters: Sequence[str] = ascii_lowercase,
    marked: int | None = None,
) -> Iterator[str]:
    """The table with a row a scenario. Where it does not fit it goes without fragmentation.

    The row ``marked`` has an arrow where there is room.
    """
    tight = width is not None and width < _ROOMY
    found = dict(_row_columns(documents, tight=tight))
    if marked is not None and not tight:
        found[""] = ["<- knee" if at == marked else "" for at in range(len(documents))]
    if all(document["fragmentation"] is None for document in documents) or (
        width is not None and _needed(found) > width
    ):
        del found[_FRAGMENTATION[tight]]
    names = [document["scenario"] for document in documents]
    columns = [
        Column(""),
        Column("scenario"),
        *(Column(title, "right" if title else "left") for title in found),
    ]
    yield from table(columns, zip(letters, names, *found.values(), strict=False), width=width)


def _row_columns(documents: Sequence[Document], *, tight: bool) -> Iterator[tuple[str, list[str]]]:
    """Titles and cells of the columns behind the names."""

    def each(form: Callable[[Document], str]) -> list[str]:
        return ["?" if tight and text == UNKNOWN else text for text in map(form, documents)]

    to = "-" if tight else " to "
    counted = "gc 0/1/2" if tight else "collections 0 / 1 / 2"
    yield counted, each(lambda d: counts_text(d["collections"], "/" if tight else " / "))
    yield "gc time", each(lambda d: seconds_text(d.get("collector_seconds")))
    yield "peak live", each(lambda d: range_text(bounds_of(d, "peak_bytes"), human_bytes, to))
    arenas = "arenas" if tight else "peak arenas"
    yield arenas, each(lambda d: range_text(bounds_of(d, "peak_arenas"), human_count, to))
    yield _FRAGMENTATION[tight], each(lambda d: share_text(d["fragmentation"]))
    if any(document["out_of_memory"] for document in documents):
        yield "ran out", each(lambda d: _ran_out(d, short=tight))


def _needed(found: Mapping[str, Sequence[str]]) -> int:
    """Columns of the terminal that a table of these takes at least, with the letters and cut names."""
    sizes = [max(map(columns_of, (title, *cells))) for title, cells in found.items()]
    return 1 + _LEAST_TITLE + sum(sizes) + len(GAP) * (len(sizes) + 1)


def fidelity_lines(documents: Sequence[Document], width: int | None) -> Iterator[str]:
    """Where the recorded settings were simulated: how far that is from what really happened."""
    for document in documents:
        same, found = document["recorded_collections"], document["collections"]
        if document["scenario"] == "recorded" and found is not None and found != same:
            yield ""
            yield from wrapped(
                f"as recorded, the model comes to {counts_text(found)} collections of generation 0 / 1 / 2; "
                f"{counts_text(same)} were recorded",
                width,
            )


def compared_notes(
    documents: Sequence[Document],
    width: int | None,
    *,
    letters: Sequence[str] = ascii_lowercase,
    heaps: bool = True,
) -> Iterator[str]:
    """Who ran out of memory and what was alive; what is unknown, and of whom; the assumptions, each once.

    Without ``heaps`` the first part is left out.
    """
    for letter, document in zip(letters, documents if heaps else (), strict=False):
        who = f"{letter} {printable(document['scenario'])}: "
        yield from out_of_memory_lines(document, who=who, groups=_HEAP_GROUPS, width=width)
    yield from note_lines(_unknown(documents, letters), width=width, label=UNKNOWN)
    yield from note_lines(list(dict.fromkeys(note for d in documents for note in d["notes"])), width=width)


def _unknown(documents: Sequence[Document], letters: Sequence[str]) -> list[str]:
    """What is unknown of whom, fields with one reason together."""
    whose: dict[tuple[str, str], list[str]] = {}
    for letter, document in zip(letters, documents, strict=False):
        for field, why in document["unknown"].items():
            whose.setdefault((field, why), []).append(letter)
    fields: dict[tuple[str, str], list[str]] = {}
    for (field, why), found in whose.items():
        fields.setdefault((why, _of(found, letters[: len(documents)])), []).append(field.replace("_", " "))
    return [f"{', '.join(names)}{of}: {why}" for (why, of), names in fields.items()]


def plot_lines(
    documents: Sequence[Document],
    what: str,
    canvas: Canvas,
    letters: Sequence[str] | None = None,
) -> Iterator[str]:
    """A plot of all scenarios over time, and its legend; nothing where there is nothing to plot.

    ``what`` is a key of PLOTTED; ``letters`` are those of the scenarios, a, b, c if None.
    """
    letters = letters or ascii_lowercase
    field, title, form = PLOTTED[what]
    end_s = max(map(_end_s, documents), default=0.0)
    curves = [
        _curve(document, letter, field, canvas.room, end_s)
        for letter, document in zip(letters, documents, strict=False)
    ]
    top = max((value for curve in curves for value in curve.high if value), default=0)
    if not top or end_s <= 0:
        return
    yield f"{title} over time"
    grid = draw_curves(curves, PLOT_ROWS, blocks=canvas.blocks)
    labels = [form(top), *[""] * (PLOT_ROWS - 2), form(0)]
    if top > 1:
        labels[PLOT_ROWS // 2] = form(top // 2)
    yield from grid_lines(grid, labels, canvas)
    yield axis_line("0 s", human_seconds(end_s), canvas)
    drawn = {text for row in grid for text, _ in row}
    yield from _plot_legend(documents, curves, drawn, canvas)


def _plot_legend(
    documents: Sequence[Document], curves: Sequence[Curve], drawn: Collection[str], canvas: Canvas
) -> Iterator[str]:
    if len(documents) > 1:
        for number, (curve, document) in enumerate(zip(curves, documents, strict=True)):
            name = cut(printable(document["scenario"]), canvas.columns - 6)
            yield f"  {letter_in_colour(curve.letter, number, canvas.colour)}  {name}"
    said = []
    if len(documents) > 1:
        said.append("where curves meet, the first of them is shown")
    if any(curve.letter != curve.letter.upper() in drawn for curve in curves):
        said.append("capitals are upper bounds")
    if ENDED in drawn:
        said.append(f"{ENDED} is where memory ran out")
    if said:
        yield from wrapped(f"({'; '.join(said)})", canvas.columns)


def _curve(document: Document, letter: str, field: str, columns: int, end_s: float) -> Curve:
    """The timeline in columns of equal time: the most within each; where no point is, the one before it.

    It goes on to the end, or to where memory ran out.
    """
    lows: list[int | None] = [None] * columns
    highs: list[int | None] = [None] * columns
    for point in document["timeline"]:
        high, low = point[f"{field}_high"], point[f"{field}_low"]
        at = min(columns - 1, int(point["time_s"] / end_s * columns)) if end_s > 0 else 0
        if high is not None and (highs[at] is None or high > (highs[at] or 0)):
            highs[at], lows[at] = high, high if low is None else min(low, high)
    ended = document["out_of_memory"]
    last = min(columns - 1, int(ended["time_s"] / end_s * columns)) if ended and end_s > 0 else columns - 1
    for column in range(1, last + 1):
        if highs[column] is None:
            highs[column], lows[column] = highs[column - 1], lows[column - 1]
    return Curve(letter, lows, highs, ended=ended is not None)


def _end_s(document: Document) -> float:
    last: float = document["timeline"][-1]["time_s"] if document["timeline"] else 0.0
    whole: float = document.get("recorded_duration_s", 0.0)
    return max(last, whole)


def _titles(documents: Sequence[Document]) -> list[str]:
    return [
        f"{letter} {printable(document['scenario'])}"
        for letter, document in zip(ascii_lowercase, documents, strict=False)
    ]


def _legend(documents: Sequence[Document], width: int | None) -> Iterator[str]:
    """The scenarios' whole names, where they may have been cut."""
    if width is None or all(columns_of(title) <= _LEAST_TITLE for title in _titles(documents)):
        return
    yield ""
    for title in _titles(documents):
        yield from wrapped(f"{title[:1]}  {title[2:]}", width, indent=3)


def _facts(documents: Sequence[Document]) -> Iterator[tuple[str, list[str]]]:
    """What is compared: a name, and its text for each scenario."""

    def each(form: Callable[[Any], str]) -> list[str]:
        return [form(document) for document in documents]

    counts = [document["collections"] or [None] * 3 for document in documents]
    for generation in range(3):
        name = f"{'' if generation else 'collections,':12} gen. {generation}"
        yield (
            name,
            [UNKNOWN if found[generation] is None else human_count(found[generation]) for found in counts],
        )
    if any(any(document.get("collections_asked") or ()) for document in documents):
        yield "of them asked for", each(lambda d: _sum_text(d.get("collections_asked")))
    yield "collector time, est.", each(lambda d: seconds_text(d.get("collector_seconds")))
    yield "peak live", each(lambda d: range_text(bounds_of(d, "peak_bytes")))
    yield "peak arenas", each(lambda d: range_text(bounds_of(d, "peak_arenas"), human_count))
    yield "peak footprint", each(lambda d: range_text(bounds_of(d, "peak_footprint_bytes")))
    yield "live at the end", each(lambda d: range_text(bounds_of(d, "end_bytes")))
    yield "fragmentation at end", each(lambda d: share_text(d["fragmentation"]))
    if any(document["settings"].get("memory_limit") for document in documents):
        yield "out of memory", each(_ran_out)


def _sum_text(counts: Sequence[int] | None) -> str:
    return UNKNOWN if counts is None else human_count(sum(counts))


def _of(whose: Sequence[str], letters: Sequence[str]) -> str:
    """Whom something is true of: nothing for all, otherwise the shorter of the two lists."""
    others = [letter for letter in letters if letter not in whose]
    if not others:
        return ""
    return f" of {', '.join(whose)}" if len(whose) <= len(others) + 1 else f" of all but {', '.join(others)}"


def _ran_out(document: Document, *, short: bool = False) -> str:
    event = document["out_of_memory"]
    if event is None:
        return _NO
    when = human_seconds(event["time_s"])
    if event.get("certain", True):
        return when
    return f"{when}?" if short else f"perhaps {when}"
