"""The writer: what it splits, what it does when the disk refuses, what is left when it stops."""

from __future__ import annotations

from pathlib import Path

import pytest
from log_support import file_size_limit
from traces import TraceBuilder, random_trace, sample_header, write_log

from tracekit.events import Code, Definitions, EventBatch, Stack, Thread
from tracekit.log import columns as columns_module
from tracekit.log import verify as verify_module
from tracekit.log import writer as writer_module
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.verify import verify
from tracekit.log.writer import LogWriter


def test_a_record_that_the_disk_refuses_leaves_no_torn_one(tmp_path: Path) -> None:
    trace = random_trace(3, 400)
    path = tmp_path / "full.tkt"
    with LogWriter(path.open("wb"), trace.header) as writer:
        writer.write(Definitions(threads=trace.threads, types=trace.types))
        writer.write(Definitions(codes=trace.codes, stacks=trace.stacks))
        before = writer.bytes_written
        with file_size_limit(before + 100), pytest.raises(OSError, match="too large"):
            writer.write_events(trace.columns())
        assert path.stat().st_size == writer.bytes_written == before
        for event in trace.events:
            if not hasattr(event, "size") and not hasattr(event, "cause"):
                writer.write(event)
        writer.write_events(trace.columns())  # there is room again
        writer.close(trace.totals(), complete=True, exit_status=0)
    assert verify(path).problems == []


def test_a_writer_that_is_left_leaves_a_log_without_a_footer(tmp_path: Path) -> None:
    path = tmp_path / "left.tkt"
    with pytest.raises(KeyboardInterrupt), LogWriter(path.open("wb"), sample_header()) as writer:
        writer.write(Definitions(threads=[Thread(1, "main")]))
        raise KeyboardInterrupt
    with LogReader(path) as log:
        assert log.footer is None
        assert len(list(log.records())) == 2


def test_every_record_is_there_at_once(tmp_path: Path) -> None:
    """Nothing waits in a buffer that a killed process would take with it."""
    path = tmp_path / "now.tkt"
    with LogWriter(path.open("wb"), sample_header()) as writer:
        assert path.stat().st_size == writer.bytes_written > 0
        writer.write(Definitions(threads=[Thread(1, "main")]))
        assert path.stat().st_size == writer.bytes_written
        with LogReader(path) as log:
            assert len(list(log.records())) == 2


def test_long_definitions_are_split_in_an_order_that_reads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "MAX_DEFINITIONS", 3)
    path = tmp_path / "split.tkt"
    threads = [Thread(n, f"t{n}") for n in range(1, 5)]
    codes = [Code(n, "a.py", f"f{n}", n, 100) for n in range(1, 9)]
    stacks = [Stack(n, n - 1, 1 + n % 8, n) for n in range(1, 8)]
    with LogWriter(path.open("wb"), sample_header()) as writer:
        writer.write(Definitions(threads=threads, codes=codes, stacks=stacks))
    with LogReader(path) as log:
        parts = [record for _, record in log.decoded() if isinstance(record, Definitions)]
    assert [item for part in parts for item in part.threads] == threads
    assert [item for part in parts for item in part.codes] == codes
    assert [item for part in parts for item in part.stacks] == stacks
    assert max(len(items) for part in parts for items in (part.threads, part.codes, part.stacks)) == 3


def test_too_many_events_become_several_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "MAX_BATCH_EVENTS", 7)
    trace = random_trace(5, 50)
    path = write_log(tmp_path / "many.tkt", trace, seed=None)
    with LogReader(path) as log:
        sizes = [record.count for _, record in log.records() if isinstance(record, EventBatch)]
        assert sum(sizes) == len(trace.events)
        assert max(sizes) == 7
        assert sum(len(batch) for batch in log.events()) == len(trace.events)
    assert columns_module.MAX_BATCH_EVENTS == 1 << 20


@pytest.mark.parametrize("batches", [1, 4, 5, 8, 9, 16, 17, 40])
def test_a_long_index_is_thinned_and_still_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batches: int
) -> None:
    monkeypatch.setattr(writer_module, "MAX_INDEX_ENTRIES", 4)
    monkeypatch.setattr(verify_module, "MAX_INDEX_ENTRIES", 4)
    build = TraceBuilder()
    for _ in range(batches - 1):
        build.allocate(10)
    trace = build.finish(complete=False)
    path = tmp_path / "thin.tkt"
    with LogWriter(path.open("wb"), trace.header) as writer:
        writer.write(Definitions(threads=trace.threads))
        writer.write(trace.marks[0])
        for row in range(batches):
            writer.write_events(trace.columns(row, row + 1))
        writer.close(trace.totals(), complete=False, exit_status=0)
    with LogReader(path) as log:
        assert log.footer is not None
        firsts = [entry.first_seq for entry in log.footer.index]
    assert len(firsts) <= 4
    stride = firsts[1] if len(firsts) > 1 else 1
    assert firsts == list(range(0, batches, stride))
    assert verify(path).problems == []
    assert summarize(path).events == batches
