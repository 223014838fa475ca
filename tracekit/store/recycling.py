"""Arrays whose memory is used again once nobody has them any more.

What reads a trace window by window needs the same arrays over and over. Given back to the system each time,
half of the time would go into getting cleared pages for them.
"""

from __future__ import annotations

import contextlib
import mmap
import weakref
from typing import TypeVar

import numpy as np
import numpy.typing as npt

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Numbers of glibc's mallopt(3)."""

T = TypeVar("T", bound=np.generic)

SMALL_BYTES = 1 << 16
"""Less is not worth keeping: malloc does."""

_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS}


def keep_freed_memory() -> None:
    """Let malloc keep up to 128 MiB that it could give back to the system, for the rest of this process.

    For processes that do little else than to read a trace: what DuckDB answers comes in arrays of its own,
    again and again. Without glibc nothing is done.
    """
    with contextlib.suppress(ImportError, OSError, AttributeError):
        import ctypes  # noqa: PLC0415 - for those that call this

        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


class Recycler:
    """Gives out arrays like ``numpy.empty``. It keeps the memory of all that it ever gave out, until it goes.

    An array's memory is given out again when the array and all views of it are gone, not sooner. Any thread
    may ask.
    """

    def __init__(self) -> None:
        self._unused: dict[int, list[mmap.mmap]] = {}

    def empty(self, count: int, kind: type[T]) -> npt.NDArray[T]:
        """An array of one dimension; what is in it is undefined."""
        wanted = count * np.dtype(kind).itemsize
        if wanted < SMALL_BYTES:
            return np.empty(count, kind)
        size = 1 << (wanted - 1).bit_length()
        unused = self._unused.setdefault(size, [])
        try:
            memory = unused.pop()
        except IndexError:
            memory = _large(size)
        # Views of it have it for their base, because its own base is no array: it outlives them.
        array = np.frombuffer(memory, kind, count)
        weakref.finalize(array, unused.append, memory).atexit = False
        return array

    def full(self, count: int, value: object, kind: type[T]) -> npt.NDArray[T]:
        """The same with one value in it."""
        array = self.empty(count, kind)
        array.fill(value)
        return array


def _large(size: int) -> mmap.mmap:
    memory = mmap.mmap(-1, size, **_PRIVATE)
    if size >= 1 << 21 and hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory
