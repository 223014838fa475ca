"""What is in a store, read from DuckDB's own catalogue: names, columns, parameters and their comments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb

from tracekit.store.schema import store_schema

Described = dict[str, Any]
"""A table, view, macro or type of the store.

``kind`` is ``table``, ``view``, ``macro`` (one value), ``table macro`` or ``type``; ``name``; ``comment``;
``parameters`` are those of a macro, with their defaults; ``columns`` have ``name``, ``type`` and ``comment``.
"""

_OBJECTS = """
SELECT 'table', table_name, comment, table_oid FROM duckdb_tables() WHERE NOT internal
UNION ALL SELECT 'view', view_name, comment, view_oid FROM duckdb_views() WHERE NOT internal
UNION ALL SELECT 'type', type_name, comment, type_oid FROM duckdb_types() WHERE NOT internal
ORDER BY 1, 4
"""
_COLUMNS = """
SELECT table_name, column_name, data_type, comment FROM duckdb_columns() WHERE NOT internal
ORDER BY table_oid, column_index
"""
_MACROS = """
SELECT function_type, function_name, comment, parameters FROM duckdb_functions() WHERE NOT internal
ORDER BY function_oid
"""

_DEFAULTS = {"trace": "1", "made_after": "-1"}
"""Of the parameters of macros that may be left out; the catalogue does not say."""


def describe() -> list[Described]:
    """Everything in a store: tables, views and types, and macros in the order in which they are made."""
    connection = duckdb.connect(":memory:")
    try:
        connection.execute(store_schema())
        columns: dict[str, list[dict[str, str]]] = {}
        for table, name, kind, comment in connection.execute(_COLUMNS).fetchall():
            columns.setdefault(table, []).append({"name": name, "type": kind, "comment": comment})
        found = [
            _described(kind, name, comment, columns=columns.get(name, []))
            for kind, name, comment, _ in connection.execute(_OBJECTS).fetchall()
        ]
        for kind, name, comment, parameters in connection.execute(_MACROS).fetchall():
            with_defaults = [f"{one} := {_DEFAULTS[one]}" if one in _DEFAULTS else one for one in parameters]
            found.append(_described(kind.replace("_", " "), name, comment, parameters=with_defaults))
        return found
    finally:
        connection.close()


def _described(
    kind: str,
    name: str,
    comment: str,
    *,
    parameters: Sequence[str] = (),
    columns: Sequence[dict[str, str]] = (),
) -> Described:
    return {
        "kind": kind,
        "name": name,
        "comment": comment,
        "parameters": list(parameters),
        "columns": list(columns),
    }
