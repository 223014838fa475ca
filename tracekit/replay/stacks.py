"""The stack segment at an instant: the call path of every thread, and the bytes that its frames take.

A recording says where all threads were at its marks. In between it says where a thread was when it allocated,
so that at any other instant the call path of its last allocation stands for it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from tracekit.replay.moment import Moment
from tracekit.store.database import Store

_MARKED = """
SELECT thread_id, seq, stack_id FROM mark_stacks
WHERE trace_id = $trace AND seq = (SELECT max(seq) FROM mark_stacks WHERE trace_id = $trace AND seq <= $seq)
"""
_THREADS = "SELECT thread_id, name FROM threads WHERE trace_id = $trace"
_ALLOCATED = """
SELECT a.thread_id, max(a.alloc_seq), arg_max(a.stack_id, a.alloc_seq) FROM allocations a
WHERE a.trace_id = $trace AND a.alloc_seq BETWEEN $first AND $last
  AND a.thread_id IN (SELECT unnest($threads::INTEGER[]))
GROUP BY a.thread_id
"""
_FRAMES = """
SELECT leaf.stack_id, coalesce(c.qualname, '<unknown>'), coalesce(c.filename, '<unknown>'), s.line,
       coalesce(c.frame_bytes, 0)
FROM stacks leaf
JOIN stacks s ON s.trace_id = $trace AND s.position <= leaf.position AND s.last_position >= leaf.position
LEFT JOIN codes c ON c.trace_id = $trace AND c.code_id = s.code_id
WHERE leaf.trace_id = $trace AND leaf.stack_id IN (SELECT unnest($stacks::INTEGER[]))
ORDER BY leaf.stack_id, s.depth
"""
_WINDOWS = (1 << 17, 1 << 21, 1 << 25)
"""Events to look back over, before all are. The rows of ``allocations`` are in the order of death, tier by
tier: a short window is answered from few row groups. Most threads allocate all the time."""

Place = tuple[int, int]
"""(event as of which it is known, stack_id)."""


class Frame(Struct, frozen=True):
    """A frame of a call path; ``bytes`` is what it takes on the stack of the interpreter, 0: not known."""

    function: str
    file: str
    line: int
    bytes: int


class StackSegment(Struct, frozen=True):
    """The call path of one thread at a moment: ``frames``, outermost first, which take ``bytes`` in all.

    It is that of event ``seq``, ``events_before`` the moment: the thread's last allocation, or a mark since
    then. ``exact`` when that is the moment itself (and the engine keeps the order of events); otherwise the
    thread may have moved on since. A thread that ran no Python code has no frames.
    """

    thread_id: int
    thread: str
    bytes: int
    exact: bool
    seq: int
    events_before: int
    frames: list[Frame]


def stack_segments(store: Store, moment: Moment) -> list[StackSegment]:
    """The call path of every thread that is known to have been there, most bytes first.

    Threads that are gone are left out: one that is not among the threads of a mark after its last allocation,
    and one whose last allocation was made by ``Thread._delete``, with which threading.py ends every thread.
    """
    trace: dict[str, object] = {"trace": store.trace_id}
    row: Any
    marked: dict[int, Place] = {}
    for row in store.query(_MARKED, trace | {"seq": moment.seq}).rows():
        marked[row[0]] = (row[1], row[2])
    names = {int(str(thread)): str(name) for thread, name in store.query(_THREADS, trace).rows()}
    since = max((seq for seq, _ in marked.values()), default=-1) + 1
    places = marked | _last_allocations(store, names, since, moment.seq)
    ordered = (
        store.header.capabilities.exact_order
    )  # otherwise a block may have been made long before its event
    frames = _frames(store, {stack_id for _, stack_id in places.values()})
    found = [
        StackSegment(
            thread,
            names.get(thread, "<unknown>"),
            sum(frame.bytes for frame in frames.get(stack_id, ())),
            seq == moment.seq and (ordered or marked.get(thread, (None,))[0] == seq),
            seq,
            moment.seq - seq,
            frames.get(stack_id, []),
        )
        for thread, (seq, stack_id) in places.items()
        if seq == moment.seq or not _ended(frames.get(stack_id, []))
    ]
    return sorted(found, key=lambda segment: (-segment.bytes, segment.thread_id))


def _ended(frames: list[Frame]) -> bool:
    last = frames[-1:]
    return [frame.function for frame in last] == ["Thread._delete"] and last[0].file.endswith("threading.py")


def _last_allocations(store: Store, threads: Iterable[int], first: int, last: int) -> dict[int, Place]:
    """Event and call path of the last allocation of each of the threads from ``first`` to ``last``."""
    missing = set(threads)
    found: dict[int, Place] = {}
    end = last
    for window in (*_WINDOWS, last + 1):
        start = max(first, last + 1 - window)
        if not missing or end < first:
            break
        parameters = {"trace": store.trace_id, "first": start, "last": end, "threads": sorted(missing)}
        row: Any
        for row in store.query(_ALLOCATED, parameters).rows():
            found[row[0]] = (row[1], row[2])
        missing -= found.keys()
        end = start - 1
    return found


def _frames(store: Store, stacks: set[int]) -> dict[int, list[Frame]]:
    """The frames of call paths, outermost first."""
    found: dict[int, list[Frame]] = {}
    row: Any
    for row in store.query(_FRAMES, {"trace": store.trace_id, "stacks": sorted(stacks)}).rows():
        found.setdefault(row[0], []).append(Frame(*row[1:]))
    return found
