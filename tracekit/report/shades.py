"""Shares as single characters: maps of what is full and what is empty, for any terminal."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TextIO

from tracekit.report.text import can_write, wrapped

_LEVELS = (0.25, 0.5, 0.75)
_MEANING = ("empty", "under 25%", "under 50%", "under 75%", "75% and more in use")
_BLOCKS = "·░▒▓█"
_ASCII = ".-+#@"
_COLOURS = ("2", "31", "33", "", "32")
"""Of ECMA-48: dim, red, yellow, as it is, green. What is nearly empty is what matters."""

_DEFAULT_WIDTH = 80
_MOST_ROWS = 12


@dataclass(frozen=True, slots=True)
class Shades:
    """How shares are drawn: with which five characters, and whether in colour."""

    characters: str = _ASCII
    colour: bool = False

    def draw(self, shares: Sequence[float]) -> str:
        """One character a share (0 to 1)."""
        parts = []
        for level, run in groupby(map(_level, shares)):
            text = self.characters[level] * len(list(run))
            colour = _COLOURS[level] if self.colour else ""
            parts.append(f"\x1b[{colour}m{text}\x1b[0m" if colour else text)
        return "".join(parts)


def shades_for(stream: TextIO) -> Shades:
    """What a stream can show: block characters where its encoding has them, colours on a terminal.

    The environment variable NO_COLOR (no-color.org) and TERM=dumb turn colours off.
    """
    colour = stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return Shades(_BLOCKS if can_write(_BLOCKS, stream.encoding) else _ASCII, colour)


def map_lines(shares: Sequence[float], shades: Shades, width: int | None) -> Iterator[str]:
    """A map of arenas with a legend: one character an arena, emptiest first, or one for several."""
    columns = min((width or _DEFAULT_WIDTH) - 2, 118)
    each = -(-len(shares) // (columns * _MOST_ROWS))
    means = [sum(part) / len(part) for part in (shares[at : at + each] for at in range(0, len(shares), each))]
    what = "an arena" if each == 1 else f"{each} arenas (their mean)"
    legend = ", ".join(
        f"{shades.draw([level])} {meaning}"
        for level, meaning in zip((0, *(edge - 0.01 for edge in _LEVELS), 1), _MEANING, strict=True)
    )
    yield from wrapped(f"one character is {what}, emptiest first:", width)
    for at in range(0, len(means), columns):
        yield "  " + shades.draw(means[at : at + columns])
    yield f"  ({legend})"


def _level(share: float) -> int:
    return 0 if share <= 0 else 1 + sum(share >= edge for edge in _LEVELS)
