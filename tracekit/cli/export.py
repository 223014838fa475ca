"""``tracekit export``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tracekit.cli.folders import new_folder
from tracekit.cli.options import (
    Followed,
    Logs,
    MemoryLimit,
    NoCache,
    check_logs,
    choice,
    memory_limit,
    with_followed,
)
from tracekit.cli.output import Progress, opened, say
from tracekit.report.units import human_bytes, plural

FORMATS = ("parquet",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """What `export` was asked."""

    logs: Logs = None
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to write: a new or an empty one.")]
    format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="parquet, the only one so far.")
    ] = "parquet"
    views: Annotated[bool, typer.Option("--views", help="Write the views as well as the tables.")] = False
    force: Annotated[
        bool, typer.Option("--force", help="Replace the tables of an earlier export in DIR.")
    ] = False
    followed: Followed = False
    memory_limit: MemoryLimit = None
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        check_logs(self.logs, "DIR", str(self.folder))
        choice("--format", self.format, FORMATS)
        memory_limit(self.memory_limit)


def run(options: ExportOptions) -> int:
    """Write all tables of a recording as Parquet files, for other tools.

    Each table is a folder: DIR/allocations/trace_id=1/data_0.parquet, a layout that DuckDB, Spark, Polars and
    PyArrow read as one partitioned table. Enumerations are strings. DIR appears when all of it is written;
    with --force, files in it that are not of an export stay as they are.

    Examples:
        tracekit export app.tkt app-tables
        tracekit export app.tkt app-tables --views --force
        tracekit export before.tkt after.tkt both

    """
    from tracekit.store.access import Access
    from tracekit.store.export import export_tables

    progress = Progress(f"tracekit: writing {options.folder}")
    with new_folder(options.folder, force=options.force) as temporary:
        access = Access(memory_limit=memory_limit(options.memory_limit), folder=temporary)
        logs = with_followed(options.logs or [], options.followed)
        with opened(*logs, cache=not options.no_cache, access=access) as store:
            try:
                done = export_tables(store, temporary, views=options.views, progress=progress)
            finally:
                progress.clear()
    files, rows, size = (
        sum(values) for values in zip(*((t.files, t.rows, t.bytes) for t in done), strict=True)
    )
    what = "tables and views" if options.views else "tables"
    say(
        f"wrote {options.folder}: {len(done)} {what}, {plural(rows, 'row')} in {plural(files, 'file')}, "
        f"{human_bytes(size)}"
    )
    say(f"next: duckdb -c {_in_double_quotes(_first_query(options.folder))}")
    return 0


def _first_query(folder: Path) -> str:
    files = str(folder / "allocations/*/*.parquet").replace("'", "''")
    return f"FROM read_parquet('{files}') LIMIT 5"


def _in_double_quotes(sql: str) -> str:
    """The SQL for a shell: in double quotes, which can be read, unless they would not keep it as it is."""
    return shlex.quote(sql) if set(sql) & set('"$`\\!') else f'"{sql}"'
