"""The bytes of a log: prelude, record frames, trailer. docs/log-format.md draws them.

Nothing here knows what a record means; :mod:`tracekit.log.writer` and :mod:`tracekit.log.reader` do.
"""

from __future__ import annotations

import struct
import sys
from typing import Any, Final
from zlib import crc32

import msgspec

from tracekit.errors import LogCorruptError, LogVersionError, NotALogError
from tracekit.events import LOG_FORMAT_VERSION, Definitions, LogRecord
from tracekit.log.stacks import pack_stacks, unpack_stacks

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

MAGIC: Final = b"\x89TKT\r\n\x1a\n"
END_MAGIC: Final = b"tkt\n"
PRELUDE: Final = struct.Struct("<8sHHI")
FRAME: Final = struct.Struct("<IIBBHII")
TRAILER: Final = struct.Struct("<QI4s")

PLAIN, ZSTD = 0, 1
MAX_STORED_BYTES: Final = 1 << 26
"""Bytes of a payload in the file, at most."""
MAX_RAW_BYTES: Final = 1 << 27
"""Bytes of a record before compression, at most: what a reader may have to allocate for one frame."""
COMPRESS_FROM: Final = 512
"""Records shorter than this many bytes are stored as they are."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[LogRecord] = msgspec.msgpack.Decoder(LogRecord)


def pack_prelude(version: int = LOG_FORMAT_VERSION) -> bytes:
    """The first 16 bytes of a log."""
    head = PRELUDE.pack(MAGIC, version, 0, 0)[:-4]
    return head + crc32(head).to_bytes(4, "little")


def check_prelude(data: bytes, where: str) -> int:
    """The format version in a prelude.

    Raises NotALogError when the bytes are not a log's, and LogVersionError for a version not read here.
    """
    if not data.startswith(MAGIC):
        raise NotALogError(
            f"{where} is not a tracekit log" if data else f"{where} is empty, not a tracekit log",
            hint="record one with 'tracekit record'",
        )
    if len(data) < PRELUDE.size:
        raise NotALogError(
            f"{where} ends within the first {PRELUDE.size} bytes of a log", hint="nothing is left in it"
        )
    _, version, _, checksum = PRELUDE.unpack_from(data)
    if crc32(data[: PRELUDE.size - 4]) != checksum:
        raise LogCorruptError(f"{where}: the prelude (bytes 0 to {PRELUDE.size - 1}) fails its checksum")
    if not 1 <= version <= LOG_FORMAT_VERSION:
        raise LogVersionError(
            f"{where} has log format {version}, this tracekit reads 1 to {LOG_FORMAT_VERSION}",
            hint="open it with a newer tracekit (pip install -U tracekit-memory)",
        )
    return int(version)


def _encodable(value: Any) -> Any:
    """The same plain values, with characters that UTF-8 has not (lone surrogates) as backslash escapes."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()
    if isinstance(value, list | tuple):
        return [_encodable(item) for item in value]
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return value


def encode_record(record: LogRecord) -> bytes:
    r"""The msgpack bytes of a record.

    File names and arguments that are not UTF-8 reach Python as lone surrogates (PEP 383); they are written
    as ``\udcXX``.
    """
    if isinstance(record, Definitions):
        record = pack_stacks(record)
    try:
        return _ENCODER.encode(record)
    except UnicodeEncodeError:
        return _ENCODER.encode(_encodable(msgspec.to_builtins(record, builtin_types=(bytes,))))


def pack_record(record: LogRecord, *, level: int = 3) -> bytes:
    """Frame and bytes of one record; ``level`` is zstd's. Raises ValueError when it is too large."""
    return pack_payload(encode_record(record), level=level)


def pack_payload(raw: bytes, *, level: int = 3) -> bytes:
    """Frame and payload for the msgpack bytes of a record. Raises ValueError when they are too many."""
    payload, encoding = raw, PLAIN
    if len(raw) >= COMPRESS_FROM:
        packed = zstd.compress(raw, level)
        if len(packed) < len(raw):
            payload, encoding = packed, ZSTD
    if len(raw) > MAX_RAW_BYTES or len(payload) > MAX_STORED_BYTES:
        raise ValueError(f"a record of {len(raw)} bytes is larger than a log can hold")
    return pack_frame(payload, len(raw), encoding) + payload


def pack_frame(payload: bytes, raw_bytes: int, encoding: int) -> bytes:
    """The 20 bytes that stand before a payload."""
    head = FRAME.pack(len(payload), raw_bytes, encoding, 0, 0, crc32(payload), 0)[:-4]
    return head + crc32(head).to_bytes(4, "little")


def unpack_frame(head: bytes) -> tuple[int, int, int, int] | None:
    """(stored bytes, raw bytes, encoding, checksum of the payload), or None when the frame is damaged."""
    if len(head) != FRAME.size or crc32(head[:-4]) != int.from_bytes(head[-4:], "little"):
        return None
    stored, raw, encoding, reserved0, reserved1, payload_crc, _ = FRAME.unpack(head)
    if not (0 < stored <= MAX_STORED_BYTES and 0 < raw <= MAX_RAW_BYTES):
        return None
    if encoding > ZSTD or reserved0 or reserved1:
        return None
    return stored, raw, encoding, payload_crc


def check_payload(payload: bytes, payload_crc: int) -> None:
    """Raises LogCorruptError when a payload does not have the checksum that its frame announces."""
    if crc32(payload) != payload_crc:
        raise LogCorruptError("its checksum does not match")


def unpack_payload(payload: bytes, raw_bytes: int, encoding: int, payload_crc: int) -> LogRecord:
    """The record in a payload whose frame was sound. Raises LogCorruptError saying what is wrong.

    Never produces more than ``raw_bytes`` + 1 bytes, whatever the compressed payload would expand to.
    """
    check_payload(payload, payload_crc)
    raw = _decompress(payload, raw_bytes) if encoding == ZSTD else payload
    if len(raw) != raw_bytes:
        more = "at least " if len(raw) > raw_bytes else ""
        raise LogCorruptError(f"it holds {more}{len(raw)} bytes and announces {raw_bytes}")
    try:
        record = _DECODER.decode(raw)
        return unpack_stacks(record) if isinstance(record, Definitions) else record
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise LogCorruptError(f"it does not decode ({error})") from None


def _decompress(payload: bytes, raw_bytes: int) -> bytes:
    decompressor = zstd.ZstdDecompressor()
    try:
        raw = decompressor.decompress(payload, max_length=raw_bytes + 1)
    except zstd.ZstdError as error:
        raise LogCorruptError(f"it does not decompress ({error})") from None
    if len(raw) <= raw_bytes and not decompressor.eof:
        raise LogCorruptError("it does not decompress (its end is missing)")
    if decompressor.unused_data:
        raise LogCorruptError("it does not decompress (bytes follow its end)")
    return raw


def pack_trailer(footer_offset: int) -> bytes:
    """The last 16 bytes of a log that was closed in order."""
    head = footer_offset.to_bytes(8, "little")
    return head + crc32(head).to_bytes(4, "little") + END_MAGIC


def footer_offset(trailer: bytes) -> int | None:
    """Offset of the footer record, or None when these bytes are not a trailer."""
    if len(trailer) != TRAILER.size:
        return None
    offset, checksum, magic = TRAILER.unpack(trailer)
    if magic != END_MAGIC or crc32(trailer[:8]) != checksum:
        return None
    return int(offset)
