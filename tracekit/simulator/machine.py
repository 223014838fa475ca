"""The machine: allocations and frees of a trace, driven through pymalloc and malloc in their order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from tracekit.events import Cause, Domain
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.pymalloc import Pool, PyMalloc
from tracekit.simulator.system import AddressSpace, LimitReachedError, Malloc
from tracekit.store.steps import IntArray, Steps

PYMALLOC_DOMAINS = (Domain.MEM, Domain.OBJECT, Domain.PYTHON)
"""Domains that pymalloc serves. PYTHON may be any of raw, mem and object; it is taken for mem or object."""

MAX_TIMELINE_POINTS = 1024
"""An even number: the timeline is thinned by pairs when it is longer."""

LARGE, REALLOCATE, FREE_BY_REALLOC, FREE = -1, -2, -3, -4
"""What a row is when it is not the size class (0 and up) of an allocation that pymalloc serves.

LARGE is an allocation for malloc, REALLOCATE the new block of a realloc, FREE_BY_REALLOC its old one.
"""


class ArenaPoint(msgspec.Struct, frozen=True):
    """Arenas held after the event ``seq``, at ``time_s`` seconds, with the bytes in all live blocks."""

    seq: int
    time_s: float
    arenas: int
    live_bytes: int


class OutOfMemory(msgspec.Struct, frozen=True):
    """The first allocation that would not fit the memory limit.

    ``wanted_bytes`` is the size of the block. ``live_bytes`` (in live blocks) and ``footprint_bytes`` (held
    from the kernel) are those before it; what it would have added is a new arena, heap or mapping.
    """

    seq: int
    time_s: float
    wanted_bytes: int
    live_bytes: int
    footprint_bytes: int


@dataclass(slots=True)
class LivePeak:
    """The instant of most live bytes: bytes in all blocks, in blocks of pymalloc, and its arenas."""

    live_bytes: int = 0
    small_bytes: int = 0
    arenas: int = 0


class Moved(NamedTuple):
    """A block that a realloc has let go of, until its new one comes; ``pool`` None: it is malloc's."""

    pool: Pool | None
    size: int


class Machine:
    """A process without a collector: feed it steps in order and read its counters.

    ``use_pymalloc`` false sends everything to malloc (PYTHONMALLOC=malloc). ``keep_collected`` leaves blocks
    alive that a collection freed. After an :class:`OutOfMemory` the machine stands as before that event.
    """

    def __init__(
        self,
        parameters: PyMallocParameters,
        *,
        use_pymalloc: bool = True,
        keep_collected: bool = False,
        memory_limit: int | None = None,
    ) -> None:
        self.parameters = parameters
        self.keep_collected = keep_collected
        self.memory = AddressSpace(memory_limit)
        self.pymalloc = PyMalloc(parameters, self.memory)
        self.malloc = Malloc(self.memory, parameters.page_size)
        self.live_bytes = 0
        self.small_bytes = 0
        self.peak = LivePeak()
        self.frees_of_unknown_cause = 0
        self.timeline: list[ArenaPoint] = []
        self.out_of_memory: OutOfMemory | None = None
        self._small_threshold = parameters.small_request_threshold if use_pymalloc else 0
        self._pools: dict[int, Pool] = {}
        self._moved: dict[int, Moved] = {}

    def feed(self, steps: Steps) -> bool:
        """Run consecutive steps. False when one of them did not fit: no more may be fed."""
        wanted = np.ones(len(steps), np.bool_)
        if self.keep_collected:
            wanted = ~(steps.is_free & (steps.cause == Cause.GC))
        self.frees_of_unknown_cause += int(np.count_nonzero(steps.is_free & (steps.cause == Cause.UNKNOWN)))
        rows = np.flatnonzero(wanted)
        kinds = self._kinds(steps)[rows].tolist()
        blocks = steps.alloc_seq[rows].tolist()
        sizes = steps.size[rows].tolist()
        index = self._run(steps, rows, kinds, blocks, sizes)
        if index is None:
            return True
        row = rows[index]
        self.out_of_memory = OutOfMemory(
            int(steps.seq[row]),
            float(steps.time_ns[row]) / 1e9,
            sizes[index],
            self.live_bytes,
            self.memory.footprint_bytes,
        )
        return False

    def _size_classes(self, size: IntArray, domain: npt.NDArray[np.uint8]) -> IntArray:
        """Size class of each request, or LARGE when pymalloc does not serve it (``pymalloc_alloc``)."""
        small = (size > 0) & (size <= self._small_threshold) & np.isin(domain, PYMALLOC_DOMAINS)
        return np.where(small, (size - 1) >> self.parameters.alignment_shift, LARGE)

    def _kinds(self, steps: Steps) -> IntArray:
        """What to do for each row: a size class, or one of the names below 0."""
        kinds = self._size_classes(steps.size, steps.domain)
        kinds[steps.is_free] = FREE
        by_realloc = steps.is_free & (steps.cause == Cause.REALLOC)
        kinds[by_realloc] = FREE_BY_REALLOC
        for domain in {*self._moved, *np.unique(steps.domain[by_realloc]).tolist()}:
            # The new block of a realloc is the next allocation of its domain: mem and object requests are
            # made under the GIL, and for raw ones it makes no difference which belongs to which.
            here = steps.domain == domain
            allocations = np.flatnonzero(here & ~steps.is_free)
            old = np.flatnonzero(here & by_realloc)
            if domain in self._moved:
                old = np.append(old, -1)
            following = np.searchsorted(allocations, old)
            kinds[allocations[following[following < len(allocations)]]] = REALLOCATE
        return kinds

    def _run(
        self, steps: Steps, rows: IntArray, kinds: list[int], blocks: list[int], sizes: list[int]
    ) -> int | None:
        """The loop over rows; the index of the row that reached the memory limit, or None.

        Counters are kept in local names while it runs: this is where the simulator's time goes.
        """
        pymalloc, malloc, pools, peak = self.pymalloc, self.malloc, self._pools, self.peak
        live, small, arenas = self.live_bytes, self.small_bytes, self.arenas
        index = 0
        try:
            for index, (kind, block, size) in enumerate(zip(kinds, blocks, sizes, strict=True)):
                if kind >= 0:
                    pools[block] = pymalloc.allocate(kind)
                    small += size
                elif kind == FREE:
                    pool = pools.pop(block, None)
                    if pool is None:
                        malloc.free(size)
                    else:
                        pymalloc.free(pool)
                        small -= size
                elif kind == LARGE:
                    malloc.allocate(size)
                else:
                    move = self._reallocate if kind == REALLOCATE else self._let_go
                    small += move(block, size, int(steps.domain[rows[index]]))
                live += size if kind > FREE_BY_REALLOC else -size
                if pymalloc.narenas_currently_allocated != arenas:
                    arenas = pymalloc.narenas_currently_allocated
                    self._note_arenas(steps, rows[index], live)
                if live > peak.live_bytes:
                    peak.live_bytes, peak.small_bytes, peak.arenas = live, small, arenas
        except LimitReachedError:
            return index
        finally:
            self.live_bytes, self.small_bytes = live, small
        return None

    def _let_go(self, block: int, size: int, domain: int) -> int:
        """A realloc begins: its old block stays until the new one is there.

        Returns by how much the live bytes that pymalloc serves change.
        """
        before = self._moved.pop(domain, None)
        if before is not None:
            self._release(before)
        pool = self._pools.pop(block, None)
        self._moved[domain] = Moved(pool, size)
        return 0 if pool is None else -size

    def _reallocate(self, block: int, size: int, domain: int) -> int:
        """``pymalloc_realloc``: stay in place, or allocate the new block and then free the old one.

        What malloc manages stays with malloc, however small it gets. A block of pymalloc that shrinks by
        less than a quarter stays where it is. Returns by how much the live bytes that pymalloc serves change.
        """
        old = self._moved.pop(domain)
        pool = old.pool
        if pool is None:
            self.malloc.free(old.size)
            self.malloc.allocate(size)
            return 0
        held = self.parameters.block_bytes(pool.szidx)
        if not held >= size > held * 3 / 4:
            kind = int(self._size_classes(np.array([size]), np.array([domain], np.uint8))[0])
            new_pool = None
            if kind == LARGE:
                self.malloc.allocate(size)
            else:
                new_pool = self.pymalloc.allocate(kind)
            self.pymalloc.free(pool)
            pool = new_pool
        if pool is None:
            return 0
        self._pools[block] = pool
        return size

    def _release(self, old: Moved) -> None:
        """Free the old block of a realloc whose new one is not in the trace."""
        if old.pool is None:
            self.malloc.free(old.size)
        else:
            self.pymalloc.free(old.pool)

    def _note_arenas(self, steps: Steps, row: int, live_bytes: int) -> None:
        """Add a point to the timeline; of each two in one grown long, the one with more arenas stays."""
        point = ArenaPoint(int(steps.seq[row]), float(steps.time_ns[row]) / 1e9, self.arenas, live_bytes)
        self.timeline.append(point)
        if len(self.timeline) > MAX_TIMELINE_POINTS:
            pairs = zip(self.timeline[:-1:2], self.timeline[1::2], strict=True)
            self.timeline = [*(max(pair, key=lambda one: one.arenas) for pair in pairs), point]

    @property
    def arenas(self) -> int:
        """Arenas held now."""
        return self.pymalloc.narenas_currently_allocated

    @property
    def peak_arenas(self) -> int:
        """Most arenas ever held at once."""
        return self.pymalloc.narenas_highwater

    def fragmentation(self) -> float:
        """Share of the arenas' bytes that is not in live blocks now: 0 to 1, 0 without arenas."""
        return fragmentation(self.small_bytes, self.arenas * self.parameters.arena_size)

    def peak_fragmentation(self) -> float:
        """The same at the instant of most live bytes."""
        return fragmentation(self.peak.small_bytes, self.peak.arenas * self.parameters.arena_size)


def fragmentation(small_bytes: int, arena_bytes: int) -> float:
    """``1 - live bytes in arenas / bytes of arenas``; 0 without arenas."""
    return 1 - small_bytes / arena_bytes if arena_bytes else 0.0
