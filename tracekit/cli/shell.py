"""``tracekit shell``."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.completion import Catalogue
from tracekit.cli.endings import error_lines, is_interrupt
from tracekit.cli.options import (
    AllowExternal,
    Followed,
    Human,
    MemoryLimit,
    NoCache,
    choice,
    memory_limit,
    with_followed,
)
from tracekit.cli.output import new_file, opened, put, say, terminal_width
from tracekit.cli.pager import page, pager_command
from tracekit.cli.prompt import reader, statements
from tracekit.errors import TracekitError, UsageError
from tracekit.report.formats import FORMATS, PARQUET, format_of, rendered

if TYPE_CHECKING:
    from tracekit.store.access import Access
    from tracekit.store.database import Result, Store

HELP = """\
SQL ends with a semicolon and may span lines. Tab completes what is typed,
Ctrl-C takes it back, or stops a query.

.tables           tables, views and macros
.schema [NAME]    columns of a table or view, with what they mean
.mode [FORMAT]    print results as table, json, jsonl, csv or markdown
.human [on|off]   show bytes and nanoseconds with units
.pager [on|off]   show long results with $PAGER, or less
.output FILE      write the next result to a new file; its suffix is the format
.help             this text
.quit             leave (so does Ctrl-D)
"""
ON_OFF = ("on", "off")
COMMANDS = {
    ".tables": (),
    ".schema": (),
    ".mode": tuple(FORMATS),
    ".human": ON_OFF,
    ".pager": ON_OFF,
    ".output": (),
    ".help": (),
    ".quit": (),
}
"""What can be typed besides SQL, and what can follow each."""

# Only what the store itself brought: nothing of DuckDB's own catalogue.
MACROS_SQL = """\
SELECT function_name || '(' || array_to_string(parameters, ', ') || ')' AS name, 'macro' AS kind, comment
FROM duckdb_functions() WHERE NOT internal AND database_name = current_catalog()"""
TABLES_SQL = f"""\
SELECT name, kind, comment FROM (
    SELECT table_name AS name, 'table' AS kind, comment FROM duckdb_tables()
    WHERE NOT internal AND database_name = current_catalog()
    UNION ALL SELECT view_name, 'view', comment FROM duckdb_views()
    WHERE NOT internal AND database_name = current_catalog()
    UNION ALL {MACROS_SQL}
) ORDER BY kind = 'macro', kind = 'view', name"""  # noqa: S608 - a constant
SCHEMA_SQL = """\
SELECT table_name, column_name, data_type, comment FROM duckdb_columns()
WHERE NOT internal AND database_name = current_catalog() AND (table_name = $1 OR $1 = '')
ORDER BY table_name, column_index"""
KINDS_SQL = """\
SELECT table_name, 'table' FROM duckdb_tables() WHERE NOT internal AND database_name = current_catalog()
UNION ALL SELECT view_name, 'view' FROM duckdb_views()
WHERE NOT internal AND database_name = current_catalog() ORDER BY 1"""
PARAMETERS_SQL = """\
SELECT function_name, array_to_string(parameters, ', '), function_type = 'table_macro'
FROM duckdb_functions() WHERE NOT internal AND database_name = current_catalog() ORDER BY 1"""


@dataclass(frozen=True, slots=True)
class ShellOptions:
    """What `shell` was asked."""

    logs: Annotated[
        list[Path],
        typer.Argument(metavar="LOG...", help="Logs of recordings (*.tkt); trace_id 1 is the first."),
    ]
    mode: Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")] = (
        "table"
    )
    human: Human = False
    followed: Followed = False
    no_pager: Annotated[
        bool, typer.Option("--no-pager", help="Print long results without a pager, as .pager off does.")
    ] = False
    memory_limit: MemoryLimit = None
    allow_external: AllowExternal = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        choice("--format", self.mode, FORMATS)
        memory_limit(self.memory_limit)

    def access(self) -> Access:
        """What the queries may reach."""
        from tracekit.store.access import Access  # noqa: PLC0415 - keeps `tracekit --help` quick

        return Access(self.allow_external, memory_limit(self.memory_limit))


def run(options: ShellOptions) -> int:
    """Ask one SQL query after another about a recording.

    A query ends with a semicolon and may span lines. On a terminal Tab completes names and keywords, and long
    results go through a pager. '.help' lists what else can be typed: '.tables', '.schema NAME', '.quit'. An
    error does not end the shell. Reads stdin when that is not a terminal, without a prompt, and then exits
    with 1 if any of the queries failed.

    Examples:
        tracekit shell app.tkt
        tracekit shell app.tkt --human
        tracekit shell before.tkt after.tkt
        echo "SELECT count(*) FROM leaks;" | tracekit shell app.tkt --format csv

    """
    interactive = sys.stdin.isatty()
    logs = with_followed(options.logs, options.followed)
    with opened(*logs, cache=not options.no_cache, notes_first=True, access=options.access()) as store:
        shell = Shell(store, options.mode, human=options.human, pager=interactive and not options.no_pager)
        if interactive:
            what = str(logs[0]) if len(logs) == 1 else f"{len(logs)} logs"
            say(f"{what}: SQL ends with a semicolon, .help helps, Ctrl-D leaves")
        read = reader(shell.catalogue, COMMANDS)
        for statement in statements(read, interactive=interactive):
            if not shell.run(statement):
                break
    return 1 if shell.failures and not interactive else 0


class Shell:
    """Runs statements and dot commands one by one; ``failures`` counts those that did not work."""

    def __init__(self, store: Store, mode: str, *, human: bool = False, pager: bool = False) -> None:
        self.failures = 0
        self._store = store
        self._mode = mode
        self._human = human
        self._pager = pager
        self._output: Path | None = None
        self._catalogue: Catalogue | None = None

    def run(self, statement: str) -> bool:
        """Run one; whether there is to be another."""
        if statement.rstrip("; ") in (".quit", ".exit"):
            return False
        try:
            if statement.startswith("."):
                self._command(*statement.split(maxsplit=1))
            else:
                self._query(statement)
            sys.stdout.flush()
        except TracekitError as error:
            self.failures += 1
            sys.stderr.write("tracekit: " + "\n".join(error_lines(error)) + "\n")
        except (KeyboardInterrupt, RuntimeError) as error:
            if not is_interrupt(error):
                raise
            self.failures += 1
            if sys.stderr.isatty():
                sys.stderr.write("\n")  # the terminal has written ^C
            say("interrupted")
        return True

    def catalogue(self) -> Catalogue:
        """The names in the store, for completion; read once."""
        if self._catalogue is None:
            columns: dict[str, dict[str, str]] = {}
            for table, column, kind, _ in self._rows(SCHEMA_SQL, ""):
                columns.setdefault(table, {})[column] = kind.partition("(")[0]
            macros = self._rows(PARAMETERS_SQL)
            self._catalogue = Catalogue(
                dict(self._rows(KINDS_SQL)),
                columns,
                {name: parameters for name, parameters, table in macros if not table},
                {name: parameters for name, parameters, table in macros if table},
            )
        return self._catalogue

    def _rows(self, sql: str, *parameters: str) -> list[tuple[Any, ...]]:
        return list(self._store.query(sql, parameters).rows())

    def _query(self, sql: str, *parameters: str) -> None:
        self._show(self._store.query(sql, parameters))

    def _show(self, result: Result) -> None:
        output, self._output = self._output, None
        if output is not None:
            with new_file(output, force=False) as file:
                file.writelines(self._text(result, format_of(output) or self._mode, None))
            return
        pieces = self._text(result, self._mode, terminal_width(sys.stdout))
        command = pager_command() if self._pager and sys.stdout.isatty() else []
        if command:
            page(pieces, command, shutil.get_terminal_size())
            return
        for text in pieces:
            put(text)

    def _text(self, result: Result, mode: str, width: int | None) -> Iterator[str]:
        return rendered(mode, result.columns, result.rows(), width, human=self._human)

    def _command(self, name: str, argument: str = "") -> None:
        argument = argument.strip().rstrip(";").strip()
        match name.rstrip(";"):
            case ".help":
                put(HELP)
            case ".tables":
                self._query(TABLES_SQL)
            case ".schema":
                self._schema(argument)
            case ".mode" if argument:
                self._mode = choice(".mode", argument, FORMATS)
            case ".mode":
                put(f"{self._mode}\n")
            case ".human":
                self._human = _switch(name, argument, now=self._human)
            case ".pager":
                self._pager = _switch(name, argument, now=self._pager)
            case ".output" if argument:
                self._output = _text_file(Path(argument))
            case ".output":
                raise UsageError(".output needs the name of a file", hint="its suffix names the format")
            case unknown:
                raise UsageError(f"there is no {unknown}", hint=".help lists what there is")

    def _schema(self, name: str) -> None:
        known = self.catalogue()
        if not name or name in known.tables:
            self._query(SCHEMA_SQL, name)
        elif name.rstrip("()") in (*known.macros, *known.table_macros):
            self._query(f"{MACROS_SQL} AND function_name = $1", name.rstrip("()"))
        else:
            raise UsageError(f"there is no table, view or macro '{name}'", hint=".tables lists what there is")


def _switch(name: str, argument: str, *, now: bool) -> bool:
    """The new value; without an argument the one that it has, which is printed."""
    if not argument:
        put("on\n" if now else "off\n")
        return now
    return choice(name, argument, ON_OFF) == "on"


def _text_file(path: Path) -> Path:
    if format_of(path) == PARQUET:
        raise UsageError("the shell writes no Parquet", hint="tracekit query LOG SQL -o FILE.parquet does")
    return path
