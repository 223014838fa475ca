"""Steps, searches and jumps through random recordings, against a naive fold and a naive list in Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import traces
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_replay_model import Model, Totals

from tracekit.events import Allocation, CollectionStop, Free, Mark
from tracekit.replay import cursor as cursor_module
from tracekit.replay import eventrows
from tracekit.replay.cursor import Cursor, HeapHere, cursor
from tracekit.replay.heap import BY_ORIGIN, Heap, heap_at
from tracekit.replay.moment import resolve_moment
from tracekit.store.database import Store
from tracekit.store.opening import open_store

slow = settings(max_examples=examples(15), suppress_health_check=list(HealthCheck))
SAMPLES = sorted((Path(__file__).parents[2] / "sample_traces").glob("v*/*.tkt"))


@contextmanager
def opened(trace: traces.Trace) -> Iterator[Store]:
    """The store of a trace, with blocks and walks so short that a small trace has many of them."""
    with (
        tempfile.TemporaryDirectory() as folder,
        mock.patch.object(eventrows, "BLOCK", 7),
        mock.patch.object(eventrows, "KEPT_BLOCKS", 2),
        mock.patch.object(cursor_module, "WALKED", 12),
        open_store(traces.write_log(Path(folder, "a.tkt"), trace), cache=False) as store,
    ):
        yield store


def totals(heap: HeapHere) -> Totals:
    assert heap.total_bytes == sum(group.bytes for group in heap.groups)
    assert heap.total_blocks == sum(group.blocks for group in heap.groups)
    assert heap.groups == sorted(heap.groups, key=lambda group: (-group.bytes, group.key))
    return {group.key: (group.bytes, group.blocks) for group in heap.groups}


def assert_same(here: HeapHere, heap: Heap, by: str) -> None:
    """What a cursor says and what the store says of one position."""
    assert here.groups == heap.by(by)
    assert (here.total_bytes, here.total_blocks) == (heap.total_bytes, heap.total_blocks)


def check(at: Cursor, model: Model) -> None:
    """Everything about a position, against the fold up to it."""
    event = model.trace.events[at.seq]
    live = model.trace.live_at(at.seq)
    before = model.trace.live_at(at.seq - 1) if at.seq else {}
    wanted = model.groups(at.seq, at.by)
    assert (at.live_bytes, at.live_blocks) == (sum(block.size for block in live.values()), len(live))
    assert totals(at.heap()) == wanted
    assert at.heap(2).groups == at.heap().groups[:2]
    assert at.time_ns == event.time_ns
    assert (at.moment.seq, at.moment.time_ns) == (at.seq, event.time_ns)
    effect = at.effect
    assert effect.blocks == len(live) - len(before)
    assert effect.bytes == at.live_bytes - sum(block.size for block in before.values())
    if effect.key is not None:
        assert (effect.group_bytes, effect.group_blocks) == wanted.get(effect.key, (0, 0))


@settings(slow, max_examples=examples(8))
@given(trace=traces.traces(max_events=30))
def test_every_position_in_every_grouping_both_ways(trace: traces.Trace) -> None:
    model = Model(trace)
    last = len(trace.events) - 1
    with opened(trace) as store:
        for by in BY_ORIGIN:
            at = cursor(store, resolve_moment(store, "seq:0"))
            at.by = by
            check(at, model)
            for seq in range(1, last + 1):
                assert at.forward() == 1
                assert at.seq == seq
                check(at, model)
            assert at.forward() == 0
            for seq in range(last - 1, -1, -1):
                assert at.backward() == 1
                assert at.seq == seq
                check(at, model)
            assert at.backward() == 0


def nearest(found: list[int], seq: int, *, forward: bool) -> int:
    """The number that comes next on a side, ``seq`` itself when there is none."""
    side = [one for one in found if (one > seq if forward else one < seq)]
    if not side:
        return seq
    return min(side) if forward else max(side)


MOVES = st.tuples(
    st.sampled_from(["step", "collection", "mark", "allocation", "free", "born", "seek", "by"]),
    st.booleans(),
    st.integers(0, 60),
)


def wanted_seq(model: Model, at: Cursor, move: str, forward: bool, number: int) -> int:
    """Where a move has to lead."""
    events = model.trace.events
    if move == "step":
        return min(len(events) - 1, at.seq + number) if forward else max(0, at.seq - number)
    if move == "collection":
        stops = [event.seq for event in events if isinstance(event, CollectionStop)]
        return nearest(stops, at.seq, forward=forward)
    if move == "mark":
        return nearest([event.seq for event in events if isinstance(event, Mark)], at.seq, forward=forward)
    event = events[at.seq]
    born = event.seq if isinstance(event, Allocation) else getattr(event, "alloc_seq", None)
    if move == "born":
        return at.seq if born is None else born
    free = None if born is None else model.trace.free_of(born)
    return at.seq if free is None else free.seq


def do(at: Cursor, move: str, forward: bool, number: int) -> object:
    if move == "step":
        return at.forward(number) if forward else at.backward(number)
    if move == "collection":
        return at.next_collection() if forward else at.previous_collection()
    if move == "mark":
        return at.next_mark() if forward else at.previous_mark()
    return at.allocation_of() if move == "born" else at.free_of()


def find(model: Model, at: Cursor, forward: bool, number: int) -> None:
    """Search for an allocation of the group of some block, in the grouping at hand or in two at once."""
    blocks = [event for event in model.trace.events if isinstance(event, Allocation)]
    wanted = {at.by: model.key(blocks[number % len(blocks)], at.by, 0)} if blocks else {at.by: "<unknown>"}
    if number % 3 == 0 and blocks:
        wanted["domain"] = blocks[number % len(blocks)].domain
    found = [
        block.seq for block in blocks if all(model.key(block, by, 0) == key for by, key in wanted.items())
    ]
    before, seq = at.seq, nearest(found, at.seq, forward=forward)
    moved = at.next_allocation(**wanted) if forward else at.previous_allocation(**wanted)
    assert (moved, at.seq) == (seq != before, seq)


@slow
@given(trace=traces.traces(max_events=60), moves=st.lists(MOVES, max_size=40), by=st.sampled_from(BY_ORIGIN))
def test_random_walks(trace: traces.Trace, moves: list[tuple[str, bool, int]], by: str) -> None:
    model = Model(trace)
    with opened(trace) as store:
        at = Cursor(store, resolve_moment(store, "end"), by=by)
        check(at, model)
        for move, forward, number in moves:
            if move == "by":
                at.by = BY_ORIGIN[number % len(BY_ORIGIN)]
            elif move == "seek":
                at.jump(f"seq:{number % len(trace.events)}")
            elif move == "allocation":
                find(model, at, forward, number)
            else:
                before, wanted = at.seq, wanted_seq(model, at, move, forward, number)
                assert bool(do(at, move, forward, number)) == (wanted != before)
                assert at.seq == wanted
            check(at, model)


@slow
@given(trace=traces.traces(max_events=60), data=st.data())
def test_there_and_back_again(trace: traces.Trace, data: st.DataObject) -> None:
    last = len(trace.events) - 1
    start = data.draw(st.integers(0, last))
    with opened(trace) as store:
        at = cursor(store, resolve_moment(store, f"seq:{start}"))
        at.by = data.draw(st.sampled_from(BY_ORIGIN))
        before = at.heap()
        for forward in data.draw(st.lists(st.booleans(), max_size=6)):
            way = data.draw(st.integers(0, 30))
            done = at.forward(way) if forward else at.backward(way)
            assert (at.backward(done) if forward else at.forward(done)) == done
            assert (at.seq, at.heap()) == (start, before)


@slow
@given(trace=traces.traces(max_events=40))
def test_what_happened(trace: traces.Trace) -> None:
    """The details of every event are those of the trace."""
    threads = {thread.thread_id: thread.name for thread in trace.threads}
    with opened(trace) as store:
        at = cursor(store, resolve_moment(store, "seq:0"))
        for event in trace.events:
            at.jump(f"seq:{event.seq}")
            found = at.event
            assert found is not None
            assert (found.seq, found.time_ns) == (event.seq, event.time_ns)
            if isinstance(event, Mark):
                assert (found.kind, found.mark) == ("mark", event.name)
            if isinstance(event, Free):
                assert (found.kind, found.cause) == ("free", event.cause)
                assert found.thread == threads.get(event.thread_id, "<unknown>")
                assert (found.block is None) == (event.alloc_seq is None)
            if isinstance(event, Allocation):
                assert (found.size, found.domain, found.address) == (event.size, event.domain, event.address)
                path = [(frame.file, frame.function, frame.line) for frame in reversed(found.frames)]
                assert path == trace.frames(event.stack_id)
                free = trace.free_of(event.seq)
                assert found.block is not None
                assert found.block.realloc_of == event.realloc_of
                assert found.block.free_seq == (free.seq if free else None)
                assert found.block.age_ns == (free.time_ns - event.time_ns if free else None)
                later = [e for e in trace.events if isinstance(e, Allocation) and e.realloc_of == event.seq]
                assert found.block.replaced_by == (later[0].seq if later else None)


def test_recorded_programs() -> None:
    assert SAMPLES
    found = 0
    for number, path in enumerate(SAMPLES):
        with open_store(path, cache=False) as store:
            by = BY_ORIGIN[number % len(BY_ORIGIN)]
            at = Cursor(store, resolve_moment(store, "peak"), by=by)
            start = at.heap()
            at.backward(5000)
            for way in (1, 999, 4000):
                at.forward(way)
                assert_same(at.heap(), heap_at(store, at.moment), by)
            at.forward(start.moment.seq - at.seq)
            assert (at.seq, at.heap()) == (start.moment.seq, start)
            at.jump("50%")
            for _ in range(3):
                key = at.heap().groups[0].key
                if at.next_allocation(**{by: key}):
                    found += 1
                    assert at.effect.key == key
                    assert_same(at.heap(), heap_at(store, at.moment), by)
    assert found > len(SAMPLES)
