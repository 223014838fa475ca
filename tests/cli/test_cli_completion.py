"""What Tab offers in the shell."""

from __future__ import annotations

import pytest

from tracekit.cli.completion import Catalogue, candidates
from tracekit.cli.shell import COMMANDS
from tracekit.store.statements import unfinished

CATALOGUE = Catalogue(
    tables={"allocations": "table", "sites": "view"},
    columns={
        "allocations": {"alloc_seq": "BIGINT", "size": "BIGINT"},
        "sites": {"file": "VARCHAR", "live_bytes": "HUGEINT"},
    },
    macros={"moment": "moment_text, trace"},
    table_macros={"heap_at": "at_seq, trace"},
)


def offered(text: str) -> list[str]:
    """What is offered at the bar in a text."""
    before, _, after = text.partition("|")
    return [one.text for one in candidates(before, after, CATALOGUE, COMMANDS)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM |", ["allocations", "sites", "heap_at("]),
        ("SELECT * FROM al|", ["allocations"]),
        ("from he|", ["heap_at("]),
        ("SELECT 1 FROM sites s JOIN AL|", ["allocations"]),
        ("DESCRIBE s|", ["sites", "SELECT"]),
        ("SELECT f|", ["file", "FILTER", "first("]),
        ("select f|", ["file", "filter", "first("]),
        ("SELECT mom|", ["moment("]),
        ("SELECT | FROM sites", ["file", "live_bytes"]),
        ("SELECT s.| FROM sites s", ["file", "live_bytes"]),
        ("SELECT sites.li| FROM sites", ["live_bytes"]),
        ("SELECT a.s| FROM sites s JOIN allocations AS a USING (x)", ["size"]),
        ("SELECT x.| FROM sites", []),
        ("FROM sites; SELECT a.|", []),
        ("FROM sites WHERE l|", ["live_bytes", "LATERAL", "LEFT", "LIKE", "LIMIT"]),
        ("SELECT 'fi|", []),
        ("SELECT 1 -- fi|", []),
        ("SELECT 1 /* fi|", []),
        ('SELECT "fi|', []),
        ("SELECT 'a' || 'it''s', mom|", ["moment("]),
        ("SELECT file|", []),
        (".sch|", [".schema"]),
        (".schema s|", ["sites"]),
        (".schema |", ["allocations", "sites", "moment", "heap_at"]),
        (".mode j|", ["json", "jsonl"]),
        (".human |", ["on", "off"]),
        (".nothing |", []),
    ],
)
def test_candidates(text: str, expected: list[str]) -> None:
    found = offered(text)
    if text == "SELECT 'a' || 'it''s', mom|":
        found = [one.text for one in candidates(text[:-1], "", CATALOGUE, COMMANDS)]
    assert [one for one in found if one in expected] == expected
    assert len(found) <= len(expected) + 40
    if not expected:
        assert found == []


def test_a_statement_begins_with_a_verb() -> None:
    assert offered("|")[:2] == ["SELECT", "FROM"]
    assert offered("SELECT 1; |")[:2] == ["SELECT", "FROM"]
    assert offered("se|")[0] == "select"


def test_what_is_replaced_and_what_it_is() -> None:
    first = candidates("SELECT liv", " FROM sites", CATALOGUE, COMMANDS)[0]
    assert (first.text, first.what, first.typed) == ("live_bytes", "HUGEINT", 3)


@pytest.mark.parametrize(
    ("text", "inside"),
    [
        ("'a", True),
        ("'a'", False),
        ("'it''s", True),
        ("'it''s'", False),
        ("'a' x", False),
        ('"a', True),
        ("-- a", True),
        ("-- a\n", False),
        ("/* a", True),
        ("/*/", True),
        ("/* a */", False),
        ("$$ a", True),
        ("$$ a $$", False),
        ("$x$ a $$", True),
        ("$x$ a $x$", False),
        ("", False),
        ("SELECT 1;", False),
    ],
)
def test_unfinished(text: str, inside: bool) -> None:
    assert unfinished(text) is inside
