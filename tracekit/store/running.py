"""Runs what DuckDB does so that Ctrl-C ends it at once.

DuckDB's own look at signals comes between its tasks, some of which take many seconds (a count, a COPY).
``interrupt()`` from another thread is noticed within milliseconds, so the main thread is kept free for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Generic, Self, TypeVar

import duckdb

T = TypeVar("T")

_AGAIN_S = 0.05
"""An interrupt that comes before the query has begun is lost, and so is repeated until it has ended."""


class _Work(Generic[T]):
    """A call in a thread: what it returned or raised, once ``done`` is set."""

    def __init__(self, action: Callable[[], T]) -> None:
        self.done = threading.Event()
        self.values: list[T] = []
        self.error: BaseException | None = None
        self._action = action
        self._first = threading.Lock()
        self._thread: threading.Thread | None = None

    def claim(self) -> bool:
        """Whether the caller is the first: the thread, which then runs it, or who wants it no more."""
        return self._first.acquire(blocking=False)

    def run(self) -> None:
        if not self.claim():
            return
        try:
            self.values.append(self._action())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error
        finally:
            self.done.set()

    def start(self, *, daemon: bool) -> Self:
        """Begin, in a thread of its own. A daemon must not be running when the program ends."""
        self._thread = threading.Thread(target=self.run, name="tracekit-query", daemon=daemon)
        self._thread.start()
        return self

    def stop(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Interrupt what it does with the connection, until it has ended."""
        while not self.done.is_set():
            if self.claim():
                return  # it has not begun, and now never will
            connection.interrupt()
            self.done.wait(_AGAIN_S)
        if self._thread is not None:
            self._thread.join()

    def result(self) -> T:
        """What came of it, once it is done."""
        if self.error is not None:
            raise self.error
        return self.values[0]


def interruptible(connection: duckdb.DuckDBPyConnection, action: Callable[[], T]) -> T:
    """What ``action`` returns or raises; it may use the connection, and nobody else meanwhile.

    What a signal handler raises (KeyboardInterrupt) is raised once the query has been stopped. In another
    thread than the main one there are no signals, and the action is just called.
    """
    if threading.current_thread() is not threading.main_thread():
        return action()
    work = _Work(action)
    try:
        work.start(daemon=True)  # which waits for it, too
        work.done.wait()
    except BaseException:
        work.stop(connection)
        raise
    return work.result()


def one_ahead(connection: duckdb.DuckDBPyConnection, action: Callable[[], T | None]) -> Iterator[T]:
    """What ``action`` returns, call after call, until that is None: the next call runs while one is used.

    It may use the connection, and nobody else, until the iterator ends or is closed.
    """
    work = _Work(action).start(daemon=False)
    try:
        while True:
            work.done.wait()
            found = work.result()
            if found is None:
                return
            work = _Work(action).start(daemon=False)
            yield found
    finally:
        work.stop(connection)
