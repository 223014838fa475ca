"""Views and macros, what DuckDB's errors look like, and what SQL cannot reach."""

from __future__ import annotations

from pathlib import Path

import pytest
import traces

from tracekit.errors import SqlError
from tracekit.store.database import Store
from tracekit.store.opening import open_store


@pytest.fixture(scope="module", params=[True, False], ids=["file", "memory"])
def store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    build = traces.TraceBuilder()
    main = ("/srv/app.py", "main", 10)
    load = build.stack(main, ("/srv/load.py", "Loader.read", 33))
    first = build.allocate(100, stack=load)  # seq 1
    build.advance(1000)
    build.allocate(50, stack=build.stack(main))  # seq 2
    build.allocate(60, stack=load)  # seq 3
    build.gc_start()  # seq 4
    build.free(first)  # seq 5
    build.gc_stop(collected=1)  # seq 6
    build.free_unknown(0)  # seq 7
    build.arena()  # seq 8
    build.allocate(7)  # seq 9
    build.advance(1000)
    path = tmp_path_factory.mktemp("store") / "a.tkt"
    return open_store(traces.write_log(path, build.finish()), cache=request.param)


def rows_of(store: Store, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    return list(store.query(sql, parameters).rows())


def test_events_are_all_there(store: Store) -> None:
    sql = "SELECT seq, time_ns, kind, thread_id, address, size, alloc_seq, cause FROM events ORDER BY seq"
    base = 0x7F00_0000_0000
    assert rows_of(store, sql) == [
        (0, 0, "mark", 1, None, None, None, None),
        (1, 0, "allocation", 1, base, 100, 1, None),
        (2, 1000, "allocation", 1, base + 112, 50, 2, None),
        (3, 1000, "allocation", 1, base + 176, 60, 3, None),
        (4, 1000, "gc-start", 1, None, None, None, None),
        (5, 1000, "free", 1, base, 100, 1, "gc"),
        (6, 1000, "gc-stop", 1, None, None, None, None),
        (7, 1000, "free", 1, 0, None, None, "refcount"),
        (8, 1000, "arena-allocation", 0, 0x7E00_0800_0000, 1 << 20, None, None),
        (9, 1000, "allocation", 1, base + 240, 7, 9, None),
        (10, 2000, "mark", 1, None, None, None, None),
    ]


def test_sites_and_leaks(store: Store) -> None:
    assert rows_of(store, "SELECT * EXCLUDE (trace_id) FROM sites ORDER BY allocated_bytes DESC") == [
        ("/srv/load.py", 33, "Loader.read", 2, 160, 100, 1, 60),
        ("/srv/app.py", 10, "main", 1, 50, 50, 1, 50),
        ("<unknown>", None, "<unknown>", 1, 7, 7, 1, 7),
    ]
    assert rows_of(store, "SELECT alloc_seq, age_ns, size, thread, function FROM leaks ORDER BY size") == [
        (9, 1000, 7, "MainThread", None),
        (2, 1000, 50, "MainThread", "main"),
        (3, 1000, 60, "MainThread", "Loader.read"),
    ]


def test_heap_macros(store: Store) -> None:
    heaps = [rows_of(store, "SELECT alloc_seq FROM heap_at(?) ORDER BY 1", seq) for seq in (0, 1, 3, 5, 10)]
    assert heaps == [[], [(1,)], [(1,), (2,), (3,)], [(2,), (3,)], [(2,), (3,), (9,)]]
    assert rows_of(store, "SELECT alloc_seq FROM heap_at(moment('peak')) ORDER BY 1") == [(1,), (2,), (3,)]
    assert rows_of(store, "SELECT count(*) FROM heap_at(10, trace := 2)") == [(0,)]
    between = "SELECT alloc_seq FROM heap_between(moment('start'), moment('gc:0')) ORDER BY 1"
    assert rows_of(store, between) == [(2,), (3,)]
    assert rows_of(store, "SELECT alloc_seq FROM heap_between(2, 3)") == [(3,)]
    growth = "SELECT key, bytes, blocks, bytes_before, bytes_after FROM heap_growth(2, 10, 'function')"
    assert rows_of(store, growth) == [
        ("<unknown>", 7, 1, 0, 7),
        ("Loader.read (/srv/load.py)", -40, 0, 100, 60),
    ]


def test_an_unknown_grouping(store: Store) -> None:
    with pytest.raises(SqlError, match="heap_by groups by site, function"):
        rows_of(store, "FROM heap_by(10, 'nothing')")


def test_frames(store: Store) -> None:
    leaf = "(SELECT stack_id FROM allocations WHERE alloc_seq = 3)"
    assert rows_of(store, f"SELECT depth, file, line, function FROM frames({leaf})") == [
        (2, "/srv/load.py", 33, "Loader.read"),
        (1, "/srv/app.py", 10, "main"),
    ]
    assert rows_of(store, "SELECT * FROM frames(0)") == []
    lateral = """SELECT a.alloc_seq, f.function FROM allocations a, frames(a.stack_id) f
                 WHERE f.depth = 1 ORDER BY 1"""
    assert rows_of(store, lateral) == [(1, "main"), (2, "main"), (3, "main")]


def test_moment_takes_a_column(store: Store) -> None:
    sql = "SELECT text, moment(text) FROM (VALUES ('start'), ('gc:0'), ('1ms'), ('nothing'), (NULL)) t(text)"
    assert set(rows_of(store, sql)) == {
        ("start", 0),
        ("gc:0", 6),
        ("1ms", None),
        ("nothing", None),
        (None, None),
    }


def test_columns_and_types(store: Store) -> None:
    result = store.query("SELECT size, domain, 'x' AS text, NULL::DOUBLE AS d FROM allocations LIMIT 0")
    assert result.columns == ["size", "domain", "text", "d"]
    assert result.types[0] == "BIGINT"
    assert result.types[2:] == ["VARCHAR", "DOUBLE"]
    assert list(result.rows()) == []


def test_results_do_not_disturb_each_other(store: Store) -> None:
    first = store.query("SELECT * FROM range(10000)").rows()
    second = store.query("SELECT 'x'").rows()
    assert next(first) == (0,)
    assert list(second) == [("x",)]
    assert sum(1 for _ in first) == 9999


def test_an_error_points_at_the_place(store: Store) -> None:
    with pytest.raises(SqlError) as caught:
        store.query("SELECT siez FROM allocations")
    lines = str(caught.value).splitlines()
    assert 'no column "siez"' in lines[0]
    pointed = next(line for line in lines if line.startswith("LINE 1: "))
    caret = lines[lines.index(pointed) + 1]
    assert pointed[caret.index("^") :].startswith("siez")
    with pytest.raises(SqlError, match="syntax error"):
        store.query("SELEKT 1")
    with pytest.raises(SqlError, match="no SQL statement"):
        store.query("-- nothing")
    with pytest.raises(SqlError, match="boom"):
        list(store.query("SELECT error('boom') FROM allocations").rows())


HOSTILE = [
    "SELECT * FROM read_csv('/etc/passwd')",
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM read_blob('/etc/passwd')",
    "SELECT * FROM '/etc/passwd'",
    "SELECT * FROM glob('/etc/*')",
    "SELECT * FROM sniff_csv('/etc/passwd')",
    "SELECT * FROM parquet_metadata('/etc/passwd')",
    "ATTACH '{folder}/other.duckdb'",
    "ATTACH ':memory:' AS other",
    "INSTALL httpfs",
    "LOAD httpfs",
    "COPY allocations TO '{folder}/out.csv'",
    "COPY (SELECT 1) TO '{folder}/out.csv'",
    "EXPORT DATABASE '{folder}/out'",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "SET temp_directory = '{folder}'",
    "RESET temp_directory",
    "PRAGMA memory_limit = '1GB'",
    "PRAGMA enable_profiling = 'json'",
    "CALL enable_logging(storage = 'file', storage_path = '{folder}')",
    "DELETE FROM allocations",
    "UPDATE allocations SET size = 0",
    "INSERT INTO marks VALUES (1, 'x', 0, 0, 0, false)",
    "DROP TABLE allocations",
    "CREATE TABLE mine (a INTEGER)",
    "CREATE TEMP TABLE mine AS SELECT 1",
    "CREATE OR REPLACE MACRO heap_at(a) AS TABLE SELECT 1",
    "SELECT 1; DROP TABLE allocations",
    "COMMIT; DELETE FROM allocations",
    "EXPLAIN ANALYZE DELETE FROM allocations",
    "PREPARE p AS DELETE FROM allocations",
    "USE memory",
    "CHECKPOINT",
    "SELECT * FROM local_variable",
]


@pytest.mark.parametrize("sql", HOSTILE)
def test_sql_reads_the_store_and_nothing_else(store: Store, sql: str, tmp_path: Path) -> None:
    local_variable = {"a": [1, 2]}
    before = rows_of(store, "SELECT count(*), sum(size) FROM allocations")
    with pytest.raises(SqlError):
        rows_of(store, sql.format(folder=tmp_path))
    assert rows_of(store, "SELECT count(*), sum(size) FROM allocations") == before
    assert list(tmp_path.iterdir()) == []
    assert len(local_variable) == 1


@pytest.mark.parametrize(
    "sql",
    [
        "DESCRIBE allocations",
        "SHOW TABLES",
        "SUMMARIZE marks",
        "EXPLAIN SELECT 1",
        "PRAGMA database_list",
        "PIVOT marks ON name USING count(*) GROUP BY own",
        "WITH a AS (SELECT 1) FROM a",
        "SELECT table_name, comment FROM duckdb_tables()",
        "SELECT 1; SELECT 2",
    ],
)
def test_sql_that_reads_is_possible(store: Store, sql: str) -> None:
    assert rows_of(store, sql)
