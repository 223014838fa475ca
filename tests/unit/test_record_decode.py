"""The ring, both ends in one process."""

from __future__ import annotations

import contextlib
import mmap
import os
import random
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ring_support import allocation, free

from tracekit.record import slots
from tracekit.record.decode import MOST_DRAINED, PIECE, RingDefinition, RingReader, RingSlots, definition_at
from tracekit.record.pairing import as_slots
from tracekit.record.ring import RingClosed, RingWriter, pack_definition
from tracekit.record.ringfile import KEPT_BYTES, RingFile, kernels
from tracekit.record.select import native_trouble
from tracekit.record.texts import MAX_TEXT, pack_texts

FREE = free(0x50)
MADV_POPULATE_WRITE = 23


def taken(items: list[RingSlots]) -> bytes:
    return b"".join(item.slots.tobytes() for item in items)


@pytest.mark.parametrize("payload", [b"", b"x" * 16, b"x" * 17, FREE * 3 + b"x"])
def test_a_definition_has_whole_slots_and_waits_for_them(payload: bytes) -> None:
    data = as_slots(FREE + pack_definition(9, 2**63, payload, 5) + FREE)
    count = 1 + -(-len(payload) // slots.SLOT_BYTES)
    assert definition_at(data, 1) == (RingDefinition(9, 2**63, 5, payload), count)
    for cut in range(2, 1 + count):
        assert definition_at(data[:cut], 1) is None


@pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))
def test_definitions_of_the_native_engine_wrap_around_anywhere() -> None:
    from tracekit._native import _engine  # noqa: PLC0415 - where it was built

    reader = RingReader(capacity=16)
    chance = random.Random(1)
    _engine.attach(reader.path)
    try:
        for number in range(600):
            payload = chance.randbytes(number % (14 * slots.SLOT_BYTES))
            _engine.define(9, number, payload)
            (item,) = reader.drain()
            found = definition_at(item.slots, 0)
            assert found is not None
            assert (found[0].what, found[0].number, found[0].payload) == (9, number, payload)
            assert found[1] == len(item.slots)
            unused = item.slots[1:].tobytes()[len(payload) :]
            assert not any(unused)
    finally:
        _engine.disown()
        reader.close()


@contextmanager
def ring(capacity: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[RingReader, RingWriter]]:
    """Both ends in this process, which must pass for its own parent."""
    reader = RingReader(max_frames=5, sync_interval_ns=6, capacity=capacity)
    monkeypatch.setattr("tracekit.record.ring.os.getppid", lambda: reader._words[slots.WORD_COLLECTOR_PID])
    writer = RingWriter(reader.path)
    try:
        yield reader, writer
    finally:
        writer._words.release()
        writer._slots.release()
        writer._view.release()
        writer._memory.close()
        reader.close()


@pytest.mark.parametrize("capacity", [1, 2, 7, 64])
def test_round_and_round(capacity: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(capacity)
    choices = [
        allocation(0x50, 100),
        FREE,
        allocation(0x60, 1 << 40),
        pack_definition(3, 9, bytes(range(90))),
    ]
    with ring(capacity, monkeypatch) as (reader, writer):
        assert (writer.max_frames, writer.sync_interval_ns) == (5, 6)
        assert reader.target_pid
        found = bytearray()
        # The writer waits for room by sleeping: that is when the reader drains here.
        monkeypatch.setattr(
            "tracekit.record.ring.time.sleep",
            lambda _: found.extend(taken(reader.drain(chance.randint(1, 9)))),
        )
        data = b""
        for _ in range(300):
            piece = chance.choice(choices)
            writer.write(piece)
            data += piece
            if chance.random() < 0.2:
                found += taken(reader.drain())
        while reader.backlog:
            found += taken(reader.drain(3))
        assert reader.drain() == []
        assert found == data
        writer.set_state(slots.STATE_ENDED)
        assert reader.ended


def test_a_full_ring_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    with ring(2, monkeypatch) as (reader, writer):
        writer.write(FREE * 2)
        assert not writer.closed
        reader.stop_target()
        assert writer.closed
        with pytest.raises(RingClosed):
            writer.write(FREE)
        assert taken(reader.drain()) == FREE * 2


def test_a_definition_beyond_the_limit() -> None:
    pack_definition(1, 1, bytes(slots.MAX_PAYLOAD))
    with pytest.raises(ValueError, match="too long"):
        pack_definition(1, 1, bytes(slots.MAX_PAYLOAD + 1))


def test_what_is_no_ring(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("ring") / "file"
    path.write_bytes(bytes(8192))
    with pytest.raises(ValueError, match="not a ring"):
        RingWriter(str(path))
    with pytest.raises(OSError, match="No such file"):
        RingWriter(str(path) + "x")


@given(st.lists(st.text(st.characters(codec=None), max_size=20), max_size=5))
def test_texts(texts: list[str]) -> None:
    readable = [text.encode("utf-8", "surrogatepass").decode("utf-8", "backslashreplace") for text in texts]
    assert slots.unpack_texts(pack_texts(*texts)) == readable


def test_a_long_text_is_cut() -> None:
    (text,) = slots.unpack_texts(pack_texts("ä" * MAX_TEXT))
    assert text == "ä" * (MAX_TEXT // 2)


def test_a_counter_that_cannot_be_is_no_more_than_the_ring(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program can overwrite the ring's first page, too."""
    with ring(4, monkeypatch) as (reader, _):
        reader._words[slots.WORD_WRITTEN] = 1 << 60
        assert [len(item) for item in reader.drain()] == [4]
        reader._words[slots.WORD_WRITTEN] = 0
        assert reader.drain() == []


def test_no_more_is_taken_at_once_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    with ring(2 * MOST_DRAINED, monkeypatch) as (reader, writer):
        writer.write(FREE * (MOST_DRAINED + 3))
        whole = reader.drain()
        assert [item.position for item in whole] == list(range(0, MOST_DRAINED, PIECE))
        assert {len(item) for item in whole} == {PIECE}
        assert [(item.position, len(item)) for item in reader.drain()] == [(MOST_DRAINED, 3)]


@pytest.mark.skipif(kernels is None, reason="the compiled kernels are not there")
def test_pages_of_the_ring_are_there_before_they_are_written_to() -> None:
    memory = mmap.mmap(-1, 1)
    try:
        memory.madvise(MADV_POPULATE_WRITE)
    except OSError:
        pytest.skip("this kernel makes no pages ahead")
    with contextlib.closing(RingFile(max_frames=0, sync_interval_ns=0)) as ring:
        before = os.fstat(ring.descriptor).st_blocks
        ring.start_stamps()
        deadline = time.monotonic() + 10
        while os.fstat(ring.descriptor).st_blocks < 1 << 20 >> 9:
            assert time.monotonic() < deadline
            time.sleep(0.001)
        assert before <= 8  # of 512 bytes: the first page
        assert os.fstat(ring.descriptor).st_blocks < 2 << 20 >> 9


@pytest.mark.parametrize("drained", [0, 1, 5000, 0xF800, 0x10000 - 1, 0x10000 + 100, 0x18000])
def test_a_ring_that_settled_has_what_was_about_to_be_written(drained: int) -> None:
    with contextlib.closing(RingFile(max_frames=0, sync_interval_ns=0, capacity=1 << 16)) as file:
        reader, writer = RingReader(file), RingWriter(file.path)
        for at in range(0, drained, 1000):
            writer.write(FREE * min(1000, drained - at))
            reader.drain()
        late = b"".join(free(address) for address in range(16, 16 * 2000, 16))
        writer.write(late)
        file.settle(drained)
        kept_blocks = KEPT_BYTES + 2 * mmap.PAGESIZE >> 9
        assert os.fstat(file.descriptor).st_blocks <= kept_blocks
        assert taken(reader.drain()) == late
        writer.write(late * 20)  # further than what was kept, and around
        assert b"".join(taken(reader.drain(9000)) for _ in range(9)) == late * 20
        writer.close()
        del reader


@pytest.mark.parametrize(
    "built", [False, pytest.param(True, marks=pytest.mark.skipif(kernels is None, reason="x"))]
)
def test_stamps_say_when_a_slot_was_written_at_the_earliest(
    built: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tracekit.record.ringfile.kernels", kernels if built else None)
    with ring(64, monkeypatch) as (reader, writer):
        began = time.monotonic_ns()
        reader.start_stamps()
        stamps: list[tuple[int, int]] = []
        written = 0
        while len(stamps) < 3:
            writer.write(FREE)
            written += 1
            time.sleep(0.002)
            for item in reader.drain():
                stamps += list(struct.iter_unpack("<QQ", item.stamps))
        assert stamps == sorted(stamps)
        assert all(position <= written for position, _ in stamps)
        assert all(began <= at <= time.monotonic_ns() for _, at in stamps)
