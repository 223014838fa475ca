"""The tables of a store as Parquet files in the layout of Hive, which every engine for tables reads.

``allocations/trace_id=1/data_0.parquet``, ``data_1.parquet``...: one folder a table, in it one a recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import duckdb

from tracekit.store.access import identifier, quoted
from tracekit.store.complaints import Names, complaint, write_failure
from tracekit.store.database import Store
from tracekit.store.running import interruptible
from tracekit.store.schema import table_names, view_names

ROW_GROUP_ROWS = 122_880
ROW_GROUPS_PER_FILE = 16
"""So many row groups make a file of two million rows; a table of more has several files."""

_COLUMNS = """
SELECT column_name, data_type FROM duckdb_columns()
WHERE database_name = current_catalog() AND table_name = ? ORDER BY column_index
"""

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Exported:
    """A table that was written: its name, its rows, and the files with their bytes."""

    name: str
    rows: int
    files: int
    bytes: int


def export_tables(
    store: Store, folder: Path, *, views: bool = False, progress: Progress | None = None
) -> list[Exported]:
    """Write all tables, and the views if wanted, below a folder that the store's access allows.

    Enumerations become strings, and integers of 128 bits DECIMAL(38, 0). Raises MemoryLimitError, and OSError
    when a file cannot be written; what was written until then stays.
    """
    with store.cursor() as cursor:
        found = sorted(table_names()) + (sorted(view_names()) if views else [])
        traces = [trace for (trace,) in cursor.execute("SELECT trace_id FROM traces ORDER BY 1").fetchall()]
        done = []
        for number, name in enumerate(found):
            if progress is not None:
                progress(number, len(found))
            try:
                done.append(_export(cursor, name, traces, folder / name))
            except duckdb.Error as error:
                raise write_failure(error) or complaint(error, "", lambda: Names((), (), ())) from None
        return done


def _export(cursor: duckdb.DuckDBPyConnection, name: str, traces: list[int], folder: Path) -> Exported:
    columns = cursor.execute(_COLUMNS, [name]).fetchall()
    values = ", ".join(_value(column, kind) for column, kind in columns if column != "trace_id")
    folder.mkdir()
    rows = 0
    if "trace_id" in dict(columns):
        for trace in traces:
            query = f"SELECT {values} FROM {identifier(name)} WHERE trace_id = {trace}"  # noqa: S608 - names of ours
            rows += _copy(cursor, query, folder / f"trace_id={trace}")
    else:
        rows = _copy(cursor, f"SELECT {values} FROM {identifier(name)}", folder / "all")  # noqa: S608
    files = [file.stat().st_size for file in folder.glob("*/*.parquet")]
    return Exported(name, rows, len(files), sum(files))


def _copy(cursor: duckdb.DuckDBPyConnection, query: str, folder: Path) -> int:
    """Write the rows of a query to files in a new folder, one at least; the number of rows."""
    sql = f"""COPY ({query}) TO {quoted(folder)} (
        FORMAT parquet, COMPRESSION zstd, ROW_GROUP_SIZE {ROW_GROUP_ROWS},
        ROW_GROUPS_PER_FILE {ROW_GROUPS_PER_FILE})"""
    row = interruptible(cursor, lambda: cursor.execute(sql).fetchone())
    return int(row[0]) if row else 0


def _value(column: str, kind: str) -> str:
    name = identifier(column)
    if kind.startswith("ENUM("):
        return f"{name}::VARCHAR AS {name}"
    if kind in ("HUGEINT", "UHUGEINT"):  # Parquet has no such integer, and DuckDB would write it as a DOUBLE
        return f"{name}::DECIMAL(38, 0) AS {name}"
    return name
