"""The one list of formats that a query's result can be printed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from tracekit.report.csv import csv_rows
from tracekit.report.json import json_lines, json_rows
from tracekit.report.markdown import markdown_rows
from tracekit.report.tables import result_table

Render = Callable[[Sequence[str], Iterable[Sequence[object]], int | None], Iterator[str]]
"""(column names, rows, columns of the terminal or None) -> pieces of text, as the rows arrive."""


@dataclass(frozen=True, slots=True)
class Format:
    """A name for the command line, the suffix of a file that holds it, and the function that renders it."""

    name: str
    suffix: str
    render: Render


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("table", ".txt", result_table),
        Format("json", ".json", json_rows),
        Format("jsonl", ".jsonl", json_lines),
        Format("csv", ".csv", csv_rows),
        Format("markdown", ".md", markdown_rows),
    )
}
