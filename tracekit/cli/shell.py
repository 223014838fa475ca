"""``tracekit shell``."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracekit.cli.endings import is_interrupt
from tracekit.cli.options import Log, NoCache, choice
from tracekit.cli.output import opened, put, say, terminal_width
from tracekit.store.statements import is_blank, split_statements
from tracekit.errors import TracekitError
from tracekit.report.formats import FORMATS
from tracekit.report.text import printable

if TYPE_CHECKING:
    from tracekit.store.database import Store

PROMPT = "tracekit> "
CONTINUATION = "     ...> "
HISTORY_LINES = 2000

HELP = """\
SQL ends with a semicolon and may span lines.
.tables          tables, views and macros
.schema [NAME]   columns of a table or view, with what they mean
.mode [FORMAT]   print results as table, json, jsonl, csv or markdown
.help            this text
.quit            leave (so does Ctrl-D)
"""

# Only what the store itself brought: nothing of DuckDB's own catalogue.
TABLES_SQL = """\
SELECT name, kind, comment FROM (
    SELECT table_name AS name, 'table' AS kind, comment FROM duckdb_tables() WHERE NOT internal
    UNION ALL SELECT view_name, 'view', comment FROM duckdb_views() WHERE NOT internal
    UNION ALL
    SELECT function_name || '(' || array_to_string(parameters, ', ') || ')', 'macro', comment
    FROM duckdb_functions() WHERE NOT internal
) ORDER BY kind = 'macro', kind = 'view', name"""
SCHEMA_SQL = """\
SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
WHERE NOT internal AND (table_name = $1 OR $1 = '') ORDER BY table_name, column_index"""


@dataclass(frozen=True, slots=True)
class ShellOptions:
    """What `shell` was asked."""

    log: Log
    mode: Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")] = (
        "table"
    )
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        choice("--format", self.mode, FORMATS)


def run(options: ShellOptions) -> int:
    """Ask one SQL query after another about a recording.

    A query ends with a semicolon and may span lines. '.help' lists what else can be typed: '.tables',
    '.schema NAME', '.mode FORMAT', '.quit'. An error does not end the shell. Reads stdin when that is not a
    terminal, without a prompt, and then exits with 1 if any of the queries failed.

    Examples:
        tracekit shell app.tkt
        echo "SELECT count(*) FROM leaks;" | tracekit shell app.tkt --format csv

    """
    interactive = sys.stdin.isatty()
    with opened(options.log, cache=not options.no_cache, notes_first=True) as store:
        shell = Shell(store, options.mode)
        if interactive:
            _use_history()
            say(f"{options.log}: SQL ends with a semicolon, .help helps, Ctrl-D leaves")
        for statement in _statements(interactive):
            if not shell.run(statement):
                break
    return 1 if shell.failures and not interactive else 0


class Shell:
    """Runs statements and dot commands one by one; ``failures`` counts those that did not work."""

    def __init__(self, store: Store, mode: str) -> None:
        self.failures = 0
        self._store = store
        self._mode = mode

    def run(self, statement: str) -> bool:
        """Run one; whether there is to be another."""
        if statement in (".quit", ".exit"):
            return False
        try:
            if statement.startswith("."):
                self._command(*statement.split(maxsplit=1))
            else:
                self._query(statement)
            sys.stdout.flush()
        except TracekitError as error:
            self._failed(error)
        except (KeyboardInterrupt, RuntimeError) as error:
            if not is_interrupt(error):
                raise
            self.failures += 1
            say("interrupted")
        return True

    def _query(self, sql: str, *parameters: str) -> None:
        result = self._store.query(sql, parameters)
        for text in FORMATS[self._mode].render(result.columns, result.rows(), terminal_width(sys.stdout)):
            put(text)

    def _command(self, name: str, argument: str = "") -> None:
        argument = argument.strip().rstrip(";")
        if name == ".help":
            put(HELP)
        elif name == ".tables":
            self._query(TABLES_SQL)
        elif name == ".schema":
            self._query(SCHEMA_SQL, argument)
        elif name == ".mode" and not argument:
            put(f"{self._mode}\n")
        elif name == ".mode":
            self._mode = choice(".mode", argument, FORMATS)
        else:
            self.failures += 1
            say(f"there is no {name}; .help lists what there is")

    def _failed(self, error: TracekitError) -> None:
        self.failures += 1
        first, *rest = str(error).strip().splitlines()
        say(f"error[{error.code}]: {first}")
        for line in rest:
            sys.stderr.write(printable(line) + "\n")


def _statements(interactive: bool) -> Iterator[str]:
    """Whole statements and dot commands; what is left without a semicolon at the end of input is one too."""
    pending = ""
    while True:
        try:
            line = _line(CONTINUATION if pending else PROMPT) if interactive else sys.stdin.readline()
        except KeyboardInterrupt:
            if not interactive:
                raise
            sys.stdout.write("\n")
            pending = ""
            continue
        if not line:
            break
        if not pending and line.strip().startswith("."):
            yield line.strip()
            continue
        statements, pending = split_statements(pending + line)
        yield from statements
        if is_blank(pending):
            pending = ""
    if not is_blank(pending):
        yield pending.strip()


def _line(prompt: str) -> str:
    """A line from the terminal with its newline; empty at the end of input."""
    try:
        return input(prompt) + "\n"
    except EOFError:
        sys.stdout.write("\n")
        return ""


def _use_history() -> None:
    """Line editing, with the lines of earlier sessions. Only ever called on a terminal."""
    try:
        import readline  # noqa: PLC0415 - not every build of Python has it
    except ImportError:
        return
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    path = state / "tracekit" / "shell_history"
    readline.set_history_length(HISTORY_LINES)
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        readline.read_history_file(path)

    def save() -> None:
        with suppress(OSError):
            readline.write_history_file(path)

    atexit.register(save)
