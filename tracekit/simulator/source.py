"""What the simulator needs of a trace. :class:`tracekit.store.database.Store` is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tracekit.events import Header, Totals
from tracekit.store.steps import Steps


class Rows(Protocol):
    """The answer to a query."""

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows in order, each a tuple of its columns."""
        ...


class TraceSource(Protocol):
    """One trace: its header and totals, its allocations and frees in order, and SQL over its tables."""

    @property
    def header(self) -> Header:
        """Who recorded what, with which engine."""
        ...

    @property
    def totals(self) -> Totals:
        """What the trace adds up to; used to report progress."""
        ...

    @property
    def trace_id(self) -> int:
        """The trace's number in the tables."""
        ...

    def steps(self) -> Iterator[Steps]:
        """Allocations and frees in the order of ``seq``, in batches."""
        ...

    def query(self, sql: str, parameters: Sequence[object] = ..., /) -> Rows:
        """Rows of the store's tables."""
        ...


def recorded_collections(source: TraceSource) -> list[int]:
    """Collections that were recorded, one number a generation; those whose start was lost do not count."""
    counts = [0, 0, 0]
    answer = source.query(
        "SELECT generation, count(*) FROM gc_collections"
        " WHERE trace_id = ? AND generation BETWEEN 0 AND 2 GROUP BY generation",
        [source.trace_id],
    )
    for generation, count in answer.rows():
        counts[int(str(generation))] = int(str(count))
    return counts


def recorded_peak_arenas(source: TraceSource) -> int:
    """Most arenas that were alive at once, of those obtained while recorded.

    The arena allocator also serves data-stack chunks of other sizes (Python/pystate.c); they do not count.
    """
    answer = source.query(
        "WITH mine AS (SELECT alloc_seq, free_seq FROM arenas"
        " WHERE trace_id = ? AND size = ? AND alloc_seq IS NOT NULL) "
        "SELECT coalesce(max(alive), 0) FROM ("
        " SELECT sum(change) OVER (ORDER BY seq) AS alive FROM ("
        "  SELECT alloc_seq AS seq, 1 AS change FROM mine"
        "  UNION ALL"
        "  SELECT free_seq, -1 FROM mine WHERE free_seq IS NOT NULL))",
        [source.trace_id, source.header.allocator.arena_size],
    )
    return max(int(str(row[0])) for row in answer.rows())
