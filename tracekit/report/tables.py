"""Plain tables: aligned in columns, without lines around them, the same on a terminal and in a pipe."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain, islice
from typing import Literal

from tracekit.report.cells import Quantity, cell_text
from tracekit.report.text import Where, columns_of, cut, printable

GAP = "  "
SAMPLE_ROWS = 1000
"""So many rows decide how wide the columns are; what follows is printed as it comes."""
_NARROWEST = 12
_PATH_COLUMNS = frozenset({"file", "filename", "path", "site", "key"})


@dataclass(frozen=True, slots=True)
class Column:
    """Title and form of a column; ``cut`` is the end that goes when the terminal is too narrow."""

    title: str
    align: Literal["left", "right"] = "left"
    cut: Where = "end"


def table(
    columns: Sequence[Column], rows: Iterable[Sequence[str]], *, width: int | None = None
) -> Iterator[str]:
    """Lines (without newline) of a table of texts: a header, a rule, the rows.

    ``width``: columns of the terminal to fit into by cutting texts; None cuts nothing.
    """
    cells = ([printable(cell) for cell in row] for row in rows)
    sample = list(islice(cells, SAMPLE_ROWS))
    titles = [printable(column.title) for column in columns]
    widths = [max(map(columns_of, texts)) for texts in zip(titles, *sample, strict=True)]
    if width is not None:
        widths = _fit(columns, widths, width)
    cutting = width is not None
    yield _line(columns, widths, titles, cutting=cutting)
    yield GAP.join("-" * size for size in widths)
    for row in chain(sample, cells):
        yield _line(columns, widths, row, cutting=cutting)


def result_table(
    columns: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None
) -> Iterator[str]:
    """A query's result as the lines of a table, each with its newline; numbers stand on the right."""
    stream = iter(rows)
    sample = list(islice(stream, SAMPLE_ROWS))
    shape = [
        Column(
            title,
            "right" if _numeric(row[index] for row in sample) else "left",
            "start" if title in _PATH_COLUMNS else "end",
        )
        for index, title in enumerate(columns)
    ]
    texts = ([cell_text(value) for value in row] for row in chain(sample, stream))
    for line in table(shape, texts, width=width):
        yield line + "\n"


def _numeric(values: Iterable[object]) -> bool:
    present = [value for value in values if value is not None]
    return bool(present) and all(
        isinstance(value, (int, float, Decimal, Quantity)) and not isinstance(value, bool)
        for value in present
    )


def _fit(columns: Sequence[Column], widths: list[int], width: int) -> list[int]:
    """The widths with the widest texts cut to one common limit, so that a line fits if it can."""
    texts = [index for index, column in enumerate(columns) if column.align == "left"]
    room = width - len(GAP) * (len(widths) - 1) - sum(widths) + sum(widths[index] for index in texts)
    low, high = _NARROWEST, max(widths, default=_NARROWEST)
    while low < high:
        limit = (low + high + 1) // 2
        if sum(min(widths[index], limit) for index in texts) <= room:
            low = limit
        else:
            high = limit - 1
    return [min(size, low) if index in texts else size for index, size in enumerate(widths)]


def _line(columns: Sequence[Column], widths: Sequence[int], row: Sequence[str], *, cutting: bool) -> str:
    parts = []
    for column, size, cell in zip(columns, widths, row, strict=True):
        text = cut(cell, size, column.cut) if cutting and column.align == "left" else cell
        padding = " " * (size - columns_of(text))
        parts.append(padding + text if column.align == "right" else text + padding)
    return GAP.join(parts).rstrip()
