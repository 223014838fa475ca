"""Call paths in columns: where a record defines many of them, that is a third of the bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from tracekit.errors import LogCorruptError
from tracekit.events import MAX_DEFINITIONS, Column, Definitions, PackedStacks, Stack
from tracekit.log.columns import ID_MAX, decode_column, encode_column

PACK_FROM = 16
"""Fewer stacks are written as they are."""


def pack_stacks(record: Definitions) -> Definitions:
    """The same definitions with their stacks in columns, if there are many."""
    if not PACK_FROM <= len(record.stacks) <= MAX_DEFINITIONS or record.packed_stacks is not None:
        return record
    rows = np.array([msgspec.structs.astuple(stack) for stack in record.stacks], np.int64)
    return msgspec.structs.replace(record, stacks=[], packed_stacks=_packed(rows))


def define_stacks(rows: npt.NDArray[Any]) -> Iterator[Definitions]:
    """Definitions of stacks that come as rows of integers (stack_id, parent_id, code_id, line)."""
    for start in range(0, len(rows), MAX_DEFINITIONS):
        part = rows[start : start + MAX_DEFINITIONS].astype(np.int64)
        if len(part) < PACK_FROM:
            yield Definitions(stacks=[Stack(*row) for row in part.tolist()])
        else:
            yield Definitions(packed_stacks=_packed(part))


def _packed(rows: npt.NDArray[np.int64]) -> PackedStacks:
    return PackedStacks(
        len(rows),
        encode_column(rows[:, 0], delta=True),
        encode_column(rows[:, 0] - rows[:, 1]),
        encode_column(rows[:, 2]),
        encode_column(rows[:, 3]),
    )


def unpack_stacks(record: Definitions) -> Definitions:
    """The inverse of :func:`pack_stacks`. Raises LogCorruptError for columns that hold no stacks."""
    packed = record.packed_stacks
    if packed is None:
        return record

    def column(name: str, data: Column, least: int = 0) -> list[int]:
        values = decode_column(name, data, packed.count)
        if int(values.min()) < least or int(values.max()) > ID_MAX:
            raise LogCorruptError(f"column {name!r} of stacks holds a value outside {least}..{ID_MAX}")
        numbers: list[int] = values.tolist()
        return numbers

    stack_id = column("stack_id", packed.stack_id)
    above = column("above", packed.above, -ID_MAX)
    code_id, line = column("code_id", packed.code_id), column("line", packed.line, -ID_MAX - 1)
    parent_id = [number - up for number, up in zip(stack_id, above, strict=True)]
    if min(parent_id) < 0 or max(parent_id) > ID_MAX:
        raise LogCorruptError("a stack with a parent that cannot be")
    stacks = [Stack(*row) for row in zip(stack_id, parent_id, code_id, line, strict=True)]
    return msgspec.structs.replace(record, stacks=[*record.stacks, *stacks], packed_stacks=None)
