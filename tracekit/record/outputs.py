"""The log's file: checked before a program is started, in place once there is something in it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

from tracekit.errors import OutputExistsError, OutputUnwritableError


class Output:
    """A log that is written under a temporary name until its header is there, then put in place at once.

    Raises OutputExistsError (without ``force``) or OutputUnwritableError.
    """

    def __init__(self, path: Path, *, force: bool) -> None:
        self.path = path
        self._force = force
        self.published = False
        if path.is_dir():
            raise OutputUnwritableError(f"{path} is a folder", hint="name a file with -o")
        if path.exists() and not path.is_file():
            raise OutputUnwritableError(f"{path} is no regular file", hint="name another with -o")
        if (path.exists() or path.is_symlink()) and not force:
            raise OutputExistsError(
                f"{path} exists", hint="use --force to replace it, or -o for another name"
            )
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        try:
            self.file: BinaryIO = self._temporary.open("xb", buffering=0)
        except OSError as error:
            raise OutputUnwritableError(
                f"{path} cannot be written: {error.strerror}", hint="choose another place with -o"
            ) from None

    def publish(self) -> None:
        """Give the file its name. Raises OSError when that is taken now and ``force`` is off."""
        if self._force or not self._linked():
            self._temporary.replace(self.path)
        else:
            self._temporary.unlink()
        self.published = True

    def _linked(self) -> bool:
        """Take the name if it is free. False on a file system without links, where a look must do."""
        try:
            os.link(self._temporary, self.path)
        except OSError:
            if self.path.exists() or self.path.is_symlink():
                raise
            return False
        return True

    def discard(self) -> None:
        """Close the file, and remove it if it was never published."""
        self.file.close()
        if not self.published:
            self._temporary.unlink(missing_ok=True)


def followed_path(path: Path, pid: int, number: int) -> Path:
    """A followed process's log: ``app.PID.tkt`` beside ``app.tkt``, the second of a PID ``app.PID.2.tkt``."""
    again = f".{number}" if number > 1 else ""
    return path.with_name(f"{path.stem}.{pid}{again}{path.suffix}")
