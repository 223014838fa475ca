"""Writes columns of numpy arrays into tables, in chunks that fill whole row groups."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt

from tracekit.store.schema import insert_statements

ROW_GROUP = 122_880
"""Rows of a DuckDB row group: the unit that has a minimum and a maximum of each column (zone map)."""

CHUNK_ROWS = 2 * ROW_GROUP
"""Rows that are collected before they are written."""

Columns = Mapping[str, npt.NDArray[Any]]


def insert_rows(connection: duckdb.DuckDBPyConnection, table: str, trace_id: int, columns: Columns) -> None:
    """Append rows by the statement of inserts.sql that is named ``table``; -1 stands for NULL there."""
    count = len(next(iter(columns.values())))
    if count == 0:
        return
    incoming = {"trace_id": np.full(count, trace_id, np.int32), **columns}
    connection.register("incoming", incoming)
    try:
        connection.execute(insert_statements()[table])
    finally:
        connection.unregister("incoming")


class RowBuffer:
    """Collects rows for one table and writes them ``CHUNK_ROWS`` at a time, in the order they came."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, table: str, trace_id: int) -> None:
        self._connection = connection
        self._table = table
        self._trace_id = trace_id
        self._parts: list[Columns] = []
        self._count = 0

    def add(self, columns: Columns) -> None:
        """Take rows; all arrays have the same length and are not changed afterwards."""
        count = len(next(iter(columns.values())))
        if count:
            self._parts.append(columns)
            self._count += count
        if self._count >= CHUNK_ROWS:
            self._write(self._count - self._count % CHUNK_ROWS)

    def finish(self) -> None:
        """Write what is left."""
        if self._count:
            self._write(self._count)

    def _write(self, count: int) -> None:
        names = list(self._parts[0])
        rows = {name: np.concatenate([part[name] for part in self._parts]) for name in names}
        self._parts, self._count = [], self._count - count
        if self._count:
            self._parts.append({name: values[count:].copy() for name, values in rows.items()})
        first = {name: values[:count] for name, values in rows.items()}
        insert_rows(self._connection, self._table, self._trace_id, first)
