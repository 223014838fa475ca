"""Steps as a machine takes them: for each row a small number that says what to do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracekit.events import Cause, Domain
from tracekit.simulator.freelists import LISTS
from tracekit.simulator.settings import Garbage, MachineSettings, Reference, Shared
from tracekit.store.steps import NONE, IntArray, Steps

PYMALLOC_DOMAINS = (Domain.MEM, Domain.OBJECT, Domain.PYTHON)
"""Domains that pymalloc serves. PYTHON may be any of raw, mem and object; it is taken for mem or object."""

LARGE, FREE, PARK, FREE_OLDER, KEPT = -1, -2, -3, -4, -5
"""What a row is when it is not an allocation of the size class ``kind`` (0 and up) that pymalloc serves.

LARGE: an allocation that malloc serves. FREE: of a block allocated while recorded. PARK: the same by a
realloc, which keeps the block until the new one is there. FREE_OLDER: of a block older than the recording.
KEPT: a free that a recorded collection made, when the collections of the model decide.
"""

TRACKED, COUNTS, UNKNOWN_CAUSE, COLLECTED = 1, 2, 4, 8
"""Bits of ``Rows.flags``.

TRACKED: the block's type has a header of the collector. COUNTS: the row changes count 0 of the collector
(``gc_alloc``, ``PyObject_GC_Del``): its block is tracked, no realloc moved it, no recorded collection made
it (count 0 is 0 then), and the recorder itself did not cause it. UNKNOWN_CAUSE: a free of unknown cause.
COLLECTED: a free by a recorded collection.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """Steps with ``kind`` and ``flags``; the rest is as in :class:`~tracekit.store.steps.Steps`.

    ``free_list`` is counted from 0, and -1 also where the row has nothing to do with a free list.
    """

    seq: IntArray
    time_ns: IntArray
    kind: npt.NDArray[np.int16]
    flags: npt.NDArray[np.uint8]
    domain: npt.NDArray[np.uint8]
    block: IntArray
    size: IntArray
    realloc_of: IntArray
    stack_id: npt.NDArray[np.int32]
    thread_id: npt.NDArray[np.int32]
    garbage: npt.NDArray[np.int32]
    address: IntArray
    free_list: npt.NDArray[np.int16]

    @classmethod
    def of(cls, steps: Steps, settings: MachineSettings, reference: Reference) -> Rows:
        """What to do with each of the steps. ``block`` is their ``alloc_seq``. The columns are contiguous."""
        garbage = garbage_of(steps, reference, settings.collector.garbage)
        return cls(
            seq=np.ascontiguousarray(steps.seq, np.int64),
            time_ns=np.ascontiguousarray(steps.time_ns, np.int64),
            kind=_kinds(steps, settings, garbage),
            flags=_flags(steps, reference),
            domain=np.ascontiguousarray(steps.domain, np.uint8),
            block=np.ascontiguousarray(steps.alloc_seq, np.int64),
            size=np.ascontiguousarray(steps.size, np.int64),
            realloc_of=np.ascontiguousarray(steps.realloc_of, np.int64),
            stack_id=np.ascontiguousarray(steps.stack_id, np.int32),
            thread_id=np.ascontiguousarray(steps.thread_id, np.int32),
            garbage=garbage,
            address=np.ascontiguousarray(steps.address, np.int64),
            free_list=_free_lists(steps, settings, reference),
        )

    def __len__(self) -> int:
        return len(self.seq)


def garbage_of(steps: Steps, reference: Reference, when: Garbage) -> npt.NDArray[np.int32]:
    """``steps.garbage`` without what a recorded collection flushed, and without numbers that none has.

    LATE: with what garbage may have shared.
    """
    garbage = np.ascontiguousarray(steps.garbage, np.int32)
    collected = np.flatnonzero(garbage >= 0)
    flushed = _within(steps.alloc_seq[collected], reference.flushed)
    wrong = collected[(garbage[collected] >= len(reference)) | flushed]
    if len(wrong):
        garbage = garbage.copy()
        garbage[wrong] = NONE
    if when == Garbage.LATE and len(reference.shared) and len(steps):
        garbage = _with_shared(garbage, steps.seq, reference.shared)
    return garbage


def _with_shared(garbage: npt.NDArray[np.int32], seq: IntArray, shared: Shared) -> npt.NDArray[np.int32]:
    first = int(np.searchsorted(shared.seq, seq[0]))
    last = int(np.searchsorted(shared.seq, seq[-1], side="right"))
    wanted = shared.seq[first:last]
    rows = np.searchsorted(seq, wanted)
    there = seq[rows] == wanted
    garbage = garbage.copy()
    garbage[rows[there]] = shared.garbage[first:last][there]
    return garbage


def _kinds(steps: Steps, settings: MachineSettings, garbage: npt.NDArray[np.int32]) -> npt.NDArray[np.int16]:
    parameters = settings.parameters
    threshold = parameters.small_request_threshold if settings.use_pymalloc else 0
    # pymalloc_alloc: no requests of 0 bytes, none above the threshold.
    small = (steps.size > 0) & (steps.size <= threshold) & np.isin(steps.domain, PYMALLOC_DOMAINS)
    kinds = np.where(small, (steps.size - 1) >> parameters.alignment_shift, LARGE).astype(np.int16)
    free = steps.is_free
    kinds[free] = FREE
    kinds[free & (steps.cause == Cause.REALLOC)] = PARK
    if settings.collector.garbage != Garbage.RECORDED:
        kinds[free & (garbage >= 0)] = KEPT
    kinds[free & (steps.alloc_seq == NONE)] = FREE_OLDER
    return kinds


def _free_lists(steps: Steps, settings: MachineSettings, reference: Reference) -> npt.NDArray[np.int16]:
    if settings.collector.garbage == Garbage.RECORDED or not reference.lists.known:
        return np.full(len(steps), NONE, np.int16)
    # A realloc goes past the lists; what is older than the recording is free for good.
    goes_past = np.where(
        steps.is_free, (steps.cause == Cause.REALLOC) | (steps.alloc_seq == NONE), steps.realloc_of != NONE
    )
    return np.where(goes_past | (steps.free_list > LISTS), NONE, steps.free_list.astype(np.int16) - 1)


def _within(values: IntArray, rising: IntArray) -> npt.NDArray[np.bool_]:
    """Which of the values are among those of ``rising``."""
    if not len(rising):
        return np.zeros(len(values), np.bool_)
    found: npt.NDArray[np.bool_] = (
        rising[np.minimum(np.searchsorted(rising, values), len(rising) - 1)] == values
    )
    return found


def _flags(steps: Steps, reference: Reference) -> npt.NDArray[np.uint8]:
    free = steps.is_free
    tracked = steps.gc_tracked
    counts = tracked & np.where(free, ~np.isin(steps.cause, (Cause.REALLOC, Cause.GC)), True)
    counts &= ~_within(steps.alloc_seq, reference.observed)
    flags = np.zeros(len(steps), np.uint8)
    for bit, here in (
        (TRACKED, tracked),
        (COUNTS, counts),
        (UNKNOWN_CAUSE, free & (steps.cause == Cause.UNKNOWN)),
        (COLLECTED, free & (steps.cause == Cause.GC)),
    ):
        flags[here] |= bit
    return flags
