"""The log's file: checked before a program is started, in place once there is something in it."""

from __future__ import annotations

import os
from contextlib import suppress

from tracekit.errors import OutputExistsError, OutputUnwritableError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import BinaryIO


class Output:
    """A log that is written under a temporary name until its header is there, then put in place at once.

    Raises OutputExistsError (without ``force``) or OutputUnwritableError.
    """

    def __init__(self, path: str | os.PathLike[str], *, force: bool) -> None:
        path = os.fspath(path)
        self.path = path = path.rstrip("/") or path or "."
        self._force = force
        self.published = False
        if os.path.isdir(path):
            raise OutputUnwritableError(f"{path} is a folder", hint="name a file with -o")
        if os.path.exists(path) and not os.path.isfile(path):
            raise OutputUnwritableError(f"{path} is no regular file", hint="name another with -o")
        if os.path.lexists(path) and not force:
            raise OutputExistsError(
                f"{path} exists", hint="use --force to replace it, or -o for another name"
            )
        folder, name = os.path.split(path)
        self._temporary = os.path.join(folder, f".{name}.{os.getpid()}.tmp")
        try:
            self.file: BinaryIO = open(self._temporary, "xb", buffering=0)  # noqa: SIM115
        except OSError as error:
            raise OutputUnwritableError(
                f"{path} cannot be written: {error.strerror}", hint="choose another place with -o"
            ) from None

    def publish(self) -> None:
        """Give the file its name. Raises OSError when that is taken now and ``force`` is off."""
        if self._force or not self._linked():
            os.replace(self._temporary, self.path)
        else:
            os.unlink(self._temporary)
        self.published = True

    def _linked(self) -> bool:
        """Take the name if it is free. False on a file system without links, where a look must do."""
        try:
            os.link(self._temporary, self.path)
        except OSError:
            if os.path.lexists(self.path):
                raise
            return False
        return True

    def discard(self) -> None:
        """Close the file, and remove it if it was never published."""
        self.file.close()
        if not self.published:
            with suppress(FileNotFoundError):
                os.unlink(self._temporary)


def followed_path(path: str, pid: int, number: int) -> str:
    """A followed process's log: ``app.PID.tkt`` beside ``app.tkt``, the second of a PID ``app.PID.2.tkt``."""
    again = f".{number}" if number > 1 else ""
    stem, suffix = os.path.splitext(path)
    return f"{stem}.{pid}{again}{suffix}"
