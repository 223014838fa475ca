"""What a CPython version's allocator was built with: one table, and what a trace's header says about it.

Sources: Objects/obmalloc.c (3.11) and Include/internal/pycore_obmalloc.h (3.12, 3.13), 64-bit builds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tracekit.events import Header

DEFAULT_PAGE_BYTES = 4096
"""Page size where a trace does not say it (SYSTEM_PAGE_SIZE of obmalloc.c)."""


@dataclass(frozen=True, slots=True)
class PyMallocParameters:
    """Sizes of pymalloc in bytes; the names are those of obmalloc.c in lower case.

    ``arena_aligned``: whether arenas begin at a multiple of the pool size. CPython asks ``mmap`` for them
    and gets page alignment only; an arena that begins between two multiples loses one pool. False, the
    default, assumes that it does when pools are larger than a page, which is what CPython itself reports
    on Linux ("bytes lost to arena alignment" of ``sys._debugmallocstats``) in three starts out of four.
    """

    arena_size: int = 1 << 20
    pool_size: int = 1 << 14
    pool_overhead: int = 48
    alignment: int = 16
    small_request_threshold: int = 512
    page_size: int = DEFAULT_PAGE_BYTES
    arena_aligned: bool = False

    @property
    def alignment_shift(self) -> int:
        """ALIGNMENT_SHIFT: a size class spans ``1 << alignment_shift`` bytes."""
        return self.alignment.bit_length() - 1

    @property
    def size_classes(self) -> int:
        """NB_SMALL_SIZE_CLASSES."""
        return self.small_request_threshold // self.alignment

    @property
    def pools_per_arena(self) -> int:
        """``ntotalpools`` of a new arena: MAX_POOLS_IN_ARENA, less the one that alignment costs."""
        whole = self.arena_size // self.pool_size
        return whole if self.arena_aligned or self.pool_size <= self.page_size else whole - 1

    def block_bytes(self, size_class: int) -> int:
        """INDEX2SIZE: bytes of one block of a size class."""
        return (size_class + 1) << self.alignment_shift

    def pool_capacity(self, size_class: int) -> int:
        """NUMBLOCKS: blocks of a size class that one pool holds."""
        return (self.pool_size - self.pool_overhead) // self.block_bytes(size_class)


VERSIONS: dict[tuple[int, int], PyMallocParameters] = {
    (3, 11): PyMallocParameters(),
    (3, 12): PyMallocParameters(),
    (3, 13): PyMallocParameters(),
}
"""Parameters of each CPython version whose source the model was held against."""


def version_of(header: Header) -> tuple[int, int]:
    """Major and minor version of the interpreter that was recorded."""
    return header.python.hexversion >> 24, header.python.hexversion >> 16 & 0xFF


def recorded_parameters(header: Header) -> PyMallocParameters:
    """The parameters of the interpreter that was recorded.

    The header's own sizes come first; the table of versions fills in what the header leaves 0 and what it
    does not carry. A version that is not in the table gets the newest one's values.
    """
    base = VERSIONS.get(version_of(header), VERSIONS[max(VERSIONS)])
    told = header.allocator
    return replace(
        base,
        arena_size=told.arena_size or base.arena_size,
        pool_size=told.pool_size or base.pool_size,
        alignment=told.alignment or base.alignment,
        small_request_threshold=told.small_request_threshold or base.small_request_threshold,
        page_size=told.page_size or base.page_size,
    )
