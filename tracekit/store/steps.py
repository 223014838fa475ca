"""What the simulator consumes: allocations and frees in the order of ``seq``, as columns."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

NONE = -1
"""``alloc_seq`` of a block older than the recording, ``realloc_of`` and ``garbage`` where there is none."""

FREE_LIST_BYTES = (64, 56, *range(48, 208, 8), 24, 120)
"""Bytes of the block of an object of each free list.

These are dict, list, tuples of 1 to 20 items (PyTuple_MAXSAVESIZE), float, and the keys of a small dict;
those that the collector tracks have its 16 bytes in front. The same in CPython 3.11 to 3.13 on 64 bits.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Consecutive allocations and frees of one trace, one row each, ordered by ``seq``.

    ``alloc_seq`` is the identity of the block: ``seq`` itself for an allocation (``is_free`` false), the
    allocation that it ends for a free, and -1 for the free of a block older than the recording. ``size``,
    ``domain``, ``stack_id``, ``gc_tracked`` and ``garbage`` are the block's in both kinds of row; an older
    block has the bytes of its size class and the domain OBJECT when pymalloc held it at the start, otherwise
    size 0 and the domain RAW. ``address`` is the recorded one (synthetic for some engines).

    ``cause`` is a free's (:class:`~tracekit.events.Cause`), 0 for an allocation. ``thread_id`` did it.
    ``gc_tracked``: the type of the block carries a header of the collector. ``realloc_of``: the alloc_seq of
    the block that a realloc replaced by this allocation, else -1. ``garbage``: which recorded collection
    freed the block, counted from 0 in the order of ``start_seq`` of gc_collections, else -1. ``free_list``:
    the free list that an object of this type and size comes from and goes to, counted from 1 in the order of
    gc_collections.free_lists_before; 0 for all others.
    """

    seq: IntArray
    time_ns: IntArray
    is_free: npt.NDArray[np.bool_]
    alloc_seq: IntArray
    size: IntArray
    domain: npt.NDArray[np.uint8]
    stack_id: npt.NDArray[np.int32]
    cause: npt.NDArray[np.uint8]
    thread_id: npt.NDArray[np.int32]
    gc_tracked: npt.NDArray[np.bool_]
    realloc_of: IntArray
    garbage: npt.NDArray[np.int32]
    address: IntArray
    free_list: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(frozen=True, slots=True, eq=False)
class Outline:
    """Some of the columns of :class:`Steps`, as they are there: to read them takes a third of the time."""

    seq: IntArray
    is_free: npt.NDArray[np.bool_]
    alloc_seq: IntArray
    stack_id: npt.NDArray[np.int32]
    cause: npt.NDArray[np.uint8]
    gc_tracked: npt.NDArray[np.bool_]
    realloc_of: IntArray
    garbage: npt.NDArray[np.int32]
    free_list: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.seq)


def in_parts(steps: Outline | Steps, length: int) -> Iterator[Outline | Steps]:
    """The same steps, ``length`` at a time."""
    names = [field.name for field in fields(steps)]
    for start in range(0, len(steps), length):
        yield type(steps)(**{name: getattr(steps, name)[start : start + length] for name in names})
