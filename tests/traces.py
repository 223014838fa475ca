"""Synthetic recordings for tests: built by hand or at random, written by the real LogWriter.

A :class:`Trace` is the plain list of what happened (single events as Structs) plus the definitions they refer
to. It knows the answers by the most naive way there is (:meth:`Trace.live_at`, :meth:`Trace.totals`), which
makes it the oracle for everything that reads logs.

    build = TraceBuilder()
    stack = build.stack(("app.py", "main", 10), ("app.py", "load", 20))
    block = build.allocate(1000, stack=stack)
    build.free(block)
    write_log(path, build.finish())
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from pathlib import Path

import msgspec
from hypothesis import strategies as st
from trace_model import Definition, Frame, Trace

from tracekit.events import (
    FREE_LISTS,
    Allocation,
    AllocatorInfo,
    ArenaEvent,
    Capabilities,
    Cause,
    Code,
    CollectionStart,
    CollectionStop,
    CollectorInfo,
    CollectorSetting,
    Definitions,
    Domain,
    Event,
    Free,
    Header,
    Mark,
    MemorySample,
    Notice,
    OlderArena,
    OlderPool,
    PythonInfo,
    SourceLine,
    Stack,
    Thread,
    ThreadStack,
    TypeDefinition,
)
from tracekit.log.writer import LogWriter

__all__ = ["Definition", "Frame", "Trace", "TraceBuilder", "cuts", "random_trace", "sample_capabilities"]
__all__ += ["sample_header", "traces", "write_log"]


def sample_capabilities(**changes: bool) -> Capabilities:
    """An engine that knows everything, except for ``changes``."""
    everything = dict.fromkeys(Capabilities.__struct_fields__, True)
    return Capabilities(**(everything | changes))


def sample_header(**changes: object) -> Header:
    """A header of an imaginary recording; ``changes`` replace fields."""
    header = Header(
        trace_uuid="8c2f6f0e-5d3a-4d61-9a3f-000000000001",
        tool_version="0.1.0",
        engine="native",
        engine_reason="chosen by a test",
        capabilities=sample_capabilities(),
        python=PythonInfo("3.11.7", 0x030B07F0, "cpython", "main", "/usr/bin/python3"),
        platform="Linux-x86_64",
        pid=4711,
        argv=["app.py", "--fast"],
        cwd="/srv/app",
        started_at_ns=1_700_000_000_000_000_000,
        max_frames=64,
        allocator=AllocatorInfo(4096, 1 << 20, 1 << 14, 16, 512),
        collector=CollectorInfo((700, 10, 10), True),
    )
    return msgspec.structs.replace(header, **changes)


class TraceBuilder:
    """Makes a :class:`Trace` event by event. Every method that adds an event returns its ``seq``.

    ``now`` is the time of the next event in nanoseconds; move it with :meth:`advance`. The recorder's mark
    ``start`` is there from the beginning, thread 1 is the main thread and made the events by default.
    """

    def __init__(self, header: Header | None = None) -> None:
        self.trace = Trace(header or sample_header(), [], [])
        self.live: dict[int, Allocation] = {}
        self.defined: Counter[type[Definition]] = Counter()
        self.now = 0
        self.collecting: CollectionStart | None = None
        self._collections = 0
        self._stacks: dict[tuple[int, Frame], int] = {}
        self._codes: dict[tuple[str, str], int] = {}
        self._arenas: dict[int, int] = {}
        self._next_address = 0x7F00_0000_0000
        self.thread("MainThread")
        self.mark("start", own=True)

    @property
    def next_seq(self) -> int:
        return len(self.trace.events)

    def advance(self, nanoseconds: int) -> None:
        self.now += nanoseconds

    def _define(self, definition: Definition) -> None:
        self.defined[type(definition)] += 1
        self.trace.definitions.append((self.next_seq, definition))

    def thread(self, name: str) -> int:
        """Define a thread; its number."""
        number = self.defined[Thread] + 1
        self._define(Thread(number, name))
        return number

    def code(self, filename: str, qualname: str, first_line: int = 1, frame_bytes: int = 120) -> int:
        """The number of a code object, defined on first use."""
        number = self._codes.get((filename, qualname))
        if number is None:
            number = self._codes[filename, qualname] = len(self._codes) + 1
            self._define(Code(number, filename, qualname, first_line, frame_bytes))
        return number

    def stack(self, *frames: Frame) -> int:
        """The number of a call path (outermost frame first), its nodes defined on first use."""
        node = 0
        for frame in frames:
            number = self._stacks.get((node, frame))
            if number is None:
                code_id = self.code(frame[0], frame[1])
                number = self._stacks[node, frame] = len(self._stacks) + 1
                self._define(Stack(number, node, code_id, frame[2]))
            node = number
        return node

    def type(self, name: str, basic_size: int = 16, gc_tracked: bool = False) -> int:
        """Define a type; its number."""
        number = self.defined[TypeDefinition] + 1
        self._define(TypeDefinition(number, name, basic_size, gc_tracked))
        return number

    def _add(self, event: Event) -> int:
        assert event.seq == self.next_seq
        self.trace.events.append(event)
        return event.seq

    def allocate(
        self,
        size: int,
        *,
        stack: int = 0,
        thread: int = 1,
        domain: Domain = Domain.OBJECT,
        address: int | None = None,
        realloc_of: int | None = None,
    ) -> int:
        """A block is obtained; without ``address`` at one of its own."""
        if address is None:
            address = self._next_address
            self._next_address += max(16, -(-size // 16) * 16)
        name = domain.name.lower()
        block = Allocation(self.next_seq, self.now, thread, name, address, size, stack, realloc_of)
        self.live[block.seq] = block
        return self._add(block)

    def free(self, alloc_seq: int, *, cause: Cause | None = None, type_id: int = 0, thread: int = 1) -> int:
        """A block is given back; by the collector while it runs on this thread, without a ``cause``."""
        if cause is None:
            in_gc = self.collecting is not None and self.collecting.thread_id == thread
            cause = Cause.GC if in_gc else Cause.REFCOUNT
        name = cause.name.lower()
        self.live.pop(alloc_seq, None)
        return self._add(Free(self.next_seq, self.now, thread, name, alloc_seq, type_id=type_id))

    def free_unknown(self, address: int, *, thread: int = 1) -> int:
        """A block older than the recording is given back."""
        return self._add(Free(self.next_seq, self.now, thread, "refcount", None, address))

    def realloc(self, alloc_seq: int, size: int, *, thread: int = 1) -> int:
        """A block is replaced by one of another size: a free and the allocation linked to it."""
        old = self.trace.events[alloc_seq]
        assert isinstance(old, Allocation)
        self.free(alloc_seq, cause=Cause.REALLOC, thread=thread)
        domain = Domain[old.domain.upper()]
        return self.allocate(size, stack=old.stack_id, thread=thread, domain=domain, realloc_of=alloc_seq)

    def gc_start(
        self,
        generation: int = 0,
        *,
        counts: tuple[int, int, int] = (701, 0, 0),
        thresholds: tuple[int, int, int] = (700, 10, 10),
        thread: int = 1,
        free_lists: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET,
    ) -> int:
        """The collector begins."""
        assert self.collecting is None
        long_lived = (counts[0] * 7, counts[1]) if counts[0] % 2 else msgspec.UNSET
        self.collecting = CollectionStart(
            *(self._collections, self.next_seq, self.now, thread, generation),
            *(counts, thresholds, long_lived, free_lists),
        )
        self._collections += 1
        return self._add(self.collecting)

    def gc_stop(
        self,
        *,
        collected: int = 0,
        uncollectable: int = 0,
        free_lists: tuple[int, ...] | msgspec.UnsetType = msgspec.UNSET,
    ) -> int:
        """The collector ends."""
        start = self.collecting
        assert start is not None
        self.collecting = None
        duration = self.now - start.time_ns
        return self._add(
            CollectionStop(
                start.gc_id, self.next_seq, self.now, duration, collected, uncollectable, free_lists
            )
        )

    def mark(
        self, name: str, *, thread: int = 1, own: bool = False, stacks: dict[int, int] | None = None
    ) -> int:
        """An instant gets a name; ``stacks`` are the call paths of threads."""
        where = msgspec.UNSET if stacks is None else [ThreadStack(*item) for item in stacks.items()]
        return self._add(Mark(name, self.next_seq, self.now, thread, own, where))

    def older_arena(self, address: int, size: int = 1 << 20) -> None:
        """The object allocator had this arena when the recording began."""
        self._arenas[address] = size
        self._define(OlderArena(address, size))

    def older_pool(self, first: int, block_size: int, used: int) -> None:
        """A pool had these blocks in use when the recording began: bit i of ``used`` is block i."""
        self._define(OlderPool(first, block_size, used.to_bytes(used.bit_length() // 8 + 1, "little")))

    def source_line(self, code_id: int, line: int, text: str) -> None:
        """The source text of a line."""
        self._define(SourceLine(code_id, line, text))

    def arena(self, size: int = 1 << 20) -> int:
        """The object allocator obtains an arena; its address."""
        address = 0x7E00_0000_0000 + (len(self.trace.events) << 24)
        self._add(ArenaEvent(self.next_seq, self.now, address, size))
        self._arenas[address] = size
        return address

    def free_arena(self, address: int) -> int:
        """The object allocator returns an arena."""
        return self._add(ArenaEvent(self.next_seq, self.now, address, self._arenas.pop(address), True))

    @property
    def arenas(self) -> list[int]:
        """Addresses of the arenas that are there."""
        return list(self._arenas)

    def set_collector(self, *, enabled: bool, thresholds: tuple[int, int, int] = (700, 10, 10)) -> None:
        """How the collector is set from the next event on."""
        setting = CollectorSetting(self.next_seq, self.now, enabled, thresholds)
        self.trace.definitions.append((self.next_seq, setting))

    def sample(self, rss_bytes: int) -> None:
        """Resident memory is measured after the last event."""
        self.trace.samples.append(MemorySample(self.now, self.next_seq - 1, rss_bytes))

    def notice(self, code: str, text: str) -> None:
        """Something to be known about the recording."""
        self.trace.notices.append(Notice(code, self.next_seq - 1, self.now, text))

    def finish(self, *, complete: bool = True, exit_status: int | None = 0) -> Trace:
        """The trace, ended by the recorder's mark ``end`` when ``complete``."""
        if complete:
            if self.collecting is not None:
                self.gc_stop()
            self.mark("end", own=True)
        self.trace.exit_status = exit_status
        return self.trace


def cuts(count: int, seed: int | None) -> list[int]:
    """Where to cut ``count`` events into batches, at random; ``seed`` None: one batch."""
    if seed is None or count < 2:
        return [0, count]
    draw = random.Random(seed)
    inner = draw.sample(range(1, count), draw.randrange(0, min(count, 12)))
    return [0, *sorted(inner), count]


def write_log(path: Path, trace: Trace, *, seed: int | None = 0, closed: bool = True) -> Path:
    """Write a trace with the real writer, in batches cut at random; ``closed`` false leaves out the footer.

    Definitions stand before the first batch that can use them, details before the batch of their event.
    """
    at = cuts(len(trace.events), seed)
    definitions = list(trace.definitions)
    with LogWriter(path.open("wb"), trace.header) as writer:
        for start, stop in itertools.pairwise(at):
            last = stop == len(trace.events)
            due = [item for born, item in definitions if born < stop or last]
            definitions = [(born, item) for born, item in definitions if not (born < stop or last)]
            if due:
                writer.write(_definitions(due))
            for event in trace.events[start:stop]:
                if isinstance(event, CollectionStart | CollectionStop | Mark):
                    writer.write(event)
            measured: list[Notice | MemorySample] = [*trace.notices, *trace.samples]
            for record in measured:
                if start <= record.seq < stop:
                    writer.write(record)
            writer.write_events(trace.columns(start, stop))
        if closed:
            writer.close(trace.totals(), complete=trace.complete, exit_status=trace.exit_status)
    return path


def _definitions(items: list[Definition]) -> Definitions:
    return Definitions(
        threads=[item for item in items if isinstance(item, Thread)],
        codes=[item for item in items if isinstance(item, Code)],
        stacks=[item for item in items if isinstance(item, Stack)],
        types=[item for item in items if isinstance(item, TypeDefinition)],
        lines=[item for item in items if isinstance(item, SourceLine)],
        older_arenas=[item for item in items if isinstance(item, OlderArena)],
        older_pools=[item for item in items if isinstance(item, OlderPool)],
        gc_settings=[item for item in items if isinstance(item, CollectorSetting)],
    )


SIZES = st.one_of(st.integers(0, 64), st.integers(0, 2000), st.sampled_from([512, 513, 1 << 20, 1 << 40]))
"""Sizes of blocks: mostly small, at times huge."""

_OPERATIONS = (
    *("allocate",) * 6,
    *("free",) * 4,
    *(
        "realloc",
        "free_unknown",
        "collection",
        "mark",
        "arena",
        "thread",
        "type",
        "sample",
        "notice",
        "setting",
    ),
)
_FRAMES: list[Frame] = [
    ("/srv/app/main.py", "main", 10),
    ("/srv/app/main.py", "main", 12),
    ("/srv/app/load.py", "Loader.read", 33),
    ("/usr/lib/python3/json/decoder.py", "JSONDecoder.decode", 337),
    ("<string>", "<module>", 1),
    ("/srv/ünï côdé/x.py", "f.<locals>.<lambda>", 7),
]


@st.composite
def traces(draw: st.DrawFn, *, max_events: int = 60, complete: bool | None = None) -> Trace:
    """Random recordings with threads, reallocs, frees of unknown blocks, marks, collections and arenas.

    ``complete`` says whether the mark ``end`` is there; None: now and then it is not.
    """
    build = TraceBuilder()
    step = st.tuples(
        st.sampled_from(_OPERATIONS),
        st.integers(0, 2**20),
        SIZES,
        st.sampled_from([0, 0, 1, 999, 20_000_000]),
    )
    for operation, pick, size, pause in draw(st.lists(step, max_size=max_events)):
        build.advance(pause)
        _random_step(build, operation, pick, size)
    whole = draw(st.booleans()) if complete is None else complete
    return build.finish(complete=whole, exit_status=draw(st.sampled_from([0, 1, -9, None])))


def random_trace(seed: int, events: int) -> Trace:
    """A large random recording without hypothesis."""
    source = random.Random(seed)
    build = TraceBuilder()
    while build.next_seq < events:
        build.advance(source.choice([0, 0, 1, 999, 20_000]))
        size = source.choice([source.randrange(600), source.randrange(600), source.randrange(100_000)])
        _random_step(build, source.choice(_OPERATIONS), source.randrange(2**20), size)
    return build.finish()


def _nth(live: dict[int, Allocation], pick: int) -> int:
    return next(itertools.islice(live, pick % len(live), None))


def _random_step(build: TraceBuilder, operation: str, pick: int, size: int) -> None:
    live = build.live
    thread = pick % (build.defined[Thread] + 1)  # 0: not known
    match operation:
        case "free" if live:
            type_id = pick % (build.defined[TypeDefinition] + 1)
            cause = Cause.UNKNOWN if pick % 7 == 0 else None
            build.free(_nth(live, pick), thread=thread, type_id=type_id, cause=cause)
        case "realloc" if live:
            build.realloc(_nth(live, pick), size, thread=thread)
        case "free_unknown":
            build.free_unknown(pick << 4, thread=thread)
        case "allocate" | "free" | "realloc":
            path = [_FRAMES[(pick >> (3 * level)) % len(_FRAMES)] for level in range(pick % 5)]
            build.allocate(size, stack=build.stack(*path), thread=thread, domain=Domain(pick % len(Domain)))
        case _:
            _random_other(build, operation, pick, thread)


def _random_free_lists(pick: int) -> tuple[int, ...] | msgspec.UnsetType:
    """Of every free list; two of three times, as not every engine looks."""
    return tuple(pick * (size + 1) % 2001 for size in range(FREE_LISTS)) if pick % 3 else msgspec.UNSET


def _random_other(build: TraceBuilder, operation: str, pick: int, thread: int) -> None:
    match operation:
        case "collection" if build.collecting is None:
            counts = (pick % 900, pick % 11, pick % 13)
            build.gc_start(pick % 3, thread=thread, counts=counts, free_lists=_random_free_lists(pick))
        case "collection":
            lists = _random_free_lists(pick + 1)
            build.gc_stop(collected=pick % 100, uncollectable=pick % 2, free_lists=lists)
        case "mark":
            count = build.defined[Stack]
            where = {own: (pick >> own) % (count + 1) for own in range(1, build.defined[Thread] + 1)}
            build.mark(f"mark-{pick % 5}", thread=thread, stacks=where if pick % 2 else None)
        case "arena" if pick % 3 == 0 and build.arenas:
            build.free_arena(build.arenas[pick % len(build.arenas)])
        case "arena":
            build.arena()
        case "thread":
            build.thread(f"worker-{build.defined[Thread]}")
        case "type":
            build.type(f"app.Type{build.defined[TypeDefinition]}", pick % 500, pick % 2 == 0)
        case "sample":
            build.sample(pick * 4096)
        case "setting":
            build.set_collector(enabled=pick % 3 > 0, thresholds=(pick % 900 - 1, pick % 11, pick % 13))
        case _:
            build.notice("test-notice", f"something happened {pick}")
            build.older_pool(pick << 4 | 0x1000_0000_0000, 16 + pick % 32 * 16, pick)
