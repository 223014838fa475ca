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

    ``limit``: most bytes it may hold, None for no limit. ``held``: what it holds at the start.
    """

    __slots__ = ("footprint_bytes", "limit", "peak_footprint_bytes")

    def __init__(self, limit: int | None = None, held: int = 0) -> None:
        self.limit = limit
        self.footprint_bytes = held
        self.peak_footprint_bytes = held

    def obtain(self, size: int) -> None:
        """Take ``size`` bytes more (less, if below 0).

        Raises LimitReachedError, with nothing changed, if they do not fit.
        """
        footprint = self.footprint_bytes + size
        if self.limit is not None and size > 0 and footprint > self.limit:
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


def is_mapped(chunk: int) -> bool:
    """Whether a chunk of so many bytes gets a mapping of its own (sysmalloc)."""
    return chunk >= DEFAULT_MMAP_THRESHOLD


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
        if is_mapped(chunk):
            mapping = self._mapping_bytes(chunk)
            self.memory.obtain(mapping)
            self.mapped_bytes += mapping
        else:
            self._use(chunk)

    def free(self, size: int) -> None:
        """Take back the chunk of a request of ``size`` bytes."""
        chunk = chunk_bytes(size)
        if is_mapped(chunk):
            mapping = self._mapping_bytes(chunk)
            self.memory.give_back(mapping)
            self.mapped_bytes -= mapping
        else:
            self.heap_used_bytes -= chunk

    def reallocate(self, old_size: int, size: int) -> None:
        """``__libc_realloc``. Raises LimitReachedError with nothing changed.

        A mapping that stays one is moved (``mremap``), a chunk of the heap that stays in it is taken to
        grow or shrink where it is; otherwise the new one is there before the old one goes.
        """
        old_chunk, chunk = chunk_bytes(old_size), chunk_bytes(size)
        if is_mapped(old_chunk) != is_mapped(chunk):
            self.allocate(size)
            self.free(old_size)
        elif is_mapped(chunk):
            growth = self._mapping_bytes(chunk) - self._mapping_bytes(old_chunk)
            self.memory.obtain(growth)
            self.mapped_bytes += growth
        else:
            self._use(chunk - old_chunk)

    def _mapping_bytes(self, chunk: int) -> int:
        return round_up(chunk + SIZE_SZ, self.page_size)

    def _use(self, growth: int) -> None:
        """The chunks of the heap take ``growth`` bytes more (less, if it is below 0)."""
        used = self.heap_used_bytes + growth
        if used > self.heap_bytes:
            pages = round_up(used - self.heap_bytes, self.page_size)
            self.memory.obtain(pages)
            self.heap_bytes += pages
        self.heap_used_bytes = used
