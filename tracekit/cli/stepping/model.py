"""What the screen shows of a recording, as values. All of it runs in a thread beside that of the screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from tracekit.cli.stepping.sources import Sources
from tracekit.replay.cursor import Cursor, HeapHere
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.report.units import human_seconds
from tracekit.store.database import Store

GROUPS_SHOWN = 300
NO_STACK = 0
TREE = "stack"
"""The grouping that is shown as a call tree."""

_ZOOM = 4
"""One step of the zoom shows a fourth of what the one before showed."""
_SHORTEST_NS = 10_000_000
"""The shortest time that the timeline shows: ten times what the time of an event is right to."""

_DURATION = "SELECT duration_ns FROM traces WHERE trace_id = $trace"
_BEFORE = """
SELECT coalesce(arg_max(live_bytes, seq), 0)::BIGINT
FROM timeline WHERE trace_id = $trace AND time_ns < $start
"""
_ALIVE = """
SELECT least($steps - 1, ((time_ns - $start) * $steps) // $span)::BIGINT AS step, max(live_bytes)::BIGINT,
       arg_max(live_bytes, seq)::BIGINT
FROM timeline WHERE trace_id = $trace AND time_ns BETWEEN $start AND $start + $span GROUP BY step
"""
_MARKS = """
SELECT least($steps - 1, ((time_ns - $start) * $steps) // $span)::BIGINT AS step,
       arg_min(coalesce(name, '?'), seq)
FROM marks WHERE trace_id = $trace AND time_ns BETWEEN $start AND $start + $span GROUP BY step ORDER BY step
"""
_COLLECTIONS = """
SELECT least($steps - 1, ((stopped_ns - $start) * $steps) // $span)::BIGINT AS step, count(*)
FROM gc_collections WHERE trace_id = $trace AND stopped_ns BETWEEN $start AND $start + $span GROUP BY step
"""
_TREE = """
SELECT stack_id, parent_id, file, line, function, bytes::BIGINT, blocks, total_bytes::BIGINT, total_blocks
FROM heap_tree($seq, trace := $trace)
"""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A time in columns of equal length: the most bytes alive in each, its first mark, its collections."""

    start_ns: int
    span_ns: int
    values: list[int]
    marks: dict[int, str]
    collections: dict[int, int]
    zoomed: bool

    def column(self, time_ns: int) -> int:
        """The column of a time that is shown."""
        return min(len(self.values) - 1, max(0, (time_ns - self.start_ns) * len(self.values) // self.span_ns))

    def shows(self, time_ns: int) -> bool:
        """Whether a time is among those that are shown."""
        return self.start_ns <= time_ns <= self.start_ns + self.span_ns


@dataclass(frozen=True, slots=True)
class Branch:
    """A node of the call tree: what it holds itself, and with all that it called."""

    stack_id: int
    file: str
    line: int
    function: str
    bytes: int
    blocks: int
    total_bytes: int
    total_blocks: int


@dataclass(frozen=True, slots=True)
class View:
    """One position, as the screen shows it. ``tree`` are the branches by the number of their parent."""

    path: str
    moment: Moment
    last_seq: int
    duration_ns: int
    document: dict[str, Any]
    heap: HeapHere
    more_groups: int
    timeline: Timeline
    tree: dict[int, list[Branch]] | None


class Recording:
    """An open recording and the cursor in it."""

    def __init__(self, store: Store, moment: Moment, by: str) -> None:
        self.store = store
        self.cursor = Cursor(store, moment, by=by)
        self.width = 1
        self._sources = Sources(store.header)
        self._zoom = 0
        self._timeline: Timeline | None = None
        self._duration_ns = int(self._rows(_DURATION)[0][0])
        known = msgspec.structs.asdict(store.header.capabilities)
        self._unknown = [name for name, able in known.items() if not able]

    def view(self) -> View:
        """All that there is to see at the position."""
        cursor = self.cursor
        event = msgspec.to_builtins(cursor.event)
        for frame in () if event is None else event["frames"]:
            frame["from_disk"] = not frame["source"]
            frame["source"] = frame["source"] or self._sources.line(frame["file"], frame["line"])
        heap = cursor.heap(GROUPS_SHOWN + 1)
        more = len(heap.groups) > GROUPS_SHOWN
        return View(
            path=str(self.store.path),
            moment=cursor.moment,
            last_seq=cursor.last_seq,
            duration_ns=self._duration_ns,
            document={
                "position": {
                    "seq": cursor.seq,
                    "live_bytes": cursor.live_bytes,
                    "live_blocks": cursor.live_blocks,
                },
                "event": event,
                "effect": msgspec.to_builtins(cursor.effect),
                "engine": self.store.header.engine,
                "unknown": self._unknown,
            },
            heap=msgspec.structs.replace(heap, groups=heap.groups[:GROUPS_SHOWN]),
            more_groups=len(cursor.heap().groups) - GROUPS_SHOWN if more else 0,
            timeline=self.timeline(),
            tree=self._tree() if cursor.by == TREE else None,
        )

    def timeline(self) -> Timeline:
        """The timeline in as many columns as the screen has, of a time that the position is in."""
        found = self._timeline
        if found is None or len(found.values) != self.width or not found.shows(self.cursor.time_ns):
            found = self._timeline = self._read_timeline()
        return found

    def zoom(self, steps: int) -> str:
        """Show less of the time around the position, or more; what is shown, in words."""
        level = max(0, self._zoom + steps)
        if level > self._zoom and self._span(self._zoom) <= _SHORTEST_NS:
            return "times are not known more precisely"
        self._zoom, self._timeline = level, None
        found = self.timeline()
        times = (human_seconds(at / 1e9) for at in (found.start_ns, found.start_ns + found.span_ns))
        return f"the timeline shows {' to '.join(times)}"

    def seek_column(self, column: int) -> None:
        """Go to the last event of a column of the timeline."""
        found = self.timeline()
        at_ns = min(self._duration_ns, found.start_ns + (column + 1) * found.span_ns // len(found.values))
        self.cursor.seek(resolve_moment(self.store, f"{at_ns / 1e9:.9f}s"))

    def _span(self, zoom: int) -> int:
        return max(1, self._duration_ns if not zoom else max(_SHORTEST_NS, self._duration_ns // _ZOOM**zoom))

    def _read_timeline(self) -> Timeline:
        span = self._span(self._zoom)
        start = 0
        if self._zoom:
            start = max(0, min(self.cursor.time_ns - span // 2, self._duration_ns - span))
        alive = self._rows(_BEFORE, start=start)[0][0]
        given = {"steps": self.width, "start": start, "span": span}
        found = {step: (most, last) for step, most, last in self._rows(_ALIVE, **given)}
        values = []
        for step in range(self.width):
            most, alive = found.get(step, (alive, alive))  # between events nothing changes
            values.append(most)
        marks, collections = (dict(self._rows(sql, **given)) for sql in (_MARKS, _COLLECTIONS))
        return Timeline(start, span, values, marks, collections, zoomed=self._zoom > 0)

    def _tree(self) -> dict[int, list[Branch]]:
        cursor = self.cursor
        children: dict[int, list[Branch]] = {}
        bytes_left, blocks_left = cursor.live_bytes, cursor.live_blocks
        for stack_id, parent_id, file, line, function, *sums in self._rows(_TREE, seq=cursor.seq):
            branch = Branch(stack_id, file or "<unknown>", line, function or "<unknown>", *sums)
            children.setdefault(parent_id, []).append(branch)
            bytes_left, blocks_left = bytes_left - branch.bytes, blocks_left - branch.blocks
        if blocks_left:
            sums = [bytes_left, blocks_left] * 2
            children.setdefault(0, []).append(Branch(NO_STACK, "", 0, "<unknown>", *sums))
        for branches in children.values():
            branches.sort(key=lambda branch: (-branch.total_bytes, branch.file, branch.line, branch.stack_id))
        return children

    def _rows(self, sql: str, **given: object) -> list[tuple[Any, ...]]:
        return list(self.store.query(sql, {"trace": self.store.trace_id, **given}).rows())
