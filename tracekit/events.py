"""The event model: what a recording consists of, as msgspec Structs and enums.

A recording is a sequence of events numbered by ``seq`` from 0 without gaps, the definitions that the events
refer to by number, and a few measurements. The identity of an allocation is the ``seq`` of its event. The
heap "at seq t" is the heap after event t: a block is alive when ``alloc_seq <= t < free_seq``.

Units: times are nanoseconds since the recording began, sizes are bytes. On disk the events travel in batches
of columns (:mod:`tracekit.log`); the Structs ``Allocation``, ``Free``, ``ArenaEvent``, ``CollectionStart``,
``CollectionStop`` and ``Mark`` are one event each and what ``tracekit dump`` prints.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

LOG_FORMAT_VERSION = 2
"""The version that is written. Versions 1 to this one are read."""

NO_STACK = 0
"""``stack_id`` of an event without a call path, and the parent of every root."""

NO_TYPE = 0
"""``type_id`` of a block whose type was not recorded."""

UNKNOWN_THREAD = 0
"""``thread_id`` where the engine could not tell which thread it was."""

UInt = Annotated[int, Meta(ge=0, le=2**63 - 1)]
"""A count, size, time, address or ``seq``: what fits a signed 64-bit column."""

Int = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Int32 = Annotated[int, Meta(ge=-(2**31), le=2**31 - 1)]

FREE_LISTS = 24
FreeLists = Annotated[
    tuple[Annotated[int, Meta(ge=0, le=2**32 - 1)], ...], Meta(min_length=FREE_LISTS, max_length=FREE_LISTS)
]
"""Dead objects that wait in free lists: dicts, lists, tuples of 1 to 20 items, floats, keys of dicts."""

Id = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""The number of a definition. 0 means "none" or "not known" and is never defined."""

Text = str

MAX_DEFINITIONS = 1 << 20
"""A Definitions record holds at most this many of each kind; the writer splits longer ones."""


MOST_POOL_BYTES = 1 << 16
"""A pool of the object allocator is not larger: CPython's has 16 KiB (4 KiB on 32 bits)."""


class EventKind(enum.IntEnum):
    """What one event says; the value is the one in the ``kind`` column of the log."""

    ALLOCATION = 0
    FREE = 1
    GC_START = 2
    GC_STOP = 3
    MARK = 4
    ARENA_ALLOCATION = 5
    ARENA_FREE = 6


class Domain(enum.IntEnum):
    """The allocator a block came from.

    ``RAW``, ``MEM`` and ``OBJECT`` are CPython's allocator domains (Include/cpython/pymem.h). ``PYTHON`` is
    one of these three where the engine cannot tell which; ``FOREIGN`` is a tracemalloc domain that an
    extension module declared; ``NATIVE`` is memory that no Python allocator saw.
    """

    RAW = 0
    MEM = 1
    OBJECT = 2
    NATIVE = 3
    PYTHON = 4
    FOREIGN = 5


class Cause(enum.IntEnum):
    """Why a block was given back."""

    REFCOUNT = 0
    GC = 1
    REALLOC = 2
    UNKNOWN = 3


class Allocation(Struct, frozen=True, tag="allocation", omit_defaults=True):
    """A block was obtained. ``realloc_of`` is the allocation that a realloc replaced by this one."""

    seq: int
    time_ns: int
    thread_id: int
    domain: str
    address: int
    size: int
    stack_id: int
    realloc_of: int | None = None


class Free(Struct, frozen=True, tag="free", omit_defaults=True):
    """A block was given back.

    ``alloc_seq`` is the allocation it ends; None for a block older than the recording, and only then
    ``address`` is present (otherwise it is the allocation's).
    """

    seq: int
    time_ns: int
    thread_id: int
    cause: str
    alloc_seq: int | None = None
    address: int | None = None
    type_id: int = NO_TYPE


class ArenaEvent(Struct, frozen=True, tag="arena", omit_defaults=True):
    """The object allocator obtained (``freed`` false) or returned an arena."""

    seq: int
    time_ns: int
    address: int
    size: int
    freed: bool = False


class Capabilities(Struct, frozen=True, forbid_unknown_fields=True):
    """What the engine that made a recording could know. No later layer pretends to know more.

    ``exact_order``: events are in the order in which they happened, not grouped at sync points.
    ``every_event``: also blocks that lived shorter than a sync interval are recorded.
    ``real_addresses``: addresses are the allocator's; otherwise they are synthetic identities.
    ``real_times``: an event's time is its own (within 1 ms); otherwise that of its sync point.
    ``domains``: raw, mem and object are told apart. ``types``: the type of a block is known.
    ``causes``: every free has its true cause; otherwise some are ``unknown``.
    ``threads``: every event has its true thread; otherwise some are unknown (``thread_id`` 0).
    ``reallocs``: a realloc is recorded as a linked free and allocation.
    ``gc_tracked``: which blocks the collector tracks is known. ``arenas``: arena events are recorded.
    """

    exact_order: bool
    every_event: bool
    real_addresses: bool
    real_times: bool
    domains: bool
    types: bool
    causes: bool
    threads: bool
    reallocs: bool
    gc_tracked: bool
    arenas: bool


class PythonInfo(Struct, frozen=True):
    """The interpreter under observation; ``version`` like ``3.11.7``, ``hexversion`` as in sys."""

    version: Text
    hexversion: UInt
    implementation: Text
    build: Text
    executable: Text


class AllocatorInfo(Struct, frozen=True):
    """Sizes that CPython's object allocator was built with (Include/internal/pycore_obmalloc.h)."""

    page_size: UInt
    arena_size: UInt
    pool_size: UInt
    alignment: UInt
    small_request_threshold: UInt
    name: Text = "pymalloc"


class CollectorInfo(Struct, frozen=True, omit_defaults=True):
    """State of the garbage collector when the recording began (``gc.get_threshold``, ``gc.isenabled``).

    ``counts`` are those of ``gc.get_count``, a moment before the first event; None where they were not
    recorded. ``free_lists`` (:data:`FreeLists`) are of about then, too.
    """

    thresholds: tuple[Int32, Int32, Int32]
    enabled: bool
    counts: tuple[Int32, Int32, Int32] | None = None
    free_lists: FreeLists | None = None


class Header(Struct, frozen=True, tag="header"):
    """First record of every log: who recorded what, where, with which engine."""

    trace_uuid: Text
    tool_version: Text
    engine: Text
    engine_reason: Text
    capabilities: Capabilities
    python: PythonInfo
    platform: Text
    pid: UInt
    argv: list[Text]
    cwd: Text
    started_at_ns: UInt
    """Wall clock (nanoseconds since 1970-01-01 UTC) at time 0 of the recording."""
    max_frames: UInt
    allocator: AllocatorInfo
    collector: CollectorInfo
    sync_interval_ns: UInt = 0


class Thread(Struct, frozen=True, array_like=True):
    """A thread of the program. Number 0 is reserved for "not known".

    A thread may be defined again when its name becomes known; the last name counts.
    """

    thread_id: Id
    name: Text


class Code(Struct, frozen=True, array_like=True):
    """A code object: file, ``co_qualname``, ``co_firstlineno`` and the bytes one frame of it occupies."""

    code_id: Id
    filename: Text
    qualname: Text
    first_line: Int32
    frame_bytes: UInt


class Stack(Struct, frozen=True, array_like=True):
    """A node of the call tree: ``code_id`` at ``line``, called from ``parent_id`` (0: a root)."""

    stack_id: Id
    parent_id: Id
    code_id: Id
    line: Int32


class TypeDefinition(Struct, frozen=True, array_like=True):
    """A type as ``module.qualname``; ``gc_tracked`` when instances carry a collector header."""

    type_id: Id
    name: Text
    basic_size: UInt
    gc_tracked: bool


class SourceLine(Struct, frozen=True, array_like=True):
    """What stands at a line of the file of a code object, without the white space around it."""

    code_id: Id
    line: Int32
    text: Text


class OlderArena(Struct, frozen=True, array_like=True):
    """An arena that the object allocator had when the recording began."""

    address: UInt
    size: UInt


class OlderPool(Struct, frozen=True, array_like=True):
    """A pool of the object allocator that held blocks when the recording began.

    Its first block is at ``first``, and each takes ``block_size`` bytes (the size class). Bit i of ``used``,
    the lowest bit of each byte first, says that block i was in use.
    """

    first: UInt
    block_size: Annotated[int, Meta(ge=1, le=MOST_POOL_BYTES)]
    used: Annotated[bytes, Meta(max_length=MOST_POOL_BYTES)]


class Column(Struct, frozen=True, array_like=True):
    """One column of numbers, ``width`` bytes a value; ``coding`` is const, plain, delta or runs.

    docs/log-format.md draws the codings.
    """

    coding: str
    width: Annotated[int, Meta(ge=0, le=8)]
    data: bytes


class PackedStacks(Struct, frozen=True):
    """``count`` stacks as columns; ``above`` is stack_id - parent_id."""

    count: Annotated[int, Meta(ge=1, le=MAX_DEFINITIONS)]
    stack_id: Column
    above: Column
    code_id: Column
    line: Column


class CollectorSetting(Struct, frozen=True, array_like=True):
    """How the collector is set from event ``seq`` on: gc.isenabled and gc.get_threshold.

    There is one at the start of a recording, and one for each change; none where the engine did not look.
    """

    seq: UInt
    time_ns: UInt
    enabled: bool
    thresholds: tuple[Int32, Int32, Int32]


class Definitions(Struct, frozen=True, tag="definitions", omit_defaults=True):
    """Numbers that later records refer to. A number is defined once, before its first use."""

    threads: Annotated[list[Thread], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(default_factory=list)
    codes: Annotated[list[Code], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(default_factory=list)
    stacks: Annotated[list[Stack], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(default_factory=list)
    types: Annotated[list[TypeDefinition], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(
        default_factory=list
    )
    packed_stacks: PackedStacks | None = None
    """Stacks behind those in ``stacks``, in the file only: a reader hands them over in ``stacks``."""
    lines: Annotated[list[SourceLine], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(default_factory=list)
    """Source text of lines that call paths refer to, as it was while the program was recorded."""
    older_arenas: Annotated[list[OlderArena], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(
        default_factory=list
    )
    older_pools: Annotated[list[OlderPool], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(
        default_factory=list
    )
    gc_settings: Annotated[list[CollectorSetting], Meta(max_length=MAX_DEFINITIONS)] = msgspec.field(
        default_factory=list
    )


class EventBatch(Struct, frozen=True, tag="events"):
    """``count`` consecutive events from ``first_seq`` on, as columns."""

    first_seq: UInt
    count: UInt
    first_time_ns: UInt
    last_time_ns: UInt
    columns: dict[str, Column]


class LiveTypes(Struct, frozen=True, tag="live-types"):
    """Types of ``count`` blocks that are alive just before event ``seq`` (a mark), by their allocations.

    The type of a block is not known when it is allocated. Where a block died, its free says what it was; this
    record says it of blocks that live on. It stands behind the batch that holds their allocations.
    """

    seq: UInt
    count: UInt
    alloc_seq: Column
    type_id: Column


class CollectionStart(Struct, frozen=True, tag="gc-start"):
    """The collector began. ``counts`` (gc.get_count) and ``thresholds`` are those before it ran.

    ``long_lived`` are the objects that survived the last full collection, and those that survived one of
    generation 1 since then (long_lived_total and long_lived_pending of CPython's pycore_gc.h): as long as the
    second are less than a quarter of the first, there is no full collection. ``free_lists``
    (:data:`FreeLists`) are those before it ran, without the dict that CPython made to call the recorder. Both
    are not there where the engine did not look.
    """

    gc_id: UInt
    seq: UInt
    time_ns: UInt
    thread_id: Id
    generation: UInt
    counts: tuple[Int32, Int32, Int32]
    thresholds: tuple[Int32, Int32, Int32]
    long_lived: tuple[UInt, UInt] | UnsetType = UNSET
    free_lists: FreeLists | UnsetType = UNSET


class CollectionStop(Struct, frozen=True, tag="gc-stop"):
    """The collector finished; ``duration_ns`` is the collector's own time, without the recorder's.

    ``free_lists`` (:data:`FreeLists`) are those after it ran, without the dict that CPython made to call the
    recorder. They are not there where the engine did not look.
    """

    gc_id: UInt
    seq: UInt
    time_ns: UInt
    duration_ns: UInt
    collected: UInt
    uncollectable: UInt
    free_lists: FreeLists | UnsetType = UNSET


class ThreadStack(Struct, frozen=True, array_like=True):
    """Where a thread was: ``stack_id`` is its call path, 0 when it ran no Python code."""

    thread_id: Id
    stack_id: Id


class Mark(Struct, frozen=True, tag="mark"):
    """An instant with a name. ``start`` and ``end`` are the recorder's own (``own`` true).

    ``stacks`` are the call paths of all threads of the program at that instant; it is not there where the
    engine did not look.
    """

    name: Text
    seq: UInt
    time_ns: UInt
    thread_id: Id
    own: bool = False
    stacks: Annotated[list[ThreadStack], Meta(max_length=MAX_DEFINITIONS)] | UnsetType = UNSET


class MemorySample(Struct, frozen=True, tag="memory"):
    """Resident memory of the whole process at a time, without the ring that it shares with the recorder.

    ``traced_peak_bytes`` is tracemalloc's own peak so far, 0 where it does not run.
    """

    time_ns: UInt
    seq: UInt
    rss_bytes: UInt
    traced_peak_bytes: UInt = 0


class Notice(Struct, frozen=True, tag="notice"):
    """Something that a reader of the recording must know; ``code`` is stable (docs/errors.md)."""

    code: Text
    seq: UInt
    time_ns: UInt
    text: Text


class IndexEntry(Struct, frozen=True, array_like=True):
    """Where a batch of events stands in the file, and the events and times it covers."""

    offset: UInt
    first_seq: UInt
    count: UInt
    first_time_ns: UInt
    last_time_ns: UInt


class Totals(Struct, frozen=True):
    """What a recording adds up to. ``peak_seq`` is the first event after which live bytes were highest."""

    events: UInt = 0
    allocations: UInt = 0
    frees: UInt = 0
    unmatched_frees: UInt = 0
    gc_collections: UInt = 0
    allocated_bytes: UInt = 0
    peak_bytes: UInt = 0
    peak_blocks: UInt = 0
    peak_seq: Int = -1
    end_bytes: UInt = 0
    end_blocks: UInt = 0
    duration_ns: UInt = 0


class Footer(Struct, frozen=True, tag="footer"):
    """Last record of a log that was closed in order.

    ``complete`` is true when the program reached its own end (mark ``end``). ``exit_status`` is the
    program's, negative for a signal as in :attr:`subprocess.Popen.returncode`; None when not known.
    """

    totals: Totals
    complete: bool
    exit_status: Int32 | None
    index: list[IndexEntry]
    """The batches of events: every one, or where that would be too many every 2nd, 4th, 8th..."""


LogRecord = (
    Header
    | Definitions
    | EventBatch
    | LiveTypes
    | CollectionStart
    | CollectionStop
    | Mark
    | MemorySample
    | Notice
    | Footer
)
"""The tagged union of everything that stands in a log."""

Event = Allocation | Free | ArenaEvent | CollectionStart | CollectionStop | Mark
"""The tagged union of single events, in the order of ``seq``."""
