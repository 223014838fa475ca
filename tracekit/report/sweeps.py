"""A sweep as a table and a plot of collector time against peak. Takes the document of ``simulate --json``.

``sweep`` {``setting``, ``values``, ``shape``, ``best``}, ``scenarios`` (documents as in simulations.py; the
first is ``recorded``), ``knee`` (a name, or None), ``next`` (a command, or None).

``shape`` says what was found, and ``best`` is the scenario that it was found for, or None: ``knee``,
``straight``, ``flat``, ``flat-time``, ``flat-peak``, ``too-few`` and ``unknown`` of a threshold; ``limit``
(the least that suffices) and ``footprint`` (the smallest peak) of the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from string import ascii_lowercase
from typing import Any, Final

from tracekit.report.comparisons import compared_notes, row_table
from tracekit.report.curves import Canvas, Spot, axis_line, draw_spots, grid_lines
from tracekit.report.simulations import Document, bounds_of, range_text
from tracekit.report.text import printable, wrapped
from tracekit.report.units import human_bytes, human_seconds

RECORDED_LETTER: Final = "R"
KNEE_LETTER: Final = "K"
LETTERS: Final = RECORDED_LETTER + ascii_lowercase
"""Of the scenarios of a sweep, in their order."""

_ROWS = 12
_NEARLY = 1.1

_WITHOUT_BEST: Final = {
    "straight": "no knee: less collector time costs evenly more memory all along",
    "flat": "no knee: neither the collector's time nor the peak depends on it",
    "too-few": "no knee: it takes three thresholds at least",
    "unknown": "no knee: how long the collector takes is not known",
    "limit": "none of these limits is enough",
}


def sweep_lines(
    document: Mapping[str, Any], *, width: int | None = None, plots: Sequence[Sequence[str]] = ()
) -> Iterator[str]:
    """Lines of a sweep: the table, ``plots``, what was found, what to type next, what is unknown."""
    scenarios = document["scenarios"]
    names = [scenario["scenario"] for scenario in scenarios]
    knee = names.index(document["knee"]) if document["knee"] is not None else None
    values = document["sweep"]["values"]
    yield f"sweep of {document['sweep']['setting']}: {len(values)} scenarios, and {names[0]} for comparison"
    yield ""
    letters = [KNEE_LETTER if at == knee else letter for at, letter in enumerate(LETTERS)]
    yield from row_table(scenarios, width=width, letters=letters, marked=knee)
    for plot in plots:
        if plot:
            yield ""
            yield from plot
    yield ""
    yield from wrapped(_found(document), width)
    if _as_good(document):
        yield from wrapped("The recorded settings are as good: there is nothing to gain here", width)
    elif _to_set(document):
        yield f"to set it, where the program begins: {_to_set(document)}"
    if document["next"]:
        yield f"next: {printable(document['next'])}"
    yield from compared_notes(scenarios, width, letters=letters, heaps=False)


def trade_lines(document: Mapping[str, Any], canvas: Canvas) -> Iterator[str]:
    """A plot of peak live bytes over collector time (log scale), or nothing where either is not known."""
    spots, order = [], []
    times = [scenario.get("collector_seconds") for scenario in document["scenarios"]]
    least = min((time for time in times if time), default=None)
    if least is None:
        return
    for letter, scenario, time in zip(LETTERS, document["scenarios"], times, strict=False):
        bounds = bounds_of(scenario, "peak_bytes")
        if time is None or bounds is None or scenario["out_of_memory"]:
            continue
        shown = KNEE_LETTER if scenario["scenario"] == document["knee"] else letter
        order.append(shown != KNEE_LETTER)
        spots.append(Spot(shown, max(time, least / 2), *bounds))
    if len(spots) < 2:
        return
    spots = [spot for _, spot in sorted(zip(order, spots, strict=True), key=lambda pair: pair[0])]
    grid = draw_spots(spots, canvas.room, _ROWS, blocks=canvas.blocks)
    top, bottom = max(spot.high for spot in spots), min(spot.low for spot in spots)
    yield from wrapped(
        "peak live bytes over collector time (log scale): down and left is better", canvas.columns
    )
    labels = [human_bytes(top), *[""] * (_ROWS - 2), human_bytes(bottom)]
    yield from grid_lines(grid, labels, canvas)
    fewest = 0.0 if 0 in times else min(spot.across for spot in spots)
    yield axis_line(human_seconds(fewest), human_seconds(max(spot.across for spot in spots)), canvas)
    yield from wrapped(_legend(document, spots), canvas.columns)


def _legend(document: Mapping[str, Any], spots: Sequence[Spot]) -> str:
    said = ["letters are those of the table", f"{RECORDED_LETTER} as recorded"]
    if document["knee"] is not None:
        said.append(f"{KNEE_LETTER} the knee")
    if any(spot.low != spot.high for spot in spots):
        said.append("a letter stands at the upper bound of its peak, the line below it ends at the lower one")
    return f"({'; '.join(said)})"


def _found(document: Mapping[str, Any]) -> str:
    shape, best = document["sweep"]["shape"], document["sweep"]["best"]
    if best is None:
        return _WITHOUT_BEST[shape]
    recorded = document["scenarios"][0]
    chosen = next(one for one in document["scenarios"] if one["scenario"] == best)
    name = printable(best)
    if shape == "knee":
        return (
            f"knee: {name} takes {_cost(chosen)} (as recorded: {_cost(recorded)}). It is the point farthest "
            "below the straight line from the most time to the most memory, both scales logarithmic: further "
            f"on, less time costs ever more memory{_at_its_end(document, best)}"
        )
    if shape in ("flat-peak", "flat-time"):
        what, least = (
            ("peak", "takes least time") if shape == "flat-peak" else ("time", "has the lowest peak")
        )
        return f"no knee: the {what} is the same all along (within 2%); {name} {least}: {_cost(chosen)}"
    if shape == "limit":
        return f"{name} is the least of these limits that is enough"
    footprint = range_text(bounds_of(chosen, "peak_footprint_bytes"))
    before = range_text(bounds_of(recorded, "peak_footprint_bytes"))
    return f"{name} has the smallest peak footprint: {footprint} (as recorded: {before})"


def _at_its_end(document: Mapping[str, Any], best: str) -> str:
    """What there is to say when the best of a sweep has no neighbour on one side."""
    names = [scenario["scenario"] for scenario in document["scenarios"]]
    if best not in (names[1], names[-1]):
        return ""
    return (
        f". It is the {'last' if best == names[-1] else 'first'} of the sweep: a wider one may have a better"
    )


def _as_good(document: Mapping[str, Any]) -> bool:
    """Whether the recorded settings need hardly more time, nor more memory, than the best of the sweep."""
    if document["sweep"]["shape"] not in ("knee", "flat-peak", "flat-time"):
        return False
    recorded = document["scenarios"][0]
    chosen = next(one for one in document["scenarios"] if one["scenario"] == document["sweep"]["best"])
    peaks = [bounds_of(scenario, "peak_bytes") for scenario in (recorded, chosen)]
    times = [scenario.get("collector_seconds") for scenario in (recorded, chosen)]
    if None in peaks or None in times:
        return False
    return bool(times[0] <= times[1] * _NEARLY and peaks[0][1] <= peaks[1][1] * _NEARLY)  # type: ignore[index]


def _to_set(document: Mapping[str, Any]) -> str:
    """The call that makes the best thresholds those of the program, if it can be one."""
    for scenario in document["scenarios"]:
        thresholds = scenario["settings"].get("gc_thresholds")
        if scenario["scenario"] == document["sweep"]["best"] and thresholds:
            given = [str(value) for value in thresholds if value is not None]
            whole = thresholds[: len(given)] == [value for value in thresholds if value is not None]
            return f"gc.set_threshold({', '.join(given)})" if whole else ""
    return ""


def _cost(scenario: Document) -> str:
    seconds = scenario.get("collector_seconds")
    time = "an unknown time" if seconds is None else human_seconds(seconds)
    return f"{time} in the collector for a peak of {range_text(bounds_of(scenario, 'peak_bytes'))}"
