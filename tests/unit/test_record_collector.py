"""Ring items become a log that reads back: events, details, totals, the peak."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET
from ring_support import allocations, frees, packed, slot, time_passes

from tracekit.events import (
    CollectionStart,
    CollectionStop,
    CollectorSetting,
    Definitions,
    LiveTypes,
    LogRecord,
    Mark,
    MemorySample,
    Notice,
    OlderArena,
    OlderPool,
    Thread,
    ThreadStack,
)
from tracekit.log.livetypes import decode_live_types
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.verify import verify
from tracekit.log.writer import LogWriter
from tracekit.record import collector as collector_module
from tracekit.record import layouts, slots
from tracekit.record.collector import Collector, Facts, header_of
from tracekit.record.decode import RingDefinition, RingSlots
from tracekit.record.lane import Setting, base_header
from tracekit.record.pairing import as_slots
from tracekit.record.select import select
from tracekit.record.texts import DEF_NOTICE, DEF_THREAD, pack_texts

FACTS = {
    "engine": "portable",
    "pid": "12",
    "started_at_ns": "99",
    "monotonic_ns": "0",
    "version": "3.11.7",
    "hexversion": "51054576",
    "implementation": "cpython",
    "build": "3.11.7 (main)",
    "executable": "/usr/bin/python",
    "thresholds": "700,10,10",
    "gc_counts": "421,3,5",
    "gc_enabled": "1",
    "max_frames": "64",
    "malloc": "",
    "frames": "lines",
}
HELLO = RingDefinition(
    slots.DEF_HELLO, len(FACTS), 0, pack_texts(*[text for pair in FACTS.items() for text in pair])
)


Piece = RingDefinition | bytes


def slots_of(pieces: list[Piece]) -> list[RingSlots]:
    data = b"".join(piece if isinstance(piece, bytes) else packed(piece) for piece in pieces)
    return [RingSlots(as_slots(data))]


def collector_for(path: Path) -> Collector:
    setting = Setting(selection=select("auto"), max_frames=64, sync_interval_ns=20_000_000)

    def open_log(facts: Facts) -> LogWriter:
        return LogWriter(
            path.open("xb", buffering=0), header_of(base_header(setting, ["-c", "pass"], "/"), facts)
        )

    return Collector(open_log)


def mark(name: str, time_ns: int, *, own: bool = False) -> RingDefinition:
    return RingDefinition(slots.DEF_MARK, time_ns, 1, bytes([own]) + pack_texts(name))


def start_gc(time_ns: int) -> RingDefinition:
    return RingDefinition(slots.DEF_GC_START, time_ns, 1, layouts.GC_START.pack(2, 1, 2, 3, 700, 10, 10))


def stop_gc(time_ns: int) -> RingDefinition:
    return RingDefinition(slots.DEF_GC_STOP, time_ns, 1, layouts.GC_STOP.pack(5, 6, 7))


THREAD = RingDefinition(DEF_THREAD, 1, 0, pack_texts("MainThread"))
STORY: list[Piece] = [
    HELLO,
    THREAD,
    mark("start", 0, own=True),
    RingDefinition(slots.DEF_FILE, 1, 0, pack_texts("app.py")),
    RingDefinition(
        slots.DEF_LINE_NODES, 0, 0, layouts.LINE_NODE.pack(2, 0, 1, 3) + layouts.LINE_NODE.pack(3, 2, 1, 4)
    ),
    time_passes(1000),
    allocations([16, 32, 48], 100, node=3),
    time_passes(2000),
    frees([32, 4096]),
    allocations([32], 50, node=2),
    start_gc(3000),
    frees([16], cause=1),
    stop_gc(4000),
    RingDefinition(slots.DEF_MEMORY, 4000, 0, (777).to_bytes(8, "little")),
    RingDefinition(DEF_NOTICE, 4500, 0, pack_texts("code", "text")),
    mark("end", 5000, own=True),
]


@pytest.mark.parametrize("one_by_one", [False, True])
def test_a_story_reads_back(tmp_path: Path, one_by_one: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if one_by_one:
        monkeypatch.setattr(collector_module, "FLUSH_SECONDS", -1.0)
    log = tmp_path / "app.tkt"
    collector = collector_for(log)
    for items in [[item] for item in STORY] if one_by_one else [STORY]:
        collector.take(slots_of(items))
    collector.sample_memory(1 << 20)
    assert collector.attached
    assert collector.complete
    assert collector.close(0) == log.stat().st_size
    assert verify(log).problems == []
    summary = summarize(log)
    assert (summary.events, summary.allocations, summary.frees, summary.unmatched_frees) == (11, 4, 3, 1)
    assert (summary.peak_bytes, summary.peak_seq) == (300, 3)
    assert (summary.end_bytes, summary.end_blocks) == (150, 2)
    assert summary.complete
    with LogReader(log) as reader:
        details = [record for _, record in reader.records(batches=False)]
        events = list(reader.events())
    assert [(d.name, d.seq, d.time_ns, d.own) for d in details if isinstance(d, Mark)] == [
        ("start", 0, 0, True),
        ("end", 10, 5000, True),
    ]
    (start,) = (record for record in details if isinstance(record, CollectionStart))
    (stop,) = (record for record in details if isinstance(record, CollectionStop))
    assert (start.seq, stop.seq, stop.collected, stop.uncollectable) == (7, 9, 6, 7)
    assert [n.code for n in details if isinstance(n, Notice)] == ["code"]
    assert [s.rss_bytes for s in details if isinstance(s, MemorySample)] == [1 << 20]
    assert np.concatenate([columns.alloc_seq for columns in events]).tolist() == [
        -1, -1, -1, -1, 2, -1, -1, -1, 1, -1, -1,
    ]  # fmt: skip
    times = np.concatenate([columns.time_ns for columns in events]).tolist()
    assert times == [0, 1000, 1000, 1000, 2000, 2000, 2000, 3000, 3000, 4000, 5000]


LISTS = tuple(range(80, 56, -1))


@pytest.mark.parametrize("known", [False, True])
def test_free_lists(tmp_path: Path, known: bool) -> None:
    """They stand behind what every engine says of a collection, and not in what another one says."""
    lists = layouts.GC_FREE_LISTS.pack(*LISTS)
    begins, ends, hello = start_gc(3000), stop_gc(4000), HELLO
    if known:
        begins = replace(begins, payload=begins.payload + layouts.GC_LONG_LIVED.pack(4, 5) + lists)
        ends = replace(ends, payload=ends.payload + lists[::-1])
        fact = pack_texts("free_lists", ",".join(map(str, LISTS)))
        hello = replace(HELLO, number=len(FACTS) + 1, payload=HELLO.payload + fact)
    collector = collector_for(tmp_path / "app.tkt")
    collector.take(slots_of([hello, THREAD, mark("start", 0, own=True), begins, ends]))
    collector.close(0)
    with LogReader(tmp_path / "app.tkt") as reader:
        details = [record for _, record in reader.records(batches=False)]
        assert reader.header.collector.free_lists == (LISTS if known else None)
    (start,) = (record for record in details if isinstance(record, CollectionStart))
    (stop,) = (record for record in details if isinstance(record, CollectionStop))
    assert start.free_lists == (LISTS if known else UNSET)
    assert stop.free_lists == (layouts.GC_FREE_LISTS.unpack(lists[::-1]) if known else UNSET)
    assert start.long_lived == ((4, 5) if known else UNSET)


def test_settings_of_the_collector(tmp_path: Path) -> None:
    collector = collector_for(tmp_path / "app.tkt")
    told = [
        RingDefinition(slots.DEF_GC_SETTING, time_ns, 1, layouts.GC_SETTING.pack(on, 700, -1, 0))
        for time_ns, on in ((0, 1), (4000, 0))
    ]
    story: list[Piece] = [HELLO, THREAD, mark("start", 0, own=True)]
    collector.take(slots_of([*story, told[0], allocations([16], 100, node=0), told[1]]))
    collector.close(0)
    assert verify(tmp_path / "app.tkt").problems == []
    with LogReader(tmp_path / "app.tkt") as reader:
        defined = [record for _, record in reader.records() if isinstance(record, Definitions)]
    found = [setting for record in defined for setting in record.gc_settings]
    assert found == [
        CollectorSetting(1, 0, enabled=True, thresholds=(700, -1, 0)),
        CollectorSetting(2, 4000, enabled=False, thresholds=(700, -1, 0)),
    ]


def test_a_definition_that_was_cut_has_no_free_lists(tmp_path: Path) -> None:
    cut = layouts.GC_FREE_LISTS.pack(*LISTS)[:-2]
    begins = replace(start_gc(3000), payload=start_gc(0).payload + layouts.GC_LONG_LIVED.pack(4, 5) + cut)
    ends = replace(stop_gc(4000), payload=stop_gc(0).payload + cut)
    collector = collector_for(tmp_path / "app.tkt")
    collector.take(slots_of([HELLO, THREAD, mark("start", 0, own=True), begins, ends]))
    collector.close(0)
    with LogReader(tmp_path / "app.tkt") as reader:
        found = [r.free_lists for _, r in reader.records() if isinstance(r, CollectionStart | CollectionStop)]
    assert found == [UNSET, UNSET]


def test_nothing_is_written_before_hello(tmp_path: Path) -> None:
    collector = collector_for(tmp_path / "app.tkt")
    assert not collector.attached
    collector.take([])
    assert collector.close(0) == 0
    assert collector.abandon() == 0
    assert list(tmp_path.iterdir()) == []


def test_a_collection_that_never_stops_and_one_that_never_started(tmp_path: Path) -> None:
    log = tmp_path / "app.tkt"
    collector = collector_for(log)
    collector.take(
        slots_of(
            [HELLO, THREAD, mark("start", 0, own=True), stop_gc(1), start_gc(2), start_gc(3), stop_gc(4)]
        )
    )
    collector.close(None)
    assert verify(log).problems == []
    assert summarize(log).gc_collections == 2


def test_time_never_goes_back(tmp_path: Path) -> None:
    log = tmp_path / "app.tkt"
    collector = collector_for(log)
    collector.take(
        slots_of(
            [
                HELLO,
                THREAD,
                mark("start", 500, own=True),
                time_passes(100),
                allocations([16], 5),
                mark("x", 7),
            ]
        )
    )
    collector.close(None)
    assert verify(log).problems == []
    with LogReader(log) as reader:
        assert np.concatenate([columns.time_ns for columns in reader.events()]).tolist() == [500, 500, 500]


def test_many_events_at_once_are_split_into_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "BATCH_EVENTS", 50)
    log = tmp_path / "app.tkt"
    collector = collector_for(log)
    count = 155
    addresses = (np.arange(1, count + 1) * 16).tolist()
    collector.take(
        slots_of([HELLO, THREAD, mark("start", 0, own=True), allocations(addresses, 1), frees(addresses)])
    )
    assert collector.totals.peak_bytes == collector.totals.peak_blocks == count
    assert collector.totals.peak_seq == count
    collector.close(0)
    assert verify(log).problems == []
    with LogReader(log) as reader:
        assert [len(columns) for columns in reader.events()] == [50, 50, 50, 50, 50, 50, 11]


def test_types_of_live_blocks_stand_behind_their_allocations(tmp_path: Path) -> None:
    log = tmp_path / "app.tkt"
    collector = collector_for(log)
    kind = RingDefinition(slots.DEF_TYPE, 7, 0, layouts.TYPE_HEAD.pack(56, 1) + pack_texts("builtins.list"))
    typed = b"".join(slot(slots.TYPED, node=node, word=word) for node, word in ((7, 32), (0, 16), (7, 32)))
    collector.take(
        slots_of([HELLO, THREAD, mark("start", 0, own=True), allocations([16, 32], 5), kind, typed])
    )
    collector.close(0)
    assert verify(log).problems == []
    with LogReader(log) as reader:
        (types,) = (record for _, record in reader.decoded() if isinstance(record, LiveTypes))
    assert [column.tolist() for column in decode_live_types(types)] == [[2], [7]]


def test_a_damaged_ring_is_told(tmp_path: Path) -> None:
    log = tmp_path / "app.tkt"
    collector = collector_for(log)
    collector.take(slots_of([HELLO, THREAD, slot(99), frees([16]), slot(0)]))
    collector.close(0)
    assert [notice.code for notice in collector.notices] == ["ring-damaged"]
    assert "2 entries" in collector.notices[0].text
    assert verify(log).problems == []


def test_events_without_hello(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(collector_module, "BATCH_EVENTS", 5)
    with pytest.raises(ValueError, match="did not say hello"):
        collector_for(tmp_path / "app.tkt").take(slots_of([frees([16] * 6)]))


def test_what_a_newer_engine_defines_is_told(tmp_path: Path) -> None:
    collector = collector_for(tmp_path / "app.tkt")
    collector.take(slots_of([HELLO, RingDefinition(200, 0, 0, b"")]))
    assert [notice.code for notice in collector.notices] == ["unknown-definition"]
    collector.abandon()


def test_abandoned_logs_have_no_footer(tmp_path: Path) -> None:
    log = tmp_path / "app.tkt"
    collector = collector_for(log)
    collector.take(slots_of(STORY))
    collector.flush()
    collector.abandon()
    with LogReader(log) as reader:
        assert reader.footer is None
        threads = [record for _, record in reader.records(batches=False)]
    assert threads
    assert Thread(1, "MainThread") in [t for record in threads for t in getattr(record, "threads", [])]


def recorded(path: Path, pieces: list[Piece]) -> list[LogRecord]:
    """The records of a log made of these; the log verifies."""
    collector = collector_for(path)
    collector.take(slots_of([*pieces, mark("end", 9000, own=True)]))
    collector.close(0)
    assert verify(path).problems == []
    with LogReader(path) as reader:
        return [record for _, record in reader.records(batches=False)]


def where(*pairs: tuple[int, int]) -> bytes:
    return b"".join(layouts.MARK_STACK.pack(*pair) for pair in pairs)


def test_a_mark_says_where_threads_are(tmp_path: Path) -> None:
    """Frames whose code is known are the stacks of equal line nodes; what was never defined is left out."""
    head = layouts.CODE_HEAD.pack(3, 5) + pack_texts("app.py", "work")
    frame = layouts.FRAME_NODE.pack
    story: list[Piece] = [
        *STORY[:4],
        RingDefinition(slots.DEF_CODE, 0, 0, head + b"\xd0\x00\x00"),
        RingDefinition(slots.DEF_LINE_NODES, 0, 0, layouts.LINE_NODE.pack(2, 0, 1, 3)),
        RingDefinition(slots.DEF_FRAME_NODE, 0, 0, frame(3, 0, 1, 3, 3) + pack_texts("work")),
        RingDefinition(slots.DEF_FRAME_NODE, 0, 0, frame(4, 3, 1, 9, 3) + pack_texts("work")),
        RingDefinition(slots.DEF_FRAME_NODE, 0, 0, frame(5, 3, 1, 9, 8) + pack_texts("unknown")),
    ]
    tails = [b"", where((1, 3), (1, 4), (1, 5), (1, 77), (9, 3)), where((1, 3))[:-1], where((1, 1 << 31))]
    for number, tail in enumerate(tails):
        named = mark(str(number), 5000)
        story.append(RingDefinition(slots.DEF_MARK, 5000, 1, named.payload + tail))
    records = recorded(tmp_path / "app.tkt", story)
    stacks = {record.name: record.stacks for record in records if isinstance(record, Mark)}
    assert stacks == {
        "start": UNSET,
        "0": UNSET,
        "1": [ThreadStack(1, 2), ThreadStack(1, 4), ThreadStack(1, 5), ThreadStack(1, 0)],
        "2": UNSET,
        "3": [ThreadStack(1, 0)],
        "end": UNSET,
    }
    defined = [stack for record in records if isinstance(record, Definitions) for stack in record.stacks]
    codes = {
        code.code_id: code for record in records if isinstance(record, Definitions) for code in record.codes
    }
    assert [(stack.stack_id, stack.parent_id, codes[stack.code_id].qualname) for stack in defined] == [
        (2, 0, "work"),
        (4, 2, "work"),
        (5, 2, "<unknown>"),
    ]


def test_what_the_allocator_held(tmp_path: Path) -> None:
    """Arenas and pools come as they were told, and what cannot be true does not."""
    pool = layouts.OLDER_POOL.pack
    pools = pool(4096, 16, 9) + b"\xff\x01" + pool(8192, 0, 8) + b"\x01" + pool(1 << 60, 16, 1) + b"\x01"
    story: list[Piece] = [
        *STORY[:3],
        RingDefinition(slots.DEF_OLDER_ARENAS, 0, 0, layouts.OLDER_ARENA.pack(1 << 20, 1 << 20) + b"rest"),
        RingDefinition(slots.DEF_OLDER_ARENAS, 0, 0, layouts.OLDER_ARENA.pack(1 << 60, 1 << 20)),
        RingDefinition(slots.DEF_OLDER_POOLS, 0, 0, pools),
        RingDefinition(slots.DEF_OLDER_POOLS, 0, 0, pool(1 << 15, 32, 80) + b"\x03"),
    ]
    found = [r for r in recorded(tmp_path / "app.tkt", story) if isinstance(r, Definitions)]
    assert [arena for record in found for arena in record.older_arenas] == [OlderArena(1 << 20, 1 << 20)]
    assert [one for record in found for one in record.older_pools] == [
        OlderPool(4096, 16, b"\xff\x01"),
        OlderPool(1 << 15, 32, b"\x03"),
    ]
