"""What ``gc.get_count()`` and ``gc.get_threshold()`` would have said at any moment.

Both are recorded whenever a collection starts. In between they follow from what CPython does (``gc_alloc``
and ``PyObject_GC_Del`` in Modules/gcmodule.c, since 3.13 in Python/gc.c): a collection of generation g sets
the counts 0 to g back to 0 and adds 1 to the next; after that count 0 goes up by 1 with every block that is
allocated for an object the collector tracks, and down by 1, not below 0, with every such block that is freed.
Whether a block was one is read from the type that was seen in it later, so that count 0 is an estimate. It
can be held against what the next collection recorded, and is.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from msgspec import Struct

from tracekit.events import CollectorSetting
from tracekit.replay.moment import Moment
from tracekit.store.database import Store

_AT_A_TIME = 1 << 22
"""Events whose changes are in memory at once: a collector that was disabled may leave a hundred million."""

_COLLECTION = """
SELECT gc_id, start_seq, stop_seq, started_ns, generation, count0, count1, count2,
       threshold0, threshold1, threshold2
FROM gc_collections WHERE trace_id = $trace AND start_seq IS NOT NULL
"""
_BEFORE = _COLLECTION + "AND start_seq <= $seq ORDER BY start_seq DESC LIMIT 1"
_AFTER = _COLLECTION + "AND start_seq > $seq ORDER BY start_seq LIMIT 1"

_SETTINGS = """
SELECT seq, time_ns, enabled, threshold0, threshold1, threshold2
FROM gc_settings WHERE trace_id = ? ORDER BY seq
"""

# A realloc keeps the block of a tracked object tracked and changes no count: the type is known of the last of
# its blocks only, which is the one that counts here.
_CHANGES = """
WITH tracked AS (SELECT y.type_id FROM types y WHERE y.trace_id = $trace AND y.gc_tracked)
SELECT alloc_seq AS seq, 1::TINYINT AS change FROM allocations a
WHERE a.trace_id = $trace AND a.alloc_seq BETWEEN $first AND $last
  AND a.type_id IN (FROM tracked)
UNION ALL
SELECT free_seq, -1 FROM allocations a
WHERE a.trace_id = $trace AND a.free_seq BETWEEN $first AND $last
  AND a.type_id IN (FROM tracked)
UNION ALL
SELECT seq, -1 FROM unmatched_frees a
WHERE a.trace_id = $trace AND a.seq BETWEEN $first AND $last
  AND a.type_id IN (FROM tracked)
"""


class Recorded(Struct, frozen=True):
    """What was recorded when a collection started, before it changed the counts."""

    gc_id: int | None
    generation: int | None
    seq: int
    time_ns: int | None
    counts: tuple[int | None, int | None, int | None]
    thresholds: tuple[int | None, int | None, int | None]


class Counts(Struct, frozen=True):
    """Counts and thresholds of the collector at a moment; None is not known.

    ``counts`` are estimates, derived as this module says; ``collecting`` is true within a collection.
    ``before`` and ``after`` are the collections that started last before and first after the moment.
    ``check`` is the count 0 that the same derivation gives where ``after`` recorded one: the derivation held
    when they are equal. Without ``before`` it is None, because the derivation then starts from ``after``.
    ``thresholds`` and ``enabled`` (``gc.isenabled()``) were recorded when the program changed them. In
    recordings of engines that do not look, ``thresholds`` are those of ``before`` or of the recording's
    start, certain if ``after`` says the same, and ``enabled`` is None.
    """

    moment: Moment
    counts: tuple[int | None, int | None, int | None]
    thresholds: tuple[int | None, int | None, int | None]
    thresholds_certain: bool
    collecting: bool
    before: Recorded | None
    after: Recorded | None
    check: int | None
    enabled: bool | None


def collector_settings(store: Store) -> list[CollectorSetting]:
    """How the collector was set at the start and by each change, in order; empty where no engine looked."""
    rows: Any = store.query(_SETTINGS, [store.trace_id]).rows()
    return [
        CollectorSetting(seq, time_ns, enabled, (first, second, third))
        for seq, time_ns, enabled, first, second, third in rows
    ]


def counts_at(store: Store, moment: Moment) -> Counts:
    """The counts and thresholds of the collector right after ``moment``."""
    asked: dict[str, object] = {"trace": store.trace_id, "seq": moment.seq}
    before, stop_seq = _recorded(store, _BEFORE, asked)
    after, _ = _recorded(store, _AFTER, asked)
    start = store.header.collector
    thresholds = start.thresholds if before is None else before.thresholds
    settings = collector_settings(store)
    at = [one for one in settings if one.seq <= moment.seq] or settings[:1]
    count0, check = _count0(store, moment.seq, before, after)
    return Counts(
        moment,
        (count0, *_older_counts(before, after)),
        at[-1].thresholds if at else thresholds,
        bool(at) or (after is not None and after.thresholds == thresholds),
        before is not None and (stop_seq is None or moment.seq < stop_seq),
        before,
        after,
        check,
        at[-1].enabled if at else None,
    )


def _recorded(store: Store, statement: str, asked: dict[str, object]) -> tuple[Recorded | None, int | None]:
    """A collection, and the event with which it stopped."""
    row = next(store.query(statement, asked).rows(), None)
    if row is None:
        return None, None
    gc_id, seq, stop_seq, time_ns, generation, *numbers = (
        None if value is None else int(str(value)) for value in row
    )
    assert seq is not None  # noqa: S101 - the query leaves them out
    counts, thresholds = numbers[:3], numbers[3:]
    return Recorded(gc_id, generation, seq, time_ns, (*counts,), (*thresholds,)), stop_seq  # type: ignore[arg-type]


def _older_counts(before: Recorded | None, after: Recorded | None) -> tuple[int | None, int | None]:
    """Counts 1 and 2, which only collections change."""
    if before is None:
        return (None, None) if after is None else after.counts[1:]
    generation = before.generation
    if generation is None:
        return None, None
    counts = list(before.counts)
    if generation < 2 and counts[generation + 1] is not None:
        counts[generation + 1] = int(str(counts[generation + 1])) + 1
    for younger in range(min(generation, 2) + 1):
        counts[younger] = 0
    return counts[1], counts[2]


def _count0(
    store: Store, seq: int, before: Recorded | None, after: Recorded | None
) -> tuple[int | None, int | None]:
    """Count 0 at ``seq``, and at the start of ``after`` if the first was derived from ``before``."""
    if not store.header.capabilities.types:
        return None, None
    if before is not None:
        count = _continued(store, 0, before.seq + 1, seq)
        return count, None if after is None else _continued(store, count, seq + 1, after.seq - 1)
    if after is None or after.counts[0] is None:
        return None, None
    later = sum(int(changes.sum()) for changes in _changes(store, seq + 1, after.seq - 1))
    return max(0, after.counts[0] - later), None


def _continued(store: Store, count: int, first: int, last: int) -> int:
    """The count after the events ``first`` to ``last``, none of which takes it below 0."""
    for changes in _changes(store, first, last):
        sums = np.cumsum(changes) + count
        count = int(sums[-1] - min(0, sums.min()))
    return count


def _changes(store: Store, first: int, last: int) -> Iterator[np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """The changes of count 0 by the events ``first`` to ``last`` in their order, not all at a time."""
    for begin in range(first, last + 1, _AT_A_TIME):
        end = min(last, begin + _AT_A_TIME - 1)
        with store.cursor() as cursor:
            asked = {"trace": store.trace_id, "first": begin, "last": end}
            columns = cursor.execute(_CHANGES, asked).fetchnumpy()
        if len(columns["seq"]):
            order = np.argsort(np.ma.getdata(columns["seq"]))
            yield np.ma.getdata(columns["change"])[order].astype(np.int64)
