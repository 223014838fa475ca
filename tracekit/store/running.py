"""Runs what DuckDB does so that Ctrl-C ends it at once.

DuckDB's own look at signals comes between its tasks, some of which take many seconds (a count, a COPY).
``interrupt()`` from another thread is noticed within milliseconds, so the main thread is kept free for it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

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

    def run(self) -> None:
        try:
            self.values.append(self._action())
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
            self.error = error
        finally:
            self.done.set()


def interruptible(connection: duckdb.DuckDBPyConnection, action: Callable[[], T]) -> T:
    """What ``action`` returns or raises; it may use the connection, and nobody else meanwhile.

    What a signal handler raises (KeyboardInterrupt) is raised once the query has been stopped. In another
    thread than the main one there are no signals, and the action is just called.
    """
    if threading.current_thread() is not threading.main_thread():
        return action()
    work = _Work(action)
    threading.Thread(target=work.run, name="tracekit-query", daemon=True).start()
    try:
        work.done.wait()
    except BaseException:
        while not work.done.is_set():
            connection.interrupt()
            work.done.wait(_AGAIN_S)
        raise
    if work.error is not None:
        raise work.error
    return work.values[0]
