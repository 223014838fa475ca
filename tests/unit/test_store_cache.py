"""The file beside the log: when it is used, when it is built anew, and what is left behind (nothing)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import duckdb
import pytest
import traces
from effort import some
from processes import TIMEOUT, running

from tracekit.errors import LogCorruptError
from tracekit.store import cache
from tracekit.store.access import Access
from tracekit.store.database import Store
from tracekit.store.ingest import ingest
from tracekit.store.opening import open_store


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return traces.write_log(tmp_path / "app.tkt", traces.random_trace(7, 200))


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The logs that were ingested, in order."""
    seen: list[Path] = []

    def counted(*arguments: object) -> object:
        seen.append(arguments[1].path)  # type: ignore[attr-defined]
        return ingest(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("tracekit.store.opening.ingest", counted)
    return seen


def events_of(store: Store) -> object:
    return next(store.query("SELECT count(*) FROM events").rows())[0]


def test_built_once(log: Path, built: list[Path]) -> None:
    for _ in range(3):
        with open_store(log) as store:
            assert events_of(store) == store.totals.events > 200
            assert store.notes == []
            assert [notice.code for notice in store.notices] == ["test-notice"] * len(store.notices)
    assert built == [log]
    assert sorted(path.name for path in log.parent.iterdir()) == ["app.tkt", "app.tkt.duckdb"]


def test_without_cache_nothing_is_written(log: Path, built: list[Path]) -> None:
    for _ in range(2):
        with open_store(log, cache=False) as store:
            assert store.notes == []
    assert built == [log, log]
    assert list(log.parent.iterdir()) == [log]


def test_a_changed_log_is_read_anew(log: Path, built: list[Path]) -> None:
    with open_store(log) as old:
        before = events_of(old)
        traces.write_log(log, traces.random_trace(8, 300))
        with open_store(log) as new:
            assert events_of(new) == new.totals.events > 300
            assert "another state of the log" in new.notes[0]
        assert events_of(old) == before, "whoever has the old one open keeps it"
    assert len(built) == 2


def test_same_length_other_time(log: Path, built: list[Path]) -> None:
    open_store(log).close()
    status = log.stat()
    os.utime(log, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    open_store(log).close()
    assert len(built) == 2


@pytest.mark.parametrize("name", ["STORE_SCHEMA_VERSION", "__version__"])
def test_another_version(log: Path, built: list[Path], monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    open_store(log).close()
    other = cache.Identity("?", 0, 0)
    changed = {
        "STORE_SCHEMA_VERSION": lambda reader, time: cache.Identity(
            reader.header.trace_uuid, reader.size, time, schema_version=other.schema_version + 1
        ),
        "__version__": lambda reader, time: cache.Identity(
            reader.header.trace_uuid, reader.size, time, tool_version="99"
        ),
    }
    monkeypatch.setattr(cache.Identity, "of", changed[name])
    with open_store(log) as store:
        assert "another tracekit" in store.notes[0]
    assert len(built) == 2


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_a_damaged_cache_is_built_anew(log: Path, built: list[Path], damage: str) -> None:
    open_store(log).close()
    file = cache.cache_path(log)
    data = bytearray(file.read_bytes())
    match damage:
        case "empty":
            data = bytearray()
        case "text":
            data = bytearray(b"this is no database\n" * 1000)
        case "cut":
            data = data[:9000]
        case _:
            data[4096:12288] = bytes(8192)
    file.write_bytes(data)
    with open_store(log) as store:
        assert events_of(store) == store.totals.events
        assert "it was built anew" in store.notes[0]
    assert len(built) == 2
    assert sorted(path.name for path in log.parent.iterdir()) == ["app.tkt", "app.tkt.duckdb"]


def test_a_database_of_somebody_else_is_left_alone(log: Path) -> None:
    file = cache.cache_path(log)
    with duckdb.connect(str(file)) as connection:
        connection.execute("CREATE TABLE precious AS SELECT 1 AS a")
    before = file.read_bytes()
    with open_store(log) as store:
        assert events_of(store) == store.totals.events
        assert "somebody else" in store.notes[0]
    assert file.read_bytes() == before


def test_a_folder_that_takes_no_file(tmp_path: Path, built: list[Path]) -> None:
    """The name of the store would be longer than the file system allows, which stops even root."""
    log = traces.write_log(tmp_path / ("a" * 250 + ".tkt"), traces.random_trace(7, 200))
    with open_store(log) as store:
        assert events_of(store) == store.totals.events
        assert "kept in memory" in store.notes[0]
    assert built == [log]
    assert list(tmp_path.iterdir()) == [log]


def test_a_folder_where_the_cache_belongs(log: Path) -> None:
    cache.cache_path(log).mkdir()
    with open_store(log) as store:
        assert "kept in memory" in store.notes[0]
        assert events_of(store) == store.totals.events


def test_a_failed_build_leaves_the_old_file(log: Path) -> None:
    open_store(log).close()
    file = cache.cache_path(log)
    before = file.read_bytes()
    data = bytearray(log.read_bytes())
    data[len(data) // 2] ^= 1
    log.write_bytes(data)
    with pytest.raises(LogCorruptError):
        open_store(log)
    assert file.read_bytes() == before
    assert sorted(path.name for path in log.parent.iterdir()) == ["app.tkt", "app.tkt.duckdb"]


def test_what_a_killed_builder_left_is_removed_when_it_is_old(log: Path) -> None:
    old, new = (log.with_name(f".app.tkt.duckdb.{pid}-00.tmp") for pid in (1, 2))
    old.write_bytes(b"x")
    new.write_bytes(b"x")
    os.utime(old, (1_000_000, 1_000_000))
    open_store(log).close()
    assert not old.exists()
    assert new.exists(), "another process may be at work on it"


def test_two_at_once_and_another_process(log: Path, built: list[Path]) -> None:
    program = (
        "import sys; from tracekit.store.opening import open_store as o; print(o(sys.argv[1]).totals.events)"
    )
    with open_store(log) as first, open_store(log) as second:
        assert events_of(first) == events_of(second)
        other = subprocess.run(
            [sys.executable, "-c", program, str(log)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=True,
        )
        assert int(other.stdout) == events_of(first)
    assert len(built) == 1


def test_processes_that_build_at_the_same_time(log: Path) -> None:
    program = (
        "import sys; from tracekit.store.opening import open_store as o; print(o(sys.argv[1]).totals.events)"
    )
    command = [sys.executable, "-c", program, str(log)]
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(running(command, stdout=subprocess.PIPE, text=True)) for _ in range(3)]
        answers = {process.communicate()[0].strip() for process in started}
    with open_store(log) as store:
        assert answers == {str(events_of(store))}
    assert sorted(path.name for path in log.parent.iterdir()) == ["app.tkt", "app.tkt.duckdb"]


@pytest.mark.parametrize("keep", some([True, False]))
def test_nothing_spilled_is_left(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: bool
) -> None:
    spill = tmp_path / "spill"
    spill.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(spill))
    monkeypatch.chdir(spill)
    with open_store(log, cache=keep, access=Access(memory_limit=100_000_000)) as store:
        sql = "SELECT count(*) FROM (SELECT md5(range::VARCHAR) AS m FROM range(2000000) ORDER BY m OFFSET 9)"
        assert next(store.query(sql).rows()) == (1999991,)
        assert list(spill.iterdir()), "the query did spill"
    assert list(spill.iterdir()) == []
