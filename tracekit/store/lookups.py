"""What a simulation asks of a store besides the steps, as columns."""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from tracekit.errors import StoreError
from tracekit.store.steps import IntArray

MAX_STACK_ID = 1 << 27
"""Call paths are numbered from 1 without gaps; a number far above their count is not one of a recorder."""

_OLDER = "SELECT address, block_size FROM older_blocks WHERE trace_id = $trace ORDER BY address, block_size"
_USED_POOLS = """
SELECT address // $pool_size * $pool_size AS pool FROM allocations
WHERE trace_id = $trace AND size BETWEEN 1 AND $most_bytes AND address >= $first AND address < $stop
GROUP BY pool ORDER BY min(alloc_seq)
"""
_SHARED_BLOCKS = """
WITH shared AS (
    SELECT stack_id FROM allocations WHERE trace_id = $trace AND free_seq IS NOT NULL
    GROUP BY stack_id HAVING count(*) <= $most_for_one * count(*) FILTER (freed_by = 'gc')
), found AS (
    SELECT start_seq FROM gc_collections WHERE trace_id = $trace AND collected > 0
)
SELECT alloc_seq, free_seq
FROM (
    SELECT alloc_seq, free_seq FROM allocations SEMI JOIN shared USING (stack_id)
    WHERE trace_id = $trace AND freed_by = 'refcount'
) ASOF JOIN found ON alloc_seq < start_seq
WHERE start_seq < free_seq ORDER BY alloc_seq
"""
_STACKS = """
SELECT s.stack_id, s.position, s.last_position, coalesce(c.frame_bytes, 0) AS frame_bytes
FROM stacks s LEFT JOIN codes c ON c.trace_id = s.trace_id AND c.code_id = s.code_id
WHERE s.trace_id = $trace
"""


def older_blocks(connection: duckdb.DuckDBPyConnection, trace_id: int) -> tuple[IntArray, IntArray]:
    """Blocks that pymalloc held at the start: addresses, rising, and bytes of their size classes."""
    found = _fetch(connection, _OLDER, trace_id)
    return found["address"], found["block_size"]


def used_pools(
    connection: duckdb.DuckDBPyConnection,
    trace_id: int,
    addresses: range,
    pool_size: int,
    most_bytes: int,
) -> IntArray:
    """Pools with any of these addresses, in the order in which blocks of 1 to ``most_bytes`` came there.

    It reads all allocations.
    """
    wanted = {"first": addresses.start, "stop": addresses.stop}
    found = _fetch(connection, _USED_POOLS, trace_id, **wanted, pool_size=pool_size, most_bytes=most_bytes)
    return found["pool"]


def shared_blocks(
    connection: duckdb.DuckDBPyConnection, trace_id: int, most_for_one: int
) -> tuple[IntArray, IntArray]:
    """Blocks that garbage may have referred to, too: the events that began them, rising, and that ended them.

    They went by reference count, after a collection had freed something while they were alive; and of the
    blocks of their call path collections freed one for each ``most_for_one``, or more. It reads everything.
    """
    found = _fetch(connection, _SHARED_BLOCKS, trace_id, most_for_one=most_for_one)
    return found["alloc_seq"], found["free_seq"]


def path_bytes(connection: duckdb.DuckDBPyConnection, trace_id: int) -> IntArray:
    """Bytes that the frames of each call path occupy, by ``stack_id``; 0 for those that are not known.

    Raises StoreError when call paths are numbered too sparsely for an array.
    """
    stacks = _fetch(connection, _STACKS, trace_id)
    top = int(stacks["stack_id"].max(initial=0))
    if top > MAX_STACK_ID:
        raise StoreError(f"a call path has the number {top:,}, which no recorder gives")
    # In preorder the frame of a node is on all paths from its position to its last one.
    change = np.zeros(len(stacks["position"]) + 1, np.int64)
    change[stacks["position"]] = stacks["frame_bytes"]
    np.subtract.at(change, stacks["last_position"] + 1, stacks["frame_bytes"])
    found = np.zeros(top + 1, np.int64)
    found[stacks["stack_id"]] = np.cumsum(change)[stacks["position"]]
    return found


def _fetch(
    connection: duckdb.DuckDBPyConnection, sql: str, trace_id: int, **parameters: int
) -> dict[str, npt.NDArray[Any]]:
    found = connection.sql(sql, params={"trace": trace_id, **parameters}).fetchnumpy()
    return {name: np.ma.getdata(values) for name, values in found.items()}
