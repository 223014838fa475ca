"""``tracekit query``."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tracekit.cli.options import Force, Log, NoCache, choice
from tracekit.cli.output import new_file, opened, put, terminal_width
from tracekit.errors import UsageError
from tracekit.report.formats import FORMATS


@dataclass(frozen=True, slots=True)
class QueryOptions:
    """What `query` was asked."""

    log: Log
    sql: Annotated[str, typer.Argument(metavar="SQL", help="The query, or - to read it from stdin.")]
    format: Annotated[
        str | None,
        typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}. [default: table]"),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False
    output: Annotated[
        Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write to a file instead of stdout.")
    ] = None
    force: Force = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        if self.format is not None:
            choice("--format", self.format, FORMATS)
        if self.as_json and self.format not in (None, "json"):
            raise UsageError(f"--json and --format {self.format} exclude each other", hint="give one of them")

    @property
    def format_name(self) -> str:
        """Name of the format: as said, else by the suffix of the output file, else a table."""
        if self.as_json:
            return "json"
        if self.format is not None:
            return self.format
        suffix = self.output.suffix if self.output is not None else ""
        return next((entry.name for entry in FORMATS.values() if entry.suffix == suffix), "table")


def run(options: QueryOptions) -> int:
    """Ask a recording anything, in DuckDB's SQL.

    The tables are allocations, stacks, codes, types, threads, gc_collections, arenas, marks, timeline and
    traces; the views events, sites and leaks; the macros heap_at(seq), moment('peak'), frames(stack_id) and
    heap_between(a, b). 'tracekit schema store' explains every column. The first query builds the tables in
    LOG.duckdb beside the log, the next ones find them there. Rows are printed as they come.

    Examples:
        tracekit query app.tkt "FROM sites ORDER BY live_bytes DESC LIMIT 10"
        tracekit query app.tkt "SELECT count(*) FROM leaks" --json
        tracekit query app.tkt "FROM timeline" -o timeline.csv
        tracekit query app.tkt - --format markdown < question.sql

    """
    render = FORMATS[options.format_name].render
    sql = sys.stdin.read() if options.sql == "-" else options.sql
    if not sql.strip().rstrip(";").strip():
        raise UsageError("the SQL is empty", hint='try "FROM sites ORDER BY live_bytes DESC LIMIT 10"')
    with opened(options.log, cache=not options.no_cache) as store:
        result = store.query(sql)
        if options.output is None:
            for text in render(result.columns, result.rows(), terminal_width(sys.stdout)):
                put(text)
        else:
            with new_file(options.output, force=options.force) as file:
                file.writelines(render(result.columns, result.rows(), None))
    return 0
