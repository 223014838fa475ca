"""Live bytes, resident memory and collections over a part of a recording, in steps of equal length."""

from __future__ import annotations

from typing import Any

import numpy as np
from msgspec import Struct

from tracekit.errors import UsageError
from tracekit.replay.moment import Moment
from tracekit.replay.rows import live_at
from tracekit.store.database import Store

AXES = ("time", "events")
"""What the steps are equal in: nanoseconds, or events (``seq``)."""

MOST_STEPS = 100_000
EXACT_EVENTS = 1_000_000
"""A window of at most so many events is read event by event; a longer one from the table ``timeline``."""

_TICKS = """
WITH tick AS (
    SELECT l.seq, l.time_ns, l.live_bytes, l.live_blocks,
           CASE $x WHEN 'time' THEN l.time_ns ELSE l.seq END AS place
    FROM timeline l WHERE l.trace_id = $trace AND l.seq > $first_seq AND l.seq <= $last_seq
)
SELECT greatest(0, least($steps - 1, (place - $first)::HUGEINT * $steps // $span))::BIGINT AS step,
       max(live_bytes), arg_max(live_bytes, seq), arg_max(live_blocks, seq), count(*),
       arg_min((seq, time_ns), (-live_bytes, seq))
FROM tick GROUP BY step ORDER BY step
"""
_CHANGES = """
SELECT a.alloc_seq AS seq, a.allocated_ns AS time_ns, a.size AS bytes, 1::TINYINT AS blocks FROM allocations a
WHERE a.trace_id = $trace AND a.alloc_seq > $first_seq AND a.alloc_seq <= $last_seq
UNION ALL
SELECT a.free_seq, a.freed_ns, -a.size, -1 FROM allocations a
WHERE a.trace_id = $trace AND a.free_seq > $first_seq AND a.free_seq <= $last_seq
"""
_SAMPLES = """
WITH sample AS (
    SELECT m.rss_bytes, CASE $x WHEN 'time' THEN m.time_ns ELSE m.seq END AS place
    FROM memory_samples m WHERE m.trace_id = $trace
)
SELECT CASE WHEN place < $first THEN -1
            ELSE least($steps - 1, (place - $first)::HUGEINT * $steps // $span)::BIGINT END AS step,
       max(rss_bytes), arg_max(rss_bytes, place)
FROM sample WHERE place <= $first + $span GROUP BY step
"""
_LARGEST = """
SELECT m.rss_bytes, m.time_ns FROM memory_samples m
WHERE m.trace_id = $trace
  AND CASE $x WHEN 'time' THEN m.time_ns ELSE m.seq END BETWEEN $first AND $first + $span
ORDER BY m.rss_bytes DESC, m.time_ns LIMIT 1
"""
_COLLECTIONS = """
SELECT greatest(0, least($steps - 1,
           (CASE $x WHEN 'time' THEN g.started_ns ELSE g.start_seq END - $first)::HUGEINT * $steps // $span
       ))::BIGINT AS step,
       g.generation, count(*), coalesce(sum(g.duration_ns), 0)::BIGINT
FROM gc_collections g
WHERE g.trace_id = $trace AND g.start_seq BETWEEN $first_seq AND $last_seq AND g.started_ns IS NOT NULL
  AND g.generation BETWEEN 0 AND 2
GROUP BY ALL
"""
_MARKS = """
SELECT coalesce(m.name, '?'), m.seq, m.time_ns, m.own,
       greatest(0, least($steps - 1, (CASE $x WHEN 'time' THEN m.time_ns ELSE m.seq END - $first)::HUGEINT
           * $steps // $span))::BIGINT
FROM marks m WHERE m.trace_id = $trace AND m.seq BETWEEN $first_seq AND $last_seq ORDER BY m.seq
"""


class Step(Struct, frozen=True):
    """One step. ``most_bytes`` were alive at some event of it, ``bytes`` and ``blocks`` after its last event.

    A step without an event has what was alive before it. ``rss_bytes`` is the largest sample within it, None
    without one. ``collections`` are those that started within it, by generation, and ``pause_ns`` their time.
    """

    most_bytes: int
    bytes: int
    blocks: int
    rss_bytes: int | None
    collections: tuple[int, int, int]
    pause_ns: int


class Peak(Struct, frozen=True):
    """Where most bytes were alive; ``seq`` is the first such event."""

    bytes: int
    seq: int
    time_ns: int


class Sample(Struct, frozen=True):
    """Resident memory at a time."""

    rss_bytes: int
    time_ns: int


class TimelineMark(Struct, frozen=True):
    """A mark, and the step it lies in; ``own`` for the recorder's ``start`` and ``end``."""

    name: str
    seq: int
    time_ns: int
    own: bool
    step: int


class Timeline(Struct, frozen=True):
    """What was alive from ``start`` to ``end``. Step N begins N/len(steps) of the way along the axis ``x``.

    ``exact``: read event by event. Otherwise from the ``ticks`` of the recording's clock within the window: a
    peak between two ticks does not show, except the highest of the whole recording. ``rss_before`` is the
    last sample before the window, ``largest_rss`` the largest in it; None without a sample.
    """

    start: Moment
    end: Moment
    x: str
    exact: bool
    ticks: int
    steps: list[Step]
    peak: Peak
    end_bytes: int
    end_blocks: int
    rss_before: int | None
    largest_rss: Sample | None
    marks: list[TimelineMark]


class _Live(Struct):
    """Live bytes in steps that have events: step -> (most bytes, bytes, blocks); and the highest of all."""

    by_step: dict[int, tuple[int, int, int]]
    ticks: int
    peak: Peak | None


def timeline(store: Store, start: Moment, end: Moment, *, steps: int = 100, x: str = "time") -> Timeline:
    """Live bytes, resident memory, collections and marks from ``start`` to ``end``, in so many steps.

    Raises UsageError when ``end`` is before ``start`` and for steps or an axis that do not exist.
    """
    _check(start, end, steps, x)
    first, last = (start.time_ns, end.time_ns) if x == "time" else (start.seq, end.seq)
    asked: dict[str, Any] = {"trace": store.trace_id, "x": x, "steps": steps}
    asked |= {"first": first, "span": max(1, last - first), "first_seq": start.seq, "last_seq": end.seq}
    exact = end.seq - start.seq <= EXACT_EVENTS
    before = live_at(store, start.seq)
    live = _exact(store, asked, before) if exact else _from_ticks(store, asked)
    samples = {
        step: (most, last)
        for step, most, last in _rows(store, _SAMPLES, asked, "x", "first", "span", "steps")
    }
    runs = _collections(store, asked)
    filled = []
    bytes_, blocks = before
    for step in range(steps):
        most, new_bytes, new_blocks = live.by_step.get(step, (0, bytes_, blocks))
        most, bytes_, blocks = max(most, bytes_), new_bytes, new_blocks
        rss = samples[step][0] if step in samples else None
        filled.append(Step(most, bytes_, blocks, rss, *runs.get(step, ((0, 0, 0), 0))))
    end_bytes, end_blocks = live_at(store, end.seq)
    largest = next(iter(_rows(store, _LARGEST, asked, "x", "first", "span")), None)
    return Timeline(
        start,
        end,
        x,
        exact,
        live.ticks,
        filled,
        _peak(store, live, Peak(before[0], start.seq, start.time_ns), end),
        end_bytes,
        end_blocks,
        samples[-1][1] if -1 in samples else None,
        Sample(*largest) if largest else None,
        [
            TimelineMark(*mark)
            for mark in _rows(store, _MARKS, asked, "x", "first", "span", "steps", "first_seq", "last_seq")
        ],
    )


def _check(start: Moment, end: Moment, steps: int, x: str) -> None:
    if x not in AXES:
        raise UsageError(f"a timeline has no axis {x!r}", hint=f"possible are {', '.join(AXES)}")
    if not 0 < steps <= MOST_STEPS:
        raise UsageError(f"a timeline cannot have {steps} steps", hint=f"possible are 1 to {MOST_STEPS}")
    if end.seq < start.seq:
        raise UsageError(
            f"{end.text} (event {end.seq}) is before {start.text} (event {start.seq})",
            hint="a timeline goes forward: exchange them",
        )


def _rows(store: Store, statement: str, asked: dict[str, Any], *names: str) -> list[Any]:
    return list(store.query(statement, {name: asked[name] for name in ("trace", *names)}).rows())


def _from_ticks(store: Store, asked: dict[str, Any]) -> _Live:
    names = ("x", "first", "span", "steps", "first_seq", "last_seq")
    live = _Live({}, 0, None)
    for step, most, bytes_, blocks, ticks, (seq, time_ns) in _rows(store, _TICKS, asked, *names):
        live.by_step[step] = (most, bytes_, blocks)
        live.ticks += ticks
        if live.peak is None or most > live.peak.bytes:
            live.peak = Peak(most, seq, time_ns)
    return live


def _exact(store: Store, asked: dict[str, Any], before: tuple[int, int]) -> _Live:
    with store.cursor() as cursor:
        given = {name: asked[name] for name in ("trace", "first_seq", "last_seq")}
        columns = {name: np.ma.getdata(v) for name, v in cursor.execute(_CHANGES, given).fetchnumpy().items()}
    if not len(columns["seq"]):
        return _Live({}, 0, None)
    order = np.argsort(columns["seq"])
    seq, time_ns = columns["seq"][order], columns["time_ns"][order]
    bytes_ = np.cumsum(columns["bytes"][order]) + before[0]
    blocks = np.cumsum(columns["blocks"][order], dtype=np.int64) + before[1]
    # A place times the number of steps may not fit 64 bits; the edges of the steps do.
    edges = [
        asked["first"] - (-number * asked["span"] // asked["steps"]) for number in range(asked["steps"] + 1)
    ]
    axis = time_ns if asked["x"] == "time" else seq
    cuts = np.searchsorted(axis, np.array(edges[1:-1], np.int64))
    starts = np.concatenate(([0], cuts, [len(seq)]))
    live = _Live({}, len(seq), None)
    for step in np.flatnonzero(starts[:-1] < starts[1:]):
        low, high = starts[step], starts[step + 1]
        live.by_step[int(step)] = (
            int(bytes_[low:high].max()),
            int(bytes_[high - 1]),
            int(blocks[high - 1]),
        )
    highest = int(bytes_.argmax())
    live.peak = Peak(int(bytes_[highest]), int(seq[highest]), int(time_ns[highest]))
    return live


def _collections(store: Store, asked: dict[str, Any]) -> dict[int, tuple[tuple[int, int, int], int]]:
    """Collections by generation and their time, by step."""
    found: dict[int, tuple[list[int], int]] = {}
    names = ("x", "first", "span", "steps", "first_seq", "last_seq")
    for step, generation, count, pause_ns in _rows(store, _COLLECTIONS, asked, *names):
        counts, total = found.setdefault(step, ([0, 0, 0], 0))
        counts[generation] = count
        found[step] = (counts, total + pause_ns)
    return {step: ((c[0], c[1], c[2]), pause_ns) for step, (c, pause_ns) in found.items()}


def _peak(store: Store, live: _Live, start: Peak, end: Moment) -> Peak:
    """The highest of the window, which begins with what was alive at its start."""
    totals = store.totals
    if start.seq <= totals.peak_seq <= end.seq:
        found = [peak for peak in (live.peak, start) if peak and peak.seq == totals.peak_seq]
        if found:
            return found[0]
    return live.peak if live.peak and live.peak.bytes > start.bytes else start
