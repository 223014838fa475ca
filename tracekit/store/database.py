"""An open store: answers queries on a log. :mod:`tracekit.store.opening` makes one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import numpy as np

from tracekit.errors import SqlError, StoreError
from tracekit.events import Header, Notice, Totals
from tracekit.store.cache import Database
from tracekit.store.steps import Steps
from tracekit.store.traces import read_totals

_FETCH_ROWS = 4096
_READING = {"SELECT", "EXPLAIN", "PRAGMA", "MULTI"}
"""Kinds of statements that are let through (MULTI is a PIVOT); the transaction is read-only besides."""

_STEPS = """
SELECT alloc_seq AS seq, allocated_ns AS time_ns, false AS is_free, alloc_seq, size,
       enum_code(domain)::UTINYINT AS domain, stack_id, 0::UTINYINT AS cause
FROM allocations WHERE trace_id = $trace AND alloc_seq BETWEEN $first AND $last
UNION ALL
SELECT free_seq, freed_ns, true, alloc_seq, size, enum_code(domain)::UTINYINT, stack_id,
       enum_code(freed_by)::UTINYINT
FROM allocations WHERE trace_id = $trace AND free_seq BETWEEN $first AND $last
ORDER BY seq
"""


class Result:
    """The answer to a query: ``columns`` are the names, ``types`` DuckDB's names of their types."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection) -> None:
        self._cursor = cursor
        description = cursor.description or []
        self.columns: list[str] = [str(column[0]) for column in description]
        self.types: list[str] = [str(column[1]) for column in description]

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows, once, fetched in chunks. Raises SqlError when the query fails on the way."""
        try:
            while chunk := self._cursor.fetchmany(_FETCH_ROWS):
                yield from chunk
        except duckdb.Error as error:
            raise SqlError(str(error)) from None
        finally:
            self._cursor.close()


class Store:
    """The projection of one log or several: tables, views and macros (docs/sql.md). A context manager.

    ``path``, ``header``, ``trace_id``, ``totals``, ``complete`` and ``exit_status`` are those of the first
    log; ``complete`` is false when the program did not reach its end. ``paths`` are all of them: the
    ``trace_id`` of the first is 1. ``notices`` are the recorder's of all logs, ``notes`` what opening them
    and their caches showed.
    """

    def __init__(
        self, paths: Sequence[Path], headers: Sequence[Header], database: Database, notes: list[str]
    ) -> None:
        self.path, self.header = paths[0], headers[0]
        self.paths = list(paths)
        self.trace_id = 1
        self._database = database
        self.totals: Totals = read_totals(database.connection, self.trace_id)
        rows = database.connection.execute(
            "SELECT complete, exit_status, closed, torn_bytes FROM traces ORDER BY trace_id"
        ).fetchall()
        self.complete: bool = rows[0][0]
        self.exit_status: int | None = rows[0][1]
        self.notes = list(notes)
        for path, (_, _, closed, torn_bytes) in zip(paths, rows, strict=True):
            self.notes += _state_of(path, closed=closed, torn_bytes=torn_bytes)
        found = database.connection.execute(
            "SELECT code, seq, time_ns, text FROM notices ORDER BY trace_id, seq, time_ns"
        ).fetchall()
        self.notices: list[Notice] = [Notice(*notice) for notice in found]
        database.seal()

    def query(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Result:
        """Run SQL that reads. Of several statements the last one's rows are the answer.

        Raises SqlError with DuckDB's own message, which points at the place, and for SQL that would write.
        """
        try:
            cursor = self._database.cursor()
        except duckdb.Error as error:
            raise SqlError(str(error)) from None
        try:
            statements = cursor.extract_statements(sql)
            for statement in statements:
                if statement.type.name not in _READING:
                    raise SqlError(
                        f"a {statement.type.name} statement is not possible: queries can only read",
                        hint="SELECT, EXPLAIN, DESCRIBE, SHOW and SUMMARIZE are",
                    )
            if not statements:
                raise SqlError("there is no SQL statement to run")
            cursor.execute(sql, dict(parameters) if isinstance(parameters, Mapping) else list(parameters))
            return Result(cursor)
        except duckdb.Error as error:
            cursor.close()
            raise SqlError(str(error)) from None
        except BaseException:
            cursor.close()
            raise

    def steps(self, batch: int = 65536) -> Iterator[Steps]:
        """Allocations and frees in the order of ``seq``, at most ``batch`` at a time."""
        cursor = self._database.cursor()
        try:
            span = cursor.execute(
                "SELECT first_seq, last_seq FROM traces WHERE trace_id = ?", [self.trace_id]
            ).fetchone()
            if span is None or span[0] is None:
                return
            for first in range(span[0], span[1] + 1, batch):
                limits = {"trace": self.trace_id, "first": first, "last": min(first + batch - 1, span[1])}
                columns = cursor.execute(_STEPS, limits).fetchnumpy()
                if len(columns["seq"]):
                    yield Steps(**{name: np.ma.getdata(values) for name, values in columns.items()})
        except duckdb.Error as error:
            raise StoreError(f"the store of {self.path} cannot be read: {error}") from error
        finally:
            cursor.close()

    def close(self) -> None:
        """Close the store; results that are not read to the end are lost."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _state_of(path: Path, *, closed: bool, torn_bytes: int) -> list[str]:
    if closed:
        return []
    torn = f"; {torn_bytes} bytes of an unfinished record at its end were left out" if torn_bytes else ""
    return [f"{path} was not closed (its recorder was stopped, or is still at work){torn}"]
