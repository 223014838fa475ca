"""What each kind of slot means, with the compiled kernels and without them."""

from __future__ import annotations

import struct

import pytest
from ring_support import allocation, fold_all, free, slot, time_passes

from tracekit.events import EventKind
from tracekit.log.columns import COLUMN_TYPES
from tracekit.record import layouts, slots
from tracekit.record.decode import RingDefinition, RingSlots, RingTypes
from tracekit.record.pairing import MAX_REPEAT, Fold, NativeFold, PythonFold, as_slots, new_fold
from tracekit.record.ring import pack_definition
from tracekit.record.ringfile import kernels

FOLDS = [pytest.param(PythonFold, id="python")]
if kernels is not None:
    FOLDS.append(pytest.param(NativeFold, id="native"))
each_fold = pytest.mark.parametrize("kind", FOLDS)

ALLOCATED, FREED = int(EventKind.ALLOCATION), int(EventKind.FREE)
REALLOC = 2


def row(kind: int, **values: int) -> tuple[int, ...]:
    nothing = dict.fromkeys(COLUMN_TYPES, 0) | {"kind": kind, "thread_id": 1, "alloc_seq": -1}
    return tuple((nothing | values).values())


def born(address: int, size: int, **values: int) -> tuple[int, ...]:
    return row(ALLOCATED, address=address, size=size, **({"domain": 4} | values))


SOUND: dict[str, tuple[bytes, list[tuple[int, ...]]]] = {
    "an allocation": (
        allocation(0x50, 100, domain=2, thread=7, node=9),
        [born(0x50, 100, domain=2, thread_id=7, stack_id=9)],
    ),
    "a free of nothing known": (
        free(0x50, cause=1, type_id=3),
        [row(FREED, address=0x50, cause=1, type_id=3)],
    ),
    "a free of the last at its address": (
        allocation(16, 100) + free(16) + allocation(16, 7) + free(32) + free(16, type_id=5) + free(16),
        [
            born(16, 100),
            row(FREED, alloc_seq=0),
            born(16, 7),
            row(FREED, address=32),
            row(FREED, alloc_seq=2, type_id=5),
            row(FREED, address=16),
        ],
    ),
    "a large block": (allocation(0x60, 1 << 40), [born(0x60, 1 << 40)]),
    "a block of just the size that is wide": (
        allocation((1 << 48) - 16, slots.SIZE_WIDE),
        [born((1 << 48) - 16, slots.SIZE_WIDE)],
    ),
    "a size before a free is of no use": (
        slot(slots.WIDE, word=1 << 40) + free(16) + allocation(32, 5),
        [row(FREED, address=16), born(32, 5)],
    ),
    "repeated": (
        slot(slots.REPEAT, word=2) + allocation(16, 1 << 30) + slot(slots.REPEAT, word=2) + free(16),
        [born(16, 1 << 30), born(32, 1 << 30), row(FREED, alloc_seq=0), row(FREED, alloc_seq=1)],
    ),
    "repeated not at all": (slot(slots.REPEAT) + allocation(16, 1) + free(16), [row(FREED, address=16)]),
    "time": (
        time_passes(9) + free(16) + time_passes(3) + free(16),
        [row(FREED, address=16, time_ns=9), row(FREED, address=16, time_ns=9)],
    ),
    "a realloc": (
        allocation(16, 5) + free(16, cause=REALLOC) + allocation(32, 6, domain=0x80 | 1),
        [born(16, 5), row(FREED, alloc_seq=0, cause=REALLOC), born(32, 6, domain=1, alloc_seq=0)],
    ),
    "a realloc with another thread in between": (
        allocation(16, 5)
        + free(16, cause=REALLOC)
        + free(64, cause=REALLOC, thread=2)
        + allocation(32, 6, domain=0x81)
        + allocation(48, 7, domain=0x81),
        [
            born(16, 5),
            row(FREED, alloc_seq=0, cause=REALLOC),
            row(FREED, address=64, cause=REALLOC, thread_id=2),
            born(32, 6, domain=1, alloc_seq=0),
            born(48, 7, domain=1),
        ],
    ),
    "a realloc that failed": (
        allocation(16, 5, domain=2, node=8) + free(16, cause=REALLOC) + slot(slots.UNFREE, thread=1, word=16),
        [
            born(16, 5, domain=2, stack_id=8),
            row(FREED, alloc_seq=0, cause=REALLOC),
            born(16, 5, domain=2, stack_id=8, alloc_seq=0),
        ],
    ),
    "a realloc that failed of a block that nobody knows": (
        free(16, cause=REALLOC) + slot(slots.UNFREE, thread=1, word=16),
        [row(FREED, address=16, cause=REALLOC)],
    ),
    "arenas": (
        slot(slots.ARENA, 0, 1, 1 << 20, 1 << 20) + slot(slots.ARENA, 1, 1, 1 << 20, 1 << 20),
        [
            row(int(EventKind.ARENA_ALLOCATION), address=1 << 20, size=1 << 20),
            row(int(EventKind.ARENA_FREE), address=1 << 20, size=1 << 20),
        ],
    ),
    "nothing": (b"", []),
}

DAMAGED: dict[str, bytes] = {
    "an unknown kind": slot(0),
    "another unknown kind": slot(200, 3, 1, 2, 3),
    "an allocation at 0": allocation(0, 5),
    "a free at 0": free(0),
    "a free beyond all memory": free(1 << 48),
    "a block larger than all memory": slot(slots.WIDE, word=1 << 47) + allocation(16, slots.SIZE_WIDE - 1),
    "an unknown domain": allocation(16, 5, domain=6),
    "an unknown flag": allocation(16, 5, domain=0x10),
    "an unknown cause": free(16, cause=4),
    "a node beyond 31 bits": allocation(16, 5, node=1 << 31),
    "a type beyond 31 bits": free(16, type_id=1 << 31),
    "repeated without end": slot(slots.REPEAT, word=MAX_REPEAT + 1) + free(16),
    "repeated beyond all memory": slot(slots.REPEAT, word=3) + free((1 << 48) - 32),
    "a payload beyond the limit": slot(slots.DEFINE, node=slots.MAX_PAYLOAD + 1),
    "an arena that is neither": slot(slots.ARENA, 2, 1, 5, 1 << 20),
    "an arena beyond all memory": slot(slots.ARENA, 0, 1, 5, 1 << 50),
    "the type of nothing": slot(slots.TYPED, node=5),
    "a type that cannot be": slot(slots.TYPED, node=1 << 31, word=16),
    "another block lives on": allocation(32, 5)
    + free(32, cause=REALLOC)
    + slot(slots.UNFREE, thread=1, word=16),
}


@each_fold
@pytest.mark.parametrize("name", SOUND)
def test_each_kind_of_slot(kind: type[PythonFold | NativeFold], name: str) -> None:
    data, wanted = SOUND[name]
    fold: Fold = kind(100)
    assert fold_all(fold, data) == (wanted, [])
    assert fold.counts.damaged == 0
    assert fold.next_seq == len(wanted)


@each_fold
@pytest.mark.parametrize("name", DAMAGED)
def test_a_slot_that_cannot_be_true_is_left_out(kind: type[PythonFold | NativeFold], name: str) -> None:
    fold: Fold = kind(100)
    rows, found = fold_all(fold, DAMAGED[name] + free(0x70))
    assert fold.counts.damaged == 1
    assert found == []
    assert rows[-1] == row(FREED, address=0x70)


@each_fold
def test_totals(kind: type[PythonFold | NativeFold]) -> None:
    fold: Fold = kind(3)
    fold_all(fold, allocation(16, 100) + allocation(32, 50) + free(16) + free(48) + allocation(16, 20))
    assert fold.counts._asdict() == {
        "allocations": 3,
        "frees": 2,
        "unmatched_frees": 1,
        "allocated_bytes": 170,
        "live_bytes": 70,
        "live_blocks": 2,
        "peak_bytes": 150,
        "peak_blocks": 2,
        "peak_seq": 1,
        "damaged": 0,
    }


@each_fold
def test_a_block_over_one_that_is_alive(kind: type[PythonFold | NativeFold]) -> None:
    """Its free is missing, so that in the log it lives on; the footer says the same."""
    fold: Fold = kind(9)
    rows, _ = fold_all(fold, allocation(16, 5) + allocation(16, 7) + free(16))
    assert rows[-1] == row(FREED, alloc_seq=1)
    assert (fold.counts.live_bytes, fold.counts.live_blocks) == (5, 1)


@each_fold
def test_definitions_come_in_order_and_nodes_together(kind: type[PythonFold | NativeFold]) -> None:
    nodes = [layouts.CODE_NODE.pack(0, 1, 2, number) for number in (5, 6, 7)]
    data = b"".join(pack_definition(slots.DEF_CODE_NODE, 0, payload, 0) for payload in nodes[:2])
    data += allocation(16, 1) + pack_definition(slots.DEF_FILE, 9, b"x" * 17, 3)
    data += pack_definition(slots.DEF_CODE_NODE, 7, nodes[2], 0)
    for cuts in ([], [1] * 12, [2, 3, 1]):
        rows, found = fold_all(kind(9), data, cuts)
        assert len(rows) == 1
        joined = b"".join(
            item.payload
            for item in found
            if isinstance(item, RingDefinition) and item.what == slots.DEF_CODE_NODE
        )
        assert joined == b"".join(nodes)
        others = [
            item for item in found if isinstance(item, RingDefinition) and item.what != slots.DEF_CODE_NODE
        ]
        assert others == [RingDefinition(slots.DEF_FILE, 9, 3, b"x" * 17)]
        before = found.index(others[0])
        assert sum(item.number for item in found[:before] if isinstance(item, RingDefinition)) == 2


@each_fold
def test_types_of_live_blocks(kind: type[PythonFold | NativeFold]) -> None:
    typed = slot(slots.TYPED, node=4, word=32) + slot(slots.TYPED, node=5, word=64)
    _, found = fold_all(kind(9), allocation(16, 1) + allocation(32, 1) + typed)
    (types,) = found
    assert isinstance(types, RingTypes)
    assert (types.alloc_seq.tolist(), types.type_id.tolist()) == ([1], [4])


@each_fold
def test_events_of_others_and_time(kind: type[PythonFold | NativeFold]) -> None:
    fold: Fold = kind(2)
    fold.time_ns = 50
    assert fold.event(EventKind.MARK, 40, 3) == 0
    assert fold.event(EventKind.GC_START, 60, 3) == 1
    with pytest.raises(ValueError, match="full"):
        fold.event(EventKind.MARK, 70, 3)
    columns = fold.take()
    assert columns.time_ns.tolist() == [50, 60]
    assert (fold.rows, fold.next_seq) == (0, 2)


@each_fold
def test_stamps_give_times(kind: type[PythonFold | NativeFold]) -> None:
    fold: Fold = kind(2)
    fold.origin_ns = 1000
    stamps = struct.pack("<8Q", 0, 1005, 2, 1020, 2, 1010, 3, 900)
    rows, _ = fold_all(fold, free(16) * 5, [2], stamps)
    assert [times for _, times, *_ in rows] == [5, 5, 20, 20, 20]


@each_fold
def test_full_columns_wait_until_they_are_taken(kind: type[PythonFold | NativeFold]) -> None:
    fold: Fold = kind(2)
    data = as_slots(slot(slots.REPEAT, word=3) + allocation(16, 1) + free(16))
    feed = fold.feed(RingSlots(data))
    assert next(feed) is None
    assert fold.rows == 2
    assert fold.take().address.tolist() == [16, 32]
    assert list(feed) == []
    assert fold.rows == 2
    feed = fold.feed(RingSlots(data))
    assert next(feed) is None
    with pytest.raises(RuntimeError, match="not taken"):
        next(feed)


def test_the_fastest_there_is() -> None:
    assert type(new_fold(1)).__name__ == {False: "NativeFold", True: "PythonFold"}[kernels is None]
