"""Putting steps together: what the kernel is told that no caller tells it."""

from __future__ import annotations

import numpy as np
import pytest

from tracekit.store import placing
from tracekit.store.placing import Window
from tracekit.store.recycling import Recycler

if not placing.HAVE_KERNEL:
    pytest.skip("the extension was not built", allow_module_level=True)

from tracekit._native._kernels import mark_steps, number_steps, put_steps

SEQ = np.array([12, 10, 99, -5], np.int64)
THERE = np.array([True, False, True, True], np.bool_)
MOST, LEAST = 2**63 - 1, -(2**63)


def rows() -> np.ndarray[tuple[int], np.dtype[np.int32]]:
    return np.array([0, 1, 1, 2], np.int32)


def test_marks_numbers_and_values() -> None:
    there, row, seq = np.zeros(4, np.bool_), np.empty(4, np.int32), np.empty(4, np.int64)
    mark_steps(10, SEQ, there)
    assert there.tolist() == THERE.tolist()
    assert number_steps(10, there, row, seq) == 2
    assert (row.tolist(), seq[:2].tolist()) == ([0, 1, 1, 2], [10, 12])
    bytes_, words = np.zeros(3, np.uint8), np.zeros(3, np.int32)
    put_steps(10, SEQ, row, (bytes_, words), (np.arange(1, 5, dtype=np.uint8), np.arange(4, dtype=np.int32)))
    assert (bytes_[:2].tolist(), words[:2].tolist()) == ([2, 1], [1, 0])


@pytest.mark.parametrize("first", [LEAST, LEAST + 1, -1, 0, MOST - 2])
def test_numbers_at_the_ends(first: int) -> None:
    there = np.zeros(3, np.bool_)
    mark_steps(first, np.array([first, LEAST, MOST], np.int64), there)
    wanted = {min(number - first, 2) if number >= first else 2 for number in (first, LEAST, MOST)}
    assert set(np.flatnonzero(there).tolist()) == wanted


def test_what_does_not_fit_together_is_refused() -> None:
    value, column = np.zeros(4, np.int64), np.zeros(3, np.int64)
    row = rows()
    for columns, values in (
        ((column,), ()),
        ((column,), (value[:3],)),
        ((column,), (value.astype(np.int32),)),
        ((column[:2],), (value,)),
        ((column[::2],), (value,)),
        ((column.view("V24"),), (np.zeros(4, "V24"),)),
        ((column.astype(np.int16),), (value.astype(np.int16),)),
        ((column,) * 17, (value,) * 17),
        ((column.tobytes(),), (b"1234",)),
    ):
        with pytest.raises((ValueError, BufferError)):
            put_steps(10, SEQ, row, columns, values)
    assert column.tolist() == [0, 0, 0]
    for wrong in (row[:0], row.astype(np.int64), np.full(4, -1, np.int32), np.full(4, 3, np.int32)):
        with pytest.raises(ValueError, match="column"):
            put_steps(10, SEQ, wrong, (column,), (value,))
    with pytest.raises(ValueError, match="unequal length"):
        mark_steps(10, SEQ, THERE[:0].copy())
    for parts in ((THERE[:0], row[:0], column[:0]), (THERE, row[:3], value), (THERE, row, column)):
        with pytest.raises(ValueError, match="unequal length"):
            number_steps(10, *parts)
    read_only = THERE.copy()
    read_only.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        mark_steps(10, SEQ, read_only)


def test_a_window_without_steps() -> None:
    window = Window(10, 12, ("seq", "alloc_seq", "is_free"), Recycler())
    window.take(np.array([9, 13], np.int64))
    assert not window.close()
