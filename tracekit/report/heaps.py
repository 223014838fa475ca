"""The heap at a moment, and the difference of two moments, as text. Both take the document of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.tables import Column, table
from tracekit.report.text import Where, printable, wrapped
from tracekit.report.units import (
    human_bytes,
    human_change,
    human_count,
    human_seconds,
    human_share,
    plural,
    signed_count,
)

# Which end of a key may go on a narrow terminal: paths and call paths are told apart by their last part,
# `function (file)` by both.
_CUT: dict[str, Where] = {"site": "start", "file": "start", "stack": "start", "function": "middle"}


def heap_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of a heap: moment, totals, groups, what was left out, notes.

    ``document``: moment {text, seq, time_s}, by, total_bytes, total_blocks, groups [{key, bytes, blocks}],
    groups_omitted, notes.
    """
    total = document["total_bytes"]
    yield f"heap at {moment_text(document['moment'])}"
    yield f"{human_bytes(total)} in {plural(document['total_blocks'], 'block')}, by {document['by']}"
    yield ""
    yield from group_table(document["by"], document["groups"], total, width=width)
    yield from _omitted(document, "group")
    yield from note_lines(document["notes"], width=width)


def group_table(
    by: str, groups: Sequence[Mapping[str, Any]], total_bytes: int, *, width: int | None = None
) -> Iterator[str]:
    """Lines of a table of groups with their share of ``total_bytes``."""
    columns = (
        Column("bytes", "right"),
        Column("share", "right"),
        Column("blocks", "right"),
        Column(by, cut=_CUT.get(by, "end")),
    )
    rows = (
        (
            human_bytes(group["bytes"]),
            human_share(group["bytes"], total_bytes),
            human_count(group["blocks"]),
            group["key"],
        )
        for group in groups
    )
    yield from table(columns, rows, width=width)


def difference_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of a difference: both moments, what changed in all, the groups that changed, notes.

    ``document``: from and to {text, seq, time_s}, by, total_bytes, total_blocks (changes), groups [{key,
    bytes, blocks, bytes_before, bytes_after, blocks_before, blocks_after}], groups_omitted, notes.
    """
    yield f"from {moment_text(document['from'])}"
    yield f"to   {moment_text(document['to'])}"
    change, blocks = document["total_bytes"], document["total_blocks"]
    unit = "block" if abs(blocks) == 1 else "blocks"
    yield f"{human_change(change)} in {signed_count(blocks)} {unit}, by {document['by']}"
    yield ""
    if not document["groups"]:
        yield "nothing changed"
    else:
        yield from _changes(document, width)
    yield from _omitted(document, "changed group")
    yield from note_lines(document["notes"], width=width)


def _changes(document: Mapping[str, Any], width: int | None) -> Iterator[str]:
    by = document["by"]
    columns = (
        Column("change", "right"),
        Column("blocks", "right"),
        Column("before", "right"),
        Column("after", "right"),
        Column(by, cut=_CUT.get(by, "end")),
    )
    rows = (
        (
            human_change(group["bytes"]),
            signed_count(group["blocks"]),
            human_bytes(group["bytes_before"]),
            human_bytes(group["bytes_after"]),
            group["key"],
        )
        for group in document["groups"]
    )
    yield from table(columns, rows, width=width)


def moment_text(moment: Mapping[str, Any]) -> str:
    """``peak (event 1,234, 56.0 ms)``."""
    where = f"event {human_count(moment['seq'])}, {human_seconds(moment['time_s'])}"
    return f"{printable(moment['text'])} ({where})"


def note_lines(notes: Sequence[str], *, width: int | None = None, label: str = "note") -> Iterator[str]:
    """What a reader must know about the numbers above, after an empty line."""
    if notes:
        yield ""
    for note in notes:
        yield from wrapped(f"{label}: {printable(note)}", width, indent=len(label) + 2)


def _omitted(document: Mapping[str, Any], what: str) -> Iterator[str]:
    count = document["groups_omitted"]
    if count:
        yield f"... and {plural(count, 'more ' + what)} (--limit 0 shows all)"
