"""Makes the ring: memory of the kernel that the collector and one target share.

Apart from the reader in :mod:`tracekit.record.decode`, and on the standard library alone, so that the target
can be started before the collector has loaded what it needs to read.
"""

from __future__ import annotations

import contextlib
import mmap
import os

from tracekit.record import slots

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from tracekit._native._kernels import Stamps
try:
    from tracekit._native import _kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]

__all__ = ["DEFAULT_CAPACITY", "STAMP_INTERVAL_NS", "RingFile", "kernels"]

DEFAULT_CAPACITY: Final = 1 << 20
"""Slots of a ring: 16 MiB."""
STAMP_INTERVAL_NS: Final = 500_000
KEPT_BYTES: Final = 1 << 16
"""Room for the slots of threads that were about to write when the target ended: a thread has at most two."""


class RingFile:
    """A ring that is ready for a target, which opens it at ``path`` (or gets ``descriptor`` passed)."""

    def __init__(self, *, max_frames: int, sync_interval_ns: int, capacity: int = DEFAULT_CAPACITY) -> None:
        self.capacity = capacity
        self.stamped = False
        self.stamps: Stamps | None = None
        self.descriptor, self.path, self._unlink = _shared_file()
        os.ftruncate(self.descriptor, slots.HEADER_BYTES + capacity * slots.SLOT_BYTES)
        self.memory = mmap.mmap(self.descriptor, 0)
        self.words = memoryview(self.memory)[: slots.HEADER_BYTES].cast("Q")
        self.words[slots.WORD_CAPACITY] = capacity
        self.words[slots.WORD_COLLECTOR_PID] = os.getpid()
        self.words[slots.WORD_MAX_FRAMES] = max_frames
        self.words[slots.WORD_SYNC_INTERVAL] = sync_interval_ns
        self.words[slots.WORD_MAGIC] = slots.RING_MAGIC

    @property
    def state(self) -> int:
        """How far the target is: one of ``slots.STATE_*``."""
        return int(self.words[slots.WORD_STATE])

    @property
    def touched_bytes(self) -> int:
        """What of it has been written so far, and so is resident memory of the program besides its own."""
        written = min(int(self.words[slots.WORD_WRITTEN]), self.capacity)
        return slots.HEADER_BYTES + written * slots.SLOT_BYTES

    def start_stamps(self) -> None:
        """From now on note when which slot was written (within about half a millisecond).

        Without the compiled kernels the only such times are those at which the ring is drained.
        """
        self.stamped = True
        if kernels is not None:
            self.stamps = kernels.Stamps(self.memory, slots.WORD_WRITTEN, STAMP_INTERVAL_NS)

    def tell(self, outcome: int) -> None:
        """Tell the target what became of its log: one of ``slots.OUTCOME_*``, with an errno value above."""
        self.words[slots.WORD_OUTCOME] = outcome

    def stop_target(self) -> None:
        """Tell the target that nobody reads any more: it goes on unrecorded."""
        self.words[slots.WORD_CLOSED] = 1

    def settle(self, drained: int) -> None:
        """Take no more stamps, and give pages back, all but those of the slots after the ``drained`` ones.

        Freeing 16 MiB takes some milliseconds, and whoever waits for the recorder would wait for that, too.
        """
        if self.stamps is not None:
            self.stamps.stop()
        if not hasattr(mmap, "MADV_REMOVE"):
            return
        whole = self.capacity * slots.SLOT_BYTES // mmap.PAGESIZE * mmap.PAGESIZE
        begin = (drained % self.capacity) * slots.SLOT_BYTES // mmap.PAGESIZE * mmap.PAGESIZE
        ranges = [(begin + KEPT_BYTES, whole), (max(0, begin + KEPT_BYTES - whole), begin)]
        with contextlib.suppress(OSError):  # they go with the ring
            for start, stop in ranges:
                if start < stop:
                    self.memory.madvise(mmap.MADV_REMOVE, slots.HEADER_BYTES + start, stop - start)

    def close(self) -> None:
        """Give the memory back (it stays with the target as long as that has it mapped)."""
        if self.stamps is not None:
            self.stamps.stop()
        self.words.release()
        self.memory.close()
        os.close(self.descriptor)
        if self._unlink:
            os.unlink(self.path)


def _shared_file() -> tuple[int, str, bool]:
    """(descriptor, path for the target, whether the path must be unlinked) of a file in memory."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("tracekit-ring", os.MFD_CLOEXEC)
        return descriptor, f"/proc/{os.getpid()}/fd/{descriptor}", False
    import tempfile  # noqa: PLC0415 - for systems without memfd_create

    descriptor, path = tempfile.mkstemp(prefix="tracekit-ring-")
    return descriptor, path, True
