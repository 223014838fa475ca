"""The published SQL of the store, and that everything in it is explained."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pytest
from empty_stores import copies

from tracekit.events import Cause, Domain, EventKind
from tracekit.store.schema import STORE_SCHEMA_VERSION, insert_statements, make_tables, store_schema

PUBLISHED = Path(__file__).parents[2] / "schemas" / f"store.v{STORE_SCHEMA_VERSION}.sql"


@pytest.fixture(scope="module")
def empty() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:")
    connection.execute(store_schema())
    return connection


def test_published_schema_is_in_step() -> None:
    assert PUBLISHED.read_text(encoding="utf-8") == store_schema(), "run 'make schemas'"


CATALOGS = ("tables", "columns", "views", "functions", "types", "constraints", "indexes", "schemas")


def test_a_copy_is_what_was_copied(tmp_path: Path) -> None:
    """Other tests use copies."""
    found = []
    for make in (make_tables, copies(tmp_path / "made.duckdb")):
        with duckdb.connect() as connection:
            connection.execute("ATTACH ':memory:' AS store")
            connection.execute("USE store")
            make(connection)
            found.append(
                {
                    name: connection.execute(
                        f"SELECT COLUMNS(lambda c: c NOT LIKE '%oid') FROM duckdb_{name}() "
                        "WHERE database_name = 'store' ORDER BY ALL"
                    ).fetchall()
                    for name in CATALOGS
                }
            )
    assert found[0] == found[1]
    assert all(found[0][name] for name in CATALOGS if name != "indexes")


@pytest.mark.parametrize(
    ("catalog", "name"),
    [
        ("duckdb_tables()", "table_name"),
        ("duckdb_views()", "view_name"),
        ("duckdb_columns()", "table_name || '.' || column_name"),
        ("duckdb_functions()", "function_name"),
        ("duckdb_types()", "type_name"),
    ],
)
def test_everything_has_a_comment(empty: duckdb.DuckDBPyConnection, catalog: str, name: str) -> None:
    objects = empty.execute(f"SELECT {name}, comment FROM {catalog} WHERE NOT internal").fetchall()
    assert objects
    assert [found for found, comment in objects if not comment] == []


def test_tables_of_the_contract(empty: duckdb.DuckDBPyConnection) -> None:
    found: dict[str, list[str]] = {}
    rows = empty.execute(
        "SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal ORDER BY column_index"
    )
    for table, column in rows.fetchall():
        found.setdefault(table, []).append(column)
    wanted = {
        "allocations": "trace_id alloc_seq free_seq allocated_ns freed_ns address size domain thread_id "
        "stack_id type_id freed_by",
        "stacks": "trace_id stack_id parent_id code_id line depth",
        "codes": "trace_id code_id filename qualname first_line frame_bytes",
        "types": "trace_id type_id name basic_size gc_tracked",
        "threads": "trace_id thread_id name",
        "gc_collections": "trace_id gc_id generation start_seq stop_seq started_ns duration_ns collected "
        "uncollectable count0 count1 count2 threshold0 threshold1 threshold2",
        "arenas": "trace_id address size alloc_seq free_seq",
        "marks": "trace_id name seq time_ns",
        "timeline": "trace_id seq time_ns live_bytes live_blocks",
        "traces": "trace_id path",
        "events": "trace_id seq",
        "sites": "file line function",
        "leaks": "alloc_seq size",
    }
    for table, columns in wanted.items():
        assert set(columns.split()) <= set(found[table]), table


@pytest.mark.parametrize(
    ("enum", "model"), [("allocator_domain", Domain), ("free_cause", Cause)], ids=["domain", "cause"]
)
def test_enums_are_those_of_the_log(
    empty: duckdb.DuckDBPyConnection, enum: str, model: type[Domain] | type[Cause]
) -> None:
    row = empty.execute(f"SELECT enum_range(NULL::{enum})").fetchone()
    assert row is not None
    assert row[0] == [member.name.lower() for member in sorted(model)]
    assert [member.value for member in sorted(model)] == list(range(len(model)))


def test_kinds_of_events_are_those_of_the_log(empty: duckdb.DuckDBPyConnection) -> None:
    row = empty.execute("SELECT enum_range(NULL::event_kind)").fetchone()
    assert row is not None
    assert row[0] == [kind.name.lower().replace("_", "-") for kind in sorted(EventKind)]


def test_every_insert_names_a_table(empty: duckdb.DuckDBPyConnection) -> None:
    tables = {name for (name,) in empty.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    assert set(insert_statements()) - {"live"} == tables - {"traces", "store_identity"}
