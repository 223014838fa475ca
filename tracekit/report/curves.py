"""Curves and points in one frame, each drawn with a letter of its own, so that no colour is needed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import log
from typing import Final

from tracekit.report.plots import LABEL_COLUMNS, labelled

_COLOURS: Final = ("36", "33", "35", "32", "34", "31")
"""Of ECMA-48: cyan, yellow, magenta, green, blue, red; they only repeat what the letters say."""

_JOINT: Final = ("|", "│")
ENDED: Final = "!"
LEFT: Final = LABEL_COLUMNS + 2
"""Columns of the labels and the axis."""

Cell = tuple[str, int | None]
"""What stands in a place, and the number of the curve that it belongs to."""

Grid = list[list[Cell]]
"""Rows, the upper first."""

_NOTHING: Final[Cell] = (" ", None)


@dataclass(frozen=True, slots=True)
class Canvas:
    """What is drawn on: its width with the labels; ``blocks`` false draws in ASCII."""

    columns: int
    blocks: bool = True
    colour: bool = False

    @property
    def room(self) -> int:
        """Columns behind the labels and the axis."""
        return max(10, self.columns - LEFT)


@dataclass(frozen=True, slots=True)
class Curve:
    """Values by column, with bounds; None where there is none. ``ended``: it broke off at its last value."""

    letter: str
    low: Sequence[int | None]
    high: Sequence[int | None]
    ended: bool = False


@dataclass(frozen=True, slots=True)
class Spot:
    """A point: ``across`` above 0 (on a logarithmic scale), and a range, whose end has the letter."""

    letter: str
    across: float
    low: int
    high: int


def draw_curves(curves: Sequence[Curve], rows: int, *, blocks: bool = True) -> Grid:
    """Curves over an axis at 0; the highest value is in the upper row.

    Where two bounds differ the upper one is drawn in capitals. Where curves meet the first of them is seen.
    """
    columns = max((len(curve.high) for curve in curves), default=0)
    top = max((value for curve in curves for value in curve.high if value), default=0)
    grid: Grid = [[_NOTHING] * columns for _ in range(rows)]
    for number, curve in reversed(list(enumerate(curves))):
        lows, highs = (_rows_of(values, top, rows) for values in (curve.low, curve.high))
        for column, (low, high) in enumerate(zip(lows, highs, strict=True)):
            if low is None or high is None:
                continue
            grid[high][column] = (curve.letter if low == high else curve.letter.upper(), number)
            grid[low][column] = (curve.letter, number)
    for number, curve in enumerate(curves):
        places = _rows_of(curve.high, top, rows)
        _join(grid, places, number, _JOINT[blocks])
        last = max((column for column, row in enumerate(places) if row is not None), default=None)
        if curve.ended and last is not None:
            grid[places[last] or 0][last] = (ENDED, number)
    return grid


def draw_spots(spots: Sequence[Spot], columns: int, rows: int, *, blocks: bool = True) -> Grid:
    """Points in a frame from the least to the most, both ways. Where points meet the first is seen."""
    grid: Grid = [[_NOTHING] * columns for _ in range(rows)]
    least, most = min(spot.low for spot in spots), max(spot.high for spot in spots)
    scale = [log(spot.across) for spot in spots]
    left, width = min(scale), max(scale) - min(scale)
    for number, spot in reversed(list(enumerate(spots))):
        column = round((scale[number] - left) / width * (columns - 1)) if width else 0
        low, high = (
            rows - 1 - (round((value - least) / (most - least) * (rows - 1)) if most > least else 0)
            for value in (spot.low, spot.high)
        )
        for row in range(high + 1, low + 1):
            if grid[row][column] == _NOTHING:
                grid[row][column] = (_JOINT[blocks], number)
        grid[high][column] = (spot.letter, number)
    return grid


def grid_lines(grid: Grid, labels: Sequence[str], canvas: Canvas) -> Iterator[str]:
    """The rows behind their axis, with ``labels`` (empty: none) on the left."""
    yield from labelled([_row_text(row, canvas.colour) for row in grid], labels, blocks=canvas.blocks)


def axis_line(left: str, right: str, canvas: Canvas) -> str:
    """What stands below both ends of the horizontal axis."""
    return f"{' ' * LEFT}{left}{right:>{max(1 + len(right), canvas.room - len(left))}}"


def letter_in_colour(letter: str, number: int, colour: bool) -> str:
    """A letter as it looks in the drawing."""
    return f"\x1b[{_COLOURS[number % len(_COLOURS)]}m{letter}\x1b[0m" if colour else letter


def _rows_of(values: Sequence[int | None], top: int, rows: int) -> list[int | None]:
    """Rows from the top (0); what is 0 or more and not None has one."""
    return [
        None if value is None else rows - 1 - (min(rows - 1, value * rows // top) if top else 0)
        for value in values
    ]


def _join(grid: Grid, places: Sequence[int | None], number: int, joint: str) -> None:
    """Draw upright lines where a curve leaps, as far as nothing else is there."""
    for column in range(1, len(places)):
        before, now = places[column - 1], places[column]
        if before is None or now is None:
            continue
        for row in range(min(before, now) + 1, max(before, now)):
            if grid[row][column] == _NOTHING:
                grid[row][column] = (joint, number)


def _row_text(row: Sequence[Cell], colour: bool) -> str:
    if not colour:
        return "".join(text for text, _ in row)
    parts = []
    for number, run in groupby(row, key=lambda cell: cell[1]):
        text = "".join(text for text, _ in run)
        parts.append(text if number is None else letter_in_colour(text, number, colour))
    return "".join(parts)
