"""Everything that a recording knows about one event."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from msgspec import Struct

from tracekit.replay.callpaths import CallPaths, Node
from tracekit.replay.eventrows import EventRow
from tracekit.replay.rows import UNKNOWN
from tracekit.store.database import Store

_COLLECTION = """
SELECT gc_id, generation, start_seq, stop_seq, duration_ns, collected, uncollectable, count0, count1, count2,
       threshold0, threshold1, threshold2
FROM gc_collections
WHERE trace_id = $trace AND start_seq <= $seq AND (stop_seq >= $seq OR stop_seq IS NULL)
ORDER BY start_seq DESC LIMIT 1
"""
_COLLECTED = """
SELECT coalesce(sum(size), 0)::BIGINT, count(*) FROM allocations
WHERE trace_id = $trace AND freed_by = 'gc' AND free_seq BETWEEN $first AND $last
"""
_REPLACED = "SELECT max(realloc_of) FROM reallocs WHERE trace_id = $trace AND alloc_seq = $seq"
_REPLACEMENT = "SELECT min(alloc_seq) FROM reallocs WHERE trace_id = $trace AND realloc_of = $seq"
_MARK = "SELECT name FROM marks WHERE trace_id = $trace AND seq = $seq"
_MARK_STACK = (
    "SELECT stack_id FROM mark_stacks WHERE trace_id = $trace AND seq = $seq AND thread_id = $thread"
)
_OLDER = "SELECT block_size FROM older_blocks WHERE trace_id = $trace AND free_seq = $seq"
_SOURCES = """
SELECT code_id, line, text FROM source_lines
WHERE trace_id = $trace AND code_id IN (SELECT unnest($codes::INTEGER[]))
    AND line IN (SELECT unnest($lines::INTEGER[]))
"""


class Frame(Struct, frozen=True):
    """A line of a call path; ``source`` is its text, None when the recording does not have it."""

    file: str
    line: int
    function: str
    source: str | None


class Lifetime(Struct, frozen=True):
    """The life of a block. What is None in ``free_seq`` to ``cause``: it was never freed while recorded.

    ``realloc_of`` is the allocation that this one replaced, ``replaced_by`` the one that replaced it.
    """

    alloc_seq: int
    allocated_ns: int
    free_seq: int | None
    freed_ns: int | None
    cause: str | None
    allocating_thread: str
    freeing_thread: str | None
    realloc_of: int | None
    replaced_by: int | None

    @property
    def age_ns(self) -> int | None:
        """From the allocation to the free, in nanoseconds."""
        return None if self.freed_ns is None else self.freed_ns - self.allocated_ns

    @property
    def age_events(self) -> int | None:
        """From the allocation to the free, in events."""
        return None if self.free_seq is None else self.free_seq - self.alloc_seq


class Collection(Struct, frozen=True):
    """A collection of the garbage collector; what a damaged log lost of it is None.

    ``pause_ns`` is the time of the collector itself, ``collected`` the objects that it says it collected,
    ``freed_bytes`` and ``freed_blocks`` what it freed of the recording.
    """

    gc_id: int | None
    generation: int | None
    start_seq: int | None
    stop_seq: int | None
    pause_ns: int | None
    collected: int | None
    uncollectable: int | None
    counts: tuple[int | None, int | None, int | None]
    thresholds: tuple[int | None, int | None, int | None]
    freed_bytes: int
    freed_blocks: int


class CursorEvent(Struct, frozen=True):
    """What one event did. What an event of its kind does not have, or the engine did not record, is None.

    ``kind`` is that of the view ``events``: allocation, free, gc-start, gc-stop, mark, arena-allocation or
    arena-free. ``size`` is in bytes, of the block or arena. ``frames`` is the call path that allocated the
    block, also for its free; for a mark that of the thread that set it; innermost frame first; ``stack_id``
    is its number, 0 for none.
    ``collection`` is the one that an event belongs to: its start, its stop, or a free with the cause ``gc``.
    A free without ``block`` is of one that is older than the recording (``older_size`` is its size class), or
    of one whose allocation, ``lost_seq``, a damaged log has lost.
    """

    seq: int
    time_ns: int
    kind: str
    thread: str
    address: int | None
    size: int | None
    domain: str | None
    type: str | None
    site: str | None
    stack_id: int
    frames: list[Frame]
    block: Lifetime | None
    cause: str | None
    collection: Collection | None
    mark: str | None
    older_size: int | None
    lost_seq: int | None

    @property
    def time_s(self) -> float:
        """Time of the event in seconds since the recording began."""
        return self.time_ns / 1e9


class Details:
    """Looks up what belongs to an event: a few queries of some milliseconds each."""

    def __init__(self, store: Store, paths: CallPaths) -> None:
        self._store = store
        self._paths = paths
        self._sources: dict[tuple[int, int], str | None] = {}

    @cached_property
    def threads(self) -> dict[int, str]:
        """Names by number."""
        return self._names("SELECT thread_id, name FROM threads WHERE trace_id = $trace")

    @cached_property
    def types(self) -> dict[int, str]:
        """Names by number."""
        return self._names("SELECT type_id, name FROM types WHERE trace_id = $trace")

    def event(self, row: EventRow) -> CursorEvent:
        """All about one event."""
        about_block = row.domain is not None
        stack_id = row.stack_id
        if row.kind == "mark":
            stack_id = self._one(_MARK_STACK, seq=row.seq, thread=row.thread_id) or 0
        in_collection = row.kind in ("gc-start", "gc-stop") or (row.kind == "free" and row.cause == "gc")
        older = row.kind == "free" and not about_block
        path = self._paths.path(stack_id)
        return CursorEvent(
            seq=row.seq,
            time_ns=row.time_ns,
            kind=row.kind,
            thread=self.threads.get(row.thread_id or 0, UNKNOWN),
            address=self._address(row),
            size=row.size,
            domain=row.domain,
            type=self.types.get(row.type_id, UNKNOWN) if about_block or row.kind == "free" else None,
            site=(path[0].site if path else UNKNOWN) if about_block else None,
            stack_id=stack_id,
            frames=self._frames(path),
            block=self._lifetime(row) if about_block else None,
            cause=row.cause if row.kind == "free" else None,
            collection=self._collection(row.seq) if in_collection else None,
            mark=self._one(_MARK, seq=row.seq) if row.kind == "mark" else None,
            older_size=self._one(_OLDER, seq=row.seq) if older else None,
            lost_seq=None if about_block else row.alloc_seq,
        )

    def _address(self, row: EventRow) -> int | None:
        known = self._store.header.capabilities.real_addresses or row.kind.startswith("arena")
        return row.address if known else None

    def _lifetime(self, row: EventRow) -> Lifetime:
        assert row.alloc_seq is not None and row.allocated_ns is not None  # noqa: S101 - a block
        freed = row.free_seq is not None
        return Lifetime(
            alloc_seq=row.alloc_seq,
            allocated_ns=row.allocated_ns,
            free_seq=row.free_seq,
            freed_ns=row.freed_ns,
            cause=row.cause,
            allocating_thread=self.threads.get(row.owner_id, UNKNOWN),
            freeing_thread=self.threads.get(row.freed_thread_id or 0, UNKNOWN) if freed else None,
            realloc_of=self._one(_REPLACED, seq=row.alloc_seq),
            replaced_by=self._one(_REPLACEMENT, seq=row.alloc_seq) if row.cause == "realloc" else None,
        )

    def _collection(self, seq: int) -> Collection | None:
        found = self._rows(_COLLECTION, seq=seq)
        if not found:
            return None
        number, generation, start, stop, pause, collected, uncollectable, *settings = found[0]
        until = 2**63 - 1 if stop is None else stop
        size, blocks = self._rows(_COLLECTED, first=start, last=until)[0]
        return Collection(
            gc_id=number,
            generation=generation,
            start_seq=start,
            stop_seq=stop,
            pause_ns=pause,
            collected=collected,
            uncollectable=uncollectable,
            counts=(settings[0], settings[1], settings[2]),
            thresholds=(settings[3], settings[4], settings[5]),
            freed_bytes=size,
            freed_blocks=blocks,
        )

    def _frames(self, path: list[Node]) -> list[Frame]:
        """The frames with their source, which is asked for once."""
        places = [(node.code_id, node.line) for node in path]
        missing = {place for place in places if place not in self._sources}
        if missing:
            codes, lines = zip(*missing, strict=True)
            found = self._rows(_SOURCES, codes=list(codes), lines=list(lines))
            self._sources.update({(code, line): text for code, line, text in found})
        for place in missing:
            self._sources.setdefault(place, None)
        return [
            Frame(node.file, node.line, node.function, self._sources[place])
            for node, place in zip(path, places, strict=True)
        ]

    def _names(self, sql: str) -> dict[int, str]:
        return dict(self._rows(sql))

    def _rows(self, sql: str, **parameters: object) -> list[tuple[Any, ...]]:
        return list(self._store.query(sql, {"trace": self._store.trace_id, **parameters}).rows())

    def _one(self, sql: str, **parameters: object) -> Any:
        """The one value of the first row; None when there is none."""
        rows = self._rows(sql, **parameters)
        return rows[0][0] if rows else None
