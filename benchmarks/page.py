"""Puts measured figures into docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write_page(parts: Mapping[str, str], page: Path = PAGE) -> None:
    """Put texts between their markers in the page. Raises ValueError when it has no such markers."""
    text = page.read_text(encoding="utf-8")
    for name, content in parts.items():
        begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
        head, found, rest = text.partition(begin)
        if not found or end not in rest:
            raise ValueError(f"{page.name} has no place for {name!r}")
        text = f"{head}{begin}{content}{end}{rest.partition(end)[2]}"
    page.write_text(text, encoding="utf-8")
