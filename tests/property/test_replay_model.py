"""Replay to every seq of random recordings, against a naive fold in Python."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from pathlib import Path

import traces
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracekit.events import Allocation
from tracekit.replay.difference import Difference, difference
from tracekit.replay.heap import GROUPINGS, Heap, heap_at
from tracekit.replay.moment import resolve_moment
from tracekit.store.opening import open_store

slow = settings(max_examples=20, suppress_health_check=list(HealthCheck))

Totals = dict[str, tuple[int, int]]
"""(bytes, blocks) by key."""


def place(path: list[traces.Frame], by: str) -> str:
    """The key of a call path."""
    if not path:
        return "<unknown>"
    if by == "stack":
        return ";".join(f"{name} ({file.rpartition('/')[2]}:{line})" for file, name, line in path)
    file, name, line = path[-1]
    return {"site": f"{file}:{line} ({name})", "function": f"{name} ({file})", "file": file}[by]


class Model:
    """The answers, one allocation at a time and without SQL."""

    def __init__(self, trace: traces.Trace) -> None:
        self.trace = trace
        self.threads = {thread.thread_id: thread.name for thread in trace.threads}
        self.types = {kind.type_id: kind.name for kind in trace.types}

    def key(self, block: Allocation, by: str) -> str:
        if by == "thread":
            return self.threads.get(block.thread_id, "<unknown>")
        if by == "type":
            free = self.trace.free_of(block.seq)
            return self.types.get(free.type_id if free else 0, "<unknown>")
        return block.domain if by == "domain" else place(self.trace.frames(block.stack_id), by)

    def groups(self, seq: int, by: str) -> Totals:
        found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for block in self.trace.live_at(seq).values():
            key = self.key(block, by)
            found[key] = (found[key][0] + block.size, found[key][1] + 1)
        return dict(found)


def check_heap(heap: Heap, wanted: Totals) -> None:
    assert {group.key: (group.bytes, group.blocks) for group in heap.groups} == wanted
    assert len(heap.groups) == len(wanted)
    assert [(-group.bytes, group.key) for group in heap.groups] == sorted(
        (-size, key) for key, (size, _) in wanted.items()
    )
    assert heap.total_bytes == sum(size for size, _ in wanted.values())
    assert heap.total_blocks == sum(blocks for _, blocks in wanted.values())


def check_difference(found: Difference, before: Totals, after: Totals) -> None:
    wanted = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key, (0, 0)), after.get(key, (0, 0))
        if old != new:
            wanted[key] = (new[0] - old[0], new[1] - old[1], old[0], new[0], old[1], new[1])
    assert {
        c.key: (c.bytes, c.blocks, c.bytes_before, c.bytes_after, c.blocks_before, c.blocks_after)
        for c in found.groups
    } == wanted
    order = [(-change.bytes, -change.blocks, change.key) for change in found.groups]
    assert order == sorted(order)
    assert found.total_bytes == sum(change[0] for change in wanted.values())
    assert found.total_blocks == sum(change[1] for change in wanted.values())


@slow
@given(trace=traces.traces(max_events=40), seed=st.integers(0, 5), first=st.integers(0, 6))
def test_replay_to_every_event(trace: traces.Trace, seed: int, first: int) -> None:
    model = Model(trace)
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace, seed=seed)
        with open_store(path, cache=False) as store:
            assert store.totals == trace.totals()
            assert store.complete == trace.complete
            for event in trace.events:
                by = GROUPINGS[(first + event.seq) % len(GROUPINGS)]
                moment = resolve_moment(store, f"seq:{event.seq}")
                assert (moment.seq, moment.time_ns) == (event.seq, event.time_ns)
                check_heap(heap_at(store, moment, by=by), model.groups(event.seq, by))


@slow
@given(trace=traces.traces(max_events=60), data=st.data())
def test_every_grouping_and_difference(trace: traces.Trace, data: st.DataObject) -> None:
    model = Model(trace)
    last = len(trace.events) - 1
    a, b = (data.draw(st.integers(0, last)) for _ in range(2))
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path) as store:
            for by in GROUPINGS:
                before, after = model.groups(a, by), model.groups(b, by)
                start, end = resolve_moment(store, f"seq:{a}"), resolve_moment(store, f"seq:{b}")
                check_heap(heap_at(store, start, by=by), before)
                check_difference(difference(store, start, end, by=by), before, after)


@slow
@given(trace=traces.traces(), percent=st.integers(0, 100))
def test_moments_against_the_events(trace: traces.Trace, percent: int) -> None:
    totals = trace.totals()
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            assert resolve_moment(store, "peak").seq == totals.peak_seq
            assert resolve_moment(store, "end").seq == len(trace.events) - 1
            at_ns = totals.duration_ns * percent // 100
            last = max(event.seq for event in trace.events if event.time_ns <= at_ns)
            assert resolve_moment(store, f"{percent}%").seq == last
            for mark in trace.marks:
                first = min(other.seq for other in trace.marks if other.name == mark.name)
                assert resolve_moment(store, f"mark:{mark.name}").seq == first
