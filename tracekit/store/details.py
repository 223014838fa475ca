"""The small tables: definitions, collections, marks, arenas, samples and notices.

There are few of these records beside the events (each is a record of its own in the log), so they are kept as
Python objects until the end of the log and written then.
"""

from __future__ import annotations

from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
from msgspec import Struct, UnsetType, field

from tracekit.errors import LogCorruptError
from tracekit.events import (
    Code,
    CollectionStart,
    CollectionStop,
    CollectorSetting,
    Definitions,
    EventKind,
    LogRecord,
    Mark,
    MemorySample,
    Notice,
    OlderPool,
    SourceLine,
    Stack,
    Thread,
    TypeDefinition,
)
from tracekit.log.columns import NOTHING, EventColumns
from tracekit.store.rows import insert_rows
from tracekit.store.tree import NO_NODE, lay_out

_COLLECTION_FIELDS = (
    *("gc_id", "generation", "start_seq", "stop_seq", "started_ns", "stopped_ns", "duration_ns"),
    *("collected", "uncollectable", "count0", "count1", "count2", "threshold0", "threshold1", "threshold2"),
    *("long_lived_total", "long_lived_pending"),
)
_NO_COLLECTION = dict.fromkeys(_COLLECTION_FIELDS, NOTHING) | {
    "thread_id": 0,
    "free_lists_before": "",
    "free_lists_after": "",
}
_NO_ARENA_EVENTS = dict.fromkeys(
    ("alloc_seq", "free_seq", "allocated_ns", "freed_ns", "thread_id", "freed_thread_id"), NOTHING
)

_Rows = list[dict[str, Any]]


def _integers(values: list[Any]) -> npt.NDArray[np.int64]:
    try:
        return np.array(values, dtype=np.int64)
    except OverflowError:
        raise LogCorruptError("a record holds a number above 2^63") from None


class Details(Struct):
    """Takes every record that is not a batch, and from the batches the events that such records describe.

    The reader has held them against each other. What a recovered log has lost may be missing here: an event
    without its details gets a row without them. It can be stored and taken up again.
    """

    _threads: dict[int, Thread] = field(default_factory=dict)
    _codes: dict[int, Code] = field(default_factory=dict)
    _types: dict[int, TypeDefinition] = field(default_factory=dict)
    _stacks: dict[int, tuple[Stack, int]] = field(default_factory=dict)
    _starts: dict[int, CollectionStart] = field(default_factory=dict)
    _stops: dict[int, CollectionStop] = field(default_factory=dict)
    _marks: dict[int, Mark] = field(default_factory=dict)
    _settings: list[CollectorSetting] = field(default_factory=list)
    _samples: list[MemorySample] = field(default_factory=list)
    _notices: list[Notice] = field(default_factory=list)
    _seen: dict[int, tuple[int, int, int]] = field(default_factory=dict)
    _lines: list[SourceLine] = field(default_factory=list)
    _older_pools: list[OlderPool] = field(default_factory=list)
    _arenas: list[dict[str, int]] = field(default_factory=list)
    _open_arenas: dict[int, int] = field(default_factory=dict)

    def take(self, record: LogRecord) -> None:
        """Note one record; the header and the footer are not for here."""
        match record:
            case Definitions():
                self._define(record)
            case CollectionStart():
                self._starts[record.seq] = record
            case CollectionStop():
                self._stops[record.seq] = record
            case Mark():
                self._marks[record.seq] = record
            case MemorySample():
                self._samples.append(record)
            case Notice():
                self._notices.append(record)
            case _:
                pass

    def take_events(self, batch: EventColumns) -> None:
        """Note the collections, marks and arenas of a batch."""
        for row in batch.others.tolist():
            kind = int(batch.kind[row])
            if kind >= EventKind.ARENA_ALLOCATION:
                self._arena(batch, row)
            else:
                seq = batch.first_seq + row
                self._seen[seq] = (kind, int(batch.time_ns[row]), int(batch.thread_id[row]))

    def write(self, connection: duckdb.DuckDBPyConnection, trace_id: int) -> None:
        """Write all tables. Only the order within ``marks`` and ``gc_collections`` is that of the events."""
        for table, rows in (
            ("threads", [_fields(thread) for thread in self._threads.values()]),
            ("codes", [_fields(code) for code in self._codes.values()]),
            ("types", [_fields(kind) for kind in self._types.values()]),
            ("gc_collections", self._collection_rows()),
            ("gc_settings", [_setting_row(setting) for setting in self._settings]),
            ("marks", self._mark_rows()),
            ("arenas", self._arenas),
            ("memory_samples", [_fields(sample) for sample in self._samples]),
            ("notices", [_fields(notice) for notice in self._notices]),
            ("source_lines", [_fields(line) for line in self._lines]),
            ("mark_stacks", self._mark_stack_rows()),
        ):
            if rows:
                insert_rows(connection, table, trace_id, _columns(rows))
        insert_rows(connection, "stacks", trace_id, self._stack_columns())
        insert_rows(connection, "older_blocks", trace_id, older_blocks(self._older_pools))

    def own_mark(self, name: str) -> int | None:
        """The ``seq`` of the recorder's own mark of that name, if it is there."""
        return min((seq for seq, mark in self._marks.items() if mark.own and mark.name == name), default=None)

    def _define(self, record: Definitions) -> None:
        for thread in record.threads:
            self._threads[thread.thread_id] = thread
        for code in record.codes:
            self._codes[code.code_id] = code
        for kind in record.types:
            self._types[kind.type_id] = kind
        for stack in record.stacks:
            parent = self._stacks.get(stack.parent_id)
            self._stacks[stack.stack_id] = (stack, parent[1] + 1 if parent else 1)
        self._lines += record.lines
        self._older_pools += record.older_pools
        self._settings += record.gc_settings
        for older in record.older_arenas:
            self._open_arenas[older.address] = len(self._arenas)
            self._arenas.append({"address": older.address, "size": older.size} | _NO_ARENA_EVENTS)

    def _arena(self, batch: EventColumns, row: int) -> None:
        seq, address = batch.first_seq + row, int(batch.address[row])
        event = {"time_ns": int(batch.time_ns[row]), "thread_id": int(batch.thread_id[row])}
        arena = {"address": address, "size": int(batch.size[row])} | _NO_ARENA_EVENTS
        if batch.kind[row] == EventKind.ARENA_ALLOCATION:
            arena |= {"alloc_seq": seq, "allocated_ns": event["time_ns"], "thread_id": event["thread_id"]}
            self._open_arenas[address] = len(self._arenas)
            self._arenas.append(arena)
            return
        known = self._open_arenas.pop(address, None)
        if known is None:
            self._arenas.append(arena)
        (arena if known is None else self._arenas[known]).update(
            free_seq=seq, freed_ns=event["time_ns"], freed_thread_id=event["thread_id"]
        )

    def _stack_columns(self) -> dict[str, npt.NDArray[Any]]:
        stacks = [self._stacks[stack_id] for stack_id in sorted(self._stacks)]  # parents have smaller numbers
        index = {stack.stack_id: place for place, (stack, _) in enumerate(stacks)}
        layout = lay_out(
            [index.get(stack.parent_id, NO_NODE) for stack, _ in stacks],
            [stack.code_id for stack, _ in stacks],
        )
        columns = {
            name: _integers([getattr(stack, name) for stack, _ in stacks]) for name in Stack.__struct_fields__
        }
        return columns | {
            "depth": _integers([depth for _, depth in stacks]),
            "position": _integers(layout.position),
            "last_position": _integers(layout.last_position),
            "outermost": np.array(layout.outermost, np.bool_),
        }

    def _collection_rows(self) -> _Rows:
        rows: dict[tuple[str, int], dict[str, Any]] = {}
        for seq, (kind, time_ns, thread_id) in self._seen.items():
            if kind == EventKind.GC_START:
                start = self._starts.get(seq)
                key = ("lost start", seq) if start is None else ("gc", start.gc_id)
                row = rows.setdefault(key, dict(_NO_COLLECTION))
                row |= {"start_seq": seq, "started_ns": time_ns, "thread_id": thread_id}
                row |= _start_fields(start) if start else {}
            elif kind == EventKind.GC_STOP:
                stop = self._stops.get(seq)
                key = ("lost stop", seq) if stop is None else ("gc", stop.gc_id)
                row = rows.setdefault(key, _NO_COLLECTION | {"thread_id": thread_id})
                row |= {"stop_seq": seq, "stopped_ns": time_ns}
                row |= _stop_fields(stop) if stop else {}
        return list(rows.values())

    def _mark_rows(self) -> _Rows:
        rows = []
        for seq, (kind, time_ns, thread_id) in self._seen.items():
            if kind == EventKind.MARK:
                mark = self._marks.get(seq)
                known = mark.name if mark else None
                moment = mark.time_ns if mark else time_ns
                row = {"name": known, "seq": seq, "time_ns": moment, "thread_id": thread_id}
                rows.append(row | {"own": mark is not None and mark.own})
        return rows

    def _mark_stack_rows(self) -> _Rows:
        return [
            {"seq": mark.seq, **_fields(own)}
            for mark in self._marks.values()
            if mark.seq in self._seen and mark.stacks
            for own in mark.stacks
        ]


def _setting_row(setting: CollectorSetting) -> dict[str, object]:
    row: dict[str, object] = {"seq": setting.seq, "time_ns": setting.time_ns, "enabled": setting.enabled}
    return row | {f"threshold{number}": value for number, value in enumerate(setting.thresholds)}


def older_blocks(pools: list[OlderPool]) -> dict[str, npt.NDArray[np.int64]]:
    """The blocks in use of pools, one row each: ``address`` and ``block_size``."""
    used = [np.flatnonzero(np.unpackbits(np.frombuffer(p.used, np.uint8), bitorder="little")) for p in pools]
    count = np.array([len(blocks) for blocks in used], np.int64)
    size = np.repeat(_integers([pool.block_size for pool in pools]), count)
    first = np.repeat(_integers([pool.first for pool in pools]), count)
    index = np.concatenate(used).astype(np.int64) if used else np.zeros(0, np.int64)
    return {"address": first + index * size, "block_size": size}


def _start_fields(start: CollectionStart) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "gc_id": start.gc_id,
        "generation": start.generation,
        "started_ns": start.time_ns,
    }
    for index in range(3):
        fields |= {f"count{index}": start.counts[index], f"threshold{index}": start.thresholds[index]}
    if start.long_lived:
        fields |= {"long_lived_total": start.long_lived[0], "long_lived_pending": start.long_lived[1]}
    return fields | {"free_lists_before": _list_text(start.free_lists)}


def _stop_fields(stop: CollectionStop) -> dict[str, Any]:
    names = ("gc_id", "duration_ns", "collected", "uncollectable")
    fields: dict[str, Any] = {name: getattr(stop, name) for name in names}
    return fields | {"stopped_ns": stop.time_ns, "free_lists_after": _list_text(stop.free_lists)}


def _list_text(counts: tuple[int, ...] | UnsetType) -> str:
    """As inserts.sql reads it; a column of lists would be guessed from its first rows."""
    return str(list(counts)) if counts else ""


def _fields(record: Any) -> dict[str, Any]:
    return {name: getattr(record, name) for name in record.__struct_fields__}


def _columns(rows: _Rows) -> dict[str, npt.NDArray[Any]]:
    columns: dict[str, npt.NDArray[Any]] = {}
    for name, sample in rows[0].items():
        values = [row[name] for row in rows]
        if sample is None or isinstance(sample, str):
            columns[name] = np.array(values, dtype=object)
        elif isinstance(sample, bool):
            columns[name] = np.array(values, dtype=np.bool_)
        else:
            columns[name] = _integers(values)
    return columns
