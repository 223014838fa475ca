"""What `info` knows about a log."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from traces import TraceBuilder, sample_header, write_log

from tracekit.errors import LogCorruptError
from tracekit.events import Definitions, EventBatch, Thread, Totals
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.totals import TotalsFold
from tracekit.log.writer import LogWriter


def _log(path: Path, *, closed: bool) -> Path:
    build = TraceBuilder()
    build.advance(1_500_000_000)
    block = build.allocate(1000)
    build.sample(50_000)
    other = build.allocate(500)
    build.sample(40_000)
    build.mark("warm")
    build.free(block)
    build.free_unknown(64)
    build.gc_start(2)
    build.gc_stop()
    build.notice("test-notice", "look here")
    build.free(other)
    return write_log(path, build.finish(exit_status=-9), seed=2, closed=closed)


@pytest.mark.parametrize("closed", [True, False])
def test_a_summary(tmp_path: Path, closed: bool) -> None:
    path = _log(tmp_path / "a.tkt", closed=closed)
    summary = summarize(path)
    assert (summary.events, summary.allocations, summary.frees, summary.unmatched_frees) == (10, 2, 3, 1)
    assert (summary.peak_bytes, summary.peak_blocks, summary.peak_seq) == (1500, 2, 2)
    assert (summary.end_bytes, summary.end_blocks, summary.allocated_bytes) == (0, 0, 1500)
    assert (summary.gc_collections, summary.duration_s, summary.max_rss_bytes) == (1, 1.5, 50_000)
    assert [(mark.name, mark.seq, mark.time_s) for mark in summary.marks] == [
        ("start", 0, 0.0),
        ("warm", 3, 1.5),
        ("end", 9, 1.5),
    ]
    assert [(notice.code, notice.text) for notice in summary.notices] == [("test-notice", "look here")]
    assert (summary.engine, summary.python, summary.pid) == ("native", "3.11.7", 4711)
    assert summary.started_at == "2023-11-14T22:13:20.000+00:00"
    assert summary.complete
    assert (summary.closed, summary.exit_status) == ((True, -9) if closed else (False, None))
    assert summary.log_bytes == path.stat().st_size
    assert summary.bytes_per_event == summary.log_bytes / 10
    assert msgspec.json.decode(msgspec.json.encode(summary))["capabilities"]["exact_order"] is True


def test_a_summary_with_a_footer_decodes_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _log(tmp_path / "a.tkt", closed=True)
    with LogReader(path) as log:
        kinds = [type(record) for _, record in log.records(batches=False)]
    assert EventBatch not in kinds
    monkeypatch.setattr(TotalsFold, "apply", None)
    assert summarize(path).events == 10


def test_a_summary_with_a_footer_still_tests_every_checksum(tmp_path: Path) -> None:
    path = _log(tmp_path / "a.tkt", closed=True)
    with LogReader(path) as log:
        offset = next(offset for offset, record in log.records() if isinstance(record, EventBatch))
    data = bytearray(path.read_bytes())
    data[offset + 40] ^= 1
    path.write_bytes(data)
    with pytest.raises(LogCorruptError, match=f"offset {offset}: its checksum does not match"):
        summarize(path)


def test_a_log_that_has_only_begun(tmp_path: Path) -> None:
    path = tmp_path / "a.tkt"
    with LogWriter(path.open("wb"), sample_header()) as writer:
        writer.write(Definitions(threads=[Thread(0, "<unknown>"), Thread(1, "MainThread")]))
    summary = summarize(path)
    assert (summary.events, summary.peak_seq, summary.bytes_per_event) == (0, -1, 0.0)
    assert (summary.complete, summary.threads, summary.max_rss_bytes) == (False, 1, None)


def test_the_peak_of_a_program_that_allocates_nothing() -> None:
    build = TraceBuilder()
    build.free_unknown(16)
    trace = build.finish()
    fold = TotalsFold()
    assert fold.totals == Totals()
    fold.apply(trace.columns())
    assert fold.totals == trace.totals()
    assert (fold.totals.peak_seq, fold.totals.peak_bytes) == (0, 0)


def test_the_peak_is_the_first_of_equals_across_batches() -> None:
    build = TraceBuilder()
    for _ in range(3):
        build.free(build.allocate(100))
    trace = build.finish()
    for cut in range(1, len(trace.events)):
        fold = TotalsFold()
        fold.apply(trace.columns(0, cut))
        fold.apply(trace.columns(cut))
        assert (fold.totals.peak_bytes, fold.totals.peak_blocks, fold.totals.peak_seq) == (100, 1, 1)
