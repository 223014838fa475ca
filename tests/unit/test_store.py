"""What the ingest makes of a log, table by table."""

from __future__ import annotations

import itertools
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import traces
from effort import stride
from msgspec import UNSET, UnsetType

from tracekit.errors import FileMissingError, LogCorruptError, NotALogError
from tracekit.events import Allocation, Code, CollectorInfo, Definitions, Event, Free, Notice, Stack, Totals
from tracekit.log import lifetimes
from tracekit.log.verify import verify
from tracekit.log.writer import LogWriter
from tracekit.store import rows
from tracekit.store.database import Store
from tracekit.store.opening import open_store


def rows_of(store: Store, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    return list(store.query(sql, parameters).rows())


@pytest.fixture
def recording() -> traces.TraceBuilder:
    """Three blocks: one freed by the collector, one that a realloc replaced, one that stays."""
    build = traces.TraceBuilder()
    main = ("/srv/app.py", "main", 10)
    load = build.stack(main, ("/srv/load.py", "Loader.read", 33))
    worker = build.thread("worker")
    kind = build.type("app.Row", 48, gc_tracked=True)
    first = build.allocate(100, stack=load)  # seq 1
    build.advance(1000)
    second = build.allocate(50, stack=build.stack(main), thread=worker)  # seq 2
    build.gc_start(1, counts=(701, 3, 2), thread=worker, free_lists=tuple(range(80, 56, -1)))  # seq 3
    build.advance(500)
    build.free(first, type_id=kind, thread=worker)  # seq 4
    build.gc_stop(collected=1)  # seq 5
    build.advance(500)
    build.realloc(second, 80)  # seq 6 and 7
    build.free_unknown(0xABC0)  # seq 8
    build.mark("after")  # seq 9
    return build


@pytest.fixture
def store(recording: traces.TraceBuilder, tmp_path: Path) -> Store:
    return open_store(traces.write_log(tmp_path / "a.tkt", recording.finish()), cache=False)


def test_lifetimes(store: Store) -> None:
    found = rows_of(
        store,
        """SELECT alloc_seq, free_seq, allocated_ns, freed_ns, size, domain, thread_id, stack_id, type_id,
                  freed_by, freed_thread_id FROM allocations ORDER BY alloc_seq""",
    )
    assert found == [
        (1, 4, 0, 1500, 100, "object", 1, 2, 1, "gc", 2),
        (2, 6, 1000, 2000, 50, "object", 2, 1, 0, "realloc", 1),
        (7, None, 2000, None, 80, "object", 1, 1, 0, None, None),
    ]
    assert rows_of(store, "SELECT alloc_seq, realloc_of FROM reallocs") == [(7, 2)]


def test_small_tables(store: Store) -> None:
    assert rows_of(store, "SELECT seq, address, alloc_seq, cause FROM unmatched_frees") == [
        (8, 0xABC0, None, "refcount")
    ]
    assert rows_of(store, "SELECT thread_id, name FROM threads") == [(1, "MainThread"), (2, "worker")]
    assert rows_of(store, "SELECT type_id, name, basic_size, gc_tracked FROM types") == [
        (1, "app.Row", 48, True)
    ]
    assert rows_of(store, "SELECT stack_id, parent_id, line, depth FROM stacks") == [
        (1, 0, 10, 1),
        (2, 1, 33, 2),
    ]
    assert rows_of(store, "SELECT * EXCLUDE (trace_id) FROM gc_collections") == [
        (0, 1, 3, 5, 1000, 1500, 500, 1, 0, 701, 3, 2, 700, 10, 10, 2, 4907, 3, list(range(80, 56, -1)), None)
    ]
    assert rows_of(store, "SELECT name, seq, own FROM marks") == [
        ("start", 0, True),
        ("after", 9, False),
        ("end", 10, True),
    ]


def test_trace_row(store: Store) -> None:
    found = rows_of(
        store,
        """SELECT engine, python, argv, started_at, duration_ns, peak_seq, peak_bytes, end_seq, complete,
                  closed, exit_status, exact_order FROM traces""",
    )
    started = datetime(2023, 11, 14, 22, 13, 20)
    assert found == [
        ("native", "3.11.7", ["app.py", "--fast"], started, 2000, 2, 150, 10, True, True, 0, True)
    ]
    assert (store.complete, store.exit_status, store.notes, store.trace_id) == (True, 0, [], 1)


def test_timeline_has_the_last_event_of_each_time_and_the_peak(store: Store) -> None:
    found = rows_of(store, "SELECT seq, time_ns, live_bytes, live_blocks FROM timeline ORDER BY seq")
    assert found == [
        (1, 0, 100, 1),
        (2, 1000, 150, 2),
        (3, 1000, 150, 2),
        (5, 1500, 50, 1),
        (10, 2000, 80, 1),
    ]


def test_arenas(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    kept, gone = build.arena(), build.arena()
    build.advance(7)
    build.free_arena(gone)
    store = open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False)
    found = rows_of(store, "SELECT address, alloc_seq, free_seq, freed_ns FROM arenas ORDER BY alloc_seq")
    assert found == [(kept, 1, None, None), (gone, 2, 3, 7)]


def test_arenas_and_blocks_that_are_older(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    build.older_arena(0x1000_0000)
    build.older_pool(0x1000_0030, 48, 0b1000_0000_0101)
    build.older_pool(0x1000_8030, 512, 0b10)
    build.advance(3)
    gone = build.free_unknown(0x1000_0030 + 2 * 48)
    build.free_unknown(0x2000_0000)
    arena_gone = build.free_arena(0x1000_0000)
    store = open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False)
    assert rows_of(store, "SELECT address, size, alloc_seq, free_seq, freed_ns FROM arenas") == [
        (0x1000_0000, 1 << 20, None, arena_gone, 3)
    ]
    assert rows_of(store, "SELECT address FROM arenas_at(2)") == [(0x1000_0000,)]
    assert rows_of(store, "SELECT address FROM arenas_at(moment('end'))") == []
    found = rows_of(
        store, "SELECT address, block_size, free_seq, freed_ns FROM older_blocks ORDER BY address"
    )
    assert found == [
        (0x1000_0030, 48, None, None),
        (0x1000_0030 + 2 * 48, 48, gone, 3),
        (0x1000_0030 + 11 * 48, 48, None, None),
        (0x1000_8030 + 512, 512, None, None),
    ]


def test_call_paths_of_marks_and_source_lines(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    worker = build.thread("worker")
    stack = build.stack(("a.py", "f", 10), ("a.py", "g", 20))
    build.source_line(1, 10, "g()")
    build.mark("silent")
    seq = build.mark("seen", stacks={1: stack, worker: 0})
    path = traces.write_log(tmp_path / "a.tkt", build.finish())
    assert verify(path).problems == []
    store = open_store(path, cache=False)
    assert rows_of(store, "SELECT seq, thread_id, stack_id FROM mark_stacks ORDER BY thread_id") == [
        (seq, 1, stack),
        (seq, worker, 0),
    ]
    assert rows_of(store, "SELECT code_id, line, text FROM source_lines") == [(1, 10, "g()")]


@pytest.mark.parametrize("merge", [None, 1, 7, 1 << 18])
def test_large_random_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, merge: int | None) -> None:
    """Small chunks and tiers, so that every path of the ingest is taken many times; once with the kernel."""
    if merge is not None:
        monkeypatch.setattr(lifetimes, "kernels", None)
        monkeypatch.setattr(lifetimes, "MERGE_EVENTS", merge)
    monkeypatch.setattr(lifetimes, "LIFETIME_TIERS", (4, 100))
    monkeypatch.setattr(rows, "CHUNK_ROWS", 64)
    trace = traces.random_trace(3, 1500)
    store = open_store(traces.write_log(tmp_path / "a.tkt", trace, seed=1), cache=False)
    assert store.totals == trace.totals()
    free = {event.alloc_seq: event for event in trace.events if isinstance(event, Free)}
    assert rows_of(store, "SELECT alloc_seq, free_seq, size FROM allocations ORDER BY 1") == [
        (event.seq, free[event.seq].seq if event.seq in free else None, event.size)
        for event in trace.events
        if isinstance(event, Allocation)
    ]
    assert rows_of(store, "SELECT seq FROM events ORDER BY seq") == [(event.seq,) for event in trace.events]
    assert rows_of(store, "SELECT seq, live_bytes, live_blocks FROM timeline ORDER BY seq") == levels(trace)


def levels(trace: traces.Trace) -> list[tuple[int, int, int]]:
    """The timeline by hand."""
    wanted = {trace.totals().peak_seq}
    wanted |= {a.seq for a, b in itertools.pairwise(trace.events) if a.time_ns != b.time_ns}
    found, live = [], dict[int, int]()
    for event in trace.events:
        change(live, event)
        if event.seq in wanted or event is trace.events[-1]:
            found.append((event.seq, sum(live.values()), len(live)))
    return found


def change(live: dict[int, int], event: Event) -> None:
    if isinstance(event, Allocation):
        live[event.seq] = event.size
    elif isinstance(event, Free) and event.alloc_seq is not None:
        live.pop(event.alloc_seq, None)


@pytest.mark.parametrize("batch", [1, 100, 1 << 16])
def test_steps_are_the_events_in_order(tmp_path: Path, batch: int) -> None:
    trace = traces.random_trace(5, 100)
    store = open_store(traces.write_log(tmp_path / "a.tkt", trace), cache=False)
    parts = list(store.steps(batch))
    assert all(0 < len(part) <= batch for part in parts)
    assert all(np.all(part.domain < 6) and part.domain.dtype == np.uint8 for part in parts)
    found = [
        step for part in parts for step in zip(part.seq, part.is_free, part.alloc_seq, part.size, strict=True)
    ]
    blocks = {event.seq: event for event in trace.events if isinstance(event, Allocation)}
    wanted = [
        (event.seq, False, event.seq, event.size)
        if isinstance(event, Allocation)
        else (event.seq, True, event.alloc_seq, blocks[event.alloc_seq].size)
        if event.alloc_seq is not None
        else (event.seq, True, -1, 0)
        for event in trace.events
        if isinstance(event, Allocation | Free)
    ]
    assert found == wanted


@pytest.mark.parametrize("counts", [None, (421, 3, 5)])
def test_counts_of_the_collector_at_the_start(tmp_path: Path, counts: tuple[int, int, int] | None) -> None:
    header = traces.sample_header(collector=CollectorInfo((700, 10, 10), True, counts))
    log = traces.write_log(tmp_path / "a.tkt", traces.TraceBuilder(header).finish())
    with open_store(log, cache=False) as store:
        assert store.header.collector.counts == counts
        assert rows_of(store, "SELECT count0, count1, count2 FROM traces") == [counts or (None,) * 3]


@pytest.mark.parametrize("first", [UNSET, (0,) * 24, (2**32 - 1,) * 24])
def test_free_lists(tmp_path: Path, first: tuple[int, ...] | UnsetType) -> None:
    """Not recorded, nothing waiting and the most: whatever the first rows are, the later ones stay right."""
    later = tuple(range(1, 25))
    header = traces.sample_header(collector=CollectorInfo((700, 10, 10), True, None, later))
    build = traces.TraceBuilder(header)
    for before, after in ((first, first), (later, UNSET), (UNSET, later)):
        build.gc_start(free_lists=before)
        build.gc_stop(free_lists=after)
    build.gc_start(free_lists=later)
    log = traces.write_log(tmp_path / "a.tkt", build.finish(complete=False))
    sql = """SELECT free_lists_before, free_lists_after, typeof(free_lists_before), typeof(free_lists_after)
             FROM gc_collections ORDER BY gc_id"""
    edge = list(first) if first else None
    with open_store(log, cache=False) as store:
        assert store.header.collector.free_lists == later
        assert rows_of(store, sql) == [
            (*row, "UINTEGER[]", "UINTEGER[]")
            for row in ((edge, edge), (list(later), None), (None, list(later)), (list(later), None))
        ]


def test_a_log_with_only_a_header(tmp_path: Path) -> None:
    path = tmp_path / "a.tkt"
    LogWriter(path.open("wb"), traces.sample_header()).abandon()
    store = open_store(path)
    assert store.totals == Totals()
    assert not store.complete
    assert "was not closed" in store.notes[0]
    assert list(store.steps()) == []
    assert rows_of(store, "SELECT count(*) FROM events") == [(0,)]
    assert rows_of(store, "SELECT moment('end'), moment('start'), moment('peak'), moment('0s')") == [
        (None,) * 4
    ]


def test_a_torn_log(tmp_path: Path) -> None:
    trace = traces.random_trace(9, 300)
    path = traces.write_log(tmp_path / "a.tkt", trace, seed=4, closed=False)
    data = path.read_bytes()
    for length in range(len(data) - 1, 700, -499 * stride(2)):
        path.write_bytes(data[:length])
        with open_store(path, cache=False) as store:
            events = store.totals.events
            part = traces.Trace(trace.header, trace.events[:events], trace.definitions)
            assert store.totals == part.totals()
            assert rows_of(store, "SELECT seq FROM events ORDER BY seq") == [(n,) for n in range(events)]
            assert "was not closed" in store.notes[0]


def test_a_damaged_log_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    path = traces.write_log(tmp_path / "a.tkt", traces.random_trace(2, 200))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    for cache in (True, False):
        with pytest.raises(LogCorruptError, match=r"record \d+ at offset"):
            open_store(path, cache=cache)
    assert list(tmp_path.iterdir()) == [path]


def test_a_log_that_lost_a_batch(tmp_path: Path) -> None:
    """As recovery leaves it: a notice, then a gap in seq. Nothing before or after it is counted wrongly."""
    build = traces.TraceBuilder()
    kept = build.allocate(10)  # seq 1
    lost = build.allocate(20)  # seq 2, lost
    build.mark("lost")  # seq 3, lost
    build.free(kept)  # seq 4
    build.advance(50)
    build.free(lost)  # seq 5, of a block that is not known any more
    build.allocate(7)  # seq 6
    trace = build.finish(complete=False)
    path = tmp_path / "a.tkt"
    with LogWriter(path.open("wb"), trace.header) as writer:
        writer.write(Definitions(threads=trace.threads))
        writer.write(trace.marks[0])
        writer.write_events(trace.columns(0, 2))
        writer.write(Notice("records-lost", 2, 0, "one batch is missing"))
        writer.write_events(trace.columns(4, 7))
    with open_store(path, cache=False) as store:
        assert rows_of(store, "SELECT seq, kind FROM events ORDER BY seq") == [
            (0, "mark"),
            (1, "allocation"),
            (4, "free"),
            (5, "free"),
            (6, "allocation"),
        ]
        assert rows_of(store, "SELECT seq, alloc_seq FROM unmatched_frees") == [(5, 2)]
        assert (store.totals.end_bytes, store.totals.peak_seq, store.totals.peak_bytes) == (7, 1, 10)
        assert [notice.code for notice in store.notices] == ["records-lost"]


def test_definitions_that_contradict_themselves(tmp_path: Path) -> None:
    path = tmp_path / "a.tkt"
    with LogWriter(path.open("wb"), traces.sample_header()) as writer:
        writer.write(Definitions(codes=[Code(1, "a.py", "f", 1, 0)], stacks=[Stack(1, 1, 1, 5)]))
    with pytest.raises(LogCorruptError, match=r"a\.tkt.*stack 1 has the parent 1"):
        open_store(path)


@pytest.mark.parametrize("code", [Code(1, "a", "f", 2**40, 0), Code(1, "a", "f", 1, 2**64 - 1)])
def test_numbers_that_no_recording_has(tmp_path: Path, code: Code) -> None:
    path = tmp_path / "a.tkt"
    with LogWriter(path.open("wb"), traces.sample_header()) as writer:
        writer.write(Definitions(codes=[code]))
    for cache in (True, False):
        with pytest.raises(LogCorruptError, match=r"a\.tkt.*number"):
            open_store(path, cache=cache)
    assert list(tmp_path.iterdir()) == [path]


def test_names_are_data(tmp_path: Path) -> None:
    name = "'); DROP TABLE marks; --\x00\"$1"
    build = traces.TraceBuilder()
    build.allocate(8, stack=build.stack((name, name, 1)))
    build.mark(name)
    path = traces.write_log(tmp_path / "o'clock \"x.tkt", build.finish())
    for cache in (True, False):
        with open_store(path, cache=cache) as store:
            assert store.notes == []
            assert rows_of(store, "SELECT file, function FROM leaks") == [(name, name)]
            assert rows_of(store, "SELECT moment(?)", f"mark:{name}") == [(2,)]


def test_progress_counts_the_bytes_of_the_log(tmp_path: Path) -> None:
    path = traces.write_log(tmp_path / "a.tkt", traces.random_trace(2, 500), seed=5)
    seen: list[tuple[int, int]] = []
    open_store(path, progress=lambda done, total: seen.append((done, total)))
    size = path.stat().st_size
    assert seen == sorted(seen)
    assert len(seen) > 3
    assert seen[-1] == (size, size)


def test_no_log(tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        open_store(tmp_path / "missing.tkt")
    with pytest.raises(NotALogError):
        open_store(tmp_path)
    (tmp_path / "text.tkt").write_text("hello")
    with pytest.raises(NotALogError):
        open_store(tmp_path / "text.tkt")
    assert [path.name for path in tmp_path.iterdir()] == ["text.tkt"]
