"""Slots of a ring as an engine writes them, for what reads them."""

from __future__ import annotations

from tracekit.log.columns import COLUMN_TYPES, EventColumns
from tracekit.record import layouts, slots
from tracekit.record.decode import RingDefinition, RingSlots
from tracekit.record.pairing import Fold, Found, as_slots
from tracekit.record.ring import pack_definition

Row = tuple[int, ...]


def slot(kind: int, flags: int = 0, thread: int = 0, node: int = 0, word: int = 0) -> bytes:
    return layouts.SLOT.pack(kind, flags, thread, node, word)


def allocation(address: int, size: int, *, domain: int = 4, thread: int = 1, node: int = 0) -> bytes:
    small = min(size, slots.SIZE_WIDE)
    data = slot(slots.ALLOC, domain, thread, node, address // 16 << slots.SIZE_BITS | small)
    return data if small < slots.SIZE_WIDE else slot(slots.WIDE, word=size) + data


def free(address: int, *, cause: int = 0, thread: int = 1, type_id: int = 0) -> bytes:
    return slot(slots.FREE, cause, thread, type_id, address)


def allocations(addresses: list[int], size: int, node: int = 0) -> bytes:
    return b"".join(allocation(address, size, node=node) for address in addresses)


def frees(addresses: list[int], cause: int = 0) -> bytes:
    return b"".join(free(address, cause=cause) for address in addresses)


def time_passes(time_ns: int) -> bytes:
    return slot(slots.TIME, word=time_ns)


def packed(definition: RingDefinition) -> bytes:
    return pack_definition(definition.what, definition.number, definition.payload, definition.thread)


def rows_of(columns: EventColumns) -> list[Row]:
    """Rows in the order of ``COLUMN_TYPES``."""
    arrays = (getattr(columns, name).tolist() for name in COLUMN_TYPES)
    return list(zip(*arrays, strict=True))


def fold_all(
    fold: Fold, data: bytes, cuts: list[int] | None = None, stamps: bytes = b""
) -> tuple[list[Row], list[Found]]:
    """Feed slots in pieces of so many (the last one is the rest); the rows and what else was found."""
    array, at = as_slots(data), 0
    rows: list[Row] = []
    found: list[Found] = []
    for count in [*(cuts or []), len(array)]:
        for item in fold.feed(RingSlots(array[at : at + count], at, stamps if at == 0 else b"")):
            if item is None:
                rows += rows_of(fold.take())
            else:
                found.append(item)
        at = min(len(array), at + count)
    return rows + rows_of(fold.take()), found
