"""The search for leaks against a fold over the plain list of events, written in the most naive way."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import traces
from effort import examples
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tracekit.errors import UsageError
from tracekit.events import Allocation, CollectionStart, CollectionStop, Mark
from tracekit.replay.leaks import GROUPINGS, Leak, Leaks, leaks
from tracekit.replay.moment import resolve_moment
from tracekit.store.opening import open_store

few = settings(max_examples=examples(5), deadline=None, suppress_health_check=list(HealthCheck))
slow = settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))

OWN: traces.Frame = ("/srv/app/main.py", "main", 10)
OTHER: traces.Frame = ("/srv/app/load.py", "Loader.read", 33)
AGAIN: traces.Frame = ("/srv/app/load.py", "Loader.read", 34)
STANDARD: traces.Frame = ("/usr/lib/python3.11/json/decoder.py", "JSONDecoder.decode", 337)
PACKAGE: traces.Frame = ("/venv/lib/python3.11/site-packages/cache/store.py", "put", 5)
IMPORT: traces.Frame = ("<frozen importlib._bootstrap>", "_find_and_load", 1178)
MODULE: traces.Frame = ("/srv/app/late.py", "<module>", 1)
FRAMES = (OWN, OTHER, AGAIN, STANDARD, PACKAGE, IMPORT, MODULE)


@st.composite
def growing(draw: st.DrawFn) -> traces.Trace:
    """Recordings in which a few call paths allocate much and free some of it."""
    build = traces.TraceBuilder()
    build.thread("worker")
    kinds = [build.type(name) for name in ("app.Page", "builtins.str", "app.Page")]
    path = st.lists(st.sampled_from(FRAMES), max_size=4)
    stacks = [build.stack(*frames) for frames in draw(st.lists(path, min_size=1, max_size=4))]
    step = st.tuples(
        st.sampled_from(["allocate", "allocate", "allocate", "free", "mark", "collection"]),
        st.integers(0, 2**16),
        st.integers(0, 999),
        st.sampled_from([0, 0, 1, 999, 20_000_000]),
    )
    for operation, pick, size, pause in draw(st.lists(step, min_size=20, max_size=90)):
        build.advance(pause)
        thread = pick % 3
        if operation == "allocate":
            build.allocate(size, stack=stacks[pick % len(stacks)], thread=thread)
        elif operation == "free" and build.live:
            block = list(build.live)[pick % len(build.live)]
            build.free(block, type_id=(*kinds, 0)[pick % 4], thread=thread)
        elif operation == "mark":
            build.mark(f"mark-{pick % 2}")
        elif operation == "collection":
            build.gc_start(2 - pick % 2)
            build.gc_stop()
    return build.finish(complete=draw(st.booleans()))


class Model:
    """What the naive fold says of one search."""

    def __init__(self, trace: traces.Trace, found: Leaks, *, imports: bool) -> None:
        self.trace, self.found, self.imports = trace, found, imports
        self.key = self._keys(found.by)
        self.seqs = [instant.seq for instant in found.instants]
        self.alive = [list(trace.live_at(seq).values()) for seq in self.seqs]
        self.since, self.until = self.seqs[0], self.seqs[-1]

    def counts(self, block: Allocation) -> bool:
        frames = self.trace.frames(block.stack_id)
        return self.imports or not any("importlib._bootstrap" in file for file, _, _ in frames)

    def site(self, block: Allocation) -> traces.Frame | None:
        frames = self.trace.frames(block.stack_id)[::-1]
        packages = [frame for frame in frames if "site-packages" in frame[0]]
        own = [f for f in frames if not f[0].startswith("<") and "/lib/python3.11/" not in f[0]]
        return next(iter(own or packages or frames), None)

    def _keys(self, by: str) -> Callable[[Allocation], str]:
        trace = self.trace
        types = {item.type_id: item.name for item in trace.types}
        threads = {item.thread_id: item.name for item in trace.threads}

        def innermost(block: Allocation) -> traces.Frame | None:
            return next(reversed(trace.frames(block.stack_id)), None)

        def type_of(block: Allocation) -> str:
            free = trace.free_of(block.seq)
            return types.get(free.type_id if free else 0, "<unknown>")

        def text(frame: traces.Frame | None, form: str) -> str:
            file, function, line = frame or ("<unknown>", "<unknown>", 0)
            return form.format(file=file, function=function, line=line) if frame else "<unknown>"

        def stack(block: Allocation) -> str:
            frames = trace.frames(block.stack_id)
            names = (f"{name} ({file.rpartition('/')[2]}:{line})" for file, name, line in frames)
            return ";".join(names) or "<unknown>"

        return {
            "site": lambda block: text(self.site(block), "{file}:{line} ({function})"),
            "innermost": lambda block: text(innermost(block), "{file}:{line} ({function})"),
            "function": lambda block: text(self.site(block), "{function} ({file})"),
            "file": lambda block: text(self.site(block), "{file}"),
            "type": type_of,
            "stack": stack,
            "thread": lambda block: threads.get(block.thread_id, "<unknown>"),
            "domain": lambda block: block.domain,
        }[by]

    def levels(self) -> dict[str, list[tuple[int, int]]]:
        """Bytes and blocks of each group at each instant."""
        found: dict[str, list[tuple[int, int]]] = defaultdict(lambda: [(0, 0)] * len(self.seqs))
        for at, blocks in enumerate(self.alive):
            for block in filter(self.counts, blocks):
                size, count = found[self.key(block)][at]
                found[self.key(block)][at] = (size + block.size, count + 1)
        return found

    def new(self) -> dict[str, list[Allocation]]:
        """What of each group is alive at the end and was allocated since the beginning."""
        found: dict[str, list[Allocation]] = defaultdict(list)
        for block in self.alive[-1]:
            if self.counts(block) and block.seq > self.since:
                found[self.key(block)].append(block)
        return found

    def made(self) -> dict[str, list[Allocation]]:
        found: dict[str, list[Allocation]] = defaultdict(list)
        for event in self.trace.events[self.since + 1 : self.until + 1]:
            if isinstance(event, Allocation) and self.counts(event):
                found[self.key(event)].append(event)
        return found


def evidence(levels: list[int]) -> tuple[str, int]:
    """Evidence and score, as docs/cli.md describes them."""
    steps = [after - before for before, after in pairwise(levels)]
    net, moved = sum(steps), sum(map(abs, steps))
    if len(steps) < 4:
        return "weak", 0
    bounds = [round(len(steps) * part / 4) for part in range(5)]
    quarters = [levels[b] - levels[a] for a, b in pairwise(bounds)]
    grown = sum(quarter > 0 for quarter in quarters)
    share, direct = sum(step > 0 for step in steps) / len(steps), net / max(moved, 1)
    steady = max(0, min(4 * sorted(quarters)[1], net))
    if grown == 4 and share >= 0.6 and direct >= 0.8:
        return "strong", int(steady * share * direct)
    if grown >= 3 and direct >= 0.5:
        return "fair", int(steady * share * direct)
    return "weak", 0


def check(found: Leaks, model: Model) -> None:
    levels, new, made = model.levels(), model.new(), model.made()
    wanted = {key for key in new if levels[key][-1][0] > levels[key][0][0]}
    assert {leak.key for leak in found.leaks} == wanted
    assert found.grown == len(found.leaks) == len(wanted)
    for leak in found.leaks:
        course = [size for size, _ in levels[leak.key]]
        assert leak.levels == course
        assert leak.growth_bytes == course[-1] - course[0]
        assert leak.growth_blocks == levels[leak.key][-1][1] - levels[leak.key][0][1]
        check_blocks(leak, new[leak.key], made[leak.key], model)
        word, score = evidence(course)
        assert leak.evidence == word
        assert abs(leak.score - score) <= 1
    order = [(leak.evidence == "weak", -leak.score, -leak.growth_bytes) for leak in found.leaks]
    assert order == sorted(order)
    strong = [leak for leak in found.leaks if leak.evidence == "strong"]
    assert (found.strong, found.strong_bytes) == (len(strong), sum(leak.growth_bytes for leak in strong))
    imported = [block for block in model.alive[-1] if block.seq > model.since and not model.counts(block)]
    assert (found.imported_blocks, found.imported_bytes) == (len(imported), sum(b.size for b in imported))
    totals = [sum(block.size for block in blocks) for blocks in model.alive]
    assert found.growth_bytes == totals[-1] - totals[0]


def check_blocks(leak: Leak, new: list[Allocation], made: list[Allocation], model: Model) -> None:
    trace = model.trace
    assert (leak.bytes, leak.blocks) == (sum(block.size for block in new), len(new))
    assert (leak.made_bytes, leak.made_blocks) == (sum(block.size for block in made), len(made))
    paths = [trace.frames(block.stack_id) for block in new]
    assert [(frame.file, frame.function, frame.line) for frame in leak.path] in paths
    at: dict[str, int] = defaultdict(int)
    for block, path in zip(new, paths, strict=True):
        file, function, line = path[-1] if path else ("", "", 0)
        at[f"{file}:{line} ({function})" if path else "<unknown>"] += block.size
    most = sorted(at.items(), key=lambda item: (-item[1], item[0]))[:3]
    assert [(group.key, group.bytes) for group in leak.allocated_at] == most
    if leak.line is not None:
        assert leak.key == f"{leak.file}:{leak.line} ({leak.function})"


def check_window(found: Leaks, trace: traces.Trace) -> None:
    seqs = [instant.seq for instant in found.instants]
    assert seqs == sorted(set(seqs))
    assert (seqs[0], seqs[-1]) == (found.since.seq, found.until.seq)
    assert len(seqs) <= 17
    assert len(seqs) >= min(8, seqs[-1] - seqs[0]) + 1
    assert all(trace.events[instant.seq].time_ns == instant.time_ns for instant in found.instants)
    full = 0
    for event in trace.events:
        if isinstance(event, CollectionStart) and event.generation == 2 and event.seq > found.since.seq:
            stop = next(
                (e for e in trace.events if isinstance(e, CollectionStop) and e.gc_id == event.gc_id), None
            )
            full += stop is not None and stop.seq <= found.until.seq
    assert found.full_collections == full


@slow
@given(
    trace=growing() | traces.traces(max_events=90),
    by=st.sampled_from(GROUPINGS),
    imports=st.booleans(),
    data=st.data(),
)
def test_leaks_are_those_of_a_naive_fold(
    trace: traces.Trace, by: str, imports: bool, data: st.DataObject
) -> None:
    last = len(trace.events) - 1
    assume(last >= 1)
    a = data.draw(st.integers(0, last // 2))
    b = data.draw(st.integers(max(a, last // 2) + 1, last)) if last > a + 1 else last
    assume(a < b)
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            since, until = resolve_moment(store, f"seq:{a}"), resolve_moment(store, f"seq:{b}")
            found = leaks(store, since, until, by=by, imports=imports)
            check_window(found, trace)
            check(found, Model(trace, found, imports=imports))
            assert leaks(store, since, until, by=by, imports=imports, limit=1).leaks == found.leaks[:1]


@few
@given(trace=growing(), name=st.sampled_from(["mark-0", "mark-1"]))
def test_growth_from_mark_to_mark(trace: traces.Trace, name: str) -> None:
    marks = [event.seq for event in trace.events if isinstance(event, Mark) and event.name == name]
    assume(marks and marks[0] < len(trace.events) - 1)
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            found = leaks(store, resolve_moment(store, f"mark:{name}"))
            assert found.until.seq == len(trace.events) - 1
            for leak in found.leaks:
                expected = leak.growth_bytes / (len(marks) - 1) if len(marks) > 1 else None
                assert leak.bytes_per_mark == expected


@few
@given(trace=growing())
def test_half_of_the_run_is_where_a_search_begins(trace: traces.Trace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(path, cache=False) as store:
            last = len(trace.events) - 1
            half = resolve_moment(store, "50%").seq
            expected = half if last - half >= 0.1 * last else last // 2
            try:
                assert leaks(store).since.seq == expected
            except UsageError:
                assert expected == last
