"""Where the blocks of a moment lie: in which arena and pool of pymalloc, and how full those are.

Names are those of Objects/obmalloc.c: an arena is taken from the system and cut into pools, a pool belongs to
one size class while one of its blocks is in use. All is computed on columns; there is no step a block.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracekit.events import MOST_POOL_BYTES, Header

POOL_HEADER_BYTES = 48
"""POOL_OVERHEAD: struct pool_header, rounded up to the alignment (64 bits)."""

_DEBUG_ALLOCATORS = ("debug", "pymalloc_debug")
_DEBUG_BEFORE, _DEBUG_BYTES = 16, 24
"""What a debug hook puts before a block, and adds to a request in all (``_PyMem_DebugRawAlloc``)."""

_MOST_POOLS_IN_ARENA = 1 << 12

Integers = npt.NDArray[np.int64]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Sizes:
    """What pymalloc was built with, in bytes; ``shift`` and ``extra`` are what a debug hook adds."""

    arena: int
    pool: int
    alignment: int
    threshold: int
    shift: int = 0
    extra: int = 0

    @property
    def sound(self) -> bool:
        """Whether they can be those of an allocator: a log may claim anything."""
        return (
            0 < self.alignment <= self.threshold < self.pool <= MOST_POOL_BYTES
            and self.threshold % self.alignment == 0
            and self.pool <= self.arena <= self.pool * _MOST_POOLS_IN_ARENA
        )


def sizes_of(header: Header) -> Sizes:
    """The sizes that a recording's header states."""
    told = header.allocator
    debug = told.name in _DEBUG_ALLOCATORS
    return Sizes(
        told.arena_size,
        told.pool_size,
        told.alignment,
        told.small_request_threshold,
        _DEBUG_BEFORE if debug else 0,
        _DEBUG_BYTES if debug else 0,
    )


@dataclass(frozen=True, slots=True)
class Layout:
    """Blocks in arenas. ``arena_of`` and ``pool_of`` are of the blocks ``inside``, in their order.

    A pool has the number ``arena * slots + place in the arena``; ``slots`` is what an arena can hold, and
    ``pools_in`` what each has room for: one less when it does not begin at a multiple of the pool size. Of
    each pool: the bytes of its size class (0: it is free), its blocks, and the bytes that were asked for (of
    older blocks: those of the class).
    """

    sizes: Sizes
    slots: int
    pools_in: Integers
    inside: Flags
    arena_of: Integers
    pool_of: Integers
    pool_class: Integers
    pool_blocks: Integers
    pool_bytes: Integers

    @property
    def pool_capacity(self) -> Integers:
        """Blocks that each pool has room for; 0 for a free one."""
        room = self.sizes.pool - POOL_HEADER_BYTES
        return np.where(self.pool_class > 0, room // np.maximum(self.pool_class, 1), 0)

    def by_arena(self, of_pools: Integers) -> Integers:
        """Sums over the pools of each arena."""
        sums: Integers = of_pools.reshape(-1, self.slots).sum(axis=1)
        return sums


def lay_out(sizes: Sizes, arenas: Integers, address: Integers, size: Integers, known: Integers) -> Layout:
    """Put blocks into ``arenas`` (their addresses, in order).

    ``address`` and ``size`` are pymalloc's own, and ``known`` the class of a block or 0. A block is inside if
    its address is, whatever its size: after a realloc a small block can be in malloc's hands.
    """
    first = -(-arenas // sizes.pool) * sizes.pool
    pools_in = np.maximum((arenas + sizes.arena - first) // sizes.pool, 0)
    slots = sizes.arena // sizes.pool
    arena_of = np.searchsorted(arenas, address, side="right") - 1
    inside = (arena_of >= 0) & (size <= sizes.threshold)
    if len(arenas):
        place, rest = np.divmod(address - first[arena_of], sizes.pool)
        inside &= (place >= 0) & (place < pools_in[arena_of]) & (rest >= POOL_HEADER_BYTES)
    else:
        place = rest = address
    arena_of, place, offset = arena_of[inside], place[inside], rest[inside] - POOL_HEADER_BYTES
    pool_of = arena_of * slots + place
    count = len(arenas) * slots
    told = np.zeros(count, np.int64)
    np.maximum.at(told, pool_of, known[inside])
    classes = _classes(sizes, told, pool_of, offset, size[inside])
    return Layout(
        sizes,
        slots,
        pools_in,
        inside,
        arena_of,
        pool_of,
        classes,
        np.bincount(pool_of, minlength=count),
        sums(pool_of, size[inside], count),
    )


def sums(index: Integers, values: Integers, count: int) -> Integers:
    """``values`` added up by ``index``, which is below ``count``; exact up to 2**53."""
    return np.bincount(index, weights=values, minlength=count).astype(np.int64)


def _classes(sizes: Sizes, told: Integers, pool_of: Integers, offset: Integers, size: Integers) -> Integers:
    """The size class of each pool in bytes, 0 for a free one.

    What is ``told`` of a pool; else the smallest class that every block of it fits into and that divides the
    place of every block. A realloc leaves a block in its class that shrinks by less than a quarter, so that
    its size may say less.
    """
    least = np.zeros_like(told)
    np.maximum.at(least, pool_of, np.maximum(size, 1))
    least = -(-least // sizes.alignment) * sizes.alignment
    classes = np.where(told > 0, told, least)
    pool, place = pool_of, offset
    while True:
        wrong = np.zeros(len(told), np.bool_)
        wrong[pool[place % classes[pool] != 0]] = True
        wrong &= told == 0
        classes[wrong] += sizes.alignment
        beyond = wrong & (classes > sizes.threshold)  # not pymalloc's way of doing it: the size alone counts
        classes[beyond] = least[beyond]
        wrong &= ~beyond
        if not wrong.any():
            return classes
        mine = wrong[pool]
        pool, place = pool[mine], place[mine]
