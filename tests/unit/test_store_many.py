"""Several logs in one database, told apart by trace_id."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
import traces
from effort import some

from tracekit.errors import NotALogError
from tracekit.store.cache import cache_path
from tracekit.store.database import Store
from tracekit.store.opening import open_store

TABLES = (
    *("allocations", "unmatched_frees", "reallocs", "timeline", "stacks", "codes", "types", "threads"),
    *("gc_collections", "arenas", "marks", "memory_samples", "notices"),
    *("events", "sites", "functions", "files", "allocated_types", "lifetimes", "size_classes"),
    *("collections", "leaks", "stack_sites"),
)


@pytest.fixture
def logs(tmp_path: Path) -> list[Path]:
    return [
        traces.write_log(tmp_path / f"{number}.tkt", traces.random_trace(number, 150)) for number in range(3)
    ]


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return list(store.query(sql).rows())


@pytest.mark.parametrize("keep", some([False, True]))
def test_each_log_has_its_rows(logs: list[Path], keep: bool) -> None:
    logs = logs if keep else logs[:2]  # where they are kept makes no difference to the rows
    with open_store(*logs, cache=keep) as all_of_them:
        assert all_of_them.paths == logs
        for number, log in enumerate(logs, 1):
            with open_store(log, cache=keep) as alone:
                for table in TABLES if keep else TABLES[::4]:
                    found = rows(all_of_them, f"FROM {table} WHERE trace_id = {number} ORDER BY ALL")
                    wanted = rows(alone, f"SELECT * REPLACE ({number} AS trace_id) FROM {table} ORDER BY ALL")
                    assert found == wanted, table
                for sql in (
                    "SELECT moment('peak'{0}), moment('50%'{0}), moment('end'{0})",
                    "SELECT * EXCLUDE (trace_id) FROM heap_at(moment('peak'{0}){0}) ORDER BY ALL",
                    "FROM heap_tree(moment('end'{0}){0})",
                    "FROM heap_growth(moment('start'{0}), moment('end'{0}), 'stack'{0}) ORDER BY ALL",
                ):
                    found = rows(all_of_them, sql.format(f", trace := {number}"))
                    assert found == rows(alone, sql.format("")), sql
        wanted_bytes = [(log.stat().st_size,) for log in logs]
        assert rows(all_of_them, "SELECT log_bytes FROM traces ORDER BY trace_id") == wanted_bytes
    assert all(cache_path(log).exists() == keep for log in logs)


def test_everything_has_its_comment(logs: list[Path]) -> None:
    with open_store(*logs) as store:
        for function in ("duckdb_views()", "duckdb_columns()"):
            sql = f"FROM {function} SELECT count(*), count(comment) WHERE NOT internal"
            count, commented = rows(store, f"{sql} AND database_name = 'memory'")[0]
            assert count == commented
            assert isinstance(count, int)
            assert count > 20


def test_one_that_cannot_be_cached(logs: list[Path]) -> None:
    with duckdb.connect(str(cache_path(logs[1]))) as connection:
        connection.execute("CREATE TABLE precious AS SELECT 1 AS a")
    with open_store(*logs) as store:
        assert "somebody else" in store.notes[0]
        assert rows(store, "SELECT trace_id FROM traces ORDER BY 1") == [(1,), (2,), (3,)]


def test_the_same_log_twice(logs: list[Path]) -> None:
    with open_store(logs[0], logs[0], cache=False) as store:
        assert rows(store, "SELECT count(DISTINCT events), count(*) FROM traces") == [(1, 2)]


def test_one_that_is_no_log(logs: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "x.tkt"
    other.write_text("hello")
    with pytest.raises(NotALogError, match=r"x\.tkt is not a tracekit log"):
        open_store(*logs, other)
