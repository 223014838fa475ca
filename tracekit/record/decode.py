"""The collector's end of the ring. What the slots mean is known to :mod:`tracekit.record.pairing`."""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tracekit.record import slots
from tracekit.record.ringfile import DEFAULT_CAPACITY, RingFile

SLOT_TYPE: Final = np.dtype(
    [("kind", "u1"), ("flags", "u1"), ("thread", "<u2"), ("node", "<u4"), ("word", "<u8")]
)

MOST_DRAINED: Final = 1 << 17
"""Slots that are taken out of a ring at once, at most: 2 MiB."""

PIECE: Final = 1 << 13
"""Slots that are worked on before the next are: with what they become they fit the cache of one processor."""


@dataclass(frozen=True, slots=True, eq=False)
class RingSlots:
    """Slots as they came out of the ring, the first of which was the ``position``-th that was ever written.

    ``stamps`` are pairs of u64, ascending: slots from this position on were written at this time
    (CLOCK_MONOTONIC, nanoseconds) or later. There are none for an engine that tells times itself.
    """

    slots: npt.NDArray[np.void]
    position: int = 0
    stamps: bytes = b""

    def __len__(self) -> int:
        return len(self.slots)


RingItem = RingSlots


@dataclass(frozen=True, slots=True)
class RingDefinition:
    """A definition: ``what`` is one of ``slots.DEF_*``, ``number`` what it is about.

    Call path nodes (``slots.DEF_CODE_NODE``) come together: ``payload`` is that of ``number`` of them.
    """

    what: int
    number: int
    thread: int
    payload: bytes


@dataclass(frozen=True, slots=True, eq=False)
class RingTypes:
    """Types of blocks that are alive, one row a block."""

    alloc_seq: npt.NDArray[np.int64]
    type_id: npt.NDArray[np.int32]


class RingReader:
    """Drains a ring: the one of ``file``, or one of its own. ``path`` is where the target opens it."""

    def __init__(
        self,
        file: RingFile | None = None,
        *,
        max_frames: int = 0,
        sync_interval_ns: int = 0,
        capacity: int = DEFAULT_CAPACITY,
    ) -> None:
        self._file = file or RingFile(
            max_frames=max_frames, sync_interval_ns=sync_interval_ns, capacity=capacity
        )
        self.path = self._file.path
        self._capacity = self._file.capacity
        self._words = self._file.words
        # As pairs of numbers: numpy copies records one by one.
        words = np.frombuffer(self._file.memory, np.uint64, 2 * self._capacity, slots.HEADER_BYTES)
        self._slots = words.reshape(-1, 2)
        self._drained = 0
        self._taken = np.zeros((MOST_DRAINED, 2), np.uint64)

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
        self._file.stop_target()

    def start_stamps(self) -> None:
        """From now on :meth:`drain` also tells when which slot was written (see :class:`RingFile`)."""
        self._file.start_stamps()

    def drain(self, most: int = MOST_DRAINED) -> list[RingSlots]:
        """Take up to ``most`` slots out of the ring; empty when there was nothing new.

        What was taken is valid until the next call: new memory each time would have to be cleared each time.
        """
        count = min(self.backlog, most, MOST_DRAINED, self._capacity)
        if count <= 0:
            return []
        position = self._drained
        start = position % self._capacity
        before_wrap = min(count, self._capacity - start)
        taken = self._taken[:count]
        taken[:before_wrap] = self._slots[start : start + before_wrap]
        taken[before_wrap:] = self._slots[: count - before_wrap]
        stamps = self._take_stamps(position + count)
        self._drained += count
        self._words[slots.WORD_DRAINED] = self._drained
        found = taken.view(SLOT_TYPE).reshape(-1)
        return [
            RingSlots(found[at : at + PIECE], position + at, b"" if at else stamps)
            for at in range(0, count, PIECE)
        ]

    def _take_stamps(self, written: int) -> bytes:
        if self._file.stamps is not None:
            return self._file.stamps.take()
        return struct.pack("<QQ", written, time.monotonic_ns()) if self._file.stamped else b""

    def settle(self) -> None:
        """The target is at its end, and writes no more than it was about to: give back what was taken."""
        self._file.settle(self._drained)

    def close(self) -> None:
        """Give the memory back (it stays with the target as long as that has it mapped)."""
        del self._slots
        self._file.close()


def definition_at(taken: npt.NDArray[np.void], at: int) -> tuple[RingDefinition, int] | None:
    """The definition that begins at this slot and how many slots it takes; None when it is not all there."""
    head = taken[at]
    size = int(head["node"])
    count = 1 - (-size // slots.SLOT_BYTES)
    if at + count > len(taken):
        return None
    payload = taken[at + 1 : at + count].tobytes()[:size]
    return RingDefinition(int(head["flags"]), int(head["word"]), int(head["thread"]), payload), count
