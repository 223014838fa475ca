"""The SQL of the store: tables, views and macros, and how rows are written."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from importlib import resources

import duckdb

STORE_SCHEMA_VERSION = 7
"""Raised whenever a table, view or macro changes; a cached store of another version is built anew."""

_TABLES = ("schema.sql", "simulated.sql")
_PUBLISHED = (*_TABLES, "views.sql", "macros.sql")


def _read(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def store_schema() -> str:
    """All SQL that makes an empty store, as published in schemas/store.v7.sql."""
    head = (
        f"-- The DuckDB store of tracekit, version {STORE_SCHEMA_VERSION}; made from tracekit/store/*.sql.\n"
    )
    return "\n".join([head, *(_read(name) for name in _PUBLISHED)])


def table_names() -> list[str]:
    """The tables of a store, without the bookkeeping of the cache; views in a store of several logs."""
    names = re.findall(r"^CREATE TABLE (\w+)", "".join(map(_read, _TABLES)), re.MULTILINE)
    return [name for name in names if name != "store_identity"]


def simulated_names() -> list[str]:
    """Those of the tables whose rows are in a file beside the store."""
    return re.findall(r"^CREATE TABLE (\w+)", _read("simulated.sql"), re.MULTILINE)


def simulated_schema() -> str:
    """All SQL that makes that file, with the table that says what it belongs to."""
    identity = re.search(r"^CREATE TABLE store_identity .*?;$", _read("schema.sql"), re.MULTILINE | re.DOTALL)
    return (identity[0] if identity else "") + _read("simulated.sql")


def view_names() -> list[str]:
    """The views over the tables."""
    return re.findall(r"^CREATE VIEW (\w+)", _read("views.sql"), re.MULTILINE)


def union_schema(catalogs: Sequence[str], simulated: Mapping[str, str]) -> str:
    """All SQL that makes one store of several, which are attached under these names.

    Its tables are views: the trace_id of each row is 1 for the first store, 2 for the second and so on.
    ``simulated`` are the names under which the files beside stores are attached, by those of the stores.
    """
    tables = "".join(map(_read, _TABLES))
    made = re.findall(r"^CREATE TYPE .*?;$", tables, re.MULTILINE | re.DOTALL)
    beside = simulated_names()
    for table in table_names():
        names = [simulated.get(name, name) if table in beside else name for name in catalogs]
        parts = (
            f"SELECT {number}::INTEGER AS trace_id, * EXCLUDE (trace_id) FROM {catalog}.main.{table}"  # noqa: S608 - names of ours
            for number, catalog in enumerate(names, 1)
        )
        made.append(f"CREATE VIEW {table} AS {' UNION ALL '.join(parts)};")
    for kind, name, comment in re.findall(r"^COMMENT ON (\w+) (\S+) (IS .*;)$", tables, re.MULTILINE):
        if not name.startswith("store_identity"):
            made.append(f"COMMENT ON {'VIEW' if kind == 'TABLE' else kind} {name} {comment}")
    return "\n".join([*made, _read("views.sql"), _read("macros.sql")])


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
