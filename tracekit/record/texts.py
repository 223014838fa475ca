"""Definitions of texts: the part of slots.py's layout that the native engine's Python half writes by itself.

The engine's few modules take memory of the program, so this one is apart, and none of them imports
__future__.
"""

DEF_THREAD, DEF_NOTICE = 2, 9

MAX_TEXT = 60_000


def pack_texts(*texts: str) -> bytes:
    """Texts as they stand in a payload; each is cut at ``MAX_TEXT`` bytes."""
    parts = []
    for text in texts:
        data = text.encode("utf-8", "surrogatepass")[:MAX_TEXT]
        parts.append(len(data).to_bytes(4, "little") + data)
    return b"".join(parts)
