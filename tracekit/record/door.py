"""Where processes that descend from the recorded program ask to be recorded as well."""

from __future__ import annotations

import os
import socket
from typing import Final

MOST_WAITING: Final = 4096


class Door:
    """Where processes ask. ``address`` goes into the program's environment, whose children inherit it.

    The token in it keeps others out who see the socket in /proc/net/unix.
    """

    def __init__(self, engine: str) -> None:
        name = f"tracekit-{os.getpid()}-{os.urandom(8).hex()}"
        self.token = os.urandom(16).hex()
        self.address = f"{name}/{self.token}/{engine}"
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.bind("\0" + name)
        self.socket.listen(MOST_WAITING)
        self.socket.setblocking(False)

    def close(self) -> None:
        """Who asks from now on is told at once that nobody is there."""
        self.socket.close()
