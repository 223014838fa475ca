"""Blocks added up by the instants between which they were alive: what stayed, and from when to when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracekit.store.database import Store

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

PARTS: Mapping[str, str] = {
    "": "0::BIGINT",
    "type": "a.type_id::BIGINT",
    "thread": "a.thread_id::BIGINT",
    "domain": "enum_code(a.domain)::BIGINT",
}
"""Columns of allocations, besides the call path, that blocks can be told apart by; "" is none."""

# A sum that no real recording reaches is cut, so that an invented one cannot overflow the numbers.
_SUMS = "least(sum(a.size), 1::HUGEINT << 56)::BIGINT AS bytes, count(*)::BIGINT AS blocks"
_MADE = """
SELECT a.stack_id::BIGINT AS stack_id, {part} AS part, {sums} FROM allocations a
WHERE a.trace_id = $trace AND a.alloc_seq > $since AND a.alloc_seq <= $until GROUP BY ALL
"""
_KEPT = """
SELECT a.stack_id::BIGINT AS stack_id, {part} AS part, a.type_id::BIGINT AS type_id, {sums}
FROM heap_between($since, $until, trace := $trace) a GROUP BY ALL
"""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Blocks added up by ``stack_id`` and ``part`` (of PARTS); one entry a row."""

    stack_id: IntArray
    part: IntArray
    bytes: IntArray
    blocks: IntArray


@dataclass(frozen=True, slots=True)
class Lifespans(Blocks):
    """Blocks by the first and the last of the instants at which they were alive, as indices."""

    first: IntArray
    last: IntArray


@dataclass(frozen=True, slots=True)
class Kept(Blocks):
    """Blocks by ``type_id`` besides."""

    type_id: IntArray


def lifespans(store: Store, instants: Sequence[int], part: str = "") -> Lifespans:
    """All blocks that were alive at one of the instants (seqs in ascending order) at least.

    One query of two ranges an instant, each of which zone maps answer; a block is in one of them, that of its
    first instant.
    """
    names = [f"i{index}" for index in range(len(instants))]
    final = len(instants) - 1
    branches = []
    for index, name in enumerate(names):
        after = f" AND a.alloc_seq > ${names[index - 1]}" if index else ""
        branches += [
            f"SELECT a.*, {index} AS first FROM allocations a "  # noqa: S608 - numbers of our own
            f"WHERE a.trace_id = $trace AND a.alloc_seq <= ${name}{after} AND {freed}"
            for freed in (f"a.free_seq > ${name}", "a.free_seq IS NULL")
        ]
    last = "".join(f" WHEN a.free_seq > ${names[index]} THEN {index}" for index in range(final, 0, -1))
    last = f"CASE WHEN a.free_seq IS NULL THEN {final}{last} ELSE 0 END"
    sql = (
        f"SELECT a.stack_id::BIGINT AS stack_id, {PARTS[part]} AS part, a.first::BIGINT AS first, "  # noqa: S608
        f"({last})::BIGINT AS last, {_SUMS} FROM ({' UNION ALL '.join(branches)}) a GROUP BY ALL"
    )
    columns = _columns(store, sql, dict(zip(names, instants, strict=True)))
    return Lifespans(**columns)


def made_between(store: Store, since: int, until: int, part: str = "") -> Blocks:
    """All blocks allocated after event ``since`` and up to ``until``, alive or not."""
    sql = _MADE.format(part=PARTS[part], sums=_SUMS)
    return Blocks(**_columns(store, sql, {"since": since, "until": until}))


def kept_between(store: Store, since: int, until: int, part: str = "") -> Kept:
    """Those of :func:`made_between` that are alive after event ``until``, also by their type."""
    sql = _KEPT.format(part=PARTS[part], sums=_SUMS)
    return Kept(**_columns(store, sql, {"since": since, "until": until}))


def _columns(store: Store, sql: str, parameters: Mapping[str, int]) -> dict[str, Any]:
    with store.cursor() as cursor:
        found = cursor.execute(sql, {"trace": store.trace_id, **parameters}).fetchnumpy()
    return {name: np.ma.getdata(values) for name, values in found.items()}
