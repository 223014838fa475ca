"""What a machine is told before it runs: what to suppose, and what the recording knows of itself."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tracekit.simulator.freelists import RecordedLists
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.store.steps import IntArray


class Garbage(enum.IntEnum):
    """When blocks go that a recorded collection freed.

    RECORDED: when they went in the recording. Otherwise with the first collection of the model that examines
    them after they became unreachable, which was at an unknown instant: EARLY supposes the first that is
    possible (right after the last recorded collection that they survived, or after their allocation), LATE
    the last (when the recorded collection that freed them began). LIKELY is between
    these: as EARLY, but that a new block is in use for so many events as such blocks were
    (``Reference.lags``). LATE also supposes that garbage keeps what it may share with the living
    (``Reference.shared``).
    """

    RECORDED = 0
    EARLY = 1
    LATE = 2
    LIKELY = 3


LAGS = 32
"""Values by which the distribution of lifetimes is given."""

MOST_EVENTS = 1 << 62
"""No recording has so many."""


@dataclass(frozen=True, slots=True)
class CollectorSettings:
    """``thresholds`` None: those in force when the program was recorded.

    ``enabled`` False: gc.disable() at the start; where the program is known to have turned the collector
    off and on again, it is on from there.

    ``freeze_seq``: gc.freeze() just before the first event from this one on; None: never.
    """

    thresholds: tuple[int, int, int] | None = None
    enabled: bool = True
    freeze_seq: int | None = None
    garbage: Garbage = Garbage.RECORDED


@dataclass(frozen=True, slots=True, eq=False)
class RecordedSettings:
    """How the program set the collector: from event ``seq[k]`` on it was ``on[k]``, with ``thresholds[k]``.

    In the order of the events; without rows where that was not recorded.
    """

    seq: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    on: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    thresholds: IntArray = field(default_factory=lambda: np.empty((0, 3), np.int64))

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(frozen=True, slots=True, eq=False)
class Shared:
    """Blocks that went by reference count, but that garbage may have referred to when it was still there.

    ``seq``: the events that began them and those that ended them, all together, rising. ``garbage``: for each
    of these the next recorded collection after the block went; LATE supposes that it was garbage until then.
    """

    seq: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    garbage: npt.NDArray[np.int32] = field(default_factory=lambda: np.empty(0, np.int32))

    @classmethod
    def of(cls, alloc_seq: IntArray, free_seq: IntArray, start_seq: IntArray) -> Shared:
        """Of blocks with these events; what went after the last collection began is left out."""
        until = np.searchsorted(start_seq, free_seq)
        known = until < len(start_seq)
        seq = np.concatenate([alloc_seq[known], free_seq[known]])
        order = np.argsort(seq)
        return cls(seq[order], np.tile(until[known], 2)[order].astype(np.int32))

    def __len__(self) -> int:
        return len(self.seq)


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """What a recording knows of its own collections, for the model to be held to. See reference.py.

    Columns have one value for each recorded collection, in the order of ``start_seq``. ``asked``: the
    program asked for it (gc.collect). ``thresholds[k]`` were in force before collection k, the last row
    behind the last one; ``off[k]`` likewise: the collector did not run although its count was above the
    threshold. ``correction``: by how much count 0 at its start was above what the types of the blocks tell.
    ``young_share``: objects that survived a collection of generation 1 by blocks of tracked types that did,
    as of the last such collection; before the first as of that; 1 without any. ``full_share``: objects that
    were alive by such blocks that were.

    ``counts`` and ``long_lived`` (total, pending) are those at the start of the recording. ``observed``:
    allocations that the recorder itself caused in the collector, in order. ``opaque[stack_id]``: a call path
    whose last line is within one call of C code when a collection falls due there.

    ``held_from``: the event that made a collection due; until it began no eval breaker was checked.
    ``start_seq`` where nothing is known of that. ``due_seq``: the event before it, not where C code ran; a
    collection of the model at the same event is the same collection. ``flushed``: blocks, in order, that
    recorded collections freed although they were no garbage. ``lists``: the free lists, where recorded.
    ``lags``: for how many events blocks of cyclic garbage were in use, rising, each as likely as the others.
    ``settings``: what the collector was set to; where that is known, ``thresholds`` and ``off`` do not count.
    ``shared``: see there.
    """

    start_seq: IntArray
    stop_seq: IntArray
    generation: IntArray
    asked: npt.NDArray[np.bool_]
    off: npt.NDArray[np.bool_]
    thresholds: IntArray
    correction: IntArray
    young_share: npt.NDArray[np.float64]
    full_share: npt.NDArray[np.float64]
    counts: tuple[int, int, int] = (0, 0, 0)
    long_lived: tuple[int, int] = (0, 0)
    observed: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    opaque: npt.NDArray[np.bool_] = field(default_factory=lambda: np.empty(0, np.bool_))
    held_from: IntArray | None = None
    due_seq: IntArray | None = None
    flushed: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    lists: RecordedLists = field(default_factory=RecordedLists)
    lags: tuple[int, ...] = (0,) * LAGS
    settings: RecordedSettings = field(default_factory=RecordedSettings)
    shared: Shared = field(default_factory=Shared)

    def held(self) -> IntArray:
        """``held_from``, or ``start_seq`` where it was left out."""
        return self.start_seq if self.held_from is None else self.held_from

    def due(self) -> IntArray:
        """``due_seq``, or ``start_seq`` where it was left out."""
        return self.start_seq if self.due_seq is None else self.due_seq

    def __len__(self) -> int:
        return len(self.start_seq)


@dataclass(frozen=True, slots=True, eq=False)
class Older:
    """What pymalloc held when the recording began: ``arenas`` and live blocks, by address.

    ``block_bytes`` is the size class of each block in bytes. Arenas and blocks are in order of address.
    ``later_arenas`` are the addresses of those that it obtained while recorded, in that order: by them an
    arena of the model has as many pools as the one that CPython obtained in its place. ``used_pools`` are the
    addresses of pools in the order in which the recording first allocated in them, which is the order of the
    lists that they stood in. ``arena_size`` and ``pool_size`` are the recorded interpreter's, in bytes.
    """

    arenas: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    blocks: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    block_bytes: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    later_arenas: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    used_pools: IntArray = field(default_factory=lambda: np.empty(0, np.int64))
    arena_size: int = 1 << 20
    pool_size: int = 1 << 14


@dataclass(frozen=True, slots=True)
class MachineSettings:
    """Everything that a machine is told. ``memory_limit`` and ``base_bytes`` are bytes.

    ``use_pymalloc`` false sends everything to malloc (PYTHONMALLOC=malloc). ``collects_at_checks``: a
    collection that is due waits for the next check of the eval breaker (3.12 on), otherwise it runs inside
    the allocation. ``base_bytes``: what the process held of the kernel besides, at the start.
    ``sample_every``: events between two points of the timeline. ``keep_places``: remember where every
    allocation went (``Outcome.places``), for tests and comparisons.
    """

    parameters: PyMallocParameters
    collector: CollectorSettings = CollectorSettings()
    use_pymalloc: bool = True
    collects_at_checks: bool = False
    memory_limit: int | None = None
    base_bytes: int = 0
    sample_every: int = 65536
    keep_places: bool = False
