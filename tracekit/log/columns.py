"""Batches of events as numpy columns, and their coding on disk.

An :class:`EventColumns` is what travels between the collector, the log, the store and the simulator: one
array a field, all of the same length, so that nothing costs Python time per event.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tracekit.errors import LogCorruptError
from tracekit.events import Cause, Column, Domain, EventBatch, EventKind
from tracekit.log.guesses import STREAMS, Contradiction, StepDecoder

if TYPE_CHECKING:
    from tracekit._native._kernels import Codec
try:
    from tracekit._native import _kernels as kernels
except ImportError:
    kernels = None  # type: ignore[assignment]

MAX_BATCH_EVENTS = 1 << 20
"""A batch that claims more events than this is refused before anything is allocated for it."""

IntArray = npt.NDArray[np.int64]

MAX_BATCH_BYTES = 1 << 62
"""What the blocks of a batch, or all that are alive, may add up to: sums of sizes must not overflow."""

NOTHING = -1
"""In ``alloc_seq`` and ``realloc_of``: there is none."""


@dataclass(frozen=True, slots=True, eq=False)
class EventColumns:
    """Consecutive events from ``first_seq`` on; row i is the event ``first_seq + i``.

    Columns that an event kind does not have hold 0, or -1 in ``alloc_seq``:

    - All events: ``kind`` uint8 (an :class:`~tracekit.events.EventKind`), ``time_ns`` int64, ``thread_id``
      int32.
    - ``address`` int64: allocations, arena events, and frees of blocks older than the recording.
    - ``size`` int64: allocations and arena events. ``domain`` uint8, ``stack_id`` int32: allocations.
    - ``alloc_seq`` int64: for a free the allocation that it ends, for an allocation the one that a realloc
      replaced by it; -1 for none.
    - ``cause`` uint8, ``type_id`` int32: frees.
    """

    first_seq: int
    kind: npt.NDArray[np.uint8]
    time_ns: IntArray
    thread_id: npt.NDArray[np.int32]
    address: IntArray
    size: IntArray
    domain: npt.NDArray[np.uint8]
    stack_id: npt.NDArray[np.int32]
    alloc_seq: IntArray
    cause: npt.NDArray[np.uint8]
    type_id: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.kind)

    @property
    def seq(self) -> IntArray:
        """The ``seq`` of every row, int64."""
        return np.arange(self.first_seq, self.first_seq + len(self.kind), dtype=np.int64)

    @property
    def allocations(self) -> npt.NDArray[np.bool_]:
        """True where the row is an allocation."""
        return np.equal(self.kind, EventKind.ALLOCATION)

    @property
    def frees(self) -> npt.NDArray[np.bool_]:
        """True where the row is a free."""
        return np.equal(self.kind, EventKind.FREE)

    @property
    def others(self) -> IntArray:
        """The rows that are neither allocations nor frees: few."""
        return np.flatnonzero(self.kind >= EventKind.GC_START)

    def rows(self, start: int, stop: int) -> EventColumns:
        """The rows ``start:stop`` as views, without copying."""
        return EventColumns(
            self.first_seq + start, **{name: getattr(self, name)[start:stop] for name in COLUMN_TYPES}
        )


COLUMN_TYPES: dict[str, type[np.generic]] = {
    "kind": np.uint8,
    "time_ns": np.int64,
    "thread_id": np.int32,
    "address": np.int64,
    "size": np.int64,
    "domain": np.uint8,
    "stack_id": np.int32,
    "alloc_seq": np.int64,
    "cause": np.uint8,
    "type_id": np.int32,
}
"""numpy type of each column of :class:`EventColumns`, in its order."""

assert [field.name for field in fields(EventColumns)] == ["first_seq", *COLUMN_TYPES]  # noqa: S101


def empty_columns(first_seq: int, count: int) -> EventColumns:
    """Columns of ``count`` rows that hold "not there" everywhere, to be filled in."""
    arrays: dict[str, Any] = {name: np.zeros(count, dtype) for name, dtype in COLUMN_TYPES.items()}
    arrays["alloc_seq"].fill(NOTHING)
    return EventColumns(first_seq, **arrays)


class BatchMemory:
    """Columns that are used for one batch after the other: new memory costs more than what is done in it."""

    def __init__(self) -> None:
        self._arrays: dict[str, npt.NDArray[Any]] = {}
        self._room = 0

    def columns(self, first_seq: int, count: int) -> EventColumns:
        """Columns that hold anything; those of the call before are no longer good."""
        if count > self._room:
            self._room = count
            self._arrays = {name: np.empty(count, dtype) for name, dtype in COLUMN_TYPES.items()}
        return EventColumns(first_seq, **{name: values[:count] for name, values in self._arrays.items()})


def _minimal_width(unsigned: npt.NDArray[np.uint64]) -> int:
    top = int(unsigned.max())
    return next(width for width in (1, 2, 4, 8) if top < 1 << (8 * width))


def _pack(unsigned: npt.NDArray[np.uint64], coding: str) -> Column:
    """Little-endian values in the least width that holds them all, stored byte plane by byte plane."""
    width = _minimal_width(unsigned)
    narrow = unsigned.astype(f"<u{width}")
    planes = narrow.view(np.uint8).reshape(-1, width).T
    return Column(coding, width, planes.tobytes())


def _zigzag(values: IntArray) -> npt.NDArray[np.uint64]:
    """Each value less the one before it, the first less 0, zigzag-coded."""
    difference = values.copy()
    difference[1:] -= values[:-1]
    return ((difference << 1) ^ (difference >> 63)).view(np.uint64)


def encode_column(values: npt.NDArray[Any], *, delta: bool = False) -> Column:
    """Code one column of integers; ``delta`` stores zigzag-coded differences (docs/log-format.md)."""
    wide = values.astype(np.int64, copy=False)
    if len(wide) == 0:
        return Column("plain", 1, b"")
    if not np.any(wide != wide[0]):
        return Column("const", 8, int(wide[0]).to_bytes(8, "little", signed=True))
    if delta or wide.min() < 0:
        return _pack(_zigzag(wide), "delta")
    return _pack(wide.view(np.uint64), "plain")


def decode_column(name: str, column: Column, count: int) -> IntArray:
    """The inverse of :func:`encode_column`: ``count`` int64 values.

    Raises LogCorruptError when the column does not hold exactly ``count`` values; nothing is allocated
    beyond ``count`` values (at most ``MAX_BATCH_EVENTS``, which the caller has checked).
    """
    if column.coding == "const":
        if len(column.data) != 8 or column.width != 8:
            raise LogCorruptError(f"column {name!r} has a constant of {len(column.data)} bytes")
        return np.full(count, int.from_bytes(column.data, "little", signed=True), np.int64)
    if column.coding not in {"plain", "delta"}:
        raise LogCorruptError(f"column {name!r} has the unknown coding {column.coding!r}")
    if column.width not in {1, 2, 4, 8} or len(column.data) != count * column.width:
        raise LogCorruptError(
            f"column {name!r} holds {len(column.data)} bytes where {count} values "
            f"of {column.width} bytes belong"
        )
    planes = np.frombuffer(column.data, np.uint8).reshape(column.width, count)
    unsigned = np.ascontiguousarray(planes.T).view(f"<u{column.width}").reshape(count).astype(np.uint64)
    if column.coding == "plain":
        return unsigned.view(np.int64)
    difference = (unsigned >> np.uint64(1)).view(np.int64) ^ -(unsigned & np.uint64(1)).view(np.int64)
    return np.cumsum(difference, dtype=np.int64)


def encode_runs(values: IntArray, lengths: IntArray) -> Column:
    """Code a column whose values come in runs: the differences from run to run, then the runs' lengths."""
    coded = _pack(_zigzag(values), "runs")
    planes = lengths.astype("<u4").view(np.uint8).reshape(-1, 4).T
    return Column("runs", coded.width, coded.data + planes.tobytes())


def decode_runs(name: str, column: Column, count: int) -> tuple[IntArray, IntArray]:
    """The inverse of :func:`encode_runs`, for ``count`` values in all. Raises LogCorruptError."""
    runs, rest = divmod(len(column.data), column.width + 4)
    if column.width not in {1, 2, 4, 8} or rest or not 0 < runs <= count:
        raise LogCorruptError(f"column {name!r} holds runs that do not add up")
    split = runs * column.width
    values = decode_column(name, Column("delta", column.width, column.data[:split]), runs)
    lengths = decode_column(name, Column("plain", 4, column.data[split:]), runs)
    if int(lengths.min()) < 1 or int(lengths.sum()) != count:
        raise LogCorruptError(f"column {name!r} holds runs that do not add up")
    return values, lengths


class BatchEncoder:
    """Encodes batch after batch, each while its rows are still being filled in.

    A row that was written a moment ago is still in the processor's cache. ``memory`` is where the rows of
    every batch are from their beginning on; None if they are nowhere before the end, where all is done then.
    """

    def __init__(self, memory: EventColumns | None) -> None:
        self._codec = None if memory is None else _new_codec()
        self._memory = () if memory is None else _arrays(memory)
        self._begun = False

    def more(self, first_seq: int, rows: int) -> None:
        """So many rows of the batch that begins with ``first_seq`` are there, and will not change."""
        if self._codec is not None:
            if not self._begun:
                self._codec.begin(first_seq, self._memory)
                self._begun = True
            self._codec.more(rows)

    def finish(self, columns: EventColumns) -> EventBatch:
        """The batch, all rows of which are there, as it stands in a log: as of :func:`encode_batch`."""
        if self._codec is None:
            return encode_batch(columns)
        self.more(columns.first_seq, len(columns))
        self._begun = False
        return _coded(columns, self._codec.finish())


def encode_batch(columns: EventColumns) -> EventBatch:
    """Put events into the form they have in a log (docs/log-format.md, coding of batches)."""
    if kernels is None:
        return encode_plainly(columns)
    if not 0 < len(columns) <= MAX_BATCH_EVENTS:
        return encode_plainly(columns)
    codec = _codec()
    codec.begin(columns.first_seq, _arrays(columns))
    codec.more(len(columns))
    return _coded(columns, codec.finish())


def _arrays(columns: EventColumns) -> tuple[npt.NDArray[Any], ...]:
    """The columns as the codec takes them; where they lie in one piece each, these themselves."""
    return tuple(np.ascontiguousarray(getattr(columns, name)) for name in COLUMN_TYPES)


def _new_codec() -> Codec | None:
    if kernels is None:
        return None
    return kernels.Codec()


def _coded(columns: EventColumns, piles: tuple[bytes, ...]) -> EventBatch:
    """A batch from what the codec made of it."""
    steps, *streams = piles
    times, time_runs, threads, thread_runs = (np.frombuffer(data, np.int64) for data in streams[-4:])
    coded = {
        "steps": Column("plain", 1, steps),
        "time_ns": encode_runs(times, time_runs),
        "thread_id": encode_runs(threads, thread_runs),
    }
    for name, data in zip(STREAMS, streams, strict=False):
        if data:
            coded[name] = _pack(np.frombuffer(data, np.uint64), "plain")
    first, last = int(columns.time_ns[0]), int(columns.time_ns[-1])
    return EventBatch(columns.first_seq, len(columns), first, last, coded)


_local = threading.local()


def _codec() -> Codec:
    """The codec of this thread: it is 30 MB that are not needed twice, and works on one batch at a time."""
    found: Codec | None = getattr(_local, "codec", None)
    if found is None:
        found = _local.codec = kernels.Codec()
    return found


def encode_plainly(columns: EventColumns) -> EventBatch:
    """The same with nothing guessed: each column only for the rows whose kind has it."""
    count = len(columns)
    allocation, free = columns.allocations, columns.frees
    arena = (columns.kind == EventKind.ARENA_ALLOCATION) | (columns.kind == EventKind.ARENA_FREE)
    unmatched = free & (columns.alloc_seq == NOTHING)
    linked = allocation | free
    distance = np.where(columns.alloc_seq == NOTHING, 0, columns.seq - columns.alloc_seq)
    coded = {
        "kind": encode_column(columns.kind),
        "time_ns": encode_column(columns.time_ns, delta=True),
        "thread_id": encode_column(columns.thread_id),
        "address": encode_column(columns.address[allocation | arena | unmatched], delta=True),
        "size": encode_column(columns.size[allocation | arena]),
        "domain": encode_column(columns.domain[allocation]),
        "stack_id": encode_column(columns.stack_id[allocation]),
        "distance": encode_column(distance[linked]),
        "cause": encode_column(columns.cause[free]),
        "type_id": encode_column(columns.type_id[free]),
    }
    return EventBatch(
        columns.first_seq,
        count,
        int(columns.time_ns[0]) if count else 0,
        int(columns.time_ns[-1]) if count else 0,
        coded,
    )


def decode_batch(batch: EventBatch, memory: BatchMemory | None = None) -> EventColumns:
    """The inverse of :func:`encode_batch`; with ``memory`` the columns are only good until its next use.

    Raises LogCorruptError when the batch claims too many events, lacks a column, or holds values that no
    event can have. Everything is checked before it is used as a size or an index.
    """
    count = batch.count
    if not 0 < count <= MAX_BATCH_EVENTS:
        raise LogCorruptError(f"a batch of {count} events (1 to {MAX_BATCH_EVENTS} are possible)")
    if batch.first_seq > sys.maxsize - count:
        raise LogCorruptError(f"a batch that begins with event {batch.first_seq}")
    if memory is None or "steps" not in batch.columns or kernels is None:
        result = empty_columns(batch.first_seq, count)
    else:  # the codec writes every field
        result = memory.columns(batch.first_seq, count)
    _Decoder(batch, result).decode()
    large = int(result.size.max()) > MAX_BATCH_BYTES // count
    if large and float(result.size.sum(dtype=np.float64)) > MAX_BATCH_BYTES:
        raise LogCorruptError("the sizes of a batch add up to more than any memory")
    if not (int(result.time_ns[0]) == batch.first_time_ns and int(result.time_ns[-1]) == batch.last_time_ns):
        raise LogCorruptError("a batch whose times are not the ones it announces")
    return result


ID_MAX = 2**31 - 1


class _Decoder:
    """Fills in the columns of a batch of a possible size."""

    def __init__(self, batch: EventBatch, result: EventColumns) -> None:
        self._batch, self._result = batch, result

    def decode(self) -> None:
        """Fill in all. Raises LogCorruptError."""
        result = self._result
        result.time_ns[:] = self._column("time_ns")
        result.thread_id[:] = self._column("thread_id", None, ID_MAX)
        if "steps" in self._batch.columns:
            self._decode_steps()
        else:
            self._decode_plainly()

    def _column(
        self, name: str, where: npt.NDArray[np.bool_] | None = None, top: int = sys.maxsize
    ) -> IntArray:
        column = self._batch.columns.get(name)
        if column is None:
            raise LogCorruptError(f"a batch without the column {name!r}")
        rows = self._batch.count if where is None else int(np.count_nonzero(where))
        lengths = None
        if column.coding == "runs":
            values, lengths = decode_runs(name, column, rows)
        else:
            values = decode_column(name, column, rows)
        if rows and (int(values.min()) < 0 or int(values.max()) > top):
            raise LogCorruptError(f"column {name!r} holds a value outside 0..{top}")
        return values if lengths is None else np.repeat(values, lengths)

    def _stream(self, name: str) -> IntArray:
        """A column that has as many values as the steps say; it may be left out when that is none."""
        column = self._batch.columns.get(name)
        if column is None:
            return np.zeros(0, np.int64)
        count = len(column.data) // max(1, column.width)
        if column.coding != "plain" or count > self._batch.count:
            raise LogCorruptError(f"column {name!r} holds more values than there are events")
        return decode_column(name, column, count)

    def _decode_steps(self) -> None:
        result = self._result
        steps = self._column("steps", None, 255).astype(np.uint8)
        streams = {name: self._stream(name) for name in STREAMS}
        if kernels is not None:
            arrays = tuple(getattr(result, name) for name in COLUMN_TYPES)
            ordered = tuple(streams[name] for name in STREAMS)
            fits = _codec().decode(result.first_seq, steps, ordered, arrays)
        else:
            fits = _decode_in_python(result, steps, streams)
        if not fits:
            raise LogCorruptError("a batch whose steps and columns do not fit each other")
        for name, top in (("kind", max(EventKind)), ("domain", max(Domain)), ("cause", max(Cause))):
            if int(getattr(result, name).max()) > top:
                raise LogCorruptError(f"column {name!r} holds a value outside 0..{top}")
        if int(result.address.min()) < 0 or int(result.size.min()) < 0:
            raise LogCorruptError("a batch with an address or size below 0")

    def _decode_plainly(self) -> None:
        result, column = self._result, self._column
        result.kind[:] = column("kind", None, max(EventKind))
        allocation, free = result.allocations, result.frees
        arena = (result.kind == EventKind.ARENA_ALLOCATION) | (result.kind == EventKind.ARENA_FREE)
        linked = allocation | free
        distance = np.zeros(len(result), np.int64)
        distance[linked] = column("distance", linked)
        np.copyto(result.alloc_seq, result.seq - distance, where=linked & (distance > 0))
        if np.any(distance > result.seq):
            raise LogCorruptError("a free of an allocation before the first event")
        unmatched = free & (distance == 0)
        addressed, sized = allocation | arena | unmatched, allocation | arena
        result.address[addressed] = column("address", addressed)
        result.size[sized] = column("size", sized)
        result.domain[allocation] = column("domain", allocation, max(Domain))
        result.stack_id[allocation] = column("stack_id", allocation, ID_MAX)
        result.cause[free] = column("cause", free, max(Cause))
        result.type_id[free] = column("type_id", free, ID_MAX)


def _decode_in_python(
    result: EventColumns, steps: npt.NDArray[np.uint8], streams: dict[str, IntArray]
) -> bool:
    """Fill in all columns but time and thread. False when the steps and streams do not fit each other."""
    decoder = StepDecoder(result.first_seq, steps.tobytes(), streams)
    try:
        decoder.decode()
    except Contradiction:
        return False
    for name in COLUMN_TYPES:
        if name not in {"time_ns", "thread_id"}:
            getattr(result, name)[:] = getattr(decoder, name)
    return True
