"""Bit layout of the ring: 16-byte slots. Both sides of the ring import this and nobody else does.

A slot is little-endian ``kind u8 | flags u8 | thread u16 | node u32 | word u64``::

    kind      flags    node           word
    ALLOC     domain   stack node     address / 16 << 20 | size      (size 0xFFFFF: a WIDE slot precedes)
    FREE      cause    type           address
    WIDE      -        -              size of the allocation in the next slot
    REPEAT    -        -              the next ALLOC or FREE stands for so many, at addresses 16 apart
    TIME      -        -              nanoseconds since the start, for all events up to the next TIME
    DEFINE    what     payload bytes  what the definition is about (a number or a time)
    UNFREE    -        -              address: the realloc of this thread's last FREE (cause realloc) failed
    ARENA     returned size           address: the object allocator obtained or (flags 1) returned an arena
    TYPED     -        type           address: the live block there is of this type; not an event

REPEAT comes from the portable engine only, UNFREE, ARENA and TYPED from the native one. Bit 7 of an
ALLOC's flags (REALLOCATED): it replaces the block of this thread's last FREE with cause realloc; the other
bits are the domain.

The payload of a DEFINE follows in as many whole slots as it needs. Texts in payloads are UTF-8 (with
surrogates passed through), each behind its length as u32. Slots wrap around at the end of the ring. The ring
begins with a page of u64 words: the ``WORD_*`` below.
"""

SLOT_BYTES = 16
HEADER_BYTES = 4096
RING_MAGIC = 0x31474E4952544B54  # "TKTRING1"

WORD_MAGIC, WORD_CAPACITY, WORD_WRITTEN, WORD_DRAINED = 0, 1, 8, 16
"""Words of the ring's first page; the two counters have a cache line each. Counters count slots, ever."""
WORD_CLOSED, WORD_STATE, WORD_COLLECTOR_PID, WORD_TARGET_PID = 2, 3, 4, 5
WORD_MAX_FRAMES, WORD_SYNC_INTERVAL = 6, 7
WORD_OUTCOME = 24
"""Written by the collector when it is done: one of ``OUTCOME_*``, and an errno value from bit 8 on."""

STATE_EMPTY, STATE_ATTACHED, STATE_ENDED = 0, 1, 2
OUTCOME_NONE, OUTCOME_CLOSED, OUTCOME_FAILED = 0, 1, 2

ALLOC, FREE, WIDE, REPEAT, TIME, DEFINE, UNFREE, ARENA, TYPED = 1, 2, 3, 4, 5, 6, 7, 8, 9

REALLOCATED = 0x80
"""In the flags of an ALLOC."""
SIZE_BITS = 20
SIZE_WIDE = (1 << SIZE_BITS) - 1

DEF_HELLO, DEF_CODE, DEF_FILE, DEF_LINE_NODES = 1, 3, 4, 5
DEF_MARK, DEF_GC_START, DEF_GC_STOP, DEF_MEMORY = 6, 7, 8, 10
DEF_CODE_NODE, DEF_TYPE, DEF_NATIVE_THREAD, DEF_OLDER_ARENAS, DEF_OLDER_POOLS = 11, 13, 14, 15, 16
DEF_FRAME_NODE, DEF_GC_SETTING = 17, 18
"""What a DEFINE defines. DEF_THREAD and DEF_NOTICE, and how texts are packed, stand in texts.py: a program
under the native engine loads no more than these."""

FREE_LISTS = 24

MAX_PAYLOAD = 1 << 20

TRUNCATED_NODE = 1
"""The stack node above every call path that was cut at the limit of recorded frames."""


def unpack_texts(payload: bytes, most: int = 1 << 20) -> list[str]:
    """The inverse of :func:`tracekit.record.texts.pack_texts`, for the first ``most`` texts.

    Surrogates and cut characters become U+FFFD or backslash escapes.
    """
    texts: list[str] = []
    at = 0
    while at + 4 <= len(payload) and len(texts) < most:
        size = int.from_bytes(payload[at : at + 4], "little")
        at += 4
        texts.append(payload[at : at + size].decode("utf-8", "backslashreplace"))
        at += size
    return texts
