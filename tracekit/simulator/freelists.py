"""Free lists of dicts, lists, tuples and floats: dead objects that wait to be used again.

Beside Objects/dictobject.c, listobject.c, tupleobject.c and floatobject.c (3.11, 3.12) and
Include/internal/pycore_freelist.h (3.13). What waits in a free list is no event: neither when an object goes
there nor when one comes from there is a block freed or allocated, and count 0 of the collector stays as it
is. While a recorded program and a simulated one have the same in their lists that makes no difference, and
it is enough to know where they begin to differ: collections put dead objects there at other times, and full
collections empty them at other times. Not every object comes from a list when one waits there (``list()``
and ``dict()`` allocate), so a block of the recording is one that the model need not allocate only where the
model has more in its list than the recording had.

So a recording that says how long the lists were when collections began and ended says how many objects came
from there between two collections, net of those that went there (``drift``), and how many each collection
put there (``parked``). When in the interval is not known: it is spread over SLOTS instants.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tracekit.store.steps import FREE_LIST_BYTES, IntArray

LISTS = len(FREE_LIST_BYTES)
MAXFREELIST = (80, 80, *[2000] * 20, 100, 80)
"""PyDict_MAXFREELIST, PyList_MAXFREELIST, PyTuple_MAXFREELIST, PyFloat_MAXFREELIST: so many wait at most."""

TRACKED_LISTS = LISTS - 2
"""The others hold what the collector does not count."""

DICTS = 0
"""The dicts, of which the recorder's callback is given one at the start and the end of each collection."""

KEYS = LISTS - 1
"""Tables of keys of dicts: no event tells them from other blocks, so that they go as they went."""

SLOTS = 32
"""Instants between two recorded collections over which what happened unseen is spread."""

Objects = npt.NDArray[np.int16]


def _none() -> Objects:
    return np.empty((0, LISTS), np.int16)


@dataclass(frozen=True, slots=True, eq=False)
class RecordedLists:
    """What a recording knows of the free lists; all are without rows where it knows nothing.

    ``waiting[k, list]``: how many objects waited after collection k - 1, when the recording began for k = 0;
    one row more than collections. ``drift[k, list]``: objects that went there between collection k - 1 and
    collection k, less those that came from there. ``parked[k, list]``: unreachable objects that collection k
    put there.
    """

    waiting: Objects = field(default_factory=_none)
    drift: Objects = field(default_factory=_none)
    parked: Objects = field(default_factory=_none)

    @property
    def known(self) -> bool:
        """Whether the recording says how long the lists were."""
        return len(self.drift) > 0

    @classmethod
    def of(cls, numfree: tuple[int, ...], lengths: IntArray, generation: IntArray) -> RecordedLists:
        """From lengths at the start, and before and after each collection: ``lengths[k, 0 or 1, list]``."""
        before, after = (
            np.clip(lengths[:, 0], 0, max(MAXFREELIST)),
            np.clip(lengths[:, 1], 0, max(MAXFREELIST)),
        )
        grown = after - before
        # What a full collection put there it freed at its end: its frees tell of it.
        grown[generation > 1] = 0
        start = np.clip(np.array([numfree]), 0, max(MAXFREELIST))
        # Where a collection left fewer than before, the program took some meanwhile.
        waiting = np.concatenate([start, after - np.minimum(grown, 0)])
        columns = (waiting, before - waiting[:-1], np.maximum(grown, 0))
        return cls(*(column.astype(np.int16) for column in columns))


def part(count: int, slot: int) -> int:
    """The share of slot ``slot`` (from 1 on) of so many objects; of all SLOTS together it is ``count``."""
    whole = abs(count)
    share = whole * slot // SLOTS - whole * (slot - 1) // SLOTS
    return share if count > 0 else -share


class FreeLists:
    """The free lists of the model.

    ``obtain(which)`` is called where an object comes to be that the recording had in a list, and the model
    has not; ``give_up(which)`` where one goes that the recording kept in a list.
    """

    def __init__(
        self, recorded: RecordedLists, obtain: Callable[[int], None], give_up: Callable[[int], None]
    ) -> None:
        self.known = recorded.known
        self.waiting: list[list[int]] = recorded.waiting.tolist()
        self.numfree = self.waiting[0].copy() if self.known else [0] * LISTS
        # How many wait in the recording.
        self.recorded = self.numfree.copy()
        self.drift: list[list[int]] = recorded.drift.tolist()
        self.parked: list[list[int]] = recorded.parked.tolist()
        self.obtain, self.give_up = obtain, give_up

    def take(self, which: int) -> bool:
        """An object is made. Whether one waited."""
        if self.numfree[which] == 0:
            return False
        self.numfree[which] -= 1
        return True

    def put(self, which: int) -> bool:
        """An object died. Whether it waits now: otherwise the list is full."""
        if self.numfree[which] >= MAXFREELIST[which]:
            return False
        self.numfree[which] += 1
        return True

    def take_instead(self, which: int) -> bool:
        """The recording allocated a block for an object. Whether one waited in the model."""
        return self.numfree[which] > self.recorded[which] and self.take(which)

    def put_instead(self, which: int) -> bool:
        """The recording freed the block of an object. Whether it waits in the model."""
        return self.numfree[which] < self.recorded[which] and self.put(which)

    def collected(self, which: int, objects: int) -> None:
        """A collection found so many objects that the recording put into a list."""
        for _ in range(objects):
            if not self.put(which):
                self.give_up(which)

    def kept(self, which: int, objects: int) -> None:
        """The recording freed so many that waited, of which the model has what it did not free itself."""
        for _ in range(objects):
            self.obtain(which)

    def clear(self) -> None:
        """``clear_freelists``, at the end of a full collection."""
        for which in range(LISTS):
            while self.take(which):
                self.give_up(which)
