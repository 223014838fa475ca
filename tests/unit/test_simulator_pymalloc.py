"""pymalloc's rules one by one, by examples that can be counted by hand."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from simulator_support import NATIVE, PORTABLE

from tracekit.events import AllocatorInfo, PythonInfo
from tracekit.simulator.parameters import VERSIONS, PyMallocParameters, recorded_parameters
from tracekit.simulator.pymalloc import Pool, PyMalloc
from tracekit.simulator.system import AddressSpace, LimitReachedError

TINY = PyMallocParameters(arena_size=8192, pool_size=2048)
"""Arenas of 4 pools; a pool holds 3 blocks of 512 bytes (class 31) or 125 of 16 (class 0)."""

BIG, SMALL = 31, 0


def tiny(limit: int | None = None) -> PyMalloc:
    return PyMalloc(TINY, AddressSpace(limit))


def pools_of(pymalloc: PyMalloc, pools: int) -> list[list[Pool]]:
    """Fill a number of pools with blocks of 512 bytes; the blocks of each."""
    return [[pymalloc.allocate(BIG) for _ in range(3)] for _ in range(pools)]


def empty(pymalloc: PyMalloc, pool: list[Pool]) -> None:
    for block in pool:
        pymalloc.free(block)


@pytest.mark.parametrize("version", sorted(VERSIONS))
def test_parameters_are_those_of_pycore_obmalloc(version: tuple[int, int]) -> None:
    parameters = VERSIONS[version]
    assert (parameters.arena_size, parameters.pool_size) == (1 << 20, 1 << 14)
    assert (parameters.size_classes, parameters.alignment_shift) == (32, 4)
    assert parameters.pools_per_arena == 63
    assert parameters.pool_capacity(0) == 1021
    assert parameters.pool_capacity(31) == 31


def test_an_aligned_arena_loses_no_pool() -> None:
    assert PyMallocParameters(arena_aligned=True).pools_per_arena == 64
    assert PyMallocParameters(pool_size=4096).pools_per_arena == 256


def test_the_header_of_a_trace_overrides_the_table() -> None:
    header = replace(NATIVE, allocator=AllocatorInfo(4096, 1 << 18, 1 << 12, 8, 256))
    parameters = recorded_parameters(header)
    assert (parameters.arena_size, parameters.pool_size) == (1 << 18, 1 << 12)
    assert (parameters.alignment, parameters.small_request_threshold) == (8, 256)


def test_what_the_header_leaves_out_comes_from_the_table() -> None:
    python = PythonInfo("3.99.0", 0x036300F0, "cpython", "", "")
    header = replace(PORTABLE, allocator=AllocatorInfo(0, 0, 0, 0, 0), python=python)
    assert recorded_parameters(header) == VERSIONS[3, 13]


def test_pools_fill_one_after_the_other() -> None:
    pymalloc = tiny()
    blocks = [pymalloc.allocate(BIG) for _ in range(4)]
    assert blocks[0] is blocks[1] is blocks[2] is not blocks[3]
    assert (blocks[0].count, blocks[3].count) == (3, 1)


def test_size_classes_do_not_share_pools_but_share_arenas() -> None:
    pymalloc = tiny()
    big, small = pymalloc.allocate(BIG), pymalloc.allocate(SMALL)
    assert big is not small
    assert big.arena is small.arena
    assert pymalloc.narenas_currently_allocated == 1


def test_a_full_pool_that_gets_a_free_block_is_used_first() -> None:
    pymalloc = tiny()
    full, *_ = pools_of(pymalloc, 1)[0]
    partly = pymalloc.allocate(BIG)
    pymalloc.free(full)
    assert pymalloc.allocate(BIG) is full
    assert pymalloc.allocate(BIG) is partly


def test_a_free_block_in_a_partly_used_pool_does_not_move_it() -> None:
    pymalloc = tiny()
    first, second = pools_of(pymalloc, 2)
    pymalloc.free(first[0])
    pymalloc.free(second[0])
    pymalloc.free(first[1])
    assert pymalloc.allocate(BIG) is second[0]


def test_an_empty_pool_serves_any_size_class() -> None:
    pymalloc = tiny()
    pool = pymalloc.allocate(BIG)
    pymalloc.free(pool)
    again = pymalloc.allocate(SMALL)
    assert again is pool
    assert (again.szidx, again.capacity, again.count) == (SMALL, 125, 1)


def test_the_last_empty_arena_is_kept() -> None:
    pymalloc = tiny()
    for _ in range(5):
        pymalloc.free(pymalloc.allocate(BIG))
    assert (pymalloc.narenas_currently_allocated, pymalloc.ntimes_arena_allocated) == (1, 1)


def test_an_empty_arena_goes_back_when_another_follows_it() -> None:
    pymalloc = tiny()
    *first, second = pools_of(pymalloc, 5)
    assert pymalloc.narenas_currently_allocated == 2
    empty(pymalloc, second)
    assert pymalloc.narenas_currently_allocated == 2, "the only usable arena stays, although it is empty"
    for pool in first:
        empty(pymalloc, pool)
    assert pymalloc.narenas_currently_allocated == 1
    assert pymalloc.memory.footprint_bytes == TINY.arena_size
    assert pymalloc.narenas_highwater == 2


def test_pools_come_from_the_fullest_arena() -> None:
    pymalloc = tiny()
    pools = pools_of(pymalloc, 8)
    one, other = pools[0][0].arena, pools[4][0].arena
    assert one is not None
    assert other is not None
    empty(pymalloc, pools[0])
    empty(pymalloc, pools[1])
    empty(pymalloc, pools[4])
    assert (one.nfreepools, other.nfreepools) == (2, 1)
    assert pymalloc.allocate(SMALL).arena is other
    assert pymalloc.allocate(1).arena is one


def test_of_arenas_that_are_as_full_the_last_that_got_a_pool_back_is_first() -> None:
    pymalloc = tiny()
    pools = pools_of(pymalloc, 12)
    empty(pymalloc, pools[0])
    empty(pymalloc, pools[4])
    empty(pymalloc, pools[8])
    assert pymalloc.allocate(SMALL).arena is pools[8][0].arena


def test_an_arena_moves_behind_the_fuller_ones_only() -> None:
    pymalloc = tiny()
    pools = pools_of(pymalloc, 12)
    for number in (0, 1, 4, 8, 9):
        empty(pymalloc, pools[number])
    # Two arenas have two free pools: the one that got there last stands before the other.
    order = [pymalloc.allocate(szidx).arena for szidx in (SMALL, 1, 2)]
    assert order == [pools[4][0].arena, pools[8][0].arena, pools[8][0].arena]


def test_an_arena_that_does_not_fit_changes_nothing() -> None:
    pymalloc = tiny(limit=TINY.arena_size)
    pools_of(pymalloc, 4)
    with pytest.raises(LimitReachedError):
        pymalloc.allocate(BIG)
    assert pymalloc.narenas_currently_allocated == 1
    assert pymalloc.usable_arenas is None
    assert pymalloc.memory.footprint_bytes == TINY.arena_size
