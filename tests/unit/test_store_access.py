"""What queries may reach and take: files, databases and memory, with and without leave."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest
import traces
from processes import running

from tracekit.errors import MemoryLimitError, SqlError
from tracekit.store.access import Access
from tracekit.store.database import Store
from tracekit.store.opening import open_store
from tracekit.store.running import interruptible

MIB = 2**20


@pytest.fixture
def log(tmp_path: Path) -> Path:
    build = traces.TraceBuilder()
    for size in range(1, 40):
        build.allocate(size)
    return traces.write_log(tmp_path / "a.tkt", build.finish())


@pytest.fixture(params=[True, False], ids=["file", "memory"])
def opened(request: pytest.FixtureRequest, log: Path) -> Callable[[Access], Store]:
    def open_with(access: Access) -> Store:
        return open_store(log, cache=request.param, access=access)

    return open_with


def rows(store: Store, sql: str) -> list[tuple[Any, ...]]:
    return list(store.query(sql).rows())


def test_external_access_has_to_be_allowed(opened: Callable[[Access], Store], tmp_path: Path) -> None:
    table = tmp_path / "names.csv"
    table.write_text("size,name\n3,three\n")
    join = f"SELECT name FROM allocations JOIN '{table}' USING (size)"
    with opened(Access()) as store, pytest.raises(SqlError, match=r"out of reach.*--allow-external"):
        rows(store, join)
    with opened(Access(allow_external=True)) as store:
        assert rows(store, join) == [("three",)]
        rows(store, f"COPY (SELECT 1 AS a) TO '{tmp_path / 'out.csv'}'")
        assert (tmp_path / "out.csv").read_text() == "a\n1\n"
        assert rows(store, "SET threads = 1; SELECT current_setting('threads')") == [(1,)]


def test_another_database_can_be_attached(opened: Callable[[Access], Store], tmp_path: Path) -> None:
    other = str(tmp_path / "other.duckdb")
    with duckdb.connect(other) as connection:
        connection.execute("CREATE TABLE mine AS SELECT 7 AS n")
    attach = f"ATTACH '{other}' AS other (READ_ONLY); SELECT n FROM other.mine"
    with opened(Access()) as store, pytest.raises(SqlError, match="ATTACH is not possible"):
        rows(store, attach)
    with opened(Access(allow_external=True)) as store:
        assert rows(store, attach) == [(7,)]


@pytest.mark.parametrize(
    "sql",
    [
        "DROP TABLE allocations",
        "INSERT INTO marks VALUES (1, 'x', 0, 0, 0, false)",
        "COPY marks FROM '{folder}/marks.csv'",
        "COMMIT",
        "CREATE TABLE mine (a INTEGER)",
    ],
)
def test_the_recording_stays_as_it_is(opened: Callable[[Access], Store], tmp_path: Path, sql: str) -> None:
    (tmp_path / "marks.csv").write_text("trace_id,name,seq,time_ns,thread_id,own\n1,x,0,0,0,false\n")
    with opened(Access(allow_external=True)) as store:
        before = rows(store, "SELECT count(*) FROM marks")
        with pytest.raises(SqlError):
            rows(store, sql.format(folder=tmp_path))
        assert rows(store, "SELECT count(*) FROM marks") == before


SORT = "SELECT count(*) FROM (SELECT md5(range::VARCHAR) AS m FROM range(600000) ORDER BY m OFFSET 9)"


def test_a_query_may_spill(opened: Callable[[Access], Store]) -> None:
    with opened(Access(memory_limit=100 * MIB)) as store:
        assert rows(store, SORT) == [(599991,)]


@pytest.mark.parametrize("sql", ["SELECT list(range) FROM range(30000000)", "SELECT 1 FROM heap_at(3)"])
def test_a_query_that_takes_more(opened: Callable[[Access], Store], sql: str) -> None:
    with (
        pytest.raises(MemoryLimitError, match="--memory-limit") as caught,
        opened(Access(memory_limit=50_000 if "heap" in sql else 40 * MIB)) as store,
    ):
        rows(store, sql)
    assert "\n" not in str(caught.value)


def test_one_file_may_be_written(opened: Callable[[Access], Store], tmp_path: Path) -> None:
    target = tmp_path / "it's.parquet"
    with opened(Access(file=target)) as store:
        store.write_parquet("SELECT size FROM allocations ORDER BY 1 DESC; -- all of them", target)
        with pytest.raises(SqlError, match="out of reach"):
            store.write_parquet("SELECT 1", tmp_path / "other.parquet")
        with pytest.raises(SqlError, match="COPY is not possible"):
            rows(store, f"COPY (SELECT 1) TO '{tmp_path / 'more.parquet'}'")
    with duckdb.connect() as connection:
        assert connection.execute("SELECT size FROM read_parquet(?)", [str(target)]).fetchone() == (39,)
    assert sorted(path.suffix for path in tmp_path.iterdir() if path.suffix == ".parquet") == [".parquet"]


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("SELECT 1; SELECT 2", "one query"),
        ("SELECT 1) TO '/tmp/x' (FORMAT csv); --", "syntax error"),
        ("SELECT colour FROM marks", 'no column "colour"'),
        ("DROP TABLE marks", "DROP is not possible"),
        ("-- nothing", "one query"),
    ],
)
def test_parquet_takes_one_query(log: Path, tmp_path: Path, sql: str, said: str) -> None:
    target = tmp_path / "out.parquet"
    with open_store(log, access=Access(file=target)) as store, pytest.raises(SqlError, match=said) as caught:
        store.write_parquet(sql, target)
    if "colour" in sql:
        assert "LINE 1: SELECT colour" in str(caught.value)
    assert not target.exists()


def test_another_thread_runs_it_there() -> None:
    connection = duckdb.connect()
    seen: list[threading.Thread] = []

    def note() -> None:
        seen.append(threading.current_thread())

    worker = threading.Thread(target=lambda: interruptible(connection, note))
    worker.start()
    worker.join()
    assert seen == [worker]


@pytest.mark.parametrize("begun", [True, False])
def test_ctrl_c_while_its_thread_is_started(monkeypatch: pytest.MonkeyPatch, begun: bool) -> None:
    connection = duckdb.connect()
    running, ended = threading.Event(), threading.Event()
    start = threading.Thread.start
    threads: list[threading.Thread] = []

    def action() -> None:
        running.set()
        try:
            connection.execute("SELECT count(*) FROM range(1000000000000)")
        finally:
            ended.set()

    def interrupted(thread: threading.Thread) -> None:
        threads.append(thread)
        if begun:
            start(thread)
            assert running.wait(60)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(threading.Thread, "start", interrupted)
        interruptible(connection, action)
    assert ended.is_set() is begun
    if not begun:
        start(threads[0])  # too late
        threads[0].join(60)
        assert not running.is_set()


def test_duckdb_writes_no_file_with_threads_of_its_own(log: Path) -> None:
    """Those of DuckDB 2.0 can block each other for ever when a query is interrupted."""
    sql = "SELECT value FROM duckdb_settings() WHERE name = 'async_threads'"
    with open_store(log, cache=False) as store:
        assert set(store.query(sql).rows()) <= {("0",)}


STUCK = """
import duckdb
ENDLESS = "SELECT count(*) FROM range(1000000000000)"
from tracekit.store.running import interruptible
connection = duckdb.connect()
print("begins", flush=True)
try:
    interruptible(connection, lambda: connection.execute(ENDLESS).fetchall())
except KeyboardInterrupt:
    print(connection.execute("SELECT 'alive'").fetchall())
"""


def test_ctrl_c_ends_a_query_that_never_returns() -> None:
    with running([sys.executable, "-c", STUCK], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "begins\n"
        threading.Event().wait(0.5)
        program.send_signal(signal.SIGINT)
        assert program.communicate(timeout=60)[0] == "[('alive',)]\n"
    assert program.returncode == 0
