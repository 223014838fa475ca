"""The examples of docs/sql.md run, and the page names everything that the store has."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import traces

from tools.reference import with_reference
from tracekit.store.database import Store
from tracekit.store.opening import open_store

PAGE = (Path(__file__).parents[2] / "docs" / "sql.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```sql\n(.*?)```\n\n\| (.*?) \|\n", PAGE, re.DOTALL)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    build = traces.TraceBuilder()
    build.mark("warm")
    build.allocate(40, stack=build.stack(("a.py", "f", 1)))
    build.gc_start()
    build.free(build.allocate(20))
    build.gc_stop()
    path = tmp_path_factory.mktemp("docs") / "a.tkt"
    return open_store(traces.write_log(path, build.finish()), cache=False)


@pytest.mark.parametrize(("sql", "columns"), EXAMPLES)
def test_examples(store: Store, sql: str, columns: str) -> None:
    result = store.query(sql)
    assert result.columns == columns.split(" | ")
    assert list(result.rows())


def test_every_example_was_found() -> None:
    assert len(EXAMPLES) == PAGE.count("```sql") >= 7


def test_the_reference_is_in_step() -> None:
    assert with_reference(PAGE) == PAGE, "run 'make schemas'"


def test_everything_is_named(store: Store) -> None:
    names = store.query(
        """SELECT table_name FROM duckdb_tables() WHERE NOT internal
           UNION SELECT view_name FROM duckdb_views() WHERE NOT internal
           UNION SELECT function_name || '(' FROM duckdb_functions() WHERE NOT internal"""
    )
    assert [name for (name,) in names.rows() if f"`{name}" not in PAGE] == []
