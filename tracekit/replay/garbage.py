"""The collections of a recording: when the collector ran, how long, and what it freed.

What it freed are the blocks whose free has the cause ``gc``: they were in reference cycles, or reachable from
one only. A block older than the recording has no size and no place; it is counted apart.
"""

from __future__ import annotations

from typing import Any

from msgspec import Struct

from tracekit.errors import MomentMissingError, UsageError
from tracekit.replay.heap import BY_ORIGIN, Group, check_grouping
from tracekit.store.database import Store

SORTS = ("pause", "freed", "order")
"""How collections are ordered: longest pause first, most bytes freed first, or as they ran."""

_LAST = 2**63 - 1
_BUCKETS = 16

# Which collection freed a block is a join on a range, which costs a sort of all of them. So both sides are
# cut into spans of 2^$shift events, which makes it a join of equals: 22 million blocks take 0.3 s.
_SPANS = """
WITH span AS (
    SELECT g.start_seq, g.generation,
           coalesce(least(g.stop_seq, lead(g.start_seq) OVER (ORDER BY g.start_seq)),
                    t.last_seq + 1) AS stop_seq
    FROM gc_collections g JOIN traces t USING (trace_id) WHERE g.trace_id = $trace AND g.start_seq IS NOT NULL
), bucketed AS (
    SELECT s.*, unnest(range(s.start_seq >> $shift, (s.stop_seq >> $shift) + 1)) AS bucket
    FROM span s WHERE $only IS NULL OR list_contains($only::BIGINT[], s.start_seq)
)"""
_JOIN = """
    FROM allocations a JOIN bucketed b
        ON (a.free_seq >> $shift) = b.bucket AND a.free_seq > b.start_seq AND a.free_seq < b.stop_seq
    WHERE a.trace_id = $trace AND a.freed_by = 'gc' AND a.free_seq BETWEEN $first AND $last GROUP BY ALL
"""
_GENERATIONS = (  # of constants only
    _SPANS  # noqa: S608
    + ", freed AS (SELECT b.generation, count(*) AS blocks, sum(a.size) AS bytes"
    + _JOIN
    + """)
SELECT g.generation, count(*), coalesce(sum(g.duration_ns), 0)::BIGINT, median(g.duration_ns)::BIGINT,
       max(g.duration_ns), arg_max(g.gc_id, (g.duration_ns, -g.gc_id)) FILTER (g.duration_ns IS NOT NULL),
       coalesce(sum(g.collected), 0)::BIGINT, coalesce(sum(g.uncollectable), 0)::BIGINT,
       coalesce(any_value(f.blocks), 0)::BIGINT, coalesce(any_value(f.bytes), 0)::HUGEINT
FROM gc_collections g LEFT JOIN freed f ON f.generation IS NOT DISTINCT FROM g.generation
WHERE g.trace_id = $trace GROUP BY g.generation ORDER BY g.generation NULLS LAST
"""
)
_CHOSEN = """
SELECT g.start_seq, g.stop_seq FROM gc_collections g
WHERE g.trace_id = $trace AND ($gc_id IS NULL OR g.gc_id = $gc_id)
ORDER BY CASE $sort WHEN 'pause' THEN g.duration_ns END DESC NULLS LAST, g.start_seq, g.gc_id LIMIT $most
"""
_COLLECTIONS = (
    _SPANS  # noqa: S608
    + ", by_id AS (SELECT b.start_seq, a.type_id, count(*) AS blocks, sum(a.size) AS bytes"
    + _JOIN
    + """), by_type AS (
    SELECT i.start_seq, y.name AS key, coalesce(bool_or(y.gc_tracked), false) AS tracked,
           sum(i.blocks)::BIGINT AS blocks, sum(i.bytes)::HUGEINT AS bytes
    FROM by_id i LEFT JOIN types y ON y.trace_id = $trace AND y.type_id = i.type_id
    GROUP BY i.start_seq, y.name
), freed AS (
    SELECT start_seq, sum(blocks)::BIGINT AS blocks, sum(bytes)::HUGEINT AS bytes,
           (list({'key': key, 'bytes': bytes, 'blocks': blocks} ORDER BY bytes DESC, key)
            FILTER (tracked))[1:4] AS types
    FROM by_type GROUP BY start_seq
)
SELECT g.gc_id, g.generation, g.start_seq, g.stop_seq, g.started_ns, g.duration_ns, g.collected,
       g.uncollectable, g.count0, g.count1, g.count2, g.threshold0, g.threshold1, g.threshold2, h.name,
       coalesce(f.blocks, 0), coalesce(f.bytes, 0), coalesce(f.types, [])
FROM gc_collections g LEFT JOIN freed f USING (start_seq)
LEFT JOIN threads h ON h.trace_id = $trace AND h.thread_id = g.thread_id
WHERE g.trace_id = $trace AND ($gc_id IS NULL OR g.gc_id = $gc_id)
ORDER BY CASE $sort WHEN 'pause' THEN g.duration_ns WHEN 'freed' THEN coalesce(f.bytes, 0) END DESC
         NULLS LAST, g.start_seq, g.gc_id
LIMIT $most
"""
)
_GARBAGE = """
WITH RECURSIVE freed AS (
    SELECT CASE WHEN $by = 'type' THEN a.type_id WHEN $by = 'thread' THEN a.thread_id
                WHEN $by = 'domain' THEN enum_code(a.domain)::INTEGER ELSE a.stack_id END AS id,
           sum(a.size) AS bytes, count(*) AS blocks
    FROM allocations a
    WHERE a.trace_id = $trace AND a.freed_by = 'gc' AND a.free_seq BETWEEN $first AND $last GROUP BY ALL
), path AS (
    SELECT f.id AS leaf_id, f.id AS node_id FROM freed f WHERE $by = 'stack'
    UNION ALL
    SELECT p.leaf_id, s.parent_id
    FROM path p JOIN stacks s ON s.stack_id = p.node_id AND s.trace_id = $trace WHERE s.parent_id > 0
), call_path AS (
    SELECT p.leaf_id, string_agg(
        format('{} ({}:{})', coalesce(c.qualname, '<unknown>'),
               coalesce(regexp_extract(c.filename, '[^/]*$'), '<unknown>'), s.line),
        ';' ORDER BY s.depth) AS frames
    FROM path p
    JOIN stacks s ON s.stack_id = p.node_id AND s.trace_id = $trace
    LEFT JOIN codes c ON c.code_id = s.code_id AND c.trace_id = $trace
    GROUP BY p.leaf_id
), labelled AS (
    SELECT coalesce(CASE $by
               WHEN 'site' THEN w.site
               WHEN 'function' THEN format('{} ({})', w.function, w.file)
               WHEN 'file' THEN w.file
               WHEN 'module' THEN module_name(w.file, t.cwd)
               WHEN 'type' THEN y.name
               WHEN 'stack' THEN k.frames
               WHEN 'thread' THEN r.name
               WHEN 'domain' THEN enum_range(NULL::allocator_domain)[f.id + 1]::VARCHAR
           END, '<unknown>') AS key, f.bytes, f.blocks
    FROM freed f JOIN traces t ON t.trace_id = $trace
    LEFT JOIN stack_sites w ON w.trace_id = $trace AND w.stack_id = f.id
    LEFT JOIN call_path k ON k.leaf_id = f.id
    LEFT JOIN types y ON y.trace_id = $trace AND y.type_id = f.id
    LEFT JOIN threads r ON r.trace_id = $trace AND r.thread_id = f.id
)
SELECT g.key, sum(g.bytes)::HUGEINT AS bytes, sum(g.blocks)::BIGINT AS blocks
FROM labelled g GROUP BY g.key ORDER BY 2 DESC, 1
"""
_OLDER = """
SELECT count(*) FROM unmatched_frees
WHERE trace_id = $trace AND cause = 'gc' AND seq BETWEEN $first AND $last
"""


class Collection(Struct, frozen=True):
    """One collection; what a damaged log lost of it is None.

    ``pause_ns`` is the collector's own time, without the recorder's. ``collected`` and ``uncollectable`` are
    objects, as the collector says itself. ``freed_blocks`` and ``freed_bytes`` are blocks of the recording,
    ``types`` those four types with most of these bytes that the collector tracks: others cannot be part of a
    cycle. ``counts``
    and ``thresholds`` are those of ``gc.get_count()`` and ``gc.get_threshold()`` at its start.
    """

    gc_id: int | None
    generation: int | None
    start_seq: int | None
    stop_seq: int | None
    started_ns: int | None
    pause_ns: int | None
    collected: int | None
    uncollectable: int | None
    counts: tuple[int | None, int | None, int | None]
    thresholds: tuple[int | None, int | None, int | None]
    thread: str | None
    freed_blocks: int
    freed_bytes: int
    types: list[Group]


class Generation(Struct, frozen=True):
    """All collections of one generation. Times are in nanoseconds; None where no collection ended."""

    generation: int | None
    collections: int
    pause_ns: int
    median_pause_ns: int | None
    longest_pause_ns: int | None
    longest_gc_id: int | None
    collected: int
    uncollectable: int
    freed_blocks: int
    freed_bytes: int


class CollectorSummary(Struct, frozen=True):
    """The collector's part of a run: ``duration_ns`` is the time from the first event to the last."""

    duration_ns: int
    pause_ns: int
    generations: list[Generation]

    @property
    def collections(self) -> int:
        """How many there were."""
        return sum(generation.collections for generation in self.generations)


class Garbage(Struct, frozen=True):
    """Blocks that the collector freed, grouped, the largest group first; totals are of all of them.

    ``older_blocks`` more were older than the recording: their sizes and places are not known.
    """

    by: str
    total_bytes: int
    total_blocks: int
    older_blocks: int
    groups: list[Group]


def collector_summary(store: Store) -> CollectorSummary:
    """How often the collector ran and how long, by generation."""
    rows: Any = store.query(_GENERATIONS, {"trace": store.trace_id, **_spans(store)}).rows()
    generations = [Generation(*row) for row in rows]
    return CollectorSummary(
        store.totals.duration_ns, sum(generation.pause_ns for generation in generations), generations
    )


def collections(store: Store, *, sort: str = "order", limit: int | None = None) -> list[Collection]:
    """The collections, sorted by one of SORTS; ``limit`` cuts the list. Raises UsageError."""
    if sort not in SORTS:
        raise UsageError(f"collections are not sorted by {sort!r}", hint=f"possible are {', '.join(SORTS)}")
    if limit is not None and limit < 0:
        raise UsageError(f"a limit of {limit} collections makes no sense", hint="0 is the least")
    return _read(store, None, sort, limit)


def collection(store: Store, gc_id: int) -> Collection:
    """The collection with this number, counted from 0. Raises MomentMissingError."""
    found = _read(store, gc_id, "order", 1) if abs(gc_id) <= _LAST else []
    if not found:
        count = store.totals.gc_collections
        hint = f"its {count} collections are numbered from 0" if count else "it has no collections"
        raise MomentMissingError(f"{store.path} has no collection {gc_id}", hint=hint)
    return found[0]


def garbage(
    store: Store, *, by: str = "type", of: Collection | None = None, limit: int | None = None
) -> Garbage:
    """What the collector freed in all, or in one collection, grouped by one of BY_ORIGIN as a heap is.

    Places are where the blocks were allocated. Raises UsageError.
    """
    check_grouping(by, limit, BY_ORIGIN)
    first, last = _span(of)
    span: dict[str, object] = {"trace": store.trace_id, "first": first, "last": last}
    (older,) = next(store.query(_OLDER, span).rows())
    rows: Any = store.query(_GARBAGE, {**span, "by": by}).rows()
    groups = [Group(*row) for row in rows]
    return Garbage(
        by,
        sum(group.bytes for group in groups),
        sum(group.blocks for group in groups),
        int(str(older)),
        groups[:limit],
    )


def _span(of: Collection | None) -> tuple[int, int]:
    """The first and the last event of a collection; of one whose start is lost there are none."""
    if of is None:
        return -1, _LAST
    if of.start_seq is None:
        return 0, -1
    return of.start_seq, _LAST if of.stop_seq is None else of.stop_seq


def _read(store: Store, gc_id: int | None, sort: str, limit: int | None) -> list[Collection]:
    """Collections; those of a few are looked for where these ran, unless the order needs what all freed."""
    asked = {"trace": store.trace_id, "gc_id": gc_id, "sort": sort, "most": _LAST if limit is None else limit}
    chosen = None
    if limit is not None and sort != "freed":
        chosen = list(store.query(_CHOSEN, asked).rows())
    rows = store.query(_COLLECTIONS, {**asked, **_spans(store, chosen)}).rows()
    return [_collection(row) for row in rows]


def _spans(store: Store, chosen: Any = None) -> dict[str, object]:
    """Which collections' frees to look for, and where; those of all of them without ``chosen``."""
    shift = max(0, store.totals.events.bit_length() - _BUCKETS)
    spans = [(first, last) for first, last in chosen or () if first is not None]
    return {
        "shift": shift,
        "only": None if chosen is None else [first for first, _ in spans],
        "first": min((first for first, _ in spans), default=0),
        "last": max((_LAST if last is None else last for _, last in spans), default=_LAST),
    }


def _collection(row: tuple[object, ...]) -> Collection:
    types: Any = row[-1]
    values = (*row[:8], row[8:11], row[11:14], *row[14:-1], [Group(**one) for one in types])
    fields: dict[str, Any] = dict(zip(Collection.__struct_fields__, values, strict=True))
    return Collection(**fields)
