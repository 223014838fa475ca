"""Starts programs that cannot outlive their test: what is waited for ends, or is ended and named."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

TIMEOUT = 240.0
"""Seconds until a run counts as hung, which is a failure."""


def kill_all(process: subprocess.Popen[Any]) -> None:
    """Kill a process that leads a session, and whoever else is in it."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


@contextlib.contextmanager
def running(
    command: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    timeout: float = TIMEOUT,
    **options: Any,
) -> Iterator[subprocess.Popen[Any]]:
    """A program in a session of its own, for a block that reads what it writes and waits for its end.

    ``subprocess.Popen`` as a context manager waits for ever, also behind an assertion that failed. Here the
    session is killed then, and when the block takes longer than ``timeout`` seconds, which is an error.
    """
    options.setdefault("stdin", subprocess.DEVNULL)
    with subprocess.Popen(command, env=env, start_new_session=True, **options) as process:
        late = threading.Event()

        def kill() -> None:
            late.set()
            kill_all(process)

        timer = threading.Timer(timeout, kill)
        timer.start()
        try:
            yield process
            process.wait()
        except BaseException:
            kill_all(process)
            raise
        finally:
            timer.cancel()
            if late.is_set():
                raise AssertionError(
                    f"killed, because it was not done after {timeout:.0f} s: {list(command)}"
                )
