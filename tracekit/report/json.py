"""JSON: one document, an array of rows, or one row a line. Only ASCII is written, so any terminal is safe."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence

from tracekit.report.cells import json_value


def json_document(value: object) -> str:
    """One indented document with a newline at its end."""
    return json.dumps(json_value(value), indent=2) + "\n"


def json_rows(
    columns: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None
) -> Iterator[str]:
    """An array with one object a row, streamed; ``width`` does not matter here."""
    del width
    names = unique_names(columns)
    separator = "[\n"
    for row in rows:
        yield separator + _object(names, row)
        separator = ",\n"
    yield "\n]\n" if separator != "[\n" else "[]\n"


def json_lines(
    columns: Sequence[str], rows: Iterable[Sequence[object]], width: int | None = None
) -> Iterator[str]:
    """One object a line, streamed; ``width`` does not matter here."""
    del width
    names = unique_names(columns)
    for row in rows:
        yield _object(names, row) + "\n"


def unique_names(columns: Sequence[str]) -> list[str]:
    """The names with ``_1``, ``_2``... after those that came before: an object has each key once."""
    names: list[str] = []
    for column in columns:
        name, number = column, 0
        while name in names:
            number += 1
            name = f"{column}_{number}"
        names.append(name)
    return names


def _object(names: Sequence[str], row: Sequence[object]) -> str:
    values = {name: json_value(value) for name, value in zip(names, row, strict=True)}
    return json.dumps(values)
