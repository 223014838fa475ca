"""What changed in the heap from one instant to another."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal, get_args

import msgspec
from msgspec import Struct

from tracekit.errors import UsageError
from tracekit.replay.heap import check_grouping
from tracekit.replay.moment import Moment
from tracekit.replay.rows import integer
from tracekit.store.database import Store

Status = Literal["new", "grown", "shrunk", "gone"]
STATUSES: tuple[Status, ...] = get_args(Status)
"""New: no block before. Gone: no block after. Else by bytes; where these are equal, by blocks."""


class Change(Struct, frozen=True):
    """How one group changed: ``bytes`` and ``blocks`` are the growth, negative when it shrank.

    ``made_bytes`` and ``made_blocks`` are what was allocated between the moments and is there after: more
    than the growth when it also replaces what was freed.
    """

    key: str
    bytes: int
    blocks: int
    bytes_before: int
    bytes_after: int
    blocks_before: int
    blocks_after: int
    made_bytes: int
    made_blocks: int
    status: Status


class StatusTotal(Struct, frozen=True):
    """All groups of one status: how many, and their growth."""

    groups: int
    bytes: int
    blocks: int


class Difference(Struct, frozen=True):
    """The growth of the heap from ``start`` to ``end``, most growth first.

    Totals are of the whole heap, whatever ``groups`` were asked for; ``statuses`` has all four.
    """

    start: Moment
    end: Moment
    by: str
    total_bytes: int
    total_blocks: int
    groups: list[Change]
    bytes_before: int
    bytes_after: int
    made_bytes: int
    made_blocks: int
    statuses: dict[Status, StatusTotal]


def difference(  # noqa: PLR0913 - a question with its options
    store: Store,
    start: Moment,
    end: Moment,
    *,
    by: str = "site",
    limit: int | None = None,
    status: Collection[str] = STATUSES,
) -> Difference:
    """Compare the heaps at two moments, in either order, grouped as :func:`heap_at` does.

    Only groups that changed are there, of one of these ``status``. Of groups that grew by equal bytes the one
    that grew by more blocks comes first, then the order is that of the keys; ``limit`` cuts the list. Raises
    UsageError for a grouping, a status or a limit that does not exist.
    """
    check_grouping(by, limit)
    for name in status:
        if name not in STATUSES:
            raise UsageError(f"{name!r} is no status of a group", hint=f"possible are {', '.join(STATUSES)}")
    parameters = {"start": start.seq, "end": end.seq, "by": by, "trace": store.trace_id}
    changes = [_change(row) for row in store.query(_GROWTH, parameters).rows()]
    del parameters["by"]
    before, after, made_bytes, made_blocks = next(store.query(_TOTALS, parameters).rows())
    return Difference(
        start,
        end,
        by,
        sum(change.bytes for change in changes),
        sum(change.blocks for change in changes),
        [change for change in changes if change.status in status][:limit],
        integer(before),
        integer(after),
        integer(made_bytes),
        integer(made_blocks),
        status_totals((change.status, change.bytes, change.blocks) for change in changes),
    )


def status_of(before: tuple[int, int], after: tuple[int, int]) -> Status:
    """The status of a group of so many (bytes, blocks) before and after, as ``heap_growth`` has it."""
    if not before[1]:
        return "new"
    if not after[1]:
        return "gone"
    return "grown" if after > before else "shrunk"


def status_totals(changes: Iterable[tuple[Status, int, int]]) -> dict[Status, StatusTotal]:
    """The totals of changes (status, bytes, blocks), for every status."""
    found = {name: [0, 0, 0] for name in STATUSES}
    for status, size, blocks in changes:
        total = found[status]
        total[:] = total[0] + 1, total[1] + size, total[2] + blocks
    return {name: StatusTotal(*total) for name, total in found.items()}


_GROWTH = """
SELECT key, bytes, blocks, bytes_before, bytes_after, blocks_before, blocks_after,
       made_bytes, made_blocks, status
FROM heap_growth($start, $end, $by, trace := $trace) ORDER BY bytes DESC, blocks DESC, key
"""
_TOTALS = """
SELECT (SELECT coalesce(sum(size), 0) FROM heap_at($start, trace := $trace)),
       (SELECT coalesce(sum(size), 0) FROM heap_at($end, trace := $trace)),
       coalesce(sum(size), 0), count(*)
FROM heap_between($start, $end, trace := $trace)
"""


def _change(row: tuple[object, ...]) -> Change:
    return msgspec.convert(dict(zip(Change.__struct_fields__, row, strict=True)), Change)
