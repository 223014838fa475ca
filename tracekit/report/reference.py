"""The reference of the store's SQL, as Markdown."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_TITLES = {
    "table": "Tables",
    "view": "Views",
    "macro": "Macros",
    "table macro": "Table macros",
    "type": "Types",
}


def reference(objects: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Lines, without their newlines: a heading a kind, one an object, a table of its columns.

    The objects are those of `tracekit schema store --describe --json`.
    """
    for kind, title in _TITLES.items():
        found = [one for one in objects if one["kind"] == kind]
        if found:
            yield from (f"## {title}", "")
        for one in found:
            call = f"({', '.join(one['parameters'])})" if "macro" in kind else ""
            yield from (f"### `{one['name']}{call}`", "", _cell(one["comment"]), "")
            if one["columns"]:
                yield from ("| Column | Type | |", "|---|---|---|")
                for column in one["columns"]:
                    yield f"| `{column['name']}` | {_cell(column['type'])} | {_cell(column['comment'])} |"
                yield ""


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
