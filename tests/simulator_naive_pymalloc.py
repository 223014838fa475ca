"""A deliberately naive pymalloc: plain lists and searches instead of links and fingers."""

from __future__ import annotations

from dataclasses import dataclass, field

from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.settings import Older


@dataclass(eq=False)
class NaivePool:
    """Names of blocks by their place in the pool; ``size_class`` None: never used.

    ``given_back``: places of freed blocks, the last one first to be used. From ``untouched`` on none was.
    """

    number: int
    blocks: dict[int, int] = field(default_factory=dict)
    size_class: int | None = None
    given_back: list[int] = field(default_factory=list)
    untouched: int = 0


@dataclass(eq=False)
class NaiveArena:
    """``given_back``: empty pools, the last one first to be used; from ``untouched`` on none was."""

    number: int
    pools: list[NaivePool]
    given_back: list[NaivePool] = field(default_factory=list)
    untouched: int = 0

    @property
    def free(self) -> int:
        return sum(not pool.blocks for pool in self.pools)


class NaivePyMalloc:
    """pymalloc by its description, with plain lists and searches instead of links and fingers.

    ``arenas``: all, oldest first. ``usable``: those with a free pool, fullest first. ``used``: for each size
    class the pools that are neither empty nor full, the one to be used next first.
    """

    def __init__(self, parameters: PyMallocParameters) -> None:
        self.parameters = parameters
        self.arenas: list[NaiveArena] = []
        self.usable: list[NaiveArena] = []
        self.used: dict[int, list[NaivePool]] = {}
        self.ever = 0
        self.later: list[int] = []

    def capacity(self, size_class: int) -> int:
        return (self.parameters.pool_size - 48) // (16 * (size_class + 1))

    def add_arena(self, pools: int) -> NaiveArena:
        self.arenas.append(NaiveArena(self.ever, [NaivePool(number) for number in range(pools)]))
        self.ever += 1
        return self.arenas[-1]

    def first_pool(self, address: int) -> int:
        return -(-address // self.parameters.pool_size) * self.parameters.pool_size

    def pools_at(self, address: int) -> int:
        end = address + self.parameters.arena_size
        return (end - self.first_pool(address)) // self.parameters.pool_size

    def allocate(self, block: int, size_class: int) -> int:
        row = self.used.setdefault(size_class, [])
        if not row:
            if not self.usable:
                address = self.later.pop(0) if self.later else None
                pools = self.parameters.pools_per_arena if address is None else self.pools_at(address)
                self.usable.append(self.add_arena(pools))
            row.append(self._take_pool(self.usable[0], size_class))
            if self.usable[0].free == 1:
                del self.usable[0]
        pool = row[0]
        if pool.given_back:
            place = pool.given_back.pop()
        else:
            place, pool.untouched = pool.untouched, pool.untouched + 1
        pool.blocks[place] = block
        if len(pool.blocks) == self.capacity(size_class):
            del row[0]
        return self.where(block)

    def _take_pool(self, arena: NaiveArena, size_class: int) -> NaivePool:
        if arena.given_back:
            pool = arena.given_back.pop()
        else:
            pool, arena.untouched = arena.pools[arena.untouched], arena.untouched + 1
        if pool.size_class != size_class:
            pool.size_class, pool.given_back, pool.untouched = size_class, [], 0
        return pool

    def find(self, block: int) -> tuple[NaiveArena, NaivePool, int] | None:
        for arena in self.arenas:
            for pool in arena.pools:
                for place, there in pool.blocks.items():
                    if there == block:
                        return arena, pool, place
        return None

    def where(self, block: int) -> int:
        found = self.find(block)
        assert found is not None
        arena, pool, place = found
        assert pool.size_class is not None
        sizes = self.parameters
        at = arena.number * sizes.arena_size + pool.number * sizes.pool_size
        return at + 48 + place * 16 * (pool.size_class + 1)

    def free(self, block: int) -> None:
        found = self.find(block)
        assert found is not None
        arena, pool, place = found
        assert pool.size_class is not None
        row = self.used.setdefault(pool.size_class, [])
        del pool.blocks[place]
        pool.given_back.append(place)
        if pool not in row:
            row.insert(0, pool)
        if pool.blocks:
            return
        row.remove(pool)
        arena.given_back.append(pool)
        is_last = bool(self.usable) and self.usable[-1] is arena
        if arena in self.usable:
            self.usable.remove(arena)
            if arena.free == len(arena.pools) and not is_last:
                self.arenas.remove(arena)
                return
        # Behind all that are fuller, before those that are as full.
        self.usable.insert(sum(other.free < arena.free for other in self.usable), arena)

    def begin_with(self, older: Older) -> dict[int, int]:
        """Older arenas and blocks at their addresses; the name of each block, below 0, by its address."""
        names: dict[int, int] = {}
        sizes = self.parameters
        self.later = older.later_arenas.tolist()
        used = older.used_pools.tolist()
        listed: list[tuple[int, int, NaivePool]] = []
        for address in older.arenas.tolist():
            arena = self.add_arena(self.pools_at(address))
            for pool in arena.pools:
                low = self.first_pool(address) + pool.number * sizes.pool_size
                for block, size in zip(older.blocks.tolist(), older.block_bytes.tolist(), strict=True):
                    if low <= block < low + sizes.pool_size:
                        pool.size_class = size // 16 - 1
                        names[block] = -2 - len(names)
                        pool.blocks[(block - low - 48) // size] = names[block]
            in_use = [pool for pool in arena.pools if pool.blocks]
            for pool in in_use:
                assert pool.size_class is not None
                pool.untouched = self.capacity(pool.size_class)
                pool.given_back = [at for at in range(pool.untouched) if at not in pool.blocks][::-1]
                low = self.first_pool(address) + pool.number * sizes.pool_size
                if pool.given_back:
                    listed.append((used.index(low) if low in used else len(used), low, pool))
            arena.given_back = [pool for pool in arena.pools if not pool.blocks][::-1]
            arena.untouched = len(arena.pools)
        for _, _, pool in sorted(listed, key=lambda one: one[:2]):
            self.used.setdefault(pool.size_class or 0, []).append(pool)
        self.usable = sorted((arena for arena in self.arenas if arena.free), key=lambda arena: arena.free)
        return names
