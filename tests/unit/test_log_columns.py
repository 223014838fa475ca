"""How columns are coded, value by value."""

from __future__ import annotations

import numpy as np
import pytest
from traces import TraceBuilder

from tracekit.events import Column, EventKind
from tracekit.log.columns import NOTHING, empty_columns, encode_column, encode_plainly


@pytest.mark.parametrize(
    ("values", "delta", "expected"),
    [
        ([], False, Column("plain", 1, b"")),
        ([7, 7, 7], False, Column("const", 8, b"\7\0\0\0\0\0\0\0")),
        ([-1, -1], True, Column("const", 8, b"\xff" * 8)),
        ([1, 2, 255], False, Column("plain", 1, b"\1\2\xff")),
        ([0x0102, 0x0304], False, Column("plain", 2, b"\2\4\1\3")),  # low bytes first, then high bytes
        ([10, 12, 11], True, Column("delta", 1, b"\x14\4\1")),  # +10 +2 -1, zigzag
        ([0, -1], False, Column("delta", 1, b"\0\1")),  # a negative value is only possible as a difference
    ],
)
def test_codings(values: list[int], delta: bool, expected: Column) -> None:
    assert encode_column(np.array(values, np.int64), delta=delta) == expected


def test_a_column_holds_only_the_rows_whose_kind_has_it() -> None:
    build = TraceBuilder()
    block = build.allocate(100)
    build.allocate(200)
    build.free(block)
    build.free_unknown(48)
    batch = encode_plainly(build.trace.columns())
    rows = {name: len(column.data) // column.width for name, column in batch.columns.items()}
    assert batch.count == 5
    assert rows["kind"] == 5
    assert rows["size"] == rows["domain"] + 1 == 2  # two allocations; their domains are equal, so const
    assert rows["distance"] == 4
    assert rows["address"] == 3
    assert batch.columns["distance"] == Column("plain", 1, b"\0\0\2\0")


def test_rows_are_views_with_their_own_numbers() -> None:
    build = TraceBuilder()
    for size in range(5):
        build.allocate(size)
    part = build.trace.columns().rows(2, 4)
    assert part.seq.tolist() == [2, 3]
    assert part.size.tolist() == [1, 2]
    assert part.size.base is not None


def test_empty_columns_hold_nothing() -> None:
    columns = empty_columns(7, 3)
    assert columns.alloc_seq.tolist() == [NOTHING] * 3
    assert columns.kind.tolist() == [EventKind.ALLOCATION] * 3
    assert (len(columns), columns.seq.tolist()) == (3, [7, 8, 9])
