"""Collections, garbage, counts and timelines of random recordings, against a naive fold in Python."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from statistics import median
from unittest import mock

import traces
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_replay_model import Model

from tracekit.events import Allocation, CollectionStart, CollectionStop, Event, Free
from tracekit.replay import timeline as timelines
from tracekit.replay.counts import counts_at
from tracekit.replay.garbage import Collection, collection, collections, collector_summary, garbage
from tracekit.replay.heap import BY_ORIGIN
from tracekit.replay.moment import resolve_moment
from tracekit.replay.timeline import timeline
from tracekit.store.database import Store
from tracekit.store.opening import open_store

slow = settings(max_examples=examples(12), suppress_health_check=list(HealthCheck))


_OPERATIONS = (*("allocate",) * 6, *("free",) * 6, "realloc", *("collection",) * 3, "mark", "sample", "other")
_PLACES = [("a.py", "f", 1), ("a.py", "g", 2), ("lib/b.py", "g", 2)]


@st.composite
def collected(draw: st.DrawFn, *, max_events: int = 60) -> traces.Trace:
    """Random recordings of one thread that collects often, with types of which half are tracked."""
    build = traces.TraceBuilder()
    kinds = [0, *(build.type(f"app.T{number}", gc_tracked=number % 2 == 0) for number in range(4))]
    other = build.thread("other")
    step = st.tuples(
        st.sampled_from(_OPERATIONS), st.integers(0, 999), st.sampled_from([0, 1, 999, 20_000_000])
    )
    for operation, pick, pause in draw(st.lists(step, max_size=max_events)):
        build.advance(pause)
        live = list(build.live)
        match operation:
            case "free" if live:
                build.free(live[pick % len(live)], type_id=kinds[pick % len(kinds)])
            case "realloc" if live:
                build.realloc(live[pick % len(live)], pick)
            case "collection" if build.collecting is None:
                build.gc_start(pick % 3, counts=(pick % 900, pick % 11, pick % 13))
            case "collection":
                build.gc_stop(collected=pick % 100, uncollectable=pick % 2)
            case "mark":
                build.mark(f"mark-{pick % 3}")
            case "sample":
                build.sample(pick * 4096)
            case "other" if live:  # not by the collector, also when one runs
                build.free(live[pick % len(live)], thread=other, type_id=kinds[pick % len(kinds)])
            case _:
                path = [_PLACES[(pick >> level) % len(_PLACES)] for level in range(pick % 4)]
                build.allocate(pick, stack=build.stack(*path))
    return build.finish(complete=draw(st.booleans()))


@contextmanager
def store_of(trace: traces.Trace) -> Iterator[Store]:
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            yield store


class Collector(Model):
    """What the collector did, one event at a time."""

    @property
    def starts(self) -> list[CollectionStart]:
        return [event for event in self.trace.events if isinstance(event, CollectionStart)]

    def stop(self, start: CollectionStart) -> CollectionStop | None:
        stops = (event for event in self.trace.events if isinstance(event, CollectionStop))
        return next((stop for stop in stops if stop.gc_id == start.gc_id), None)

    def freed(self, start: CollectionStart | None = None) -> list[tuple[Allocation, Free]]:
        """The blocks that one collection freed, or all of them."""
        found = []
        current: CollectionStart | None = None
        for event in self.trace.events:
            if isinstance(event, CollectionStart):
                current = event
            elif isinstance(event, CollectionStop):
                current = None
            elif isinstance(event, Free) and event.cause == "gc" and event.alloc_seq is not None:
                assert current is not None
                block = self.trace.events[event.alloc_seq]
                assert isinstance(block, Allocation)
                if start is None or current is start:
                    found.append((block, event))
        return found

    def tracked(self, type_id: int) -> bool:
        return any(kind.gc_tracked for kind in self.trace.types if kind.type_id == type_id)

    def change(self, event: Event) -> int:
        """What an event adds to count 0."""
        if isinstance(event, Allocation):
            free = self.trace.free_of(event.seq)
            return int(free is not None and self.tracked(free.type_id))
        return -int(isinstance(event, Free) and self.tracked(event.type_id))

    def count(self, first: int, last: int, count: int = 0) -> int:
        """Count 0 after the events ``first`` to ``last``."""
        for event in self.trace.events[first : last + 1]:
            count = max(0, count + self.change(event))
        return count


def check_collection(found: Collection, model: Collector, start: CollectionStart) -> None:
    stop, freed = model.stop(start), model.freed(start)
    assert (found.gc_id, found.generation, found.start_seq) == (start.gc_id, start.generation, start.seq)
    assert found.started_ns == start.time_ns
    assert (found.counts, found.thresholds) == (start.counts, start.thresholds)
    assert found.stop_seq == (stop and stop.seq)
    assert found.pause_ns == (stop and stop.duration_ns)
    assert (found.collected, found.uncollectable) == (
        (stop.collected, stop.uncollectable) if stop else (None, None)
    )
    assert found.freed_blocks == len(freed)
    assert found.freed_bytes == sum(block.size for block, _ in freed)
    wanted: Counter[str] = Counter()
    for block, free in freed:
        if model.tracked(free.type_id):
            wanted[model.types[free.type_id]] += block.size
    shown = sorted(wanted.items(), key=lambda item: (-item[1], item[0]))[:4]
    assert [(group.key, group.bytes) for group in found.types] == shown


@slow
@given(trace=collected(), limit=st.integers(0, 4))
def test_collections(trace: traces.Trace, limit: int) -> None:
    model = Collector(trace)
    with store_of(trace) as store:
        found = collections(store)
        for one, start in zip(found, model.starts, strict=True):
            check_collection(one, model, start)
            assert collection(store, start.gc_id) == one
        by_pause = sorted(found, key=lambda one: -1 if one.pause_ns is None else one.pause_ns, reverse=True)
        assert collections(store, sort="pause") == by_pause
        assert collections(store, sort="pause", limit=limit) == by_pause[:limit]
        by_bytes = sorted(found, key=lambda one: one.freed_bytes, reverse=True)
        assert collections(store, sort="freed", limit=limit) == by_bytes[:limit]
        assert collections(store, limit=limit) == found[:limit]

        summary = collector_summary(store)
        assert summary.collections == len(found)
        assert summary.duration_ns == trace.totals().duration_ns
        assert summary.pause_ns == sum(one.pause_ns or 0 for one in found)
        assert [one.generation for one in summary.generations] == sorted(
            {one.generation or 0 for one in found}
        )
        for generation in summary.generations:
            members = [one for one in found if one.generation == generation.generation]
            pauses = [one.pause_ns for one in members if one.pause_ns is not None]
            assert generation.collections == len(members)
            assert generation.pause_ns == sum(pauses)
            assert generation.longest_pause_ns == max(pauses, default=None)
            if pauses:
                assert generation.median_pause_ns is not None
                assert abs(generation.median_pause_ns - median(pauses)) <= 0.5
                longest = [one.gc_id for one in members if one.pause_ns == max(pauses)]
                assert generation.longest_gc_id == min(one for one in longest if one is not None)
            assert generation.collected == sum(one.collected or 0 for one in members)
            assert generation.uncollectable == sum(one.uncollectable or 0 for one in members)
            assert generation.freed_blocks == sum(one.freed_blocks for one in members)
            assert generation.freed_bytes == sum(one.freed_bytes for one in members)


@slow
@given(trace=collected())
def test_garbage_in_every_grouping(trace: traces.Trace) -> None:
    model = Collector(trace)
    with store_of(trace) as store:
        chosen: list[Collection | None] = [None, *collections(store)[:3]]
        starts: list[CollectionStart | None] = [None, *model.starts[:3]]
        for of, start in zip(chosen, starts, strict=True):
            freed = model.freed(start)
            for by in BY_ORIGIN:
                wanted: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
                for block, _ in freed:
                    key = model.key(block, by, 0)
                    wanted[key] = (wanted[key][0] + block.size, wanted[key][1] + 1)
                found = garbage(store, by=by, of=of)
                order = sorted(wanted.items(), key=lambda item: (-item[1][0], item[0]))
                assert [(group.key, (group.bytes, group.blocks)) for group in found.groups] == order
                assert found.total_blocks == len(freed)
                assert found.total_bytes == sum(block.size for block, _ in freed)
                assert found.older_blocks == 0


@slow
@given(trace=collected(max_events=50))
def test_counts_at_every_event(trace: traces.Trace) -> None:
    model = Collector(trace)
    with store_of(trace) as store:
        for event in trace.events:
            found = counts_at(store, resolve_moment(store, f"seq:{event.seq}"))
            before = [start for start in model.starts if start.seq <= event.seq]
            after = [start for start in model.starts if start.seq > event.seq]
            assert (found.before and found.before.gc_id) == (before[-1].gc_id if before else None)
            assert (found.after and found.after.gc_id) == (after[0].gc_id if after else None)
            assert found.thresholds == (700, 10, 10)
            assert found.thresholds_certain == bool(after)
            if before:
                check_after(found.counts, model, before[-1], event.seq)
                stop = model.stop(before[-1])
                assert found.collecting == (stop is None or event.seq < stop.seq)
                if after:
                    assert found.check == model.count(before[-1].seq + 1, after[0].seq - 1)
                else:
                    assert found.check is None
            elif after:
                later = sum(model.change(other) for other in trace.events[event.seq + 1 : after[0].seq])
                assert found.counts == (max(0, after[0].counts[0] - later), *after[0].counts[1:])
                assert (found.check, found.collecting) == (None, False)
            else:
                assert found.counts == (None, None, None)


def check_after(
    counts: tuple[int | None, int | None, int | None], model: Collector, before: CollectionStart, seq: int
) -> None:
    one, two = before.counts[1:]
    wanted = {0: (one + 1, two), 1: (0, two + 1), 2: (0, 0)}[before.generation]
    assert counts == (model.count(before.seq + 1, seq), *wanted)


@slow
@given(
    trace=collected(),
    steps=st.integers(1, 12),
    x=st.sampled_from(timelines.AXES),
    ends=st.tuples(st.integers(0, 1000), st.integers(0, 1000)),
    exact=st.booleans(),
)
def test_timeline(trace: traces.Trace, steps: int, x: str, ends: tuple[int, int], exact: bool) -> None:
    first, last = sorted(number % len(trace.events) for number in ends)
    start_event, end_event = trace.events[first], trace.events[last]
    low, high = (start_event.time_ns, end_event.time_ns) if x == "time" else (first, last)

    def step_of(place: int) -> int:
        return max(0, min(steps - 1, int(Fraction((place - low) * steps, max(1, high - low)))))

    live = [sum(block.size for block in trace.live_at(event.seq).values()) for event in trace.events]
    times = [event.time_ns for event in trace.events]
    seen = range(first + 1, last + 1)
    if not exact:  # the last event of each time, and the peak
        peak = trace.totals().peak_seq
        ticks = {max(seq for seq, at in enumerate(times) if at == time) for time in times} | {peak}
        seen = [seq for seq in seen if seq in ticks]  # type: ignore[assignment]
    with store_of(trace) as store, mock.patch.object(timelines, "EXACT_EVENTS", 10**6 if exact else -1):
        start, end = resolve_moment(store, f"seq:{first}"), resolve_moment(store, f"seq:{last}")
        found = timeline(store, start, end, steps=steps, x=x)
    assert found.exact == exact
    before = live[first]
    for number, step in enumerate(found.steps):
        here = [seq for seq in seen if step_of(times[seq] if x == "time" else seq) == number]
        assert step.most_bytes == max([before, *(live[seq] for seq in here)])
        before = live[here[-1]] if here else before
        assert step.bytes == before
        started = [
            event
            for event in trace.events[first : last + 1]
            if isinstance(event, CollectionStart)
            and step_of(event.time_ns if x == "time" else event.seq) == number
        ]
        counts = Counter(event.generation for event in started)
        assert step.collections == (counts[0], counts[1], counts[2])
        samples = [
            sample.rss_bytes
            for sample in trace.samples
            if low <= (place := sample.time_ns if x == "time" else sample.seq) <= max(high, low + 1)
            and step_of(place) == number
        ]
        assert step.rss_bytes == max(samples, default=None)
    highest = max([live[first], *(live[seq] for seq in seen)])
    assert found.peak.bytes == highest
    assert live[found.peak.seq] == highest
    assert (found.end_bytes, found.end_blocks) == (live[last], len(trace.live_at(last)))
    assert [mark.seq for mark in found.marks] == [m.seq for m in trace.marks if first <= m.seq <= last]
