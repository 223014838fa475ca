"""What a simulated memory manager did, as text. Takes the document of ``simulate --json``.

The fields of the document of one scenario that are read here, in ``comparisons`` and in ``sweeps``:

- ``scenario``: its name; ``settings`` {name: value}: what was in force.
- ``collections``, ``collections_asked`` [g0, g1, g2], or None where unknown; ``recorded_collections``
  [g0, g1, g2].
- ``collector_seconds``, ``recorded_collector_seconds``: float, or None where unknown.
- ``peak_bytes``, ``end_bytes``: int, or None where the bounds differ; ``peak_bytes_bounds``,
  ``end_bytes_bounds`` [low, high] (or None where unknown); ``recorded_peak_bytes``, ``recorded_end_bytes``.
- ``recorded_duration_s``: how long the recorded program ran.
- ``peak_arenas``, ``peak_arenas_bounds``, ``recorded_peak_arenas`` (None where unknown), ``arenas``.
- ``peak_footprint_bytes``, ``peak_footprint_bounds``; ``peak_stack_bytes`` (None where unknown).
- ``fragmentation``, ``peak_fragmentation``: 0 to 1, or None where it has no meaning.
- ``out_of_memory``: None, or {``seq``, ``time_s``, ``wanted_bytes``, ``live_bytes``, ``footprint_bytes``,
  ``site`` (text, or None), ``certain`` (False: of the upper bound only), ``heap`` {``by``, ``total_bytes``,
  ``total_blocks``, ``groups`` [{``key``, ``bytes``, ``blocks``}], ``garbage`` (None, or {``total_bytes``,
  ``total_blocks``, ``exact``, ``groups``})}}: the heap is the recorded one just before, and the garbage what
  its collections had freed but not those of the simulation.
- ``timeline`` [{``seq``, ``time_s``, ``live_bytes_low``, ``live_bytes_high``, ``arenas_low``,
  ``arenas_high``, ``footprint_low``, ``footprint_high``}], in order, None after memory ran out.
- ``unknown`` {field: why}, ``notes`` [text].

Any bounds may be missing: then the number without them is the only one. A number without bounds is that of
the upper bound.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.heaps import group_table, note_lines
from tracekit.report.pairs import pair_lines
from tracekit.report.tables import Column, table
from tracekit.report.text import printable, wrapped
from tracekit.report.units import human_bytes, human_count, human_seconds, plural

UNKNOWN = "unknown"

Document = Mapping[str, Any]


def simulation_lines(
    document: Document, *, width: int | None = None, plot: Sequence[str] = ()
) -> Iterator[str]:
    """Lines of a simulation: settings, results beside what was recorded, what ran out, what is unknown.

    ``plot``: lines of a plot, to stand below the table.
    """
    yield f"scenario: {printable(document['scenario'])}"
    yield from pair_lines(
        (
            (f"  {name.replace('_', ' ')}", _setting(name, value))
            for name, value in document["settings"].items()
        ),
        width=width,
    )
    yield ""
    yield from table(
        (Column(""), Column("simulated", "right"), Column("recorded", "right")), _rows(document), width=width
    )
    if plot:
        yield ""
        yield from plot
    yield from out_of_memory_lines(document, width=width)
    unknown: dict[str, list[str]] = {}
    for name, why in document["unknown"].items():
        unknown.setdefault(why, []).append(name.replace("_", " "))
    texts = [f"{', '.join(names)}: {why}" for why, names in unknown.items()]
    yield from note_lines(texts, width=width, label=UNKNOWN)
    yield from note_lines(document["notes"], width=width)


def out_of_memory_lines(
    document: Document, *, who: str = "", groups: int | None = None, width: int | None = None
) -> Iterator[str]:
    """What ran out, where, and what was alive then; nothing when nothing did. ``who`` stands in front."""
    event = document["out_of_memory"]
    if event is None:
        return
    yield ""
    when = f"event {human_count(event['seq'])}, {human_seconds(event['time_s'])}"
    sure = "" if event.get("certain", True) else " (only if garbage stays for as long as it can)"
    yield from wrapped(f"{who}out of memory at {when}{sure}: {_wanted(event)}", width)
    heap = event["heap"]
    less = heap["total_bytes"] - event["live_bytes"]
    rest = f"; {human_bytes(less)} of it are garbage, which the simulation had collected" if less > 0 else ""
    yield from wrapped(f"what was alive just before: {_sum(heap)}, by {heap['by']}{rest}", width)
    yield ""
    yield from group_table(heap["by"], heap["groups"][:groups], heap["total_bytes"], width=width)
    garbage = heap.get("garbage")
    if garbage:
        yield ""
        about = "" if garbage["exact"] else "about "
        text = f"and {about}{_sum(garbage)} of garbage, which the recorded collections had freed by then"
        yield from wrapped(text, width)
        yield ""
        yield from group_table(heap["by"], garbage["groups"][:groups], garbage["total_bytes"], width=width)
    reused = heap.get("reused_bytes", 0)
    if reused:
        yield ""
        text = "for which the recorded program had the blocks of dead ones, or which garbage may have kept"
        yield from wrapped(f"and {human_bytes(reused)} in objects {text}", width)


def counts_text(values: Sequence[int] | None, separator: str = " / ") -> str:
    """``12 / 1 / 0`` of generations 0, 1 and 2."""
    return UNKNOWN if values is None else separator.join(map(human_count, values))


def bounds_of(document: Document, field: str) -> tuple[int, int] | None:
    """The bounds of a field of the document; None where nothing is known."""
    name = field.removesuffix("_bytes") if field == "peak_footprint_bytes" else field
    bounds = document.get(f"{name}_bounds")
    if bounds is not None:
        return bounds[0], bounds[1]
    value = document.get(field)
    return None if value is None else (value, value)


def range_text(
    bounds: tuple[int, int] | None, form: Callable[[int], str] = human_bytes, to: str = " to "
) -> str:
    """``17.6 to 18.2 MiB``; one number where both read the same."""
    if bounds is None:
        return UNKNOWN
    low, high = (form(value) for value in bounds)
    if low == high:
        return high
    unit = high.rpartition(" ")[2]
    return f"{low.removesuffix(' ' + unit) if ' ' in high else low}{to}{high}"


def share_text(value: float | None) -> str:
    """``12.5%``."""
    return UNKNOWN if value is None else f"{100 * value:.1f}%"


def seconds_text(value: float | None) -> str:
    """``1.2 ms``."""
    return UNKNOWN if value is None else human_seconds(value)


def _rows(document: Document) -> Iterator[tuple[str, str, str]]:
    counts = document["recorded_collections"]
    yield "collections of generation 0 / 1 / 2", counts_text(document["collections"]), counts_text(counts)
    asked = document.get("collections_asked")
    if asked and any(asked):
        yield "  of them asked for by the program", counts_text(asked), ""
    yield (
        "collector time (estimate)",
        seconds_text(document.get("collector_seconds")),
        seconds_text(document.get("recorded_collector_seconds")),
    )
    yield "peak live", range_text(bounds_of(document, "peak_bytes")), _recorded(document, "peak_bytes")
    yield "live at the end", range_text(bounds_of(document, "end_bytes")), _recorded(document, "end_bytes")
    recorded = document["recorded_peak_arenas"]
    yield (
        "peak arenas",
        range_text(bounds_of(document, "peak_arenas"), human_count),
        UNKNOWN if recorded is None else human_count(recorded),
    )
    yield "arenas at the end", human_count(document["arenas"]), ""
    yield "peak footprint", range_text(bounds_of(document, "peak_footprint_bytes")), ""
    if document.get("peak_stack_bytes") is not None:
        yield "peak of all stack segments", human_bytes(document["peak_stack_bytes"]), ""
    yield "fragmentation at the peak", share_text(document["peak_fragmentation"]), ""
    yield "fragmentation at the end", share_text(document["fragmentation"]), ""


def _recorded(document: Document, field: str) -> str:
    value = document.get(f"recorded_{field}")
    return "" if value is None else human_bytes(value)


def _wanted(event: Mapping[str, Any]) -> str:
    where = f" at {printable(event['site'])}" if event.get("site") else ""
    return (
        f"{human_bytes(event['wanted_bytes'])} wanted{where}, {human_bytes(event['live_bytes'])} live, "
        f"{human_bytes(event['footprint_bytes'])} footprint"
    )


def _sum(heap: Mapping[str, Any]) -> str:
    return f"{human_bytes(heap['total_bytes'])} in {plural(heap['total_blocks'], 'block')}"


def _setting(name: str, value: object) -> str:
    if value is None:
        return "as recorded" if name == "gc_thresholds" else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(("size", "limit", "bytes", "threshold")):
        return human_bytes(value)
    if isinstance(value, (list, tuple)):
        return ", ".join("as recorded" if item is None else str(item) for item in value)
    return str(value)
