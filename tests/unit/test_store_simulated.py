"""Tables of simulations: kept beside the store, replaced as a whole, never stale, and in nobody's way."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import numpy as np
import pytest
import traces

from tracekit.store import cache, simulated
from tracekit.store.cache import cache_path, simulated_path
from tracekit.store.database import Store
from tracekit.store.opening import open_store
from tracekit.store.schema import simulated_names
from tracekit.store.simulated import Tables, save

COUNT = "SELECT scenario, bound::VARCHAR, count(*) FROM sim_timeline GROUP BY ALL ORDER BY ALL"


def made_up(points: int, first: int = 0) -> Tables:
    """Tables of ``points`` rows each."""
    numbers = np.arange(first, first + points, dtype=np.int64)
    timeline = ("seq", "time_ns", "live_bytes", "peak_live_bytes", "arenas", "peak_arenas", "footprint_bytes")
    collections = ("seq", "generation", "examined", "freed_blocks", "freed_bytes")
    return {
        "sim_timeline": {name: numbers * (place + 1) for place, name in enumerate(timeline)},
        "sim_collections": {name: numbers * (place + 1) for place, name in enumerate(collections)}
        | {"asked": numbers % 2 == 1},
        "sim_arenas": {"number": numbers, "alloc_seq": numbers * 2, "free_seq": numbers * 3 - 1},
    }


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return list(store.query(sql).rows())


def saved(log: Path, **scenarios: int) -> str | None:
    with open_store(log) as store:
        return save(store, {name: {"only": made_up(points)} for name, points in scenarios.items()})


def counts(log: Path, *more: Path, cache: bool = True) -> list[tuple[object, ...]]:
    with open_store(log, *more, cache=cache) as store:
        return rows(store, COUNT)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return traces.write_log(tmp_path / "a.tkt", traces.random_trace(1, 100))


def test_what_is_saved_is_there_for_queries(log: Path) -> None:
    with open_store(log) as store:
        assert rows(store, COUNT) == []
        assert save(store, {"gc=off": {"low": made_up(2), "high": made_up(3, 5)}}) is None
    with open_store(log) as store:
        assert rows(store, "FROM sim_timeline WHERE bound = 'low'") == [
            (1, "gc=off", "low", 0, 0, 0, 0, 0, 0, 0),
            (1, "gc=off", "low", 1, 2, 3, 4, 5, 6, 7),
        ]
        assert rows(store, "FROM sim_collections WHERE bound = 'high' ORDER BY seq LIMIT 1") == [
            (1, "gc=off", "high", 5, 10, 15, 20, 25, True)
        ]
        assert rows(store, "SELECT number, alloc_seq, free_seq FROM sim_arenas WHERE bound = 'low'") == [
            (0, 0, None),
            (1, 2, 2),
        ]
        assert store.relation("SELECT count(*) FROM sim_arenas").fetchall() == [(5,)]
        assert store.query("FROM sim_arenas").columns[:3] == ["trace_id", "scenario", "bound"]


def test_a_scenario_replaces_its_rows_and_no_others(log: Path) -> None:
    assert saved(log, recorded=5, malloc=2) is None
    assert saved(log, malloc=3, other=1) is None
    assert counts(log) == [("malloc", "only", 3), ("other", "only", 1), ("recorded", "only", 5)]
    with open_store(log) as store:
        assert save(store, {"malloc": {"low": made_up(1), "high": made_up(1)}}) is None
    assert counts(log)[:2] == [("malloc", "high", 1), ("malloc", "low", 1)]
    assert {path.name for path in log.parent.iterdir()} == {
        name.name for name in (log, cache_path(log), simulated_path(log))
    }


def test_of_several_logs_each_has_its_own(log: Path, tmp_path: Path) -> None:
    other = traces.write_log(tmp_path / "b.tkt", traces.random_trace(2, 50))
    with open_store(other, log) as store:
        assert save(store, {"x": {"only": made_up(4)}}, trace_id=2) is None
    with open_store(other, log) as store:
        assert rows(store, "SELECT trace_id, count(*) FROM sim_timeline GROUP BY 1") == [(2, 4)]
    with open_store(log, other) as store:
        assert rows(store, "SELECT DISTINCT trace_id FROM sim_arenas") == [(1,)]
    assert not simulated_path(other).exists()


def test_without_a_file_of_the_store_there_is_nothing_to_keep_them_in(log: Path) -> None:
    with open_store(log, cache=False) as store:
        note = save(store, {"x": {"only": made_up(1)}})
    assert note is not None
    assert "in memory only" in note
    assert list(log.parent.iterdir()) == [log]
    assert saved(log, x=1) is None
    assert counts(log, cache=False) == []


def test_a_folder_that_cannot_be_written(log: Path) -> None:
    with open_store(log) as store:
        simulated_path(log).mkdir()
        note = save(store, {"x": {"only": made_up(1)}})
    assert note is not None
    assert "cannot be written" in note
    assert counts(log) == []
    assert not list(log.parent.glob(".*"))


def test_the_database_of_somebody_else_is_left_alone(log: Path) -> None:
    with duckdb.connect(str(simulated_path(log))) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 42 AS answer")
    note = saved(log, x=1)
    assert note is not None
    assert "somebody else" in note
    assert counts(log) == []
    with duckdb.connect(str(simulated_path(log))) as connection:
        assert connection.execute("FROM mine").fetchall() == [(42,)]


def test_a_broken_file_is_made_again(log: Path) -> None:
    assert saved(log, x=1) is None
    simulated_path(log).write_bytes(b"torn" * 100)
    assert counts(log) == []
    assert saved(log, y=2) is None
    assert counts(log) == [("y", "only", 2)]


def test_of_a_log_that_has_grown_there_are_no_stale_ones(tmp_path: Path) -> None:
    trace = traces.random_trace(1, 100)
    part = traces.Trace(trace.header, trace.events[:50], trace.definitions)
    log = traces.write_log(tmp_path / "a.tkt", part, seed=None, closed=False)
    earlier = open_store(log)
    assert save(earlier, {"x": {"only": made_up(1)}}) is None
    assert counts(log) == [("x", "only", 1)]
    traces.write_log(log, trace, seed=None)
    assert counts(log) == []
    assert saved(log, x=2) is None
    note = save(earlier, {"x": {"only": made_up(3)}})
    assert note is not None
    assert "has grown" in note
    assert counts(log) == [("x", "only", 2)]
    earlier.close()


def test_a_crash_in_between_changes_nothing(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved(log, x=1) is None
    before = simulated_path(log).read_bytes()

    def crash(*_arguments: object, **_more: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(simulated, "insert_rows", crash)
        with pytest.raises(KeyboardInterrupt):
            saved(log, x=2, y=2)
    assert simulated_path(log).read_bytes() == before
    assert not list(log.parent.glob(".*"))
    assert saved(log, y=2) is None


KILLED = """
import os, signal, sys
from tracekit.store import cache, simulated
from tracekit.store.opening import open_store

simulated.insert_rows = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
with open_store(sys.argv[1]) as store:
    simulated.save(store, {"x": {"only": {"sim_arenas": {}}}})
"""


def test_a_process_that_is_killed_leaves_what_was_there(log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert saved(log, x=1) is None
    done = subprocess.run([sys.executable, "-c", KILLED, str(log)], check=False, timeout=100)
    assert done.returncode == -signal.SIGKILL
    left = list(log.parent.glob(".*"))
    assert left
    assert counts(log) == [("x", "only", 1)]
    monkeypatch.setattr(cache, "ABANDONED_AFTER_S", -1)
    assert saved(log, y=2) is None
    assert counts(log) == [("x", "only", 1), ("y", "only", 2)]
    assert not list(log.parent.glob(".*"))


def test_who_reads_meanwhile_keeps_what_was_there(log: Path) -> None:
    assert saved(log, x=1) is None
    with open_store(log) as reader:
        result = reader.query(COUNT)
        assert saved(log, x=5) is None
        assert list(result.rows()) == [("x", "only", 1)]
        assert rows(reader, COUNT) == [("x", "only", 1)]
    assert counts(log) == [("x", "only", 5)]


def test_several_at_once_lose_nothing(log: Path) -> None:
    notes: list[str | None] = []
    threads = [
        threading.Thread(target=lambda name=f"s{number}": notes.append(saved(log, **{name: 3})))
        for number in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert notes == [None] * 4
    assert counts(log) == [(f"s{number}", "only", 3) for number in range(4)]


def test_names_of_the_tables(log: Path) -> None:
    assert set(simulated_names()) == set(made_up(1))
    with open_store(log) as store:
        for name in simulated_names():
            assert rows(store, f"SELECT count(*) FROM {name}") == [(0,)]
