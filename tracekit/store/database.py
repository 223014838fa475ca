"""An open store: answers queries on a log. :mod:`tracekit.store.opening` makes one."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar
from weakref import WeakSet

import duckdb

from tracekit.errors import SqlError, StoreError, TracekitError
from tracekit.events import Header, Notice, Totals
from tracekit.store.access import RECORDING_ONLY, Access
from tracekit.store.cache import Database, Identity
from tracekit.store.complaints import Names, complaint, refusal, write_failure
from tracekit.store.lookups import older_blocks, path_bytes, shared_blocks, used_pools
from tracekit.store.running import interruptible
from tracekit.store.statements import split_statements
from tracekit.store.stepping import SCAN_BYTES, WINDOW, read_outlines, read_steps
from tracekit.store.steps import IntArray, Outline, Steps
from tracekit.store.traces import read_totals

_FETCH_ROWS = 4096
_NAMES = """
SELECT table_name, 'table' FROM duckdb_tables() WHERE NOT internal AND database_name = current_catalog()
UNION ALL SELECT view_name, 'table' FROM duckdb_views()
WHERE NOT internal AND database_name = current_catalog()
UNION ALL SELECT function_name, function_type FROM duckdb_functions()
WHERE NOT internal AND database_name = current_catalog()
"""

T = TypeVar("T")

Explain = Callable[[duckdb.Error], TracekitError]
Read = Callable[[duckdb.DuckDBPyConnection, int, int], Iterator[T]]
"""Reads the steps of a trace, those of so many events at a time."""


class Result:
    """The answer to a query: ``columns`` are the names, ``types`` DuckDB's names of their types."""

    def __init__(self, cursor: duckdb.DuckDBPyConnection, explain: Explain) -> None:
        self._cursor = cursor
        self._explain = explain
        description = cursor.description or []
        self.columns: list[str] = [str(column[0]) for column in description]
        self.types: list[str] = [str(column[1]) for column in description]

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows, once, fetched in chunks while the query runs: they are never all in memory.

        Raises SqlError or MemoryLimitError when the query fails on the way.
        """
        try:
            while chunk := interruptible(self._cursor, lambda: self._cursor.fetchmany(_FETCH_ROWS)):
                yield from chunk
        except duckdb.Error as error:
            raise self._explain(error) from None
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
        self,
        paths: Sequence[Path],
        headers: Sequence[Header],
        database: Database,
        notes: list[str],
        access: Access = RECORDING_ONLY,
    ) -> None:
        self.path, self.header = paths[0], headers[0]
        self.paths = list(paths)
        self.trace_id = 1
        self._database = database
        self._access = access
        self._scans: WeakSet[Generator[Steps] | Generator[Outline]] = WeakSet()
        self._relations: list[duckdb.DuckDBPyConnection] = []
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
        access.apply(database.connection)

    def query(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Result:
        """Run SQL that reads. Of several statements the last one's rows are the answer.

        Raises SqlError, which says what is wrong and points at the place, also for SQL that would write;
        and MemoryLimitError.
        """
        with self._asking(sql) as cursor:
            if not self._checked(cursor, sql):
                raise SqlError("there is no SQL statement to run")
            given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
            interruptible(cursor, lambda: cursor.execute(sql, given))
            return Result(cursor, lambda error: complaint(error, sql, self._names))

    def relation(self, sql: str) -> duckdb.DuckDBPyRelation:
        """One query as a relation of DuckDB, which runs when its rows are asked for, and each time anew.

        It has a connection of its own, and is good until the store is closed. Raises what :meth:`query` does
        for SQL that is wrong; what goes wrong later is raised in DuckDB's own words.
        """
        with self._asking(sql) as cursor:
            if self._checked(cursor, sql) != 1:
                raise SqlError("a relation is made of one query", hint="give one statement")
            found = cursor.sql(sql)
            if found is None:
                raise SqlError("a relation is made of a query", hint="give a SELECT")
            self._relations.append(cursor)
            return found

    def write_parquet(self, sql: str, path: Path) -> None:
        """Write the rows of one query to a Parquet file, which the store's access must allow.

        The rows go from DuckDB into the file and are never all in memory. Raises what :meth:`query` does, and
        OSError when the file cannot be written.
        """
        with self._asking(sql) as cursor:
            if self._checked(cursor, sql) != 1:
                raise SqlError("a Parquet file takes the rows of one query", hint="give one statement")
            statements, rest = split_statements(sql)
            try:
                rows = cursor.sql(statements[0] if statements else rest)
            except duckdb.Error:
                cursor.execute(sql)  # which says the same and the place besides
                raise

            def write() -> None:
                rows.write_parquet(str(path), compression="zstd", overwrite=True, use_tmp_file=False)

            try:
                interruptible(cursor, write)
            except duckdb.Error as error:
                raise write_failure(error) or error from None
            cursor.close()

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of DuckDB in a transaction that cannot write to the store, closed at the end."""
        cursor = self._database.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    @contextmanager
    def _asking(self, sql: str) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection that is closed after an error, which is raised in tracekit's words."""
        try:
            cursor = self._database.cursor()
        except duckdb.Error as error:
            raise SqlError(str(error)) from None
        try:
            yield cursor
        except duckdb.Error as error:
            cursor.close()
            raise complaint(error, sql, self._names) from None
        except BaseException:
            cursor.close()
            raise

    def _checked(self, cursor: duckdb.DuckDBPyConnection, sql: str) -> int:
        """The number of statements, all of which may run. Raises SqlError."""
        statements = cursor.extract_statements(sql)
        for statement in statements:
            if statement.type.name not in self._access.statements:
                raise refusal(statement.type.name)
        return len(statements)

    def _names(self) -> Names:
        with self.cursor() as cursor:
            found = cursor.execute(_NAMES).fetchall()
        return Names(
            *([name for name, of in found if of == kind] for kind in ("table", "macro", "table_macro"))
        )

    def steps(self, window: int = WINDOW, trace_id: int | None = None) -> Generator[Steps]:
        """Allocations and frees in the order of ``seq``, those of ``window`` events at a time.

        Of the first trace, or of ``trace_id``. Raises StoreError.
        """
        scan = self._scan(read_steps, window, self.trace_id if trace_id is None else trace_id)
        self._scans.add(scan)
        return scan

    def outlines(self, window: int = WINDOW, trace_id: int | None = None) -> Generator[Outline]:
        """As :meth:`steps`, with fewer columns."""
        scan = self._scan(read_outlines, window, self.trace_id if trace_id is None else trace_id)
        self._scans.add(scan)
        return scan

    def _scan(self, read: Read[T], window: int, trace: int) -> Generator[T]:
        try:
            with self._apart(trace) as (cursor, trace_id):
                yield from read(cursor, trace_id, window)
        except duckdb.Error as error:
            raise StoreError(f"the store of {self.path} cannot be read: {error}") from error

    @contextmanager
    def _apart(self, trace: int) -> Iterator[tuple[duckdb.DuckDBPyConnection, int]]:
        """A connection for who reads much of a trace once, and the number of the trace there.

        DuckDB would keep all that it has read. In a file of its own every trace is the first.
        """
        with ExitStack() as stack:
            known = 0 < trace <= len(self.paths)
            apart = self._database.reopened(self._name(trace), SCAN_BYTES) if known else None
            if apart is not None:
                stack.callback(apart.close)
            yield stack.enter_context(closing((apart or self._database).cursor())), 1 if apart else trace

    def source(self, trace_id: int) -> tuple[Path | None, Identity | None]:
        """The file that a trace is read from, and what it was built from; None, None when it is in memory."""
        return self._database.source(self._name(trace_id))

    def _name(self, trace_id: int) -> str:
        """The name under which the store of a trace is attached."""
        return f"trace{trace_id}" if len(self.paths) > 1 else "store"

    def older_blocks(self) -> tuple[IntArray, IntArray]:
        """Blocks that pymalloc held at the start: addresses, rising, and bytes of their size classes."""
        with self.cursor() as cursor:
            return older_blocks(cursor, self.trace_id)

    def used_pools(self, addresses: range, pool_size: int, most_bytes: int) -> IntArray:
        """Pools with these addresses, in the order in which blocks of 1 to ``most_bytes`` came there."""
        with self._apart(self.trace_id) as (cursor, trace_id):
            return used_pools(cursor, trace_id, addresses, pool_size, most_bytes)

    def shared_blocks(self, most_for_one: int) -> tuple[IntArray, IntArray]:
        """Blocks that garbage may have referred to, too: see :func:`tracekit.store.lookups.shared_blocks`."""
        with self._apart(self.trace_id) as (cursor, trace_id):
            return shared_blocks(cursor, trace_id, most_for_one)

    def path_bytes(self) -> IntArray:
        """Bytes that the frames of each call path occupy, by ``stack_id``. Raises StoreError."""
        with self.cursor() as cursor:
            return path_bytes(cursor, self.trace_id)

    def close(self) -> None:
        """Close the store; results that are not read to the end are lost."""
        for scan in list(self._scans):
            scan.close()
        for cursor in self._relations:
            cursor.close()
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
