"""Any sequence of allocations and frees: the model against a naive second one, and its own invariants."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from simulator_naive import NaiveMachine
from simulator_naive_pymalloc import NaivePyMalloc
from simulator_recordings import SMALL_ARENAS, Recording, machine_settings, recordings
from simulator_support import Step, differences, programs, windows

from tracekit.simulator.machine import Machine
from tracekit.simulator.outcome import Outcome, Timeline
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.pymalloc import Arena, Pool, PyMalloc
from tracekit.simulator.settings import Garbage, MachineSettings
from tracekit.simulator.system import AddressSpace
from tracekit.store.steps import Steps

PARAMETERS = st.sampled_from(SMALL_ARENAS)


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


def check_invariants(pymalloc: PyMalloc, places: dict[int, int]) -> None:
    usable = usable_arenas(pymalloc)
    free = [arena.nfreepools for arena in usable]
    assert free == sorted(free)
    assert all(0 < arena.nfreepools <= arena.ntotalpools for arena in usable)
    for count, last in enumerate(pymalloc.nfp2lasta):
        same = [arena for arena in usable if arena.nfreepools == count]
        assert last is (same[-1] if same else None)
    # Every live block is in a pool of its own place, and the used counts are those of the blocks.
    assert len(set(places.values())) == len(places)
    in_use = Counter(pymalloc.pool_of(place) for place in places.values())
    assert in_use == {pool: pool.count for pool in in_use}
    for pool, count in in_use.items():
        size = pymalloc.parameters.block_bytes(pool.szidx)
        capacity = (pymalloc.parameters.pool_size - 48) // size
        untouched = max(0, (pool.maxnextoffset - pool.nextoffset) // size + 1)
        assert len(pool.freeblocks) + untouched == capacity - count
        taken = {place - pool.place for place in places.values() if pymalloc.pool_of(place) is pool}
        assert not taken & set(pool.freeblocks)
        assert all(offset < pool.nextoffset and (offset - 48) % size == 0 for offset in taken)
    in_lists = {pool for szidx in range(32) for pool in used_pools(pymalloc, szidx)}
    assert {pool for pool in in_use if pool.freeblocks} == in_lists
    # Every pool in use counts in its arena, and only one arena without any is kept: the last usable one.
    used_in = Counter(pool.arena for pool in in_use)
    assert all(
        arena is not None and arena.nfreepools == arena.ntotalpools - n for arena, n in used_in.items()
    )
    empty = [arena for arena in usable if arena.nfreepools == arena.ntotalpools]
    assert len(empty) <= 1
    assert pymalloc.narenas_currently_allocated == len(used_in) + len(empty) == len(pymalloc.arenas)
    held = pymalloc.narenas_currently_allocated * pymalloc.parameters.arena_size
    assert pymalloc.memory.footprint_bytes == held


@given(programs(), PARAMETERS)
def test_pymalloc_equals_the_naive_one_after_every_event(
    steps: list[Step], parameters: PyMallocParameters
) -> None:
    pymalloc, naive = PyMalloc(parameters, AddressSpace()), NaivePyMalloc(parameters)
    places: dict[int, int] = {}
    for block, size, _, cause in steps:
        if not 0 < size <= 512:
            continue
        szidx = (size - 1) // 16
        if cause is None:
            places[block] = pymalloc.allocate(szidx)
            assert places[block] == naive.allocate(block, szidx)
        else:
            pymalloc.free(places.pop(block))
            naive.free(block)
        assert list(pymalloc.arenas) == [arena.number for arena in naive.arenas]
        assert [arena.nfreepools for arena in usable_arenas(pymalloc)] == [one.free for one in naive.usable]
        expected = [len(pool.blocks) for pool in naive.used.get(szidx, [])]
        assert [pool.count for pool in used_pools(pymalloc, szidx)] == expected


@given(programs(most=250), PARAMETERS)
def test_invariants_hold_after_every_event(steps: list[Step], parameters: PyMallocParameters) -> None:
    pymalloc = PyMalloc(parameters, AddressSpace())
    places: dict[int, int] = {}
    for block, size, _, cause in steps:
        if not 0 < size <= 512:
            continue
        if cause is None:
            places[block] = pymalloc.allocate((size - 1) // 16)
        else:
            pymalloc.free(places.pop(block))
        check_invariants(pymalloc, places)


def differs_unseen(recording: Recording, settings: MachineSettings) -> bool:
    """Whether blocks come and go that are in no event: those of objects in free lists."""
    return recording.reference.lists.known and settings.collector.garbage != Garbage.RECORDED


def outcome_of(recording: Recording, settings: MachineSettings, window: int = 10**9) -> Outcome:
    machine = Machine(settings, recording.reference, recording.older, recording.path_bytes)
    for steps in windows(recording.steps, window):
        if not machine.feed(steps):
            break
    return machine.finish()


def outcome_at(recording: Recording, settings: MachineSettings, rows: int) -> Outcome:
    """What a machine has come to after so many rows, without the collections behind them."""
    machine = Machine(settings, recording.reference, recording.older, recording.path_bytes)
    machine.feed(first_of(recording.steps, rows))
    with patch.object(machine.collector, "before"):
        return machine.finish()


@given(recordings(), st.data(), st.integers(1, 64))
def test_machine_equals_the_naive_one(recording: Recording, data: st.DataObject, window: int) -> None:
    """Places of all blocks, collections and all numbers, for windows of any length."""
    settings = data.draw(machine_settings(recording.parameters))
    naive = NaiveMachine(settings, recording.reference, recording.older, recording.path_bytes)
    naive.run(recording.steps)
    outcome = outcome_of(recording, settings, window)
    numbers = naive.numbers()
    collections = [getattr(outcome.collections, field.name) for field in fields(outcome.collections)]
    np.testing.assert_array_equal(collections, numbers.pop("collections"))
    np.testing.assert_array_equal(outcome.places, numbers.pop("places"))
    assert (outcome.peak.live_bytes, outcome.peak.seq) == numbers.pop("peak")
    assert numbers == {name: getattr(outcome, name) for name in numbers}


@given(recordings(), st.data())
def test_parts_of_an_outcome_agree_with_each_other(recording: Recording, data: st.DataObject) -> None:
    settings = data.draw(machine_settings(recording.parameters))
    outcome, older = outcome_of(recording, settings), len(recording.older.arenas)
    arena_size = settings.parameters.arena_size
    held = outcome.arenas * arena_size + outcome.heap_bytes + outcome.mapped_bytes
    assert outcome.footprint_bytes == held + settings.base_bytes <= outcome.peak_footprint_bytes
    assert outcome.peak.arenas <= outcome.peak_arenas
    assert outcome.live_bytes <= outcome.peak.live_bytes
    if not differs_unseen(recording, settings):  # these recordings have lists of objects that were never made
        assert outcome.small_bytes <= outcome.live_bytes
    spans, line = outcome.arena_spans, outcome.timeline
    started = older if settings.use_pymalloc else 0
    assert spans.number.tolist() == list(range(started, outcome.ntimes_arena_allocated))
    assert not ((spans.free_seq >= 0) & (spans.free_seq < spans.alloc_seq)).any()
    assert (np.diff(spans.alloc_seq) >= 0).all()
    if outcome.peak_arenas > started:
        assert outcome.peak_arenas_seq in spans.alloc_seq
    assert line.seq[-1] == recording.steps.seq[-1]
    ends = (line.live_bytes[-1], line.arenas[-1], line.footprint_bytes[-1])
    assert ends == (outcome.live_bytes, outcome.arenas, outcome.footprint_bytes)
    assert line.peak_live_bytes.max() == outcome.peak.live_bytes
    assert line.peak_arenas.max() == outcome.peak_arenas
    assert len(outcome.places) == (~recording.steps.is_free).sum()


@given(recordings(most=120), st.data(), st.sampled_from([2, 5, 30]))
def test_a_coarse_timeline_sums_up_the_finest(recording: Recording, data: st.DataObject, every: int) -> None:
    settings = data.draw(machine_settings(recording.parameters))
    fine = outcome_of(recording, replace(settings, sample_every=1)).timeline
    coarse = outcome_of(recording, replace(settings, sample_every=every)).timeline
    assert fine.seq.tolist() == recording.steps.seq.tolist()
    spans = [np.flatnonzero(fine.seq // every == span) for span in np.unique(fine.seq // every)]
    for field in fields(Timeline):
        column = getattr(fine, field.name)
        summed = [column[span].max() if "peak" in field.name else column[span[-1]] for span in spans]
        assert getattr(coarse, field.name).tolist() == summed


@given(recordings(), st.data(), st.integers(1, 64))
def test_a_limit_stops_at_the_first_event_that_does_not_fit(
    recording: Recording, data: st.DataObject, window: int
) -> None:
    """Without the limit the footprint passes it at exactly that event, and the state is the one before."""
    settings = data.draw(machine_settings(recording.parameters))
    held = outcome_at(recording, settings, 0).footprint_bytes
    free_run = outcome_at(recording, settings, len(recording.steps))
    limit = data.draw(st.integers(max(held, 1), free_run.peak_footprint_bytes + 4096))
    limited = outcome_of(recording, replace(settings, memory_limit=limit), window)
    found = limited.out_of_memory
    if found is None:
        assert free_run.peak_footprint_bytes <= limit
        assert differences(limited, outcome_of(recording, settings)) == []
        return
    rows = int(np.searchsorted(recording.steps.seq, found.seq))
    before, after = (outcome_at(recording, settings, rows + more) for more in (0, 1))
    assert before.peak_footprint_bytes <= limit < after.peak_footprint_bytes
    assert (found.wanted_bytes, found.stack_id) == (
        recording.steps.size[rows],
        recording.steps.stack_id[rows],
    )
    assert (found.live_bytes, found.footprint_bytes) == (limited.live_bytes, limited.footprint_bytes)
    unseen = differs_unseen(recording, settings)
    if len(limited.collections.seq) == len(before.collections.seq) and not unseen:
        assert differences(limited, replace(before, out_of_memory=found)) == []


def first_of(steps: Steps, rows: int) -> Steps:
    return Steps(*(getattr(steps, field.name)[:rows] for field in fields(Steps)))
