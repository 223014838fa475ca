"""Memory from the kernel, and the plain ``malloc`` path for what pymalloc does not serve.

The model of malloc is an approximation of glibc's (malloc/malloc.c): sizes of chunks and the choice between
heap and ``mmap`` are exact, the places of chunks in the heap are not modelled (docs/simulator.md).
"""

from __future__ import annotations

SIZE_SZ = 8
MALLOC_ALIGNMENT = 16
MINSIZE = 32
DEFAULT_MMAP_THRESHOLD = 128 * 1024
"""Chunks of this many bytes and more get a mapping of their own (glibc's starting value)."""


class LimitReachedError(Exception):
    """A request to the kernel would have passed the memory limit; nothing was changed."""


class AddressSpace:
    """What the process holds from the kernel, in bytes: arenas, malloc's heap and its mappings.

    ``limit``: most bytes it may hold, None for no limit.
    """

    __slots__ = ("footprint_bytes", "limit", "peak_footprint_bytes")

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.footprint_bytes = 0
        self.peak_footprint_bytes = 0

    def obtain(self, size: int) -> None:
        """Take ``size`` bytes more. Raises LimitReachedError, with nothing changed, if they do not fit."""
        footprint = self.footprint_bytes + size
        if self.limit is not None and footprint > self.limit:
            raise LimitReachedError
        self.footprint_bytes = footprint
        self.peak_footprint_bytes = max(self.peak_footprint_bytes, footprint)

    def give_back(self, size: int) -> None:
        """Return ``size`` bytes."""
        self.footprint_bytes -= size


def round_up(size: int, multiple: int) -> int:
    """``size`` rounded up to a multiple of a power of two."""
    return (size + multiple - 1) & -multiple


def chunk_bytes(size: int) -> int:
    """Bytes of the chunk that serves a request (checked_request2size)."""
    return max(MINSIZE, round_up(size + SIZE_SZ, MALLOC_ALIGNMENT))


class Malloc:
    """glibc's malloc: a heap that grows with ``brk`` and never shrinks, and mappings for large chunks.

    ``heap_bytes``: what the heap holds from the kernel, the high-water mark of ``heap_used_bytes`` rounded
    to pages. ``mapped_bytes``: mappings of large chunks, returned at once when they are freed.
    """

    __slots__ = ("heap_bytes", "heap_used_bytes", "mapped_bytes", "memory", "page_size")

    def __init__(self, memory: AddressSpace, page_size: int) -> None:
        self.memory = memory
        self.page_size = page_size
        self.heap_bytes = 0
        self.heap_used_bytes = 0
        self.mapped_bytes = 0

    def allocate(self, size: int) -> None:
        """Serve a request of ``size`` bytes. Raises LimitReachedError with nothing changed."""
        chunk = chunk_bytes(size)
        if chunk >= DEFAULT_MMAP_THRESHOLD:
            mapping = round_up(chunk + SIZE_SZ, self.page_size)
            self.memory.obtain(mapping)
            self.mapped_bytes += mapping
            return
        used = self.heap_used_bytes + chunk
        if used > self.heap_bytes:
            growth = round_up(used - self.heap_bytes, self.page_size)
            self.memory.obtain(growth)
            self.heap_bytes += growth
        self.heap_used_bytes = used

    def free(self, size: int) -> None:
        """Take back the chunk of a request of ``size`` bytes."""
        chunk = chunk_bytes(size)
        if chunk >= DEFAULT_MMAP_THRESHOLD:
            mapping = round_up(chunk + SIZE_SZ, self.page_size)
            self.memory.give_back(mapping)
            self.mapped_bytes -= mapping
        else:
            self.heap_used_bytes -= chunk
