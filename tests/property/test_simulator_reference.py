"""What a recording knows of its collections: the fold in columns against one event by event."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.events import Cause, CollectorInfo
from tracekit.simulator.freelists import LISTS
from tracekit.simulator.reference import MOST_WAITING, RECORDERS_EVENTS, RecordedCollections, ReferenceFold
from tracekit.simulator.settings import RecordedSettings, Reference
from tracekit.store.steps import Steps


@dataclass
class Event:
    """One step; ``born`` is the alloc_seq of a free (-1: an older block), None for an allocation."""

    seq: int
    born: int | None
    tracked: bool
    stack: int = 0
    moved: bool = False
    """A realloc is behind it."""
    of: int = -1
    """The block that a realloc replaced by this allocation."""
    counts: bool = False
    """Whether it changes count 0; set by :func:`set_counts`."""


@dataclass
class Recorded:
    start: int
    stop: int
    generation: int
    count: int
    threshold: int
    long_lived: tuple[int, int]


@st.composite
def recordings(draw: st.DrawFn) -> tuple[list[Event], list[Recorded]]:
    """Runs of allocations at a few places, frees of any block, collections now and then."""
    rng = draw(st.randoms(use_true_random=False))
    threshold = draw(st.sampled_from([0, 3, 10]))
    events: list[Event] = []
    collections: list[Recorded] = []
    live: list[tuple[int, bool]] = []
    seq, stack = rng.randrange(3), 1
    open_until: int | None = None
    for _ in range(draw(st.integers(0, 120))):
        seq += 1
        what = rng.random()
        if open_until is not None and what < 0.3:
            collections[-1].stop = seq
            open_until = None
        elif open_until is None and what < 0.08:
            lived = (rng.randrange(40), rng.randrange(40)) if rng.random() < 0.8 else (-1, -1)
            count = rng.choice([0, threshold, threshold + 1, threshold + 14])
            collections.append(Recorded(seq, -1, rng.randrange(3), count, threshold, lived))
            open_until = 1
        elif live and what < 0.4:
            born, tracked = live.pop(rng.randrange(len(live)))
            events.append(Event(seq, born, tracked, moved=rng.random() < 0.1))
        elif what < 0.43:
            events.append(Event(seq, -1, rng.random() < 0.5))
        else:
            if rng.random() < 0.1:
                stack = rng.randrange(1, 5)
            tracked = rng.random() < 0.8
            before = events[-1] if events else None
            of = -1
            if before is not None and before.born is not None and before.moved:
                of = before.born
            events.append(Event(seq, None, tracked, stack, moved=of >= 0, of=of))
            live.append((seq, tracked))
    for one in collections:
        one.stop = one.stop if one.stop >= 0 else seq
    return events, collections


def steps_of(events: list[Event]) -> Steps:
    free = np.array([one.born is not None for one in events], np.bool_)
    cause = [Cause.REALLOC if one.moved else Cause.REFCOUNT for one in events]
    born = [one.seq if one.born is None else one.born for one in events]
    return Steps(
        seq=np.array([one.seq for one in events], np.int64),
        time_ns=np.zeros(len(events), np.int64),
        is_free=free,
        alloc_seq=np.array(born, np.int64),
        size=np.full(len(events), 64, np.int64),
        domain=np.full(len(events), 2, np.uint8),
        stack_id=np.array([one.stack for one in events], np.int32),
        cause=np.where(free, cause, 0).astype(np.uint8),
        thread_id=np.ones(len(events), np.int32),
        gc_tracked=np.array([one.tracked for one in events], np.bool_),
        realloc_of=np.array([one.of for one in events], np.int64),
        garbage=np.full(len(events), -1, np.int32),
        address=np.zeros(len(events), np.int64),
        free_list=np.zeros(len(events), np.uint8),
    )


def columns_of(collections: list[Recorded], told: list[Told]) -> RecordedCollections:
    def column(values: list[int]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array(values, np.int64)

    return RecordedCollections(
        start_seq=column([one.start for one in collections]),
        stop_seq=column([one.stop for one in collections]),
        generation=column([one.generation for one in collections]),
        counts=np.array([(one.count, 1, 2) for one in collections], np.int64).reshape(-1, 3),
        thresholds=np.array([(one.threshold, 10, 10) for one in collections], np.int64).reshape(-1, 3),
        long_lived=np.array([one.long_lived for one in collections], np.int64).reshape(-1, 2),
        collected=column([0] * len(collections)),
        lists=np.empty((0, 2, LISTS), np.int64),
        settings=settings_of(told),
    )


Told = tuple[int, bool, int]
"""From which event on the collector is on or off, with which threshold 0."""


def settings_of(told: list[Told]) -> RecordedSettings:
    return RecordedSettings(
        seq=np.array([seq for seq, _, _ in told], np.int64),
        on=np.array([on for _, on, _ in told], np.bool_),
        thresholds=np.array([(threshold, 10, 10) for *_, threshold in told], np.int64).reshape(-1, 3),
    )


def threshold_told(told: list[Told], seq: int) -> int:
    """Threshold 0 at an event, 0 where the collector is off."""
    known = [one for one in told if one[0] <= seq] or told[:1]
    return known[-1][2] if known[-1][1] else 0


PLACES = np.array([0, 1, 2, 2, 3], np.int64)


def folded(
    events: list[Event], collections: list[Recorded], batch: int, first_count: int, told: list[Told]
) -> Reference:
    threshold = collections[-1].threshold if collections else 10
    counts = (first_count, 1, 2)
    began = CollectorInfo((threshold, 10, 10), enabled=True, counts=counts)
    fold = ReferenceFold(columns_of(collections, told), began, PLACES)
    for begin in range(0, len(events), batch):
        fold.feed(steps_of(events[begin : begin + batch]))
    return fold.finish(collects_at_checks=True)


def opaque(waits: dict[int, int]) -> list[bool]:
    """By call path, from the longest wait at each place; others are as most of these places."""
    mostly = 2 * sum(waited > MOST_WAITING for waited in waits.values()) > len(waits)
    return [waits[place] > MOST_WAITING if place in waits else mostly for place in PLACES.tolist()]


def waited_for(due: list[Event]) -> int:
    """Blocks that count, behind the one that made a collection due."""
    return sum(each.counts for each in due[1:])


def was_off(due: list[Event]) -> bool:
    """Whether it looks as if the program had turned the collector off meanwhile."""
    return waited_for(due) > MOST_WAITING and len({each.stack for each in due}) > 1


def set_counts(events: list[Event]) -> None:
    """A realloc frees nothing that counts, and what it allocates was counted before if its type was seen."""
    parked: set[int] = set()
    for event in events:
        event.counts = event.tracked and not (event.moved and event.born is not None)
        if event.born is not None and event.tracked and event.moved:
            parked.add(event.born)
        elif event.born is None and event.of in parked:
            event.counts = False


@settings(max_examples=examples(300))
@given(
    recordings(),
    st.integers(1, 40),
    st.integers(0, 12),
    st.just([]) | st.lists(st.tuples(st.integers(0, 200), st.booleans(), st.integers(0, 12)), min_size=1),
)
def test_as_one_event_after_the_other(
    recording: tuple[list[Event], list[Recorded]], batch: int, first_count: int, told: list[Told]
) -> None:
    events, collections = recording
    told.sort(key=lambda one: one[0])
    found = folded(events, collections, batch, first_count, told)
    set_counts(events)
    count, number = first_count, 0
    corrections, off, observed, held = [], [], [], []
    waits: dict[int, int] = {}
    due: list[Event] = []
    """Allocations since the collection fell due, the one that made it so first."""
    last = -1
    for event in [*events, None]:
        while number < len(collections) and (event is None or collections[number].start < event.seq):
            one = collections[number]
            corrections.append(one.count - count)
            waited = waited_for(due)
            off.append(not told and was_off(due))
            held.append(min(one.start, due[0].seq) if due and not off[-1] else one.start)
            if due and last > due[0].seq and one.start - last <= RECORDERS_EVENTS:
                observed.append(last)
            if due and not off[-1]:
                place = int(PLACES[due[0].stack])
                waits[place] = max(waits.get(place, 0), waited)
            count, due = 0, []
            number += 1
        if event is None:
            break
        counts = event.counts
        if event.born is None:
            if due:
                due.append(event)
            if counts:
                count += 1
                last = event.seq
                threshold = collections[min(number, len(collections) - 1)].threshold if collections else 10
                if told:
                    threshold = threshold_told(told, event.seq)
                if not due and threshold and count > threshold:
                    due = [event]
        elif counts:
            count = max(0, count - 1)
    off.append(not told and was_off(due))
    assert found.correction.tolist() == corrections
    assert found.off.tolist() == off
    assert found.observed.tolist() == observed
    assert found.held().tolist() == held
    assert found.opaque.tolist() == opaque(waits)
    assert found.asked.tolist() == [
        one.threshold == 0 or one.generation != (0 if one.count > one.threshold else -1)
        for one in collections
    ]
    assert found.counts == (first_count, 1, 2)


@settings(max_examples=examples(200))
@given(recordings(), st.integers(1, 40))
def test_survivors(recording: tuple[list[Event], list[Recorded]], batch: int) -> None:
    events, collections = recording
    found = folded(events, collections, batch, 0, [])
    born = {one.seq: one for one in events if one.born is None and one.tracked}
    gone = {one.born: one.seq for one in events if one.born is not None and one.tracked}
    older = collections[0].long_lived[0] if collections else 0
    young: float | None = None
    untracked = 0
    shares: list[tuple[float | None, float]] = []
    for number, one in enumerate(collections):
        before = max((each.start for each in collections[:number] if each.generation > 0), default=-1)
        alive = [seq for seq in born if seq < one.start and gone.get(seq, 1 << 62) > one.stop]
        if number + 1 < len(collections) and (after := collections[number + 1].long_lived)[0] >= 0:
            examined = [seq for seq in alive if seq > before]
            if one.generation == 1 and examined:
                came = after[1] - one.long_lived[1]
                young = max(0.0, came / len(examined))
                untracked += max(0, len(examined) - came)
            if one.generation == 2:
                untracked = len(alive) - (after[0] - max(0, older))
        shares.append((young, max(0.0, 1.0 - untracked / len(alive)) if alive else 1.0))
    # Before the first collection of generation 1 its share is taken, too.
    first = next((share for share, _ in shares if share is not None), 1.0)
    assert found.young_share.tolist() == [first if share is None else share for share, _ in shares]
    assert found.full_share.tolist() == [share for _, share in shares]


def test_many_waits_at_one_line_say_nothing_of_other_lines() -> None:
    """Five collections wait for long at place 1, and one each not at all at places 2 and 3; 0 is unknown."""
    events: list[Event] = []
    collections: list[Recorded] = []
    seq = 0
    for stack, waited in [(1, 30)] * 5 + [(2, 0), (4, 0)]:
        for _ in range(4 + waited):
            events.append(Event(seq, None, tracked=True, stack=stack))
            seq += 1
        collections.append(Recorded(seq, seq + 1, 0, 4 + waited, 3, (-1, -1)))
        seq += 2
    found = folded(events, collections, 7, 0, [])
    assert found.opaque.tolist() == [False, True, False, False, False]


@pytest.mark.parametrize(("known", "flushed"), [(True, [2]), (False, [1, 2, 3])])
def test_a_full_collection_flushes_nothing_but_free_lists_if_these_are_known(
    known: bool, flushed: list[int]
) -> None:
    """It found one object and frees four: two of no list, a dict that waited, a dict that it put there."""
    born = [0, 1, 3, 2]
    steps = steps_of([Event(6 + at, block, tracked=True) for at, block in enumerate(born)])
    steps.cause[:], steps.garbage[:], steps.free_list[2:] = Cause.GC, 0, 1
    lists = np.zeros((1, 2, LISTS), np.int64)
    lists[0, 0, 0] = 1
    columns = columns_of([Recorded(5, 12, 2, 4, 3, (10, 10))], [])
    columns = replace(columns, collected=np.array([1]), lists=lists if known else lists[:0])
    fold = ReferenceFold(columns, CollectorInfo((3, 10, 10), enabled=True, counts=(0, 1, 2)), PLACES)
    fold.feed(steps_of([Event(seq, None, tracked=True) for seq in range(4)]))
    fold.feed(steps)
    assert fold.finish(collects_at_checks=True).flushed.tolist() == flushed
