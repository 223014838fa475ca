"""Logs that were cut, flipped byte by byte or damaged at random: one clean error, nothing sound is lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from effort import examples, stride
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import Trace, TraceBuilder, random_trace, traces, write_log

from tracekit.errors import LogCorruptError, NotALogError, TracekitError
from tracekit.events import EventBatch, Footer
from tracekit.log.columns import EventColumns
from tracekit.log.dump import dump
from tracekit.log.format import FRAME, PRELUDE, TRAILER
from tracekit.log.reader import LOST, LogReader
from tracekit.log.recovery import recover
from tracekit.log.summary import summarize
from tracekit.log.verify import verify


def small_trace() -> Trace:
    """A little of everything."""
    build = TraceBuilder()
    stack = build.stack(("app.py", "main", 3), ("app.py", "load", 9))
    worker = build.thread("worker")
    kind = build.type("app.Node", 48, True)
    first = build.allocate(1000, stack=stack)
    build.advance(1_000_000)
    second = build.allocate(70, stack=build.stack(("app.py", "main", 4)), thread=worker)
    build.sample(30_000_000)
    build.gc_start(1)
    build.free(second, type_id=kind)
    build.advance(500)
    build.gc_stop(collected=1)
    build.realloc(first, 5000)
    build.mark("warm")
    build.free_unknown(0x1234, thread=worker)
    build.notice("test-notice", "hello")
    build.arena()
    return build.finish()


class SmallLog:
    """A written log with the extent of its records."""

    def __init__(self, path: Path) -> None:
        self.path = write_log(path, small_trace(), seed=18)
        self.data = path.read_bytes()
        with LogReader(path) as log:
            self.records = list(log.records())
            offsets = [offset for offset, _ in self.records]
        ends = [*offsets[1:], len(self.data) - TRAILER.size]
        self.extents = list(zip(offsets, ends, strict=True))

    def number_at(self, offset: int) -> int:
        """Which record a byte belongs to."""
        return next(n for n, (start, stop) in enumerate(self.extents) if start <= offset < stop)

    def events_in(self, number: int) -> int:
        record = self.records[number][1]
        return record.count if isinstance(record, EventBatch) else 0


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallLog:
    log = SmallLog(tmp_path_factory.mktemp("small") / "small.tkt")
    assert sum(isinstance(record, EventBatch) for _, record in log.records) >= 3
    assert len(log.data) < 3000
    return log


def _events(path: Path) -> int:
    with LogReader(path) as log:
        return sum(len(batch) for batch in log.events())


def test_a_log_cut_at_every_length(small: SmallLog, tmp_path: Path) -> None:
    """It opens with its whole records, or (header not whole) is refused with one line."""
    path, copy = tmp_path / "cut.tkt", tmp_path / "copy.tkt"
    header_end = small.extents[0][1]
    footer_end = small.extents[-1][1]
    ends = {stop + near for _, stop in small.extents for near in (-1, 0, 1)}
    for length in range(len(small.data)):
        if length not in ends and length % stride(9):
            continue  # one place within a record is like another
        path.write_bytes(small.data[:length])
        if length < header_end:
            reads: list[Callable[[], object]] = [
                lambda: LogReader(path),
                lambda: summarize(path),
                lambda: verify(path),
                lambda: list(dump(path)),
                lambda: recover(path, copy),
            ]
            for read in reads:
                with pytest.raises(NotALogError) as caught:
                    read()
                assert str(path) in str(caught.value)
                assert "\n" not in str(caught.value)
            assert list(tmp_path.iterdir()) == [path]
            continue
        whole = [number for number, (_, stop) in enumerate(small.extents) if stop <= length]
        left = length - small.extents[whole[-1]][1]
        events = sum(small.events_in(number) for number in whole)
        with LogReader(path) as log:
            assert log.footer is None
            assert log.torn_bytes == left
            assert [offset for offset, _ in log.records()] == [small.extents[n][0] for n in whole]
        summary = summarize(path)
        assert (summary.events, summary.torn_bytes, summary.closed) == (events, left, False)
        found = verify(path)
        assert (found.events, found.records, found.torn_bytes) == (events, len(whole), left)
        assert not found.closed
        assert found.ok == (left == 0)
        assert len(list(dump(path))) > 0
        recovery = recover(path, copy, force=True)
        assert (recovery.events_kept, recovery.bytes_lost) == (events, left)
        assert bool(recovery.losses) == (left > 0)
        assert verify(copy).problems == []
        assert summarize(copy).closed
        assert summarize(copy).end_bytes == summary.end_bytes
        assert path.read_bytes() == small.data[:length]
    assert footer_end == len(small.data) - TRAILER.size


@pytest.mark.parametrize("bits", [0x01, 0xFF])
def test_every_byte_flipped_in_turn_is_noticed_and_named(small: SmallLog, tmp_path: Path, bits: int) -> None:
    """No byte is without a guard: the place is named and all other records are recovered."""
    path, copy = tmp_path / "flipped.tkt", tmp_path / "copy.tkt"
    footer_end = small.extents[-1][1]
    heads = {place for start, _ in small.extents for place in range(start, start + FRAME.size)}
    for offset in range(len(small.data)):
        in_records = PRELUDE.size <= offset < footer_end
        if in_records and offset % stride(2 if offset in heads else 16):
            continue  # one byte of a payload is like another, and of half of the frames this byte is tried
        if bits == 0xFF and offset % stride(3):
            continue  # what one bit does was tried everywhere
        damaged = bytearray(small.data)
        damaged[offset] ^= bits
        path.write_bytes(damaged)
        if offset < 8:
            with pytest.raises(NotALogError):
                summarize(path)
            continue
        reads: list[Callable[[], object]] = [
            lambda: summarize(path),
            lambda: list(dump(path)),
            lambda: _events(path),
        ]
        number = -1
        if offset < PRELUDE.size:
            expected, lost_events, lost_records = "prelude", 0, 0
        elif offset >= footer_end:
            expected, lost_events, lost_records = (
                f"record {len(small.extents)} at offset {footer_end}: ",
                0,
                0,
            )
        else:
            number = small.number_at(offset)
            expected = f"record {number} at offset {small.extents[number][0]}: "
            lost_events, lost_records = small.events_in(number), 1
        for read in reads:
            with pytest.raises(LogCorruptError) as caught:
                read()
            assert expected in str(caught.value)
            assert "\n" not in str(caught.value)
        found = verify(path)
        assert not found.ok
        assert expected in found.problems[0]
        assert found.records == len(small.records) - lost_records
        in_payload = number >= 0 and offset >= small.extents[number][0] + FRAME.size
        if in_payload and offset % 7:  # one byte of a payload is like another
            continue
        recovery = recover(path, copy, force=True)
        assert recovery.events_kept == sum(map(small.events_in, range(len(small.records)))) - lost_events
        assert expected in recovery.losses[0]
        again = verify(copy)
        assert again.problems == []
        assert again.closed
        summary = summarize(copy)
        assert LOST in [notice.code for notice in summary.notices]
        assert path.read_bytes() == bytes(damaged)


def _behaves(path: Path, copy: Path) -> None:
    """Whatever the file is: answers or one clean error, and a recovered log is sound."""
    reads: list[Callable[[], object]] = [
        lambda: summarize(path),
        lambda: verify(path),
        lambda: list(dump(path)),
        lambda: _events(path),
    ]
    for read in reads:
        try:
            read()
        except TracekitError as error:
            assert "\n" not in str(error)
    copy.unlink(missing_ok=True)
    try:
        recover(path, copy)
    except TracekitError:
        assert not copy.exists()
    else:
        found = verify(copy)
        assert found.problems == []
        assert _events(copy) == found.events


@settings(max_examples=examples(60))
@given(
    trace=traces(max_events=40),
    seed=st.integers(0, 100),
    edits=st.lists(
        st.tuples(
            st.sampled_from(["cut", "overwrite", "insert", "repeat"]),
            st.integers(0, 10**6),
            st.binary(max_size=40),
        ),
        min_size=1,
        max_size=4,
    ),
)
def test_logs_damaged_at_random(
    tmp_path_factory: pytest.TempPathFactory, trace: Trace, seed: int, edits: list[tuple[str, int, bytes]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    path = write_log(folder / "random.tkt", trace, seed=seed)
    data = path.read_bytes()
    for what, where, junk in edits:
        place = PRELUDE.size + where % max(1, len(data) - PRELUDE.size)
        match what:
            case "cut":
                data = data[:place] + data[place + 3 * len(junk) :]
            case "overwrite":
                data = data[:place] + junk + data[place + len(junk) :]
            case "insert":
                data = data[:place] + junk + data[place:]
            case _:
                data = data[:place] + data[place // 2 :]
    path.write_bytes(data)
    _behaves(path, folder / "random-copy.tkt")


def test_records_taken_out_swapped_and_doubled(small: SmallLog, tmp_path: Path) -> None:
    """Whole records with sound checksums in the wrong place."""
    path, copy = tmp_path / "mixed.tkt", tmp_path / "copy.tkt"
    pieces = [small.data[start:stop] for start, stop in small.extents]
    head, tail = small.data[: PRELUDE.size], small.data[-TRAILER.size :]
    count = len(pieces)
    for number in range(count):
        orders = [
            [n for n in range(count) if n != number],
            [n for n in range(count) for _ in range(1 + (n == number))],
            [*range(number), *reversed(range(number, count))],
        ]
        for order in orders:
            path.write_bytes(head + b"".join(pieces[n] for n in order) + tail)
            _behaves(path, copy)
            assert not verify(path).ok or order == list(range(count))


def test_a_damaged_frame_in_a_large_log_costs_one_record(tmp_path: Path) -> None:
    """The search for the next record passes over payloads that hold anything."""
    path, copy = tmp_path / "large.tkt", tmp_path / "copy.tkt"
    trace = random_trace(11, 5000)
    write_log(path, trace, seed=1)
    with LogReader(path) as log:
        batches = [(offset, record) for offset, record in log.records() if isinstance(record, EventBatch)]
    offset, largest = max(batches, key=lambda item: item[1].count)
    data = bytearray(path.read_bytes())
    data[offset : offset + 20] = bytes(20)
    path.write_bytes(data)
    recovery = recover(path, copy)
    assert recovery.events_kept == len(trace.events) - largest.count
    found = verify(copy)
    assert found.problems == []
    with LogReader(copy) as log:
        seen = [record for _, record in log.decoded() if isinstance(record, EventColumns)]
    after = next(batch for batch in seen if batch.first_seq >= largest.first_seq)
    assert after.first_seq == largest.first_seq + largest.count


def test_zeros_at_the_end_are_damage_not_an_endless_search(small: SmallLog, tmp_path: Path) -> None:
    """What a file system may leave after a power cut."""
    path = tmp_path / "zeros.tkt"
    path.write_bytes(small.data[: small.extents[-1][0]] + bytes(5_000_000))
    found = verify(path)
    assert len(found.problems) == 1
    assert "frame is damaged (5000000 bytes are lost)" in found.problems[0]
    assert found.events == len(small_trace().events)


def test_a_log_that_grows_while_it_is_read(small: SmallLog, tmp_path: Path) -> None:
    """The reader sees what was there when it opened the log, whole records only."""
    path = tmp_path / "growing.tkt"
    cut = small.extents[4][1] + 7
    path.write_bytes(small.data[:cut])
    with LogReader(path) as log:
        path.write_bytes(small.data)
        assert len(list(log.records())) == 5
        assert log.torn_bytes == 7
    with LogReader(path) as log:
        assert isinstance(list(log.records())[-1][1], Footer)


def test_a_log_that_shrinks_while_it_is_read(small: SmallLog, tmp_path: Path) -> None:
    path = tmp_path / "shrinking.tkt"
    path.write_bytes(small.data)
    with LogReader(path) as log:
        path.write_bytes(small.data[: small.extents[2][1] + 5])
        with pytest.raises(LogCorruptError):
            list(log.records())
