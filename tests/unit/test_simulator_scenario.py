"""Scenarios: what they change, what they refuse, and what a trace cannot tell about them."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from simulator_support import NATIVE, PORTABLE, FakeTrace, Step, allocations, frees

from tracekit.errors import ScenarioError
from tracekit.events import AllocatorInfo, Cause, Domain, PythonInfo
from tracekit.simulator.outcome import OutOfMemory
from tracekit.simulator.results import Simulation
from tracekit.simulator.scenario import Scenario
from tracekit.simulator.simulation import simulate
from tracekit.store.steps import Steps

MIB = 1 << 20


def program(cause: Cause = Cause.GC) -> list[Step]:
    """4000 blocks of 512 bytes (3 arenas), 2000 of them freed by ``cause``, then 1000 more."""
    first = allocations([512] * 4000)
    return [*first, *frees(first[:2000], cause), *allocations([512] * 1000, first=4000)]


ONE_COLLECTION: dict[str, list[tuple[object, ...]]] = {
    "gc_collections": [(4000, 6001, 0, 701, 1, 0, 700, 10, 10, 0, 0, 1000, 1)]
}


def run(steps: list[Step] | None = None, **changes: object) -> Simulation:
    trace = FakeTrace(program() if steps is None else steps, tables=ONE_COLLECTION)
    return simulate(trace, scenario(**changes))


def scenario(**changes: object) -> Scenario:
    return replace(Scenario(), **changes)


def test_as_it_was_recorded() -> None:
    result = run()
    assert (result.arenas, result.peak_arenas) == (3, 3)
    assert result.peak_bytes == 4000 * 512
    assert result.end_bytes == 3000 * 512
    assert result.peak_footprint_bytes == 3 * MIB
    assert result.fragmentation == pytest.approx(1 - 3000 * 512 / (3 * MIB))
    assert result.peak_fragmentation == pytest.approx(1 - 4000 * 512 / (3 * MIB))
    assert result.out_of_memory is None
    assert [point.arenas_high for point in result.timeline] == sorted(
        point.arenas_low or 0 for point in result.timeline
    )
    assert {point.arenas_high for point in result.timeline} == {1, 2, 3}
    assert result.settings["pools_per_arena"] == 63


def test_smaller_arenas_and_pools() -> None:
    result = run(arena_size=1 << 16, pool_size=1 << 12)
    # 7 blocks of 512 fit into 4048 bytes, 16 pools into an arena: nothing is lost to alignment.
    assert result.peak_arenas == -(-4000 // (7 * 16))
    assert result.settings["pools_per_arena"] == 16


def test_plain_malloc() -> None:
    result = run(allocator="malloc")
    assert (result.arenas, result.peak_arenas) == (0, 0)
    assert {point.arenas_high for point in result.timeline} == {0}
    assert result.fragmentation is result.peak_fragmentation is None
    assert set(result.unknown) >= {"fragmentation", "peak_fragmentation"}
    assert result.peak_footprint_bytes == -(-4000 * 528 // 4096) * 4096
    assert result.peak_bytes == 4000 * 512
    assert "arena_size" not in result.settings


def test_without_a_collector_nothing_collected_goes() -> None:
    result = run(gc_off=True)
    assert result.end_bytes == result.peak_bytes == 5000 * 512
    assert result.collections == [0, 0, 0]
    assert "collections" not in result.unknown
    assert "peak_bytes" not in result.unknown


def test_a_threshold_of_0_is_no_collector() -> None:
    result = run(gc_thresholds=(0, 10, 10))
    assert (result.peak_bytes, result.collections) == (5000 * 512, [0, 0, 0])


def test_frees_of_unknown_cause_make_the_peak_a_lower_bound() -> None:
    result = run(program(Cause.UNKNOWN), gc_off=True)
    assert result.peak_bytes == 4000 * 512
    assert "lower bound" in result.unknown["peak_bytes"]
    assert "2000 frees" in result.unknown["peak_bytes"]
    assert "peak_bytes" not in run(program(Cause.UNKNOWN)).unknown


@pytest.mark.parametrize("thresholds", [None, (700, 10, 10)])
def test_collections_are_unknown_without_tracked_blocks(thresholds: tuple[int, int, int] | None) -> None:
    result = run(gc_thresholds=thresholds)
    assert result.collections is None
    assert "'portable'" in result.unknown["collections"]
    assert ("peak_bytes" in result.unknown) == (thresholds is not None)


def test_what_was_recorded_is_told_apart_from_what_was_not() -> None:
    collections = [(seq, seq, generation, *[0] * 10) for seq, generation in ((1, 0), (2, 2), (3, 0))]
    tables: dict[str, list[tuple[object, ...]]] = {
        "gc_collections": [*collections],
        "arenas": [(None, None, 5 << 20), (1, 4, 6 << 20), (2, 9, 7 << 20), (5, None, 8 << 20)],
    }
    told = simulate(FakeTrace(program(), NATIVE, tables), Scenario())
    assert told.recorded_collections == [2, 0, 1]
    assert told.recorded_peak_arenas == 3
    assert "recorded_peak_arenas" not in told.unknown
    result = simulate(FakeTrace(program(), PORTABLE, tables), Scenario())
    assert result.recorded_collections == [2, 0, 1]
    assert result.recorded_peak_arenas is None
    assert "does not record arenas" in result.unknown["recorded_peak_arenas"]


def test_every_none_is_explained() -> None:
    for changes in ({}, {"gc_off": True}, {"allocator": "malloc"}, {"gc_thresholds": (1, 1, 1)}):
        result = run(**changes)
        missing = {name for name in result.__struct_fields__ if getattr(result, name) is None}
        assert missing - {"out_of_memory"} <= set(result.unknown)


def test_a_memory_limit_stops_the_simulation() -> None:
    result = run(memory_limit=2 * MIB)
    # 63 pools of 31 blocks an arena: the block after the 3906th wants the third arena.
    assert result.out_of_memory == OutOfMemory(3907, 3.907, 512, 3906 * 512, 2 * MIB)
    assert (result.arenas, result.peak_arenas, result.end_bytes) == (2, 2, 3906 * 512)
    assert run(memory_limit=3 * MIB).out_of_memory is None


def test_progress_reaches_the_total() -> None:
    seen: list[tuple[int, int]] = []
    simulate(FakeTrace(program(), batch=1000), Scenario(), lambda done, total: seen.append((done, total)))
    # The recording cannot say when collections fall due: it is not read for that.
    assert seen == [(7000 + 1000 * number, 14000) for number in range(1, 8)] + [(14000, 14000)]
    native = FakeTrace(program(), NATIVE, batch=1000)
    simulate(native, Scenario(), lambda done, total: seen.append((done, total)))
    assert seen[8:] == [(1000 * number, 14000) for number in range(1, 15)] + [(14000, 14000)]


def notes_of(trace: FakeTrace, **changes: object) -> str:
    return "\n".join(simulate(trace, scenario(**changes)).notes)


def test_notes_state_the_assumptions() -> None:
    portable = notes_of(FakeTrace([]))
    assert "given to pymalloc" in portable
    assert "shorter than a sync interval" in portable
    assert "within a sync interval" in portable
    assert "given to pymalloc" not in notes_of(FakeTrace([]), allocator="malloc")
    assert simulate(FakeTrace([], NATIVE), Scenario()).notes == [
        "blocks older than the recording are unknown: the model starts from an empty heap"
    ]


def test_notes_name_an_interpreter_that_the_model_does_not_know() -> None:
    python = PythonInfo("3.99.1", 0x036301F0, "cpython", "", "")
    assert "3.99.1" in notes_of(FakeTrace([], replace(NATIVE, python=python)))
    plain = AllocatorInfo(4096, 1 << 20, 1 << 14, 16, 512, name="malloc")
    assert "allocator malloc" in notes_of(FakeTrace([], replace(NATIVE, allocator=plain)))


def test_a_moment_to_freeze_at() -> None:
    assert run(gc_freeze_at="mark:there").settings["gc_freeze_at"] == "mark:there"
    with pytest.raises(ScenarioError, match="no moment 'mark:nowhere'"):
        run(gc_freeze_at="mark:nowhere")


NONSENSE: list[tuple[dict[str, object], str]] = [
    ({"pool_size": 2 * MIB}, "larger than an arena"),
    ({"arena_size": 8192}, "larger than an arena"),
    ({"arena_size": 1 << 14}, "no room for two pools"),
    ({"arena_size": 1 << 15}, "no room for two pools"),
    ({"arena_size": 1_000_000}, "not a power of two"),
    ({"pool_size": 5000}, "not a power of two"),
    ({"arena_size": 0}, "too small"),
    ({"arena_size": -4096}, "too small"),
    ({"pool_size": 2048}, "too small"),
    ({"arena_size": 1 << 32}, "too large"),
    ({"gc_thresholds": (-1, 10, 10)}, "threshold -1 of generation 0"),
    ({"gc_thresholds": (700, 10, -2)}, "threshold -2 of generation 2"),
    ({"gc_thresholds": (2**31, 10, 10)}, "above 2147483647"),
    ({"memory_limit": 0}, "memory limit of 0"),
    ({"memory_limit": -5}, "memory limit of -5"),
    ({"gc_off": True, "gc_thresholds": (700, 10, 10)}, "choose one"),
    ({"allocator": "jemalloc"}, "'jemalloc'"),
    ({"allocator": "malloc", "arena_size": MIB}, "no meaning"),
    ({"allocator": "malloc", "pool_size": 0}, "no meaning"),
]


@pytest.mark.parametrize(("changes", "said"), NONSENSE)
def test_nonsense_is_refused_in_one_line(changes: dict[str, object], said: str) -> None:
    class Unread(FakeTrace):
        def steps(self) -> Iterator[Steps]:
            raise AssertionError("the trace was read")

    with pytest.raises(ScenarioError) as caught:
        simulate(Unread([]), scenario(**changes))
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


@given(
    st.builds(
        Scenario,
        gc_thresholds=st.none() | st.tuples(*[st.integers(-2, 3)] * 3),
        gc_off=st.booleans(),
        allocator=st.sampled_from(["pymalloc", "malloc"]),
        arena_size=st.none() | st.integers(-1, 40).map(lambda bits: 1 << bits if bits >= 0 else -1),
        pool_size=st.none() | st.integers(0, 40).map(lambda bits: 1 << bits),
        memory_limit=st.none() | st.integers(-1, 10 * MIB),
    )
)
def test_any_scenario_runs_or_is_refused(supposed: Scenario) -> None:
    blocks = allocations([512, 100, 600, 300_000])
    try:
        result = simulate(FakeTrace([*blocks, *frees(blocks)]), supposed)
    except ScenarioError:
        return
    assert result.peak_footprint_bytes <= (supposed.memory_limit or result.peak_footprint_bytes)
    assert msgspec.json.decode(msgspec.json.encode(result), type=Simulation) == result


def test_raw_blocks_are_malloc_s() -> None:
    result = run(allocations([100] * 50, Domain.RAW))
    assert (result.peak_arenas, result.peak_footprint_bytes) == (0, 8192)
