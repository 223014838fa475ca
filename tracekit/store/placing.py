"""Puts the steps of a window of events together: every value goes into the row that its event has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from tracekit.store.recycling import Recycler
from tracekit.store.steps import NONE, IntArray

try:
    from tracekit._native._kernels import mark_steps, number_steps, put_steps
except ImportError:
    HAVE_KERNEL = False
else:
    HAVE_KERNEL = True

Columns = dict[str, npt.NDArray[Any]]
Rows = npt.NDArray[np.int32]

KINDS: dict[str, type[np.generic]] = {
    "seq": np.int64,
    "time_ns": np.int64,
    "is_free": np.bool_,
    "alloc_seq": np.int64,
    "size": np.int64,
    "domain": np.uint8,
    "stack_id": np.int32,
    "cause": np.uint8,
    "thread_id": np.int32,
    "gc_tracked": np.bool_,
    "realloc_of": np.int64,
    "garbage": np.int32,
    "address": np.int64,
    "free_list": np.uint8,
}
"""The columns that steps can have."""

_AT_FIRST = {"is_free": False, "cause": 0, "realloc_of": NONE, "garbage": NONE, "free_list": 0}
"""Columns whose values are not put for each step."""


class Window:
    """The steps of the events from ``first`` to ``last``, with the columns that are called ``names``.

    First it is told all events that are steps (:meth:`take`), then it is closed, and then it takes values.
    Events outside of the window are let pass: there is one row more than there are steps, which takes theirs.
    """

    def __init__(self, first: int, last: int, names: Sequence[str], recycler: Recycler) -> None:
        self._first = first
        self._rows = last - first + 2
        self._names = names
        self._recycler = recycler
        self._there = recycler.full(self._rows, False, np.bool_)
        self._row = np.empty(0, np.int32)
        self._columns: Columns = {}
        self._count = 0

    def take(self, seq: IntArray) -> None:
        """These events are steps, as far as they are in the window."""
        _mark(self._first, seq, self._there)

    def close(self) -> bool:
        """All events that are steps have been taken. False when there is none."""
        empty = self._recycler.empty
        self._row = empty(self._rows, np.int32)
        self._columns = {name: empty(self._rows, KINDS[name]) for name in self._names}
        self._count = count = _number(self._first, self._there, self._row, self._columns["seq"])
        self._columns["alloc_seq"][:count] = self._columns["seq"][:count]
        for name in self._names:
            if name in _AT_FIRST:
                self._columns[name][:count] = _AT_FIRST[name]
        return count > 0

    def put(self, seq: IntArray, values: Columns, **names: str) -> None:
        """Put columns of ``values`` into the rows of events: the name of the column = its name there.

        Columns that are not wanted are left out.
        """
        columns = [column for column in names if column in self._columns]
        given = (np.ascontiguousarray(values[names[column]], KINDS[column]) for column in columns)
        _put(self._first, seq, self._row, tuple(self._columns[column] for column in columns), tuple(given))

    def fill(self, seq: IntArray, **values: object) -> None:
        """Put values into the rows of events, one for all of them or one for each."""
        given = {name: np.broadcast_to(np.asarray(value), len(seq)) for name, value in values.items()}
        self.put(seq, given, **{name: name for name in values})

    def columns(self) -> Columns:
        """All that was put."""
        return {name: values[: self._count] for name, values in self._columns.items()}


def _mark(first: int, seq: IntArray, there: npt.NDArray[np.bool_]) -> None:
    """Say that events are there, numbered from ``first`` on; the last of ``there`` is for all others."""
    if HAVE_KERNEL:
        mark_steps(first, seq, there)
    else:
        there[_at(first, seq, len(there) - 1)] = True


def _number(first: int, there: npt.NDArray[np.bool_], row: Rows, seq: IntArray) -> int:
    """The row of each event that is there, and the seq of each row. Returns the row of all others."""
    if HAVE_KERNEL:
        return number_steps(first, there, row, seq)
    events = np.flatnonzero(there[:-1])
    seq[: len(events)] = events + first
    row[:] = len(events)
    row[events] = np.arange(len(events))
    return len(events)


def _put(
    first: int,
    seq: IntArray,
    row: Rows,
    columns: tuple[npt.NDArray[Any], ...],
    values: tuple[npt.NDArray[Any], ...],
) -> None:
    if HAVE_KERNEL:
        put_steps(first, seq, row, columns, values)
    else:
        rows = row[_at(first, seq, len(row) - 1)]
        for column, given in zip(columns, values, strict=True):
            column[rows] = given


def _at(first: int, seq: IntArray, events: int) -> IntArray:
    # Before the window is beyond it, too, in unsigned numbers.
    return np.minimum((seq - first).view(np.uint64), np.uint64(events)).view(np.int64)
