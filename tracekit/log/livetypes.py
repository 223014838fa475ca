"""Types of blocks that are alive, as arrays, and their coding on disk."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from tracekit.errors import LogCorruptError
from tracekit.events import LiveTypes
from tracekit.log.columns import MAX_BATCH_EVENTS, IntArray, decode_column, encode_column


def encode_live_types(seq: int, alloc_seq: IntArray, type_id: npt.NDArray[np.int32]) -> Iterator[LiveTypes]:
    """Records that say which type the block of each allocation has; blocks in any order, each once."""
    order = np.argsort(alloc_seq, kind="stable")
    for start in range(0, len(order), MAX_BATCH_EVENTS):
        part = order[start : start + MAX_BATCH_EVENTS]
        yield LiveTypes(
            seq, len(part), encode_column(alloc_seq[part], delta=True), encode_column(type_id[part])
        )


def decode_live_types(record: LiveTypes) -> tuple[IntArray, IntArray]:
    """The inverse of :func:`encode_live_types`: ``alloc_seq``, ascending, and ``type_id``.

    Raises LogCorruptError for a record that cannot be: too long, out of order, or about what comes after it.
    """
    if not 0 < record.count <= MAX_BATCH_EVENTS:
        raise LogCorruptError(f"types of {record.count} blocks (1 to {MAX_BATCH_EVENTS} are possible)")
    alloc_seq = decode_column("alloc_seq", record.alloc_seq, record.count)
    type_id = decode_column("type_id", record.type_id, record.count)
    if (
        np.any(np.diff(alloc_seq) <= 0)
        or int(alloc_seq[0]) < 0
        or int(alloc_seq[-1]) >= min(record.seq, sys.maxsize)
    ):
        raise LogCorruptError("types of blocks that are not there")
    if int(type_id.min()) <= 0 or int(type_id.max()) >= 1 << 31:
        raise LogCorruptError("blocks of a type that cannot be")
    return alloc_seq, type_id


class KnownTypes:
    """What was last said of the types of live blocks."""

    def __init__(self) -> None:
        self._alloc_seq: IntArray = np.zeros(0, np.int64)
        self._type_id: IntArray = np.zeros(0, np.int64)

    def take(self, alloc_seq: IntArray, type_id: IntArray) -> None:
        """Types of some blocks (``alloc_seq`` ascending); those that were known before are kept."""
        old = ~np.isin(self._alloc_seq, alloc_seq, assume_unique=True)
        together = np.concatenate([self._alloc_seq[old], alloc_seq])
        order = np.argsort(together, kind="stable")
        self._alloc_seq = together[order]
        self._type_id = np.concatenate([self._type_id[old], type_id])[order]

    def keep(self, alloc_seq: IntArray) -> None:
        """Forget all but these."""
        kept = np.isin(self._alloc_seq, alloc_seq)
        self._alloc_seq, self._type_id = self._alloc_seq[kept], self._type_id[kept]

    def of(self, alloc_seq: IntArray) -> IntArray:
        """The type of the block of each allocation, 0 where it is not known."""
        if not len(self._alloc_seq):
            return np.zeros(len(alloc_seq), np.int64)
        place = np.minimum(np.searchsorted(self._alloc_seq, alloc_seq), len(self._alloc_seq) - 1)
        known = self._alloc_seq[place] == alloc_seq
        return np.where(known, self._type_id[place], 0)
