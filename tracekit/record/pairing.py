"""Matches every free with the allocation that it ends."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracekit.log.columns import NOTHING
from tracekit.record.decode import RingEvents


class Pairing:
    """The live blocks by address. One dictionary entry a live block; time is constant an event."""

    def __init__(self) -> None:
        self._live: dict[int, tuple[int, int]] = {}
        self.live_bytes = 0

    @property
    def live_blocks(self) -> int:
        """Number of blocks that are alive."""
        return len(self._live)

    def pair(
        self, first_seq: int, events: RingEvents
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Take events in; the first of them has number ``first_seq``.

        Returns, one row an event: the ``alloc_seq`` that a free ends (-1: none known, or an allocation), and
        by how many bytes and blocks the event changes what is alive.
        """
        live = self._live
        count = len(events)
        ended = [NOTHING] * count
        by_bytes = events.size.tolist()
        by_blocks = [1] * count
        addresses = events.address.tolist()
        for row, (is_free, address) in enumerate(zip(events.is_free.tolist(), addresses, strict=True)):
            if not is_free:
                live[address] = (first_seq + row, by_bytes[row])
                continue
            block = live.pop(address, None)
            if block is None:
                by_blocks[row] = 0
            else:
                ended[row] = block[0]
                by_bytes[row] = -block[1]
                by_blocks[row] = -1
        change = np.array(by_bytes, np.int64)
        self.live_bytes += int(change.sum())
        return np.array(ended, np.int64), change, np.array(by_blocks, np.int64)
