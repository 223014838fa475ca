"""Every format renders every value, streams, and is safe on a terminal."""

from __future__ import annotations

import csv
import datetime
import io
import json
import unicodedata
from collections.abc import Iterator, Sequence
from decimal import Decimal

import pytest

from tracekit.report.formats import FORMATS
from tracekit.report.tables import SAMPLE_ROWS, Column, table

COLUMNS = ["n", "what"]
ROWS: list[tuple[object, ...]] = [(1, "one"), (-20, None), (None, "a|b <locals>"), (3, 'say "hi", x')]
HOSTILE = "\x1b]0;owned\x07\x9b31m\u202e[red]x[/red]\r\n"


def rendered(
    name: str, columns: Sequence[str], rows: Sequence[Sequence[object]], width: int | None = None
) -> str:
    return "".join(FORMATS[name].render(columns, iter(rows), width))


def test_table() -> None:
    assert rendered("table", COLUMNS, ROWS) == (
        '   n  what\n----  ------------\n   1  one\n -20  NULL\nNULL  a|b <locals>\n   3  say "hi", x\n'
    )


def test_csv_is_read_back_by_a_csv_reader() -> None:
    assert list(csv.reader(io.StringIO(rendered("csv", COLUMNS, ROWS)))) == [
        ["n", "what"],
        ["1", "one"],
        ["-20", ""],
        ["", "a|b <locals>"],
        ["3", 'say "hi", x'],
    ]


def test_json_is_an_array_of_objects() -> None:
    expected = [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    assert json.loads(rendered("json", COLUMNS, ROWS)) == expected
    assert [json.loads(line) for line in rendered("jsonl", COLUMNS, ROWS).splitlines()] == expected


def test_json_of_no_rows() -> None:
    assert rendered("json", COLUMNS, []) == "[]\n"
    assert rendered("jsonl", COLUMNS, []) == ""


def test_json_names_every_column_once() -> None:
    assert json.loads(rendered("json", ["a", "a", "a_1"], [(1, 2, 3)])) == [{"a": 1, "a_1": 2, "a_1_1": 3}]


def test_markdown_escapes_what_it_would_render() -> None:
    assert rendered("markdown", ["__init__"], [("a|b <locals> *x*",)]) == (
        "| \\_\\_init\\_\\_ |\n| --- |\n| a\\|b \\<locals\\> \\*x\\* |\n"
    )


@pytest.mark.parametrize("name", FORMATS)
def test_no_format_lets_a_name_command_the_terminal(name: str) -> None:
    text = rendered(name, ["name" + HOSTILE], [(HOSTILE,), ([HOSTILE],), ({HOSTILE: HOSTILE},)])
    assert not [c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs") and c != "\n"]
    # No newline inside a value either: every format has as many lines as rows and what it adds itself.
    assert text.count("\n") <= 5


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_takes_every_value(name: str) -> None:
    values: list[object] = [
        True,
        2**100,
        1.5,
        float("nan"),
        Decimal("7"),
        Decimal("1.25"),
        datetime.datetime(2026, 1, 2, 3, 4, 5),
        datetime.date(2026, 1, 2),
        datetime.timedelta(seconds=3),
        b"\x00\xff",
        [1, None, "x"],
        {"k": 1},
    ]
    text = rendered(name, ["value"], [(value,) for value in values])
    assert "2026-01-02" in text
    assert "00ff" in text
    assert "1.25" in text


def test_json_values() -> None:
    row = (
        float("inf"),
        Decimal("7"),
        Decimal("0.5"),
        datetime.datetime(2026, 1, 2, 3, 4, 5),
        {"k": [b"\x01"]},
    )
    assert json.loads(rendered("jsonl", ["a", "b", "c", "d", "e"], [row])) == {
        "a": None,
        "b": 7,
        "c": 0.5,
        "d": "2026-01-02T03:04:05",
        "e": {"k": ["01"]},
    }


@pytest.mark.parametrize("name", FORMATS)
def test_rows_are_streamed(name: str) -> None:
    taken = 0

    def rows() -> Iterator[tuple[int]]:
        nonlocal taken
        for number in range(SAMPLE_ROWS * 100):
            taken = number
            yield (number,)

    pieces = FORMATS[name].render(["n"], rows(), None)
    for _ in range(5):
        next(pieces)
    assert taken <= SAMPLE_ROWS


def test_table_is_cut_only_to_a_width() -> None:
    path = "/very/long/" + "folder/" * 20 + "module.py:12"
    columns = (Column("bytes", "right"), Column("site", cut="start"))
    whole = list(table(columns, [("1.5 KiB", path)]))
    assert whole[2] == f"1.5 KiB  {path}"
    narrow = list(table(columns, [("1.5 KiB", path)], width=40))
    assert all(len(line) <= 40 for line in narrow)
    assert narrow[2].startswith("1.5 KiB  ...")
    assert narrow[2].endswith("module.py:12")


def test_table_cuts_the_widest_columns_first() -> None:
    lines = list(table((Column("a"), Column("b")), [("short", "x" * 100)], width=50))
    assert lines[2] == "short  " + "x" * 40 + "..."


def test_table_aligns_wide_characters() -> None:
    lines = list(table((Column("a"), Column("b")), [("漢字", "1"), ("abcd", "2")]))
    assert lines[2:] == ["漢字  1", "abcd  2"]


def test_suffixes_are_different() -> None:
    assert len({entry.suffix for entry in FORMATS.values()}) == len(FORMATS)
