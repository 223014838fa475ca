"""A model of pymalloc, to be read beside Objects/obmalloc.c of CPython 3.11 to 3.13.

Functions and fields have the names of that file, and the order in which pools and arenas are chosen is its
order. Two things are left out because no count depends on them: which block of a pool is handed out (a pool
is a number of used blocks), and the radix tree that finds an arena by address (a block knows its pool).
"""

from __future__ import annotations

from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.system import AddressSpace


class Pool:
    """``struct pool_header``: a pool of blocks of one size class, or the head of a ``usedpools`` list.

    ``count`` blocks of ``capacity`` are in use. A pool that is neither empty nor full is linked into the
    circular list of its size class; a head is linked to itself when its list is empty.
    """

    __slots__ = ("arena", "capacity", "count", "nextpool", "prevpool", "szidx")

    def __init__(self, arena: Arena | None = None) -> None:
        self.arena = arena
        self.szidx = -1
        self.count = 0
        self.capacity = 0
        self.nextpool = self
        self.prevpool = self


class Arena:
    """``struct arena_object``: pools given back in ``freepools``, the rest not carved off yet.

    ``nfreepools`` counts both kinds. The arena is linked into ``usable_arenas`` while it is above 0.
    """

    __slots__ = ("freepools", "nextarena", "nfreepools", "ntotalpools", "prevarena")

    def __init__(self, pools: int) -> None:
        self.freepools: list[Pool] = []
        self.nfreepools = pools
        self.ntotalpools = pools
        self.nextarena: Arena | None = None
        self.prevarena: Arena | None = None


class PyMalloc:
    """The allocator for requests of 1 to ``small_request_threshold`` bytes.

    ``usable_arenas`` is the head of the list of arenas with free pools, in increasing order of
    ``nfreepools``; ``nfp2lasta[n]`` is the last arena of that list with ``n`` free pools.
    """

    __slots__ = (
        "_capacities",
        "memory",
        "narenas_currently_allocated",
        "narenas_highwater",
        "nfp2lasta",
        "ntimes_arena_allocated",
        "parameters",
        "usable_arenas",
        "usedpools",
    )

    def __init__(self, parameters: PyMallocParameters, memory: AddressSpace) -> None:
        self.parameters = parameters
        self.memory = memory
        self._capacities = [parameters.pool_capacity(index) for index in range(parameters.size_classes)]
        self.usedpools = [Pool() for _ in self._capacities]
        self.usable_arenas: Arena | None = None
        self.nfp2lasta: list[Arena | None] = [None] * (parameters.pools_per_arena + 1)
        self.narenas_currently_allocated = 0
        self.ntimes_arena_allocated = 0
        self.narenas_highwater = 0

    def allocate(self, szidx: int) -> Pool:
        """``pymalloc_alloc``: one block of a size class; the pool it is from is needed to free it.

        Raises LimitReachedError, with nothing changed, when it takes an arena and none can be had.
        """
        head = self.usedpools[szidx]
        pool = head.nextpool
        if pool is head:
            return self._allocate_from_new_pool(szidx)
        pool.count += 1
        if pool.count == pool.capacity:
            # pymalloc_pool_extend: the pool is full, unlink it. It is the first of its list.
            after = pool.nextpool
            after.prevpool = head
            head.nextpool = after
        return pool

    def free(self, pool: Pool) -> None:
        """``pymalloc_free``: give back one block of ``pool``."""
        count = pool.count
        pool.count = count - 1
        if count == pool.capacity:
            # The pool was full and in no list: link it to the front of the list of its size class.
            head = self.usedpools[pool.szidx]
            first = head.nextpool
            pool.nextpool = first
            pool.prevpool = head
            first.prevpool = pool
            head.nextpool = pool
        elif count == 1:
            self._insert_to_freepool(pool)

    def _new_arena(self) -> Arena:
        """``new_arena``: obtain an arena from the kernel."""
        self.memory.obtain(self.parameters.arena_size)
        self.ntimes_arena_allocated += 1
        self.narenas_currently_allocated += 1
        self.narenas_highwater = max(self.narenas_highwater, self.narenas_currently_allocated)
        return Arena(self.parameters.pools_per_arena)

    def _allocate_from_new_pool(self, szidx: int) -> Pool:
        """``allocate_from_new_pool``: no pool of this size class has room, so take a free one."""
        arena = self.usable_arenas
        if arena is None:
            arena = self.usable_arenas = self._new_arena()
            self.nfp2lasta[arena.nfreepools] = arena
        # This arena had the smallest nfreepools already, so the list stays sorted.
        free = arena.nfreepools
        if self.nfp2lasta[free] is arena:
            self.nfp2lasta[free] = None
        if free > 1:
            self.nfp2lasta[free - 1] = arena
        pool = arena.freepools.pop() if arena.freepools else Pool(arena)
        arena.nfreepools = free - 1
        if free == 1:
            # Wholly allocated: remove.
            self._unlink_arena(arena)
        pool.szidx = szidx
        pool.count = 1
        pool.capacity = self._capacities[szidx]
        # Frontlink to used pools; the list was empty.
        head = self.usedpools[szidx]
        pool.nextpool = pool.prevpool = head
        head.nextpool = head.prevpool = pool
        return pool

    def _insert_to_freepool(self, pool: Pool) -> None:
        """``insert_to_freepool``: the pool is empty, its arena gets it back; cases 1 to 4 are CPython's."""
        pool.nextpool.prevpool = pool.prevpool
        pool.prevpool.nextpool = pool.nextpool
        arena = pool.arena
        assert arena is not None  # noqa: S101 (only the heads of lists have none)
        arena.freepools.append(pool)
        free = arena.nfreepools
        last = self.nfp2lasta[free]
        if last is arena:
            before = arena.prevarena
            rightmost = before if before is not None and before.nfreepools == free else None
            self.nfp2lasta[free] = rightmost
        free += 1
        arena.nfreepools = free
        if free == arena.ntotalpools and arena.nextarena is not None:
            # Case 1: all pools are free. Return the arena, unless it is the last of the list (bpo-37257).
            self._unlink_arena(arena)
            self.narenas_currently_allocated -= 1
            self.memory.give_back(self.parameters.arena_size)
            return
        if self.nfp2lasta[free] is None:
            self.nfp2lasta[free] = arena
        if free == 1:
            # Case 2: it was full and in no list. It becomes the head.
            self._link_arena(arena, None)
        elif last is not arena:
            # Case 3: there are arenas to its right with fewer free pools. Move it behind the last of them.
            self._unlink_arena(arena)
            self._link_arena(arena, last)
        # Case 4: nothing more to do.

    def _unlink_arena(self, arena: Arena) -> None:
        """Take an arena out of ``usable_arenas``."""
        before, after = arena.prevarena, arena.nextarena
        if before is None:
            self.usable_arenas = after
        else:
            before.nextarena = after
        if after is not None:
            after.prevarena = before
        arena.prevarena = arena.nextarena = None

    def _link_arena(self, arena: Arena, before: Arena | None) -> None:
        """Put an arena into ``usable_arenas`` behind ``before``, or at the head for None."""
        after = self.usable_arenas if before is None else before.nextarena
        arena.prevarena, arena.nextarena = before, after
        if before is None:
            self.usable_arenas = arena
        else:
            before.nextarena = arena
        if after is not None:
            after.prevarena = arena
