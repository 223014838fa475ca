"""Charts of one character a column."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.report.plots import bars, can_draw, digits, labelled


def test_bars() -> None:
    assert bars([0, 8, 4, 1, None, 16], 2) == ["     █", " █▄▁ █"]
    assert bars([0, 8, 4, 1, None, 16], 2, blocks=False) == ["     #", " #:. #"]
    assert bars([None, 0], 1) == ["  "]
    assert bars([], 1) == [""]


@given(st.lists(st.one_of(st.none(), st.integers(0, 2**63)), max_size=20), st.integers(1, 9), st.booleans())
def test_every_value_shows_and_only_the_highest_fills_its_column(
    values: list[int | None], rows: int, blocks: bool
) -> None:
    chart = bars(values, rows, blocks=blocks)
    assert [len(row) for row in chart] == [len(values)] * rows
    for column, value in enumerate(values):
        drawn = "".join(row[column] for row in chart)
        assert bool(drawn.strip()) == bool(value)
        assert drawn == drawn.strip().rjust(rows)
        if value and value == max(other or 0 for other in values):
            assert drawn == ("█" if blocks else "#") * rows


def test_labels() -> None:
    assert list(labelled(["  ", "█ "], ["1 B", ""])) == ["       1 B ┤", "           │█"]
    assert list(labelled(["#"], ["x"], blocks=False)) == ["         x +#"]
    assert digits([0, 9, 1]) == " 91"


@pytest.mark.parametrize(
    ("encoding", "can"),
    [("utf-8", True), ("ascii", False), ("latin-1", False), (None, False), ("odd", False)],
)
def test_what_an_encoding_can_show(encoding: str | None, can: bool) -> None:
    assert can_draw(encoding) == can
