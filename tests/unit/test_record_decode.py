"""The ring, both ends in one process, and the decoder of its slots."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.record import slots
from tracekit.record.decode import (
    SLOT_TYPE,
    RingDefinition,
    RingEvents,
    RingItem,
    RingReader,
    RingTime,
    decode,
)
from tracekit.record.ring import RingClosed, RingWriter, pack_definition

# One event (is free, flags, thread, node, address, size), a time, or a definition.
Single = tuple[bool, int, int, int, int, int] | int | tuple[int, int, int, bytes]


def singles(items: list[RingItem]) -> list[Single]:
    found: list[Single] = []
    for item in items:
        if isinstance(item, RingTime):
            found.append(item.time_ns)
        elif isinstance(item, RingDefinition):
            found.append((item.what, item.number, item.thread, item.payload))
        else:
            columns = (item.is_free, item.flags, item.thread, item.node, item.address, item.size)
            found += zip(*(column.tolist() for column in columns), strict=True)
    return found


def slot(kind: int, flags: int = 0, thread: int = 0, node: int = 0, word: int = 0) -> bytes:
    return slots.SLOT.pack(kind, flags, thread, node, word)


def array(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    return np.frombuffer(data, SLOT_TYPE)


ALLOCATION = slot(slots.ALLOC, 4, 7, 9, 5 << slots.SIZE_BITS | 100)
FREE = slot(slots.FREE, 1, 8, 3, 0x50)
BIG = slot(slots.WIDE, word=1 << 40) + slot(slots.ALLOC, 4, 7, 9, 6 << slots.SIZE_BITS | slots.SIZE_WIDE)
EDGE = slot(slots.WIDE, word=slots.SIZE_WIDE) + slot(
    slots.ALLOC, 0, 0, 0, (1 << 44) - 1 << slots.SIZE_BITS | slots.SIZE_WIDE
)


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        (ALLOCATION, [(False, 4, 7, 9, 0x50, 100)]),
        (FREE, [(True, 1, 8, 3, 0x50, 0)]),
        (BIG, [(False, 4, 7, 9, 0x60, 1 << 40)]),
        (slot(slots.REPEAT, word=3) + ALLOCATION, [(False, 4, 7, 9, 0x50 + i * 16, 100) for i in range(3)]),
        (slot(slots.REPEAT, word=2) + FREE, [(True, 1, 8, 3, 0x50 + i * 16, 0) for i in range(2)]),
        (slot(slots.REPEAT, word=2) + BIG, [(False, 4, 7, 9, 0x60 + i * 16, 1 << 40) for i in range(2)]),
        (slot(slots.TIME, word=2**60), [2**60]),
        (pack_definition(9, 2**63, b"", 5), [(9, 2**63, 5, b"")]),
        (pack_definition(9, 1, b"x" * 16, 5), [(9, 1, 5, b"x" * 16)]),
        (pack_definition(9, 1, b"x" * 17, 5), [(9, 1, 5, b"x" * 17)]),
        # What stands in a payload is no slot, whatever it looks like.
        (pack_definition(9, 1, BIG + FREE, 5) + FREE, [(9, 1, 5, BIG + FREE), (True, 1, 8, 3, 0x50, 0)]),
        (EDGE, [(False, 0, 0, 0, ((1 << 44) - 1) * 16, slots.SIZE_WIDE)]),
        (b"", []),
    ],
)
def test_each_kind_of_slot(data: bytes, wanted: list[Single]) -> None:
    items, used = decode(array(data))
    assert singles(items) == wanted
    assert used * slots.SLOT_BYTES == len(data)


def test_half_of_something_waits_for_the_rest() -> None:
    for whole in (BIG, slot(slots.REPEAT, word=2) + BIG, pack_definition(3, 4, bytes(40))):
        for count in range(1, len(whole) // slots.SLOT_BYTES):
            items, used = decode(array(FREE + whole[: count * slots.SLOT_BYTES]))
            assert (singles(items), used) == ([(True, 1, 8, 3, 0x50, 0)], 1)


PIECES = st.one_of(
    st.sampled_from([ALLOCATION, FREE, BIG, slot(slots.REPEAT, word=5) + BIG, slot(slots.TIME, word=77)]),
    st.builds(
        pack_definition,
        st.integers(1, 10),
        st.integers(0, 2**64 - 1),
        st.one_of(st.binary(max_size=70), st.just(BIG + slot(slots.DEFINE, word=1, node=500))),
        st.integers(0, 65_535),
    ),
)


@given(st.lists(PIECES, max_size=12), st.lists(st.integers(1, 9), max_size=8))
def test_any_split_decodes_equal(pieces: list[bytes], cuts: list[int]) -> None:
    data = array(b"".join(pieces))
    whole, used = decode(data)
    assert used == len(data)
    found: list[Single] = []
    held, at = data[:0], 0
    for count in [*cuts, len(data)]:
        taken = np.concatenate([held, data[at : at + count]])
        at = min(len(data), at + count)
        items, used = decode(taken)
        found += singles(items)
        held = taken[used:]
    assert len(held) == 0
    assert found == singles(whole)


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
        ALLOCATION,
        FREE,
        BIG,
        slot(slots.REPEAT, word=3) + FREE,
        pack_definition(3, 9, bytes(range(90))),
    ]
    with ring(capacity, monkeypatch) as (reader, writer):
        assert (writer.max_frames, writer.sync_interval_ns) == (5, 6)
        assert reader.target_pid
        found: list[Single] = []
        # The writer waits for room by sleeping: that is when the reader drains here.
        monkeypatch.setattr(
            "tracekit.record.ring.time.sleep",
            lambda _: found.extend(singles(reader.drain(chance.randint(1, 9)))),
        )
        data = b""
        for _ in range(300):
            piece = chance.choice(choices)
            writer.write(piece)
            data += piece
            if chance.random() < 0.2:
                found += singles(reader.drain())
        while reader.backlog:
            found += singles(reader.drain(3))
        assert reader.drain() == []
        assert found == singles(decode(array(data))[0])
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
        assert len(singles(reader.drain())) == 2


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
    assert slots.unpack_texts(slots.pack_texts(*texts)) == readable


def test_a_long_text_is_cut() -> None:
    (text,) = slots.unpack_texts(slots.pack_texts("ä" * slots.MAX_TEXT))
    assert text == "ä" * (slots.MAX_TEXT // 2)


def test_events_have_a_length() -> None:
    items, _ = decode(array(FREE * 3))
    assert [len(item) for item in items if isinstance(item, RingEvents)] == [3]
