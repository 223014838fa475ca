"""What `recover` keeps, what it says, and what it never does."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from log_support import file_size_limit
from traces import Trace, TraceBuilder, random_trace, write_log

from tracekit.errors import FileMissingError, NotALogError, OutputExistsError, OutputUnwritableError
from tracekit.events import (
    Definitions,
    EventBatch,
    Header,
    LogRecord,
    Mark,
    Notice,
    OlderArena,
    OlderPool,
    SourceLine,
    ThreadStack,
)
from tracekit.log.columns import empty_columns
from tracekit.log.dump import BareEvent, DumpRecord, dump
from tracekit.log.format import pack_prelude
from tracekit.log.reader import LOST, LogReader
from tracekit.log.recovery import recover
from tracekit.log.standins import LOST_NAME, unknown_header
from tracekit.log.summary import summarize
from tracekit.log.verify import verify
from tracekit.log.writer import LogWriter


def damaged(path: Path, which: type[LogRecord], number: int = 0) -> tuple[int, LogRecord]:
    """Flip a byte in the payload of the n-th record of a kind; its place among all records, and itself."""
    with LogReader(path) as log:
        records = list(log.records())
    places = [n for n, (_, record) in enumerate(records) if isinstance(record, which)]
    place = places[number]
    data = bytearray(path.read_bytes())
    data[records[place][0] + 25] ^= 0x40
    path.write_bytes(data)
    return place, records[place][1]


def trace_of_batches() -> Trace:
    build = TraceBuilder()
    for n in range(40):
        block = build.allocate(100 + n, stack=build.stack(("a.py", f"f{n // 10}", n)))
        if n % 3 == 0:
            build.free(block, type_id=build.type(f"T{n}"), thread=build.thread(f"t{n}"))
        if n % 10 == 0:
            build.mark(f"m{n}")
    return build.finish(exit_status=3)


def test_a_lost_batch_leaves_a_gap_that_is_announced(tmp_path: Path) -> None:
    trace = trace_of_batches()
    path = write_log(tmp_path / "a.tkt", trace, seed=4)
    place, batch = damaged(path, EventBatch, 1)
    assert isinstance(batch, EventBatch)
    before = path.read_bytes()
    copy = tmp_path / "b.tkt"
    recovery = recover(path, copy)
    assert path.read_bytes() == before
    assert recovery.events_kept == len(trace.events) - batch.count
    assert recovery.losses[0].startswith(f"record {place} at offset ")
    assert f"events {batch.first_seq} to {batch.first_seq + batch.count - 1} are missing" in recovery.losses
    assert recovery.bytes_lost > 0
    with LogReader(copy) as log:
        records = [record for _, record in log.records()]
        seen = [seq for columns in log.events() for seq in columns.seq.tolist()]
    lost = set(range(batch.first_seq, batch.first_seq + batch.count))
    assert seen == [seq for seq in range(len(trace.events)) if seq not in lost]
    notice = next(n for n, record in enumerate(records) if isinstance(record, Notice) and record.code == LOST)
    after = next(
        n
        for n, record in enumerate(records)
        if isinstance(record, EventBatch) and record.first_seq > batch.first_seq
    )
    assert notice < after
    assert sum(isinstance(record, Notice) and record.code == LOST for record in records) == 1
    summary = summarize(copy)
    assert (summary.complete, summary.closed, summary.exit_status) == (True, True, 3)
    assert {mark.seq for mark in summary.marks} == {mark.seq for mark in trace.marks} - lost
    found = verify(copy)
    assert found.problems == []
    again = recover(copy, tmp_path / "c.tkt")
    assert (again.events_kept, again.bytes_lost) == (recovery.events_kept, 0)
    assert verify(tmp_path / "c.tkt").ok


def test_lost_definitions_get_stand_ins(tmp_path: Path) -> None:
    trace = trace_of_batches()
    path = write_log(tmp_path / "a.tkt", trace, seed=4)
    _, lost = damaged(path, Definitions, 1)
    assert isinstance(lost, Definitions)
    assert lost.stacks
    assert lost.codes
    copy = tmp_path / "b.tkt"
    recovery = recover(path, copy)
    assert recovery.events_kept == len(trace.events)
    assert verify(copy).problems == []
    with LogReader(copy) as log:
        definitions = [record for _, record in log.decoded() if isinstance(record, Definitions)]
        columns = [batch.stack_id for batch in log.events()]
    names = {code.code_id: code.qualname for record in definitions for code in record.codes}
    stacks = {stack.stack_id: names[stack.code_id] for record in definitions for stack in record.stacks}
    used = {int(stack) for batch in columns for stack in batch} - {0}
    gone = {stack.stack_id for stack in lost.stacks}
    gone |= {
        stack.stack_id for stack in trace.stacks if stack.code_id in {code.code_id for code in lost.codes}
    }
    assert {stack for stack in used if stacks[stack] == LOST_NAME} == used & gone
    assert used - gone
    threads = {item.thread_id: item.name for record in definitions for item in record.threads}
    assert {threads[item.thread_id] for item in lost.threads} == {LOST_NAME}
    kinds = {item.type_id: item.name for record in definitions for item in record.types}
    assert {kinds[item.type_id] for item in lost.types} == {LOST_NAME}


def test_a_lost_header_does_not_lose_the_events(tmp_path: Path) -> None:
    trace = trace_of_batches()
    path = write_log(tmp_path / "a.tkt", trace, seed=4)
    damaged(path, Header)
    copy = tmp_path / "b.tkt"
    recovery = recover(path, copy)
    assert recovery.events_kept == len(trace.events)
    with LogReader(copy) as log:
        assert log.header.engine == "unknown"
        assert not any(msgspec.structs.astuple(log.header.capabilities))
        assert log.footer is not None
        assert log.footer.totals == trace.totals()
    assert verify(copy).problems == []


def test_a_lost_detail_leaves_its_event_bare(tmp_path: Path) -> None:
    trace = trace_of_batches()
    path = write_log(tmp_path / "a.tkt", trace, seed=4)
    _, mark = damaged(path, Mark, 2)
    assert isinstance(mark, Mark)
    copy = tmp_path / "b.tkt"
    assert recover(path, copy).events_kept == len(trace.events)
    assert verify(copy).problems == []
    lines = [msgspec.json.decode(line, type=DumpRecord) for line in dump(copy)]
    bare = [record for record in lines if isinstance(record, BareEvent)]
    assert [(record.seq, record.kind, record.time_ns) for record in bare] == [
        (mark.seq, "mark", mark.time_ns)
    ]


def test_the_target_is_not_replaced_without_force(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.tkt", random_trace(1, 50))
    target = tmp_path / "b.tkt"
    target.write_text("mine")
    with pytest.raises(OutputExistsError, match="--force"):
        recover(path, target)
    assert target.read_text() == "mine"
    recover(path, target, force=True)
    assert verify(target).ok
    assert sorted(tmp_path.iterdir()) == [path, target]


@pytest.mark.parametrize("force", [False, True])
def test_the_source_is_never_the_target(tmp_path: Path, force: bool) -> None:
    path = write_log(tmp_path / "a.tkt", random_trace(1, 50))
    link = tmp_path / "b.tkt"
    link.symlink_to(path)
    before = path.read_bytes()
    for target in (path, link):
        with pytest.raises(OutputExistsError, match="is the log to recover"):
            recover(path, target, force=force)
    assert path.read_bytes() == before
    assert link.is_symlink()


def test_targets_that_cannot_be_written(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.tkt", random_trace(1, 50))
    for target in (tmp_path, tmp_path / "no" / "folder.tkt", path / "x.tkt", tmp_path / ("x" * 300)):
        with pytest.raises(OutputUnwritableError):
            recover(path, target, force=True)
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    path = write_log(tmp_path / "a.tkt", random_trace(1, 500))
    target = tmp_path / "b.tkt"
    target.write_text("mine")
    with file_size_limit(2000), pytest.raises(OutputUnwritableError, match="too large"):
        recover(path, target, force=True)
    assert target.read_text() == "mine"
    assert sorted(tmp_path.iterdir()) == [path, target]


def test_sources_with_nothing_in_them(tmp_path: Path) -> None:
    path = tmp_path / "a.tkt"
    path.write_bytes(pack_prelude())
    with pytest.raises(NotALogError, match="nothing can be recovered"):
        recover(path, tmp_path / "b.tkt")
    with pytest.raises(FileMissingError):
        recover(tmp_path / "no.tkt", tmp_path / "b.tkt")
    assert list(tmp_path.iterdir()) == [path]


def test_a_free_that_was_lost_may_have_ended_what_a_realloc_replaces(tmp_path: Path) -> None:
    """Event 2, the free, is missing; or it is there and was none."""
    problems = {}
    for missing in (True, False):
        path = tmp_path / f"{missing}.tkt"
        born, moved = empty_columns(0, 2 if missing else 3), empty_columns(3, 1)
        born.address[:] = 4096 + 16 * np.arange(len(born))
        moved.address[:], moved.alloc_seq[:] = 8192, 1
        with LogWriter(path.open("wb"), unknown_header()) as writer:
            writer.write_events(born)
            writer.write(Notice(LOST, 1, 0, "lost"))
            writer.write_events(moved)
        problems[missing] = [problem.partition(": ")[2] for problem in verify(path).problems]
    assert problems[True] == []
    assert problems[False] == ["event 3 replaces the block of event 1, which is still alive"]


def test_call_paths_of_marks_keep_their_mark_when_the_paths_are_lost(tmp_path: Path) -> None:
    build = TraceBuilder()
    stack = build.stack(("a.py", "f", 1))
    build.source_line(1, 1, "f()")
    build.older_pool(0x1000, 16, 5)
    build.mark("where", stacks={1: stack})
    path = write_log(tmp_path / "a.tkt", build.finish(), seed=None)
    damaged(path, Definitions)
    recover(path, tmp_path / "b.tkt")
    assert verify(tmp_path / "b.tkt").problems == []
    with LogReader(tmp_path / "b.tkt") as log:
        marks = [record for _, record in log.records() if isinstance(record, Mark)]
    assert [mark.stacks for mark in marks if mark.name == "where"] == [[ThreadStack(1, stack)]]


def test_whole_definitions_are_kept(tmp_path: Path) -> None:
    build = TraceBuilder()
    build.stack(("a.py", "f", 1))
    build.source_line(1, 1, "f()")
    build.older_pool(0x1000, 16, 5)
    build.older_arena(0x1000)
    build.set_collector(enabled=False)
    path = write_log(tmp_path / "a.tkt", build.finish(), seed=None)
    recover(path, tmp_path / "b.tkt")
    with LogReader(tmp_path / "b.tkt") as log:
        found = [record for _, record in log.records() if isinstance(record, Definitions)]
    assert [record.lines for record in found if record.lines] == [[SourceLine(1, 1, "f()")]]
    assert [record.older_pools for record in found if record.older_pools] == [[OlderPool(0x1000, 16, b"\5")]]
    assert [record.gc_settings for record in found if record.gc_settings] == [build.trace.settings]
    assert len(build.trace.settings) == 1
    assert [record.older_arenas for record in found if record.older_arenas] == [[OlderArena(0x1000, 1 << 20)]]
