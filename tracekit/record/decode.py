"""The collector's end of the ring: slots become columns of events and typed definitions.

This is the only place that knows the bit layout on the reading side; nothing above it does.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from tracekit.record import slots

SLOT_TYPE: Final = np.dtype(
    [("kind", "u1"), ("flags", "u1"), ("thread", "<u2"), ("node", "<u4"), ("word", "<u8")]
)
DEFAULT_CAPACITY: Final = 1 << 20
"""Slots of a ring: 16 MiB."""


@dataclass(frozen=True, slots=True, eq=False)
class RingEvents:
    """Allocations and frees in ring order.

    ``flags`` is the domain of an allocation and the cause of a free, ``node`` the stack node of an allocation
    and the type of a free; ``size`` is 0 for a free.
    """

    is_free: npt.NDArray[np.bool_]
    flags: npt.NDArray[np.uint8]
    thread: npt.NDArray[np.int32]
    node: npt.NDArray[np.int32]
    address: npt.NDArray[np.int64]
    size: npt.NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.is_free)


@dataclass(frozen=True, slots=True)
class RingTime:
    """All events from here on happened at ``time_ns``."""

    time_ns: int


@dataclass(frozen=True, slots=True)
class RingDefinition:
    """A definition: ``what`` is one of ``slots.DEF_*``, ``number`` what it is about."""

    what: int
    number: int
    thread: int
    payload: bytes


RingItem = RingEvents | RingTime | RingDefinition


class RingReader:
    """Creates a ring in memory of the kernel and drains it. ``path`` is where the target opens it."""

    def __init__(self, *, max_frames: int, sync_interval_ns: int, capacity: int = DEFAULT_CAPACITY) -> None:
        self._capacity = capacity
        self._descriptor, self.path, self._unlink = _shared_file()
        os.ftruncate(self._descriptor, slots.HEADER_BYTES + capacity * slots.SLOT_BYTES)
        self._memory = mmap.mmap(self._descriptor, 0)
        view = memoryview(self._memory)
        self._words = view[: slots.HEADER_BYTES].cast("Q")
        self._slots = np.frombuffer(self._memory, SLOT_TYPE, capacity, slots.HEADER_BYTES)
        self._words[slots.WORD_CAPACITY] = capacity
        self._words[slots.WORD_COLLECTOR_PID] = os.getpid()
        self._words[slots.WORD_MAX_FRAMES] = max_frames
        self._words[slots.WORD_SYNC_INTERVAL] = sync_interval_ns
        self._words[slots.WORD_MAGIC] = slots.RING_MAGIC
        self._drained = 0
        self._held = np.zeros(0, SLOT_TYPE)

    @property
    def target_pid(self) -> int:
        """Process that attached to the ring, 0 when none did."""
        return int(self._words[slots.WORD_TARGET_PID])

    @property
    def ended(self) -> bool:
        """True when the target recorded its own end."""
        return int(self._words[slots.WORD_STATE]) == slots.STATE_ENDED

    @property
    def backlog(self) -> int:
        """Slots written and not yet drained."""
        return int(self._words[slots.WORD_WRITTEN]) - self._drained

    def stop_target(self) -> None:
        """Tell the target that nobody reads any more: it goes on unrecorded."""
        self._words[slots.WORD_CLOSED] = 1

    def drain(self, most: int = 1 << 17) -> list[RingItem]:
        """Take up to ``most`` slots out of the ring; empty when there was nothing new."""
        count = min(self.backlog, most)
        if count == 0:
            return []
        start = self._drained % self._capacity
        first = self._slots[start : start + min(count, self._capacity - start)]
        taken = np.concatenate([self._held, first, self._slots[: count - len(first)]])
        self._drained += count
        self._words[slots.WORD_DRAINED] = self._drained
        items, used = decode(taken)
        self._held = taken[used:]
        return items

    def close(self) -> None:
        """Give the memory back (it stays with the target as long as that has it mapped)."""
        self._words.release()
        del self._slots
        self._memory.close()
        os.close(self._descriptor)
        if self._unlink:
            Path(self.path).unlink()


def decode(taken: npt.NDArray[np.void]) -> tuple[list[RingItem], int]:
    """Items in an array of slots, and how many slots they took: the last one may be incomplete."""
    items: list[RingItem] = []
    total = len(taken)
    kind = taken["kind"]
    special = np.flatnonzero((kind == slots.TIME) | (kind == slots.DEFINE))
    at = 0
    while at < total:
        place = int(np.searchsorted(special, at))
        stop = int(special[place]) if place < len(special) else total
        if stop > at:
            used = _complete(kind, at, stop)
            if used > at:
                items.append(_events(taken[at:used]))
            if used < stop:
                return items, used
            at = stop
            continue
        slot = taken[at]
        if int(slot["kind"]) == slots.TIME:
            items.append(RingTime(int(slot["word"])))
            at += 1
            continue
        payload_slots = -(-int(slot["node"]) // slots.SLOT_BYTES)
        if at + 1 + payload_slots > total:
            break
        payload = taken[at + 1 : at + 1 + payload_slots].tobytes()[: int(slot["node"])]
        items.append(RingDefinition(int(slot["flags"]), int(slot["word"]), int(slot["thread"]), payload))
        at += 1 + payload_slots
    return items, at


def _complete(kind: npt.NDArray[np.uint8], start: int, stop: int) -> int:
    """``stop``, less the WIDE and REPEAT slots at the end that still miss what they belong to."""
    while stop > start and kind[stop - 1] in {slots.WIDE, slots.REPEAT}:
        stop -= 1
    return stop


def _events(taken: npt.NDArray[np.void]) -> RingEvents:
    """A run of ALLOC and FREE slots with their WIDE and REPEAT slots in front, expanded."""
    kind = taken["kind"]
    rows = np.flatnonzero((kind == slots.ALLOC) | (kind == slots.FREE))
    picked = taken[rows]
    word = picked["word"]
    is_free = picked["kind"] == slots.FREE
    address = np.where(is_free, word, (word >> np.uint64(slots.SIZE_BITS)) << np.uint64(4)).astype(np.int64)
    size = np.where(is_free, 0, word & np.uint64(slots.SIZE_WIDE)).astype(np.int64)
    wide = np.flatnonzero(kind == slots.WIDE)
    size[np.searchsorted(rows, wide)] = taken["word"][wide].astype(np.int64)
    events = RingEvents(
        is_free,
        picked["flags"].copy(),
        picked["thread"].astype(np.int32),
        picked["node"].astype(np.int32),
        address,
        size,
    )
    repeat = np.flatnonzero(kind == slots.REPEAT)
    if not len(repeat):
        return events
    times = np.ones(len(rows), np.int64)
    times[np.searchsorted(rows, repeat)] = taken["word"][repeat].astype(np.int64)
    return _expand(events, times)


def _expand(events: RingEvents, times: npt.NDArray[np.int64]) -> RingEvents:
    """Each event ``times`` over, at addresses 16 bytes apart."""
    source = np.repeat(np.arange(len(events)), times)
    step = np.arange(len(source)) - np.repeat(np.cumsum(times) - times, times)
    return RingEvents(
        events.is_free[source],
        events.flags[source],
        events.thread[source],
        events.node[source],
        events.address[source] + 16 * step,
        events.size[source],
    )


def split(events: RingEvents, most: int) -> Iterator[RingEvents]:
    """The same events in pieces of at most ``most``."""
    for start in range(0, len(events), most):
        piece = slice(start, start + most)
        yield RingEvents(
            events.is_free[piece],
            events.flags[piece],
            events.thread[piece],
            events.node[piece],
            events.address[piece],
            events.size[piece],
        )


def _shared_file() -> tuple[int, str, bool]:
    """(descriptor, path for the target, whether the path must be unlinked) of a file in memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tracekit-ring", os.MFD_CLOEXEC)
        return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}", False
    descriptor, path = tempfile.mkstemp(prefix="tracekit-ring-")
    return descriptor, path, True
