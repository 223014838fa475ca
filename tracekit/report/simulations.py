"""What a simulated memory manager did, as text. Takes the document of ``simulate --json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracekit.report.heaps import group_table, note_lines
from tracekit.report.pairs import pair_lines
from tracekit.report.tables import Column, table
from tracekit.report.text import printable
from tracekit.report.units import human_bytes, human_count, human_seconds, plural

UNKNOWN = "unknown"


def simulation_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of a simulation: settings, results beside what was recorded, what ran out, what is unknown."""
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
    yield from _out_of_memory(document["out_of_memory"], width)
    unknown = [f"{name.replace('_', ' ')}: {why}" for name, why in document["unknown"].items()]
    yield from note_lines(unknown, width=width, label=UNKNOWN)
    yield from note_lines(document["notes"], width=width)


def _rows(document: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    yield "collections", _counts(document["collections"]), _counts(document["recorded_collections"])
    yield "peak arenas", _count(document["peak_arenas"]), _count(document["recorded_peak_arenas"])
    yield "arenas at the end", _count(document["arenas"]), ""
    yield "peak live", _bytes(document["peak_bytes"]), ""
    yield "peak footprint", _bytes(document["peak_footprint_bytes"]), ""
    yield "live at the end", _bytes(document["end_bytes"]), ""
    yield "fragmentation at the peak", _share(document["peak_fragmentation"]), ""
    yield "fragmentation at the end", _share(document["fragmentation"]), ""


def _out_of_memory(event: Mapping[str, Any] | None, width: int | None) -> Iterator[str]:
    if event is None:
        return
    yield ""
    yield (
        f"out of memory at event {human_count(event['seq'])}, {human_seconds(event['time_s'])}: "
        f"{human_bytes(event['wanted_bytes'])} wanted, {human_bytes(event['live_bytes'])} live, "
        f"{human_bytes(event['footprint_bytes'])} footprint"
    )
    heap = event["heap"]
    yield f"what was alive just before: {plural(heap['total_blocks'], 'block')}, by {heap['by']}"
    yield ""
    yield from group_table(heap["by"], heap["groups"], heap["total_bytes"], width=width)


def _setting(name: str, value: object) -> str:
    if value is None:
        return "as recorded" if name == "gc_thresholds" else "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) and name.endswith(("size", "limit", "bytes", "threshold")):
        return human_bytes(value)
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    return str(value)


def _counts(values: list[int] | None) -> str:
    return UNKNOWN if values is None else " / ".join(map(human_count, values))


def _count(value: int | None) -> str:
    return UNKNOWN if value is None else human_count(value)


def _bytes(value: int | None) -> str:
    return UNKNOWN if value is None else human_bytes(value)


def _share(value: float | None) -> str:
    return UNKNOWN if value is None else f"{100 * value:.1f}%"
