"""What changed in the heap from one instant to another."""

from __future__ import annotations

from msgspec import Struct

from tracekit.replay.heap import check_grouping
from tracekit.replay.moment import Moment
from tracekit.store.database import Store


class Change(Struct, frozen=True):
    """How one group changed: ``bytes`` and ``blocks`` are the growth, negative when it shrank."""

    key: str
    bytes: int
    blocks: int
    bytes_before: int
    bytes_after: int
    blocks_before: int
    blocks_after: int


class Difference(Struct, frozen=True):
    """The growth of the heap from ``start`` to ``end``, most growth first; totals are of the whole heap."""

    start: Moment
    end: Moment
    by: str
    total_bytes: int
    total_blocks: int
    groups: list[Change]


def difference(
    store: Store, start: Moment, end: Moment, *, by: str = "site", limit: int | None = None
) -> Difference:
    """Compare the heaps at two moments, in either order, grouped as :func:`heap_at` does.

    Only groups that changed are there. Of groups that grew by equal bytes the one that grew by more blocks
    comes first, then the order is that of the keys; ``limit`` cuts the list.
    """
    check_grouping(by, limit)
    statement = """
        SELECT key, bytes, blocks, bytes_before, bytes_after, blocks_before, blocks_after
        FROM heap_growth($start, $end, $by, trace := $trace) ORDER BY bytes DESC, blocks DESC, key
    """
    parameters = {"start": start.seq, "end": end.seq, "by": by, "trace": store.trace_id}
    rows = store.query(statement, parameters).rows()
    changes = [Change(str(key), *(int(str(number)) for number in numbers)) for key, *numbers in rows]
    return Difference(
        start,
        end,
        by,
        sum(change.bytes for change in changes),
        sum(change.blocks for change in changes),
        changes[:limit],
    )
