"""Views and macros of the store on random recordings, against naive folds in Python."""

from __future__ import annotations

import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import cast

import traces
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracekit.events import Allocation, ArenaEvent, CollectionStart, CollectionStop, Free
from tracekit.store.database import Store
from tracekit.store.opening import open_store
from tracekit.store.tree import NO_NODE, lay_out

slow = settings(max_examples=examples(20), suppress_health_check=list(HealthCheck))

Row = tuple[object, ...]
Sums = tuple[int, int, int, int]
"""Allocations, allocated bytes, live blocks, live bytes."""


def answer(store: Store, sql: str, *parameters: object) -> list[Row]:
    return list(store.query(sql, parameters).rows())


def pairs(store: Store, sql: str) -> dict[object, object]:
    return {row[0]: row[1] for row in answer(store, sql)}


class Model:
    """The answers, one event at a time and without SQL."""

    def __init__(self, trace: traces.Trace) -> None:
        self.trace = trace
        marks = [mark.seq for mark in trace.marks if mark.own and mark.name == "end"]
        self.end_seq = marks[0] if marks else len(trace.events) - 1
        self.allocations = [e for e in trace.events if isinstance(e, Allocation) and e.seq <= self.end_seq]
        self.alive = trace.live_at(self.end_seq)
        self.codes = {code.code_id: code for code in trace.codes}
        self.stacks = {stack.stack_id: stack for stack in trace.stacks}

    def sums(self, blocks: list[Allocation]) -> Sums:
        live = [block for block in blocks if block.seq in self.alive]
        return len(blocks), sum(b.size for b in blocks), len(live), sum(b.size for b in live)

    def nodes(self, stack_id: int) -> list[int]:
        """The nodes of a path, innermost first."""
        found = []
        while stack_id:
            found.append(stack_id)
            stack_id = self.stacks[stack_id].parent_id
        return found

    def grouped(self, key: dict[int, object]) -> dict[object, Sums]:
        groups: defaultdict[object, list[Allocation]] = defaultdict(list)
        for block in self.allocations:
            groups[key[block.seq]].append(block)
        return {name: self.sums(blocks) for name, blocks in groups.items()}

    def functions(self) -> dict[int, tuple[Sums, Sums]]:
        own: defaultdict[int, list[Allocation]] = defaultdict(list)
        total: defaultdict[int, list[Allocation]] = defaultdict(list)
        for block in self.allocations:
            codes = [self.stacks[node].code_id for node in self.nodes(block.stack_id)]
            for code in set(codes):
                total[code].append(block)
            if codes:
                own[codes[0]].append(block)
        used = {stack.code_id for stack in self.stacks.values()}
        return {code: (self.sums(own[code]), self.sums(total[code])) for code in used}


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    parents = [draw(st.integers(NO_NODE, node - 1)) for node in range(draw(st.integers(0, 30)))]
    return parents, [draw(st.integers(1, 4)) for _ in parents]


@given(forests())
def test_layout(forest: tuple[list[int], list[int]]) -> None:
    parents, codes = forest
    layout = lay_out(parents, codes)
    assert sorted(layout.position) == list(range(len(parents)))
    for node in range(len(parents)):
        above = []
        at = parents[node]
        while at != NO_NODE:
            above.append(at)
            at = parents[at]
        covering = [
            other
            for other in range(len(parents))
            if layout.position[other] <= layout.position[node] <= layout.last_position[other]
        ]
        assert sorted(covering) == sorted([node, *above])
        assert layout.outermost[node] == (codes[node] not in {codes[other] for other in above})


@slow
@given(trace=traces.traces(max_events=60))
def test_sums_over_the_whole_recording(trace: traces.Trace) -> None:
    model = Model(trace)
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            check_functions(store, model)
            check_groups(store, model)
            check_sites(store, model)
            check_leaks(store, model)
            check_lifetimes(store, trace)
            check_collections(store, trace)
            check_temporary(store, trace)
            check_timeline(store, trace)


def check_functions(store: Store, model: Model) -> None:
    rows = answer(store, "SELECT * EXCLUDE (trace_id) FROM functions")
    wanted = Counter(
        (code.filename, code.first_line, code.qualname, *own, *total)
        for code_id, (own, total) in model.functions().items()
        for code in [model.codes[code_id]]
    )
    assert Counter(rows) == wanted


def check_sites(store: Store, model: Model) -> None:
    site: dict[int, object] = {}
    for block in model.allocations:
        path = model.trace.frames(block.stack_id)
        site[block.seq] = (
            (path[-1][0], path[-1][2], path[-1][1]) if path else ("<unknown>", None, "<unknown>")
        )
    wanted = {
        place: (*sums, max(block.size for block in model.allocations if site[block.seq] == place))
        for place, sums in model.grouped(site).items()
    }
    names = "allocations, allocated_bytes, live_blocks, live_bytes, largest_bytes"
    rows = answer(store, f"SELECT (file, line, function), {names} FROM sites")
    assert {cast("tuple[object, ...]", row[0]): row[1:] for row in rows} == wanted
    ends = {stack_id: model.trace.frames(stack_id)[-1] for stack_id in model.stacks}
    assert Counter(answer(store, "SELECT stack_id, file, line, function, site FROM stack_sites")) == Counter(
        (stack_id, file, line, name, f"{file}:{line} ({name})")
        for stack_id, (file, name, line) in ends.items()
    )


def check_leaks(store: Store, model: Model) -> None:
    trace = model.trace
    threads = {thread.thread_id: thread.name for thread in trace.threads}
    types = {kind.type_id: kind.name for kind in trace.types}
    wanted = []
    for block in model.alive.values():
        path = trace.frames(block.stack_id)
        free = trace.free_of(block.seq)  # after the end
        age = trace.events[-1].time_ns - block.time_ns
        where = (path[-1][0], path[-1][2], path[-1][1]) if path else (None, None, None)
        kind = types.get(free.type_id) if free else None
        wanted.append(
            (
                *(block.seq, block.time_ns, age, block.address, block.size, block.domain),
                *(threads.get(block.thread_id), kind, block.stack_id, *where),
            )
        )
    rows = answer(store, "SELECT * EXCLUDE (trace_id) FROM leaks ORDER BY alloc_seq")
    assert rows == sorted(wanted)


def check_groups(store: Store, model: Model) -> None:
    trace = model.trace
    types = {kind.type_id: kind.name for kind in trace.types}
    file: dict[int, object] = {}
    kind: dict[int, object] = {}
    size_class: dict[int, object] = {}
    for block in model.allocations:
        path = trace.frames(block.stack_id)
        free = trace.free_of(block.seq)
        small = block.domain in {"mem", "object"} and block.size <= 512
        file[block.seq] = path[-1][0] if path else "<unknown>"
        kind[block.seq] = types.get(free.type_id if free else 0, "<unknown>")
        size_class[block.seq] = max(1, -(-block.size // 16)) * 16 if small else None
    sums = "allocations, allocated_bytes, live_blocks, live_bytes"
    for view, column, keys in (
        ("files", "file", file),
        ("allocated_types", "type", kind),
        ("size_classes", "size_class", size_class),
    ):
        found = answer(store, f"SELECT {column}, {sums} FROM {view}")
        assert {row[0]: row[1:] for row in found} == model.grouped(keys), view
        assert len(found) == len({row[0] for row in found})
    lost = pairs(store, "SELECT size_class, rounded_bytes FROM size_classes")
    for name, (count, asked, _, _) in model.grouped(size_class).items():
        assert lost[name] == (None if name is None else count * cast("int", name) - asked)
    collected = Counter(
        kind[block.seq]
        for block in model.allocations
        if (free := trace.free_of(block.seq)) is not None and free.cause == "gc"
    )
    sql = "SELECT type, collected_blocks FROM allocated_types WHERE collected_blocks > 0"
    assert pairs(store, sql) == collected


def check_lifetimes(store: Store, trace: traces.Trace) -> None:
    wanted: defaultdict[int, list[int]] = defaultdict(list)
    for event in trace.events:
        if isinstance(event, Free) and event.alloc_seq is not None:
            block = trace.events[event.alloc_seq]
            assert isinstance(block, Allocation)
            wanted[(event.seq - block.seq).bit_length() - 1].append(block.size)
    rows = answer(store, "SELECT power, blocks, bytes FROM lifetimes")
    assert {row[0]: row[1:] for row in rows} == {p: (len(s), sum(s)) for p, s in wanted.items()}


def check_collections(store: Store, trace: traces.Trace) -> None:
    wanted = []
    for start in (event for event in trace.events if isinstance(event, CollectionStart)):
        stops = [e.seq for e in trace.events if isinstance(e, CollectionStop) and e.gc_id == start.gc_id]
        end = stops[0] if stops else len(trace.events)
        freed = []
        for event in trace.events[start.seq : end]:
            if isinstance(event, Free) and event.cause == "gc" and event.alloc_seq is not None:
                block = trace.events[event.alloc_seq]
                assert isinstance(block, Allocation)
                freed.append(block.size)
        wanted.append((start.gc_id, start.generation, start.seq, len(freed), sum(freed)))
    sql = "SELECT gc_id, generation, start_seq, freed_blocks, freed_bytes FROM collections ORDER BY gc_id"
    assert answer(store, sql) == wanted


def check_temporary(store: Store, trace: traces.Trace) -> None:
    numbers: Counter[int] = Counter()
    born: dict[int, tuple[int, int]] = {}
    lives = {}
    for event in trace.events:
        if not isinstance(event, Allocation | Free):
            continue
        numbers[event.thread_id] += 1
        if isinstance(event, Allocation):
            born[event.seq] = event.thread_id, numbers[event.thread_id]
        elif event.alloc_seq is not None:
            thread, number = born[event.alloc_seq]
            if thread == event.thread_id:
                lives[event.alloc_seq] = numbers[thread] - number
    for most in {1, *lives.values()}:
        found = answer(store, "SELECT alloc_seq, events FROM temporary(?)", most)
        assert {row[0]: row[1] for row in found} == {
            seq: events for seq, events in lives.items() if events <= most
        }


def check_timeline(store: Store, trace: traces.Trace) -> None:
    rows = answer(store, "SELECT step, from_ns, to_ns, most_bytes, bytes, blocks FROM timeline_in(4)")
    duration = max(trace.events[-1].time_ns, 1)
    levels: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for event in trace.events:
        last_of_its_time = event is trace.events[-1] or trace.events[event.seq + 1].time_ns != event.time_ns
        if last_of_its_time or event.seq == trace.totals().peak_seq:
            live = trace.live_at(event.seq).values()
            step = min(3, event.time_ns * 4 // duration)
            levels[step].append((event.time_ns, sum(block.size for block in live), len(live)))
    wanted = [
        (step, all_of[0][0], all_of[-1][0], max(size for _, size, _ in all_of), *all_of[-1][1:])
        for step, all_of in sorted(levels.items())
    ]
    assert rows == wanted


@slow
@given(trace=traces.traces(max_events=40))
def test_heap_at_every_event(trace: traces.Trace) -> None:
    model = Model(trace)
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            for stack_id in model.stacks:
                text = ";".join(
                    f"{name} ({file.rpartition('/')[2]}:{line})"
                    for file, name, line in trace.frames(stack_id)
                )
                assert answer(store, "SELECT call_path(?)", stack_id) == [(text,)]
            for seq in range(len(trace.events)):
                check_tree(store, model, seq)
                check_between(store, trace, seq)
                check_arenas(store, trace, seq)


def check_tree(store: Store, model: Model, seq: int) -> None:
    own: Counter[int] = Counter()
    total: Counter[int] = Counter()
    blocks: Counter[int] = Counter()
    by_code: Counter[int] = Counter()
    own_by_code: Counter[int] = Counter()
    for block in model.trace.live_at(seq).values():
        nodes = model.nodes(block.stack_id)
        for node in nodes:
            total[node] += block.size
            blocks[node] += 1
        for code in {model.stacks[node].code_id for node in nodes}:
            by_code[code] += block.size
        if nodes:
            own[nodes[0]] += block.size
            own_by_code[model.stacks[nodes[0]].code_id] += block.size
    rows = answer(store, "SELECT stack_id, bytes, total_bytes, total_blocks FROM heap_tree(?)", seq)
    assert {row[0]: row[1:] for row in rows} == {
        node: (own[node], total[node], count) for node, count in blocks.items()
    }
    seen = {0}
    for (parent,) in answer(store, "SELECT parent_id FROM heap_tree(?)", seq)[:1]:
        assert parent in seen  # parents come before their children
    rows = answer(store, "SELECT file, function, bytes, total_bytes FROM heap_functions(?)", seq)
    assert Counter(rows) == Counter(
        (model.codes[code].filename, model.codes[code].qualname, own_by_code[code], size)
        for code, size in by_code.items()
        if any(model.stacks[node].code_id == code for node in blocks)
    )


def check_between(store: Store, trace: traces.Trace, seq: int) -> None:
    after = seq * 2 // 3
    rows = answer(store, "SELECT alloc_seq, size FROM heap_between(?, ?) ORDER BY 1", after, seq)
    live = trace.live_at(seq)
    assert rows == [(born, live[born].size) for born in sorted(live) if born > after]
    rows = answer(store, "SELECT alloc_seq, size FROM heap_at(?) ORDER BY 1", seq)
    assert rows == [(born, live[born].size) for born in sorted(live)]


def check_arenas(store: Store, trace: traces.Trace, seq: int) -> None:
    arenas: dict[int, int] = {}
    for event in trace.events[: seq + 1]:
        if isinstance(event, ArenaEvent) and event.freed:
            arenas.pop(event.address, None)
        elif isinstance(event, ArenaEvent):
            arenas[event.address] = event.size
    wanted = []
    for address, size in sorted(arenas.items()):
        inside = [b.size for b in trace.live_at(seq).values() if address <= b.address < address + size]
        wanted.append((address, len(inside), sum(inside)))
    assert answer(store, "SELECT address, live_blocks, live_bytes FROM arenas_at(?)", seq) == wanted
