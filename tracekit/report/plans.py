"""Plans of queries (EXPLAIN), which are drawings of many lines and no cells of a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from tracekit.report.text import printable

PLAN_COLUMNS = ("explain_key", "explain_value")
"""The columns by which a result is known to be a plan."""


def plan_lines(rows: Iterable[Sequence[object]]) -> Iterator[str]:
    """The drawings line by line, each line with its newline."""
    for row in rows:
        for line in str(row[-1]).splitlines():
            yield printable(line).rstrip() + "\n"
