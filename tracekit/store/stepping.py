"""Reads the allocations and frees of a trace in the order of ``seq``, as the simulator consumes them.

The table of allocations is sorted by ``free_seq``, not by the order of events. Sorting it takes several times
as long as reading it, so it is not sorted: a window of events is read with plain ranges, which the zone maps
answer, and every value is put where its ``seq`` says. The next window is read while the last one is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from tracekit.events import Cause, Domain
from tracekit.store.running import one_ahead
from tracekit.store.steps import FREE_LIST_BYTES, NONE, IntArray, Steps

WINDOW = 1 << 20
"""Events that are read at a time, of 64 bytes each; reading the next ones takes twice as much besides."""

SCAN_BYTES = 64 << 20
"""Memory that DuckDB may take to read them from a file."""

_BLOCK = """
SELECT alloc_seq, allocated_ns, address, size, enum_code(domain)::UTINYINT AS domain, thread_id,
       stack_id, type_id"""
_END = "free_seq, freed_ns, enum_code(freed_by)::UTINYINT AS cause, freed_thread_id"
_FROM = "FROM allocations WHERE trace_id = $trace"

# What was freed within a window, what was allocated within it and freed later, and what never was. Each of
# them is a range of the zone maps.
_BLOCKS = f"""
{_BLOCK}, {_END}
{_FROM} AND free_seq BETWEEN $first AND $last
UNION ALL
{_BLOCK}, {_END}
{_FROM} AND alloc_seq BETWEEN $first AND $last AND free_seq > $last
UNION ALL
{_BLOCK}, {NONE}, 0, 0::UTINYINT, 0
{_FROM} AND alloc_seq BETWEEN $first AND $last AND free_seq IS NULL
"""
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

Columns = dict[str, npt.NDArray[Any]]


def _free_list_table() -> npt.NDArray[np.uint8]:
    """``Steps.free_list`` by kind of type (as _TYPES numbers them) and eighths of the size, up to 31."""
    table = np.zeros((5, 32), np.uint8)
    for number, size in enumerate(
        FREE_LIST_BYTES[:-1], 1
    ):  # nothing tells the keys of a dict from other blocks
        table[4 if number == len(FREE_LIST_BYTES) - 1 else min(number, 3), size >> 3] = number
    return table


_FREE_LIST = _free_list_table()


def read_steps(connection: duckdb.DuckDBPyConnection, trace_id: int, window: int = WINDOW) -> Iterator[Steps]:
    """The steps of one trace, those of at most ``window`` consecutive events at a time, never none.

    The connection is used by nobody else until the iterator is closed. Raises duckdb.Error.
    """
    reader = _Reader(connection, trace_id, window)
    yield from one_ahead(connection, reader.next)


class _Reader:
    """Reads window after window, in whichever thread."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, trace_id: int, window: int) -> None:
        self._connection = connection
        self._trace_id = trace_id
        self._window = window
        found = connection.execute(_SPAN, {"trace": trace_id}).fetchall()
        self._first, self._last, self._has_older, self._has_reallocs = found[0] if found else (0, -1, 0, 0)
        types = self._fetch(_TYPES)
        self._types, self._tracked, self._kinds = types["type_id"], types["gc_tracked"], types["kind"]
        self._starts = self._fetch(_STARTS)["start_seq"]

    def next(self) -> Steps | None:
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

    def _read(self, first: int, last: int) -> Steps | None:
        blocks = self._fetch(_BLOCKS, first=first, last=last)
        older = self._fetch(_OLDER, first=first, last=last) if self._has_older else None
        window = _Window(first, last)
        made, gone = window.take(blocks["alloc_seq"]), window.take(blocks["free_seq"])
        ended = window.take(older["seq"]) if older is not None else None
        if not window.close():
            return None
        made, gone = window.rows(made), window.rows(gone)
        window.put(made, blocks, time_ns="allocated_ns", thread_id="thread_id")
        window.put(gone, blocks, time_ns="freed_ns", thread_id="freed_thread_id", cause="cause")
        window.put(gone, blocks, alloc_seq="alloc_seq")
        window.fill(gone, is_free=True)
        blocks["gc_tracked"] = self._is_tracked(blocks["type_id"])
        blocks["free_list"] = self._free_list(blocks["type_id"], blocks["size"])
        for rows in (made, gone):
            for name in ("size", "domain", "stack_id", "address", "gc_tracked", "free_list"):
                window.put(rows, blocks, **{name: name})
        self._put_garbage(window, made, gone, blocks)
        if self._has_reallocs:
            reallocs = self._fetch(_REALLOCS, first=first, last=last)
            window.put(window.rows(window.at(reallocs["alloc_seq"])), reallocs, realloc_of="realloc_of")
        if older is not None and ended is not None and len(ended):
            self._put_older(window, window.rows(ended), older)
        return window.steps()

    def _put_garbage(self, window: _Window, made: IntArray, gone: IntArray, blocks: Columns) -> None:
        collected = np.flatnonzero(blocks["cause"] == Cause.GC)
        if len(collected):
            number = np.searchsorted(self._starts, blocks["free_seq"][collected], side="right") - 1
            window.fill(made[collected], garbage=number)
            window.fill(gone[collected], garbage=number)

    def _put_older(self, window: _Window, rows: IntArray, older: Columns) -> None:
        names = ("time_ns", "thread_id", "cause", "size", "address")
        window.put(rows, older, **{name: name for name in names})
        window.fill(rows, domain=np.where(older["known"], Domain.OBJECT, Domain.RAW), stack_id=0)
        window.fill(rows, gc_tracked=self._is_tracked(older["type_id"]), alloc_seq=NONE, is_free=True)

    def _free_list(
        self, type_id: npt.NDArray[np.int32], size: npt.NDArray[np.int64]
    ) -> npt.NDArray[np.uint8]:
        lists = np.zeros(len(type_id), np.uint8)
        for kind in (1, 2, 3, 4):
            for number in self._types[self._kinds == kind].tolist():
                rows = np.flatnonzero(type_id == number)
                eighths = size[rows] >> 3
                lists[rows] = np.where(
                    (size[rows] & 7 == 0) & (eighths < 32), _FREE_LIST[kind][np.minimum(eighths, 31)], 0
                )
        return lists

    def _is_tracked(self, type_id: npt.NDArray[np.int32]) -> npt.NDArray[np.bool_]:
        if len(self._types) and self._types[-1] == len(self._types):  # numbered from 1 without gaps, as usual
            known = np.concatenate([[False], self._tracked, [False]])
            return np.take(known, type_id, mode="clip")
        return np.isin(type_id, self._types[self._tracked])


class _Window:
    """The steps of a window of events, while they are put together.

    One row more than there are steps takes what belongs to other windows.
    """

    def __init__(self, first: int, last: int) -> None:
        self._first = first
        self._events = last - first + 1
        self._there = np.zeros(self._events + 1, np.bool_)
        self._row: IntArray | None = None
        self._columns: Columns = {}
        self._count = 0

    def at(self, seq: IntArray) -> IntArray:
        """The numbers of events within the window; the number after the last for any other event."""
        # Before the window is beyond it, too, in unsigned numbers.
        at = np.minimum((seq - self._first).view(np.uint64), np.uint64(self._events))
        return at.view(np.int64)

    def take(self, seq: IntArray) -> IntArray:
        """Note that these events are steps, as far as they are in the window. Returns :meth:`at`."""
        at = self.at(seq)
        self._there[at] = True
        return at

    def close(self) -> bool:
        """No more steps are taken: their values can be put. False when there is no step."""
        self._there[-1] = False
        self._count = count = int(np.count_nonzero(self._there))
        seq = np.arange(self._first, self._first + self._events, dtype=np.int64)
        if count < self._events:
            seq = seq[self._there[:-1]]
            self._row = np.cumsum(self._there) - 1
            self._row[~self._there] = count
        self._columns = {
            "seq": seq,
            "time_ns": np.empty(count + 1, np.int64),
            "is_free": np.zeros(count + 1, np.bool_),
            "alloc_seq": np.append(seq, NONE),
            "size": np.empty(count + 1, np.int64),
            "domain": np.empty(count + 1, np.uint8),
            "stack_id": np.empty(count + 1, np.int32),
            "cause": np.zeros(count + 1, np.uint8),
            "thread_id": np.empty(count + 1, np.int32),
            "gc_tracked": np.empty(count + 1, np.bool_),
            "realloc_of": np.full(count + 1, NONE, np.int64),
            "garbage": np.full(count + 1, NONE, np.int32),
            "address": np.empty(count + 1, np.int64),
            "free_list": np.zeros(count + 1, np.uint8),
        }
        return count > 0

    def rows(self, at: IntArray) -> IntArray:
        """The rows of events by their numbers within the window, once it is closed."""
        return at if self._row is None else self._row[at]

    def put(self, rows: IntArray, values: Columns, **names: str) -> None:
        """Put columns of ``values`` into rows: the name of the column of the steps = its name there."""
        for column, name in names.items():
            self._columns[column][rows] = values[name]

    def fill(self, rows: IntArray, **values: object) -> None:
        """Put values into rows, one for all of them or one for each."""
        for column, value in values.items():
            self._columns[column][rows] = value

    def steps(self) -> Steps:
        """All that was put."""
        return Steps(**{name: values[: self._count] for name, values in self._columns.items()})
