"""``tracekit query``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tracekit.cli.options import (
    AllowExternal,
    Followed,
    Force,
    Human,
    Logs,
    MemoryLimit,
    NoCache,
    check_logs,
    choice,
    memory_limit,
    with_followed,
)
from tracekit.cli.output import new_file, new_path, opened, put, terminal_width
from tracekit.errors import UsageError
from tracekit.report.formats import FORMATS, PARQUET, format_of, rendered

if TYPE_CHECKING:
    from tracekit.store.access import Access

_NAMES = (*FORMATS, PARQUET)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """What `query` was asked."""

    logs: Logs = None
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The query, or - to read it from stdin.")]
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(_NAMES)}. [default: table]"),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False
    human: Human = False
    followed: Followed = False
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file instead of stdout.")
    ] = None
    force: Force = False
    memory_limit: MemoryLimit = None
    allow_external: AllowExternal = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        check_logs(self.logs, "the SQL", self.sql)
        if self.format is not None:
            choice("--format", self.format, _NAMES)
        if self.as_json and self.format not in (None, "json"):
            raise UsageError(f"--json and --format {self.format} exclude each other", hint="give one of them")
        if self.format_name == PARQUET and self.output is None:
            raise UsageError("--format parquet needs a file to write", hint="give one with -o FILE.parquet")
        memory_limit(self.memory_limit)

    @property
    def all_logs(self) -> list[Path]:
        """The logs that were named, and the followed ones if wanted."""
        return with_followed(self.logs or [], self.followed)

    @property
    def format_name(self) -> str:
        """Name of the format: as said, else by the suffix of the output file, else a table."""
        if self.as_json:
            return "json"
        if self.format is not None:
            return self.format
        return (format_of(self.output) if self.output is not None else "") or "table"

    def access(self, file: Path | None = None) -> Access:
        """What the query may reach; ``file`` is the one that it writes for us."""
        from tracekit.store.access import Access

        return Access(self.allow_external, memory_limit(self.memory_limit), file)


def run(options: QueryOptions) -> int:
    """Ask a recording anything, in DuckDB's SQL.

    The tables are allocations, stacks, codes, types, threads, gc_collections, arenas, marks, timeline and
    traces; the views events, sites and leaks; the macros heap_at(seq), moment('peak'), frames(stack_id) and
    heap_between(a, b). 'tracekit schema store' explains every column. The first query builds the tables in
    LOG.duckdb beside the log, the next ones find them there. Rows are printed as they come. A log that is
    still being recorded is answered for as far as it is complete. The rows of several logs are told apart by
    trace_id: 1 for the first, 2 for the second.

    Examples:
        tracekit query app.tkt "FROM sites ORDER BY live_bytes DESC LIMIT 10" --human
        tracekit query app.tkt "SELECT count(*) FROM leaks" --json
        tracekit query app.tkt "FROM timeline" -o timeline.csv
        tracekit query app.tkt "FROM allocations" -o allocations.parquet
        tracekit query before.tkt after.tkt "SELECT trace_id, peak_bytes FROM traces"
        tracekit query app.tkt --followed "SELECT pid, argv, peak_bytes FROM traces"
        tracekit query app.tkt - --format markdown < question.sql

    """
    sql = sys.stdin.read() if options.sql == "-" else options.sql
    if not sql.strip().rstrip(";").strip():
        raise UsageError("the SQL is empty", hint='try "FROM sites ORDER BY live_bytes DESC LIMIT 10"')
    if options.format_name == PARQUET and options.output is not None:
        return _write_parquet(options, sql, options.output)
    name, human = options.format_name, options.human
    with opened(*options.all_logs, cache=not options.no_cache, access=options.access()) as store:
        result = store.query(sql)
        if options.output is None:
            width = terminal_width(sys.stdout)
            for text in rendered(name, result.columns, result.rows(), width, human=human):
                put(text)
        else:
            with new_file(options.output, force=options.force) as file:
                file.writelines(rendered(name, result.columns, result.rows(), human=human))
    return 0


def _write_parquet(options: QueryOptions, sql: str, output: Path) -> int:
    with (
        new_path(output, force=options.force) as temporary,
        opened(*options.all_logs, cache=not options.no_cache, access=options.access(temporary)) as store,
    ):
        store.write_parquet(sql, temporary)
    return 0
