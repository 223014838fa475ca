"""The one list of formats that a query's result can be printed in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tracekit.report.csv import csv_rows
from tracekit.report.human import human_rows
from tracekit.report.json import json_lines, json_rows
from tracekit.report.markdown import markdown_rows
from tracekit.report.plans import PLAN_COLUMNS, plan_lines
from tracekit.report.tables import result_table

Render = Callable[[Sequence[str], Iterable[Sequence[object]], int | None], Iterator[str]]
"""(column names, rows, columns of the terminal or None) -> pieces of text, as the rows arrive."""


@dataclass(frozen=True, slots=True)
class Format:
    """A name for the command line, the suffix of a file that holds it, and the function that renders it."""

    name: str
    suffix: str
    render: Render
    human: bool = False
    """Whether it is for people, and so may show units (``--human``)."""


FORMATS: dict[str, Format] = {
    entry.name: entry
    for entry in (
        Format("table", ".txt", result_table, human=True),
        Format("json", ".json", json_rows),
        Format("jsonl", ".jsonl", json_lines),
        Format("csv", ".csv", csv_rows),
        Format("markdown", ".md", markdown_rows, human=True),
    )
}

PARQUET = "parquet"
PARQUET_SUFFIX = ".parquet"
"""A format for files only, which DuckDB writes and no renderer."""


def format_of(path: Path) -> str:
    """The format that a file's suffix names, empty when it names none."""
    if path.suffix == PARQUET_SUFFIX:
        return PARQUET
    return next((entry.name for entry in FORMATS.values() if entry.suffix == path.suffix), "")


def rendered(
    name: str,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    width: int | None = None,
    *,
    human: bool = False,
) -> Iterator[str]:
    """A result in a format, as pieces of text; ``human`` shows units where the format is for people."""
    form = FORMATS[name]
    if name == "table" and tuple(columns) == PLAN_COLUMNS:
        return plan_lines(rows)
    return form.render(columns, human_rows(columns, rows) if human and form.human else rows, width)
