"""Source lines of the machine at hand, for recordings that do not carry their own."""

from __future__ import annotations

import linecache
from pathlib import Path

from tracekit.events import Header

MAX_BYTES = 16 << 20
"""A longer file is no source of a program."""


class Sources:
    """Reads files that a recording names, if they have not changed since it began."""

    def __init__(self, header: Header) -> None:
        self._folder = Path(header.cwd)
        self._started_at_ns = header.started_at_ns
        self._usable: dict[str, bool] = {}

    def line(self, file: str, line: int) -> str | None:
        """The text of a line, stripped; None where there is no such file, or one that may be another."""
        if not file or file.startswith("<"):
            return None
        path = self._folder / file
        if file not in self._usable:
            self._usable[file] = self._is_older(path)
        if not self._usable[file]:
            return None
        return linecache.getline(str(path), line).strip() or None

    def _is_older(self, path: Path) -> bool:
        try:
            found = path.stat()
            return path.is_file() and found.st_size < MAX_BYTES and found.st_mtime_ns < self._started_at_ns
        except (OSError, ValueError):
            return False
