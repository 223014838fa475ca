"""What could be typed next in the shell: names of the store, keywords, dot commands and their arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from tracekit.store.statements import split_statements, unfinished

KEYWORDS = tuple(
    """
    ALL AND ANTI AS ASC ASOF BETWEEN BY CASE CAST COLUMNS CROSS DESC DESCRIBE DISTINCT ELSE END EXCEPT
    EXCLUDE EXISTS EXPLAIN FALSE FILTER FROM FULL GROUP HAVING IN INNER INTERSECT IS JOIN LATERAL LEFT
    LIKE LIMIT NOT NULL OFFSET ON OR ORDER OUTER OVER PARTITION PIVOT POSITIONAL QUALIFY RECURSIVE
    REPLACE RIGHT SELECT SEMI SHOW SUMMARIZE TABLES THEN TRUE UNION UNNEST UNPIVOT USING VALUES WHEN
    WHERE WINDOW WITH
    """.split()  # noqa: SIM905 - a hundred strings a line each say no more
)
FUNCTIONS = tuple(
    """
    abs any_value arg_max arg_min avg coalesce count date_trunc first format_bytes greatest histogram
    last least list lower max median min mode parse_filename quantile_cont regexp_extract regexp_matches
    round row_number split_part starts_with string_agg sum upper
    """.split()  # noqa: SIM905 - a hundred strings a line each say no more
)
_WORD = re.compile(r"[A-Za-z_]\w*\Z")
_FIRST = re.compile(r"\s*([A-Za-z]+)")
_QUALIFIER = re.compile(r"([A-Za-z_]\w*)\.\Z")
_SOURCE = re.compile(
    r"\b(?:FROM|JOIN)\s+([A-Za-z_]\w*)(?:\s*\([^()]*\))?(?:\s+(?:AS\s+)?([A-Za-z_]\w*))?", re.IGNORECASE
)
_WANTS_TABLE = re.compile(r"\b(?:FROM|JOIN|DESCRIBE|SUMMARIZE|PIVOT|UNPIVOT)\s+\Z", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A text to put in the place of the last ``typed`` characters, and what it is."""

    text: str
    what: str
    typed: int


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a store has: kinds of tables and views, their columns with types, macros with parameters."""

    tables: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    macros: Mapping[str, str] = field(default_factory=dict)
    table_macros: Mapping[str, str] = field(default_factory=dict)


def candidates(
    before: str, after: str, catalogue: Catalogue, commands: Mapping[str, Sequence[str]]
) -> list[Candidate]:
    """What can stand at the cursor between two texts, the likeliest first; each once.

    ``commands`` are the dot commands with what can follow each.
    """
    if before.lstrip().startswith("."):
        return _of_command(before.lstrip(), catalogue, commands)
    if unfinished(before):
        return []
    found = _WORD.search(before)
    word = found[0] if found else ""
    head = before[: len(before) - len(word)]
    _, statement = split_statements(head)
    sources = dict(_sources(statement + word + after))
    names = _unique(_names(statement, word, sources, catalogue))
    return [
        Candidate(text, what, len(word))
        for text, what in names
        if text.lower().startswith(word.lower()) and text != word
    ]


def _of_command(before: str, catalogue: Catalogue, commands: Mapping[str, Sequence[str]]) -> list[Candidate]:
    name, space, argument = before.partition(" ")
    if not space:
        return [Candidate(one, "", len(name)) for one in commands if one.startswith(name)]
    argument = argument.lstrip()
    choices: Iterable[str] = commands.get(name, ())
    if name == ".schema":
        choices = [*catalogue.tables, *catalogue.macros, *catalogue.table_macros]
    return [Candidate(one, "", len(argument)) for one in choices if one.startswith(argument)]


def _names(
    statement: str, word: str, sources: Mapping[str, str], catalogue: Catalogue
) -> Iterator[tuple[str, str]]:
    qualifier = _QUALIFIER.search(statement)
    if qualifier is not None:
        table = sources.get(qualifier[1].lower(), qualifier[1].lower())
        yield from catalogue.columns.get(table, {}).items()
        return
    if _WANTS_TABLE.search(statement):
        yield from _tables(catalogue)
        yield from _keywords(("SELECT", "LATERAL", "VALUES"), statement + word)
        return
    for table in dict.fromkeys(sources.values()):
        yield from catalogue.columns.get(table, {}).items()
    if not statement.strip():
        yield from _keywords(("SELECT", "FROM", "WITH", "DESCRIBE", "SUMMARIZE", "EXPLAIN"), word)
    if word:
        for columns in catalogue.columns.values():
            yield from columns.items()
        yield from _tables(catalogue)
        yield from ((f"{name}(", f"macro ({parameters})") for name, parameters in catalogue.macros.items())
        yield from _keywords(KEYWORDS, statement + word)
        yield from ((f"{name}(", "function") for name in FUNCTIONS)


def _tables(catalogue: Catalogue) -> Iterator[tuple[str, str]]:
    yield from catalogue.tables.items()
    yield from ((f"{name}(", f"macro ({parameters})") for name, parameters in catalogue.table_macros.items())


def _keywords(keywords: Iterable[str], begun: str) -> Iterator[tuple[str, str]]:
    """In the case in which the statement was begun; in capitals when nothing is there yet."""
    first = _FIRST.match(begun)
    lower = first is not None and first[1].islower()
    return ((one.lower() if lower else one, "") for one in keywords)


def _sources(statement: str) -> Iterator[tuple[str, str]]:
    """(name or alias, table) of what stands behind FROM and JOIN."""
    for match in _SOURCE.finditer(statement):
        table = match[1].lower()
        yield table, table
        if match[2] and match[2].upper() not in KEYWORDS:
            yield match[2].lower(), table


def _unique(names: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for text, what in names:
        if text not in seen:
            seen.add(text)
            yield text, what
