"""Definitions of many stacks travel in columns, and nobody sees it."""

from __future__ import annotations

from zlib import crc32

import msgspec
import numpy as np
import pytest

from tracekit.errors import LogCorruptError
from tracekit.events import Column, Definitions, PackedStacks, Stack
from tracekit.log import stacks as stacks_module
from tracekit.log.columns import encode_column
from tracekit.log.format import PLAIN, encode_record, unpack_payload
from tracekit.log.stacks import PACK_FROM, define_stacks, pack_stacks, unpack_stacks

STACKS = [Stack(5 + number, number, 1 + number % 3, number * 7 - 9) for number in range(PACK_FROM)]


def column(*values: int) -> Column:
    return encode_column(np.array(values, np.int64))


def test_many_are_packed_and_come_back_in_order() -> None:
    record = Definitions(stacks=STACKS)
    packed = pack_stacks(record)
    assert packed.stacks == []
    assert packed.packed_stacks is not None
    assert unpack_stacks(packed) == record
    few = Definitions(stacks=STACKS[:-1])
    assert pack_stacks(few) is few
    assert unpack_stacks(few) is few


def test_a_log_holds_them_in_columns_and_a_reader_hands_them_over() -> None:
    record = Definitions(stacks=STACKS)
    raw = encode_record(record)
    assert b"packed_stacks" in raw
    assert unpack_payload(raw, len(raw), PLAIN, crc32(raw)) == record


def test_both_kinds_in_one_record() -> None:
    packed = pack_stacks(Definitions(stacks=STACKS))
    both = msgspec.structs.replace(packed, stacks=[Stack(1, 0, 1, 1)])
    assert unpack_stacks(both).stacks == [Stack(1, 0, 1, 1), *STACKS]


@pytest.mark.parametrize(
    ("packed", "match"),
    [
        (PackedStacks(3, column(1, 2), column(0, 0), column(1, 1), column(1, 2)), "stack_id"),
        (PackedStacks(2, column(1, 2), column(0, 1, 0), column(1, 2), column(1, 2)), "above"),
        (PackedStacks(2, column(1, 2), column(1, 9), column(1, 2), column(1, 2)), "a parent that cannot be"),
        (PackedStacks(2, column(1, 2), column(1, -(2**31) + 1), column(1, 2), column(1, 2)), "a parent"),
        (PackedStacks(2, column(1, 2**31), column(1, 1), column(1, 2), column(1, 2)), "stack_id"),
        (PackedStacks(2, column(1, 2), column(1, 1), column(-1, 2), column(1, 2)), "code_id"),
        (PackedStacks(2, column(1, 2), column(1, 1), column(1, 2), column(1, 2**31)), "line"),
    ],
)
def test_columns_that_hold_no_stacks(packed: PackedStacks, match: str) -> None:
    with pytest.raises(LogCorruptError, match=match):
        unpack_stacks(Definitions(packed_stacks=packed))


@pytest.mark.parametrize("count", [0, 1, PACK_FROM - 1, PACK_FROM])
def test_stacks_from_rows(count: int) -> None:
    rows = np.array([msgspec.structs.astuple(stack) for stack in STACKS[:count]], np.int32).reshape(-1, 4)
    found = [unpack_stacks(record) for record in define_stacks(rows)]
    assert found == ([Definitions(stacks=STACKS[:count])] if count else [])
    assert [pack_stacks(record) for record in found] == list(define_stacks(rows))


def test_stacks_from_more_rows_than_a_record_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stacks_module, "MAX_DEFINITIONS", 10)
    rows = np.array([msgspec.structs.astuple(stack) for stack in STACKS], np.int32)
    assert [record.stacks for record in define_stacks(rows)] == [STACKS[:10], STACKS[10:]]
