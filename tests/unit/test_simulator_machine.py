"""The machine: which allocator a block goes to, reallocs, older blocks, collections, peaks, the timeline."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from simulator_support import Step, allocations, as_steps, batches, differences, frees, no_reference

from tracekit.events import Cause, Domain
from tracekit.simulator.machine import Machine
from tracekit.simulator.outcome import Outcome
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.settings import CollectorSettings, Garbage, MachineSettings, Older, Reference
from tracekit.store.steps import Steps

TINY = PyMallocParameters(arena_size=8192, pool_size=2048)
SETTINGS = MachineSettings(TINY, CollectorSettings(enabled=False), keep_places=True)


def machine(
    settings: MachineSettings = SETTINGS,
    reference: Reference | None = None,
    older: Older | None = None,
    path_bytes: tuple[int, ...] = (0,),
) -> Machine:
    paths = np.array(path_bytes, np.int64)
    return Machine(settings, reference or no_reference(), older or Older(), paths)


def run(
    *steps: Step,
    settings: MachineSettings = SETTINGS,
    reference: Reference | None = None,
    older: Older | None = None,
) -> Outcome:
    one = machine(settings, reference, older)
    assert one.feed(as_steps(steps))
    return one.finish()


def one_collection(start: int, stop: int) -> Reference:
    """A recording with one collection, which came by itself."""
    return replace(
        no_reference(),
        start_seq=column(start),
        stop_seq=column(stop),
        generation=column(0),
        asked=np.array([False]),
        off=np.array([False, False]),
        thresholds=np.full((2, 3), 10, np.int64),
        correction=column(0),
        young_share=np.ones(1),
        full_share=np.ones(1),
    )


def column(value: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    return np.array([value], np.int64)


@pytest.mark.parametrize("domain", list(Domain))
def test_only_mem_and_object_blocks_go_to_pymalloc(domain: Domain) -> None:
    outcome = run((1, 100, domain, None))
    small = domain in {Domain.MEM, Domain.OBJECT, Domain.PYTHON}
    assert (outcome.arenas, outcome.heap_bytes) == ((1, 0) if small else (0, 4096))
    assert outcome.places.tolist() == [48 if small else -1]


@pytest.mark.parametrize(("size", "arenas"), [(0, 0), (1, 1), (512, 1), (513, 0)])
def test_requests_of_no_bytes_and_above_the_threshold_go_to_malloc(size: int, arenas: int) -> None:
    assert run((1, size, Domain.OBJECT, None)).arenas == arenas


def test_without_pymalloc_everything_goes_to_malloc() -> None:
    outcome = run(*allocations([100, 100]), settings=replace(SETTINGS, use_pymalloc=False), older=older())
    assert (outcome.arenas, outcome.peak_arenas, outcome.older_bytes) == (0, 0, 0)
    assert (outcome.heap_bytes, outcome.footprint_bytes) == (4096, 4096)


def test_places_are_those_of_arenas_pools_and_blocks() -> None:
    blocks = allocations([512] * 12 + [16])
    last_of_pool = [48, 560, 1072]
    in_arena = [pool * 2048 + offset for pool in range(4) for offset in last_of_pool]
    assert run(*blocks).places.tolist() == [*in_arena, 8192 + 48]


def test_collected_blocks_stay_without_a_collector() -> None:
    blocks = allocations([512] * 4)
    steps = [*blocks, *frees(blocks[:2], Cause.GC), *frees(blocks[2:])]
    assert run(*steps).live_bytes == 0
    off = CollectorSettings(enabled=False, garbage=Garbage.LATE)
    outcome = run(*steps, settings=replace(SETTINGS, collector=off), reference=one_collection(4, 6))
    assert (outcome.live_bytes, outcome.live_blocks, outcome.peak.live_bytes) == (1024, 2, 2048)


def test_the_peak_is_the_first_of_its_height() -> None:
    blocks = allocations([400, 400, 500, 4000])
    again = allocations([400], first=9)
    outcome = run(*blocks, *frees(blocks[:1]), *again)
    peak = outcome.peak
    assert (peak.live_bytes, peak.seq, peak.small_bytes, peak.arenas) == (5300, 4, 1300, 1)
    assert (outcome.live_bytes, outcome.live_blocks, outcome.small_bytes) == (5300, 4, 1300)


def test_the_timeline_has_a_point_for_each_span_with_events() -> None:
    blocks = allocations([512] * 13)
    outcome = run(*blocks, *frees(blocks), settings=replace(SETTINGS, sample_every=10))
    line = outcome.timeline
    assert line.seq.tolist() == [9, 19, 26]
    assert line.time_ns.tolist() == [9_000_000, 19_000_000, 26_000_000]
    assert line.live_bytes.tolist() == [9 * 512, 7 * 512, 0]
    assert line.peak_live_bytes.tolist() == [9 * 512, 13 * 512, 7 * 512]
    assert line.arenas.tolist() == [1, 2, 1]
    assert line.peak_arenas.tolist() == [1, 2, 2]
    assert line.footprint_bytes.tolist() == [8192, 16384, 8192]
    spans = outcome.arena_spans
    assert (spans.number.tolist(), spans.alloc_seq.tolist()) == ([0, 1], [1, 13])
    assert spans.free_seq.tolist() == [25, -1]
    assert (outcome.peak_arenas, outcome.peak_arenas_seq) == (2, 13)


def realloc(old: int, old_size: int, new: int, size: int, domain: Domain = Domain.MEM) -> list[Step]:
    return [(old, old_size, domain, Cause.REALLOC), (new, size, domain, None)]


@pytest.mark.parametrize(("size", "place"), [(400, 48), (512, 48), (385, 48), (384, 2096), (100, 2096)])
def test_a_realloc_that_hardly_shrinks_stays_in_its_place(size: int, place: int) -> None:
    # 500 bytes in a block of 512; 385 is more than three quarters of it and 384 is not.
    outcome = run((1, 500, Domain.MEM, None), *realloc(1, 500, 2, size))
    assert outcome.places.tolist() == [48, place]
    assert outcome.live_bytes == outcome.small_bytes == size


def test_a_realloc_takes_the_new_block_before_it_frees_the_old() -> None:
    # Arenas of two pools: with the old block in one and a full other, the new block needs an arena more.
    settings = replace(SETTINGS, parameters=replace(TINY, arena_size=4096))
    blocks = [(1, 100, Domain.MEM, None), *allocations([512] * 3, first=2)]
    outcome = run(*blocks, *realloc(1, 100, 9, 300), settings=settings)
    assert (outcome.arenas, outcome.peak_arenas) == (2, 2)
    assert outcome.live_bytes == 3 * 512 + 300


def test_what_malloc_manages_stays_with_malloc() -> None:
    outcome = run((1, 1000, Domain.OBJECT, None), *realloc(1, 1000, 2, 100, Domain.OBJECT))
    assert (outcome.arenas, outcome.heap_bytes) == (0, 4096)
    outcome = run((1, 100, Domain.OBJECT, None), *realloc(1, 100, 2, 1000, Domain.OBJECT))
    assert (outcome.small_bytes, outcome.heap_bytes, outcome.live_bytes) == (0, 4096, 1000)


def test_a_realloc_over_two_windows_and_between_events_of_other_domains() -> None:
    steps = [
        (1, 500, Domain.MEM, None),
        (1, 500, Domain.MEM, Cause.REALLOC),
        (2, 700, Domain.RAW, None),
        (3, 490, Domain.MEM, None),
    ]
    whole, one = run(*steps), machine()
    assert all(one.feed(steps) for steps in batches(steps, 1))
    assert differences(one.finish(), whole) == []
    assert whole.places.tolist() == [48, -1, 48]
    assert (whole.live_bytes, whole.small_bytes) == (1190, 490)


def test_a_realloc_without_its_new_block_frees_the_old_one_in_the_end() -> None:
    steps = as_steps(
        [
            (1, 500, Domain.MEM, None),
            (2, 500, Domain.MEM, None),
            (1, 500, Domain.MEM, Cause.REALLOC),
            (2, 500, Domain.MEM, Cause.REALLOC),
            (3, 500, Domain.MEM, None),
            (4, 300, Domain.MEM, None),
        ]
    )
    one = machine()
    one.feed(replace(steps, realloc_of=np.array([-1, -1, -1, -1, -1, 2])))
    outcome = one.finish()
    # The first is free when the second is let go of, and the second when its new block is there.
    assert outcome.places.tolist() == [48, 560, 48, 2096]
    assert one.pymalloc.pool_of(48).count == 1
    assert outcome.live_bytes == 800


def test_a_limit_leaves_the_block_where_it_was() -> None:
    settings = replace(SETTINGS, memory_limit=8192)
    blocks = allocations([512] * 12, Domain.MEM)
    one = machine(settings)
    assert not one.feed(as_steps([*blocks, *realloc(0, 512, 99, 300), (5, 512, Domain.MEM, Cause.REFCOUNT)]))
    outcome = one.finish()
    found = outcome.out_of_memory
    assert found is not None
    assert (found.seq, found.time_s, found.wanted_bytes) == (14, 0.014, 300)
    assert (found.live_bytes, found.footprint_bytes, found.stack_id) == (11 * 512, 8192, 0)
    assert one.pymalloc.pool_of(48).count == 3
    assert (outcome.arenas, outcome.live_blocks, len(outcome.places)) == (1, 11, 12)
    assert outcome.timeline.seq.tolist() == [13]


def older(base: int = 1 << 20) -> Older:
    """An arena of four pools (three if the base is no multiple of 2048): one full, one with a hole."""
    first = base + -base % 2048
    blocks = [first + 48, first + 560, first + 1072, first + 2048 + 48, first + 2048 + 1072]
    return Older(
        arenas=column(base),
        blocks=np.array(blocks),
        block_bytes=np.full(5, 512),
        arena_size=8192,
        pool_size=2048,
    )


def free_of(address: int) -> Steps:
    steps = as_steps([(1, 1, Domain.OBJECT, None)])
    return replace(
        steps,
        is_free=np.array([True]),
        alloc_seq=column(-1),
        address=column(address),
        seq=column(0),
    )


@pytest.mark.parametrize(("base", "pools"), [(1 << 20, 4), ((1 << 20) + 1024, 3)])
def test_it_starts_with_what_is_older_than_the_recording(base: int, pools: int) -> None:
    one = machine(replace(SETTINGS, base_bytes=100), older=older(base))
    steps = allocations([512] * (3 * pools - 4))
    assert one.feed(as_steps(steps))
    outcome = one.finish()
    # The hole first, then the free pools, lowest first, then an arena of the model's own.
    free_pools = [2048 * pool + offset for pool in range(2, pools) for offset in (48, 560, 1072)]
    assert outcome.places.tolist() == [2048 + 560, *free_pools, 8192 + 48]
    assert (outcome.arenas, outcome.ntimes_arena_allocated) == (2, 2)
    assert (outcome.older_bytes, outcome.live_blocks) == (5 * 512, len(steps))
    assert outcome.footprint_bytes == 2 * 8192 + 100
    assert outcome.arena_spans.number.tolist() == [1]
    assert outcome.peak.older_bytes == 5 * 512


def test_an_older_block_frees_its_place_once() -> None:
    start = older()
    one = machine(older=start)
    for address in (*start.blocks[:3].tolist(), int(start.blocks[0]), 24):
        assert one.feed(free_of(address))
    outcome = one.finish()
    assert (outcome.older_bytes, outcome.live_bytes, outcome.heap_bytes) == (1024, 0, 0)
    assert [arena.nfreepools for arena in one.pymalloc.arenas.values()] == [3]


def test_older_blocks_are_placed_anew_in_arenas_of_another_size() -> None:
    outcome = run(
        settings=replace(SETTINGS, parameters=PyMallocParameters(arena_size=4096, pool_size=1024)),
        older=older(),
    )
    # One block of 512 bytes fits into 1024 - 48, so five pools of four an arena.
    assert (outcome.arenas, outcome.older_bytes) == (2, 5 * 512)


def test_older_blocks_that_fit_no_pool_are_left_out() -> None:
    start = older()
    wrong = np.array([(1 << 20) - 512, (1 << 20) + 50, (1 << 20) + 2048, (1 << 20) + 8192 + 48])
    start = replace(
        start,
        blocks=np.sort(np.concatenate([start.blocks, wrong])),
        block_bytes=np.full(9, 512),
    )
    assert run(older=start).older_bytes == 5 * 512


def test_the_stacks_of_all_threads_add_up() -> None:
    steps = as_steps(allocations([16] * 5))
    one = machine(path_bytes=(0, 1000, 300))
    one.feed(
        replace(
            steps,
            thread_id=np.array([1, 2, 1, 2, 2], np.int32),
            stack_id=np.array([1, 2, 0, 1, 99], np.int32),
        )
    )
    outcome = one.finish()
    assert (outcome.peak_stack_bytes, outcome.peak_stack_seq) == (1300, 2)
    assert one.stacks.stack_bytes == 0


def test_a_collection_of_the_model_frees_what_it_finds() -> None:
    # Four tracked blocks; recorded collection 0, after event 4, freed the first two. The model's runs when
    # the count is above 2: within the third allocation, for EARLY.
    blocks = allocations([100] * 4)
    steps = as_steps([*blocks, *frees(blocks[:2], Cause.GC)])
    steps = replace(steps, gc_tracked=np.ones(6, np.bool_), seq=np.array([0, 1, 2, 3, 5, 6]))
    steps = replace(steps, alloc_seq=np.array([0, 1, 2, 3, 0, 1]))
    reference = replace(
        no_reference(),
        start_seq=column(4),
        stop_seq=column(7),
        generation=column(0),
        asked=np.array([False]),
        off=np.zeros(2, np.bool_),
        thresholds=np.full((2, 3), 100),
        correction=column(0),
        young_share=np.ones(1),
        full_share=np.ones(1),
    )
    collector = CollectorSettings(thresholds=(2, 10, 10), garbage=Garbage.EARLY)
    one = machine(MachineSettings(TINY, collector, keep_places=True), reference)
    assert one.feed(steps)
    outcome = one.finish()
    found = outcome.collections
    assert [found.seq.tolist(), found.generation.tolist(), found.examined.tolist()] == [[2], [0], [2]]
    assert [found.freed_blocks.tolist(), found.freed_bytes.tolist()] == [[2], [200]]
    assert (found.asked.tolist(), found.asked.dtype) == ([False], np.dtype(np.bool_))
    # The one that was found last went last, and its place is used first.
    assert outcome.places.tolist() == [48, 160, 272, 160]
    assert (outcome.live_bytes, outcome.live_blocks) == (200, 2)


def test_nothing_is_live_when_nothing_was_fed() -> None:
    outcome = run()
    assert (outcome.arenas, outcome.live_bytes, outcome.peak.seq) == (0, 0, -1)
    assert len(outcome.timeline.seq) == len(outcome.arena_spans.number) == len(outcome.places) == 0
