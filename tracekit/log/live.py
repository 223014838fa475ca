"""A fold over event batches that knows at every moment which allocations are alive."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tracekit.errors import LogCorruptError
from tracekit.log.columns import COLUMN_TYPES, MAX_BATCH_BYTES, NOTHING, EventColumns, IntArray

LIVE_COLUMNS = ("alloc_seq", "time_ns", "address", "size", "domain", "thread_id", "stack_id")


@dataclass(slots=True, eq=False)
class Died:
    """The frees of one batch, matched with what they ended; all arrays have one row a free.

    ``rows`` are the positions of the frees in their batch, ``matched`` is false for a free of a block older
    than the recording (or whose allocation was lost), and ``block`` has the columns of the allocation
    (``LIVE_COLUMNS``; zeros where not matched).
    """

    rows: IntArray
    matched: npt.NDArray[np.bool_]
    block: dict[str, npt.NDArray[Any]]


class LiveBlocks:
    """The live set. Memory is that of the live blocks and one batch, never that of the trace."""

    def __init__(self) -> None:
        self.columns: dict[str, npt.NDArray[Any]] = {
            name: np.zeros(0, COLUMN_TYPES[name]) for name in LIVE_COLUMNS
        }
        self.live_bytes = 0

    def __len__(self) -> int:
        return len(self.columns["alloc_seq"])

    def restore(self, columns: dict[str, npt.NDArray[Any]]) -> None:
        """Begin with these blocks (``LIVE_COLUMNS``, in the order of ``alloc_seq``).

        Raises LogCorruptError when they cannot be alive together.
        """
        taken = {name: columns[name].astype(values.dtype) for name, values in self.columns.items()}
        if (
            any(np.any(taken[name] < 0) for name in ("size", "alloc_seq"))
            or np.any(np.diff(taken["alloc_seq"]) <= 0)
            or float(taken["size"].sum(dtype=np.float64)) > MAX_BATCH_BYTES
        ):
            raise LogCorruptError("blocks that cannot be alive")
        self.columns = taken
        self.live_bytes = int(taken["size"].sum())

    def apply(self, batch: EventColumns) -> Died:
        """Take a batch into account and return what died in it.

        A second free of one allocation, or a free of one that is not known, counts as not matched.
        Raises LogCorruptError when the blocks alive add up to more than any memory.
        """
        born = np.flatnonzero(batch.allocations)
        rows = np.flatnonzero(batch.frees)
        pool = {
            name: np.concatenate([self.columns[name], self._of(batch, name, born)]) for name in LIVE_COLUMNS
        }
        if float(pool["size"].sum(dtype=np.float64)) > MAX_BATCH_BYTES:
            raise LogCorruptError(
                f"the blocks alive at event {batch.first_seq} add up to more than any memory"
            )
        wanted = batch.alloc_seq[rows]
        place = np.searchsorted(pool["alloc_seq"], wanted)
        matched = (wanted != NOTHING) & (place < len(pool["alloc_seq"]))
        matched[matched] = pool["alloc_seq"][place[matched]] == wanted[matched]
        _, first = np.unique(np.where(matched, place, -1 - np.arange(len(rows))), return_index=True)
        once = np.zeros(len(rows), np.bool_)
        once[first] = True
        matched &= once
        block = {name: np.zeros(len(rows), pool[name].dtype) for name in LIVE_COLUMNS}
        for name in LIVE_COLUMNS:
            block[name][matched] = pool[name][place[matched]]
        alive = np.ones(len(pool["alloc_seq"]), np.bool_)
        alive[place[matched]] = False
        self.columns = {name: values[alive] for name, values in pool.items()}
        self.live_bytes = int(self.columns["size"].sum())
        return Died(rows, matched, block)

    @staticmethod
    def _of(batch: EventColumns, name: str, rows: IntArray) -> npt.NDArray[Any]:
        if name == "alloc_seq":
            return batch.first_seq + rows
        values: npt.NDArray[Any] = getattr(batch, name)[rows]
        return values


def live_deltas(batch: EventColumns, died: Died) -> tuple[IntArray, IntArray]:
    """(bytes, blocks) by which each event of the batch changes what is alive; int64, one a row."""
    size = np.where(batch.allocations, batch.size, 0)
    blocks = batch.allocations.astype(np.int64)
    size[died.rows[died.matched]] -= died.block["size"][died.matched]
    blocks[died.rows[died.matched]] -= 1
    return size, blocks
