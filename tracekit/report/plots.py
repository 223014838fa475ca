"""Bar charts of one character a column, from block elements or from ASCII.

Drawn here and not by a library: all that is needed are filled bars over one axis, some thirty lines. plotext
6 takes 150 ms to import, brings a compiled kernel, and has another API than plotext 5.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from tracekit.report.text import can_write

_BLOCKS: Final = " ▁▂▃▄▅▆▇█"
_ASCII: Final = "  ..:::##"
_AXIS: Final = ("┤", "│")
_ASCII_AXIS: Final = ("+", "|")
LABEL_COLUMNS: Final = 10
"""Columns of the labels on the left, without the axis."""


def can_draw(encoding: str | None) -> bool:
    """Whether block elements can be written in this encoding."""
    return can_write(_BLOCKS + "".join(_AXIS), encoding)


def bars(values: Sequence[int | None], rows: int, *, blocks: bool = True) -> list[str]:
    """Rows of a chart, the upper first; the highest value fills its column, None and 0 leave it empty.

    A value above 0 shows at least the smallest mark.
    """
    shades = _BLOCKS if blocks else _ASCII
    top = max((value for value in values if value), default=0)
    levels = [max(2 * (not blocks) or 1, value * rows * 8 // top) if value and top else 0 for value in values]
    return [
        "".join(shades[min(8, max(0, level - 8 * row))] for level in levels) for row in reversed(range(rows))
    ]


def labelled(chart: Sequence[str], labels: Sequence[str], *, blocks: bool = True) -> Iterator[str]:
    """The rows of a chart behind their axis; an empty label stands for a row without one."""
    tick, line = _AXIS if blocks else _ASCII_AXIS
    for row, label in zip(chart, labels, strict=True):
        yield f"{label:>{LABEL_COLUMNS}} {tick if label else line}{row}".rstrip()


def digits(counts: Sequence[int]) -> str:
    """A character a count, all of them below 10; a space for 0."""
    return "".join(str(count) if count else " " for count in counts)
