"""The questions of docs/cookbook.md have the answers that stand there."""

from __future__ import annotations

from tools.cookbook import BLOCK, PAGE, log_of, with_answers

TEXT = PAGE.read_text(encoding="utf-8")


def test_answers() -> None:
    assert with_answers(TEXT) == TEXT, "run 'python -m tools.cookbook' and look at what changed"


def test_every_question_has_an_answer_with_rows() -> None:
    blocks = list(BLOCK.finditer(TEXT))
    assert len(blocks) == TEXT.count("```sql") == TEXT.count("\n### ") >= 25
    for block in blocks:
        assert log_of(block[1]).exists()
        assert block[0].count("\n|") >= 3, block[2]  # the names, the line below them, and a row
