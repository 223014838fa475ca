"""A position in a recording that steps from event to event, in both directions."""

from __future__ import annotations

import heapq

from msgspec import Struct

from tracekit.errors import MomentMissingError
from tracekit.replay.callpaths import CallPaths
from tracekit.replay.details import CursorEvent, Details
from tracekit.replay.eventrows import EventRow, EventRows
from tracekit.replay.heap import BY_ORIGIN, Group, check_grouping
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.replay.rows import UNKNOWN, live_at
from tracekit.replay.search import find_allocation
from tracekit.store.database import Store

WALKED = 16384
"""A way of more events than this is not walked: the heap at its end is asked of the store again."""

_SPAN = "SELECT first_seq, last_seq, events FROM traces WHERE trace_id = $trace"
_TIME = "SELECT arg_min(time_ns, seq) FROM timeline WHERE trace_id = $trace AND seq >= $seq"
_HEAP = "SELECT key, bytes::BIGINT, blocks FROM heap_by($seq, $by, trace := $trace)"
_NEAREST_EVENT = {
    True: "SELECT min(seq) FROM events WHERE trace_id = $trace AND seq > $seq",
    False: "SELECT max(seq) FROM events WHERE trace_id = $trace AND seq < $seq",
}
_COLLECTION = {
    True: "SELECT min(stop_seq) FROM gc_collections WHERE trace_id = $trace AND stop_seq > $seq",
    False: "SELECT max(stop_seq) FROM gc_collections WHERE trace_id = $trace AND stop_seq < $seq",
}
_MARK = {
    True: "SELECT min(seq) FROM marks WHERE trace_id = $trace AND seq > $seq",
    False: "SELECT max(seq) FROM marks WHERE trace_id = $trace AND seq < $seq",
}
_BLOCK = "SELECT alloc_seq, free_seq FROM allocations WHERE trace_id = $trace AND alloc_seq = $seq"


class HeapHere(Struct, frozen=True):
    """What is alive at the position of a cursor, the largest group first; totals are of the whole heap."""

    moment: Moment
    by: str
    total_bytes: int
    total_blocks: int
    groups: list[Group]


class Effect(Struct, frozen=True):
    """What an event changed: ``bytes`` and ``blocks`` of the heap, which are those of the group ``key`` too.

    ``group_bytes`` and ``group_blocks`` are what is alive of the group after the event. ``key`` is None, and
    all numbers are 0, for an event that neither began nor ended a block.
    """

    by: str
    key: str | None
    bytes: int
    blocks: int
    group_bytes: int
    group_blocks: int


def cursor(store: Store, moment: Moment) -> Cursor:
    """A cursor at a moment, right after its event. Raises MomentMissingError when the trace lacks it."""
    return Cursor(store, moment)


class Cursor:
    """A position in a recording: right after event ``seq``.

    Steps and searches return whether they found what they were to go to; at either end of the recording, or
    where there is no more of what was asked for, they return False (or 0) and the cursor stays where it is.
    Only a moment that does not exist is an error. The heap is kept grouped by ``by`` and follows each step;
    ``by`` can be changed at any time. A cursor is for one thread at a time.
    """

    def __init__(self, store: Store, moment: Moment, *, by: str = "site") -> None:
        check_grouping(by, None, BY_ORIGIN)
        self._store = store
        self._paths = CallPaths(store)
        self._rows = EventRows(store, self._paths)
        self._details = Details(store, self._paths)
        self._by = by
        self._groups: dict[str, list[int]] | None = None
        self._event: CursorEvent | None = None
        self._seq = self._time_ns = self._live_bytes = self._live_blocks = 0
        first, last, events = next(store.query(_SPAN, {"trace": store.trace_id}).rows())
        if not isinstance(first, int) or not isinstance(last, int):
            raise MomentMissingError(f"{store.path} has no moment {moment.text!r}", hint="it holds no events")
        self.first_seq, self.last_seq = first, last
        self._whole = events == last - first + 1
        self.seek(moment)

    # Where it is.

    @property
    def seq(self) -> int:
        """The event that the position is right after."""
        return self._seq

    @property
    def time_ns(self) -> int:
        """Time of the event, in nanoseconds since the recording began."""
        return self._time_ns

    @property
    def moment(self) -> Moment:
        """The position as a moment."""
        return Moment(f"seq:{self._seq}", self._seq, self._time_ns)

    @property
    def live_bytes(self) -> int:
        """Bytes alive at the position."""
        return self._live_bytes

    @property
    def live_blocks(self) -> int:
        """Blocks alive at the position."""
        return self._live_blocks

    @property
    def by(self) -> str:
        """What the heap is grouped by, one of BY_ORIGIN."""
        return self._by

    @by.setter
    def by(self, by: str) -> None:
        check_grouping(by, None, BY_ORIGIN)
        if by != self._by:
            self._by = by
            self._groups = None

    @property
    def event(self) -> CursorEvent | None:
        """What happened at the position; None where a damaged log has lost the event."""
        if self._event is None and (row := self._rows.at(self._seq)) is not None:
            self._event = self._details.event(row)
        return self._event

    @property
    def effect(self) -> Effect:
        """What the event changed, of the heap and of its group."""
        row = self._rows.at(self._seq)
        if row is None or not row.change:
            return Effect(self._by, None, 0, 0, 0, 0)
        key = self._key(row)
        after = self._heap().get(key, (0, 0))
        return Effect(self._by, key, row.change * (row.size or 0), row.change, after[0], after[1])

    def heap(self, limit: int | None = None) -> HeapHere:
        """What is alive at the position, grouped; ``limit`` cuts the list of groups."""
        check_grouping(self._by, limit, BY_ORIGIN)
        groups = self._heap().items()
        order = ((-size, key, blocks) for key, (size, blocks) in groups)
        largest = sorted(order) if limit is None else heapq.nsmallest(limit, order)
        return HeapHere(
            self.moment,
            self._by,
            self._live_bytes,
            self._live_blocks,
            [Group(key, -size, blocks) for size, key, blocks in largest],
        )

    # Steps.

    def forward(self, n: int = 1) -> int:
        """Go ``n`` events on (back if negative) as far as there are any; how many it were, 0 at the end."""
        return self._step(n, forward=True)

    def backward(self, n: int = 1) -> int:
        """Go ``n`` events back, as far as there are any; how many it were, 0 at the beginning."""
        return self._step(n, forward=False)

    def next_collection(self) -> bool:
        """Go to where the next collection stops: the moment ``gc:N``."""
        return self._go(self._find(_COLLECTION[True]))

    def previous_collection(self) -> bool:
        """Go to where the collection before this position stopped."""
        return self._go(self._find(_COLLECTION[False]))

    def next_mark(self) -> bool:
        """Go to the next mark, of the program or of the recorder."""
        return self._go(self._find(_MARK[True]))

    def previous_mark(self) -> bool:
        """Go to the mark before this position."""
        return self._go(self._find(_MARK[False]))

    def next_allocation(self, **wanted: str | int | None) -> bool:
        """Go to the next allocation; with keys by grouping (``site=...``, ``type=...``) to the next of that.

        ``below`` takes a node of the call tree (a ``stack_id``): what it allocated, with all that it called.
        The type of a block is that of the object which died in it, so blocks of ``type=...`` are only known
        afterwards. Raises UsageError for other names, and for two keys of a call path.
        """
        return self._go(find_allocation(self._store, self._paths, self._seq, wanted, forward=True))

    def previous_allocation(self, **wanted: str | int | None) -> bool:
        """Go to the allocation before this position; ``wanted`` is as for :meth:`next_allocation`."""
        return self._go(find_allocation(self._store, self._paths, self._seq, wanted, forward=False))

    def free_of(self, alloc_seq: int | None = None) -> bool:
        """Go to the free of a block: of that allocation, or of the block of the event at the position.

        False when it was never freed while recorded, or the event has no block. Raises MomentMissingError
        when ``alloc_seq`` is no allocation.
        """
        if alloc_seq is None:
            row = self._rows.at(self._seq)
            return self._go(row.free_seq if row is not None and row.domain is not None else None)
        return self._go(self._allocation(alloc_seq)[1])

    def allocation_of(self, seq: int | None = None) -> bool:
        """Go to the allocation of the block that event ``seq``, or the one at the position, frees.

        At an allocation this is the event itself. False when the event has no block, or one that is older
        than the recording. Raises MomentMissingError when there is no event ``seq``.
        """
        row = self._rows.at(self._seq if seq is None else seq)
        if row is None and seq is not None:
            raise self._missing(f"event {seq}")
        return self._go(row.alloc_seq if row is not None and row.domain is not None else None)

    # Jumps.

    def seek(self, moment: Moment) -> None:
        """Go to a moment. Raises MomentMissingError when it is not one of this trace."""
        if not self.first_seq <= moment.seq <= self.last_seq:
            raise self._missing(f"moment {moment.text!r}")
        self._event = None
        self._seq, self._time_ns = moment.seq, moment.time_ns
        self._read()

    def jump(self, text: str) -> None:
        """Go to a moment as people type it. Raises MomentSyntaxError and MomentMissingError."""
        self.seek(resolve_moment(self._store, text))

    # How.

    def _read(self) -> None:
        """Ask the store what is alive at the position."""
        if self._groups is not None:
            self._groups = None
            self._heap()
            return
        self._live_bytes, self._live_blocks = live_at(self._store, self._seq)

    def _heap(self) -> dict[str, list[int]]:
        """Bytes and blocks by key; with them come the totals."""
        if self._groups is None:
            given = {"seq": self._seq, "by": self._by, "trace": self._store.trace_id}
            rows = self._store.query(_HEAP, given).rows()
            self._groups = {str(key): [int(str(size)), int(str(blocks))] for key, size, blocks in rows}
            self._live_bytes = sum(size for size, _ in self._groups.values())
            self._live_blocks = sum(blocks for _, blocks in self._groups.values())
        return self._groups

    def _step(self, n: int, *, forward: bool) -> int:
        if n < 0:
            return self._step(-n, forward=not forward)
        if self._whole:
            way = min(n, self.last_seq - self._seq if forward else self._seq - self.first_seq)
            return way if self._go(self._seq + way if forward else self._seq - way) else 0
        return self._step_over_gaps(n, forward=forward)

    def _step_over_gaps(self, n: int, *, forward: bool) -> int:
        """Events of a damaged log do not follow each other by number: they have to be counted."""
        done, seq = 0, self._seq
        while done < n:
            after, until = (
                (seq, seq + WALKED) if forward else (max(seq - WALKED, self.first_seq) - 1, seq - 1)
            )
            seqs = [row.seq for row in self._rows.between(after, until)]
            if not seqs:
                nearest = self._find(_NEAREST_EVENT[forward], seq)
                if nearest is None:
                    break
                seqs = [nearest]
            taken = seqs[: n - done] if forward else seqs[::-1][: n - done]
            done, seq = done + len(taken), taken[-1]
        return done if self._go(seq) else 0

    def _go(self, seq: int | None) -> bool:
        """Go to an event; False when there is none, or the position is there already."""
        if seq is None or seq == self._seq:
            return False
        if abs(seq - self._seq) <= WALKED:
            if seq > self._seq:
                for row in self._rows.between(self._seq, seq):
                    self._apply(row, 1)
            else:
                for row in reversed(self._rows.between(seq, self._seq)):
                    self._apply(row, -1)
            self._seq = seq
        else:
            self._seq = seq
            self._read()
        self._event = None
        row_here = self._rows.at(seq)
        self._time_ns = row_here.time_ns if row_here is not None else self._find(_TIME) or 0
        return True

    def _apply(self, row: EventRow, sign: int) -> None:
        """Let an event happen (sign 1), or not have happened (-1)."""
        blocks = row.change * sign
        if not blocks:
            return
        size = blocks * (row.size or 0)
        self._live_bytes += size
        self._live_blocks += blocks
        if self._groups is None:
            return
        key = self._key(row)
        group = self._groups.setdefault(key, [0, 0])
        group[0] += size
        group[1] += blocks
        if not group[1]:
            del self._groups[key]

    def _key(self, row: EventRow) -> str:
        """The key of an event's block, as the macro ``heap_by`` forms it."""
        if self._by == "type":
            return self._details.types.get(row.type_id, UNKNOWN)
        if self._by == "thread":
            return self._details.threads.get(row.owner_id, UNKNOWN)
        if self._by == "domain":
            return row.domain or UNKNOWN
        return self._paths.key(self._by, row.stack_id)

    def _find(self, sql: str, seq: int | None = None) -> int | None:
        given = {"seq": self._seq if seq is None else seq, "trace": self._store.trace_id}
        found = next(self._store.query(sql, given).rows())[0]
        return found if isinstance(found, int) else None

    def _allocation(self, seq: int) -> tuple[int, int | None]:
        for alloc_seq, free_seq in self._store.query(
            _BLOCK, {"seq": seq, "trace": self._store.trace_id}
        ).rows():
            assert isinstance(alloc_seq, int)  # noqa: S101 - a column that is never NULL
            return alloc_seq, free_seq if isinstance(free_seq, int) else None
        raise self._missing(f"allocation {seq}")

    def _missing(self, what: str) -> MomentMissingError:
        return MomentMissingError(
            f"{self._store.path} has no {what}",
            hint=f"its events are seq:{self.first_seq} to seq:{self.last_seq}",
        )
