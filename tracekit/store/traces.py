"""The table ``traces``: what a recording adds up to, counted from its events, never taken from the footer."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import duckdb
import msgspec

from tracekit.events import Totals
from tracekit.log.reader import LogReader


@dataclass(frozen=True, slots=True)
class Span:
    """The first and last event and the recorder's mark ``end``, each None when there is none."""

    first_seq: int | None = None
    last_seq: int | None = None
    end_mark: int | None = None


def write_trace(
    connection: duckdb.DuckDBPyConnection, trace_id: int, reader: LogReader, totals: Totals, span: Span
) -> None:
    """Write the row of one recording, after its log was read to the end."""
    header, footer = reader.header, reader.footer
    complete = span.end_mark is not None
    row: dict[str, Any] = {
        "trace_id": trace_id,
        "path": str(reader.path),
        "python": header.python.version,
        "python_build": f"{header.python.implementation} {header.python.build}",
        "executable": header.python.executable,
        "format_version": reader.version,
        "started_at": _wall_clock(header.started_at_ns),
        "first_seq": span.first_seq,
        "last_seq": span.last_seq,
        "end_seq": span.end_mark if complete else span.last_seq,
        "complete": complete,
        "closed": footer is not None,
        "exit_status": footer.exit_status if footer else None,
        "log_bytes": reader.size,
        "torn_bytes": reader.torn_bytes,
        "allocator": header.allocator.name,
        "gc_enabled": header.collector.enabled,
    }
    for name in ("trace_uuid", "engine", "engine_reason", "platform", "pid", "argv", "cwd", "tool_version"):
        row[name] = getattr(header, name)
    row |= {"max_frames": header.max_frames, "sync_interval_ns": header.sync_interval_ns}
    for name in ("page_size", "arena_size", "pool_size", "alignment", "small_request_threshold"):
        row[name] = getattr(header.allocator, name)
    row |= {f"threshold{index}": value for index, value in enumerate(header.collector.thresholds)}
    row |= {f"count{index}": value for index, value in enumerate(header.collector.counts or (None,) * 3)}
    row |= msgspec.structs.asdict(header.capabilities)
    row |= msgspec.structs.asdict(totals)
    row["peak_seq"] = totals.peak_seq if totals.events else None
    marks = ", ".join("?" * len(row))
    # The names come from this function and the Structs, never from a log.
    connection.execute(f"INSERT INTO traces ({', '.join(row)}) VALUES ({marks})", list(row.values()))  # noqa: S608


def read_totals(connection: duckdb.DuckDBPyConnection, trace_id: int) -> Totals:
    """The sums of one recording as the Struct that also stands in a footer."""
    names = Totals.__struct_fields__
    statement = f"SELECT {', '.join(names)} FROM traces WHERE trace_id = ?"  # noqa: S608 - names of the Struct
    row = connection.execute(statement, [trace_id]).fetchone()
    values = dict(zip(names, row or (), strict=True))
    if values["peak_seq"] is None:
        values["peak_seq"] = -1
    return Totals(**values)


def _wall_clock(nanoseconds: int) -> datetime | None:
    try:
        return datetime(1970, 1, 1) + timedelta(microseconds=nanoseconds // 1000)  # UTC, as the column says
    except OverflowError:
        return None
