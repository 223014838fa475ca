"""Markdown tables (GitHub's), streamed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from tracekit.report.cells import cell_text
from tracekit.report.text import printable

# What would otherwise become emphasis, a link, a tag (`<locals>`, `<lambda>`) or the end of the cell.
_SPECIAL = re.compile(r"[\\`*_<>\[\]|]")


def markdown_rows(
    columns: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None
) -> Iterator[str]:
    """A header and the rows of a table; ``width`` does not matter here."""
    del width
    yield _row(columns)
    yield _row_of(["---"] * len(columns))
    for row in rows:
        yield _row([cell_text(value) for value in row])


def escape(text: str) -> str:
    """Text that a Markdown renderer shows as it is."""
    return _SPECIAL.sub(lambda match: "\\" + match.group(), printable(text))


def _row(cells: Sequence[str]) -> str:
    return _row_of([escape(cell) for cell in cells])


def _row_of(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"
