"""Reads the source text of the lines that call paths refer to, for the log.

A file may be edited while the program runs, and what it holds then is not what runs. So a file is left out
that was last changed after the process began; or, in a process that was recorded from its beginning, after
the code of the module itself was seen to run: a program may write a module and then import it.
"""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from tracekit.events import Code, SourceLine, Stack

MOST_CHARACTERS: Final = 200
"""Of a line, as much is kept."""
MOST_FILE_BYTES: Final = 1 << 22
MOST_LINES: Final = 1 << 18
"""So many lines a recording, at most: the rest goes without text."""
WRITE_FROM: Final = 4096
WRITE_SECONDS: Final = 1.0
"""Texts are written when they are so many, because they compress better together, or have waited so long."""

_MODULE: Final = "<module>"
_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
_NO_ACCESS_TIME: Final = getattr(os, "O_NOATIME", 0)  # Linux: for the owner of a file only
# As tokenize of the standard library has them (PEP 263).
_COOKIE: Final = re.compile(rb"[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)")
_BLANK: Final = re.compile(rb"[ \t\f]*(?:#.*)?$")


@dataclass(slots=True)
class _File:
    """A file of codes, the first of which was seen at ``seen_ns`` (since 1970)."""

    seen_ns: int
    module_seen: bool = False
    wanted: list[int] = field(default_factory=list)


class Sources:
    """Collects the lines that stacks refer to, and reads them when there is time."""

    def __init__(self) -> None:
        self._begun = False
        self._cwd = ""
        self._before_ns = 0
        self._fresh = False
        self._files: dict[str, _File] = {}
        self._by_code: dict[int, str] = {}
        self._seen: set[int] = set()
        self._waiting: dict[str, _File] = {}
        self._texts: list[SourceLine] = []
        self._written_at = time.monotonic()

    def begin(self, cwd: str, before_ns: int, *, fresh: bool) -> None:
        """The process, whose relative names start from ``cwd``, began at ``before_ns`` (since 1970).

        ``fresh``: it is recorded from its beginning. Until this is called, and without it, nothing is read.
        """
        self._begun = True
        self._cwd, self._before_ns, self._fresh = cwd, before_ns, fresh

    def refer(self, codes: Iterable[Code], rows: npt.NDArray[np.int32]) -> None:
        """These codes and stacks (stack_id, parent_id, code_id, line) are new."""
        for code in codes:
            self.see(code.filename, code.qualname)
            self._by_code[code.code_id] = code.filename
        if not self._begun or not len(rows) or len(self._seen) >= MOST_LINES:
            return
        pairs = np.sort(rows[:, 2].astype(np.int64) << 32 | rows[:, 3].clip(0))
        sites = set(pairs[np.diff(pairs, prepend=-1) != 0].tolist()) - self._seen
        self._seen |= sites
        for site in sites:
            name = self._by_code.get(site >> 32)
            if name is not None:
                file = self._files[name]
                if not file.wanted:
                    self._waiting[name] = file
                file.wanted.append(site)

    def refer_stacks(self, codes: Iterable[Code], stacks: list[Stack]) -> None:
        """The same with stacks as they are in the log."""
        rows = [(stack.stack_id, stack.parent_id, stack.code_id, stack.line) for stack in stacks]
        self.refer(codes, np.array(rows, np.int32).reshape(-1, 4))

    def see(self, filename: str, qualname: str) -> None:
        """A code object was seen, just now. That can come before :meth:`begin`."""
        file = self._files.get(filename)
        if file is None:
            file = self._files[filename] = _File(time.time_ns())
        if qualname == _MODULE:
            file.module_seen = True

    def read(self, until: float) -> bool:
        """Read files until then (``time.monotonic``). False when there are no more."""
        while self._waiting:
            filename = next(iter(self._waiting))
            file = self._waiting.pop(filename)
            wanted, file.wanted = file.wanted, []
            before_ns = self._before_ns
            if self._fresh and file.module_seen:
                before_ns = max(before_ns, file.seen_ns)
            with contextlib.suppress(OSError, ValueError, LookupError):  # it goes without text
                self._texts += _texts(_content(self._path(filename), before_ns), sorted(wanted))
            if time.monotonic() >= until:
                break
        return bool(self._waiting)

    def _path(self, filename: str) -> str:
        """Where the file of a code object is; empty for what is no name of a file."""
        if not filename or filename[0] == "<":
            return ""
        if filename[0] == os.sep:
            return filename
        return f"{self._cwd}{os.sep}{filename}" if self._cwd else ""

    def take(self, *, all_of_them: bool = False) -> list[SourceLine]:
        """Texts to be written now, if it is time for that."""
        if not self._texts:
            return []
        now = time.monotonic()
        if not all_of_them and len(self._texts) < WRITE_FROM and now < self._written_at + WRITE_SECONDS:
            return []
        self._written_at = now
        texts, self._texts = self._texts, []
        return texts


def _content(path: str, before_ns: int) -> bytes:
    """All bytes of a regular file that is not too large or too new, else none. Raises OSError, ValueError."""
    known = Path(path).stat()
    if not _fits(known, before_ns):
        return b""
    flags = _FLAGS | (_NO_ACCESS_TIME if known.st_uid == os.geteuid() else 0)
    descriptor = os.open(path, flags)
    try:
        opened = os.fstat(descriptor)
        content = os.read(descriptor, opened.st_size + 1) if _fits(opened, before_ns) else b""
    finally:
        os.close(descriptor)
    return content if len(content) == opened.st_size else b""


def _fits(known: os.stat_result, before_ns: int) -> bool:
    # The time of the inode also tells of an older file that took this one's place.
    changed_ns = max(known.st_mtime_ns, known.st_ctime_ns)
    return stat.S_ISREG(known.st_mode) and known.st_size <= MOST_FILE_BYTES and changed_ns <= before_ns


def _texts(content: bytes, wanted: list[int]) -> list[SourceLine]:
    """The wanted lines of a file, those that are there and not blank. Raises LookupError, ValueError."""
    lines = content.removeprefix(codecs.BOM_UTF8).splitlines()
    encoding = "ascii" if content.isascii() else _encoding(lines)
    texts = []
    for site in wanted:
        line = site & 0xFFFF_FFFF
        if 0 < line <= len(lines):
            # No character takes more than four bytes.
            start = lines[line - 1].strip()[: 4 * MOST_CHARACTERS]
            if start:
                text = start.decode(encoding, "backslashreplace")[:MOST_CHARACTERS]
                texts.append(SourceLine(site >> 32, line, text))
    return texts


def _encoding(lines: list[bytes]) -> str:
    """The encoding that a source declares, else UTF-8."""
    for line in lines[:2]:
        cookie = _COOKIE.match(line)
        if cookie:
            return cookie[1].decode("ascii")
        if not _BLANK.match(line):
            break
    return "utf-8"
