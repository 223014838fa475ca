"""Arenas, pools and what holds them, on blocks that lie as pymalloc lays them, against a naive fold."""

from __future__ import annotations

import random
import tempfile
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import traces
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracekit.events import Allocation, AllocatorInfo, ArenaEvent, Cause, Domain, Free, OlderArena, OlderPool
from tracekit.replay.fragmentation import Arena, Fragmentation, SizeClass, fragmentation
from tracekit.replay.holders import OLDER
from tracekit.replay.moment import resolve_moment
from tracekit.replay.pins import MOST_TOGETHER, Holds, rank
from tracekit.store.database import Store
from tracekit.store.opening import open_store

slow = settings(max_examples=examples(20), suppress_health_check=list(HealthCheck))

HEADER = 48
BUILDS = (
    AllocatorInfo(4096, 1 << 16, 1 << 12, 16, 512),
    AllocatorInfo(4096, 1 << 20, 1 << 14, 16, 512),
    AllocatorInfo(4096, 1 << 15, 1 << 12, 8, 256),
)
SITES = [
    (file, name, line)
    for file in ("app.py", "json.py")
    for name, line in (("load", 3), ("load", 4), ("keep", 9))
]
KINDS = ("app.Row", "builtins.str")


class Allocator:
    """Hands out addresses as pymalloc does, in an order of its own: pools of one class, in arenas."""

    def __init__(self, build: traces.TraceBuilder, info: AllocatorInfo, source: random.Random) -> None:
        self.build, self.info, self.source = build, info, source
        self.next_arena = 0x7F00_0000_0000
        self.pools: dict[int, tuple[int, set[int]]] = {}
        self.free_pools: list[int] = []
        self.arenas: list[int] = []

    def arena(self, *, older: bool = False) -> None:
        address = self.next_arena + self.source.choice([0, 4096, 8192])
        self.next_arena += self.source.choice([2, 3]) * self.info.arena_size
        if older:
            self.build.older_arena(address, self.info.arena_size)
        else:
            self.build._add(ArenaEvent(self.build.next_seq, self.build.now, address, self.info.arena_size))
        self.arenas.append(address)
        first = -(-address // self.info.pool_size) * self.info.pool_size
        last = address + self.info.arena_size - self.info.pool_size
        self.free_pools += range(first, last + 1, self.info.pool_size)

    def capacity(self, size_class: int) -> int:
        return (self.info.pool_size - HEADER) // size_class

    def place(self, size: int) -> int:
        """The address of a new block of ``size`` bytes."""
        size_class = -(-size // self.info.alignment) * self.info.alignment
        room = [
            pool
            for pool, (of, used) in self.pools.items()
            if of == size_class and len(used) < self.capacity(of)
        ]
        if not room:
            if not self.free_pools:
                self.arena()
            pool = self.free_pools.pop(self.source.randrange(len(self.free_pools)))
            self.pools[pool] = (size_class, set())
            room = [pool]
        pool = self.source.choice(room)
        used = self.pools[pool][1]
        index = self.source.choice(
            [i for i in range(min(self.capacity(size_class), len(used) + 9)) if i not in used]
        )
        used.add(index)
        return pool + HEADER + index * size_class

    def give_back(self, address: int) -> None:
        pool = address // self.info.pool_size * self.info.pool_size
        size_class, used = self.pools[pool]
        used.remove((address - pool - HEADER) // size_class)
        if not used:
            del self.pools[pool]
            self.free_pools.append(pool)


def random_heap(seed: int, events: int) -> traces.Trace:
    """A recording of blocks in arenas, of some outside, of older blocks and of blocks that shrank."""
    source = random.Random(seed)
    info = source.choice(BUILDS)
    build = traces.TraceBuilder(traces.sample_header(allocator=info))
    allocator = Allocator(build, info, source)
    stacks = [build.stack(frame) for frame in SITES] + [0]
    kinds = [build.type(name) for name in KINDS] + [0]
    older: list[int] = []
    if source.random() < 0.6:
        allocator.arena(older=True)
        older = [allocator.place(source.choice([32, 48])) for _ in range(source.randrange(60))]
        for pool, (size_class, used) in allocator.pools.items():
            build.older_pool(pool + HEADER, size_class, sum(1 << index for index in used))
    live: list[int] = []
    while build.next_seq < events:
        build.advance(source.choice([0, 1, 20_000_000]))
        what = source.choice(["small"] * 6 + ["free"] * source.choice([3, 5]) + ["large", "shrink", "older"])
        if what == "free" and live:
            block = live.pop(source.randrange(len(live)))
            address = build.live[block].address
            build.free(block, type_id=source.choice(kinds))
            if address >= 0x7F00_0000_0000:
                allocator.give_back(address)
        elif what == "older" and older:
            address = older.pop(source.randrange(len(older)))
            build.free_unknown(address)
            allocator.give_back(address)
        elif what == "shrink" and live:
            index = source.randrange(len(live))
            old = build.live[live[index]]
            if 4 <= old.size <= info.small_request_threshold and old.address >= 0x7F00_0000_0000:
                build.free(old.seq, cause=Cause.REALLOC)
                live[index] = build.allocate(
                    max(1, old.size * 4 // 5),
                    address=old.address,
                    stack=old.stack_id,
                    realloc_of=old.seq,
                )
        elif what == "large":
            size = source.choice([0, 30, 513, 5000])
            domain = Domain.RAW if source.random() < 0.5 else Domain.MEM
            address = 0x5000_0000_0000 + (build.next_seq << 16)
            live.append(build.allocate(size, address=address, domain=domain, stack=source.choice(stacks)))
        else:
            size = source.choice([1, 16, 30, 64, 100, 200, 256])
            address = allocator.place(size)
            live.append(build.allocate(size, address=address, stack=source.choice(stacks), thread=1))
    return build.finish()


@dataclass
class Naive:
    """The answers, one block at a time: blocks of each pool of each arena as (offset, size, class, key)."""

    trace: traces.Trace
    seq: int

    def __post_init__(self) -> None:
        info = self.info = self.trace.header.allocator
        self.arenas: dict[int, int | None] = {
            item.address: None for _, item in self.trace.definitions if isinstance(item, OlderArena)
        }
        older = {}
        for _, item in self.trace.definitions:
            if isinstance(item, OlderPool):
                bits = int.from_bytes(item.used, "little")
                for index in range(bits.bit_length()):
                    if bits >> index & 1:
                        older[item.first + index * item.block_size] = item.block_size
        for event in self.trace.events[: self.seq + 1]:
            if isinstance(event, ArenaEvent):
                self.arenas[event.address] = event.time_ns
            if isinstance(event, Free) and event.alloc_seq is None and event.address is not None:
                older.pop(event.address, None)
        self.pools: dict[tuple[int, int], list[tuple[int, int, int, str]]] = defaultdict(list)
        self.outside: list[Allocation] = []
        for block in self.trace.live_at(self.seq).values():
            path = self.trace.frames(block.stack_id)
            key = f"{path[-1][0]}:{path[-1][2]} ({path[-1][1]})" if path else "<unknown>"
            if not self._put(block.address, block.size, 0, key):
                self.outside.append(block)
        for address, size in older.items():
            assert self._put(address, size, size, OLDER)
        self.classes = {pool: self._class(blocks) for pool, blocks in self.pools.items()}
        self.in_use = dict.fromkeys(self.arenas, 0)
        for (arena, pool), blocks in self.pools.items():
            self.in_use[arena] += len(blocks) * self.classes[arena, pool]
        self.room = {
            arena: (arena + info.arena_size - -(-arena // info.pool_size) * info.pool_size) // info.pool_size
            for arena in self.arenas
        }

    def _put(self, address: int, size: int, known: int, key: str) -> bool:
        for arena in self.arenas:
            if arena <= address < arena + self.info.arena_size:
                pool, offset = divmod(address, self.info.pool_size)
                self.pools[arena, pool].append((offset - HEADER, size, known, key))
                return True
        return False

    def _class(self, blocks: list[tuple[int, int, int, str]]) -> int:
        known = max(block[2] for block in blocks)
        if known:
            return known
        step = self.info.alignment
        least = -(-max(block[1] for block in blocks) // step) * step
        for size_class in range(least, self.info.small_request_threshold + 1, step):
            if all(offset % size_class == 0 for offset, *_ in blocks):
                return size_class
        raise AssertionError("blocks of a pool lie at multiples of their class")

    def keys(self, arena: int) -> set[str]:
        """What holds an arena."""
        return {key for (of, _), blocks in self.pools.items() if of == arena for *_, key in blocks}


def check_totals(found: Fragmentation, naive: Naive) -> None:
    totals, info = found.totals, naive.info
    blocks = [block for pool in naive.pools.values() for block in pool]
    capacity = {pool: (info.pool_size - HEADER) // of for pool, of in naive.classes.items()}
    assert (totals.arenas, totals.blocks) == (len(naive.arenas), len(blocks))
    assert totals.arena_bytes == len(naive.arenas) * info.arena_size
    assert totals.older_blocks == sum(key == OLDER for *_, key in blocks)
    assert totals.requested_bytes == sum(size for _, size, *_ in blocks)
    assert totals.in_use_bytes == sum(naive.in_use.values())
    assert totals.pools_in_use == len(naive.pools)
    assert totals.free_pools == sum(naive.room.values()) - len(naive.pools)
    assert totals.free_arenas == sum(not used for used in naive.in_use.values())
    free = {pool: capacity[pool] - len(naive.pools[pool]) for pool in naive.pools}
    assert totals.free_blocks == sum(free.values())
    assert totals.free_block_bytes == sum(count * naive.classes[pool] for pool, count in free.items())
    parts = (totals.requested_bytes, totals.rounding_bytes, totals.free_block_bytes, totals.header_bytes)
    unused = (totals.free_pool_bytes, totals.free_arena_bytes, totals.unaligned_bytes)
    assert sum(parts) + sum(unused) == totals.arena_bytes
    assert min(*parts, *unused) >= 0
    assert found.size_classes == [
        SizeClass(
            of,
            sum(other == of for other in naive.classes.values()),
            sum(len(naive.pools[pool]) for pool, other in naive.classes.items() if other == of),
            sum(free[pool] for pool, other in naive.classes.items() if other == of),
            sum(b[1] for pool, other in naive.classes.items() if other == of for b in naive.pools[pool]),
        )
        for of in sorted(set(naive.classes.values()))
    ]
    small = [b for b in naive.outside if b.domain != "raw" and 0 < b.size <= info.small_request_threshold]
    assert (found.outside.blocks, found.outside.small_blocks) == (len(naive.outside), len(small))
    assert found.outside.bytes == sum(block.size for block in naive.outside)
    assert found.outside.small_bytes == sum(block.size for block in small)


def check_arenas(found: Fragmentation, naive: Naive) -> None:
    order = sorted(naive.arenas, key=lambda address: (naive.in_use[address], address))
    drawn = [address for address in order if naive.in_use[address]][:2]
    for arena, address in zip(found.arenas, order, strict=True):
        pools = {pool: blocks for (of, pool), blocks in naive.pools.items() if of == address}
        born = naive.arenas[address]
        assert arena == Arena(
            address,
            None if born is None else (found.moment.time_ns - born) / 1e9,
            sum(map(len, pools.values())),
            naive.in_use[address],
            naive.in_use[address] / naive.info.arena_size,
            len(pools),
            naive.room[address] - len(pools),
            arena.pools,
        )
        assert (arena.pools is not None) == (address in drawn)
        for pool in arena.pools or []:
            key = address, pool.address // naive.info.pool_size
            assert pool.address % naive.info.pool_size == 0
            assert (pool.block_bytes, pool.blocks) == (
                naive.classes.get(key, 0),
                len(naive.pools.get(key, [])),
            )
            assert pool.share == (pool.blocks / pool.capacity if pool.blocks else 0)


def check_pins(found: Fragmentation, naive: Naive, below: float) -> None:
    one = naive.info.arena_size
    near = {arena: naive.keys(arena) for arena, used in naive.in_use.items() if 0 < used < below * one}
    pins = found.pins
    assert (pins.arenas, pins.bytes) == (len(near), len(near) * one)
    assert pins.arenas_older == sum(OLDER in keys for keys in near.values())
    count: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for (arena, _), blocks in naive.pools.items():
        for _, requested, _, key in blocks if arena in near else []:
            count[key] += 1
            size[key] += requested
    assert {pin.key: (pin.blocks, pin.bytes) for pin in pins.groups} == {
        key: (count[key], size[key]) for key in count
    }
    assert len(pins.groups) == len(count)
    freed: set[str] = set()
    for pin in pins.groups:
        alone = sum(keys == {pin.key} for keys in near.values())
        assert (pin.arenas_alone, pin.alone_bytes) == (alone, alone * one)
        assert pin.arenas_shared == sum(pin.key in keys for keys in near.values()) - alone
        freed.add(pin.key)
        if pin.returned_bytes is not None:
            assert pin.key != OLDER
            assert pin.returned_bytes == one * sum(keys <= freed for keys in near.values())
    ranked = [pin.returned_bytes for pin in pins.groups if pin.returned_bytes is not None]
    assert len(ranked) == sum(pin.returned_bytes is not None for pin in pins.groups[: len(ranked)])
    best = max((pin.alone_bytes for pin in pins.groups if pin.key != OLDER), default=0)
    if ranked:
        first = next(index for index, returned in enumerate(ranked) if returned)
        assert ranked[first] / (first + 1) >= best
    # What is not returned in the end is held by older blocks, or by too many groups together.
    total = one * sum(OLDER not in keys for keys in near.values())
    assert (ranked[-1] if ranked else 0) == total - pins.arenas_spread * one
    assert pins.arenas_spread == 0 or len(count) > MOST_TOGETHER


def check_macro(store: Store, naive: Naive) -> None:
    """The macro pools_at says the same."""
    pool_size = naive.info.pool_size
    statement = "SELECT address, arena, size_class, blocks, bytes FROM pools_at(?)"
    assert list(store.query(statement, [naive.seq]).rows()) == [
        (pool * pool_size, arena, of, len(blocks), sum(block[1] for block in blocks))
        for (arena, pool), of in sorted(naive.classes.items(), key=lambda entry: entry[0][1])
        for blocks in [naive.pools[arena, pool]]
    ]


def check(store: Store, trace: traces.Trace, seq: int, below: float) -> None:
    found = fragmentation(store, resolve_moment(store, f"seq:{seq}"), below=below, drawn=2)
    naive = Naive(trace, seq)
    check_totals(found, naive)
    check_macro(store, naive)
    check_arenas(found, naive)
    check_pins(found, naive, below)


@slow
@given(
    seed=st.integers(0, 10**6),
    events=st.sampled_from([1, 5, 60, 300, 700]),
    below=st.sampled_from([0.02, 0.25, 1]),
)
def test_arenas_pools_and_pins(seed: int, events: int, below: float) -> None:
    trace = random_heap(seed, events)
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace, seed=seed)
        with open_store(path, cache=False) as store:
            last = len(trace.events) - 1
            for seq in {0, last // 3, last * 2 // 3, last}:
                check(store, trace, seq, below)


def naive_rank(holders: list[set[int]], cost: list[int], most: int) -> list[tuple[int, int]]:
    """Of all sets of groups that hold an arena between them the best, again and again."""
    left = [set(groups) for groups in holders]
    held = Counter(group for groups in holders for group in groups)
    found: list[tuple[int, int]] = []
    while True:
        sets = [groups for groups in left if 0 < len(groups) <= min(MOST_TOGETHER, most - len(found))]
        if not sets:
            return found
        _, _, best = min(
            (
                -sum(bool(other) and other <= groups for other in left) / len(groups),
                sum(cost[group] for group in groups),
                sorted(groups),
            )
            for groups in sets
        )
        for group in sorted(best, key=lambda group: (-held[group], cost[group])):
            left = [groups - {group} for groups in left]
            found.append((group, sum(not groups for groups in left)))


@given(
    st.lists(st.sets(st.integers(0, 7), min_size=1, max_size=7), max_size=16),
    st.lists(st.integers(0, 50), min_size=8, max_size=8),
    st.integers(1, 8),
)
def test_ranking(holders: list[set[int]], cost: list[int], most: int) -> None:
    pairs = [(arena, group) for arena, groups in enumerate(holders) for group in sorted(groups)]
    table = np.array(pairs, np.int64).reshape(-1, 2)
    holds = Holds(table[:, 0], table[:, 1], len(holders), 8, np.zeros(len(holders), np.bool_))
    found = rank(holds, np.array(cost), most)
    assert [(entry.group, entry.arenas) for entry in found] == naive_rank(holders, cost, most)


def test_ranking_of_many_arenas_ends_and_leaves_out_what_is_fixed() -> None:
    source = random.Random(1)
    holders = [set(source.sample(range(60), source.choice([1, 2, 3, 7]))) for _ in range(400)]
    table = np.array([(arena, group) for arena, own in enumerate(holders) for group in sorted(own)], np.int64)
    fixed = np.arange(len(holders)) % 5 == 0
    found = rank(Holds(table[:, 0], table[:, 1], len(holders), 60, fixed), np.ones(60, np.int64), 20)
    assert len(found) == len({entry.group for entry in found}) == 20
    freed: set[int] = set()
    for entry in found:
        freed.add(entry.group)
        gone = sum(own <= freed for own, kept in zip(holders, fixed.tolist(), strict=True) if not kept)
        assert entry.arenas == gone
    assert found[-1].arenas > 20
