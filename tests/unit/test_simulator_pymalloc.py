"""pymalloc's rules one by one, by examples that can be counted by hand."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from msgspec.structs import replace
from simulator_support import NATIVE, PORTABLE

from tracekit.events import AllocatorInfo, PythonInfo
from tracekit.simulator.older import Layout, aligned_as_recorded
from tracekit.simulator.parameters import VERSIONS, PyMallocParameters, recorded_parameters
from tracekit.simulator.pymalloc import PyMalloc
from tracekit.simulator.settings import Older
from tracekit.simulator.system import AddressSpace, LimitReachedError

TINY = PyMallocParameters(arena_size=8192, pool_size=2048)
"""Arenas of 4 pools; a pool holds 3 blocks of 512 bytes (class 31) or 125 of 16 (class 0)."""

BIG, SMALL = 31, 0


def tiny(limit: int | None = None) -> PyMalloc:
    return PyMalloc(TINY, AddressSpace(limit))


def pools_of(pymalloc: PyMalloc, pools: int) -> list[list[int]]:
    """Fill a number of pools with blocks of 512 bytes; the places of the blocks of each."""
    return [[pymalloc.allocate(BIG) for _ in range(3)] for _ in range(pools)]


def empty(pymalloc: PyMalloc, pool: list[int]) -> None:
    for block in pool:
        pymalloc.free(block)


def arena_of(place: int) -> int:
    return place // TINY.arena_size


def pool_of(place: int) -> int:
    return place // TINY.pool_size


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
    assert [pymalloc.allocate(BIG) for _ in range(4)] == [48, 560, 1072, 2048 + 48]
    assert (pymalloc.pool_of(48).count, pymalloc.pool_of(2048).count) == (3, 1)


def test_a_block_that_was_given_back_is_used_next() -> None:
    pymalloc = tiny()
    blocks = [pymalloc.allocate(SMALL) for _ in range(5)]
    assert blocks == [48, 64, 80, 96, 112]
    for block in (blocks[1], blocks[3], blocks[0]):
        pymalloc.free(block)
    assert [pymalloc.allocate(SMALL) for _ in range(5)] == [48, 96, 64, 128, 144]


def test_an_empty_pool_keeps_the_order_of_its_blocks_for_its_own_size_class() -> None:
    for szidx, expected in ((BIG, [1072, 560, 48]), (SMALL, [48, 64, 80])):
        pymalloc = tiny()
        empty(pymalloc, pools_of(pymalloc, 1)[0])
        assert [pymalloc.allocate(szidx) for _ in range(3)] == expected


def test_a_pool_is_full_when_the_next_block_would_pass_its_end() -> None:
    pymalloc = tiny()
    places = [pymalloc.allocate(SMALL) for _ in range(126)]
    assert places[:125] == [48 + 16 * number for number in range(125)]
    assert places[125] == 2048 + 48


def test_size_classes_do_not_share_pools_but_share_arenas() -> None:
    pymalloc = tiny()
    big, small = pymalloc.allocate(BIG), pymalloc.allocate(SMALL)
    assert (pool_of(big), pool_of(small)) == (0, 1)
    assert pymalloc.narenas_currently_allocated == 1


def test_a_full_pool_that_gets_a_free_block_is_used_first() -> None:
    pymalloc = tiny()
    full, *_ = pools_of(pymalloc, 1)[0]
    partly = pymalloc.allocate(BIG)
    pymalloc.free(full)
    assert pymalloc.allocate(BIG) == full
    assert pool_of(pymalloc.allocate(BIG)) == pool_of(partly)


def test_a_free_block_in_a_partly_used_pool_does_not_move_it() -> None:
    pymalloc = tiny()
    first, second = pools_of(pymalloc, 2)
    pymalloc.free(first[0])
    pymalloc.free(second[0])
    pymalloc.free(first[1])
    assert pymalloc.allocate(BIG) == second[0]


def test_an_empty_pool_serves_any_size_class() -> None:
    pymalloc = tiny()
    pymalloc.free(pymalloc.allocate(BIG))
    again = pymalloc.pool_of(pymalloc.allocate(SMALL))
    assert (again.place, again.szidx, again.count) == (0, SMALL, 1)


def test_the_pool_that_was_emptied_last_is_used_first() -> None:
    pymalloc = tiny()
    pools = pools_of(pymalloc, 3)
    empty(pymalloc, pools[2])
    empty(pymalloc, pools[0])
    assert [pool_of(pymalloc.allocate(szidx)) for szidx in range(3)] == [0, 2, 3]


def test_the_last_empty_arena_is_kept() -> None:
    pymalloc = tiny()
    for _ in range(5):
        pymalloc.free(pymalloc.allocate(BIG))
    assert (pymalloc.narenas_currently_allocated, pymalloc.ntimes_arena_allocated) == (1, 1)


def test_an_empty_arena_goes_back_when_another_follows_it() -> None:
    pymalloc = tiny()
    pymalloc.now = 7
    *first, second = pools_of(pymalloc, 5)
    assert pymalloc.narenas_currently_allocated == 2
    empty(pymalloc, second)
    assert pymalloc.narenas_currently_allocated == 2, "the only usable arena stays, although it is empty"
    pymalloc.now = 8
    for pool in first:
        empty(pymalloc, pool)
    assert pymalloc.narenas_currently_allocated == 1
    assert pymalloc.memory.footprint_bytes == TINY.arena_size
    assert (pymalloc.narenas_highwater, pymalloc.highwater_at) == (2, 7)
    assert pymalloc.spans == {0: (7, 8), 1: (7, -1)}
    assert list(pymalloc.arenas) == [1]


def test_an_arena_has_a_number_of_its_own_for_good() -> None:
    pymalloc = tiny()
    *first, _ = pools_of(pymalloc, 5)
    for pool in first:
        empty(pymalloc, pool)
    places = [place for pool in pools_of(pymalloc, 4) for place in pool]
    assert {arena_of(place) for place in places} == {1, 2}


def test_pools_come_from_the_fullest_arena() -> None:
    pymalloc = tiny()
    pools = pools_of(pymalloc, 8)
    for number in (0, 1, 4):
        empty(pymalloc, pools[number])
    assert [arena.nfreepools for arena in pymalloc.arenas.values()] == [2, 1]
    assert [arena_of(pymalloc.allocate(szidx)) for szidx in (SMALL, 1)] == [1, 0]


def test_of_arenas_that_are_as_full_the_last_that_got_a_pool_back_is_first() -> None:
    pymalloc = tiny()
    pools = pools_of(pymalloc, 12)
    for number in (0, 4, 8):
        empty(pymalloc, pools[number])
    assert arena_of(pymalloc.allocate(SMALL)) == 2


def test_an_arena_moves_behind_the_fuller_ones_only() -> None:
    pymalloc = tiny()
    pools = pools_of(pymalloc, 12)
    for number in (0, 1, 4, 8, 9):
        empty(pymalloc, pools[number])
    # Two arenas have two free pools: the one that got there last stands before the other.
    assert [arena_of(pymalloc.allocate(szidx)) for szidx in (SMALL, 1, 2)] == [1, 2, 2]


def test_an_arena_that_does_not_fit_changes_nothing() -> None:
    pymalloc = tiny(limit=TINY.arena_size)
    pools_of(pymalloc, 4)
    with pytest.raises(LimitReachedError):
        pymalloc.allocate(BIG)
    assert (pymalloc.narenas_currently_allocated, pymalloc.ntimes_arena_allocated) == (1, 1)
    assert pymalloc.usable_arenas is None
    assert pymalloc.memory.footprint_bytes == TINY.arena_size


def test_older_arenas_stand_in_the_order_of_their_free_pools() -> None:
    none = np.empty(0, np.int64)
    full, half, other = np.arange(4), np.arange(2), np.array([1, 3])
    layout = Layout(
        ntotalpools=np.array([4, 4, 4, 4]),
        pool_arena=np.array([0] * 2 + [1] * 4 + [3] * 2),
        pool_number=np.concatenate([half, full, other]),
        pool_szidx=np.full(8, BIG),
        address=none,
        block_pool=np.repeat(np.arange(8), 3),
        block_index=np.tile(np.arange(3), 8),
        later_ntotalpools=none,
    )
    pymalloc = tiny()
    places = pymalloc.begin_with(layout)
    assert len(places) == 24
    assert pymalloc.narenas_currently_allocated == pymalloc.narenas_highwater == 4
    assert pymalloc.memory.footprint_bytes == 0
    taken = [pool_of(pymalloc.allocate(szidx)) for szidx in range(9)]
    # The halves of arenas 0 and 3, then arena 2, which is empty, then a new one.
    assert taken == [2, 3, 12, 14, 8, 9, 10, 11, 16]
    assert pymalloc.ntimes_arena_allocated == 5


def test_older_arenas_that_become_empty_go_back() -> None:
    layout = Layout(
        ntotalpools=np.array([4, 4]),
        pool_arena=np.array([0, 1]),
        pool_number=np.array([2, 0]),
        pool_szidx=np.array([SMALL, SMALL]),
        address=np.empty(0, np.int64),
        block_pool=np.array([0, 1]),
        block_index=np.array([7, 0]),
        later_ntotalpools=np.empty(0, np.int64),
    )
    pymalloc = PyMalloc(TINY, AddressSpace(held=2 * TINY.arena_size))
    one, _ = pymalloc.begin_with(layout)
    assert one == 2 * 2048 + 48 + 7 * 16
    pymalloc.free(one)
    assert list(pymalloc.arenas) == [1]
    assert pymalloc.memory.footprint_bytes == TINY.arena_size
    assert pymalloc.spans == {}


def test_arenas_of_the_run_have_as_many_pools_as_the_recorded_ones() -> None:
    recorded = Older(later_arenas=np.array([1024, 8192, 1]), arena_size=8192, pool_size=2048)
    pymalloc = tiny()
    pymalloc.begin_with(Layout.of(recorded, TINY))
    pools_of(pymalloc, 3 + 4 + 3 + 4)
    assert [arena.ntotalpools for arena in pymalloc.arenas.values()] == [3, 4, 3, 4]
    other = Layout.of(recorded, dataclasses.replace(TINY, arena_size=16384))
    assert len(other.later_ntotalpools) == 0


@pytest.mark.parametrize(
    ("arenas", "later", "aligned"),
    [([], [], False), ([0], [], True), ([1 << 20], [4096], False), ([4096], [1 << 14, 0], True)],
)
def test_arenas_are_taken_to_be_aligned_as_most_recorded_ones(
    arenas: list[int], later: list[int], *, aligned: bool
) -> None:
    recorded = Older(arenas=np.array(arenas, np.int64), later_arenas=np.array(later, np.int64))
    assert aligned_as_recorded(PyMallocParameters(), recorded).arena_aligned == aligned
