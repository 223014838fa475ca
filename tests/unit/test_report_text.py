"""Text from a trace never reaches a terminal as a command to it, and fits where it should."""

from __future__ import annotations

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.report.text import ascii_json, columns_of, cut, printable
from tracekit.report.units import (
    human_bytes,
    human_change,
    human_count,
    human_seconds,
    human_share,
    plural,
    signed_count,
)


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain text", "plain text"),
        ("\x1b[2J", "\\x1b[2J"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x9b31m", "\\x9b31m"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\udc80", "\\udc80"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("[bold]x[/bold]", "[bold]x[/bold]"),
        ("naïve 漢字", "naïve 漢字"),
        ("\U000e0041", "\\U000e0041"),
    ],
)
def test_printable(raw: str, shown: str) -> None:
    assert printable(raw) == shown


@given(st.text())
def test_nothing_that_a_terminal_obeys_is_printable(text: str) -> None:
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    assert printable(shown) == shown


@given(st.text(st.characters(codec="utf-8")))
def test_ascii_json_is_the_same_document(text: str) -> None:
    document = json.dumps({"name": text}, ensure_ascii=False)
    safe = ascii_json(document)
    assert safe.isascii()
    assert safe.isprintable()
    assert json.loads(safe) == {"name": text}


def test_columns_of_wide_characters() -> None:
    assert columns_of("abc") == 3
    assert columns_of("漢字") == 4


@pytest.mark.parametrize(
    ("where", "expected"), [("end", "abcdefg..."), ("start", "...tuvwxyz"), ("middle", "abcd...xyz")]
)
def test_cut_leaves_out_what_it_was_told(where: str, expected: str) -> None:
    assert cut("abcdefghijklmnopqrstuvwxyz", 10, where) == expected  # type: ignore[arg-type]


@given(st.text("ab漢", max_size=30), st.integers(0, 40), st.sampled_from(["start", "middle", "end"]))
def test_cut_fits(text: str, width: int, where: str) -> None:
    result = cut(text, width, where)  # type: ignore[arg-type]
    assert columns_of(result) <= width
    if columns_of(text) <= width:
        assert result == text


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024 * 1024 - 1, "1.0 MiB"),
        (-2048, "-2.0 KiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**60, "1024.0 PiB"),
    ],
)
def test_human_bytes(count: int, text: str) -> None:
    assert human_bytes(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.00085, "850 us"),
        (0.9999e-3, "1.0 ms"),
        (0.02, "20.0 ms"),
        (1.5, "1.50 s"),
        (59.999, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3720, "1 h 02 min"),
        (-0.02, "-20.0 ms"),
    ],
)
def test_human_seconds(seconds: float, text: str) -> None:
    assert human_seconds(seconds) == text


def test_counts_and_shares() -> None:
    assert human_count(1234567) == "1,234,567"
    assert signed_count(-1234) == "-1,234"
    assert signed_count(5) == "+5"
    assert signed_count(0) == "0"
    assert human_change(2048) == "+2.0 KiB"
    assert human_change(-1) == "-1 B"
    assert human_share(1, 8) == "12.5%"
    assert human_share(0, 0) == "-"
    assert plural(1, "block") == "1 block"
    assert plural(2000, "block") == "2,000 blocks"
