"""Replay to every seq of random recordings, against a naive fold in Python."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from itertools import pairwise
from pathlib import Path, PurePosixPath
from unittest import mock

import msgspec
import traces
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracekit.events import Allocation, AllocatorInfo, Mark
from tracekit.replay import stacks
from tracekit.replay.calltree import Node, Tree
from tracekit.replay.difference import STATUSES, Difference, StatusTotal, difference
from tracekit.replay.heap import GROUPINGS, Heap, heap_at
from tracekit.replay.moment import resolve_moment
from tracekit.store.opening import open_store

slow = settings(max_examples=examples(20), suppress_health_check=list(HealthCheck))

Totals = dict[str, tuple[int, int]]
"""(bytes, blocks) by key."""


AGES = [
    *((1, "1 ms"), (10, "10 ms"), (100, "100 ms"), (1000, "1 s"), (10_000, "10 s"), (60_000, "1 min")),
    *((600_000, "10 min"), (3_600_000, "1 h"), (36_000_000, "10 h")),
]
"""Where one range of ages ends and the next begins, in milliseconds."""
UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def age_text(age_ns: int) -> str:
    if age_ns < 1_000_000:
        return "< 1 ms"
    for (low, low_text), (high, high_text) in pairwise(AGES):
        if low * 1_000_000 <= age_ns < high * 1_000_000:
            return f"{low_text} to {high_text}"
    return "10 h and more"


def size_text(block: Allocation, allocator: AllocatorInfo) -> str:
    if block.domain in ("mem", "object") and block.size <= allocator.small_request_threshold:
        size_class = next(size for size in range(16, 10**6, 16) if size >= block.size)
        return f"{size_class} B (pymalloc)"
    power = block.size.bit_length() - 1
    if power < 4:
        return "< 16 B"
    low, high = (f"{2 ** (p % 10)} {UNITS[p // 10]}" for p in (power, power + 1))
    return f"{low} to {high}"


def module_text(file: str, folder: str) -> str:
    if file.startswith("<"):
        return file.removeprefix("<frozen ").removesuffix(">") if file.startswith("<frozen ") else file
    parts = list(PurePosixPath(file).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    roots = [n for n, part in enumerate(parts) if part.startswith("python3") and parts[n - 1] == "lib"]
    roots += [n for n, part in enumerate(parts) if part in ("site-packages", "dist-packages")]
    if roots:
        return ".".join(parts[max(roots) + 1 :])
    inside = PurePosixPath(folder if file.startswith("/") else "").parts
    return ".".join(parts[len(inside) :]) if tuple(parts[: len(inside)]) == inside else file


def place(path: list[traces.Frame], by: str) -> str:
    """The key of a call path."""
    if not path:
        return "<unknown>"
    if by == "stack":
        return ";".join(f"{name} ({file.rpartition('/')[2]}:{line})" for file, name, line in path)
    file, name, line = path[-1]
    keys = {"site": f"{file}:{line} ({name})", "function": f"{name} ({file})", "file": file}
    return keys[by] if by != "module" else module_text(file, "/srv/app")


class Model:
    """The answers, one allocation at a time and without SQL."""

    def __init__(self, trace: traces.Trace) -> None:
        self.trace = trace
        self.threads = {thread.thread_id: thread.name for thread in trace.threads}
        self.types = {kind.type_id: kind.name for kind in trace.types}

    def key(self, block: Allocation, by: str, seq: int) -> str:
        if by == "age":
            return age_text(self.trace.events[seq].time_ns - block.time_ns)
        if by == "size_class":
            return size_text(block, self.trace.header.allocator)
        if by == "thread":
            return self.threads.get(block.thread_id, "<unknown>")
        if by == "type":
            free = self.trace.free_of(block.seq)
            return self.types.get(free.type_id if free else 0, "<unknown>")
        return block.domain if by == "domain" else place(self.trace.frames(block.stack_id), by)

    def groups(self, seq: int, by: str, *, made_after: int = -1) -> Totals:
        found: dict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
        for block in self.trace.live_at(seq).values():
            if block.seq <= made_after:
                continue
            key = self.key(block, by, seq)
            found[key] = (found[key][0] + block.size, found[key][1] + 1)
        return dict(found)

    def nodes(self, seq: int) -> dict[int, tuple[int, int, int, int]]:
        """Own bytes and blocks, and those with all below, by call path."""
        parents = {stack.stack_id: stack.parent_id for stack in self.trace.stacks}
        found: dict[int, tuple[int, int, int, int]] = defaultdict(lambda: (0, 0, 0, 0))
        for block in self.trace.live_at(seq).values():
            node, own = block.stack_id, (block.size, 1)
            while True:
                size, blocks, total, all_blocks = found[node]
                found[node] = (size + own[0], blocks + own[1], total + block.size, all_blocks + 1)
                node, own = parents.get(node, 0), (0, 0)
                if not node:
                    break
        return dict(found)

    def places(self, seq: int) -> dict[int, tuple[int, int]]:
        """(event, call path) of every thread, as far as the events up to one say it."""
        found: dict[int, tuple[int, int]] = {}
        for event in self.trace.events[: seq + 1]:
            if isinstance(event, Allocation) and event.thread_id:
                found[event.thread_id] = (event.seq, event.stack_id)
            elif isinstance(event, Mark) and event.stacks:
                found = {own.thread_id: (event.seq, own.stack_id) for own in event.stacks}
        return found


def check_heap(heap: Heap, by: str, wanted: Totals) -> None:
    groups = heap.by(by)
    assert {group.key: (group.bytes, group.blocks) for group in groups} == wanted
    assert len(groups) == len(wanted)
    assert heap.by(by, 2) == groups[:2]
    keys = [group.key for group in groups]
    if by == "age":
        assert keys == [
            age_text(ms * 1_000_000) for ms, _ in [(0, ""), *AGES] if age_text(ms * 1_000_000) in keys
        ]
    else:
        assert keys == sorted(wanted, key=lambda key: (-wanted[key][0], key))
    assert heap.total_bytes == sum(size for size, _ in wanted.values())
    assert heap.total_blocks == sum(blocks for _, blocks in wanted.values())


def check_tree(tree: Tree, model: Model, seq: int) -> None:
    wanted = model.nodes(seq)
    found = {node.stack_id: node for _, node in tree.walk()}
    assert {
        stack: (node.bytes, node.blocks, node.total_bytes, node.total_blocks) for stack, node in found.items()
    } == wanted
    assert tree.total_bytes == sum(node.total_bytes for node in tree.roots)
    assert tree.total_blocks == sum(node.total_blocks for node in tree.roots)
    for depth, node in tree.walk():
        path = model.trace.frames(node.stack_id)
        assert path[-1:] == ([(node.file, node.function, node.line)] if node.stack_id else [])
        assert depth == max(1, len(path))
        assert all(model.trace.frames(child.stack_id)[:-1] == path for child in node.children)
    for siblings in (tree.roots, *(node.children for _, node in tree.walk())):
        totals = [node.total_bytes for node in siblings]
        assert totals == sorted(totals, reverse=True)


def outline(nodes: list[Node], least: int, depth: int) -> list[object]:
    """The nodes that are left when a tree is cut."""
    kept = [node for node in nodes if node.total_bytes >= least] if depth else []
    return [(node.stack_id, node.total_bytes, outline(node.children, least, depth - 1)) for node in kept]


def check_stacks(found: list[stacks.StackSegment], model: Model, seq: int) -> None:
    wanted = model.places(seq)
    assert {segment.thread_id for segment in found} == wanted.keys()
    for segment in found:
        event, stack = wanted[segment.thread_id]
        path = model.trace.frames(stack)
        assert (segment.seq, segment.events_before) == (event, seq - event)
        assert segment.exact == (event == seq)
        assert segment.thread == model.threads[segment.thread_id]
        assert [(frame.file, frame.function, frame.line) for frame in segment.frames] == path
        assert segment.bytes == sum(frame.bytes for frame in segment.frames) == 120 * len(path)
    order = [(-segment.bytes, segment.thread_id) for segment in found]
    assert order == sorted(order)


def check_difference(found: Difference, before: Totals, after: Totals, made: Totals) -> None:
    wanted: dict[str, tuple[int | str, ...]] = {}
    for key in before.keys() | after.keys():
        old, new = before.get(key, (0, 0)), after.get(key, (0, 0))
        if old != new:
            status = (
                ("grown" if new > old else "shrunk") if old[1] and new[1] else "new" if new[1] else "gone"
            )
            grown = (new[0] - old[0], new[1] - old[1])
            wanted[key] = (*grown, old[0], new[0], old[1], new[1], *made.get(key, (0, 0)), status)
    assert {c.key: msgspec.structs.astuple(c)[1:] for c in found.groups} == wanted
    assert found.statuses.keys() == set(STATUSES)
    for name, total in found.statuses.items():
        mine = [change for change in found.groups if change.status == name]
        assert total == StatusTotal(len(mine), sum(c.bytes for c in mine), sum(c.blocks for c in mine))
    assert found.bytes_before == sum(size for size, _ in before.values())
    assert found.bytes_after == sum(size for size, _ in after.values())
    assert found.made_bytes == sum(size for size, _ in made.values())
    assert found.made_blocks == sum(blocks for _, blocks in made.values())
    order = [(-change.bytes, -change.blocks, change.key) for change in found.groups]
    assert order == sorted(order)
    assert found.total_bytes == found.bytes_after - found.bytes_before
    assert found.total_blocks == sum(n for _, n in after.values()) - sum(n for _, n in before.values())


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
                check_heap(heap_at(store, moment), by, model.groups(event.seq, by))


@settings(slow, max_examples=examples(12))
@given(trace=traces.traces(max_events=40), windows=st.lists(st.integers(1, 20), max_size=3), data=st.data())
def test_call_tree_and_stacks_at_every_event(
    trace: traces.Trace, windows: list[int], data: st.DataObject
) -> None:
    model = Model(trace)
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(stacks, "_WINDOWS", sorted(windows)):
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            for event in trace.events:
                heap = heap_at(store, f"seq:{event.seq}")
                check_tree(heap.tree(), model, event.seq)
                check_stacks(heap.stacks(), model, event.seq)
            least, depth = data.draw(st.integers(0, 3000)), data.draw(st.integers(1, 4))
            last = heap_at(store, f"seq:{len(trace.events) - 1}")
            whole, part = last.tree(), last.tree(least, depth)
            assert outline(part.roots, 0, 9) == outline(whole.roots, least, depth)
            assert (part.total_bytes, part.total_blocks) == (whole.total_bytes, whole.total_blocks)


@slow
@given(trace=traces.traces(max_events=40), data=st.data())
def test_the_blocks_one_by_one(trace: traces.Trace, data: st.DataObject) -> None:
    model, seq = Model(trace), data.draw(st.integers(0, len(trace.events) - 1))
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            blocks = heap_at(store, f"seq:{seq}").blocks()
            found = [dict(zip(blocks.columns, row, strict=True)) for row in blocks.fetchall()]
    live = trace.live_at(seq)
    assert sorted(row["alloc_seq"] for row in found) == sorted(live)
    for row in found:
        block, free = live[row["alloc_seq"]], trace.free_of(row["alloc_seq"])
        assert (row["address"], row["size"], row["domain"]) == (block.address, block.size, block.domain)
        assert row["allocated_ns"] == block.time_ns
        assert row["age_ns"] == trace.events[seq].time_ns - block.time_ns
        assert (row["free_seq"], row["freed_ns"]) == ((free.seq, free.time_ns) if free else (None, None))
        for by in ("site", "module", "thread", "type"):
            assert (row[by] or "<unknown>") == model.key(block, by, seq)


@settings(slow, max_examples=examples(8))
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
                made = model.groups(b, by, made_after=a)
                start, end = resolve_moment(store, f"seq:{a}"), resolve_moment(store, f"seq:{b}")
                check_heap(heap_at(store, start), by, before)
                check_difference(difference(store, start, end, by=by), before, after, made)


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
