"""Any sequence of allocations and frees: the model against a naive second one, and its own invariants."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st
from simulator_support import NaivePyMalloc, Step, batches, programs

from tracekit.events import Cause, Domain
from tracekit.simulator.machine import Machine
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.pymalloc import Arena, Pool, PyMalloc
from tracekit.simulator.system import AddressSpace, Malloc

SMALL_ARENAS = st.sampled_from(
    [
        PyMallocParameters(arena_size=8192, pool_size=2048),
        PyMallocParameters(arena_size=4096, pool_size=2048),
        PyMallocParameters(arena_size=1 << 16, pool_size=1 << 13),
        PyMallocParameters(arena_size=1 << 15, pool_size=1 << 13, arena_aligned=True),
    ]
)
"""Arenas of 2 to 8 pools, so that a few hundred events fill and empty many of them."""


def usable_arenas(pymalloc: PyMalloc) -> list[Arena]:
    found, arena, before = [], pymalloc.usable_arenas, None
    while arena is not None:
        assert arena.prevarena is before
        found.append(arena)
        before, arena = arena, arena.nextarena
    return found


def used_pools(pymalloc: PyMalloc, szidx: int) -> list[Pool]:
    head = pymalloc.usedpools[szidx]
    found, pool = [], head.nextpool
    while pool is not head:
        assert pool.nextpool.prevpool is pool
        assert pool.prevpool.nextpool is pool
        found.append(pool)
        pool = pool.nextpool
    return found


def check_invariants(pymalloc: PyMalloc, pools: dict[int, Pool]) -> None:
    usable = usable_arenas(pymalloc)
    free = [arena.nfreepools for arena in usable]
    assert free == sorted(free)
    assert all(0 < arena.nfreepools <= arena.ntotalpools for arena in usable)
    for count, last in enumerate(pymalloc.nfp2lasta):
        same = [arena for arena in usable if arena.nfreepools == count]
        assert last is (same[-1] if same else None)
    # Every live block is in exactly one pool, and the used counts are those of the blocks.
    assert Counter(pools.values()) == {pool: pool.count for pool in pools.values()}
    in_lists = {pool for szidx in range(32) for pool in used_pools(pymalloc, szidx)}
    for pool in in_lists:
        assert 0 < pool.count < pool.capacity
    assert {pool for pool in pools.values() if pool.count < pool.capacity} == in_lists
    # Every pool in use counts in its arena, and only one arena without any is kept: the last usable one.
    taken = Counter(pool.arena for pool in set(pools.values()))
    assert all(arena is not None and arena.nfreepools == arena.ntotalpools - n for arena, n in taken.items())
    empty = [arena for arena in usable if arena.nfreepools == arena.ntotalpools]
    assert len(empty) <= 1
    assert pymalloc.narenas_currently_allocated == len(taken) + len(empty)
    held = pymalloc.narenas_currently_allocated * pymalloc.parameters.arena_size
    assert pymalloc.memory.footprint_bytes == held


@given(programs(), SMALL_ARENAS)
def test_model_equals_the_naive_one_after_every_event(
    steps: list[Step], parameters: PyMallocParameters
) -> None:
    pymalloc, naive = PyMalloc(parameters, AddressSpace()), NaivePyMalloc(parameters)
    pools: dict[int, Pool] = {}
    for block, size, _, cause in steps:
        if not 0 < size <= 512:
            continue
        if cause is None:
            pools[block] = pymalloc.allocate((size - 1) // 16)
            naive.allocate(block, (size - 1) // 16)
        else:
            pymalloc.free(pools.pop(block))
            naive.free(block)
        assert pymalloc.narenas_currently_allocated == len(naive.arenas)
        assert [arena.nfreepools for arena in usable_arenas(pymalloc)] == [one.free for one in naive.usable]
        for szidx in {(size - 1) // 16}:
            expected = [len(pool.blocks) for pool in naive.used.get(szidx, [])]
            assert [pool.count for pool in used_pools(pymalloc, szidx)] == expected
    assert sorted(pool.count for pool in set(pools.values())) == sorted(
        len(pool.blocks) for arena in naive.arenas for pool in arena.pools if pool.blocks
    )


@given(programs(most=250), SMALL_ARENAS)
def test_invariants_hold_after_every_event(steps: list[Step], parameters: PyMallocParameters) -> None:
    pymalloc = PyMalloc(parameters, AddressSpace())
    pools: dict[int, Pool] = {}
    for block, size, _, cause in steps:
        if not 0 < size <= 512:
            continue
        if cause is None:
            pools[block] = pymalloc.allocate((size - 1) // 16)
        else:
            pymalloc.free(pools.pop(block))
        check_invariants(pymalloc, pools)


@given(programs(tuple(Domain)), SMALL_ARENAS, st.integers(1, 64), st.booleans())
def test_machine_sends_each_block_where_it_belongs(
    steps: list[Step], parameters: PyMallocParameters, batch: int, keep_collected: bool
) -> None:
    """A fold event by event over the two allocators gives the same as columns in batches of any length."""
    machine = Machine(parameters, keep_collected=keep_collected)
    memory = AddressSpace()
    pymalloc, malloc = PyMalloc(parameters, memory), Malloc(memory, parameters.page_size)
    pools: dict[int, Pool] = {}
    live, peak = 0, 0
    for block, size, domain, cause in steps:
        if cause is None:
            live += size
            if 0 < size <= 512 and domain in {Domain.MEM, Domain.OBJECT, Domain.PYTHON}:
                pools[block] = pymalloc.allocate((size - 1) // 16)
            else:
                malloc.allocate(size)
        elif not (keep_collected and cause == Cause.GC):
            live -= size
            if block in pools:
                pymalloc.free(pools.pop(block))
            else:
                malloc.free(size)
        peak = max(peak, live)
    for columns in batches(steps, batch):
        assert machine.feed(columns)
    assert (machine.live_bytes, machine.peak.live_bytes) == (live, peak)
    assert machine.arenas == pymalloc.narenas_currently_allocated
    assert machine.peak_arenas == pymalloc.narenas_highwater
    assert machine.memory.footprint_bytes == memory.footprint_bytes
    assert machine.memory.peak_footprint_bytes == memory.peak_footprint_bytes
    assert machine.malloc.heap_used_bytes == malloc.heap_used_bytes
    assert machine.small_bytes == sum(
        size for block, size, _, cause in steps if cause is None and block in pools
    )
    assert 0 <= machine.fragmentation() <= 1
    assert 0 <= machine.peak_fragmentation() <= 1


@given(programs((Domain.OBJECT, Domain.RAW)), SMALL_ARENAS, st.integers(1, 64), st.data())
def test_a_limit_stops_at_the_first_event_that_does_not_fit(
    steps: list[Step], parameters: PyMallocParameters, batch: int, data: st.DataObject
) -> None:
    """Without the limit the footprint passes it at exactly that event, and the state is the one before."""
    free_machine = Machine(parameters)
    footprints, lives = [0], [0]
    for columns in batches(steps, 1):
        free_machine.feed(columns)
        footprints.append(free_machine.memory.footprint_bytes)
        lives.append(free_machine.live_bytes)
    limit = data.draw(st.integers(1, max(footprints) + 4096))
    machine = Machine(parameters, memory_limit=limit)
    finished = all(machine.feed(columns) for columns in batches(steps, batch))
    first = next((seq for seq, footprint in enumerate(footprints) if footprint > limit), None)
    found = machine.out_of_memory
    assert (found.seq if found else None) == first
    assert finished == (first is None)
    if found is not None:
        assert found.wanted_bytes == steps[found.seq - 1][1]
        assert found.live_bytes == lives[found.seq - 1] == machine.live_bytes
        assert found.footprint_bytes == footprints[found.seq - 1] <= limit
