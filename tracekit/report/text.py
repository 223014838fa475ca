"""Text for a terminal: what a trace says is made harmless, measured in columns and cut to fit."""

from __future__ import annotations

import re
from typing import Literal

Where = Literal["start", "middle", "end"]

ELLIPSIS = "..."

# Control characters (C0, DEL, C1: ESC and CSI are among them), characters that reorder or hide others, line
# separators, tags, and lone surrogates (bytes of a file name that were not UTF-8).
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e007f\ud800-\udfff]"
)
_NOT_ASCII = re.compile("[^ -~\n\r\t]")
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    """The text on one line; what a terminal would obey is written as an escape, ESC as backslash, x1b."""
    return _UNSAFE.sub(_escape, text)


def ascii_json(text: str) -> str:
    """The same JSON document with every character outside ASCII escaped, which is safe on any terminal."""
    return _NOT_ASCII.sub(_json_escape, text)


def can_write(text: str, encoding: str | None) -> bool:
    """Whether an encoding, of a stream for instance, has all characters of a text. None stands for ASCII."""
    try:
        text.encode(encoding or "ascii")
    except (LookupError, UnicodeEncodeError):
        return False
    return True


def columns_of(text: str) -> int:
    """Terminal columns that printable text occupies (East Asian characters take two)."""
    if text.isascii():
        return len(text)
    from rich.cells import cell_len  # noqa: PLC0415 - rarely needed

    return cell_len(text)


def cut(text: str, width: int, where: Where = "end") -> str:
    """The text in at most ``width`` columns; what is left out, at the place named, becomes ``...``."""
    if columns_of(text) <= width:
        return text
    room = width - len(ELLIPSIS)
    if room <= 0:
        return ELLIPSIS[: max(0, width)]
    if where == "end":
        return _head(text, room) + ELLIPSIS
    if where == "start":
        return ELLIPSIS + _tail(text, room)
    return _head(text, room - room // 2) + ELLIPSIS + _tail(text, room // 2)


def wrapped(text: str, width: int | None, *, indent: int = 0) -> list[str]:
    """Printable text in lines of at most ``width`` columns if it can, all but the first indented."""
    if width is None:
        return [text]
    from textwrap import wrap  # noqa: PLC0415 - for terminals only

    return wrap(
        text,
        max(width, indent + 20),
        subsequent_indent=" " * indent,
        break_long_words=False,
        break_on_hyphens=False,
    ) or [""]


def _head(text: str, width: int) -> str:
    if text.isascii():
        return text[:width]
    used = 0
    for index, character in enumerate(text):
        used += columns_of(character)
        if used > width:
            return text[:index]
    return text


def _tail(text: str, width: int) -> str:
    if text.isascii():
        return text[len(text) - width :]
    return _head(text[::-1], width)[::-1]


def _escape(match: re.Match[str]) -> str:
    character = match.group()
    if character in _SHORT:
        return _SHORT[character]
    number = ord(character)
    if number < 256:
        return f"\\x{number:02x}"
    return f"\\u{number:04x}" if number < 65536 else f"\\U{number:08x}"


def _json_escape(match: re.Match[str]) -> str:
    number = ord(match.group())
    if number < 65536:
        return f"\\u{number:04x}"
    number -= 65536
    return f"\\u{0xD800 + (number >> 10):04x}\\u{0xDC00 + (number & 0x3FF):04x}"
