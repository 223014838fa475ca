"""Answers the questions of docs/cookbook.md from the sample traces: ``python -m tools.cookbook``.

The page has each question's SQL in a block that begins with the name of a sample, ``-- leaking_cache``. The
answer, a Markdown table, stands behind the block and is made anew.
"""

from __future__ import annotations

import re
from pathlib import Path

from tracekit.report.markdown import markdown_rows
from tracekit.store.opening import open_store

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "cookbook.md"
BLOCK = re.compile(r"```sql\n-- (\w+)\n((?:[^`\n][^\n]*\n)+)```\n(?:\n(?:\|[^\n]*\n)+)?")


def log_of(sample: str) -> Path:
    """The log of a sample that the page names."""
    return ROOT / "sample_traces" / "v2" / f"{sample}.native.tkt"


def with_answers(text: str) -> str:
    """The page with all answers made anew. Raises SqlError for a question that cannot be asked."""
    samples = {match[1] for match in BLOCK.finditer(text)}
    stores = {name: open_store(log_of(name), cache=False) for name in sorted(samples)}

    def answered(match: re.Match[str]) -> str:
        result = stores[match[1]].query(match[2])
        rows = "".join(markdown_rows(result.columns, result.rows()))
        return f"```sql\n-- {match[1]}\n{match[2]}```\n\n{rows}"

    try:
        return BLOCK.sub(answered, text)
    finally:
        for store in stores.values():
            store.close()


if __name__ == "__main__":
    PAGE.write_text(with_answers(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
