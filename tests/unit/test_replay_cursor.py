"""A cursor on a small recording: what each event says, the ends of the recording, and what does not exist."""

from __future__ import annotations

from pathlib import Path

import pytest
import traces

from tracekit.errors import MomentMissingError, MomentSyntaxError, UsageError
from tracekit.events import Cause, Definitions, Notice
from tracekit.log.writer import LogWriter
from tracekit.replay.cursor import Cursor, Effect, cursor
from tracekit.replay.details import Frame
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.store.database import Store
from tracekit.store.opening import open_store

MAIN = ("/srv/app.py", "main", 10)
READ = ("/srv/lib/load.py", "Loader.read", 33)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    build = traces.TraceBuilder()
    worker = build.thread("worker")
    row = build.type("app.Row")
    load = build.stack(MAIN, READ)
    block = build.allocate(1000, stack=load)  # seq 1
    build.mark("warm", thread=worker)  # seq 2
    build.advance(3_000_000)
    build.realloc(block, 1500)  # seq 3 frees, seq 4 allocates
    typed = build.allocate(70, stack=build.stack(MAIN), thread=worker)  # seq 5
    build.advance(1_000_000)
    build.gc_start(2)  # seq 6
    build.free(typed, type_id=row, cause=Cause.GC)  # seq 7
    build.advance(500_000)
    build.gc_stop(collected=1)  # seq 8
    build.free_unknown(0x1000)  # seq 9
    build.arena()  # seq 10
    build.allocate(8, thread=0)  # seq 11
    path = tmp_path_factory.mktemp("cursor") / "a.tkt"
    return open_store(traces.write_log(path, build.finish()), cache=False)


@pytest.fixture
def at(store: Store) -> Cursor:
    return cursor(store, resolve_moment(store, "start"))


def test_it_steps_and_stops_at_both_ends(at: Cursor) -> None:
    assert (at.seq, at.backward(), at.seq) == (0, 0, 0)
    assert (at.forward(5), at.seq, at.live_bytes, at.live_blocks) == (5, 5, 1570, 2)
    assert (at.backward(2), at.seq, at.live_bytes, at.live_blocks) == (2, 3, 0, 0)
    assert (at.forward(-1), at.seq) == (1, 2)
    assert (at.forward(100), at.seq) == (10, 12)
    assert (at.forward(), at.next_mark(), at.next_collection(), at.next_allocation()) == (
        0,
        False,
        False,
        False,
    )
    assert (at.seq, at.forward(0)) == (12, 0)


def test_a_reallocated_block(at: Cursor) -> None:
    at.jump("seq:3")
    free = at.event
    assert free is not None
    assert (free.kind, free.cause, free.size, free.domain) == ("free", "realloc", 1000, "object")
    assert free.block is not None
    assert (free.block.alloc_seq, free.block.age_ns, free.block.age_events) == (1, 3_000_000, 2)
    assert (free.block.replaced_by, free.block.realloc_of) == (4, None)
    assert free.site == "/srv/lib/load.py:33 (Loader.read)"
    assert free.frames == [Frame(READ[0], READ[2], READ[1], None), Frame(MAIN[0], MAIN[2], MAIN[1], None)]
    assert at.effect == Effect("site", "/srv/lib/load.py:33 (Loader.read)", -1000, -1, 0, 0)
    at.forward()
    allocation = at.event
    assert allocation is not None
    assert allocation.block is not None
    assert (allocation.block.realloc_of, allocation.block.free_seq, allocation.block.age_ns) == (
        1,
        None,
        None,
    )
    assert at.effect == Effect("site", "/srv/lib/load.py:33 (Loader.read)", 1500, 1, 1500, 1)


def test_a_collection_and_what_it_freed(at: Cursor) -> None:
    assert at.next_collection()
    assert at.seq == 8
    stop = at.event
    assert stop is not None
    assert stop.collection is not None
    assert (stop.kind, stop.collection.gc_id, stop.collection.generation) == ("gc-stop", 0, 2)
    assert (stop.collection.collected, stop.collection.pause_ns) == (1, 500_000)
    assert (stop.collection.freed_bytes, stop.collection.freed_blocks) == (70, 1)
    assert stop.collection.thresholds == (700, 10, 10)
    assert at.effect == Effect("site", None, 0, 0, 0, 0)
    at.backward()
    free = at.event
    assert free is not None
    assert (free.cause, free.type, free.collection) == ("gc", "app.Row", stop.collection)
    assert free.block is not None
    assert free.block.allocating_thread == "worker"
    assert not at.previous_collection()


def test_other_events(at: Cursor) -> None:
    assert at.next_mark()
    mark = at.event
    assert mark is not None
    assert (mark.kind, mark.mark, mark.thread, mark.size, mark.type) == ("mark", "warm", "worker", None, None)
    at.jump("seq:9")
    older = at.event
    assert older is not None
    assert (older.kind, older.address, older.size, older.block) == ("free", 0x1000, None, None)
    assert (at.free_of(), at.allocation_of(), at.effect.key) == (False, False, None)
    assert at.forward()
    arena = at.event
    assert arena is not None
    assert (arena.kind, arena.size, arena.block) == ("arena-allocation", 1 << 20, None)
    assert at.effect.blocks == 0
    assert at.forward()
    unknown = at.event
    assert unknown is not None
    assert (unknown.thread, unknown.type, unknown.site, unknown.frames) == (
        "<unknown>",
        "<unknown>",
        "<unknown>",
        [],
    )


def test_from_a_block_to_its_free_and_back(at: Cursor) -> None:
    assert at.next_allocation(type="app.Row")
    assert (at.seq, at.free_of(), at.seq, at.free_of(), at.seq) == (5, True, 7, False, 7)
    assert (at.allocation_of(), at.seq, at.allocation_of()) == (True, 5, False)
    assert (at.free_of(1), at.seq) == (True, 3)
    assert (at.allocation_of(7), at.seq) == (True, 5)
    assert not at.free_of(11)
    with pytest.raises(MomentMissingError, match="no allocation 2; its events are seq:0 to seq:12"):
        at.free_of(2)
    with pytest.raises(MomentMissingError, match="no event 99"):
        at.allocation_of(99)
    assert at.seq == 5


def test_allocations_of_a_kind(at: Cursor) -> None:
    assert at.next_allocation(site="/srv/lib/load.py:33 (Loader.read)", thread="MainThread")
    assert at.seq == 1
    assert at.next_allocation(function="Loader.read (/srv/lib/load.py)")
    assert at.seq == 4
    assert not at.next_allocation(file="/srv/lib/load.py")
    assert at.next_allocation(stack="<unknown>")
    assert at.seq == 11
    assert at.previous_allocation(stack="main (app.py:10)")
    assert at.seq == 5
    assert at.previous_allocation(stack="main (app.py:10);Loader.read (load.py:33)")
    assert at.seq == 4
    assert at.next_allocation(below=1)  # main, line 10, with all that it calls
    assert at.seq == 5
    assert not at.next_allocation(site="nowhere")
    with pytest.raises(UsageError, match="by 'colour'; possible are site, function"):
        at.next_allocation(colour="red")
    with pytest.raises(UsageError, match="site and file exclude each other"):
        at.next_allocation(site="a", file="b")


def test_moments(store: Store, at: Cursor) -> None:
    at.jump("gc:0")
    assert (at.seq, at.moment) == (8, Moment("seq:8", 8, 4_500_000))
    with pytest.raises(MomentMissingError):
        at.jump("mark:cold")
    with pytest.raises(MomentSyntaxError):
        at.jump("soon")
    assert at.seq == 8
    with pytest.raises(MomentMissingError, match="no moment 'there'; its events are seq:0 to seq:12"):
        cursor(store, Moment("there", 13, 0))


def test_the_grouping_can_change(at: Cursor) -> None:
    at.jump("seq:5")
    at.by = "thread"
    assert [group.key for group in at.heap().groups] == ["MainThread", "worker"]
    assert at.effect == Effect("thread", "worker", 70, 1, 70, 1)
    with pytest.raises(UsageError):
        at.by = "colour"
    assert at.by == "thread"


def test_a_recording_that_does_not_know_addresses(tmp_path: Path) -> None:
    capabilities = traces.sample_capabilities(real_addresses=False, types=False)
    build = traces.TraceBuilder(traces.sample_header(capabilities=capabilities))
    build.allocate(10)
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        event = cursor(store, resolve_moment(store, "seq:1")).event
        assert event is not None
        assert (event.address, event.size, event.type) == (None, 10, "<unknown>")


def test_what_newer_logs_know_besides(tmp_path: Path) -> None:
    """Source lines, the call path of a mark, the size class of an older block: where the store has them."""
    build = traces.TraceBuilder()
    stack = build.stack(MAIN, READ)
    build.allocate(10, stack=stack)  # seq 1
    build.mark("warm")  # seq 2
    build.free_unknown(0x1000)  # seq 3
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        for statement in (
            """CREATE TABLE IF NOT EXISTS mark_stacks
               (trace_id INTEGER, seq BIGINT, thread_id INTEGER, stack_id INTEGER)""",
            "INSERT INTO mark_stacks (trace_id, seq, thread_id, stack_id) VALUES (1, 2, 1, 1)",
            """CREATE TABLE IF NOT EXISTS source_lines
               (trace_id INTEGER, code_id INTEGER, line INTEGER, text VARCHAR)""",
            "INSERT INTO source_lines (trace_id, code_id, line, text) VALUES (1, 1, 10, 'rows = read()')",
            """CREATE TABLE IF NOT EXISTS older_blocks
               (trace_id INTEGER, address BIGINT, block_size BIGINT, free_seq BIGINT, freed_ns BIGINT)""",
            """INSERT INTO older_blocks (trace_id, address, block_size, free_seq, freed_ns)
               VALUES (1, 4096, 48, 3, 0)""",
        ):
            store._database.connection.execute(statement)
        at = cursor(store, resolve_moment(store, "seq:1"))
        assert at.event is not None
        assert [frame.source for frame in at.event.frames] == [None, "rows = read()"]
        at.forward()
        assert at.event is not None
        assert [(frame.file, frame.source) for frame in at.event.frames] == [(MAIN[0], "rows = read()")]
        at.forward()
        assert at.event is not None
        assert at.event.older_size == 48


def test_a_recording_without_events(tmp_path: Path) -> None:
    trace = traces.Trace(traces.sample_header(), [], [])
    with (
        open_store(traces.write_log(tmp_path / "a.tkt", trace), cache=False) as store,
        pytest.raises(MomentMissingError, match="it holds no events"),
    ):
        cursor(store, Moment("seq:0", 0, 0))


def test_a_recording_with_a_gap(tmp_path: Path) -> None:
    """What a damaged log lost is stepped over; a jump may still lead there."""
    build = traces.TraceBuilder()
    kept = build.allocate(10)  # seq 1
    for _ in range(40_000):
        build.mark("lost")
    build.free(kept)  # seq 40002
    build.allocate(7)
    trace = build.finish(complete=False)
    path = tmp_path / "a.tkt"
    with LogWriter(path.open("wb"), trace.header) as writer:
        writer.write(Definitions(threads=trace.threads))
        writer.write(trace.marks[0])
        writer.write_events(trace.columns(0, 2))
        writer.write(Notice("records-lost", 2, 0, "one batch is missing"))
        writer.write_events(trace.columns(40_002, 40_004))
    with open_store(path, cache=False) as store:
        at = cursor(store, resolve_moment(store, "start"))
        positions = []
        while at.forward():
            positions.append((at.seq, at.live_bytes))
        assert positions == [(1, 10), (40_002, 0), (40_003, 7)]
        assert (at.backward(2), at.seq, at.live_bytes) == (2, 1, 10)
        assert (at.forward(9), at.backward(9), at.backward()) == (2, 3, 0)
        at.jump("seq:700")
        assert (at.event, at.live_bytes, at.effect.key) == (None, 10, None)
        assert (at.free_of(), at.forward(), at.seq) == (False, 1, 40_002)
