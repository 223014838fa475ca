"""The simulator over a real log and its store."""

from __future__ import annotations

from pathlib import Path

from traces import TraceBuilder, random_trace, write_log

from tracekit.simulator.scenario import Scenario
from tracekit.simulator.simulation import simulate
from tracekit.store.opening import open_store


def test_live_bytes_are_those_of_the_recording(tmp_path: Path) -> None:
    for seed in range(5):
        trace = random_trace(seed, 400)
        totals = trace.totals()
        with open_store(write_log(tmp_path / f"{seed}.tkt", trace), cache=False) as store:
            seen: list[tuple[int, int]] = []

            def note(done: int, total: int, seen: list[tuple[int, int]] = seen) -> None:
                seen.append((done, total))

            result = simulate(store, Scenario(), note)
            off = simulate(store, Scenario(gc_off=True))
        assert (result.peak_bytes, result.end_bytes) == (totals.peak_bytes, totals.end_bytes)
        collected = [free for free in trace.events if getattr(free, "cause", "") == "gc"]
        assert off.end_bytes_bounds >= result.end_bytes_bounds
        assert (off.end_bytes_bounds > result.end_bytes_bounds) <= bool(collected)
        assert not seen or seen[-1][0] == seen[-1][1]


def test_recorded_collections_and_arenas_come_from_the_tables(tmp_path: Path) -> None:
    build = TraceBuilder()
    first, chunk = build.arena(), build.arena(16384)
    block = build.allocate(400)
    for generation in (0, 0, 1):
        build.gc_start(generation)
        build.gc_stop()
    second = build.arena()
    build.free_arena(first)
    build.arena()
    build.free_arena(chunk)
    build.free_arena(second)
    build.gc_start(2, counts=(702, 11, 11))  # not one that was asked for
    build.free(block)
    build.gc_stop(collected=1)
    with open_store(write_log(tmp_path / "app.tkt", build.finish()), cache=False) as store:
        result = simulate(store, Scenario())
        off = simulate(store, Scenario(gc_off=True))
    assert result.recorded_collections == [2, 1, 1]
    assert result.recorded_peak_arenas == 2
    assert (result.end_bytes, off.end_bytes) == (0, 400)


def test_a_realloc_in_a_log_stays_in_its_pool(tmp_path: Path) -> None:
    build = TraceBuilder()
    block = build.allocate(500)
    build.realloc(block, 400)
    with open_store(write_log(tmp_path / "app.tkt", build.finish()), cache=False) as store:
        result = simulate(store, Scenario())
    assert (result.peak_arenas, result.end_bytes, result.peak_bytes) == (1, 400, 500)


def test_a_trace_without_arenas_says_none_were_at_their_peak(tmp_path: Path) -> None:
    with open_store(write_log(tmp_path / "app.tkt", TraceBuilder().finish()), cache=False) as store:
        result = simulate(store, Scenario())
    assert (result.recorded_peak_arenas, result.recorded_collections) == (0, [0, 0, 0])


def test_a_program_that_turns_the_collector_off_and_on(tmp_path: Path) -> None:
    build = TraceBuilder()
    tracked = build.type("app.Row", gc_tracked=True)
    build.set_collector(enabled=True, thresholds=(4, 10, 10))
    rows: list[int] = []
    for enabled, blocks in ((False, 20), (True, 3), (True, 7)):
        build.set_collector(enabled=enabled, thresholds=(4, 10, 10))
        rows = [build.allocate(16) for _ in range(blocks)]
    for row in rows:
        build.free(row, type_id=tracked)
    log = write_log(tmp_path / "app.tkt", build.finish())
    with open_store(log, cache=False) as store:
        result, off, often = (
            simulate(store, scenario)
            for scenario in (Scenario(), Scenario(gc_off=True), Scenario(gc_thresholds=(2, 10, 10)))
        )
    assert (result.collections, off.collections) == ([1, 0, 0], [1, 0, 0])
    assert often.collections == [2, 0, 0]
    assert "the program turned the collector off once; so does the model, at the same events" in result.notes
    assert any("turned the collector on again" in note for note in off.notes)
    assert not any("turned the collector on again" in note for note in result.notes)
    assert not any("thresholds of the scenario" in note or "set thresholds" in note for note in often.notes)
