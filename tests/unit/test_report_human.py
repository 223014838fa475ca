"""Numbers with units, where the name of a column says what they are."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from tracekit.report.formats import FORMATS, format_of, rendered
from tracekit.report.human import human_rows, unit_of


@pytest.mark.parametrize(
    ("column", "value", "text"),
    [
        ("size", 1536, "1.5 KiB"),
        ("SIZE", 10, "10 B"),
        ("live_bytes", 2**30, "1.0 GiB"),
        ("bytes_before", -2048, "-2.0 KiB"),
        ("bytes", Decimal("1048576"), "1.0 MiB"),
        ("sum(size)", 4096, "4.0 KiB"),
        ("avg(a.size)", 1500.4, "1.5 KiB"),
        ("time_ns", 3_200_000, "3.2 ms"),
        ("max(freed_ns)", 61_000_000_000, "1 min 01 s"),
    ],
)
def test_units(column: str, value: object, text: str) -> None:
    assert list(human_rows([column], [(value,)])) == [[text]]


@pytest.mark.parametrize(
    "column",
    [
        "n",
        "count(size)",
        "size_class",
        "bytes_per_block",
        "log_mtime_ns",
        "columns",
        "bytes_share",
        "",
        "sizes",
    ],
)
def test_other_columns_stay(column: str) -> None:
    assert unit_of(column) is None


@pytest.mark.parametrize("value", [None, "big", True, float("nan"), float("inf")])
def test_other_values_stay(value: object) -> None:
    assert next(human_rows(["size"], [(value,)]))[0] is value


def test_units_are_for_people() -> None:
    texts = {name: "".join(rendered(name, ["size"], [(2048,)], human=True)) for name in FORMATS}
    assert {name for name, text in texts.items() if "2.0 KiB" in text} == {"table", "markdown"}
    assert texts["csv"] == "size\n2048\n"


def test_they_are_aligned_as_numbers_are() -> None:
    assert list(rendered("table", ["size", "n"], [(2048, 1), (1, 2), (None, 3)], human=True)) == [
        "   size  n\n",
        "-------  -\n",
        "2.0 KiB  1\n",
        "    1 B  2\n",
        "   NULL  3\n",
    ]


def test_a_plan_is_drawn() -> None:
    rows = [("physical_plan", "+--+\n|\x1b |\n+--+\n")]
    assert "".join(rendered("table", ["explain_key", "explain_value"], rows)) == "+--+\n|\\x1b |\n+--+\n"


def test_suffixes() -> None:
    assert [format_of(Path(name)) for name in ("a.csv", "a.parquet", "a", "a.md")] == [
        "csv",
        "parquet",
        "",
        "markdown",
    ]
