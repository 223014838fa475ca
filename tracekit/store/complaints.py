"""DuckDB's errors in tracekit's words: what is wrong in one line, what to do about it, and the place."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import duckdb

from tracekit.errors import MemoryLimitError, SqlError, TracekitError

_LISTED = "'tracekit schema store --describe' lists what there is"
_PLACE = re.compile(r"^LINE \d+: .*", re.MULTILINE | re.DOTALL)
_ABSENT = re.compile(r'^\w+ Error: (?P<kind>[A-Z][\w ]*?) with name "?(?P<name>.+?)"? does not exist')
_MISUSED = re.compile(r'Function "(?P<name>.+?)" is a table function but it was used as a scalar function')
_COLUMN = re.compile(
    r'Referenced column "(?P<name>.+?)" (?:was )?not found|does not have a column named "(?P<other>.+?)"'
)
_TABLE = re.compile(r'Referenced table "(?P<name>.+?)" not found')
_OFFERED = re.compile(r"^(?:Candidate \w+|Did you mean)\b(?P<names>.*)$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n\s*\n")
_SPILLED = "duckdb_temp_"
"""Begins the names of the files that DuckDB spills to."""
_REFUSED = re.compile(r'(?:write|create|open|sync)\b[^"]*\\?"[^"]+": ([^"\n{}]+)')
_LOOKS_LIKE_FILE = re.compile(r"/|\.(?:csv|tsv|json\w*|ndjson|parquet|txt|duckdb|db|gz|zst)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Names:
    """What a store has: tables and views, macros that give a value, and macros that give a table."""

    tables: Sequence[str]
    values: Sequence[str]
    table_macros: Sequence[str]


def complaint(error: duckdb.Error, sql: str, names: Callable[[], Names]) -> TracekitError:
    """The error to raise instead. Its message may have further lines, which show the place."""
    text = str(error)
    if isinstance(error, duckdb.OutOfMemoryException):
        return _memory(text)
    if _SPILLED in text:
        refused = _REFUSED.search(text)
        why = refused[1] if refused else text
        return MemoryLimitError(
            f"the query does not fit into memory, nor into the temporary folder: {why}",
            hint="make room there, or let TMPDIR name another folder",
        )
    if "file system operations are disabled" in text:
        return _files(text)
    found = _PLACE.search(text)
    place = found[0].rstrip() if found else ""
    absent, column, table = _ABSENT.match(text), _COLUMN.search(text), _TABLE.search(text)
    misused = _MISUSED.search(text)
    if column is not None:
        message, hint = _no_column(column["name"] or column["other"], sql, _offered(text))
    elif table is not None:
        near = _near(table["name"], _offered(text))
        message, hint = f'there is no table "{table["name"]}" in this query', _did_you_mean(near)
    elif absent is not None and absent["kind"] in ("Table", "View"):
        message, hint = _no_table(absent["name"], names(), _offered(text))
    elif absent is not None and "Function" in absent["kind"]:
        message, hint = _no_function(absent["name"], names(), _offered(text))
    elif misused is not None:
        message, hint = _table_macro(misused["name"])
    else:
        return SqlError(_BLANK_LINES.sub("\n", text.expandtabs(4)))
    return SqlError(f"{message}\n{place}" if place else message, hint=hint)


def write_failure(error: duckdb.Error) -> OSError | None:
    """What the disk said to a file of ours that DuckDB was to write; None for all other errors."""
    text = str(error)
    if not isinstance(error, duckdb.IOException) or _SPILLED in text:
        return None
    reason = _REFUSED.search(text)
    return OSError(0, reason[1]) if reason else None


def refusal(kind: str) -> SqlError:
    """The error for a statement of a kind that does not read."""
    if kind in ("ATTACH", "COPY", "DETACH", "LOAD", "SET"):
        return SqlError(
            f"{kind} is not possible: queries only read, and only this recording",
            hint="--allow-external lets SQL use files, databases, extensions and settings",
        )
    what = kind.replace("_", " ")
    return SqlError(
        f"{what} is not possible: queries only read",
        hint="SELECT, EXPLAIN, DESCRIBE, SHOW and SUMMARIZE are possible",
    )


def _memory(text: str) -> MemoryLimitError:
    used = re.search(r"\(([\d.]+ \w+)/([\d.]+ \w+) used\)", text)
    limit = f" of {used[2]}" if used else ""
    return MemoryLimitError(
        f"the query needs more than its memory limit{limit}, also with what it can put on disk",
        hint="raise --memory-limit, or ask for fewer rows or columns at a time",
    )


def _files(text: str) -> SqlError:
    file = re.search(r'Cannot access \w+ "(.*?)"', text)
    name = f' "{file[1]}"' if file else "s"
    return SqlError(
        f"the file{name} is out of reach: queries see this recording only",
        hint="--allow-external lets SQL read and write files",
    )


def _no_column(name: str, sql: str, offered: Sequence[str]) -> tuple[str, str]:
    message = f'there is no column "{name}" here'
    near = _near(name, offered)
    if not near and f'"{name}"' in sql:
        return message, f"text is written in single quotes: '{name}'"
    if not near and offered:
        return message, "near it there is " + ", ".join(f'"{one}"' for one in offered[:3])
    return message, _did_you_mean(near)


def _no_table(name: str, names: Names, offered: Sequence[str]) -> tuple[str, str]:
    message = f'there is no table or view "{name}"'
    if name in names.table_macros:
        return message, f"it is a macro, with its arguments in parentheses: FROM {name}(...)"
    if _LOOKS_LIKE_FILE.search(name):
        return message, "files can only be read with --allow-external"
    return message, _did_you_mean(_near(name, [*names.tables, *names.table_macros, *offered]))


def _no_function(name: str, names: Names, offered: Sequence[str]) -> tuple[str, str]:
    message = f'there is no function or macro "{name}"'
    if name in names.table_macros:
        return _table_macro(name)
    if name in names.values:
        return f'"{name}" gives a value and not a table', f"write SELECT {name}(...)"
    return message, _did_you_mean(_near(name, [*names.values, *names.table_macros, *offered]))


def _table_macro(name: str) -> tuple[str, str]:
    return f'"{name}" gives a table and not a value', f"it stands behind FROM: FROM {name}(...)"


def _offered(text: str) -> list[str]:
    """The names that DuckDB itself offers, the nearest first by its own reckoning."""
    return [name for line in _OFFERED.finditer(text) for name in re.findall(r'"([^"]+)"', line["names"])]


def _near(name: str, known: Sequence[str]) -> str:
    lowered = {one.lower(): one for one in known}
    found = get_close_matches(name.lower(), lowered, n=1, cutoff=0.6)
    return lowered[found[0]] if found else ""


def _did_you_mean(near: str) -> str:
    return f'did you mean "{near}"?' if near else _LISTED
