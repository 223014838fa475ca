"""What was found when a log was checked, and what a recovery kept, as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracekit.report.pairs import pair_lines
from tracekit.report.text import printable
from tracekit.report.units import human_count, plural


def verification_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of the document of ``verify --json``: the verdict, what was read, every problem."""
    problems = document["problems"]
    verdict = "ok" if document["ok"] else plural(len(problems), "problem")
    yield f"{printable(document['path'])}: {verdict}"
    yield from pair_lines(_pairs(document), width=width)
    for problem in problems:
        yield f"problem: {printable(problem)}"


def _pairs(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "records", human_count(document["records"])
    yield "events", human_count(document["events"])
    yield "complete", "yes" if document["complete"] else "no: the program did not reach its own end"
    yield "closed", "yes" if document["closed"] else "no: no footer at its end"
    torn = document["torn_bytes"]
    if torn:
        yield "torn", f"the last {plural(torn, 'byte')} are no whole record"


def recovery_lines(document: Mapping[str, Any]) -> Iterator[str]:
    """Lines of the document of ``recover --json``: what was kept, and every loss."""
    lost = document["bytes_lost"]
    yield (
        f"kept {plural(document['records_kept'], 'record')} with {plural(document['events_kept'], 'event')}, "
        f"lost {plural(lost, 'byte')}"
    )
    for loss in document["losses"]:
        yield f"lost: {printable(loss)}"
