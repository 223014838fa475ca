"""The SQL of the store: tables, views and macros, and how rows are written."""

from __future__ import annotations

import functools
from importlib import resources

import duckdb

STORE_SCHEMA_VERSION = 3
"""Raised whenever a table, view or macro changes; a cached store of another version is built anew."""

_PUBLISHED = ("schema.sql", "views.sql", "macros.sql")


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def store_schema() -> str:
    """All SQL that makes an empty store, as published in schemas/store.v3.sql."""
    head = (
        f"-- The DuckDB store of tracekit, version {STORE_SCHEMA_VERSION}; made from tracekit/store/*.sql.\n"
    )
    return "\n".join([head, *(_read(name) for name in _PUBLISHED)])


def make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """Make all tables, views and macros."""
    connection.execute("BEGIN TRANSACTION")
    connection.execute(store_schema())
    connection.execute("COMMIT")


@functools.cache
def insert_statements() -> dict[str, str]:
    """The statements of inserts.sql by the name in the ``-- table:`` line before each."""
    parts = _read("inserts.sql").split("-- table: ")[1:]
    return {name.strip(): statement.strip() for name, statement in (part.split("\n", 1) for part in parts)}
