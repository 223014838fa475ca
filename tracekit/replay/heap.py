"""The heap at an instant, grouped."""

from __future__ import annotations

from msgspec import Struct

from tracekit.errors import UsageError
from tracekit.replay.moment import Moment
from tracekit.store.database import Store

GROUPINGS = ("site", "function", "file", "type", "stack", "thread", "domain")
"""How a heap can be grouped; the macro ``heap_by`` of the store forms the keys."""


class Group(Struct, frozen=True):
    """Blocks with one key in common: how many, and their bytes."""

    key: str
    bytes: int
    blocks: int


class Heap(Struct, frozen=True):
    """What was alive right after ``moment``, the largest group first; totals are of the whole heap."""

    moment: Moment
    by: str
    total_bytes: int
    total_blocks: int
    groups: list[Group]


def check_grouping(by: str, limit: int | None) -> None:
    """Raise UsageError for a grouping that does not exist or a limit below 0."""
    if by not in GROUPINGS:
        raise UsageError(f"a heap is not grouped by {by!r}", hint=f"possible are {', '.join(GROUPINGS)}")
    if limit is not None and limit < 0:
        raise UsageError(f"a limit of {limit} groups makes no sense", hint="0 is the least")


def heap_at(store: Store, moment: Moment, *, by: str = "site", limit: int | None = None) -> Heap:
    """Replay the heap to ``moment``, grouped ``by`` one of GROUPINGS; ``limit`` cuts the list of groups.

    Keys: site ``FILE:LINE (FUNCTION)``, function ``FUNCTION (FILE)``, stack the frames from the root to the
    leaf as ``FUNCTION (BASENAME:LINE)`` joined by ``;``, and names otherwise; ``<unknown>`` where the
    recording does not say. Groups of equal bytes are in the order of their keys.
    """
    check_grouping(by, limit)
    statement = "SELECT key, bytes, blocks FROM heap_by($seq, $by, trace := $trace) ORDER BY bytes DESC, key"
    parameters = {"seq": moment.seq, "by": by, "trace": store.trace_id}
    groups = [
        Group(str(key), _int(size), _int(blocks))
        for key, size, blocks in store.query(statement, parameters).rows()
    ]
    return Heap(
        moment,
        by,
        sum(group.bytes for group in groups),
        sum(group.blocks for group in groups),
        groups[:limit],
    )


def _int(value: object) -> int:
    assert isinstance(value, int)  # noqa: S101 - the type of the column
    return value
