"""Random recordings, written and read back: everything is equal, whichever way it is read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from traces import Trace, random_trace, traces, write_log

from tracekit.events import (
    Allocation,
    Definitions,
    EventBatch,
    Footer,
    Header,
    IndexEntry,
    Mark,
    MemorySample,
    Notice,
)
from tracekit.log.columns import COLUMN_TYPES, decode_batch, decode_column, encode_batch, encode_column
from tracekit.log.dump import BareEvent, DumpRecord, dump
from tracekit.log.live import LiveBlocks, live_deltas
from tracekit.log.reader import LogReader
from tracekit.log.recovery import recover
from tracekit.log.summary import summarize
from tracekit.log.totals import TotalsFold
from tracekit.log.verify import verify

SEEDS = st.one_of(st.none(), st.integers(0, 10_000))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file for all examples, which each of them writes anew."""
    return tmp_path_factory.mktemp("log") / "app.tkt"


def _definitions(records: list[Definitions], kind: str) -> list[object]:
    return [item for record in records for item in getattr(record, kind)]


@given(trace=traces(), seed=SEEDS, closed=st.booleans())
def test_columns_details_and_definitions_come_back_equal(
    path: Path, trace: Trace, seed: int | None, closed: bool
) -> None:
    write_log(path, trace, seed=seed, closed=closed)
    with LogReader(path) as log:
        assert log.header == trace.header
        assert log.torn_bytes == 0
        records = [record for _, record in log.decoded()]
        batches = list(log.events())
    for name in COLUMN_TYPES:
        read = np.concatenate([getattr(batch, name) for batch in batches])
        np.testing.assert_array_equal(read, getattr(trace.columns(), name), err_msg=name)
    assert [seq for batch in batches for seq in batch.seq.tolist()] == list(range(len(trace.events)))
    described = [event for event in trace.events if event.__class__.__name__[:4] in ("Coll", "Mark")]
    assert [
        r for r in records if type(r).__name__ in ("CollectionStart", "CollectionStop", "Mark")
    ] == described
    defined = [record for record in records if isinstance(record, Definitions)]
    assert _definitions(defined, "threads") == trace.threads
    assert _definitions(defined, "codes") == trace.codes
    assert _definitions(defined, "stacks") == trace.stacks
    assert _definitions(defined, "types") == trace.types
    assert _definitions(defined, "gc_settings") == trace.settings
    assert [record for record in records if isinstance(record, MemorySample)] == trace.samples
    assert [record for record in records if isinstance(record, Notice)] == trace.notices


@given(trace=traces(), seed=SEEDS)
def test_the_dump_is_what_was_written(path: Path, trace: Trace, seed: int | None) -> None:
    write_log(path, trace, seed=seed)
    lines = list(dump(path))
    assert not any("\n" in line for line in lines)
    records = [msgspec.json.decode(line, type=DumpRecord) for line in lines]
    assert records[0] == trace.header
    events = [
        record
        for record in records
        if not isinstance(record, Header | Definitions | MemorySample | Notice | Footer)
    ]
    assert events == trace.events
    assert [record for record in records if isinstance(record, Notice)] == trace.notices
    defined = [record for record in records if isinstance(record, Definitions)]
    assert _definitions(defined, "gc_settings") == trace.settings
    assert [record for record in records if isinstance(record, MemorySample)] == trace.samples
    footer = records[-1]
    assert isinstance(footer, Footer)
    assert footer.totals == trace.totals()
    assert (footer.complete, footer.exit_status) == (trace.complete, trace.exit_status)
    assert not any(isinstance(record, BareEvent) for record in records)


@given(trace=traces(), seed=SEEDS)
def test_the_index_points_to_the_batches(path: Path, trace: Trace, seed: int | None) -> None:
    write_log(path, trace, seed=seed)
    with LogReader(path) as log:
        batches = [(offset, record) for offset, record in log.records() if isinstance(record, EventBatch)]
        assert log.footer is not None
        assert log.footer.index == [
            IndexEntry(offset, batch.first_seq, batch.count, batch.first_time_ns, batch.last_time_ns)
            for offset, batch in batches
        ]


@given(trace=traces(), seed=SEEDS)
def test_the_fold_and_the_footer_agree(path: Path, trace: Trace, seed: int | None) -> None:
    closed = summarize(write_log(path, trace, seed=seed))
    fold = summarize(write_log(path, trace, seed=seed, closed=False))
    differ = {"closed", "exit_status", "log_bytes", "bytes_per_event"}
    for name in closed.__struct_fields__:
        if name not in differ:
            assert getattr(closed, name) == getattr(fold, name), name
    assert closed.closed
    assert not fold.closed
    assert closed.exit_status == trace.exit_status
    assert [(mark.name, mark.seq) for mark in closed.marks] == [(mark.name, mark.seq) for mark in trace.marks]
    assert closed.threads == len(trace.threads)
    assert closed.stacks == len(trace.stacks)


@given(trace=traces(), seed=SEEDS, closed=st.booleans())
def test_sound_logs_pass_verify_and_survive_recovery(
    path: Path, trace: Trace, seed: int | None, closed: bool
) -> None:
    write_log(path, trace, seed=seed, closed=closed)
    found = verify(path)
    assert (found.problems, found.ok) == ([], True)
    assert (found.events, found.complete, found.closed) == (len(trace.events), trace.complete, closed)
    copy = path.with_name("copy.tkt")
    recovery = recover(path, copy, force=True)
    assert (recovery.losses, recovery.bytes_lost) == ([], 0)
    assert recovery.events_kept == len(trace.events)
    with LogReader(path) as before, LogReader(copy) as after:
        assert after.footer is not None
        assert after.footer.totals == trace.totals()
        for one, other in zip(before.events(), after.events(), strict=True):
            for name in COLUMN_TYPES:
                np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
    assert verify(copy).ok


@given(trace=traces(), seed=SEEDS)
def test_the_live_set_is_the_naive_fold(path: Path, trace: Trace, seed: int | None) -> None:
    write_log(path, trace, seed=seed)
    live = LiveBlocks()
    with LogReader(path) as log:
        for batch in log.events():
            before = (live.live_bytes, len(live))
            died = live.apply(batch)
            sizes, blocks = live_deltas(batch, died)
            for row in range(len(batch)):
                expected = trace.live_at(batch.first_seq + row)
                assert before[0] + sizes[: row + 1].sum() == sum(block.size for block in expected.values())
                assert before[1] + blocks[: row + 1].sum() == len(expected)
            expected = trace.live_at(batch.first_seq + len(batch) - 1)
            assert live.columns["alloc_seq"].tolist() == list(expected)
            assert live.columns["size"].tolist() == [block.size for block in expected.values()]
            for row, matched in zip(died.rows.tolist(), died.matched.tolist(), strict=True):
                assert matched == (batch.alloc_seq[row] >= 0)
            ended = [trace.events[seq] for seq in died.block["alloc_seq"][died.matched].tolist()]
            assert all(isinstance(block, Allocation) for block in ended)


INT64 = hnp.arrays(np.int64, st.integers(0, 300), elements=st.integers(-(2**63), 2**63 - 1))
SMALL = hnp.arrays(np.int64, st.integers(0, 300), elements=st.integers(-3, 300))


@given(values=st.one_of(INT64, SMALL), delta=st.booleans())
def test_every_column_of_integers_comes_back_equal(values: np.ndarray, delta: bool) -> None:
    column = encode_column(values, delta=delta)
    np.testing.assert_array_equal(decode_column("x", column, len(values)), values)
    assert column.width in (1, 2, 4, 8)


@pytest.mark.parametrize("width", [1, 2, 4, 8])
def test_values_at_the_edge_of_a_width(width: int) -> None:
    top = min(2 ** (8 * width), 2**63) - 1
    for values in ([0, top], [top, 0, top]):
        column = encode_column(np.array(values, np.int64))
        assert (column.coding, column.width) == ("plain", width)
        assert len(column.data) == width * len(values)
        assert decode_column("x", column, len(values)).tolist() == values


@settings(max_examples=examples(20))
@given(trace=traces(max_events=30))
def test_a_batch_is_its_own_inverse(trace: Trace) -> None:
    columns = trace.columns()
    again = decode_batch(encode_batch(columns))
    assert again.first_seq == columns.first_seq
    for name in COLUMN_TYPES:
        np.testing.assert_array_equal(getattr(again, name), getattr(columns, name))
        assert getattr(again, name).dtype == COLUMN_TYPES[name]


def test_a_large_recording(path: Path) -> None:
    trace = random_trace(7, 20_000)
    write_log(path, trace, seed=3)
    fold = TotalsFold()
    with LogReader(path) as log:
        for batch in log.events():
            fold.apply(batch)
        assert log.footer is not None
        assert fold.totals == log.footer.totals == trace.totals()
    assert verify(path).ok
    assert len([mark for mark in trace.events if isinstance(mark, Mark)]) == len(summarize(path).marks)
