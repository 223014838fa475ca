"""A model of CPython's cyclic collector, beside Modules/gcmodule.c (3.11, 3.12) and Python/gc.c (3.13).

Names are those of these files. What the model needs of a heap is little, because a generation is nothing but
a span of allocations: objects made since the last collection are young, those made since the last collection
of generation 1 or 2 are in generation 1, all older ones in generation 2. So ``_young_from`` and
``_middle_from`` (allocations from these on are in generation 0, and in 0 or 1) stand for the three lists.

What an object that no longer can be reached is, the model does not compute: it knows the blocks that recorded
collections freed, and settings.Garbage says from when on it takes them for unreachable.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from tracekit.simulator.freelists import DICTS, KEYS, LISTS, SLOTS, TRACKED_LISTS, FreeLists, part
from tracekit.simulator.settings import LAGS, CollectorSettings, Garbage, Reference

NUM_GENERATIONS = 3

LAG_STRIDE = 13


class SimulatedCollection(NamedTuple):
    """One collection of the model: it ran before event ``seq`` (3.11: within it).

    ``examined``: live blocks of tracked types in the generations that it looked at, before it freed any.
    ``freed_blocks``, ``freed_bytes``: what it freed. ``asked``: by the program, as in the recording.
    """

    seq: int
    generation: int
    examined: int
    freed_blocks: int
    freed_bytes: int
    asked: bool


class Collector:
    """Counts, thresholds and generations. Feed it the events in their order and read ``collections``.

    For each event: :meth:`before`, then :meth:`check` and :meth:`allocated` for an allocation, or
    :meth:`freed`. ``release`` is called with the ``alloc_seq`` of each block that the model finds
    unreachable, frees it, calls :meth:`freed` for it and returns its bytes; None when it went to a free
    list.
    """

    def __init__(
        self,
        settings: CollectorSettings,
        reference: Reference,
        release: Callable[[int], int | None],
        lists: FreeLists,
        *,
        collects_at_checks: bool,
    ) -> None:
        self.count = list(reference.counts)
        self.long_lived_total, self.long_lived_pending = reference.long_lived
        self.collections: list[SimulatedCollection] = []
        self._settings = settings
        self._reference = reference
        self._release = release
        # Only what does not free as the recording did can differ from it.
        self._lists = lists if lists.known and settings.garbage != Garbage.RECORDED else None
        self._slot = 0
        # Unreachable objects that the recording put into free lists, by generation and list.
        self._hidden = [[0] * LISTS for _ in range(NUM_GENERATIONS)]
        self._collects_at_checks = collects_at_checks
        self._next = self._next_due = 0
        self._due: list[int] = reference.due().tolist()
        self._older_objects = reference.long_lived[0]
        self._starts: list[int] = reference.start_seq.tolist()
        self._held_from: list[int] = reference.held().tolist()
        self._stops: list[int] = reference.stop_seq.tolist()
        self._waiting_at: int | None = None
        self._young_from = self._middle_from = 0
        self._frozen = False
        self._frozen_until = 0
        # Live blocks of tracked types in each generation, as far as they were allocated while recorded.
        self._tracked = [0, 0, 0]
        # Blocks that are unreachable, by the generation that they are in.
        self._unreachable: list[list[int]] = [[], [], []]
        # Those that may be in use for some time yet, by how long that is: since when, and if they are
        # objects that the recording put into a free list, into which.
        self._in_use: list[deque[tuple[int, int | None]]] = [deque() for _ in reference.lags]
        self._turn = 0
        # Blocks that will be: by the number of the recorded collection from which on they are.
        self._doomed: dict[int, list[int]] = {}
        self._first_middle, self._last_full = _examinations(reference)
        self._on = settings.enabled
        self._next_setting = 0
        self._set_at: list[int] = reference.settings.seq.tolist()
        self._thresholds = self._thresholds_now()

    # -- events, in the order in which they happen -----------------------------------------------------------

    def before(self, seq: int) -> None:
        """All that the recording knows to have happened between the last event and event ``seq``."""
        while self._next < len(self._starts) and self._starts[self._next] < seq:
            self._unseen_before(None)
            self._freeze_before(self._starts[self._next])
            self._due_until(self._starts[self._next])
            self._set_until(self._starts[self._next])
            self._recorded(self._next)
        self._unseen_before(seq)
        self._freeze_before(seq)
        self._due_until(seq - 1)
        self._set_until(seq)

    def check(self, seq: int, stack_id: int) -> None:
        """``_Py_HandlePending``: the program is about to allocate at another place than where it waits."""
        if self._waiting_at is not None and self._waiting_at != stack_id and not self._is_held(seq - 1):
            self._collect_generations(seq)

    def allocated(self, seq: int, stack_id: int, *, tracked: bool, counts: bool, garbage: int) -> None:
        """``gc_alloc`` (``_PyObject_GC_Link``): a block was allocated; ``counts``: by way of the collector.

        ``tracked``: its type has a header of the collector. ``garbage``: which recorded collection freed it.
        """
        if counts:
            self.count[0] += 1
            if self._is_due():
                if self._collects_at_checks and (self._is_opaque(stack_id) or self._is_held(seq)):
                    self._waiting_at = stack_id
                else:
                    self._collect_generations(seq)
        if tracked:
            self._tracked[0] += 1
        if garbage >= 0 and self._settings.garbage != Garbage.RECORDED:
            self._doom(seq, garbage)

    def freed(self, alloc_seq: int, *, tracked: bool, counts: bool) -> None:
        """``PyObject_GC_Del``: a block was freed, but not by a collection of the model."""
        if tracked:
            self._forget(alloc_seq)
        if counts and self.count[0] > 0:
            self.count[0] -= 1

    # -- when to collect -------------------------------------------------------------------------------------

    def _is_due(self) -> bool:
        threshold = self._thresholds[0]
        return (
            self._on
            and self._waiting_at is None
            and self.count[0] > threshold
            and threshold != 0
            and not self._reference.off[self._next]
        )

    def _is_above(self) -> bool:
        return self._on and self.count[0] > self._thresholds[0] > 0

    def _is_opaque(self, stack_id: int) -> bool:
        opaque = self._reference.opaque
        return 0 <= stack_id < len(opaque) and bool(opaque[stack_id])

    def _is_held(self, seq: int) -> bool:
        """Whether a recorded collection had been due since then, and was still waiting."""
        return self._next < len(self._held_from) and self._held_from[self._next] <= seq

    def _collect_generations(self, seq: int) -> None:
        """``gc_collect_generations``: the oldest generation whose count is above its threshold."""
        self._waiting_at = None
        for generation in reversed(range(NUM_GENERATIONS)):
            if self.count[generation] > self._thresholds[generation]:
                # Full collections only when there is much that none has looked at yet: 25 %.
                if generation == 2 and self.long_lived_pending < self.long_lived_total // 4:
                    continue
                self._collect(seq, generation, asked=False)
                break

    def _collect(self, seq: int, generation: int, *, asked: bool) -> None:
        """``gc_collect_main``."""
        if generation + 1 < NUM_GENERATIONS:
            self.count[generation + 1] += 1
        for younger in range(generation + 1):
            self.count[younger] = 0
        examined = sum(self._tracked[: generation + 1])
        freed_blocks = freed_bytes = 0
        self._ripen(seq, self._reference.lags)
        self._tell()
        for younger in range(generation + 1):
            gone, self._unreachable[younger] = self._unreachable[younger], []
            released = [size for size in map(self._release, gone) if size is not None]
            freed_bytes += sum(released)
            freed_blocks += len(released)
        if self._lists is not None:
            self._collect_hidden(self._lists, generation)
        self.count[0] += self._tell()
        found = SimulatedCollection(seq, generation, examined, freed_blocks, freed_bytes, asked)
        self.collections.append(found)
        # What is left moves into the next generation.
        survivors = sum(self._tracked[: generation + 1])
        into = min(generation + 1, NUM_GENERATIONS - 1)
        self._tracked[: generation + 1] = [0] * (generation + 1)
        self._tracked[into] += survivors
        self._young_from = seq
        if generation > 0:
            self._middle_from = seq
        latest = self._next - 1
        if generation == 1:
            share = self._reference.young_share[latest] if latest >= 0 else 1.0
            self.long_lived_pending += int(survivors * share)
        elif generation == 2:
            share = self._reference.full_share[latest] if latest >= 0 else 1.0
            self.long_lived_total = self._older_objects + int(survivors * share)
            self.long_lived_pending = 0

    def _tell(self) -> bool:
        """``invoke_gc_callback``: the recorder is told with a dict, which then waits in a free list.

        Returns whether it had to be allocated.
        """
        lists = self._lists
        if lists is None or lists.numfree[DICTS]:
            return False
        lists.obtain(DICTS)
        return lists.put(DICTS)

    def _collect_hidden(self, lists: FreeLists, generation: int) -> None:
        """What a collection does to free lists besides."""
        for younger in self._hidden[: generation + 1]:
            for which, objects in enumerate(younger):
                lists.collected(which, objects)
                younger[which] = 0
        if generation + 1 == NUM_GENERATIONS:
            lists.clear()

    def _due_until(self, seq: int) -> None:
        """Recorded collections that were due up to event ``seq``: what they freed is garbage by now."""
        while self._next_due < len(self._due) and self._due[self._next_due] <= seq:
            number = self._next_due
            self._next_due += 1
            if self._settings.garbage == Garbage.LIKELY:
                self._ripen(self._due[number], [0] * LAGS)
            if self._settings.garbage != Garbage.EARLY:
                self._condemn(number)
            if self._settings.garbage == Garbage.LATE and self._lists is not None:
                hidden = self._hidden[self._generation_of(self._interval_from(number))]
                for which, objects in enumerate(self._lists.parked[number]):
                    hidden[which] += objects

    # -- what the recording knows ----------------------------------------------------------------------------

    def _recorded(self, number: int) -> None:
        """A recorded collection began here."""
        reference, seq = self._reference, self._starts[number]
        self._next = number + 1
        self._slot = 0
        keys = 0
        if self._lists is not None:
            keys = self._lists.recorded[KEYS] if reference.generation[number] == 2 else 0
            self._lists.recorded = self._lists.waiting[number + 1].copy()
        self.count[0] = max(0, self.count[0] + int(reference.correction[number]))
        if reference.asked[number]:
            self._collect(seq, int(reference.generation[number]), asked=True)
        elif self._waiting_at is not None or self._is_above():
            # The eval breaker was checked, or the collector is on, or the true count is above the threshold.
            self._collect_generations(seq)
        if self._settings.garbage == Garbage.EARLY:
            self._condemn(number)
        self._thresholds = self._thresholds_now()
        if self._lists is not None:
            self._lists.kept(KEYS, keys)

    def _thresholds_now(self) -> list[int]:
        if self._settings.thresholds is not None:
            return list(self._settings.thresholds)
        recorded = self._reference.settings
        if self._next_setting:
            return list(recorded.thresholds[self._next_setting - 1].tolist())
        return list(self._reference.thresholds[self._next].tolist())

    def _set_until(self, seq: int) -> None:
        """What the program set up to event ``seq``."""
        on = self._reference.settings.on
        while self._next_setting < len(self._set_at) and self._set_at[self._next_setting] <= seq:
            number = self._next_setting
            if number == 0:
                self._on = self._settings.enabled and bool(on[0])
            elif on[number] != on[number - 1]:
                self._on = bool(on[number])
            self._next_setting += 1
            self._thresholds = self._thresholds_now()

    def _freeze_before(self, seq: int) -> None:
        """``gc.freeze``: all objects go where no collection looks, and the counts begin anew."""
        at = self._settings.freeze_seq
        if at is None or self._frozen or seq < at:
            return
        self._frozen = True
        self._frozen_until = self._young_from = self._middle_from = at
        self._tracked = [0, 0, 0]
        self._unreachable = [[], [], []]
        self._hidden = [[0] * LISTS for _ in range(NUM_GENERATIONS)]
        for blocks in self._in_use:
            blocks.clear()
        self.count = [0, 0, 0]

    # -- what no event tells ---------------------------------------------------------------------------------

    def _interval_from(self, number: int) -> int:
        """The end of the recorded collection before collection ``number``."""
        return self._stops[number - 1] if number else 0

    def _unseen_before(self, seq: int | None) -> None:
        """What happened to free lists in this interval before event ``seq``; None: all of it."""
        if self._lists is None or self._next == len(self._starts):
            return
        begin = self._interval_from(self._next)
        step = max(0, self._starts[self._next] - begin) // SLOTS
        while self._slot < SLOTS and (seq is None or begin + step * (self._slot + 1) < seq):
            self._slot += 1
            self._unseen(self._lists, begin + step * self._slot)

    def _unseen(self, lists: FreeLists, at: int) -> None:
        """What happened in a slot, the one that ends with event ``at``."""
        number, slot = self._next, self._slot
        for which, drift in enumerate(lists.drift[number]):
            objects = part(drift, slot)
            lists.recorded[which] += objects
            for _ in range(-objects):
                if not lists.take(which):
                    lists.obtain(which)
                    # Whether it is above the threshold is looked at with the next block.
                    self.count[0] += which < TRACKED_LISTS
            for _ in range(objects):
                if not lists.put(which):
                    lists.give_up(which)
                    self.count[0] -= which < TRACKED_LISTS and self.count[0] > 0
            parked = part(lists.parked[number][which], slot)
            if self._settings.garbage == Garbage.EARLY:
                self._hidden[0][which] += parked
            elif self._settings.garbage == Garbage.LIKELY:
                for _ in range(parked):
                    self._in_use[self._next_turn()].append((at, which))

    # -- generations -----------------------------------------------------------------------------------------

    def _generation_of(self, alloc_seq: int) -> int:
        return 0 if alloc_seq >= self._young_from else 1 if alloc_seq >= self._middle_from else 2

    def _forget(self, alloc_seq: int) -> None:
        """A tracked block is gone; those that are older than the recording, or frozen, were not counted."""
        if alloc_seq >= self._frozen_until:
            self._tracked[self._generation_of(alloc_seq)] -= 1

    def _doom(self, alloc_seq: int, collection: int) -> None:
        """Note from when on a block is taken for unreachable that recorded ``collection`` freed."""
        when = self._settings.garbage
        if when != Garbage.EARLY and collection < self._next_due:
            at = None  # it was made while that collection was waiting
        elif when == Garbage.LATE:
            at = collection
        else:
            at = self._last_survived(self._next, collection)
            if at is not None and when == Garbage.LIKELY:
                # Some time until the collection that found it, for each share of it in turn.
                at += -(-(collection - at) * (2 * self._next_turn() + 1) // (2 * LAGS))
            elif at is None and when == Garbage.LIKELY:
                self._in_use[self._next_turn()].append((alloc_seq, None))
                return
        if at is None:
            self._unreachable[self._generation_of(alloc_seq)].append(alloc_seq)
        else:
            self._doomed.setdefault(at, []).append(alloc_seq)

    def _last_survived(self, first: int, collection: int) -> int | None:
        """The last recorded collection that examined a block and left it alive.

        ``first`` is the first one after its allocation, ``collection`` the one that freed it. The first
        looks at it in any case, then it is in generation 1; the first of generation 1 or 2 behind that does;
        then it is in generation 2, and only full collections do. None: there is none, or the recording does
        not know that collection (LATE keeps its blocks for ever).
        """
        if first >= collection or collection >= len(self._reference):
            return None
        last = first
        middle = first if self._reference.generation[first] > 0 else self._first_middle[first]
        if middle < collection:
            last = max(middle, self._last_full[collection])
        return last

    def _next_turn(self) -> int:
        """Blocks go through all lifetimes, and neighbours get one that is far from each other's."""
        self._turn += 1
        return self._turn * LAG_STRIDE % LAGS

    def _ripen(self, seq: int, lags: Sequence[int]) -> None:
        """What is not in use any more at event ``seq``."""
        for lag, blocks in zip(lags, self._in_use, strict=True):
            while blocks and blocks[0][0] + lag <= seq:
                since, which = blocks.popleft()
                if which is None:
                    self._unreachable[self._generation_of(since)].append(since)
                else:
                    self._hidden[self._generation_of(since)][which] += 1

    def _condemn(self, number: int) -> None:
        """The blocks that are unreachable from recorded collection ``number`` on."""
        for block in self._doomed.pop(number, ()):
            if block >= self._frozen_until:
                self._unreachable[self._generation_of(block)].append(block)


def _examinations(reference: Reference) -> tuple[list[int], list[int]]:
    """For each collection: the first of generation 1 or 2 behind it, the last of generation 2 before it."""
    total = len(reference)
    generation = reference.generation.tolist()
    old = [number for number in range(total) if generation[number] > 0]
    full = [number for number in range(total) if generation[number] > 1]
    first_middle = [
        old[at] if (at := bisect_left(old, number + 1)) < len(old) else total for number in range(total)
    ]
    last_full = [full[at - 1] if (at := bisect_left(full, number)) else -1 for number in range(total)]
    return first_middle, last_full
