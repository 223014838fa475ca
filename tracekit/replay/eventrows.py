"""The events around a position: read in blocks of consecutive ones, and kept."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NamedTuple, cast

from tracekit.replay.callpaths import CallPaths
from tracekit.store.database import Store

BLOCK = 4096
"""Events in a block, which takes some 10 ms to read; so does one of a quarter of that."""
KEPT_BLOCKS = 16
"""They take some 30 MB."""

# The free of a block has the block's own columns too; what is known of one is known of both.
_ROWS = """
SELECT alloc_seq AS seq, allocated_ns AS time_ns, 'allocation' AS kind, thread_id, thread_id AS owner_id,
       address, size, domain::VARCHAR AS domain, stack_id, type_id, alloc_seq, allocated_ns, free_seq,
       freed_ns, freed_by::VARCHAR AS cause, freed_thread_id
FROM allocations WHERE trace_id = $trace AND alloc_seq BETWEEN $first AND $last
UNION ALL
SELECT free_seq, freed_ns, 'free', freed_thread_id, thread_id, address, size, domain::VARCHAR, stack_id,
       type_id, alloc_seq, allocated_ns, free_seq, freed_ns, freed_by::VARCHAR, freed_thread_id
FROM allocations WHERE trace_id = $trace AND free_seq BETWEEN $first AND $last
UNION ALL
SELECT seq, time_ns, 'free', thread_id, 0, CASE WHEN alloc_seq IS NULL THEN address END, NULL, NULL, 0,
       type_id, alloc_seq, NULL, NULL, NULL, cause::VARCHAR, thread_id
FROM unmatched_frees WHERE trace_id = $trace AND seq BETWEEN $first AND $last
UNION ALL
SELECT seq, time_ns, kind::VARCHAR, thread_id, 0, address, size, NULL, 0, 0, NULL, NULL, NULL, NULL, NULL,
       NULL
FROM events WHERE trace_id = $trace AND seq BETWEEN $first AND $last AND kind NOT IN ('allocation', 'free')
ORDER BY seq
"""


class EventRow(NamedTuple):
    """One event. ``size``, ``domain`` and what follows are those of a block, and None for other events.

    ``owner_id`` is the thread that allocated the block, ``thread_id`` that of the event. An arena's event has
    a size and no domain. The free of a block that the recording does not know has no size.
    """

    seq: int
    time_ns: int
    kind: str
    thread_id: int | None
    owner_id: int
    address: int | None
    size: int | None
    domain: str | None
    stack_id: int
    type_id: int
    alloc_seq: int | None
    allocated_ns: int | None
    free_seq: int | None
    freed_ns: int | None
    cause: str | None
    freed_thread_id: int | None

    @property
    def change(self) -> int:
        """Blocks that are alive after the event and were not before: 1, -1 or 0."""
        if self.domain is None:
            return 0
        return 1 if self.kind == "allocation" else -1


class EventRows:
    """The events of one trace, in the order of ``seq``."""

    def __init__(self, store: Store, paths: CallPaths) -> None:
        self._store = store
        self._paths = paths
        self._blocks: OrderedDict[int, list[EventRow]] = OrderedDict()

    def at(self, seq: int) -> EventRow | None:
        """The event with this number; None when a damaged log has lost it."""
        rows = self._block(seq // BLOCK)
        index = bisect_left(rows, seq, key=_seq)
        return rows[index] if index < len(rows) and rows[index].seq == seq else None

    def between(self, after: int, until: int) -> list[EventRow]:
        """The events with ``after < seq <= until``."""
        found: list[EventRow] = []
        for number in range((after + 1) // BLOCK, until // BLOCK + 1):
            rows = self._block(number)
            found += rows[bisect_right(rows, after, key=_seq) : bisect_right(rows, until, key=_seq)]
        return found

    def _block(self, number: int) -> list[EventRow]:
        rows = self._blocks.get(number)
        if rows is None:
            first = number * BLOCK
            given = {"trace": self._store.trace_id, "first": first, "last": first + BLOCK - 1}
            found = self._store.query(_ROWS, given).rows()
            rows = [EventRow._make(cast("Iterable[Any]", row)) for row in found]
            self._paths.load({row.stack_id for row in rows})
            self._blocks[number] = rows
            if len(self._blocks) > KEPT_BLOCKS:
                self._blocks.popitem(last=False)
        else:
            self._blocks.move_to_end(number)
        return rows


def _seq(row: EventRow) -> int:
    return row.seq
