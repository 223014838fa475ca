"""What a recording adds up to, as a fold over its batches."""

from __future__ import annotations

import numpy as np

from tracekit.events import EventKind, Totals
from tracekit.log.columns import EventColumns
from tracekit.log.live import Died, LiveBlocks, live_deltas


class TotalsFold:
    """Counts batches in order. ``totals`` is right after each; memory is that of the live blocks.

    ``peak_seq`` is the first event after which live bytes were highest (event 0 when nothing ever lived),
    ``peak_blocks`` what was alive then, ``duration_ns`` the time of the last event, ``gc_collections`` those
    that started. A free counts as unmatched when it ends nothing that is known to be alive.
    """

    def __init__(self) -> None:
        self.live = LiveBlocks()
        self.totals = Totals()

    def apply(self, batch: EventColumns) -> Died:
        """Count a batch; what died in it, as :meth:`LiveBlocks.apply` gives it."""
        before, bytes_before, blocks_before = self.totals, self.live.live_bytes, len(self.live)
        died = self.live.apply(batch)
        if not len(batch):
            return died
        delta_bytes, delta_blocks = live_deltas(batch, died)
        running = bytes_before + np.cumsum(delta_bytes)
        top = int(running.argmax())
        peak = (before.peak_bytes, before.peak_blocks, before.peak_seq)
        if before.peak_seq < 0 or int(running[top]) > before.peak_bytes:
            blocks = blocks_before + int(delta_blocks[: top + 1].sum())
            peak = (int(running[top]), blocks, batch.first_seq + top)
        self.totals = Totals(
            events=before.events + len(batch),
            allocations=before.allocations + int(np.count_nonzero(batch.allocations)),
            frees=before.frees + len(died.rows),
            unmatched_frees=before.unmatched_frees + int(np.count_nonzero(~died.matched)),
            gc_collections=before.gc_collections + int(np.count_nonzero(batch.kind == EventKind.GC_START)),
            allocated_bytes=before.allocated_bytes + int(batch.size[batch.allocations].sum()),
            peak_bytes=peak[0],
            peak_blocks=peak[1],
            peak_seq=peak[2],
            end_bytes=self.live.live_bytes,
            end_blocks=len(self.live),
            duration_ns=int(batch.time_ns[-1]),
        )
        return died
