"""The target's end of the ring: shared memory that belongs to the kernel, so that a crash loses nothing.

The target only ever writes; when the ring is full it waits for the collector, and when the collector is gone
or says so, it stops recording. The collector is the target's parent (``tracekit record PROGRAM``) or another
process (for a followed child, or of ``with tracekit.record(...)``).
"""

from __future__ import annotations

import mmap
import os
import sys
import time

from tracekit.record.layouts import SLOT
from tracekit.record.slots import (
    DEFINE,
    HEADER_BYTES,
    MAX_PAYLOAD,
    RING_MAGIC,
    SLOT_BYTES,
    STATE_ATTACHED,
    WORD_CAPACITY,
    WORD_CLOSED,
    WORD_COLLECTOR_PID,
    WORD_DRAINED,
    WORD_MAGIC,
    WORD_MAX_FRAMES,
    WORD_OUTCOME,
    WORD_STATE,
    WORD_SYNC_INTERVAL,
    WORD_TARGET_PID,
    WORD_WRITTEN,
)

_HIGH_DESCRIPTOR = 200
"""Below the lowest limit of open files in use (256)."""


LOOK_SECONDS = 0.1


def process_gone(pid: int) -> bool:
    """Whether there is no such process, or only a zombie of it (proc_pid_stat(5))."""
    try:
        descriptor = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    try:
        facts = os.read(descriptor, 512)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return facts.rpartition(b")")[2].split()[:1] in ([b"Z"], [b"X"])


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
        self._was_child = os.getppid() == self._collector
        self._gone = False
        self._next_look = 0.0
        self._words[WORD_TARGET_PID] = os.getpid()
        self.set_state(STATE_ATTACHED)

    def set_state(self, state: int) -> None:
        """Tell the collector how far the target is (``STATE_*``)."""
        self._words[WORD_STATE] = state

    @property
    def closed(self) -> bool:
        """True when nobody reads any more: the collector said so, or is gone (known within LOOK_SECONDS)."""
        if self._words[WORD_CLOSED]:
            return True
        if os.getppid() == self._collector:
            return False
        if self._was_child:
            return True
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + LOOK_SECONDS
            self._gone = process_gone(self._collector)
        return self._gone

    @property
    def outcome(self) -> int:
        """What the collector said last of the log: one of ``OUTCOME_*``, an errno value from bit 8 on."""
        return int(self._words[WORD_OUTCOME])

    def close(self) -> None:
        """Give the memory back; nothing can be written after this."""
        self._words.release()
        self._slots.release()
        self._view.release()
        self._memory.close()

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
