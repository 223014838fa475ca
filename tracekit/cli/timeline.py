"""``tracekit timeline``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.notes import timeline_notes
from tracekit.cli.options import AsJson, Log, NoCache, choice
from tracekit.cli.output import opened, put, put_lines, terminal_width
from tracekit.cli.replay import moment_document
from tracekit.errors import UsageError
from tracekit.report.json import json_document
from tracekit.report.plots import can_draw
from tracekit.report.timelines import columns_for_steps, timeline_lines

if TYPE_CHECKING:
    from tracekit.replay.timeline import Timeline
    from tracekit.store.database import Store

JSON_STEPS = 100


@dataclass(frozen=True, slots=True)
class TimelineOptions:
    """What `timeline` was asked."""

    log: Log
    start: Annotated[str, typer.Option("--from", metavar="MOMENT", help="Begin here.", show_default=True)] = (
        "start"
    )
    end: Annotated[str, typer.Option("--to", metavar="MOMENT", help="End here.", show_default=True)] = "end"
    x: Annotated[
        str, typer.Option("--x", metavar="AXIS", help="Columns of equal time, or of equally many events.")
    ] = "time"
    steps: Annotated[
        int | None,
        typer.Option("--steps", metavar="N", help="Columns. [default: what fits; 100 in JSON]"),
    ] = None
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        if self.steps is not None and self.steps < 1:
            raise UsageError(f"--steps cannot be {self.steps}", hint="give 1 or more")

    def columns(self) -> int:
        """How many steps. Raises UsageError when they do not fit the terminal."""
        if self.as_json:
            return self.steps or JSON_STEPS
        width = shutil.get_terminal_size().columns
        room = columns_for_steps(width)
        if self.steps is not None and self.steps > room:
            raise UsageError(
                f"{self.steps} steps do not fit {width} columns",
                hint=f"give {room} at most, or a larger COLUMNS; --json takes more",
            )
        return self.steps or room


def run(options: TimelineOptions) -> int:
    """Plot live bytes, resident memory and collections over time, as wide as the terminal.

    A column shows the most that was alive at any event within it, so that no peak is lost. Below the plots
    stand the collections of each generation, the program's marks, and the numbers in words. --from and --to
    zoom in; a MOMENT is what `tracekit replay` takes.

    Examples:
        tracekit timeline app.tkt
        tracekit timeline app.tkt --from mark:warm --to peak
        tracekit timeline app.tkt --x events
        tracekit timeline app.tkt --steps 1000 --json

    """
    from tracekit.replay.moment import resolve_moment
    from tracekit.replay.timeline import AXES, timeline

    choice("--x", options.x, AXES)
    columns = options.columns()
    with opened(options.log, cache=not options.no_cache) as store:
        start, end = resolve_moment(store, options.start), resolve_moment(store, options.end)
        document = _document(store, timeline(store, start, end, steps=columns, x=options.x))
    if options.as_json:
        put(json_document(document))
        return 0
    blocks = can_draw(sys.stdout.encoding)
    width = terminal_width(sys.stdout)
    put_lines(timeline_lines(document, width=width, blocks=blocks, colour=wants_colour()))
    return 0


def wants_colour() -> bool:
    """On a terminal that knows colours, unless it was forbidden (https://no-color.org)."""
    known = os.environ.get("TERM", "dumb") not in ("dumb", "unknown", "")
    return sys.stdout.isatty() and known and not os.environ.get("NO_COLOR")


def _document(store: Store, found: Timeline) -> dict[str, Any]:
    import msgspec

    steps: list[dict[str, Any]] = msgspec.to_builtins(found.steps)
    for step in steps:
        step["pause_s"] = step.pop("pause_ns") / 1e9
    peak, largest = found.peak, found.largest_rss
    return {
        "from": moment_document(found.start),
        "to": moment_document(found.end),
        "x": found.x,
        "exact": found.exact,
        "peak": {
            "bytes": peak.bytes,
            "seq": peak.seq,
            "time_s": peak.time_ns / 1e9,
            "of_recording": peak.seq == store.totals.peak_seq,
        },
        "end_bytes": found.end_bytes,
        "end_blocks": found.end_blocks,
        "rss_before_bytes": found.rss_before,
        "largest_rss": largest and {"rss_bytes": largest.rss_bytes, "time_s": largest.time_ns / 1e9},
        "marks": [
            {"name": m.name, "seq": m.seq, "time_s": m.time_ns / 1e9, "own": m.own, "step": m.step}
            for m in found.marks
        ],
        "steps": steps,
        "notes": timeline_notes(store.header, found, complete=store.complete),
    }
