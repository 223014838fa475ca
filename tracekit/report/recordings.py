"""The difference of two recordings as text, from the document of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from tracekit.report.heaps import (
    CUT,
    change_text,
    moment_text,
    note_lines,
    omitted_lines,
    status_lines,
)
from tracekit.report.tables import GAP, Column, table
from tracekit.report.text import cut, printable
from tracekit.report.units import (
    human_bytes,
    human_change,
    human_count,
    human_seconds,
    human_share,
    signed_count,
)


def recordings_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of the difference of two recordings: both of them, what changed, the groups, notes, the verdict.

    ``document``: old and new {path, moment, total_bytes, total_blocks, peak_bytes, end_bytes, end_blocks,
    allocations, gc_collections, duration_s}, by, total_bytes, total_blocks (changes), statuses {name:
    {groups, bytes, blocks}}, unchanged, groups [{key, status, bytes, blocks, bytes_before, bytes_after,
    blocks_before, blocks_after, old and new {file, function, line, text} or None, edited}], groups_omitted,
    fail_above {text, bytes} or None, failed, notes.
    """
    for side in ("old", "new"):
        where = document[side]
        yield f"{side} {printable(where['path'])} at {moment_text(where['moment'])}"
    yield ""
    yield from _summary(document, width)
    yield ""
    yield f"{change_text(document)}, by {document['by']}"
    yield from status_lines(document["statuses"], document["unchanged"])
    yield ""
    if document["groups"]:
        yield from _groups(document, width)
    else:
        yield "nothing changed"
    yield from omitted_lines(document, "changed group")
    yield from note_lines(document["notes"], width=width)
    if document["fail_above"] is not None:
        yield ""
        yield _verdict(document)


def _summary(document: Mapping[str, Any], width: int | None) -> Iterator[str]:
    old, new = document["old"], document["new"]
    columns = (Column(""), Column("old", "right"), Column("new", "right"), Column("change", "right"))
    rows = [
        ("at this moment", "total_bytes", human_bytes, human_change),
        ("at the peak", "peak_bytes", human_bytes, human_change),
        ("at the end", "end_bytes", human_bytes, human_change),
        ("blocks at the end", "end_blocks", human_count, signed_count),
        ("allocations", "allocations", human_count, signed_count),
        ("collections", "gc_collections", human_count, signed_count),
    ]
    cells = [
        (
            title,
            text(old[name]),
            text(new[name]),
            _with_share(change(new[name] - old[name]), old[name], new[name]),
        )
        for title, name, text, change in rows[int(_is_told(old, new)) :]
    ]
    cells.append(("duration", human_seconds(old["duration_s"]), human_seconds(new["duration_s"]), ""))
    yield from table(columns, cells, width=width)


def _is_told(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether what is alive at the moments is told anyway."""
    return old["moment"]["text"] == new["moment"]["text"] and new["moment"]["text"] in {"peak", "end"}


def _with_share(change: str, old: int, new: int) -> str:
    if old == new or not old:
        return change
    return f"{change} ({'+' if new > old else ''}{human_share(new - old, old)})"


def _groups(document: Mapping[str, Any], width: int | None) -> Iterator[str]:
    """A table with the source text of each group, where it is known, on a line of its own."""
    by = document["by"]
    columns = (
        Column("change", "right"),
        Column("blocks", "right"),
        Column("before", "right"),
        Column("after", "right"),
        Column("status"),
        Column(by, cut=CUT.get(by, "end")),
    )
    rows = (
        (
            human_change(group["bytes"]),
            signed_count(group["blocks"]),
            human_bytes(group["bytes_before"]),
            human_bytes(group["bytes_after"]),
            group["status"],
            _place(group),
        )
        for group in document["groups"]
    )
    lines = table(columns, rows, width=width)
    yield next(lines)
    rule = next(lines)
    yield rule
    indent = rule.find(" ") + len(GAP)
    for line, group in zip(lines, document["groups"], strict=True):
        yield line
        for text in _texts(group):
            shown = printable(text)
            yield " " * indent + (shown if width is None else cut(shown, max(width - indent, 0)))


def _place(group: Mapping[str, Any]) -> str:
    """Its key, with the old line before the new one where that is another."""
    old, new = group["old"], group["new"]
    if not old or not new or new["line"] is None or old["line"] == new["line"]:
        return str(group["key"])
    return f"{new['file']}:{old['line']} -> {new['line']} ({new['function']})"


def _texts(group: Mapping[str, Any]) -> list[str]:
    old, new = ((group[side] or {}).get("text") for side in ("old", "new"))
    if group["edited"] and old and new:
        return [f"- {old}", f"+ {new}"]
    return [text for text in (new or old,) if text]


def _verdict(document: Mapping[str, Any]) -> str:
    limit = document["fail_above"]
    least = f"{printable(limit['text'])}"
    if limit["text"].endswith("%"):
        least = f"{least} ({human_bytes(limit['bytes'])})"
    grown = human_change(document["total_bytes"])
    if document["failed"]:
        return f"failed: {grown} is more than {least}"
    return f"passed: {grown} is not more than {least}"
