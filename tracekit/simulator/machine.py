"""The machine: allocations and frees of a trace in their order, through collector, pymalloc and malloc.

This is the readable one. fast.py does the same in C, and its tests demand the same numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

import numpy as np

from tracekit.simulator.collector import Collector, SimulatedCollection
from tracekit.simulator.freelists import LISTS, FreeLists
from tracekit.simulator.older import Layout
from tracekit.simulator.outcome import ArenaSpans, Collections, Outcome, OutOfMemory, Peak, Timeline
from tracekit.simulator.pymalloc import PyMalloc
from tracekit.simulator.rows import (
    COLLECTED,
    COUNTS,
    FREE,
    FREE_OLDER,
    KEPT,
    LARGE,
    PARK,
    TRACKED,
    UNKNOWN_CAUSE,
    Rows,
)
from tracekit.simulator.settings import MOST_EVENTS, Garbage, MachineSettings, Older, Reference
from tracekit.simulator.stack import Stacks
from tracekit.simulator.system import AddressSpace, LimitReachedError, Malloc
from tracekit.store.steps import FREE_LIST_BYTES, IntArray, Steps

MALLOC = -1
"""The place of a block that malloc serves."""


class Row(NamedTuple):
    """One row of :class:`~tracekit.simulator.rows.Rows`."""

    seq: int
    time_ns: int
    kind: int
    flags: int
    domain: int
    block: int
    size: int
    realloc_of: int
    stack_id: int
    thread_id: int
    garbage: int
    address: int
    free_list: int


class Parked(NamedTuple):
    """A block that a realloc has let go of, until its new one comes."""

    block: int
    place: int
    size: int
    tracked: bool


class Machine:
    """A process: feed it consecutive steps, then finish it. ``path_bytes[stack_id]``: see stack.py.

    What happens at a row happens in the order in which :meth:`_run` says it. What a collection of the model
    frees, or the program itself before that row, belongs to the row, too.
    """

    def __init__(
        self, settings: MachineSettings, reference: Reference, older: Older, path_bytes: IntArray
    ) -> None:
        self.settings = settings
        parameters = settings.parameters
        layout = Layout.of(older, parameters) if settings.use_pymalloc else Layout.empty()
        held = settings.base_bytes + len(layout.ntotalpools) * parameters.arena_size
        self.memory = AddressSpace(settings.memory_limit, held)
        self.pymalloc = PyMalloc(parameters, self.memory)
        self.malloc = Malloc(self.memory, parameters.page_size)
        self.stacks = Stacks(path_bytes)
        self.lists = FreeLists(reference.lists, self._obtain, self._give_up)
        self.collector = Collector(
            settings.collector,
            reference,
            self._release,
            self.lists,
            collects_at_checks=settings.collects_at_checks,
        )
        # Blocks of objects of each free list that the model has beyond those of the recording, by their
        # place, and how many it has less.
        self._spare: list[list[int]] = [[] for _ in range(LISTS)]
        self._owed = [0] * LISTS
        self.live_bytes = self.live_blocks = self.small_bytes = 0
        self.peak = Peak()
        self.frees_of_unknown_cause = 0
        self.out_of_memory: OutOfMemory | None = None
        self._reference = reference
        # Where blocks are that pymalloc serves: those of the recording by alloc_seq, older ones by address.
        self._places: dict[int, int] = {}
        older_places = self.pymalloc.begin_with(layout)
        self._older: dict[int, int] = dict(zip(layout.address.tolist(), older_places, strict=True))
        self.older_bytes = sum(map(self._block_bytes, older_places))
        # The block of each domain that a realloc has let go of.
        self._parked: dict[int, Parked] = {}
        # Size, whether it is tracked, and free list of each block that a collection of the model may free.
        self._collectable: dict[int, tuple[int, bool, int]] = {}
        self._samples = Samples(settings.sample_every)
        self._places_in_order: list[int] = []

    def feed(self, steps: Steps) -> bool:
        """Run consecutive steps. False when an allocation did not fit: no more may be fed."""
        rows = Rows.of(steps, self.settings, self._reference)
        for row in map(Row._make, zip(*(getattr(rows, name).tolist() for name in Row._fields), strict=True)):
            if self._samples.is_behind(row.seq):
                self._sample()
                self._samples.begin(row.seq, self.live_bytes)
                self.pymalloc.recent_highwater = self.pymalloc.narenas_currently_allocated
            try:
                self._run(row)
            except LimitReachedError:
                seconds, footprint = row.time_ns / 1e9, self.memory.footprint_bytes
                self.out_of_memory = OutOfMemory(
                    row.seq, seconds, row.size, self.live_bytes, footprint, row.stack_id
                )
                return False
            self._samples.last = (row.seq, row.time_ns)
        return True

    # -- one row ---------------------------------------------------------------------------------------------

    def _run(self, row: Row) -> None:
        """All that happens at a row, in order. Raises LimitReachedError; then its allocation did nothing."""
        self.pymalloc.now = row.seq
        self.collector.before(row.seq)
        tracked, counts = bool(row.flags & TRACKED), bool(row.flags & COUNTS)
        if row.kind > FREE:
            self.collector.check(row.seq, row.stack_id)
            reused = row.free_list >= 0 and self.lists.take_instead(row.free_list)
            counted = self._reuse(row) if reused else self._allocate(row)
            self.stacks.allocated(row.seq, row.thread_id, row.stack_id)
            self.collector.allocated(
                row.seq, row.stack_id, tracked=tracked, counts=counts and not counted, garbage=row.garbage
            )
            return
        self.frees_of_unknown_cause += bool(row.flags & UNKNOWN_CAUSE)
        if row.kind == KEPT:
            return
        if row.kind == FREE_OLDER:
            self._free_older(row.address)
        elif row.kind == PARK:
            self._park(row)
        elif row.free_list >= 0 and self._waits(row):
            self._keep(row.block, row.free_list)
            counts = False
        else:
            self._free(row.block, row.size)
        self.collector.freed(row.block, tracked=tracked, counts=counts)

    def _allocate(self, row: Row) -> bool:
        """A new block. Returns whether it is one that was counted before, and was resized since.

        The type of a block is seen when it is freed, and a realloc is no free: a tuple that was resized
        counts from its first block on, but as a rule only its last block has a type.
        """
        parked = self._parked.get(row.domain)
        resized = False
        if parked is not None and row.realloc_of == parked.block:
            place = self._reallocate(parked, row)
            resized = parked.tracked
            del self._parked[row.domain]
        else:
            place = self._place(row)
        if place != MALLOC:
            self._places[row.block] = place
            self.small_bytes += row.size
        self._is_placed(row, place)
        self._more_is_live(row.seq, row.size)
        return resized

    def _is_placed(self, row: Row, place: int) -> None:
        if self.settings.keep_places:
            self._places_in_order.append(place)
        if row.garbage >= 0 and self.settings.collector.garbage != Garbage.RECORDED:
            self._collectable[row.block] = (row.size, bool(row.flags & TRACKED), row.free_list)

    def _more_is_live(self, seq: int, size: int) -> None:
        self.live_blocks += 1
        self.live_bytes += size
        self._may_be_the_peak(seq)

    def _may_be_the_peak(self, seq: int) -> None:
        self._samples.peak_live_bytes = max(self._samples.peak_live_bytes, self.live_bytes)
        if self.live_bytes > self.peak.live_bytes:
            arenas = self.pymalloc.narenas_currently_allocated
            self.peak = Peak(self.live_bytes, seq, self.small_bytes, self.older_bytes, arenas)

    def _place(self, row: Row) -> int:
        """``_PyObject_Malloc``: a new block of pymalloc or of malloc."""
        if row.kind != LARGE:
            return self.pymalloc.allocate(row.kind)
        self.malloc.allocate(row.size)
        return MALLOC

    def _reallocate(self, old: Parked, row: Row) -> int:
        """``pymalloc_realloc``: stay in place, or allocate the new block and then free the old one.

        What malloc manages stays with malloc, however small it gets. A block of pymalloc that shrinks by
        less than a quarter stays where it is, and so does one that grows within its size class.
        """
        if old.place == MALLOC:
            self.malloc.reallocate(old.size, row.size)
            return MALLOC
        held = self._block_bytes(old.place)
        if row.size <= held and 4 * row.size > 3 * held:
            return old.place
        place = self._place(row)
        self.pymalloc.free(old.place)
        return place

    # -- blocks that go --------------------------------------------------------------------------------------

    def _free(self, block: int, size: int) -> None:
        """A block allocated while recorded is given back."""
        self._give_back(self._forget(block, size), size)

    def _forget(self, block: int, size: int) -> int:
        """A block is not alive any more; where it was."""
        place = self._places.pop(block, MALLOC)
        self.live_blocks -= 1
        self.live_bytes -= size
        if place != MALLOC:
            self.small_bytes -= size
        return place

    def _give_back(self, place: int, size: int) -> None:
        if place == MALLOC:
            self.malloc.free(size)
        else:
            self.pymalloc.free(place)

    def _park(self, row: Row) -> None:
        """A realloc begins: its old block stays until the new one is there.

        One that is there still has a new block that was not recorded: it goes now.
        """
        before = self._parked.pop(row.domain, None)
        if before is not None:
            self._give_back(before.place, before.size)
        place = self._forget(row.block, row.size)
        self._parked[row.domain] = Parked(row.block, place, row.size, bool(row.flags & TRACKED))

    def _free_older(self, address: int) -> None:
        """A block older than the recording is given back. Of one that malloc served the size is not known."""
        place = self._older.pop(address, MALLOC)
        if place != MALLOC:
            self.older_bytes -= self._block_bytes(place)
            self.pymalloc.free(place)

    def _release(self, block: int) -> int | None:
        """A collection of the model found a block; its bytes, or None when it goes to a free list."""
        size, tracked, which = self._collectable.pop(block)
        waits = which >= 0 and self.lists.put(which)
        if waits:
            self._keep(block, which)
        else:
            self._free(block, size)
        self.collector.freed(block, tracked=tracked, counts=False)
        return None if waits else size

    # -- objects of free lists -------------------------------------------------------------------------------

    def _reuse(self, row: Row) -> bool:
        """The recording allocated a block where an object waits in a free list of the model. Returns True."""
        which = row.free_list
        if self._spare[which]:
            place = self._spare[which].pop()
        else:  # One that the recording has not given back yet: so the model has one less.
            place = self._place(row)
            self._owes(which, 1)
            self.live_blocks += 1
            self.live_bytes += row.size
            self.small_bytes += row.size if place != MALLOC else 0
        if place != MALLOC:
            self._places[row.block] = place
        self._is_placed(row, place)
        return True

    def _waits(self, row: Row) -> bool:
        """Whether a block that the recording freed is one that waits in a free list of the model."""
        which = row.free_list
        if not row.flags & COLLECTED:
            return self.lists.put_instead(which)
        # A full collection freed what waited.
        if self._owed[which]:
            self._owes(which, -1)
            return False
        return True

    def _keep(self, block: int, which: int) -> None:
        self._spare[which].append(self._places.pop(block, MALLOC))

    def _obtain(self, which: int) -> None:
        """A block for an object that came from a free list in the recording. Raises LimitReachedError."""
        if self._owed[which]:
            self._owes(which, -1)
            self._may_be_the_peak(self.pymalloc.now)
            return
        size = FREE_LIST_BYTES[which]
        if self._is_small(which):
            place = self.pymalloc.allocate((size - 1) >> self.settings.parameters.alignment_shift)
            self.small_bytes += size
        else:
            self.malloc.allocate(size)
            place = MALLOC
        self._spare[which].append(place)
        self._more_is_live(self.pymalloc.now, size)

    def _give_up(self, which: int) -> None:
        """A block goes whose object went to a free list in the recording, or waits in one there."""
        if not self._spare[which]:
            self._owes(which, 1)
            return
        size, place = FREE_LIST_BYTES[which], self._spare[which].pop()
        self._give_back(place, size)
        self.live_blocks -= 1
        self.live_bytes -= size
        if place != MALLOC:
            self.small_bytes -= size

    def _owes(self, which: int, blocks: int) -> None:
        """So many blocks less than the recording has; which ones nobody knows, so they keep their places."""
        size = FREE_LIST_BYTES[which]
        self._owed[which] += blocks
        self.live_blocks -= blocks
        self.live_bytes -= blocks * size
        self.small_bytes -= blocks * size if self._is_small(which) else 0

    def _is_small(self, which: int) -> bool:
        threshold = self.settings.parameters.small_request_threshold if self.settings.use_pymalloc else 0
        return bool(FREE_LIST_BYTES[which] <= threshold)

    def _block_bytes(self, place: int) -> int:
        return self.settings.parameters.block_bytes(self.pymalloc.pool_of(place).szidx)

    # -- what comes out --------------------------------------------------------------------------------------

    def _sample(self) -> None:
        """A point of the timeline for the events since the last one, if there were any."""
        arenas = self.pymalloc.narenas_currently_allocated
        self._samples.end(
            self.live_bytes, arenas, self.pymalloc.recent_highwater, self.memory.footprint_bytes
        )

    def finish(self) -> Outcome:
        """All that came out. To be called once, when nothing more is to be fed."""
        if self.out_of_memory is None:
            with suppress(LimitReachedError):  # for what happens unseen: no event wants it
                self.collector.before(MOST_EVENTS)  # collections after the last event
        self._sample()
        pymalloc, memory, malloc = self.pymalloc, self.memory, self.malloc
        return Outcome(
            arenas=pymalloc.narenas_currently_allocated,
            peak_arenas=pymalloc.narenas_highwater,
            peak_arenas_seq=pymalloc.highwater_at,
            ntimes_arena_allocated=pymalloc.ntimes_arena_allocated,
            live_bytes=self.live_bytes,
            live_blocks=self.live_blocks,
            small_bytes=self.small_bytes,
            older_bytes=self.older_bytes,
            peak=self.peak,
            footprint_bytes=memory.footprint_bytes,
            peak_footprint_bytes=memory.peak_footprint_bytes,
            heap_bytes=malloc.heap_bytes,
            mapped_bytes=malloc.mapped_bytes,
            peak_stack_bytes=self.stacks.peak_stack_bytes,
            peak_stack_seq=self.stacks.peak_seq,
            frees_of_unknown_cause=self.frees_of_unknown_cause,
            out_of_memory=self.out_of_memory,
            collections=_collections(self.collector.collections),
            timeline=Timeline(*_columns(self._samples.points, 7)),
            arena_spans=ArenaSpans(
                *_columns([(number, *span) for number, span in pymalloc.spans.items()], 3)
            ),
            places=np.array(self._places_in_order, np.int64),
        )


class Samples:
    """The timeline while it comes into being: a point for each span of ``every`` numbers of events."""

    def __init__(self, every: int) -> None:
        self.points: list[tuple[int, ...]] = []
        self.peak_live_bytes = 0
        self.last: tuple[int, int] | None = None
        self._every = every
        self._span = -1

    def is_behind(self, seq: int) -> bool:
        """Whether an event is of another span than the last one."""
        return seq // self._every != self._span

    def begin(self, seq: int, live_bytes: int) -> None:
        """A new span, the one that event ``seq`` is of."""
        self._span = seq // self._every
        self.peak_live_bytes = live_bytes
        self.last = None

    def end(self, live_bytes: int, arenas: int, peak_arenas: int, footprint_bytes: int) -> None:
        """The span is over: a point, if an event was run in it (``last``: its seq and time)."""
        if self.last is not None:
            peak = self.peak_live_bytes
            self.points.append((*self.last, live_bytes, peak, arenas, peak_arenas, footprint_bytes))


def _columns(rows: Sequence[tuple[int, ...]], columns: int) -> list[IntArray]:
    table = np.array(rows, np.int64).reshape(-1, columns)
    return [np.ascontiguousarray(table[:, column]) for column in range(columns)]


def _collections(found: Sequence[SimulatedCollection]) -> Collections:
    columns = dict(zip(SimulatedCollection._fields, _columns(found, 6), strict=True))
    asked = columns.pop("asked").astype(np.bool_)
    return Collections(asked=asked, **columns)
