"""What a recording knows of its own collections, found by folding it once: the model is held to this.

The number of blocks that the collector counts follows from the types of the blocks, up to the few whose type
nobody saw. Each recorded collection says what count 0 really was, so the fold is corrected there, and tells
besides how long a collection that was due had to wait, and where.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from tracekit.events import Cause, CollectorInfo
from tracekit.simulator.freelists import LISTS, RecordedLists
from tracekit.simulator.settings import LAGS, MOST_EVENTS, RecordedSettings, Reference
from tracekit.store.steps import IntArray, Outline, Steps

MOST_WAITING = 8
"""Tracked blocks allocated between two checks of the eval breaker, outside of long calls of C code."""

MOST_PARKED = 1024
"""So many blocks wait for the new block of their realloc at once: one a thread."""

OCTAVE = 4
"""Ages are counted in so many steps for each doubling."""

RECORDERS_EVENTS = 6
"""The recorder's callback makes CPython build a dict; its events are the last so many before the start."""


@dataclass(frozen=True, slots=True, eq=False)
class RecordedCollections:
    """The rows of gc_collections in the order of ``start_seq``.

    ``stop_seq`` is the last event where it is not known. ``counts`` and ``thresholds`` have three columns,
    ``long_lived`` two (total, pending), which are -1 where they were not recorded. ``collected``: the objects
    that it found unreachable. ``lists[k, 0 or 1]``: how many objects waited in each free list before and
    after collection k; without rows where that is not known. ``settings``: how the collector was set.
    """

    start_seq: IntArray
    stop_seq: IntArray
    generation: IntArray
    counts: IntArray
    thresholds: IntArray
    long_lived: IntArray
    collected: IntArray
    lists: IntArray
    settings: RecordedSettings = field(default_factory=RecordedSettings)

    def __len__(self) -> int:
        return len(self.start_seq)


@dataclass(slots=True)
class _Due:
    """A collection that is due: since the block ``seq`` was allocated at ``stack_id``."""

    seq: int
    stack_id: int
    waited: int = 0
    same_place: bool = True


class ReferenceFold:
    """Feed it all steps of a trace, then :meth:`finish`.

    ``began`` is the state of the collector when the recording began. ``place_of_stack`` gives call paths
    that end at the same line of the same code the same number.
    """

    def __init__(
        self,
        recorded: RecordedCollections,
        began: CollectorInfo,
        place_of_stack: IntArray,
    ) -> None:
        total = len(recorded)
        self._recorded = recorded
        self._places = place_of_stack
        first = recorded.counts[0].tolist() if total else [0, 0, 0]
        self._counts = began.counts or (0, int(first[1]), int(first[2]))
        after = recorded.thresholds[-1:] if total else np.array([began.thresholds], np.int64)
        self._numfree = began.free_lists
        self._thresholds = np.concatenate([recorded.thresholds.reshape(-1, 3), after])
        self._count = self._counts[0]
        self._interval = 0
        self._due: _Due | None = None
        self._last_tracked = -1
        self._correction = np.zeros(total, np.int64)
        self._off = np.zeros(total + 1, np.bool_)
        self._observed: list[int] = []
        self._parked = np.empty(0, np.int64)
        self._due_at: list[_Due | None] = []
        self._freed_by = np.empty(0, np.int64)
        self._freed = np.empty(0, np.int64)
        self._freed_tracked = np.empty(0, np.bool_)
        self._freed_list = np.empty(0, np.uint8)
        self._ages = np.zeros((2, 64 * OCTAVE), np.int64)
        self._flushed: list[IntArray] = []
        self._waits: dict[int, int] = {}
        # The first collection of generation 1 or 2 to look at a block, by the first one after its allocation.
        old = np.flatnonzero(recorded.generation > 0)
        at = np.searchsorted(old, np.arange(total + 1))
        self._examined_by = np.append(old, total)[at]
        self._young = np.zeros(total + 1, np.int64)
        self._live = np.zeros(total + 1, np.int64)

    def feed(self, steps: Outline | Steps) -> None:
        """The next steps."""
        self._survivors(steps)
        self._flushes(steps)
        counts = steps.gc_tracked & np.where(
            steps.is_free, steps.cause != Cause.REALLOC, ~self._resized(steps)
        )
        rows = np.flatnonzero(counts | ~steps.is_free)
        seqs, stacks = steps.seq[rows], steps.stack_id[rows]
        change = np.where(counts[rows], np.where(steps.is_free[rows], -1, 1), 0)
        if not len(rows):
            return
        last = int(np.searchsorted(self._recorded.start_seq, seqs[-1]))
        ends = np.searchsorted(seqs, self._recorded.start_seq[self._interval : last])
        begin = 0
        for end in ends.tolist():
            self._run(seqs[begin:end], change[begin:end], stacks[begin:end])
            self._collected()
            begin = end
        self._run(seqs[begin:], change[begin:], stacks[begin:])

    def finish(self, *, collects_at_checks: bool) -> Reference:
        """All of it. ``collects_at_checks``: collections wait for the eval breaker (3.12 on)."""
        recorded = self._recorded
        while self._interval < len(recorded):
            self._collected()  # behind the last step
        if self._due is not None and self._was_off(self._due):
            self._off[len(recorded)] = True
        opaque = np.zeros(len(self._places), np.bool_)
        if collects_at_checks:
            opaque = self._opaque()
        young_share, full_share = self._shares()
        self._told_apart(len(recorded))
        known = recorded.long_lived[0].tolist() if len(recorded) else [0, 0]
        return Reference(
            start_seq=recorded.start_seq,
            held_from=self._held_seqs(),
            due_seq=self._due_seqs(opaque),
            stop_seq=recorded.stop_seq,
            generation=recorded.generation,
            asked=self._asked(),
            off=self._off,
            thresholds=self._thresholds,
            correction=self._correction,
            young_share=young_share,
            full_share=full_share,
            counts=self._counts,
            long_lived=(max(0, int(known[0])), max(0, int(known[1]))),
            observed=np.array(self._observed, np.int64),
            opaque=opaque,
            flushed=np.sort(np.concatenate([np.empty(0, np.int64), *self._flushed])),
            lists=self._lists(),
            lags=lifetimes(*self._ages),
            settings=recorded.settings,
        )

    # -- count 0 ---------------------------------------------------------------------------------------------

    def _run(self, seqs: IntArray, change: IntArray, stacks: npt.NDArray[np.int32]) -> None:
        """Rows between two recorded collections; a change of 0 is an allocation that does not count."""
        if not len(seqs):
            return
        total = self._count + np.cumsum(change)
        counts = total - np.minimum(0, np.minimum.accumulate(total))  # it never falls below 0
        self._count = int(counts[-1])
        threshold = self._threshold_at(seqs)
        begin = 0
        if self._due is None:
            above = np.flatnonzero((counts > threshold) & (change > 0) & (threshold > 0))
            if len(above):
                begin = int(above[0]) + 1
                self._due = _Due(int(seqs[begin - 1]), int(stacks[begin - 1]))
        if self._due is not None:
            made = change[begin:] >= 0
            self._due.waited += int(np.count_nonzero(change[begin:] > 0))
            self._due.same_place &= bool(np.all(stacks[begin:][made] == self._due.stack_id))
        tracked = np.flatnonzero(change > 0)
        if len(tracked):
            self._last_tracked = int(seqs[tracked[-1]])

    def _collected(self) -> None:
        """The recorded collection at the end of this interval begins."""
        number, due = self._interval, self._due
        self._correction[number] = int(self._recorded.counts[number, 0]) - self._count
        if due is not None:
            start = int(self._recorded.start_seq[number])
            if self._last_tracked > due.seq and start - self._last_tracked <= RECORDERS_EVENTS:
                self._observed.append(self._last_tracked)
            if self._was_off(due):
                self._off[number] = True
                due = None
            elif due.stack_id < len(self._places):
                place = int(self._places[due.stack_id])
                self._waits[place] = max(self._waits.get(place, 0), due.waited)
        self._due_at.append(due)
        self._count = 0
        self._due = None
        self._interval += 1

    def _opaque(self) -> npt.NDArray[np.bool_]:
        """Call paths that end where C code runs for long.

        Of most lines the recording says nothing; they are taken for what most lines were at which it does.
        """
        mostly = 2 * sum(waited > MOST_WAITING for waited in self._waits.values()) > len(self._waits)
        others = [place for place, waited in self._waits.items() if (waited > MOST_WAITING) != mostly]
        opaque: npt.NDArray[np.bool_] = np.isin(self._places, others) != mostly
        return opaque

    def _held_seqs(self) -> IntArray:
        """The event that made each collection due; where nobody knows, its start."""
        starts = self._recorded.start_seq.tolist()
        return np.array(
            [
                start if due is None else min(start, due.seq)
                for start, due in zip(starts, self._due_at, strict=True)
            ],
            np.int64,
        )

    def _due_seqs(self, opaque: npt.NDArray[np.bool_]) -> IntArray:
        """The event before that which made each collection due; where nobody knows, its start."""
        seqs = self._recorded.start_seq.copy()
        for number, due in enumerate(self._due_at):
            if due is not None and not (due.stack_id < len(opaque) and opaque[due.stack_id]):
                seqs[number] = min(int(seqs[number]), due.seq - 1)
        return seqs

    def _threshold_at(self, seqs: IntArray) -> IntArray:
        """Threshold 0 at events, 0 where the collector is known to be off; one value if it is the same."""
        settings = self._recorded.settings
        if not len(settings):
            return self._thresholds[self._interval : self._interval + 1, 0]
        first, last = np.searchsorted(settings.seq, (seqs[0], seqs[-1]), side="right") - 1
        wanted = seqs if first < last else seqs[:1]
        at = np.maximum(np.searchsorted(settings.seq, wanted, side="right") - 1, 0)
        return np.where(settings.on[at], settings.thresholds[at, 0], 0)

    def _was_off(self, due: _Due) -> bool:
        """Whether the program had turned it off; only guessed where it is not recorded."""
        return not len(self._recorded.settings) and due.waited > MOST_WAITING and not due.same_place

    def _asked(self) -> npt.NDArray[np.bool_]:
        """Collections that ``gc_collect_generations`` would not have made: the program asked for them."""
        counts, thresholds = self._recorded.counts, self._recorded.thresholds
        total, pending = self._recorded.long_lived[:, 0], self._recorded.long_lived[:, 1]
        chosen = np.full(len(self._recorded), -1)
        for generation in range(3):
            above = counts[:, generation] > thresholds[:, generation]
            if generation == 2:
                above &= pending >= total // 4
            chosen[above] = generation
        # Count 0 may have fallen since the collection was due, and an older generation be due, too.
        asked: npt.NDArray[np.bool_] = (self._recorded.generation != chosen) | (thresholds[:, 0] == 0)
        return asked

    def _resized(self, steps: Outline | Steps) -> npt.NDArray[np.bool_]:
        """Allocations of a realloc whose old block was counted when it was allocated.

        The type of a block is seen when it is freed, and a realloc is no free: a tuple that was resized
        counts from its first block on, but only the last one has a type (with the few whose type was seen
        at a mark).
        """
        parked = steps.alloc_seq[steps.is_free & steps.gc_tracked & (steps.cause == Cause.REALLOC)]
        parked = np.append(self._parked, parked[parked >= 0])
        moved = np.flatnonzero(steps.realloc_of >= 0)
        moved_from = steps.realloc_of[moved]
        resized = np.zeros(len(steps), np.bool_)
        resized[moved] = np.isin(moved_from, parked)
        self._parked = parked[~np.isin(parked, moved_from)][-MOST_PARKED:]
        return resized

    def _lists(self) -> RecordedLists:
        if not len(self._recorded.lists):
            return RecordedLists()
        return RecordedLists.of(
            self._numfree or (0,) * LISTS, self._recorded.lists, self._recorded.generation
        )

    # -- what a collection frees besides garbage -------------------------------------------------------------

    def _flushes(self, steps: Outline | Steps) -> None:
        """Collect the frees of collections, and go through those of collections that are over."""
        rows = np.flatnonzero(steps.is_free & (steps.garbage >= 0))
        if not len(rows):
            return
        self._freed_by = np.append(self._freed_by, steps.garbage[rows])
        self._freed = np.append(self._freed, steps.alloc_seq[rows])
        self._freed_tracked = np.append(self._freed_tracked, steps.gc_tracked[rows])
        self._freed_list = np.append(self._freed_list, steps.free_list[rows])
        self._told_apart(int(self._freed_by[-1]))

    def _told_apart(self, end: int) -> None:
        """Find what collections before number ``end`` freed that was no garbage.

        Where nothing was unreachable that is all: objects of the recorder. A full collection empties the
        free lists at its end (clear_freelists). Where it is known how many objects waited there before, these
        are the last ones to go: those that the collection itself put there are in front of them. Where it is
        not, what was flushed is what it frees beyond the objects that it found unreachable: too much, where
        these held objects that the collector had untracked.
        """
        over = int(np.searchsorted(self._freed_by, end))
        if not over:
            return
        number, tracked = self._freed_by[:over], self._freed_tracked[:over]
        collected = self._recorded.collected[number]
        if len(self._recorded.lists):
            flushed = (self._freed_list[:over] > 0) & self._waited(over)
        else:
            total = np.cumsum(tracked)
            first = np.searchsorted(number, number)  # the first free of the same collection
            flushed = total - total[first] + tracked[first] > collected
        flushed &= self._recorded.generation[number] == 2
        flushed |= collected == 0
        self._flushed.append(self._freed[:over][flushed])
        self._ages_of(self._freed[:over], number, tracked & ~flushed)
        self._freed_by, self._freed = self._freed_by[over:], self._freed[over:]
        self._freed_tracked, self._freed_list = self._freed_tracked[over:], self._freed_list[over:]

    def _ages_of(self, block: IntArray, number: IntArray, garbage: npt.NDArray[np.bool_]) -> None:
        """Note how old garbage was at the first collection after its allocation, and whether it was found."""
        block, number = block[garbage], number[garbage]
        first = np.searchsorted(self._recorded.start_seq, block)
        age = np.maximum(0, self._recorded.start_seq[np.minimum(first, number)] - block)
        steps = (OCTAVE * np.log2(age + 1.0)).astype(np.int64)
        for found, here in enumerate((first < number, first >= number)):
            self._ages[found] += np.bincount(steps[here], minlength=self._ages.shape[1])

    def _waited(self, over: int) -> npt.NDArray[np.bool_]:
        """Which of the first frees are the last ones of their free list, as many as waited there before."""
        number, which = self._freed_by[:over], self._freed_list[:over].astype(np.int64)
        order = np.lexsort((np.arange(over), which, number))
        group = number[order] * (LISTS + 1) + which[order]
        behind = np.searchsorted(group, group, side="right") - np.arange(over)  # 1: the last of its group
        before = self._recorded.lists[number[order], 0, np.maximum(which[order] - 1, 0)]
        waited = np.zeros(over, np.bool_)
        waited[order] = behind <= before
        return waited

    # -- survivors -------------------------------------------------------------------------------------------

    def _survivors(self, steps: Outline | Steps) -> None:
        """Count blocks of tracked types that survive the collections that examine them."""
        known = steps.gc_tracked & (steps.alloc_seq >= 0)
        made = steps.seq[np.flatnonzero(known & ~steps.is_free)]
        gone = np.flatnonzero(known & steps.is_free)
        if not len(made) and not len(gone):
            return
        gone, born = steps.seq[gone], steps.alloc_seq[gone]
        total = len(self._recorded)
        starts, stops = self._recorded.start_seq, np.append(self._recorded.stop_seq, np.iinfo(np.int64).max)
        size = total + 1
        first = np.searchsorted(starts, made)
        self._young += np.bincount(self._examined_by[first], minlength=size)
        self._live += np.bincount(first, minlength=size)
        born = np.searchsorted(starts, born)
        examined_by = self._examined_by[born]
        within = gone <= stops[examined_by]
        self._young -= np.bincount(examined_by[within], minlength=size)
        # Gone before or within collection k: not among what survives it.
        ended = np.maximum(born, np.searchsorted(stops[:total], gone))
        self._live -= np.bincount(ended, minlength=size)

    def _shares(self) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Objects that survived by blocks that did, for generation 1 and 2, as of each collection.

        What is not among them are tuples and dicts that the collector has untracked (``untrack_tuples``,
        ``untrack_dicts``). A full collection tells how many these are; from then on those count that each
        collection of generation 1 left out. Where one found more objects than blocks, they came from free
        lists, and others went there. Objects older than the recording survive full collections, too;
        they are not in any block.
        """
        recorded = self._recorded
        total = len(recorded)
        live = np.cumsum(self._live)
        young_share, full_share = np.full(total, np.nan), np.ones(total)
        older = max(0, int(recorded.long_lived[0, 0])) if total else 0
        young, untracked = np.nan, 0.0
        for number, generation in enumerate(recorded.generation.tolist()):
            if number + 1 < total and recorded.long_lived[number + 1, 0] >= 0:
                after, before = recorded.long_lived[number + 1], recorded.long_lived[number]
                if generation == 1 and self._young[number] > 0:
                    found = float(after[1] - before[1])
                    young = max(0.0, found / float(self._young[number]))
                    untracked += max(0.0, float(self._young[number]) - found)
                elif generation == 2:
                    untracked = float(live[number]) - float(after[0] - older)
            young_share[number] = young
            if live[number] > 0:
                full_share[number] = max(0.0, 1.0 - untracked / float(live[number]))
        known = young_share[~np.isnan(young_share)]
        young_share[np.isnan(young_share)] = known[0] if len(known) else 1.0
        return young_share, full_share


def lifetimes(left: IntArray, found: IntArray) -> tuple[int, ...]:
    """LAGS lifetimes of garbage, rising, that tell as well as can be what the first collection of it did.

    By age (in steps of 1 / OCTAVE of a doubling): how much garbage that collection ``left``, and how much it
    ``found``. The share that was found is the share of lifetimes up to that age: the closest such shares that
    rise with the age (pooling of neighbours that do not). MOST_EVENTS: longer than any that was seen.
    """
    pools: list[tuple[float, float, int]] = []  # found, all, first step
    for step in np.flatnonzero(left + found).tolist():
        pool = (float(found[step]), float(left[step] + found[step]), step)
        while pools and pools[-1][0] * pool[1] >= pool[0] * pools[-1][1]:
            before = pools.pop()
            pool = (before[0] + pool[0], before[1] + pool[1], before[2])
        pools.append(pool)
    shares = [found / total for found, total, _ in pools]
    ages = [int(2 ** (step / OCTAVE)) - 1 for *_, step in pools] + [MOST_EVENTS]
    return tuple(ages[bisect_left(shares, (number + 0.5) / LAGS)] for number in range(LAGS))
