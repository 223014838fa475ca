"""Garbage that would still be there at an event, had other collections run than the recorded ones."""

from __future__ import annotations

from msgspec import Struct

from tracekit.replay.heap import Group
from tracekit.store.database import Store

_STRETCH = 4096
"""Events that are added up to find where the garbage begins."""

_STRETCHES = """
SELECT free_seq // $stretch AS part, sum(size) AS bytes
FROM allocations WHERE trace_id = $trace AND freed_by = 'gc' AND free_seq < $seq
GROUP BY part ORDER BY part DESC
"""

_BY_FUNCTION = """
WITH gone AS (
    SELECT stack_id, sum(size) AS bytes, count(*) AS blocks
    FROM allocations
    WHERE trace_id = $trace AND freed_by = 'gc' AND free_seq >= $first AND free_seq < $seq
    GROUP BY stack_id
)
SELECT coalesce(format('{} ({})', s.function, s.file), '<unknown>') AS key,
       sum(g.bytes)::BIGINT AS bytes, sum(g.blocks)::BIGINT AS blocks
FROM gone g LEFT JOIN stack_sites s ON s.trace_id = $trace AND s.stack_id = g.stack_id
GROUP BY key ORDER BY bytes DESC, key
"""


class Uncollected(Struct, frozen=True):
    """What recorded collections freed last before an event, by function, most bytes first.

    ``exact``: it is all that they ever freed before it, and as much as was asked for. Otherwise a model that
    collected at other times may have kept other blocks of theirs: it is an estimate.
    """

    total_bytes: int
    total_blocks: int
    exact: bool
    groups: list[Group]


def uncollected_before(store: Store, seq: int, size: int, limit: int | None = None) -> Uncollected:
    """The garbage of about ``size`` bytes that recorded collections freed last before event ``seq``."""
    common: dict[str, object] = {"trace": store.trace_id, "seq": seq}
    found, first = 0, seq
    for part, size_of_part in store.query(_STRETCHES, common | {"stretch": _STRETCH}).rows():
        if found >= size:
            break
        found += int(str(size_of_part))
        first = int(str(part)) * _STRETCH
    else:
        first = 0
    rows = store.query(_BY_FUNCTION, common | {"first": first}).rows()
    groups = [Group(str(key), int(str(bytes_)), int(str(blocks))) for key, bytes_, blocks in rows]
    return Uncollected(
        total_bytes=sum(group.bytes for group in groups),
        total_blocks=sum(group.blocks for group in groups),
        exact=first == 0 and found == size,
        groups=groups[:limit],
    )
