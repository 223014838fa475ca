"""Writes the reference of the store's SQL into docs/sql.md: ``python -m tools.reference``."""

from __future__ import annotations

from pathlib import Path

from tracekit.report.reference import reference
from tracekit.store.describe import describe

PAGE = Path(__file__).resolve().parent.parent / "docs" / "sql.md"
BEGIN = "<!-- reference: begin; made by 'make schemas' -->\n"
END = "<!-- reference: end -->\n"


def with_reference(text: str) -> str:
    """The page with what is between the two marks made anew. Raises ValueError when a mark is missing."""
    before, found, rest = text.partition(BEGIN)
    _, found_end, after = rest.partition(END)
    if not (found and found_end):
        raise ValueError(f"{PAGE.name} does not say where the reference goes")
    made = "".join(f"{line}\n" for line in reference(describe()))
    return f"{before}{BEGIN}\n{made}{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
