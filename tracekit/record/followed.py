"""Processes that descend from the recorded program and are recorded as well (``tracekit record --follow``).

They ask for a ring on a socket (:mod:`tracekit.record.join`) in Linux's abstract namespace, so that there is
nothing in the file system that a recorder which is killed could leave behind. While a process waits for the
answer it cannot end and leave its number to another one.
"""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import struct
from collections import Counter
from pathlib import Path
from typing import Final

from tracekit.errors import TracekitError
from tracekit.record.door import Door
from tracekit.record.lane import Lane, Setting
from tracekit.record.outputs import Output, followed_path
from tracekit.record.process import Other
from tracekit.record.ringfile import RingFile

MOST_TOLD: Final = 4096
"""Bytes; a process of ours says less."""
CREDENTIALS: Final = struct.Struct("3i")  # unix(7): struct ucred


class Asking:
    """A process that has connected; ``lane`` once it was given a ring."""

    def __init__(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.told = b""
        self.lane: Lane | None = None

    def read(self) -> bool:
        """Take in what it says. False when it has said all."""
        try:
            data = self.connection.recv(4096)
        except BlockingIOError:
            return True
        except OSError:
            return False
        self.told += data
        return bool(data) and len(self.told) < MOST_TOLD

    @property
    def pid(self) -> int:
        """Its number, as the kernel knows it."""
        facts = self.connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
        return int(CREDENTIALS.unpack(facts)[0])


class Followers:
    """Gives each process that asks at the door a ring and a lane of its own."""

    def __init__(self, door: Door, setting: Setting, output: str, *, force: bool) -> None:
        self._door = door
        self._setting = setting
        self._output = output
        self._force = force
        self._asking: list[Asking] = []
        self._counts: Counter[int] = Counter()
        # Three files a process that is followed at the same time.
        most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
        self.refused: list[str] = []
        """Why processes run unrecorded, a line each."""

    def descriptors(self) -> list[int]:
        """What becomes readable when there is something to do."""
        if self._door.socket.fileno() < 0:
            return []
        return [self._door.socket.fileno(), *(asking.connection.fileno() for asking in self._asking)]

    def welcome(self) -> list[Lane]:
        """Talk to all that ask. Returns the lanes of those that are newly recorded."""
        if self._door.socket.fileno() < 0:
            return []
        with contextlib.suppress(OSError):  # nobody (any more), or too many files are open: then later
            while True:
                self._asking.append(Asking(self._door.socket.accept()[0]))
        lanes = []
        for asking in list(self._asking):
            open_still = asking.read()
            if asking.lane is None and asking.told == f"{self._door.token}\n".encode():
                asking.told = b""
                asking.lane = self._lane(asking)
                if asking.lane is not None:
                    lanes.append(asking.lane)
                else:
                    open_still = False
            if not open_still:
                self._dismiss(asking)
        return lanes

    def _dismiss(self, asking: Asking) -> None:
        self._asking.remove(asking)
        asking.connection.close()
        if asking.lane is not None and asking.told:
            self.refused.append(
                f"process {asking.lane.process.pid}: {asking.told.decode('utf-8', 'replace')}"
            )
            asking.lane.leave("refused")

    def _lane(self, asking: Asking) -> Lane | None:
        pid = asking.pid
        self._counts[pid] += 1
        path = followed_path(self._output, pid, self._counts[pid])
        with contextlib.ExitStack() as stack:
            try:
                output = Output(path, force=self._force)
                stack.callback(output.discard)
                file = RingFile(
                    max_frames=self._setting.max_frames, sync_interval_ns=self._setting.sync_interval_ns
                )
                stack.callback(file.close)
                if self._setting.selection.engine == "native":
                    file.start_stamps()
                process = Other(pid)
                stack.callback(process.close)
                lane = Lane(file, output, process, self._setting)
                socket.send_fds(asking.connection, [b"1"], [file.descriptor])
            except (OSError, TracekitError) as error:
                self.refused.append(f"process {pid}: {error}")
                return None
            stack.pop_all()
        return lane

    def on_their_way(self) -> bool:
        """Whether a Python that inherited the address is starting now: it will ask in a moment."""
        address = self._door.address.encode()
        for entry in os.scandir("/proc"):
            if entry.name.isdigit() and int(entry.name) not in self._counts:
                with contextlib.suppress(OSError):
                    inherited = address in Path(entry.path, "environ").read_bytes()
                    if inherited and "python" in Path(entry.path, "exe").readlink().name:
                        return True
        return False

    def close(self) -> None:
        """Who asks from now on goes on unrecorded."""
        self._door.close()
        for asking in self._asking:
            asking.connection.close()
        self._asking.clear()
