"""The store's figures as Markdown."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from benchmarks.store.results import FIRST, Length, StoreResults
from benchmarks.tables import goal_list, machine, table

LENGTH_HEADER = (
    "events",
    "blocks alive",
    "build, s",
    "M events/s",
    "RSS building, MiB",
    "log, bytes an event",
    "store, bytes an event",
    "open, ms",
    "one instant, ms",
    "95 %",
    "worst",
    "RSS asking, MiB",
)

SIMULATION_HEADER = (
    "events",
    "blocks alive",
    "recorded settings, s",
    "M events/s",
    "gc=10000, two bounds, s",
    "M events/s",
    "RSS, MiB",
)

ANSWERS = (
    "Whole processes, on recordings of the same program (`churn`, shortened). Events are those that the tool "
    "itself counts."
)
SIZES = "Recordings of the native engine, and the stores built from them."
LENGTHS = (
    "Synthetic logs. `SELECT stack_id, sum(size), count(*) FROM heap_at(?) GROUP BY stack_id` at 100 random "
    "instants, the store being open: median, 95th percentile and worst."
)
SIMULATIONS = (
    "The store being open. The first reading finds out what the recording knows of its collector, the second "
    "runs the machines: one for the recorded settings, three for another threshold."
)
SCALES = "The same with fewer and more blocks alive at a time, and equally many events."


def document(results: StoreResults) -> str:
    """Everything: what was run where, the tables, the goals."""
    parts = [
        f"Medians of {results.rounds} interleaved rounds; a ratio is taken within one round. "
        f"{machine(results.facts)}"
    ]
    for title, text, figures in (
        ("From a log to an answer", ANSWERS, results.asked and _asked(results)),
        ("Size of the store", SIZES, results.sizes and _sizes(results)),
        ("The heap at an instant, by the length", LENGTHS, results.lengths and _lengths(results.lengths)),
        ("The heap at an instant, by what is alive", SCALES, results.scales and _lengths(results.scales)),
        ("Simulations, by the length", SIMULATIONS, results.lengths and _simulations(results.lengths)),
        ("Goals of the store", "", goal_list(results.goals)),
    ):
        if figures:
            parts += [f"### {title}", text, str(figures)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _asked(results: StoreResults) -> str:
    first = results.asked.get(FIRST)
    rows = []
    for name, asked in results.asked.items():
        if asked.seconds is None or asked.rate is None:
            rows.append([asked.title, f"{asked.events:,}", asked.failed and "failed", "", ""])
            continue
        times = asked.ratio(first) if first and name != FIRST else None
        ratio = f"{times:.2f}x" if times else ""
        cells = [f"{asked.events:,}", f"{asked.seconds:.2f}", f"{asked.rate / 1e6:.2f}", ratio]
        rows.append([asked.title, *cells])
    rows += [[name, why, "", "", ""] for name, why in results.missing.items()]
    return table(["command", "events", "s", "M events/s", "in times of the first answer"], rows)


def _sizes(results: StoreResults) -> str:
    rows = []
    for name, size in results.sizes.items():
        densities = [f"{each / size.events:.2f}" for each in (size.log_bytes, size.store_bytes)]
        rows.append([f"`{name}`", f"{size.events / 1000:,.0f}", *densities])
    return table(["program", "events, thousands", "log, bytes an event", "store, bytes an event"], rows)


def _lengths(lengths: Sequence[Length]) -> str:
    return table(LENGTH_HEADER, [_length(each) for each in lengths])


def _simulations(lengths: Sequence[Length]) -> str:
    rows = []
    for each in lengths:
        if each.simulate_s:
            recorded, other = each.simulate_s
            events = each.size.events
            rows.append(
                [
                    f"{events:,}",
                    f"{statistics.median(each.blocks):,.0f}",
                    f"{recorded:.2f}",
                    f"{events / recorded / 1e6:.2f}",
                    f"{other:.2f}",
                    f"{events / other / 1e6:.2f}",
                    f"{each.simulate_rss / 2**20:,.0f}",
                ]
            )
    return table(SIMULATION_HEADER, rows)


def _length(each: Length) -> list[str]:
    size = each.size
    times = (each.open_s, each.median_s, each.slow_s, max(each.instants_s))
    return [
        f"{size.events:,}",
        f"{statistics.median(each.blocks):,.0f}",
        f"{each.build_s:.2f}",
        f"{size.events / each.build_s / 1e6:.2f}",
        f"{each.build_rss / 2**20:,.0f}",
        f"{size.log_bytes / size.events:.2f}",
        f"{size.store_bytes / size.events:.2f}",
        *(f"{seconds * 1000:.1f}" for seconds in times),
        f"{each.ask_rss / 2**20:,.0f}",
    ]
