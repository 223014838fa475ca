"""Reads the allocations and frees of a trace in the order of ``seq``, as the simulator consumes them.

The table of allocations is sorted by ``free_seq``, not by the order of events. Sorting it takes several times
as long as reading it, so it is not sorted: a window of events is read with plain ranges, which the zone maps
answer, and every value is put where its ``seq`` says. The next window is read while the last one is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Generic, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt

from tracekit.events import Cause, Domain
from tracekit.store.placing import Columns, Window
from tracekit.store.recycling import Recycler
from tracekit.store.running import one_ahead
from tracekit.store.steps import FREE_LIST_BYTES, NONE, IntArray, Outline, Steps

WINDOW = 1 << 20
"""Events that are read at a time, of 64 bytes each; reading the next ones takes twice as much besides."""

SCAN_BYTES = 64 << 20
"""Memory that DuckDB may take to read them from a file."""

# What was freed within a window, what was allocated within it and freed later, and what never was. Each of
# them is a range of the zone maps.
_RANGES = """
SELECT {block}, {end} {table} AND free_seq BETWEEN $first AND $last
UNION ALL
SELECT {block}, {end} {table} AND alloc_seq BETWEEN $first AND $last AND free_seq > $last
UNION ALL
SELECT {block}, {no_end} {table} AND alloc_seq BETWEEN $first AND $last AND free_seq IS NULL
"""
_TABLE = "FROM allocations WHERE trace_id = $trace"
_CAUSE = "free_seq, enum_code(freed_by)::UTINYINT AS cause"
_BLOCKS = _RANGES.format(
    block="alloc_seq, stack_id, type_id, "
    "allocated_ns, address, size, enum_code(domain)::UTINYINT AS domain, thread_id",
    end=f"{_CAUSE}, freed_ns, freed_thread_id",
    no_end=f"{NONE}, 0::UTINYINT, 0, 0",
    table=_TABLE,
)
_OUTLINES = _RANGES.format(
    block="alloc_seq, stack_id, type_id, size", end=_CAUSE, no_end=f"{NONE}, 0::UTINYINT", table=_TABLE
)
_OLDER = """
SELECT u.seq, u.time_ns, u.address, u.thread_id, u.type_id, enum_code(u.cause)::UTINYINT AS cause,
       coalesce(o.block_size, 0) AS size, o.address IS NOT NULL AS known
FROM unmatched_frees u LEFT JOIN older_blocks o ON o.trace_id = u.trace_id AND o.free_seq = u.seq
WHERE u.trace_id = $trace AND u.seq BETWEEN $first AND $last AND u.alloc_seq IS NULL
"""
_REALLOCS = """
SELECT alloc_seq, realloc_of FROM reallocs WHERE trace_id = $trace AND alloc_seq BETWEEN $first AND $last
"""
_NEXT = """
SELECT min(seq) FROM (
    SELECT min(alloc_seq) AS seq FROM allocations WHERE trace_id = $trace AND alloc_seq > $last
    UNION ALL SELECT min(free_seq) FROM allocations WHERE trace_id = $trace AND free_seq > $last
    UNION ALL SELECT min(seq) FROM unmatched_frees WHERE trace_id = $trace AND seq > $last)
"""
_SPAN = """
SELECT first_seq, last_seq, unmatched_frees > 0, EXISTS (FROM reallocs WHERE trace_id = $trace)
FROM traces WHERE trace_id = $trace AND first_seq IS NOT NULL
"""
_TYPES = """
SELECT type_id, gc_tracked,
       coalesce(list_position(['builtins.dict', 'builtins.list', 'builtins.tuple', 'builtins.float'], name),
                0)::UTINYINT AS kind
FROM types WHERE trace_id = $trace ORDER BY type_id
"""
_STARTS = """
SELECT start_seq FROM gc_collections WHERE trace_id = $trace AND start_seq IS NOT NULL ORDER BY start_seq
"""

AnySteps = TypeVar("AnySteps", Steps, Outline)

_ANY = {name: name for name in ("size", "domain", "stack_id", "address", "gc_tracked", "free_list")}
"""What is the block's, in both of its steps."""


def _free_list_table() -> npt.NDArray[np.uint8]:
    """``Steps.free_list`` by kind of type (as _TYPES numbers them) and eighths of the size, up to 31."""
    table = np.zeros((5, 32), np.uint8)
    # Nothing tells the keys of a dict, the last ones, from other blocks.
    for number, size in enumerate(FREE_LIST_BYTES[:-1], 1):
        table[4 if number == len(FREE_LIST_BYTES) - 1 else min(number, 3), size >> 3] = number
    return table


_FREE_LIST = _free_list_table()


def read_steps(connection: duckdb.DuckDBPyConnection, trace_id: int, window: int = WINDOW) -> Iterator[Steps]:
    """The steps of one trace, those of at most ``window`` consecutive events at a time, never none.

    The connection is used by nobody else until the iterator is closed. Raises duckdb.Error.
    """
    reader = _Reader(connection, trace_id, window, Steps, _BLOCKS)
    yield from one_ahead(connection, reader.next)


def read_outlines(
    connection: duckdb.DuckDBPyConnection, trace_id: int, window: int = WINDOW
) -> Iterator[Outline]:
    """As :func:`read_steps`, with fewer columns."""
    reader = _Reader(connection, trace_id, window, Outline, _OUTLINES)
    yield from one_ahead(connection, reader.next)


class _Reader(Generic[AnySteps]):
    """Reads window after window, in whichever thread: of all steps those columns that ``kind`` has."""

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        trace_id: int,
        window: int,
        kind: type[AnySteps],
        blocks: str,
    ) -> None:
        self._connection = connection
        self._trace_id = trace_id
        self._window = window
        self._kind: type[AnySteps] = kind
        self._names = [field.name for field in fields(kind)]
        self._blocks = blocks
        self._recycler = Recycler()
        found = connection.execute(_SPAN, {"trace": trace_id}).fetchall()
        self._first, self._last, self._has_older, self._has_reallocs = found[0] if found else (0, -1, 0, 0)
        types = self._fetch(_TYPES)
        self._types, self._tracked, self._kinds = types["type_id"], types["gc_tracked"], types["kind"]
        self._starts = self._fetch(_STARTS)["start_seq"]

    def next(self) -> AnySteps | None:
        """The steps of the next window that has any; None at the end."""
        while self._first <= self._last:
            first, last = self._first, min(self._first + self._window - 1, self._last)
            steps = self._read(first, last)
            self._first = last + 1
            if steps is not None:
                return steps
            self._skip(last)
        return None

    def _skip(self, last: int) -> None:
        """Go on where there is something: what a damaged log has lost can be any number of events."""
        ((seq,),) = self._connection.execute(_NEXT, {"trace": self._trace_id, "last": last}).fetchall()
        self._first = self._last + 1 if seq is None else seq

    def _fetch(self, sql: str, **parameters: int) -> Columns:
        # A relation's rows come all at once, which takes half the time of a statement's, chunk by chunk.
        rows = self._connection.sql(sql, params={"trace": self._trace_id, **parameters})
        return {name: np.ma.getdata(values) for name, values in rows.fetchnumpy().items()}

    def _read(self, first: int, last: int) -> AnySteps | None:
        blocks = self._fetch(self._blocks, first=first, last=last)
        older = self._fetch(_OLDER, first=first, last=last) if self._has_older else None
        window = Window(first, last, self._names, self._recycler)
        made, gone = blocks["alloc_seq"], blocks["free_seq"]
        window.take(made)
        window.take(gone)
        if older is not None:
            window.take(older["seq"])
        if not window.close():
            return None
        blocks["gc_tracked"] = self._is_tracked(blocks["type_id"])
        blocks["free_list"] = self._free_list(blocks["type_id"], blocks["size"])
        blocks["is_free"] = np.ones(len(gone), np.bool_)
        window.put(made, blocks, time_ns="allocated_ns", thread_id="thread_id", **_ANY)
        window.put(
            gone,
            blocks,
            time_ns="freed_ns",
            thread_id="freed_thread_id",
            **_ANY,
            cause="cause",
            alloc_seq="alloc_seq",
            is_free="is_free",
        )
        self._put_garbage(window, blocks)
        if self._has_reallocs:
            reallocs = self._fetch(_REALLOCS, first=first, last=last)
            window.put(reallocs["alloc_seq"], reallocs, realloc_of="realloc_of")
        if older is not None and len(older["seq"]):
            self._put_older(window, older)
        return self._kind(**window.columns())

    def _put_garbage(self, window: Window, blocks: Columns) -> None:
        collected = np.flatnonzero(blocks["cause"] == Cause.GC)
        if len(collected):
            made, gone = blocks["alloc_seq"][collected], blocks["free_seq"][collected]
            number = np.searchsorted(self._starts, gone, side="right") - 1
            window.fill(made, garbage=number)
            window.fill(gone, garbage=number)

    def _put_older(self, window: Window, older: Columns) -> None:
        names = ("time_ns", "thread_id", "cause", "size", "address")
        window.put(older["seq"], older, **{name: name for name in names})
        window.fill(
            older["seq"],
            domain=np.where(older["known"], Domain.OBJECT, Domain.RAW),
            stack_id=0,
            gc_tracked=self._is_tracked(older["type_id"]),
            alloc_seq=NONE,
            is_free=True,
        )

    def _free_list(self, type_id: npt.NDArray[np.int32], size: IntArray) -> npt.NDArray[np.uint8]:
        kind = self._of_types(type_id, self._kinds)
        lists = np.zeros(len(kind), np.uint8)
        rows = np.flatnonzero(kind)
        bytes_of = size[rows]
        found = _FREE_LIST[kind[rows], np.minimum(bytes_of >> 3, len(_FREE_LIST[0]) - 1)]
        lists[rows] = np.where(bytes_of & 7 == 0, found, 0)
        return lists

    def _is_tracked(self, type_id: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        return self._of_types(type_id, self._tracked)

    def _of_types(self, type_id: npt.NDArray[np.int32], values: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """What types have, by their numbers; 0 for those that are none."""
        zero = np.zeros(1, values.dtype)
        known = np.concatenate([zero, values, zero])
        if len(self._types) and self._types[-1] == len(self._types):  # numbered from 1 without gaps, as usual
            return np.take(known, type_id, mode="clip")
        at = np.searchsorted(self._types, type_id)
        there = self._types[np.minimum(at, len(self._types) - 1)] == type_id if len(self._types) else False
        return known[np.where(there, at + 1, 0)]
