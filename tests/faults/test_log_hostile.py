"""Logs made by hand to hurt: every checksum is right, what it guards is not."""

from __future__ import annotations

import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import numpy as np
import pytest
from traces import TraceBuilder, sample_header, write_log

from tracekit.errors import LogCorruptError
from tracekit.events import (
    Code,
    CollectionStart,
    CollectionStop,
    Column,
    Definitions,
    EventBatch,
    EventKind,
    Footer,
    IndexEntry,
    LogRecord,
    Mark,
    Stack,
    Totals,
    TypeDefinition,
)
from tracekit.log.columns import MAX_BATCH_EVENTS, empty_columns, encode_column, encode_plainly
from tracekit.log.dump import dump
from tracekit.log.format import (
    FRAME,
    MAX_RAW_BYTES,
    MAX_STORED_BYTES,
    PLAIN,
    PRELUDE,
    ZSTD,
    pack_frame,
    pack_payload,
    pack_prelude,
    pack_record,
    pack_trailer,
)
from tracekit.log.reader import LogReader
from tracekit.log.recovery import recover
from tracekit.log.summary import summarize
from tracekit.log.verify import verify

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

Piece = LogRecord | bytes
HEADER = pack_prelude() + pack_record(sample_header())


def log_of(path: Path, *pieces: Piece, begin: bytes = HEADER) -> Path:
    """A log whose header is fine and whose other records are given (bytes: as they are)."""
    path.write_bytes(begin + b"".join(p if isinstance(p, bytes) else pack_record(p) for p in pieces))
    return path


def raw(value: object) -> bytes:
    """A record of any value, behind a sound frame."""
    return pack_payload(msgspec.msgpack.encode(value))


def batch(first_seq: int = 0, count: int = 2, **columns: Column | None) -> EventBatch:
    """A batch of allocations at addresses 16 apart; ``columns`` replaces columns (None: leaves one out)."""
    rows = empty_columns(first_seq, count)
    rows.address[:] = 4096 + 16 * np.arange(count)
    rows.size[:] = 16
    sound = encode_plainly(rows)
    return msgspec.structs.replace(
        sound, columns={k: v for k, v in {**sound.columns, **columns}.items() if v is not None}
    )


def column(*values: int, delta: bool = False) -> Column:
    return encode_column(np.array(values, np.int64), delta=delta)


def changed(record: EventBatch, **fields: Any) -> EventBatch:
    return msgspec.structs.replace(record, **fields)


def events(kind: EventKind, first_seq: int = 0, count: int = 1) -> EventBatch:
    rows = empty_columns(first_seq, count)
    rows.kind[:] = kind
    return encode_plainly(rows)


def mark(seq: int, thread: int = 0) -> Mark:
    return Mark("m", seq, 0, thread)


def start(gc_id: int, seq: int) -> CollectionStart:
    return CollectionStart(gc_id, seq, 0, 0, 0, (0, 0, 0), (0, 0, 0))


def free_lists(value: object, record: LogRecord | None = None) -> bytes:
    """A collection with any value in place of its free lists."""
    return raw({**msgspec.to_builtins(record or start(0, 0)), "free_lists": value})


CODE = Code(1, "a.py", "f", 1, 100)
BOMB = zstd.compress(bytes(1 << 28), 3)

DOES_NOT_DECODE: dict[str, bytes] = {
    "not msgpack": pack_payload(b"\xc1" * 30),
    "an array": raw([1, 2, 3]),
    "no tag": raw({"seq": 1}),
    "an unknown tag": raw({"type": "surprise"}),
    "a tag that is a number": raw({"type": 7}),
    "a text where a number belongs": raw({"type": "memory", "time_ns": "x", "seq": 0, "rss_bytes": 0}),
    "a field is missing": raw({"type": "memory", "time_ns": 0, "seq": 0}),
    "a negative size": raw({"type": "memory", "time_ns": 0, "seq": 0, "rss_bytes": -1}),
    "a time beyond 64 bits": raw({"type": "memory", "time_ns": 2**64 - 1, "seq": 0, "rss_bytes": 0}),
    "a negative seq": raw({"type": "mark", "name": "x", "seq": -1, "time_ns": 0, "thread_id": 0}),
    "a huge thread": raw({"type": "mark", "name": "x", "seq": 0, "time_ns": 0, "thread_id": 2**31}),
    "a name that is not UTF-8": pack_payload(msgspec.msgpack.encode(mark(0)).replace(b"\xa1m", b"\xa1\xff")),
    "bytes after the record": pack_payload(msgspec.msgpack.encode(mark(0)) + b"\xc0"),
    "a list that claims 2^32 entries": pack_payload(
        b"\x82\xa4type\xabdefinitions\xa7threads\xdd\xff\xff\xff\xff"
    ),
    "more definitions than a record may hold": raw(
        {"type": "definitions", "threads": [[1, "x"]] * 1_048_577}
    ),
    **{f"{length} free lists": free_lists([0] * length) for length in (0, 21, 23, 100_000)},
    "free lists that are a text": free_lists("0" * 24),
    "a free list with less than nothing": free_lists([0] * 21 + [-1]),
    "a free list beyond 32 bits": free_lists([2**32] + [0] * 21),
    "free lists behind a collection": free_lists([0] * 23, CollectionStop(0, 0, 0, 0, 0, 0)),
    "nested without end": pack_payload(b"\x82\xa4type\xa6memory\xa1x" + b"\x91" * 100_000 + b"\xc0"),
    "a huge stack number": raw({"type": "definitions", "stacks": [[2**40, 0, 1, 1]]}),
    "a huge line": raw({"type": "definitions", "stacks": [[1, 0, 1, 2**31]]}),
}

BROKEN_FRAMES: dict[str, bytes] = {
    "a payload larger than is possible": FRAME.pack(MAX_STORED_BYTES + 1, 10, PLAIN, 0, 0, 0, 0),
    "a record larger than is possible": FRAME.pack(5, MAX_RAW_BYTES + 1, ZSTD, 0, 0, 0, 0),
    "an empty payload": FRAME.pack(0, 10, PLAIN, 0, 0, 0, 0),
    "an empty record": FRAME.pack(10, 0, PLAIN, 0, 0, 0, 0),
    "an unknown encoding": FRAME.pack(5, 5, 2, 0, 0, 0, 0),
    "a reserved byte": FRAME.pack(5, 5, PLAIN, 1, 0, 0, 0),
    "reserved bytes": FRAME.pack(5, 5, PLAIN, 0, 1, 0, 0),
}

PAYLOADS: dict[str, tuple[bytes, str]] = {
    "a bomb that announces little": (pack_frame(BOMB, 1000, ZSTD) + BOMB, "announces 1000"),
    "less than it announces": (pack_frame(b"abc", 7, PLAIN) + b"abc", "announces 7"),
    "more than it announces": (pack_frame(b"abc", 2, PLAIN) + b"abc", "announces 2"),
    "not zstd": (pack_frame(b"abc", 3, ZSTD) + b"abc", "does not decompress"),
    "zstd without its end": (pack_frame(BOMB[:-3], 1 << 26, ZSTD) + BOMB[:-3], "announces"),
    "half a zstd frame": (
        pack_frame(zstd.compress(b"x" * 100)[:-2], 100, ZSTD) + zstd.compress(b"x" * 100)[:-2],
        "does not decompress",
    ),
    "bytes after the zstd frame": (
        pack_frame(zstd.compress(b"x" * 100) + b"?", 100, ZSTD) + zstd.compress(b"x" * 100) + b"?",
        "bytes follow its end",
    ),
}

BATCHES: dict[str, tuple[EventBatch, str]] = {
    "no events": (changed(batch(), count=0), "0 events"),
    "too many events": (changed(batch(), count=MAX_BATCH_EVENTS + 1), "1048577 events"),
    "2^63 events": (changed(batch(), count=2**63 - 1), "9223372036854775807 events"),
    "numbers beyond 64 bits": (changed(batch(), first_seq=2**63 - 1), "begins with event"),
    "more events than its columns": (changed(batch(), count=3), "where 3 values"),
    "a column is missing": (batch(size=None), "without the column 'size'"),
    "an unknown coding": (batch(size=Column("magic", 1, b"ab")), "unknown coding 'magic'"),
    "a width that is none": (batch(address=Column("plain", 3, b"abcdef")), "'address' holds"),
    "a width of zero": (batch(address=Column("plain", 0, b"")), "'address' holds"),
    "too few bytes": (batch(address=Column("plain", 4, b"abc")), "'address' holds 3 bytes"),
    "a constant of no bytes": (batch(size=Column("const", 8, b"")), "constant of 0 bytes"),
    "a constant of another width": (batch(size=Column("const", 1, b"a")), "constant of 1 bytes"),
    "an unknown kind": (batch(kind=column(0, 7)), "'kind' holds a value outside 0..6"),
    "an unknown domain": (batch(domain=column(0, 6)), "'domain' holds a value outside 0..5"),
    "a negative time": (batch(time_ns=column(-1, 0, delta=True)), "'time_ns' holds a value outside"),
    "a negative size": (batch(size=column(-1, 5)), "'size' holds a value outside"),
    "an unsigned size beyond 63 bits": (
        batch(size=Column("plain", 8, b"\xff" * 16)),
        "'size' holds a value outside",
    ),
    "a stack beyond 31 bits": (batch(stack_id=column(0, 2**31)), "'stack_id' holds a value outside"),
    "a link to before the beginning": (batch(distance=column(0, 2)), "before the first event"),
    "sizes that overflow": (batch(size=column(2**62, 2**62 + 1)), "more than any memory"),
    "other times than it says": (changed(batch(), last_time_ns=5), "times are not the ones it announces"),
    "not the first event": (batch(first_seq=1), "begins with event 1, but 0 belongs there"),
    "an undefined thread": (batch(thread_id=column(0, 9)), "thread 9, which is not defined"),
    "an undefined stack": (batch(stack_id=column(0, 3)), "stack 3, which is not defined"),
    "an undefined type": (
        changed(events(EventKind.FREE), columns={**events(EventKind.FREE).columns, "type_id": column(4)}),
        "type 4, which is not defined",
    ),
    "an unknown cause": (
        changed(events(EventKind.FREE), columns={**events(EventKind.FREE).columns, "cause": column(4)}),
        "'cause' holds a value outside 0..3",
    ),
}

RULES: dict[str, tuple[list[LogRecord], str]] = {
    "code defined twice": ([Definitions(codes=[CODE]), Definitions(codes=[CODE])], "code 1 is defined twice"),
    "type 0": ([Definitions(types=[TypeDefinition(0, "x", 1, False)])], "type 0 is defined"),
    "stack 0": ([Definitions(codes=[CODE], stacks=[Stack(0, 0, 1, 1)])], "stack 0 is defined"),
    "a stack that is its own parent": (
        [Definitions(codes=[CODE], stacks=[Stack(1, 1, 1, 1)])],
        "stack 1 has the parent 1, which is not before it",
    ),
    "a parent that comes later": (
        [Definitions(codes=[CODE], stacks=[Stack(1, 2, 1, 1), Stack(2, 0, 1, 1)])],
        "stack 1 has the parent 2, which is not before it",
    ),
    "a parent that does not exist": (
        [Definitions(codes=[CODE], stacks=[Stack(9, 4, 1, 1)])],
        "stack 9 refers to parent 4, which is not defined",
    ),
    "a code that does not exist": ([Definitions(stacks=[Stack(1, 0, 1, 1)])], "refers to code 1"),
    "code 0": ([Definitions(stacks=[Stack(1, 0, 0, 1)])], "refers to code 0"),
    "a gap in the events": ([batch(0), batch(3)], "begins with event 3, but 2 belongs there"),
    "events twice": ([batch(0), batch(0)], "begins with event 0, but 2 belongs there"),
    "a mark without its detail": ([events(EventKind.MARK)], "event 0 (mark) has no detail"),
    "a detail of another kind": (
        [start(0, 0), events(EventKind.MARK)],
        "event 0 (mark) has no detail of its kind",
    ),
    "a detail of an allocation": ([mark(1), batch()], "describes event 1, which is of another kind"),
    "two details of one event": ([mark(0), mark(0), events(EventKind.MARK)], "a second detail (mark)"),
    "a detail of what has passed": ([batch(), mark(1)], "describes event 1, which has passed"),
    "a detail of an undefined thread": ([mark(0, thread=3), events(EventKind.MARK)], "thread 3"),
    "a collection that only stops": (
        [CollectionStop(5, 0, 0, 0, 0, 0), events(EventKind.GC_STOP)],
        "collection 5 stops at event 0 but was not running",
    ),
    "a collection that starts twice": (
        [start(0, 0), start(0, 1), events(EventKind.GC_START, 0, 2)],
        "collection 0 starts a second time at event 1",
    ),
    "a second header": ([sample_header()], "it is a second header"),
}


def _all_reads(path: Path) -> list[Callable[[], object]]:
    return [lambda: list(dump(path)), lambda: summarize(path), lambda: count_events(path)]


def count_events(path: Path) -> int:
    with LogReader(path) as log:
        return sum(len(batch) for batch in log.events())


def refused(path: Path, expected: str) -> None:
    """Reading fails with one line that names the place, verify lists it, recover leaves a sound log."""
    for read in _all_reads(path):
        with pytest.raises(LogCorruptError) as caught:
            read()
        assert expected in str(caught.value)
        assert " at offset " in str(caught.value)
        assert "\n" not in str(caught.value)
    found = verify(path)
    assert any(expected in problem for problem in found.problems), found.problems
    copy = path.with_name("copy.tkt")
    before = path.read_bytes()
    recovery = recover(path, copy)
    assert recovery.losses
    assert verify(copy).problems == []
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", DOES_NOT_DECODE)
def test_records_that_are_not_what_they_should_be(tmp_path: Path, name: str) -> None:
    refused(
        log_of(tmp_path / "x.tkt", DOES_NOT_DECODE[name]),
        f"record 1 at offset {len(HEADER)}: it does not decode",
    )


@pytest.mark.parametrize("value", [[], [0] * 23, [0] * 25, [-1] * 24, [2**32] * 24, 7])
def test_a_header_with_wrong_free_lists(tmp_path: Path, value: object) -> None:
    header = msgspec.to_builtins(sample_header())
    header["collector"]["free_lists"] = value
    path = log_of(tmp_path / "x.tkt", begin=pack_prelude() + raw(header))
    with pytest.raises(LogCorruptError, match="record 0 at offset 16: it does not decode"):
        LogReader(path)


@pytest.mark.parametrize("name", BROKEN_FRAMES)
def test_frames_that_promise_what_cannot_be(tmp_path: Path, name: str) -> None:
    head = BROKEN_FRAMES[name][:-4]
    frame = head + crc32(head).to_bytes(4, "little") + b"x" * 64
    refused(log_of(tmp_path / "x.tkt", frame), f"record 1 at offset {len(HEADER)}: its frame is damaged")


@pytest.mark.parametrize("name", PAYLOADS)
def test_payloads_that_lie_about_their_size(tmp_path: Path, name: str) -> None:
    data, expected = PAYLOADS[name]
    refused(log_of(tmp_path / "x.tkt", data), expected)


def test_a_bomb_takes_no_more_memory_than_it_announces(tmp_path: Path) -> None:
    """256 MB that claim to be 1000 bytes; zstd's own buffers are not counted, its output is."""
    path = log_of(tmp_path / "bomb.tkt", pack_frame(BOMB, 1000, ZSTD) + BOMB)
    tracemalloc.start()
    with pytest.raises(LogCorruptError, match="announces 1000"):
        summarize(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("name", BATCHES)
def test_batches_that_no_program_can_have_made(tmp_path: Path, name: str) -> None:
    record, expected = BATCHES[name]
    refused(log_of(tmp_path / "x.tkt", record), expected)


def test_a_huge_count_allocates_nothing(tmp_path: Path) -> None:
    path = log_of(tmp_path / "x.tkt", changed(batch(), count=2**40))
    tracemalloc.start()
    with pytest.raises(LogCorruptError):
        summarize(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000


@pytest.mark.parametrize("name", RULES)
def test_records_that_contradict_each_other(tmp_path: Path, name: str) -> None:
    records, expected = RULES[name]
    refused(log_of(tmp_path / "x.tkt", *records), expected)


def test_live_blocks_that_overflow(tmp_path: Path) -> None:
    """Each batch is possible, together they are more than 2^62 bytes."""
    huge = [batch(2 * n, 2, size=column(2**60, 2**60)) for n in range(4)]
    path = log_of(tmp_path / "x.tkt", *huge)
    with pytest.raises(LogCorruptError, match="more than any memory"):
        summarize(path)
    assert any("more than any memory" in problem for problem in verify(path).problems)
    recover(path, tmp_path / "copy.tkt")
    assert verify(tmp_path / "copy.tkt").ok


def test_a_detail_without_its_batch_never_comes(tmp_path: Path) -> None:
    """A writer that died between the two leaves no fault."""
    path = log_of(tmp_path / "x.tkt", mark(0), events(EventKind.MARK), batch(1), mark(3), start(0, 4))
    with LogReader(path) as log:
        records = [record for _, record in log.decoded()]
    assert [record.seq for record in records if isinstance(record, Mark)] == [0]
    assert not any(isinstance(record, CollectionStart) for record in records)
    assert [mark.seq for mark in summarize(path).marks] == [0]
    assert verify(path).ok
    assert len(list(dump(path))) == 1 + 3
    recover(path, tmp_path / "copy.tkt")
    assert verify(tmp_path / "copy.tkt").ok


def _footer(index: list[IndexEntry], **totals: int) -> Footer:
    return Footer(Totals(**totals), False, None, index)


def test_an_index_that_is_nonsense(tmp_path: Path) -> None:
    """It is a help for readers and never believed: only what it names as a batch can be passed over."""
    sound = batch()
    totals = {"events": 2, "allocations": 2, "allocated_bytes": 32, "peak_bytes": 32, "peak_blocks": 2}
    totals |= {"peak_seq": 1, "end_bytes": 32, "end_blocks": 2}
    right = IndexEntry(len(HEADER), 0, 2, 0, 0)
    for index in (
        [],
        [right, right],
        [IndexEntry(2**63 - 1, 0, 2, 0, 0)],
        [IndexEntry(len(HEADER), 1, 9, 0, 0)],
    ):
        path = log_of(tmp_path / "x.tkt", sound)
        footer = pack_record(_footer(index, **totals))
        path.write_bytes(path.read_bytes() + footer + pack_trailer(path.stat().st_size))
        assert summarize(path).events == 2
        assert count_events(path) == 2
        assert "footer's index" in verify(path).problems[0]
    path = log_of(tmp_path / "x.tkt", sound)
    footer = pack_record(_footer([right], **totals))
    path.write_bytes(path.read_bytes() + footer + pack_trailer(path.stat().st_size))
    assert verify(path).ok


def test_an_index_that_hides_the_header_and_the_footer(tmp_path: Path) -> None:
    path = log_of(tmp_path / "x.tkt", batch())
    offset = path.stat().st_size
    index = [IndexEntry(PRELUDE.size, 0, 2, 0, 0), IndexEntry(offset, 0, 2, 0, 0)]
    path.write_bytes(path.read_bytes() + pack_record(_footer(index)) + pack_trailer(offset))
    with pytest.raises(LogCorruptError):
        summarize(path)
    assert not verify(path).ok


def test_totals_that_lie(tmp_path: Path) -> None:
    path = log_of(tmp_path / "x.tkt", batch())
    offset = path.stat().st_size
    footer = _footer(
        [IndexEntry(len(HEADER), 0, 2, 0, 0)], events=2, allocations=2, peak_bytes=99, peak_seq=1
    )
    path.write_bytes(path.read_bytes() + pack_record(footer) + pack_trailer(offset))
    problems = verify(path).problems
    assert "the footer says peak_bytes 99, the events give 32" in problems
    assert "the footer says end_blocks 0, the events give 2" in problems


def test_a_footer_that_says_complete_without_the_end(tmp_path: Path) -> None:
    trace = TraceBuilder().finish(complete=False)
    path = write_log(tmp_path / "x.tkt", trace)
    with LogReader(path) as log:
        assert log.footer is not None
        footer = msgspec.structs.replace(log.footer, complete=True)
        offset = [offset for offset, _ in log.records()][-1]
    path.write_bytes(path.read_bytes()[:offset] + pack_record(footer) + pack_trailer(offset))
    assert verify(path).problems == ["the footer says complete, but the mark 'end' is not there"]


@pytest.mark.parametrize("target", [0, PRELUDE.size, len(HEADER) + 1, 10**15])
def test_a_trailer_that_points_elsewhere(tmp_path: Path, target: int) -> None:
    path = log_of(tmp_path / "x.tkt", batch())
    path.write_bytes(path.read_bytes() + pack_trailer(target))
    with pytest.raises(LogCorruptError, match="a trailer without the footer"):
        summarize(path)
    offset = path.stat().st_size - 16
    log_of(
        tmp_path / "y.tkt",
        path.read_bytes()[:offset] + pack_record(_footer([])) + pack_trailer(target),
        begin=b"",
    )
    with pytest.raises(LogCorruptError, match="trailer is damaged"):
        summarize(tmp_path / "y.tkt")


def test_records_after_the_footer(tmp_path: Path) -> None:
    path = write_log(tmp_path / "x.tkt", TraceBuilder().finish())
    path.write_bytes(path.read_bytes() + path.read_bytes())
    with pytest.raises(LogCorruptError, match="trailer is damaged"):
        summarize(path)
    recover(path, tmp_path / "copy.tkt")
    assert verify(tmp_path / "copy.tkt").ok


def test_a_log_without_a_header(tmp_path: Path) -> None:
    path = log_of(tmp_path / "x.tkt", batch(), begin=pack_prelude())
    with pytest.raises(LogCorruptError, match="record 0 at offset 16: it is not a header"):
        summarize(path)


def test_double_frees_and_false_reallocs_are_found(tmp_path: Path) -> None:
    build = TraceBuilder()
    one, two = build.allocate(10), build.allocate(20)
    build.free(one)
    build.free(one)
    build.allocate(30, realloc_of=two)
    build.free(two)
    path = write_log(tmp_path / "x.tkt", build.finish(), seed=None, closed=False)
    assert [problem.split(": ")[1] for problem in verify(path).problems] == [
        "event 4 frees the block of event 1, which is not alive",
        "event 5 replaces the block of event 2, which is still alive",
    ]
    assert summarize(path).unmatched_frees == 1


def test_time_that_goes_back_is_found(tmp_path: Path) -> None:
    build = TraceBuilder()
    build.advance(1000)
    build.allocate(10)
    build.advance(-1)
    build.allocate(10)
    path = write_log(tmp_path / "x.tkt", build.finish(), seed=None)
    assert [problem.split(": ")[1] for problem in verify(path).problems] == ["time goes back at event 2"]
