"""A model of pymalloc, to be read beside Objects/obmalloc.c of CPython 3.11 to 3.13.

Functions and fields have the names of that file, and the order in which arenas, pools and blocks are chosen
is its order. Instead of an address a block has a place: the number of its arena (in the order in which arenas
were obtained) times the size of an arena, and its offset behind the arena's first pool. The radix tree that
finds an arena by address is left out.
"""

from __future__ import annotations

from collections import deque

from tracekit.simulator.older import Layout
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.system import AddressSpace

DUMMY_SIZE_IDX = -1
"""``szidx`` of a pool that never served a size class."""


class Pool:
    """``struct pool_header``: a pool of blocks of one size class, or the head of a ``usedpools`` list.

    ``count`` blocks of it are in use. ``freeblocks`` holds the offsets of free blocks, the one to be used
    next last: it is the list that begins at ``freeblock`` and is empty when the pool is full. The blocks
    from ``nextoffset`` to ``maxnextoffset`` were never used; one of them at a time is put into the list.
    A pool that is neither empty nor full is linked into the circular list of its size class; a head is
    linked to itself when its list is empty.
    """

    __slots__ = (
        "arena",
        "count",
        "freeblocks",
        "maxnextoffset",
        "nextoffset",
        "nextpool",
        "place",
        "prevpool",
        "szidx",
    )

    def __init__(self, arena: Arena | None = None, place: int = 0) -> None:
        self.arena = arena
        self.place = place
        self.szidx = DUMMY_SIZE_IDX
        self.count = 0
        self.freeblocks: list[int] = []
        self.nextoffset = 0
        self.maxnextoffset = 0
        self.nextpool = self
        self.prevpool = self


class Arena:
    """``struct arena_object``: pools given back in ``freepools``, the rest not carved off yet.

    ``pools`` are those that were carved off, by their number. ``nfreepools`` counts both kinds of free
    pools. The arena is linked into ``usable_arenas`` while it is above 0.
    """

    __slots__ = (
        "freepools",
        "nextarena",
        "nfreepools",
        "ntotalpools",
        "number",
        "pools",
        "prevarena",
    )

    def __init__(self, number: int, pools: int) -> None:
        self.number = number
        self.pools: list[Pool] = []
        self.freepools: list[Pool] = []
        self.nfreepools = pools
        self.ntotalpools = pools
        self.nextarena: Arena | None = None
        self.prevarena: Arena | None = None


class PyMalloc:
    """The allocator for requests of 1 to ``small_request_threshold`` bytes.

    ``arenas``: those held now, by number. ``usable_arenas`` is the head of the list of arenas with free
    pools, in increasing order of ``nfreepools``; ``nfp2lasta[n]`` is the last arena of that list with ``n``
    free pools. ``memory`` is told of arenas obtained and given back, but not of those there at the start.

    ``now`` is the number of the event that is served, for ``spans`` (of each arena obtained: when, and when
    it was given back, else -1) and ``highwater_at``. ``recent_highwater``: most arenas since that was set.
    ``later_ntotalpools``: pools of the arenas to be obtained next; all behind have ``pools_per_arena``.
    """

    __slots__ = (
        "arenas",
        "highwater_at",
        "later_ntotalpools",
        "memory",
        "narenas_currently_allocated",
        "narenas_highwater",
        "nfp2lasta",
        "now",
        "ntimes_arena_allocated",
        "parameters",
        "recent_highwater",
        "spans",
        "usable_arenas",
        "usedpools",
    )

    def __init__(self, parameters: PyMallocParameters, memory: AddressSpace) -> None:
        self.parameters = parameters
        self.memory = memory
        self.arenas: dict[int, Arena] = {}
        self.usedpools = [Pool() for _ in range(parameters.size_classes)]
        self.usable_arenas: Arena | None = None
        most = max(parameters.pools_per_arena, parameters.arena_size // parameters.pool_size)
        self.nfp2lasta: list[Arena | None] = [None] * (most + 1)
        self.narenas_currently_allocated = 0
        self.ntimes_arena_allocated = 0
        self.narenas_highwater = 0
        self.now = self.highwater_at = -1
        self.recent_highwater = 0
        self.spans: dict[int, tuple[int, int]] = {}
        self.later_ntotalpools: deque[int] = deque()

    # -- allocation ------------------------------------------------------------------------------------------

    def allocate(self, szidx: int) -> int:
        """``pymalloc_alloc``: one block of a size class; its place.

        Raises LimitReachedError, with nothing changed, when it takes an arena and none can be had.
        """
        head = self.usedpools[szidx]
        pool = head.nextpool
        if pool is head:
            return self._allocate_from_new_pool(szidx)
        pool.count += 1
        offset = pool.freeblocks.pop()
        if not pool.freeblocks:
            self._pool_extend(pool)
        return pool.place + offset

    def _pool_extend(self, pool: Pool) -> None:
        """``pymalloc_pool_extend``: the last free block of the first pool of its list was taken."""
        if pool.nextoffset <= pool.maxnextoffset:
            # There is room for another block.
            pool.freeblocks.append(pool.nextoffset)
            pool.nextoffset += self.parameters.block_bytes(pool.szidx)
            return
        # Pool is full, unlink from used pools.
        after = pool.nextpool
        before = pool.prevpool
        after.prevpool = before
        before.nextpool = after

    def _allocate_from_new_pool(self, szidx: int) -> int:
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
        pool = arena.freepools.pop() if arena.freepools else self._carve(arena)
        arena.nfreepools = free - 1
        if free == 1:
            # Wholly allocated: remove.
            self._unlink_arena(arena)
        # Frontlink to used pools; the list was empty.
        head = self.usedpools[szidx]
        pool.nextpool = pool.prevpool = head
        head.nextpool = head.prevpool = pool
        pool.count = 1
        if pool.szidx == szidx:
            # It last served the same size class: its free list is as it was left.
            return pool.place + pool.freeblocks.pop()
        # Initialize the pool header, set up the free list to contain just the second block.
        size = self.parameters.block_bytes(szidx)
        offset = self.parameters.pool_overhead
        pool.szidx = szidx
        pool.nextoffset = offset + 2 * size
        pool.maxnextoffset = self.parameters.pool_size - size
        pool.freeblocks = [offset + size]
        return pool.place + offset

    def _new_arena(self) -> Arena:
        """``new_arena``: obtain an arena from the kernel."""
        self.memory.obtain(self.parameters.arena_size)
        told = self.later_ntotalpools
        arena = self._add_arena(told.popleft() if told else self.parameters.pools_per_arena)
        self.spans[arena.number] = (self.now, -1)
        return arena

    def _add_arena(self, pools: int) -> Arena:
        arena = Arena(self.ntimes_arena_allocated, pools)
        self.arenas[arena.number] = arena
        self.ntimes_arena_allocated += 1
        self.narenas_currently_allocated += 1
        held = self.narenas_currently_allocated
        self.recent_highwater = max(self.recent_highwater, held)
        if held > self.narenas_highwater:
            self.narenas_highwater, self.highwater_at = held, self.now
        return arena

    def _carve(self, arena: Arena) -> Pool:
        """Carve off a new pool: ``pool_address`` of the arena moves on."""
        sizes = self.parameters
        pool = Pool(arena, arena.number * sizes.arena_size + len(arena.pools) * sizes.pool_size)
        arena.pools.append(pool)
        return pool

    # -- freeing ---------------------------------------------------------------------------------------------

    def pool_of(self, place: int) -> Pool:
        """``POOL_ADDR``: the pool that a block is in."""
        number, offset = divmod(place, self.parameters.arena_size)
        return self.arenas[number].pools[offset // self.parameters.pool_size]

    def free(self, place: int) -> None:
        """``pymalloc_free``: give back the block at a place."""
        pool = self.pool_of(place)
        was_full = not pool.freeblocks
        pool.freeblocks.append(place - pool.place)
        pool.count -= 1
        if was_full:
            self._insert_to_usedpool(pool)
        elif pool.count == 0:
            self._insert_to_freepool(pool)

    def _insert_to_usedpool(self, pool: Pool) -> None:
        """``insert_to_usedpool``: it was full and in no list, so it goes to the front of its class's."""
        head = self.usedpools[pool.szidx]
        after = head.nextpool
        pool.nextpool, pool.prevpool = after, head
        after.prevpool = head.nextpool = pool

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
            self._free_arena(arena)
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

    def _free_arena(self, arena: Arena) -> None:
        """Give an arena back to the kernel."""
        del self.arenas[arena.number]
        self.narenas_currently_allocated -= 1
        self.memory.give_back(self.parameters.arena_size)
        if arena.number in self.spans:
            self.spans[arena.number] = (self.spans[arena.number][0], self.now)

    # -- the list of usable arenas ---------------------------------------------------------------------------

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

    # -- the start -------------------------------------------------------------------------------------------

    def begin_with(self, layout: Layout) -> list[int]:
        """Start with older arenas and blocks; the places of the blocks. For a fresh allocator, once.

        The lists of pools with room are in the order of the layout. What it does not tell is supposed: free
        blocks and free pools are used from the lowest address on, and arenas with as many free pools stand
        in order of address.
        """
        self.later_ntotalpools.extend(layout.later_ntotalpools.tolist())
        arenas = [self._add_arena(pools) for pools in layout.ntotalpools.tolist()]
        for arena in arenas:
            for _ in range(arena.ntotalpools):
                self._carve(arena)
        columns = (layout.pool_arena, layout.pool_number, layout.pool_szidx)
        pools = []
        for number, pool_number, szidx in zip(*(column.tolist() for column in columns), strict=True):
            pools.append(arenas[number].pools[pool_number])
            pools[-1].szidx = szidx
        used: list[list[int]] = [[] for _ in pools]
        places = []
        for at, index in zip(layout.block_pool.tolist(), layout.block_index.tolist(), strict=True):
            block_bytes = self.parameters.block_bytes(pools[at].szidx)
            used[at].append(self.parameters.pool_overhead + index * block_bytes)
            places.append(pools[at].place + used[at][-1])
        for pool, offsets in zip(pools, used, strict=True):
            self._occupy(pool, set(offsets))
        for pool in reversed(pools):
            if pool.freeblocks:
                self._insert_to_usedpool(pool)
        for arena in arenas:
            arena.freepools = [pool for pool in reversed(arena.pools) if pool.szidx == DUMMY_SIZE_IDX]
            arena.nfreepools = len(arena.freepools)
        usable = [arena for arena in arenas if arena.nfreepools]
        for arena in sorted(usable, key=lambda one: (one.nfreepools, one.number), reverse=True):
            self._link_arena(arena, None)
            if self.nfp2lasta[arena.nfreepools] is None:
                self.nfp2lasta[arena.nfreepools] = arena
        return places

    def _occupy(self, pool: Pool, used: set[int]) -> None:
        """An older pool: the blocks at the offsets ``used`` are in use, all others are in its list."""
        size = self.parameters.block_bytes(pool.szidx)
        pool.count = len(used)
        pool.maxnextoffset = self.parameters.pool_size - size
        pool.nextoffset = pool.maxnextoffset + size
        offsets = range(self.parameters.pool_overhead, pool.maxnextoffset + 1, size)
        pool.freeblocks = [offset for offset in reversed(offsets) if offset not in used]
