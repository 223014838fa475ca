"""What slots of the ring mean: events in columns, every free matched with the allocation that it ends.

:class:`NativeFold` has it done by the compiled kernels, :class:`PythonFold` is for interpreters where these
could not be built, and says what is right. Slots that cannot be true (a program can overwrite any of its
memory) are left out and counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from tracekit.events import Cause, Domain, EventKind
from tracekit.log.columns import COLUMN_TYPES, NOTHING, EventColumns, empty_columns
from tracekit.record import layouts, slots
from tracekit.record.decode import SLOT_TYPE, RingDefinition, RingSlots, RingTypes, definition_at
from tracekit.record.ringfile import kernels

MAX_ADDRESS: Final = 1 << 48
MAX_BLOCK: Final = 1 << 47
MAX_SUM: Final = 1 << 61
MAX_REPEAT: Final = 1 << 28
ID_MAX: Final = 2**31 - 1

FULL: Final = None
"""Among what a fold finds: its columns are full and must be taken before it goes on."""

Found = RingDefinition | RingTypes | None


class Counts(NamedTuple):
    """What the events so far add up to; ``damaged`` slots are those that were left out."""

    allocations: int = 0
    frees: int = 0
    unmatched_frees: int = 0
    allocated_bytes: int = 0
    live_bytes: int = 0
    live_blocks: int = 0
    peak_bytes: int = 0
    peak_blocks: int = 0
    peak_seq: int = 0
    damaged: int = 0


class Fold(Protocol):
    """Takes the slots of one ring, in order, and holds the rows that they are until these are taken."""

    time_ns: int
    """Time of the last event. Setting it lets time pass."""

    origin_ns: int
    """CLOCK_MONOTONIC at the beginning of the recording, for stamps."""

    @property
    def counts(self) -> Counts:
        """What the events so far add up to."""

    @property
    def next_seq(self) -> int:
        """The number of the next event."""

    @property
    def rows(self) -> int:
        """Rows that are there to be taken."""

    @property
    def memory(self) -> EventColumns | None:
        """The columns that all rows are in as they come; None: these are made when they are taken."""

    def feed(self, taken: RingSlots) -> Iterator[Found]:
        """Take slots; what is not an event is handed over, in order. At ``FULL``, :meth:`take` first."""

    def event(self, kind: EventKind, time_ns: int, thread: int) -> int:
        """Append an event without a block, at this time or the last one's if later; returns its number."""

    def take(self) -> EventColumns:
        """The rows so far, which are gone from here then. Valid until slots are fed again."""


def new_fold(room: int) -> Fold:
    """The fastest fold there is, with room for so many rows."""
    if kernels is None:
        return PythonFold(room)
    return NativeFold(room)


class NativeFold:
    """The fold of the compiled kernels. Memory is that of the live blocks and ``room`` rows."""

    def __init__(self, room: int) -> None:
        self._columns = empty_columns(0, room)
        self._fold = kernels.Fold(tuple(getattr(self._columns, name) for name in COLUMN_TYPES))
        self._held = np.zeros(0, SLOT_TYPE)

    @property
    def time_ns(self) -> int:
        """Time of the last event."""
        return self._fold.time_ns

    @time_ns.setter
    def time_ns(self, time_ns: int) -> None:
        self._fold.time_ns = time_ns

    @property
    def origin_ns(self) -> int:
        """What stamps count from."""
        return self._fold.origin_ns

    @origin_ns.setter
    def origin_ns(self, origin_ns: int) -> None:
        self._fold.origin_ns = origin_ns

    @property
    def counts(self) -> Counts:
        """What the events so far add up to."""
        return Counts(*self._fold.counts())

    @property
    def next_seq(self) -> int:
        """The number of the next event."""
        return self._fold.first_seq + self._fold.rows

    @property
    def rows(self) -> int:
        """Rows that are there to be taken."""
        return self._fold.rows

    @property
    def memory(self) -> EventColumns | None:
        """The columns that the rows are in; see :class:`Fold`."""
        return self._columns

    def feed(self, taken: RingSlots) -> Iterator[Found]:
        """Take slots; see :class:`Fold`."""
        data, position = taken.slots, taken.position - len(self._held)
        if len(self._held):
            data = np.concatenate([self._held, data])
            self._held = self._held[:0]
        self._fold.stamp(taken.stamps)
        at = 0
        while True:
            at, why = self._fold.run(data, at, position)
            yield from self._piled()
            if why == 0:
                return
            if why == 1:
                yield FULL
                _check_taken(self._fold.rows, len(self._columns))
                continue
            found = definition_at(data, at)
            if found is None:
                self._held = data[at:].copy()
                return
            yield found[0]
            at += found[1]

    def _piled(self) -> Iterator[Found]:
        nodes, typed = self._fold.take_nodes(), self._fold.take_typed()
        if nodes:
            yield RingDefinition(slots.DEF_CODE_NODE, len(nodes) // layouts.CODE_NODE.size, 0, nodes)
        if typed:
            pairs = np.frombuffer(typed, np.int64).reshape(-1, 2)
            yield RingTypes(pairs[:, 0].copy(), pairs[:, 1].astype(np.int32))

    def event(self, kind: EventKind, time_ns: int, thread: int) -> int:
        """Append an event without a block; see :class:`Fold`."""
        return self._fold.event(kind, time_ns, thread)

    def take(self) -> EventColumns:
        """The rows so far; see :class:`Fold`."""
        rows = self._columns.rows(0, self._fold.rows)
        columns = EventColumns(self._fold.first_seq, **{name: getattr(rows, name) for name in COLUMN_TYPES})
        self._fold.clear()
        return columns


def _check_taken(rows: int, room: int) -> None:
    if rows >= room:
        raise RuntimeError("the columns are full and were not taken")


class _Block(NamedTuple):
    address: int
    seq: int
    size: int
    node: int
    domain: int


class PythonFold:
    """The same in Python, slot by slot."""

    def __init__(self, room: int) -> None:
        self.time_ns = 0
        self.origin_ns = 0
        self._room = room
        self._first_seq = 0
        self._rows: list[tuple[int, ...]] = []
        self._batch_bytes = 0
        self._held = np.zeros(0, SLOT_TYPE)
        self._live: dict[int, _Block] = {}
        self._moved: dict[int, _Block | None] = {}
        self._wide: int | None = None
        self._repeat: int | None = None
        self._stamps: list[tuple[int, int]] = []
        self._nodes: list[bytes] = []
        self._typed: list[tuple[int, int]] = []
        self._count = dict.fromkeys(Counts._fields, 0)

    @property
    def counts(self) -> Counts:
        """What the events so far add up to."""
        return Counts(**self._count)

    @property
    def next_seq(self) -> int:
        """The number of the next event."""
        return self._first_seq + len(self._rows)

    @property
    def rows(self) -> int:
        """Rows that are there to be taken."""
        return len(self._rows)

    @property
    def memory(self) -> EventColumns | None:
        """None; see :class:`Fold`."""
        return None

    def take(self) -> EventColumns:
        """The rows so far; see :class:`Fold`."""
        columns = empty_columns(self._first_seq, len(self._rows))
        if self._rows:
            for name, values in zip(COLUMN_TYPES, zip(*self._rows, strict=True), strict=True):
                getattr(columns, name)[:] = values
        self._first_seq += len(self._rows)
        self._rows, self._batch_bytes = [], 0
        return columns

    def event(self, kind: EventKind, time_ns: int, thread: int) -> int:
        """Append an event without a block; see :class:`Fold`."""
        if len(self._rows) >= self._room:
            raise ValueError("the columns are full")
        self.time_ns = max(self.time_ns, time_ns)
        return self._row(kind, thread)

    def feed(self, taken: RingSlots) -> Iterator[Found]:
        """Take slots; see :class:`Fold`."""
        data = np.concatenate([self._held, taken.slots])
        position = taken.position - len(self._held)
        self._held = data[:0]
        stamps = np.frombuffer(taken.stamps, np.uint64).reshape(-1, 2).tolist()
        self._stamps += [(where, time_ns) for where, time_ns in stamps]
        at = 0
        while at < len(data):
            if len(self._rows) >= self._room:
                yield from self._piled()
                yield FULL
                _check_taken(len(self._rows), self._room)
                continue
            while self._stamps and self._stamps[0][0] <= position + at:
                self.time_ns = max(self.time_ns, self._stamps.pop(0)[1] - self.origin_ns)
            kind, flags, thread, node, word = data[at].item()
            if kind == slots.DEFINE and node <= slots.MAX_PAYLOAD:
                found = definition_at(data, at)
                if found is None:
                    self._held = data[at:].copy()
                    break
                definition, count = found
                at += count
                if definition.what == slots.DEF_CODE_NODE and node == layouts.CODE_NODE.size:
                    self._nodes.append(definition.payload)
                else:
                    yield from self._piled()
                    yield definition
                continue
            at += 1
            if kind in {slots.ALLOC, slots.FREE}:
                for _ in self._events(kind, flags, thread, node, word):
                    yield from self._piled()
                    yield FULL
                    _check_taken(len(self._rows), self._room)
            else:
                self._other(kind, flags, thread, node, word)
        yield from self._piled()

    def _piled(self) -> Iterator[Found]:
        nodes, self._nodes = self._nodes, []
        typed, self._typed = np.array(self._typed, np.int64).reshape(-1, 2), []
        if nodes:
            yield RingDefinition(slots.DEF_CODE_NODE, len(nodes), 0, b"".join(nodes))
        if len(typed):
            yield RingTypes(typed[:, 0].copy(), typed[:, 1].astype(np.int32))

    def _row(self, kind: int, thread: int, **values: int) -> int:
        nothing = {"kind": kind, "time_ns": self.time_ns, "thread_id": thread, "alloc_seq": NOTHING}
        row = dict.fromkeys(COLUMN_TYPES, 0) | nothing | values
        self._rows.append(tuple(row.values()))
        return self.next_seq - 1

    def _events(self, kind: int, flags: int, thread: int, node: int, word: int) -> Iterator[None]:
        """An ALLOC or FREE with its repetitions; yields when the columns are full and more is to come."""
        size = word & slots.SIZE_WIDE if self._wide is None else self._wide
        address = word if kind == slots.FREE else word >> slots.SIZE_BITS << 4
        times = 1 if self._repeat is None else self._repeat
        self._wide = self._repeat = None
        if times > MAX_REPEAT or not self._possible(kind, flags, node, address, size):
            self._count["damaged"] += 1
            return
        for turn in range(times):
            if len(self._rows) >= self._room:
                yield
            if not self._possible(kind, flags, node, address + 16 * turn, size):
                self._count["damaged"] += 1
                return
            if kind == slots.FREE:
                self._died(flags, thread, node, address + 16 * turn)
                continue
            replaced = self._moved.pop(thread, None) if flags & slots.REALLOCATED else None
            replaces = NOTHING if replaced is None else replaced.seq
            self._born(_Block(address + 16 * turn, replaces, size, node, flags & 15), thread)

    def _possible(self, kind: int, flags: int, node: int, address: int, size: int) -> bool:
        if not 0 < address < MAX_ADDRESS or node > ID_MAX:
            return False
        if kind == slots.FREE:
            return flags <= max(Cause)
        sums = (self._count["live_bytes"], self._batch_bytes, self._count["allocated_bytes"])
        domain = flags & ~slots.REALLOCATED
        return domain <= max(Domain) and size < MAX_BLOCK and max(sums) < MAX_SUM

    def _born(self, block: _Block, thread: int) -> None:
        """An allocation; ``block.seq`` is that of the one it replaces."""
        seq = self._row(
            EventKind.ALLOCATION,
            thread,
            address=block.address,
            size=block.size,
            domain=block.domain,
            stack_id=block.node,
            alloc_seq=block.seq,
        )
        self._live[block.address] = block._replace(seq=seq)
        self._batch_bytes += block.size
        count = self._count
        count["allocations"] += 1
        count["allocated_bytes"] += block.size
        count["live_blocks"] += 1
        count["live_bytes"] += block.size
        if count["live_bytes"] > count["peak_bytes"]:
            count["peak_bytes"], count["peak_blocks"] = count["live_bytes"], count["live_blocks"]
            count["peak_seq"] = seq

    def _died(self, cause: int, thread: int, type_id: int, address: int) -> None:
        block = self._live.pop(address, None)
        self._count["frees"] += 1
        if cause == Cause.REALLOC:
            self._moved[thread] = block
        if block is None:
            self._count["unmatched_frees"] += 1
            self._row(EventKind.FREE, thread, cause=cause, type_id=type_id, address=address)
            return
        self._row(EventKind.FREE, thread, cause=cause, type_id=type_id, alloc_seq=block.seq)
        self._count["live_blocks"] -= 1
        self._count["live_bytes"] -= block.size

    def _other(self, kind: int, flags: int, thread: int, node: int, word: int) -> None:
        """Every slot but ALLOC, FREE and DEFINE."""
        if kind == slots.WIDE:
            self._wide = word
        elif kind == slots.REPEAT:
            self._repeat = word
        elif kind == slots.TIME:
            self.time_ns = max(self.time_ns, word) if word < 1 << 63 else self.time_ns
        elif kind == slots.UNFREE:
            block = self._moved.pop(thread, None)
            if block is not None and block.address == word:
                self._born(block, thread)
            elif block is not None:
                self._count["damaged"] += 1
        elif kind == slots.ARENA and 0 < word < MAX_ADDRESS and flags <= 1:
            which = EventKind.ARENA_FREE if flags else EventKind.ARENA_ALLOCATION
            self._row(which, thread, address=word, size=node)
            self._batch_bytes += node
        elif kind == slots.TYPED and word and node <= ID_MAX:
            if word in self._live:
                self._typed.append((self._live[word].seq, node))
        else:
            self._count["damaged"] += 1


def as_slots(data: bytes) -> npt.NDArray[np.void]:
    """Bytes of whole slots as an array of them."""
    return np.frombuffer(data, SLOT_TYPE)
