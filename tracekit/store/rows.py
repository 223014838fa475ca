"""Writes columns of numpy arrays into tables, in chunks that fill whole row groups."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import duckdb
import numpy as np
import numpy.typing as npt

from tracekit.store.schema import insert_statements

ROW_GROUP = 122_880
"""Rows of a DuckDB row group: the unit that has a minimum and a maximum of each column (zone map)."""

CHUNK_ROWS = 2 * ROW_GROUP
"""Rows that are collected before they are written."""

WORKERS = 2
"""Threads that write. Compressing what is written costs three times what reading the log does."""

Columns = dict[str, npt.NDArray[Any]]
Connect = Callable[[], duckdb.DuckDBPyConnection]
"""Gives a further connection to the database that is written."""
Prepare = Callable[[duckdb.DuckDBPyConnection], None]


def insert_rows(
    connection: duckdb.DuckDBPyConnection, table: str, trace_id: int, columns: Columns, **parameters: str
) -> None:
    """Append rows by the statement of inserts.sql that is named ``table``; -1 stands for NULL there.

    ``parameters`` are what it takes besides.
    """
    count = len(next(iter(columns.values())))
    if count == 0:
        return
    connection.register("incoming", columns)
    try:
        connection.execute(insert_statements()[table], {"trace": trace_id, **parameters})
    except BaseException:
        with contextlib.suppress(duckdb.Error):  # of a transaction that has failed
            connection.unregister("incoming")
        raise
    connection.unregister("incoming")


class Writers:
    """Threads that write chunks of rows side by side, each in a transaction of its own.

    They commit when the context is left without an exception, so the tables must belong to nobody else yet.
    An error in one of them is raised from the next :meth:`put` or from leaving the context.
    ``prepare`` is run first, by the first of them: meanwhile rows can be made ready.
    """

    def __init__(self, connect: Connect, trace_id: int, prepare: Prepare | None = None) -> None:
        self._connect = connect
        self._trace_id = trace_id
        self._prepare = prepare
        self._prepared = threading.Event()
        self._waiting: queue.Queue[tuple[str, Columns, Callable[[], None]] | None] = queue.Queue(2 * WORKERS)
        self._errors: list[BaseException] = []
        self._stopped = False
        self._threads: list[threading.Thread] = []
        self._connections: list[duckdb.DuckDBPyConnection] = []

    def put(self, table: str, columns: Columns, written: Callable[[], None]) -> None:
        """Have rows written, and ``written`` called, by one of the threads."""
        if len(self._threads) < WORKERS and not self._waiting.empty():
            self._begin()
        while True:
            if self._errors:
                raise self._errors[0]
            with contextlib.suppress(queue.Full):
                self._waiting.put((table, columns, written), timeout=0.1)
                return

    def _begin(self) -> None:
        connection = self._connect()
        self._connections.append(connection)
        thread = threading.Thread(target=self._work, args=(connection,), name="tracekit writer", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _work(self, connection: duckdb.DuckDBPyConnection) -> None:
        try:
            if self._prepare is not None and threading.current_thread() is self._threads[0]:
                self._prepare(connection)
                self._prepared.set()
            elif self._prepare is not None:
                self._prepared.wait()
            connection.execute("BEGIN TRANSACTION")
            while (job := self._waiting.get()) is not None:
                table, columns, written = job
                if not self._stopped:
                    insert_rows(connection, table, self._trace_id, columns)
                    written()
            connection.execute("ROLLBACK" if self._stopped else "COMMIT")
        except BaseException as error:  # noqa: BLE001 - the thread that hands out the work raises it
            self._errors.append(error)
            self._stopped = True
        finally:
            self._prepared.set()
            connection.close()

    def __enter__(self) -> Self:
        self._begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None:
            self._stopped = True
            for connection in self._connections:
                with contextlib.suppress(duckdb.Error):
                    connection.interrupt()
        for thread in self._threads:
            while thread.is_alive():
                with contextlib.suppress(queue.Full):
                    self._waiting.put(None, timeout=0.1)
                    break
        for thread in self._threads:
            thread.join()
        if kind is None and self._errors:
            raise self._errors[0]


class RowBuffer:
    """Collects rows for one table and has them written ``CHUNK_ROWS`` at a time, in the order they came."""

    def __init__(self, writers: Writers, table: str, recycle: Callable[[Columns], None]) -> None:
        self._writers = writers
        self._table = table
        self._recycle = recycle
        self._parts: list[Columns] = []
        self._count = 0

    def add(self, columns: Columns) -> None:
        """Take rows; all arrays have the same length and are not changed until they are recycled."""
        count = len(next(iter(columns.values())))
        if not self._parts and count == CHUNK_ROWS:
            self._writers.put(self._table, columns, lambda: self._recycle(columns))
            return
        if count:
            self._parts.append(columns)
            self._count += count
        if self._count >= CHUNK_ROWS:
            self._write(self._count - self._count % CHUNK_ROWS)

    def finish(self) -> None:
        """Have written what is left."""
        if self._count:
            self._write(self._count)

    def _write(self, count: int) -> None:
        names = list(self._parts[0])
        rows = {name: np.concatenate([part[name] for part in self._parts]) for name in names}
        self._parts, self._count = [], self._count - count
        if self._count:
            self._parts.append({name: values[count:].copy() for name, values in rows.items()})
        first = {name: values[:count] for name, values in rows.items()}
        self._writers.put(self._table, first, lambda: None)
