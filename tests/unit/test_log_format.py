"""The bytes of a log, held against docs/log-format.md by hand."""

from __future__ import annotations

import struct
from zlib import crc32

import msgspec
import pytest
from traces import sample_header

from tracekit.events import LOG_FORMAT_VERSION, Definitions, Mark, MemorySample, Stack, Thread
from tracekit.log.format import (
    FRAME,
    MAX_RAW_BYTES,
    PLAIN,
    PRELUDE,
    TRAILER,
    ZSTD,
    footer_offset,
    pack_payload,
    pack_prelude,
    pack_record,
    pack_trailer,
    unpack_frame,
    unpack_payload,
)

SAMPLE = MemorySample(5, 0, 4096)


def test_the_prelude() -> None:
    prelude = pack_prelude()
    assert prelude[:8] == b"\x89TKT\r\n\x1a\n"
    assert struct.unpack("<HH", prelude[8:12]) == (LOG_FORMAT_VERSION, 0)
    assert struct.unpack("<I", prelude[12:]) == (crc32(prelude[:12]),)
    assert len(prelude) == PRELUDE.size == 16


def test_a_small_record_is_stored_as_it_is() -> None:
    record = pack_record(SAMPLE)
    stored, raw, encoding, zero, zeros, payload_crc, head_crc = struct.unpack("<IIBBHII", record[:20])
    assert (stored, raw, encoding, zero, zeros) == (len(record) - 20, len(record) - 20, 0, 0, 0)
    assert payload_crc == crc32(record[20:])
    assert head_crc == crc32(record[:16])
    assert msgspec.msgpack.decode(record[20:]) == {
        "type": "memory",
        "time_ns": 5,
        "seq": 0,
        "rss_bytes": 4096,
        "traced_peak_bytes": 0,
    }


def test_a_large_record_is_compressed() -> None:
    definitions = Definitions(threads=[Thread(n, "thread") for n in range(1, 1000)])
    record = pack_record(definitions)
    frame = unpack_frame(record[: FRAME.size])
    assert frame is not None
    stored, raw, encoding, payload_crc = frame
    assert encoding == ZSTD
    assert stored == len(record) - FRAME.size < raw
    assert unpack_payload(record[FRAME.size :], raw, encoding, payload_crc) == definitions


def test_what_does_not_shrink_stays_plain() -> None:
    import random  # noqa: PLC0415

    noise = random.Random(1).randbytes(2000)
    frame = unpack_frame(pack_payload(noise)[: FRAME.size])
    assert frame is not None
    assert frame[:3] == (2000, 2000, PLAIN)


def test_definitions_are_arrays_and_leave_out_what_is_empty() -> None:
    record = pack_record(Definitions(stacks=[Stack(2, 1, 3, 77)]))
    assert msgspec.msgpack.decode(record[FRAME.size :]) == {"type": "definitions", "stacks": [[2, 1, 3, 77]]}


def test_names_that_are_not_utf8_are_escaped() -> None:
    """A file name with the byte FF reaches Python as a lone surrogate; a log holds UTF-8 only."""
    name = b"caf\xff.py".decode("utf-8", "surrogateescape")
    record = pack_record(Mark(name, 0, 0, 0))
    frame = unpack_frame(record[: FRAME.size])
    assert frame is not None
    read = unpack_payload(record[FRAME.size :], frame[1], frame[2], frame[3])
    assert read == Mark("caf\\udcff.py", 0, 0, 0)
    header = msgspec.structs.replace(sample_header(), argv=["a", name, "ü"])
    record = pack_record(header)
    frame = unpack_frame(record[: FRAME.size])
    assert frame is not None
    again = unpack_payload(record[FRAME.size :], frame[1], frame[2], frame[3])
    assert again == msgspec.structs.replace(header, argv=["a", "caf\\udcff.py", "ü"])


def test_a_record_that_no_log_can_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="larger than a log can hold"):
        pack_payload(bytes(MAX_RAW_BYTES + 1))


def test_the_trailer() -> None:
    trailer = pack_trailer(123_456_789_012)
    assert struct.unpack("<Q", trailer[:8]) == (123_456_789_012,)
    assert trailer[8:12] == crc32(trailer[:8]).to_bytes(4, "little")
    assert trailer[12:] == b"tkt\n"
    assert len(trailer) == TRAILER.size == 16
    assert footer_offset(trailer) == 123_456_789_012
    assert footer_offset(trailer[:-1]) is None
    assert footer_offset(trailer[1:] + b"x") is None


def test_frames_cut_short_are_not_frames() -> None:
    record = pack_record(SAMPLE)
    assert unpack_frame(record[: FRAME.size - 1]) is None
    assert unpack_frame(b"") is None
