"""The machine: which allocator a block goes to, reallocs, peaks, the timeline."""

from __future__ import annotations

from dataclasses import replace

import pytest
from simulator_support import Step, allocations, as_steps, frees

from tracekit.events import Cause, Domain
from tracekit.simulator.machine import MAX_TIMELINE_POINTS, Machine
from tracekit.simulator.parameters import PyMallocParameters

TINY = PyMallocParameters(arena_size=8192, pool_size=2048)


def run(*steps: Step, machine: Machine | None = None) -> Machine:
    machine = machine or Machine(TINY)
    assert machine.feed(as_steps(steps))
    return machine


@pytest.mark.parametrize("domain", list(Domain))
def test_only_mem_and_object_blocks_go_to_pymalloc(domain: Domain) -> None:
    machine = run((1, 100, domain, None))
    expected = 1 if domain in {Domain.MEM, Domain.OBJECT, Domain.PYTHON} else 0
    assert machine.arenas == expected
    assert machine.malloc.heap_used_bytes == (0 if expected else 112)


@pytest.mark.parametrize(("size", "arenas"), [(0, 0), (1, 1), (512, 1), (513, 0)])
def test_requests_of_no_bytes_and_above_the_threshold_go_to_malloc(size: int, arenas: int) -> None:
    assert run((1, size, Domain.OBJECT, None)).arenas == arenas


def test_without_pymalloc_everything_goes_to_malloc() -> None:
    machine = run(*allocations([100, 100]), machine=Machine(TINY, use_pymalloc=False))
    assert (machine.arenas, machine.peak_arenas) == (0, 0)
    assert machine.malloc.heap_used_bytes == 224
    assert machine.fragmentation() == 0


def test_collected_blocks_stay_without_a_collector() -> None:
    blocks = allocations([512] * 4)
    steps = [*blocks, *frees(blocks[:2], Cause.GC), *frees(blocks[2:])]
    assert run(*steps).live_bytes == 0
    machine = run(*steps, machine=Machine(TINY, keep_collected=True))
    assert (machine.live_bytes, machine.peak.live_bytes) == (1024, 2048)


def test_fragmentation_counts_live_bytes_against_arenas() -> None:
    blocks = allocations([400, 400, 500, 4000])
    machine = run(*blocks, *frees(blocks[:1]))
    assert machine.fragmentation() == 1 - 900 / 8192
    assert machine.peak_fragmentation() == 1 - 1300 / 8192
    assert machine.peak.live_bytes == 5300


def test_the_timeline_has_a_point_for_each_change() -> None:
    blocks = allocations([512] * 13)
    machine = run(*blocks, *frees(blocks))
    assert [(point.seq, point.arenas, point.live_bytes) for point in machine.timeline] == [
        (1, 1, 512),
        (13, 2, 6656),
        (25, 1, 512),
    ]
    assert machine.timeline[1].time_s == pytest.approx(0.013)


def test_a_long_timeline_is_thinned_and_keeps_its_peak() -> None:
    machine = Machine(replace(TINY, arena_size=4096))
    blocks = allocations([512] * 9000)
    run(*blocks, *frees(blocks), machine=machine)
    points = machine.timeline
    assert len(points) <= MAX_TIMELINE_POINTS
    assert machine.peak_arenas == 1500
    assert max(point.arenas for point in points) == 1500
    assert points[-1].arenas == machine.arenas
    assert [point.seq for point in points] == sorted(point.seq for point in points)


def realloc(old: int, old_size: int, new: int, size: int, domain: Domain = Domain.MEM) -> list[Step]:
    return [(old, old_size, domain, Cause.REALLOC), (new, size, domain, None)]


def test_a_realloc_that_hardly_shrinks_stays_in_its_pool() -> None:
    # 500 bytes in a block of 512; 400 is more than three quarters of it and 384 is not.
    machine = run((1, 500, Domain.MEM, None), *realloc(1, 500, 2, 400))
    assert [pool.szidx for pool in machine._pools.values()] == [31]
    machine = run((1, 500, Domain.MEM, None), *realloc(1, 500, 2, 384))
    assert [pool.szidx for pool in machine._pools.values()] == [23]
    assert machine.live_bytes == machine.small_bytes == 384


def test_a_realloc_takes_the_new_block_before_it_frees_the_old() -> None:
    # Arenas of two pools: with the old block in one and a full other, the new block needs an arena more.
    machine = Machine(replace(TINY, arena_size=4096))
    blocks = [(1, 100, Domain.MEM, None), *allocations([512] * 3, first=2)]
    assert run(*blocks).arenas == 1
    run(*blocks, *realloc(1, 100, 9, 300), machine=machine)
    assert (machine.arenas, machine.peak_arenas) == (2, 2)
    assert machine.live_bytes == 3 * 512 + 300


def test_what_malloc_manages_stays_with_malloc() -> None:
    machine = run((1, 1000, Domain.OBJECT, None), *realloc(1, 1000, 2, 100, Domain.OBJECT))
    assert machine.arenas == 0
    assert machine.malloc.heap_used_bytes == 112
    machine = run((1, 100, Domain.OBJECT, None), *realloc(1, 100, 2, 1000, Domain.OBJECT))
    assert (machine.small_bytes, machine.malloc.heap_used_bytes) == (0, 1008)
    assert machine.live_bytes == 1000


def test_a_realloc_over_two_batches_and_between_events_of_other_domains() -> None:
    steps = [
        (1, 500, Domain.MEM, None),
        (1, 500, Domain.MEM, Cause.REALLOC),
        (2, 700, Domain.RAW, None),
        (3, 490, Domain.MEM, None),
    ]
    whole = run(*steps)
    machine, born = Machine(TINY), dict[int, int]()
    for number, step in enumerate(steps):
        assert machine.feed(as_steps([step], number + 1, born))
    for one in (whole, machine):
        assert [pool.szidx for pool in one._pools.values()] == [31]
        assert (one.live_bytes, one.small_bytes) == (1190, 490)
        assert one.malloc.heap_used_bytes == 720


def test_a_realloc_without_its_new_block_frees_the_old_one_in_the_end() -> None:
    machine = run(
        (1, 500, Domain.MEM, None),
        (2, 500, Domain.MEM, None),
        (1, 500, Domain.MEM, Cause.REALLOC),
        (2, 500, Domain.MEM, Cause.REALLOC),
        (3, 500, Domain.MEM, None),
    )
    assert [pool.count for pool in machine._pools.values()] == [1]
    assert machine.live_bytes == 500


def test_nothing_is_live_when_nothing_was_fed() -> None:
    machine = Machine(PyMallocParameters())
    assert machine.feed(as_steps([]))
    assert (machine.arenas, machine.live_bytes, machine.fragmentation()) == (0, 0, 0)
    assert machine.timeline == []
