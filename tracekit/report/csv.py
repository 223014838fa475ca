"""CSV as RFC 4180 has it, with one newline a row. Control characters are written as escapes."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from io import StringIO

from tracekit.report.cells import cell_text
from tracekit.report.text import printable


def csv_rows(
    columns: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None
) -> Iterator[str]:
    """A header and the rows, streamed; NULL is an empty cell. ``width`` does not matter here."""
    del width
    buffer = StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow([printable(column) for column in columns])
    for row in rows:
        yield _take(buffer)
        writer.writerow([printable(cell_text(value, null="")) for value in row])
    yield _take(buffer)


def _take(buffer: StringIO) -> str:
    text = buffer.getvalue()
    buffer.seek(0)
    buffer.truncate()
    return text
