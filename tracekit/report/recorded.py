"""What a recording came to, as the few lines that `record` leaves behind the program's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.summaries import exit_text
from tracekit.report.units import human_bytes, human_seconds, plural


def recorded_lines(  # noqa: PLR0913 - the values of one report
    totals: Mapping[str, Any],
    notices: Sequence[Mapping[str, Any]],
    *,
    log: str | None,
    log_bytes: int,
    engine: str,
    complete: bool,
    exit_status: int,
) -> Iterator[str]:
    """Lines: how much, the peak, the log, what is wrong with it. ``totals`` and ``notices`` as in the log."""
    yield (
        f"recorded {plural(totals['events'], 'event')} in {human_seconds(totals['duration_ns'] / 1e9)}: "
        f"{plural(totals['allocations'], 'allocation')}, {plural(totals['frees'], 'free')}, "
        f"{plural(totals['gc_collections'], 'collection')}"
    )
    yield (
        f"peak {human_bytes(totals['peak_bytes'])} in {plural(totals['peak_blocks'], 'block')}; "
        f"at the end {human_bytes(totals['end_bytes'])} in {plural(totals['end_blocks'], 'block')}"
    )
    each = f", {log_bytes / totals['events']:.1f} bytes an event" if totals["events"] else ""
    yield f"{'no log' if log is None else f'log {log}, {human_bytes(log_bytes)}{each}'}; {engine}"
    if not complete:
        how = f"was {exit_text(exit_status)}" if exit_status < 0 else f"ended with status {exit_status}"
        yield f"the recording is not complete: the program {how}"
    for notice in notices:
        yield f"notice[{notice['code']}]: {notice['text']}"
