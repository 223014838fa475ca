"""Turns what comes out of the ring into a log. Knows the contract of the engines, but no engine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import ClassVar, Final

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from tracekit.events import (
    MOST_POOL_BYTES,
    NO_TYPE,
    CollectionStart,
    CollectionStop,
    CollectorSetting,
    Definitions,
    EventKind,
    Header,
    LogRecord,
    Mark,
    MemorySample,
    Notice,
    OlderArena,
    OlderPool,
    SourceLine,
    Thread,
    ThreadStack,
    Totals,
    TypeDefinition,
)
from tracekit.log.columns import BatchEncoder
from tracekit.log.livetypes import encode_live_types
from tracekit.log.stacks import define_stacks
from tracekit.log.writer import LogWriter
from tracekit.record import layouts, slots
from tracekit.record.decode import RingDefinition, RingSlots, RingTypes
from tracekit.record.offsets import OffsetSymbols
from tracekit.record.pairing import MAX_ADDRESS, new_fold
from tracekit.record.sources import Sources
from tracekit.record.symbols import LineSymbols
from tracekit.record.texts import DEF_NOTICE, DEF_THREAD

BATCH_EVENTS: Final = 1 << 17
FLUSH_SECONDS: Final = 0.25
LAST_SOURCES_SECONDS: Final = 0.5
"""How long the source text that was not read while the program ran may take at its end."""
UNKNOWN_THREAD_NAME: Final = "<unknown>"
UNNAMED_THREAD: Final = "<unnamed>"
NO_DEFINITIONS: Final = Definitions()

Facts = dict[str, str]


class Collector:
    """Folds ring items into a log, batch by batch.

    ``open_log`` is called once, with what the target said of itself, and returns the log to write to.
    """

    def __init__(self, open_log: Callable[[Facts], LogWriter]) -> None:
        self._open_log = open_log
        self._writer: LogWriter | None = None
        self._lines = LineSymbols()
        self._offsets: OffsetSymbols | None = None
        self._types: list[TypeDefinition] = []
        self._older_arenas: list[OlderArena] = []
        self._older_pools: list[OlderPool] = []
        self._settings: list[CollectorSetting] = []
        self._fold = new_fold(BATCH_EVENTS)
        self._encoder = BatchEncoder(self._fold.memory)
        self._mapped = 0
        self._fold.origin_ns = 1 << 62  # stamps from before the hello are from before the recording
        self._threads = [Thread(0, UNKNOWN_THREAD_NAME)]
        self._numbers: set[int] = set()
        self._details: list[LogRecord] = []
        self._flushed_at = time.monotonic()
        self._collections = 0
        self._open_collection: int | None = None
        self._traced_peak = 0
        self._typed: list[RingTypes] = []
        self.sources = Sources()
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
        counts = self._fold.counts
        return Totals(
            events=self._next_seq,
            allocations=counts.allocations,
            frees=counts.frees,
            unmatched_frees=counts.unmatched_frees,
            gc_collections=self._collections,
            allocated_bytes=counts.allocated_bytes,
            peak_bytes=counts.peak_bytes,
            peak_blocks=counts.peak_blocks,
            peak_seq=counts.peak_seq,
            end_bytes=counts.live_bytes,
            end_blocks=counts.live_blocks,
            duration_ns=self._time_ns,
        )

    def take(self, items: list[RingSlots]) -> None:
        """Take slots in, in the order of the ring. Raises OSError when the log cannot be written."""
        for item in items:
            for found in self._fold.feed(item):
                if found is None:
                    self._flush_full()
                elif isinstance(found, RingTypes):
                    self._typed.append(found)
                else:
                    self._take_definition(found)
            self._encode_ahead()
        if time.monotonic() - self._flushed_at > FLUSH_SECONDS:
            self.flush()

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
        self._write_definitions(writer)
        details, self._details = self._details, []
        for record in details:
            writer.write(record)
        if self._fold.rows:
            columns = self._fold.take()
            self._map(columns.stack_id)
            self._mapped = 0
            writer.write(self._encoder.finish(columns))

    def _encode_ahead(self) -> None:
        """Encode what has come, as long as it is at hand; of call paths all is known that it refers to."""
        memory = self._fold.memory
        if memory is not None and self._writer is not None:
            rows = self._fold.rows
            self._map(memory.stack_id[:rows])
            self._encoder.more(self._fold.next_seq - rows, rows)

    def _map(self, stack_id: npt.NDArray[np.int32]) -> None:
        """Turn the call path nodes of the rows into stacks of the log, where that was not done yet."""
        if self._offsets is not None:
            self._offsets.map(stack_id[self._mapped :])
        self._mapped = len(stack_id)

    def _write_definitions(self, writer: LogWriter) -> None:
        threads, self._threads = self._threads, []
        types, self._types = self._types, []
        if self._offsets is None:
            codes, stacks = self._lines.take()
            self.sources.refer_stacks(codes, stacks)
            new = [Definitions(threads=threads, codes=codes, stacks=stacks, types=types)]
        else:
            codes, rows = self._offsets.take()
            self.sources.refer(codes, rows)
            new = [Definitions(threads=threads, codes=codes, types=types), *define_stacks(rows)]
        arenas, self._older_arenas = self._older_arenas, []
        pools, self._older_pools = self._older_pools, []
        settings, self._settings = self._settings, []
        new.append(Definitions(older_arenas=arenas, older_pools=pools, gc_settings=settings))
        for record in new:
            if record != NO_DEFINITIONS:
                writer.write(record)
        self._write_lines(writer, self.sources.take())

    def _write_lines(self, writer: LogWriter, lines: list[SourceLine]) -> None:
        if lines:
            writer.write(Definitions(lines=lines))

    def settle(self) -> None:
        """Write all that is there and was read."""
        self._write_types()
        self.flush()
        if self._writer is not None:
            self._write_lines(self._writer, self.sources.take(all_of_them=True))

    def close(self, exit_status: int | None) -> int:
        """Write what is left and the footer. Returns the length of the log in bytes."""
        damaged = self._fold.counts.damaged
        if damaged:
            self.notice("ring-damaged", f"{damaged} entries of the ring cannot be true and were left out")
        if self._writer is None:
            return 0
        self._write_types()
        self.flush()  # which tells of more source text to read
        self.sources.read(time.monotonic() + LAST_SOURCES_SECONDS)
        self.settle()
        self._writer.close(self.totals, complete=self.complete, exit_status=exit_status)
        return self._writer.bytes_written

    def abandon(self) -> int:
        """Close the log as it is, without a footer. Returns its length in bytes."""
        if self._writer is None:
            return 0
        self._writer.abandon()
        return self._writer.bytes_written

    # -- what comes in ------------------------------------------------------------------------------------

    @property
    def _next_seq(self) -> int:
        return self._fold.next_seq

    @property
    def _time_ns(self) -> int:
        return self._fold.time_ns

    def _pass_time(self, time_ns: int) -> None:
        self._fold.time_ns = max(self._time_ns, time_ns)

    def _flush_full(self) -> None:
        if self._writer is None:
            raise ValueError("the engine sent events and did not say hello")
        self.flush()

    def _event(self, kind: EventKind, time_ns: int, thread: int) -> int:
        """Append an event without a block and return its number."""
        return self._fold.event(kind, time_ns, thread)

    def _write_types(self) -> None:
        """Write the types of blocks that are alive, behind the batch that has their allocations."""
        typed, self._typed = self._typed, []
        if not typed:
            return
        self.flush()
        alloc_seq, row = np.unique(np.concatenate([part.alloc_seq for part in typed]), return_index=True)
        type_id = np.concatenate([part.type_id for part in typed])[row]
        known = type_id != NO_TYPE
        if self._writer is not None:
            for record in encode_live_types(self._next_seq, alloc_seq[known], type_id[known]):
                self._writer.write(record)

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
        if facts["frames"] == "offsets":
            self._offsets = OffsetSymbols()
        self._fold.origin_ns = self.started_monotonic_ns
        self._writer = self._open_log(facts)

    def _thread(self, item: RingDefinition) -> None:
        self._threads.append(Thread(item.number, slots.unpack_texts(item.payload)[0]))
        self._numbers.add(item.number)

    def _native_thread(self, item: RingDefinition) -> None:
        """A thread is known before its name is."""
        self._threads.append(Thread(item.number, UNNAMED_THREAD))
        self._numbers.add(item.number)

    def _code(self, item: RingDefinition) -> None:
        first_line, words = layouts.CODE_HEAD.unpack_from(item.payload)
        rest = item.payload[layouts.CODE_HEAD.size :]
        filename, qualname = slots.unpack_texts(rest, 2)
        table = rest[_text_bytes(rest, 2) :]
        self.sources.see(filename, qualname)
        if self._offsets is not None:
            self._offsets.code(item.number, filename, qualname, first_line, words, table)
        else:
            self._lines.code(filename, qualname, first_line, words, table)

    def _code_node(self, item: RingDefinition) -> None:
        if self._offsets is not None:
            self._offsets.nodes(item.payload)

    def _type(self, item: RingDefinition) -> None:
        basic_size, tracked = layouts.TYPE_HEAD.unpack_from(item.payload)
        name = slots.unpack_texts(item.payload[layouts.TYPE_HEAD.size :])[0]
        self._types.append(TypeDefinition(item.number, name, basic_size, bool(tracked)))

    def _file(self, item: RingDefinition) -> None:
        self._lines.file(item.number, slots.unpack_texts(item.payload)[0])

    def _line_nodes(self, item: RingDefinition) -> None:
        for node in layouts.LINE_NODE.iter_unpack(item.payload):
            self._lines.line_node(*node)

    def _frame_node(self, item: RingDefinition) -> None:
        number, parent, file, line, first_line = layouts.FRAME_NODE.unpack_from(item.payload)
        (qualname,) = slots.unpack_texts(item.payload[layouts.FRAME_NODE.size :], 1)
        self._lines.frame_node(number, parent, file, line, first_line, qualname)

    def _mark(self, item: RingDefinition) -> None:
        own, name = bool(item.payload[0]), slots.unpack_texts(item.payload[1:])[0]
        self._write_types()
        seq = self._event(EventKind.MARK, item.number, item.thread)
        if own and name == "end":
            self.complete = True
        behind = item.payload[1 + _text_bytes(item.payload[1:], 1) :]
        where = self._thread_stacks(behind) or msgspec.UNSET
        self._details.append(Mark(name, seq, self._time_ns, item.thread, own, where))

    def _thread_stacks(self, data: bytes) -> list[ThreadStack]:
        """Where threads were, of those that have numbers; empty when the engine did not look."""
        whole = len(data) // layouts.MARK_STACK.size * layouts.MARK_STACK.size
        rows = np.frombuffer(data[:whole], np.int32).reshape(-1, 2)
        nodes = rows[:, 1].copy()
        if self._offsets is not None:
            self._offsets.map(nodes)
        else:
            self._lines.map(nodes)
        pairs = zip(rows[:, 0].tolist(), nodes.tolist(), strict=True)
        return [ThreadStack(thread, node) for thread, node in pairs if thread in self._numbers]

    def _arenas(self, item: RingDefinition) -> None:
        whole = len(item.payload) // layouts.OLDER_ARENA.size * layouts.OLDER_ARENA.size
        for address, size in layouts.OLDER_ARENA.iter_unpack(item.payload[:whole]):
            if max(address, size) < MAX_ADDRESS:
                self._older_arenas.append(OlderArena(address, size))

    def _pools(self, item: RingDefinition) -> None:
        data, at = item.payload, 0
        while at + layouts.OLDER_POOL.size <= len(data):
            first, block_size, blocks = layouts.OLDER_POOL.unpack_from(data, at)
            at += layouts.OLDER_POOL.size
            used = data[at : at + (blocks + 7) // 8]
            at += len(used)
            if 0 < block_size <= MOST_POOL_BYTES >= len(used) and first < MAX_ADDRESS:
                self._older_pools.append(OlderPool(first, block_size, used))

    def _gc_start(self, item: RingDefinition) -> None:
        generation, *six = layouts.GC_START.unpack_from(item.payload)
        long_lived: tuple[int, int] | UnsetType = UNSET
        behind = layouts.GC_START.size + layouts.GC_LONG_LIVED.size
        if len(item.payload) > layouts.GC_START.size:
            total, pending = layouts.GC_LONG_LIVED.unpack_from(item.payload, layouts.GC_START.size)
            long_lived = (total, pending)
        seq = self._event(EventKind.GC_START, item.number, item.thread)
        self._open_collection = self._collections
        self._collections += 1
        start = CollectionStart(
            self._open_collection,
            seq,
            self._time_ns,
            item.thread,
            generation,
            tuple(six[:3]),
            tuple(six[3:]),
            long_lived,
            _free_lists(item.payload, behind),
        )
        self._details.append(start)

    def _gc_stop(self, item: RingDefinition) -> None:
        if self._open_collection is None:
            return
        duration, collected, uncollectable = layouts.GC_STOP.unpack_from(item.payload)
        seq = self._event(EventKind.GC_STOP, item.number, item.thread)
        stop = CollectionStop(
            self._open_collection,
            seq,
            self._time_ns,
            duration,
            collected,
            uncollectable,
            _free_lists(item.payload, layouts.GC_STOP.size),
        )
        self._open_collection = None
        self._details.append(stop)

    def _gc_setting(self, item: RingDefinition) -> None:
        self._pass_time(item.number)
        enabled, *thresholds = layouts.GC_SETTING.unpack_from(item.payload)
        first, second, third = thresholds
        setting = CollectorSetting(self._next_seq, self._time_ns, bool(enabled), (first, second, third))
        self._settings.append(setting)

    def _engine_notice(self, item: RingDefinition) -> None:
        self._pass_time(item.number)
        code, text = slots.unpack_texts(item.payload)[:2]
        self.notice(code, text)

    def _memory(self, item: RingDefinition) -> None:
        self._traced_peak = int.from_bytes(item.payload[:8], "little")

    _HANDLERS: ClassVar[dict[int, Callable[[Collector, RingDefinition], None]]] = {
        slots.DEF_HELLO: _hello,
        DEF_THREAD: _thread,
        slots.DEF_CODE: _code,
        slots.DEF_FILE: _file,
        slots.DEF_LINE_NODES: _line_nodes,
        slots.DEF_FRAME_NODE: _frame_node,
        slots.DEF_MARK: _mark,
        slots.DEF_GC_START: _gc_start,
        slots.DEF_GC_STOP: _gc_stop,
        slots.DEF_GC_SETTING: _gc_setting,
        DEF_NOTICE: _engine_notice,
        slots.DEF_MEMORY: _memory,
        slots.DEF_CODE_NODE: _code_node,
        slots.DEF_TYPE: _type,
        slots.DEF_NATIVE_THREAD: _native_thread,
        slots.DEF_OLDER_ARENAS: _arenas,
        slots.DEF_OLDER_POOLS: _pools,
    }


def _text_bytes(payload: bytes, count: int) -> int:
    """Length of the first ``count`` texts of a payload."""
    at = 0
    for _ in range(count):
        at += 4 + int.from_bytes(payload[at : at + 4], "little")
    return at


def _free_lists(payload: bytes, at: int) -> tuple[int, ...] | UnsetType:
    """What the native engine puts behind a collection's numbers; the other one cannot look."""
    if len(payload) < at + layouts.GC_FREE_LISTS.size:
        return UNSET
    return layouts.GC_FREE_LISTS.unpack_from(payload, at)


def header_of(base: Header, facts: Facts) -> Header:
    """A header filled in with what the target said of itself."""
    lists = {
        name: tuple(int(part) for part in facts[name].split(","))
        for name in ("thresholds", "gc_counts", "free_lists")
        if name in facts  # the last one comes from the native engine alone
    }
    python = msgspec.structs.replace(
        base.python,
        version=facts["version"],
        hexversion=int(facts["hexversion"]),
        implementation=facts["implementation"],
        build=facts["build"],
        executable=facts["executable"],
    )
    collector = msgspec.structs.replace(
        base.collector,
        thresholds=lists["thresholds"],
        enabled=facts["gc_enabled"] == "1",
        counts=lists["gc_counts"],
        free_lists=lists.get("free_lists"),
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
