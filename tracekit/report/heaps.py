"""The heap at a moment, and the difference of two moments, as text. Both take the document of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.stacks import stack_lines
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
CUT: dict[str, Where] = {
    "site": "start",
    "file": "start",
    "stack": "start",
    "function": "middle",
    "module": "start",
}


def heap_lines(
    document: Mapping[str, Any], *, whole_stacks: bool = False, width: int | None = None
) -> Iterator[str]:
    """Lines of a heap: moment, totals, groups, what was left out, the stack segment, notes.

    ``document``: moment {text, seq, time_s}, by, total_bytes, total_blocks, groups [{key, bytes, blocks}],
    groups_omitted, those of :func:`stack_lines`, notes.
    """
    yield from heading(document, f"by {document['by']}")
    yield from group_table(document["by"], document["groups"], document["total_bytes"], width=width)
    yield from omitted_lines(document, "group")
    yield from stack_lines(document, whole=whole_stacks, width=width)
    yield from note_lines(document["notes"], width=width)


def heading(document: Mapping[str, Any], how: str) -> Iterator[str]:
    """The moment, the totals and ``how`` they are added up below, and an empty line."""
    yield f"heap at {moment_text(document['moment'])}"
    size, blocks = human_bytes(document["total_bytes"]), plural(document["total_blocks"], "block")
    yield f"{size} in {blocks}, {how}"
    yield ""


def group_table(
    by: str, groups: Sequence[Mapping[str, Any]], total_bytes: int, *, width: int | None = None
) -> Iterator[str]:
    """Lines of a table of groups with their share of ``total_bytes``."""
    columns = (
        Column("bytes", "right"),
        Column("share", "right"),
        Column("blocks", "right"),
        Column(by, cut=CUT.get(by, "end")),
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

    ``document``: from and to {text, seq, time_s}, by, total_bytes, total_blocks (changes), bytes_before,
    bytes_after, made_bytes, made_blocks, statuses {name: {groups, bytes, blocks}}, groups [{key, status,
    bytes, blocks, bytes_before, bytes_after, blocks_before, blocks_after, made_bytes, made_blocks}],
    groups_omitted, notes.
    """
    yield f"from {moment_text(document['from'])}"
    yield f"to   {moment_text(document['to'])}"
    yield f"{change_text(document)}, by {document['by']}"
    yield (
        f"{human_bytes(document['bytes_before'])} before; {human_bytes(document['bytes_after'])} after, "
        f"{human_bytes(document['made_bytes'])} of them allocated in between"
    )
    yield from status_lines(document["statuses"])
    yield ""
    if not document["groups"]:
        changed = any(total["groups"] for total in document["statuses"].values())
        yield "nothing of that status changed" if changed else "nothing changed"
    else:
        yield from _changes(document, width)
    yield from omitted_lines(document, "changed group")
    yield from note_lines(document["notes"], width=width)


def change_text(document: Mapping[str, Any]) -> str:
    """``+1.5 KiB in +3 blocks`` of ``total_bytes`` and ``total_blocks``."""
    blocks = document["total_blocks"]
    unit = "block" if abs(blocks) == 1 else "blocks"
    return f"{human_change(document['total_bytes'])} in {signed_count(blocks)} {unit}"


def status_lines(statuses: Mapping[str, Mapping[str, int]], unchanged: int = 0) -> Iterator[str]:
    """One line: how many groups have each status, and by how much they changed."""
    parts = [
        f"{human_count(total['groups'])} {name} {human_change(total['bytes'])}"
        for name, total in statuses.items()
        if total["groups"]
    ]
    if unchanged:
        parts.append(f"{human_count(unchanged)} unchanged")
    if parts:
        yield f"groups: {', '.join(parts)}"


def _changes(document: Mapping[str, Any], width: int | None) -> Iterator[str]:
    by = document["by"]
    columns = (
        Column("change", "right"),
        Column("blocks", "right"),
        Column("before", "right"),
        Column("after", "right"),
        Column("made", "right"),
        Column("status"),
        Column(by, cut=CUT.get(by, "end")),
    )
    rows = (
        (
            human_change(group["bytes"]),
            signed_count(group["blocks"]),
            human_bytes(group["bytes_before"]),
            human_bytes(group["bytes_after"]),
            human_bytes(group["made_bytes"]),
            group["status"],
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


def omitted_lines(document: Mapping[str, Any], what: str) -> Iterator[str]:
    """How many groups were not shown, if any were not."""
    count = document["groups_omitted"]
    if count:
        yield f"... and {plural(count, 'more ' + what)} (--limit 0 shows all)"
