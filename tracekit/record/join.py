"""Joins the recording of the program that this process descends from (``tracekit record --follow``).

Runs in the target: in a Python that was started by a recorded one, and in the child of a fork. The recorder
listens on a socket without a name in the file system; it makes a ring for each process that asks, and passes
it over the socket. When the recorder is gone or refuses, the process runs on unrecorded.
"""

from __future__ import annotations

import os
import sys

from tracekit.record import active, forks
from tracekit.record.bootstrap import engine_at
from tracekit.record.facts import in_sub_interpreter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

    from tracekit.record.contract import Engine

PATIENCE_SECONDS = 30.0
"""How long a recorder that does not answer (stopped, or starved) delays the process."""

LAST = -1_000_000
"""Priority of a finalizer; what the program itself registers has a higher one."""


def join(address: str) -> None:
    """Ask the recorder at ``NAME/TOKEN/ENGINE`` for a ring and begin to record this process and its forks.

    Never fails: what goes wrong here is told to the recorder, who tells it at its end.
    """
    if active.engine is not None or in_sub_interpreter():  # which imports sitecustomize, too
        return
    try:
        import _socket  # noqa: PLC0415 - loaded by processes that are followed only
    except ImportError:
        return
    name, token, engine_name = address.split("/")
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect("\0" + name)
        connection.sendall(f"{token}\n".encode())
        _, ancillary, *_ = connection.recvmsg(1, _socket.CMSG_SPACE(4))
        expect_forks(address)
        engine = None
        if ancillary:
            engine = _attach(connection, int.from_bytes(ancillary[0][2][:4], sys.byteorder), engine_name)
    except OSError:  # nobody is there (any more)
        return
    finally:
        connection.close()
    if engine is not None:
        _end_with_multiprocessing(engine)
        engine.start()


def _attach(connection: _socket.socket, descriptor: int, engine_name: str) -> Engine | None:
    """The engine on the ring behind the descriptor; None when it cannot record, and the recorder is told."""
    try:
        return engine_at(f"/proc/self/fd/{descriptor}", engine_name)
    except (ImportError, OSError, ValueError, RuntimeError) as error:
        connection.sendall(str(error).encode("utf-8", "replace")[:1000])
        return None
    finally:
        os.close(descriptor)


def expect_forks(address: str) -> None:
    """Have the children of forks join, too."""
    forks.follow = lambda: join(address)
    forks.watch(active.engine)


def _end_with_multiprocessing(engine: Engine) -> None:
    """Its processes leave by os._exit, after running finalizers: the last of these ends the recording."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.register_after_fork(engine, lambda it: util.Finalize(None, it.stop, exitpriority=LAST))
