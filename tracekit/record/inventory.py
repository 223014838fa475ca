"""What the portable engine knows to be alive, and the difference to what tracemalloc says is alive now.

Runs inside the program under observation.
"""

from __future__ import annotations

from _collections import _count_elements, deque  # type: ignore[import-not-found]

from tracekit.record.layouts import SLOT
from tracekit.record.naming import OWN_FILES, Symbols
from tracekit.record.ring import RingWriter
from tracekit.record.slots import (
    ALLOC,
    FREE,
    REPEAT,
    SIZE_BITS,
    SIZE_WIDE,
    SLOT_BYTES,
    TIME,
    WIDE,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    Trace = tuple[int, int, tuple[tuple[str, int], ...], int]

PYTHON, FOREIGN = 4, 5  # tracekit.events.Domain
BATCH_BYTES = 65_536


class _Kind:
    """The live blocks of one (domain, size, traceback): how many, and their synthetic addresses as runs."""

    __slots__ = ("count", "domain", "epoch", "node", "runs", "size")

    def __init__(self, domain: int, size: int, node: int) -> None:
        self.domain = domain
        self.size = size
        self.node = node
        self.count = 0
        self.epoch = 0
        self.runs: deque[list[int]] = deque()


class _Slots:
    """Collects slots of one sync and passes them on in pieces."""

    def __init__(self, ring: RingWriter) -> None:
        self._ring = ring
        self._buffer = bytearray(BATCH_BYTES)
        self._at = 0

    def put(self, kind: int, flags: int, thread: int, node: int, word: int) -> None:
        if self._at == BATCH_BYTES:
            self.flush()
        SLOT.pack_into(self._buffer, self._at, kind, flags, thread, node, word)
        self._at += SLOT_BYTES

    def flush(self) -> None:
        if self._at:
            at, self._at = self._at, 0
            self._ring.write(memoryview(self._buffer)[:at])


class Inventory:
    """The live blocks as kinds: equal domain, size and traceback. The recorder's own are left out."""

    def __init__(self, ring: RingWriter, symbols: Symbols) -> None:
        self._slots = _Slots(ring)
        self._symbols = symbols
        self._kinds: dict[Trace, _Kind] = {}
        self._own: set[tuple[tuple[str, int], ...]] = set()
        self._next_address = 1
        self._epoch = 0
        self.live_bytes = 0

    @property
    def taken(self) -> bool:
        """Whether stock was taken at all."""
        return self._epoch > 0

    def update(self, traces: list[Trace], now_ns: int, thread: int, cause: int) -> None:
        """Write what changed since the last time.

        First a free for each block lost, the oldest of its kind first, then an allocation for each gained: so
        at no event more is alive than was before or is now, and a peak is one that existed.
        """
        counts: dict[Trace, int] = {}
        _count_elements(counts, traces)
        gains, losses = self._difference(counts)
        self._symbols.flush()
        self._slots.put(TIME, 0, 0, 0, now_ns)
        for kind, lost in losses:
            self._free(kind, lost, thread, cause)
        for kind, gained in gains:
            self._allocate(kind, gained, thread)
        self._slots.flush()

    def _difference(
        self, counts: dict[Trace, int]
    ) -> tuple[list[tuple[_Kind, int]], list[tuple[_Kind, int]]]:
        """What was gained and what was lost, as kinds and numbers of blocks, in order of first appearance."""
        self._epoch += 1
        epoch, kinds, own = self._epoch, self._kinds, self._own
        gains: list[tuple[_Kind, int]] = []
        losses: list[tuple[_Kind, int]] = []
        for trace, count in counts.items():
            kind = kinds.get(trace)
            if kind is None:
                frames = trace[2]
                if frames in own:
                    continue
                if frames and frames[0][0] in OWN_FILES:
                    own.add(frames)
                    continue
                node = self._symbols.node(frames, trace[3])
                kind = kinds[trace] = _Kind(PYTHON if trace[0] == 0 else FOREIGN, trace[1], node)
            kind.epoch = epoch
            if count > kind.count:
                gains.append((kind, count - kind.count))
            elif count < kind.count:
                losses.append((kind, kind.count - count))
        gone = [trace for trace, kind in kinds.items() if kind.epoch != epoch]
        for trace in gone:
            kind = kinds.pop(trace)
            losses.append((kind, kind.count))
        return gains, losses

    def _free(self, kind: _Kind, count: int, thread: int, cause: int) -> None:
        """Free the oldest ``count`` blocks of a kind."""
        kind.count -= count
        self.live_bytes -= count * kind.size
        while count:
            run = kind.runs[0]
            take = min(count, run[1])
            if take > 1:
                self._slots.put(REPEAT, 0, 0, 0, take)
            self._slots.put(FREE, cause, thread, 0, run[0] << 4)
            if take == run[1]:
                kind.runs.popleft()
            else:
                run[0] += take
                run[1] -= take
            count -= take

    def _allocate(self, kind: _Kind, count: int, thread: int) -> None:
        kind.count += count
        self.live_bytes += count * kind.size
        address = self._next_address
        self._next_address += count
        kind.runs.append([address, count])
        if count > 1:
            self._slots.put(REPEAT, 0, 0, 0, count)
        size = kind.size
        if size >= SIZE_WIDE:
            self._slots.put(WIDE, 0, 0, 0, size)
            size = SIZE_WIDE
        self._slots.put(ALLOC, kind.domain, thread, kind.node, address << SIZE_BITS | size)
