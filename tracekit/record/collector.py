"""Turns what comes out of the ring into a log. Knows the contract of the engines, but no engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Final

import msgspec
import numpy as np
import numpy.typing as npt

from tracekit.events import (
    CollectionStart,
    CollectionStop,
    Definitions,
    EventKind,
    Header,
    LogRecord,
    Mark,
    MemorySample,
    Notice,
    Thread,
    Totals,
)
from tracekit.log.columns import COLUMN_TYPES, EventColumns, empty_columns
from tracekit.log.writer import LogWriter
from tracekit.record import slots
from tracekit.record.decode import RingDefinition, RingEvents, RingItem, RingTime, split
from tracekit.record.pairing import Pairing
from tracekit.record.symbols import LineSymbols

BATCH_EVENTS: Final = 1 << 16
FLUSH_SECONDS: Final = 0.25
UNKNOWN_THREAD_NAME: Final = "<unknown>"

Facts = dict[str, str]


class Collector:
    """Folds ring items into a log, batch by batch.

    ``open_log`` is called once, with what the target said of itself, and returns the log to write to.
    """

    def __init__(self, open_log: Callable[[Facts], LogWriter]) -> None:
        self._open_log = open_log
        self._writer: LogWriter | None = None
        self._symbols = LineSymbols()
        self._pairing = Pairing()
        self._threads = [Thread(0, UNKNOWN_THREAD_NAME)]
        self._details: list[LogRecord] = []
        self._pending: list[EventColumns] = []
        self._pending_events = 0
        self._flushed_at = time.monotonic()
        self._next_seq = 0
        self._time_ns = 0
        self._collections = 0
        self._open_collection: int | None = None
        self._count = dict.fromkeys(
            ("allocations", "frees", "unmatched_frees", "gc_collections", "allocated_bytes"), 0
        )
        self._peak = (0, 0, 0)
        self._traced_peak = 0
        self.started_monotonic_ns = 0
        self.complete = False
        self.notices: list[Notice] = []

    @property
    def attached(self) -> bool:
        """True once the target has said hello, which opens the log."""
        return self._writer is not None

    @property
    def totals(self) -> Totals:
        """What was recorded so far."""
        peak_bytes, peak_blocks, peak_seq = self._peak
        return Totals(
            events=self._next_seq,
            peak_bytes=peak_bytes,
            peak_blocks=peak_blocks,
            peak_seq=peak_seq,
            end_bytes=self._pairing.live_bytes,
            end_blocks=self._pairing.live_blocks,
            duration_ns=self._time_ns,
            **self._count,
        )

    def take(self, items: list[RingItem]) -> None:
        """Take items in, in the order of the ring. Raises OSError when the log cannot be written."""
        for item in items:
            if isinstance(item, RingTime):
                self._pass_time(item.time_ns)
            elif isinstance(item, RingEvents):
                for piece in split(item, BATCH_EVENTS):
                    self._take_events(piece)
                    self._flush_if_due()
            else:
                self._take_definition(item)
        self._flush_if_due()

    def sample_memory(self, rss_bytes: int) -> None:
        """Note how much memory the target holds now."""
        elapsed = max(0, time.perf_counter_ns() - self.started_monotonic_ns)
        sample = MemorySample(elapsed, max(0, self._next_seq - 1), rss_bytes, self._traced_peak)
        self._details.append(sample)

    def notice(self, code: str, text: str) -> None:
        """Note something that a reader of the log must know."""
        notice = Notice(code, max(0, self._next_seq - 1), self._time_ns, text)
        self.notices.append(notice)
        self._details.append(notice)

    def flush(self) -> None:
        """Write all that is pending: definitions, then details, then the events."""
        self._flushed_at = time.monotonic()
        writer = self._writer
        if writer is None:
            return
        codes, stacks = self._symbols.take()
        threads, self._threads = self._threads, []
        if codes or stacks or threads:
            writer.write(Definitions(threads=threads, codes=codes, stacks=stacks))
        details, self._details = self._details, []
        for record in details:
            writer.write(record)
        pending, self._pending, self._pending_events = self._pending, [], 0
        if pending:
            writer.write_events(_joined(pending))

    def close(self, exit_status: int | None) -> int:
        """Write what is left and the footer. Returns the length of the log in bytes."""
        self.flush()
        if self._writer is None:
            return 0
        self._writer.close(self.totals, complete=self.complete, exit_status=exit_status)
        return self._writer.bytes_written

    def abandon(self) -> int:
        """Close the log as it is, without a footer. Returns its length in bytes."""
        if self._writer is None:
            return 0
        self._writer.abandon()
        return self._writer.bytes_written

    # -- what comes in ------------------------------------------------------------------------------------

    def _pass_time(self, time_ns: int) -> None:
        self._time_ns = max(self._time_ns, time_ns)

    def _flush_if_due(self) -> None:
        if self._pending_events >= BATCH_EVENTS or time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self.flush()

    def _take_events(self, events: RingEvents) -> None:
        columns = empty_columns(self._next_seq, len(events))
        ended, by_bytes, by_blocks = self._pairing.pair(self._next_seq, events)
        free = events.is_free
        columns.kind[:] = np.where(free, np.uint8(EventKind.FREE), np.uint8(EventKind.ALLOCATION))
        columns.time_ns[:] = self._time_ns
        columns.thread_id[:] = events.thread
        columns.size[:] = events.size
        columns.alloc_seq[:] = ended
        known = ended >= 0
        np.copyto(columns.address, events.address, where=~known)
        np.copyto(columns.domain, events.flags, where=~free)
        np.copyto(columns.stack_id, events.node, where=~free)
        np.copyto(columns.cause, events.flags, where=free)
        np.copyto(columns.type_id, events.node, where=free)
        self._account(columns, known, by_bytes, by_blocks)
        self._append(columns)

    def _account(
        self,
        columns: EventColumns,
        known: npt.NDArray[np.bool_],
        by_bytes: npt.NDArray[np.int64],
        by_blocks: npt.NDArray[np.int64],
    ) -> None:
        frees = int(np.count_nonzero(columns.frees))
        self._count["frees"] += frees
        self._count["allocations"] += len(columns) - frees
        self._count["unmatched_frees"] += frees - int(np.count_nonzero(known))
        self._count["allocated_bytes"] += int(columns.size.sum())
        live = self._pairing.live_bytes - int(by_bytes.sum()) + np.cumsum(by_bytes)
        top = int(np.argmax(live))
        if int(live[top]) > self._peak[0]:
            after = int(by_blocks[top + 1 :].sum())
            blocks = self._pairing.live_blocks - after
            self._peak = (int(live[top]), blocks, columns.first_seq + top)

    def _append(self, columns: EventColumns) -> None:
        self._pending.append(columns)
        self._pending_events += len(columns)
        self._next_seq += len(columns)

    def _event(self, kind: EventKind, time_ns: int, thread: int) -> int:
        """Append an event without a block and return its number."""
        self._pass_time(time_ns)
        columns = empty_columns(self._next_seq, 1)
        columns.kind[0], columns.time_ns[0], columns.thread_id[0] = kind, self._time_ns, thread
        self._append(columns)
        return columns.first_seq

    def _take_definition(self, item: RingDefinition) -> None:
        handler = self._HANDLERS.get(item.what)
        if handler is None:
            self.notice("unknown-definition", f"the engine sent a definition of kind {item.what}; left out")
        else:
            handler(self, item)

    def _hello(self, item: RingDefinition) -> None:
        texts = slots.unpack_texts(item.payload)
        facts = dict(zip(texts[0::2], texts[1::2], strict=True))
        self.started_monotonic_ns = int(facts["monotonic_ns"])
        self._symbols.truncated_node(slots.TRUNCATED_NODE)
        self._writer = self._open_log(facts)

    def _thread(self, item: RingDefinition) -> None:
        self._threads.append(Thread(item.number, slots.unpack_texts(item.payload)[0]))

    def _code(self, item: RingDefinition) -> None:
        first_line, words = slots.CODE_HEAD.unpack_from(item.payload)
        rest = item.payload[slots.CODE_HEAD.size :]
        filename, qualname = slots.unpack_texts(rest)[:2]
        table = rest[_text_bytes(rest, 2) :]
        self._symbols.code(filename, qualname, first_line, words, table)

    def _file(self, item: RingDefinition) -> None:
        self._symbols.file(item.number, slots.unpack_texts(item.payload)[0])

    def _line_nodes(self, item: RingDefinition) -> None:
        for node in slots.LINE_NODE.iter_unpack(item.payload):
            self._symbols.line_node(*node)

    def _mark(self, item: RingDefinition) -> None:
        own, name = bool(item.payload[0]), slots.unpack_texts(item.payload[1:])[0]
        seq = self._event(EventKind.MARK, item.number, item.thread)
        if own and name == "end":
            self.complete = True
        self._details.append(Mark(name, seq, self._time_ns, item.thread, own))

    def _gc_start(self, item: RingDefinition) -> None:
        generation, *six = slots.GC_START.unpack(item.payload)
        seq = self._event(EventKind.GC_START, item.number, item.thread)
        self._open_collection = self._collections
        self._collections += 1
        self._count["gc_collections"] += 1
        start = CollectionStart(
            self._open_collection, seq, self._time_ns, item.thread, generation, tuple(six[:3]), tuple(six[3:])
        )
        self._details.append(start)

    def _gc_stop(self, item: RingDefinition) -> None:
        if self._open_collection is None:
            return
        duration, collected, uncollectable = slots.GC_STOP.unpack(item.payload)
        seq = self._event(EventKind.GC_STOP, item.number, item.thread)
        stop = CollectionStop(self._open_collection, seq, self._time_ns, duration, collected, uncollectable)
        self._open_collection = None
        self._details.append(stop)

    def _engine_notice(self, item: RingDefinition) -> None:
        self._pass_time(item.number)
        code, text = slots.unpack_texts(item.payload)[:2]
        self.notice(code, text)

    def _memory(self, item: RingDefinition) -> None:
        self._traced_peak = int.from_bytes(item.payload[:8], "little")

    _HANDLERS: ClassVar[dict[int, Callable[[Collector, RingDefinition], None]]] = {
        slots.DEF_HELLO: _hello,
        slots.DEF_THREAD: _thread,
        slots.DEF_CODE: _code,
        slots.DEF_FILE: _file,
        slots.DEF_LINE_NODES: _line_nodes,
        slots.DEF_MARK: _mark,
        slots.DEF_GC_START: _gc_start,
        slots.DEF_GC_STOP: _gc_stop,
        slots.DEF_NOTICE: _engine_notice,
        slots.DEF_MEMORY: _memory,
    }


def _text_bytes(payload: bytes, count: int) -> int:
    """Length of the first ``count`` texts of a payload."""
    at = 0
    for _ in range(count):
        at += 4 + int.from_bytes(payload[at : at + 4], "little")
    return at


def _joined(parts: list[EventColumns]) -> EventColumns:
    """Consecutive columns as one."""
    if len(parts) == 1:
        return parts[0]
    joined = empty_columns(parts[0].first_seq, sum(map(len, parts)))
    at = 0
    for part in parts:
        for name in COLUMN_TYPES:
            getattr(joined, name)[at : at + len(part)] = getattr(part, name)
        at += len(part)
    return joined


def header_of(base: Header, facts: Facts) -> Header:
    """A header filled in with what the target said of itself."""
    thresholds = tuple(int(part) for part in facts["thresholds"].split(","))
    python = msgspec.structs.replace(
        base.python,
        version=facts["version"],
        hexversion=int(facts["hexversion"]),
        implementation=facts["implementation"],
        build=facts["build"],
        executable=facts["executable"],
    )
    collector = msgspec.structs.replace(
        base.collector, thresholds=thresholds, enabled=facts["gc_enabled"] == "1"
    )
    allocator = base.allocator
    if facts.get("malloc"):
        allocator = msgspec.structs.replace(allocator, name=facts["malloc"])
    return msgspec.structs.replace(
        base,
        python=python,
        collector=collector,
        allocator=allocator,
        pid=int(facts["pid"]),
        started_at_ns=int(facts["started_at_ns"]),
        max_frames=int(facts["max_frames"]),
    )
