"""The target's end of the ring: shared memory that belongs to the kernel, so that a crash loses nothing.

The target only ever writes; when the ring is full it waits for the collector, and when the collector is gone
or says so, it stops recording.
"""

from __future__ import annotations

import mmap
import os
import sys
import time

from tracekit.record.slots import (
    DEFINE,
    HEADER_BYTES,
    MAX_PAYLOAD,
    RING_MAGIC,
    SLOT,
    SLOT_BYTES,
    STATE_ATTACHED,
    WORD_CAPACITY,
    WORD_CLOSED,
    WORD_COLLECTOR_PID,
    WORD_DRAINED,
    WORD_MAGIC,
    WORD_MAX_FRAMES,
    WORD_STATE,
    WORD_SYNC_INTERVAL,
    WORD_TARGET_PID,
    WORD_WRITTEN,
)

_HIGH_DESCRIPTOR = 200
"""Below the lowest limit of open files in use (256)."""


class RingClosed(Exception):  # noqa: N818
    """The collector is gone or has closed the ring: recording is over, the program goes on."""


class RingWriter:
    """Appends slots to the ring at ``path``. Raises OSError or ValueError when that is not a ring."""

    def __init__(self, path: str) -> None:
        self._memory = _map(path)
        self._view = memoryview(self._memory)
        self._words = self._view[:HEADER_BYTES].cast("Q")
        if self._words[WORD_MAGIC] != RING_MAGIC:
            raise ValueError("not a ring")
        self._capacity: int = self._words[WORD_CAPACITY]
        self._slots = self._view[HEADER_BYTES : HEADER_BYTES + self._capacity * SLOT_BYTES]
        self._written: int = self._words[WORD_WRITTEN]
        self._collector: int = self._words[WORD_COLLECTOR_PID]
        self.max_frames: int = self._words[WORD_MAX_FRAMES]
        self.sync_interval_ns: int = self._words[WORD_SYNC_INTERVAL]
        self._words[WORD_TARGET_PID] = os.getpid()
        self.set_state(STATE_ATTACHED)

    def set_state(self, state: int) -> None:
        """Tell the collector how far the target is (``STATE_*``)."""
        self._words[WORD_STATE] = state

    @property
    def closed(self) -> bool:
        """True when nobody reads any more: the collector said so, or is no longer our parent."""
        return bool(self._words[WORD_CLOSED]) or os.getppid() != self._collector

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append whole slots, waiting while the ring is full. Raises RingClosed when nobody reads it."""
        at, total = 0, len(data)
        while at < total:
            space = self._capacity - (self._written - self._words[WORD_DRAINED])
            if space == 0:
                if self.closed:
                    raise RingClosed
                time.sleep(0.0005)
                continue
            start = self._written % self._capacity
            count = min(space, self._capacity - start, (total - at) // SLOT_BYTES)
            stop = at + count * SLOT_BYTES
            self._slots[start * SLOT_BYTES : (start + count) * SLOT_BYTES] = data[at:stop]
            at = stop
            self._written += count
            # One aligned 8-byte store after the slots: the collector never sees a slot half written.
            self._words[WORD_WRITTEN] = self._written

    def define(self, what: int, number: int, payload: bytes, thread: int = 0) -> None:
        """Append a definition. A payload beyond ``MAX_PAYLOAD`` bytes is the caller's mistake."""
        self.write(pack_definition(what, number, payload, thread))


def _map(path: str) -> mmap.mmap:
    """Map a file without taking a low file number away from the program."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    if sys.version_info >= (3, 13):
        try:
            return mmap.mmap(descriptor, 0, trackfd=False)
        finally:
            os.close(descriptor)
    # Before 3.13 mmap keeps a duplicate of the descriptor, with the lowest number that is free.
    low = [descriptor]
    try:
        while low[-1] < _HIGH_DESCRIPTOR:
            low.append(os.dup(descriptor))
        return mmap.mmap(descriptor, 0)
    finally:
        for number in low:
            os.close(number)


def pack_definition(what: int, number: int, payload: bytes, thread: int = 0) -> bytes:
    """The slots of one definition."""
    if len(payload) > MAX_PAYLOAD:
        raise ValueError("definition too long")
    padding = -len(payload) % SLOT_BYTES
    return SLOT.pack(DEFINE, what, thread, len(payload), number) + payload + bytes(padding)
