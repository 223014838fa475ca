"""The one walk over the records of a file, for readers that stop at damage and for those that go on.

:class:`~tracekit.log.reader.LogReader` raises at the first damage; ``verify`` and ``recover`` take what is
sound and are told what is not.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from tracekit.errors import FileMissingError, LogCorruptError, NotALogError
from tracekit.events import Footer, Header, LogRecord
from tracekit.log.format import (
    FRAME,
    MAX_RAW_BYTES,
    MAX_STORED_BYTES,
    PRELUDE,
    TRAILER,
    ZSTD,
    check_payload,
    check_prelude,
    footer_offset,
    pack_trailer,
    unpack_frame,
    unpack_payload,
)

_SEARCH_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Sound:
    """A whole record: its number in the file, where it begins and where it ends.

    ``record`` is None when it was passed over after its checksum was tested.
    """

    number: int
    offset: int
    stop: int
    record: LogRecord | None


@dataclass(frozen=True, slots=True)
class Damage:
    """Bytes ``offset`` to ``stop`` hold no sound record; ``reason`` says why."""

    number: int
    offset: int
    stop: int
    reason: str

    def __str__(self) -> str:
        return f"record {self.number} at offset {self.offset}: {self.reason}"


class LogFile:
    """The bytes of a file that may be a log.

    Raises FileMissingError when it cannot be read and NotALogError when it is a folder or a device. ``size``
    is the length at that moment. Two more are set when a :meth:`walk` is at its end: ``torn_bytes``, the
    bytes of a last record that was never finished, and ``closed``, that footer and trailer are there.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._file = _open(self.path)
        self.size = os.fstat(self._file.fileno()).st_size
        self.torn_bytes = 0
        self.closed = False

    def version(self) -> int:
        """The format version. Raises NotALogError, LogVersionError or LogCorruptError (the prelude)."""
        return check_prelude(self.read_at(0, PRELUDE.size), str(self.path))

    def read_at(self, offset: int, count: int) -> bytes:
        """Up to ``count`` bytes. Raises FileMissingError when the disk refuses them."""
        try:
            return os.pread(self._file.fileno(), count, offset)
        except OSError as error:
            raise FileMissingError(f"{self.path} cannot be read: {error.strerror}") from None

    def trailer(self) -> int | None:
        """Where the footer stands according to the last bytes of the file; None when these do not say."""
        if self.size < PRELUDE.size + TRAILER.size:
            return None
        return footer_offset(self.read_at(self.size - TRAILER.size, TRAILER.size))

    def record_at(self, offset: int, number: int, *, decode: bool = True) -> Sound | Damage | None:
        """The record at ``offset``; None when the file ends within it.

        Damage whose end is not known (a damaged frame) ends where it begins.
        """
        frame = unpack_frame(self.read_at(offset, FRAME.size))
        if frame is None:
            return Damage(number, offset, offset, "its frame is damaged")
        stored, raw, encoding, checksum = frame
        stop = offset + FRAME.size + stored
        if stop > self.size:
            return None
        payload = self.read_at(offset + FRAME.size, stored)
        try:
            if not decode:
                check_payload(payload, checksum)
                return Sound(number, offset, stop, None)
            record = unpack_payload(payload, raw, encoding, checksum)
        except LogCorruptError as error:
            return Damage(number, offset, stop, error.message)
        if isinstance(record, Header) is not (number == 0):
            what = "a second header" if number else "not a header, with which a log begins"
            return Damage(number, offset, stop, f"it is {what}")
        return Sound(number, offset, stop, record)

    def walk(
        self, passed_over: frozenset[int] = frozenset(), start: tuple[int, int] = (PRELUDE.size, 0)
    ) -> Iterator[Sound | Damage]:
        """Every record and every damaged place, in order; ``passed_over``: offsets not to decode.

        ``start`` is the offset of a record and its number.

        After a damaged frame the walk goes on at the next sound record, wherever that is.
        """
        (offset, number), damaged = start, False
        while self.size - offset >= FRAME.size:
            found = self.record_at(offset, number, decode=offset not in passed_over)
            if found is None:
                break
            if isinstance(found, Damage) and found.stop == offset:
                found = Damage(number, offset, self._next_sound(offset + 1), found.reason)
            damaged |= isinstance(found, Damage)
            yield found
            offset, number = found.stop, number + 1
            if isinstance(found, Sound) and isinstance(found.record, Footer):
                yield from self._after_footer(found)
                return
        self.torn_bytes = self.size - offset
        if self.torn_bytes == TRAILER.size and self.trailer() is not None:
            self.torn_bytes = 0
            if not damaged:
                yield Damage(number, offset, self.size, "a trailer without the footer that it points to")

    def _after_footer(self, footer: Sound) -> Iterator[Damage]:
        """What follows a footer is its trailer, or the beginning of it in a file that is being written."""
        expected = pack_trailer(footer.offset)
        rest = self.read_at(footer.stop, len(expected) + 1)
        self.torn_bytes = 0
        if expected.startswith(rest):
            self.closed = rest == expected
            self.torn_bytes = 0 if rest == expected else len(rest)
        else:
            yield Damage(footer.number + 1, footer.stop, self.size, "the footer's trailer is damaged")

    def _next_sound(self, start: int) -> int:
        """Where the next sound record begins, or where the records end."""
        overlap = FRAME.size - 1
        while start + FRAME.size <= self.size:
            chunk = self.read_at(start, _SEARCH_CHUNK + overlap)
            for place in _frame_candidates(chunk):
                frame = unpack_frame(chunk[place : place + FRAME.size])
                if frame is not None and self._payload_is_sound(start + int(place), frame):
                    return start + int(place)
            start += max(1, len(chunk) - overlap)
        return self.size if self.trailer() is None else self.size - TRAILER.size

    def _payload_is_sound(self, offset: int, frame: tuple[int, int, int, int]) -> bool:
        stored, _, _, checksum = frame
        payload = self.read_at(offset + FRAME.size, stored)
        try:
            check_payload(payload, checksum)
        except LogCorruptError:
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _frame_candidates(chunk: bytes) -> npt.NDArray[np.int64]:
    """Positions in ``chunk`` whose 20 bytes could be a frame: lengths within bounds, reserved bytes zero."""
    count = len(chunk) - FRAME.size + 1
    if count <= 0:
        return np.zeros(0, np.int64)
    data = np.frombuffer(chunk, np.uint8)

    def byte(index: int) -> npt.NDArray[np.uint8]:
        return data[index : index + count]

    possible = (byte(8) <= ZSTD) & (byte(9) == 0) & (byte(10) == 0) & (byte(11) == 0)
    possible &= (byte(3) <= MAX_STORED_BYTES >> 24) & (byte(7) <= MAX_RAW_BYTES >> 24)
    possible &= (byte(0) | byte(1) | byte(2) | byte(3)) != 0
    return np.flatnonzero(possible)


def _open(path: Path) -> BinaryIO:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise NotALogError(f"{path} is a folder, not a tracekit log")
        if not stat.S_ISREG(mode):
            raise NotALogError(f"{path} is not a regular file, so not a tracekit log")
        return path.open("rb")
    except FileNotFoundError:
        raise FileMissingError(f"{path} does not exist", hint="record one with 'tracekit record'") from None
    except OSError as error:
        raise FileMissingError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:  # a NUL byte in the name
        raise FileMissingError(f"{str(path)!r} cannot be read: {error}") from None
