"""What the simulator consumes: allocations and frees in the order of ``seq``, as columns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """Consecutive allocations and frees of one trace, one row each, ordered by ``seq``.

    ``alloc_seq`` is the identity of the block: ``seq`` itself for an allocation (``is_free`` false), the
    allocation that it ends for a free. Frees of blocks older than the recording are not among the steps.
    ``size``, ``domain`` and ``stack_id`` are the block's in both kinds of row; ``cause`` is a free's
    (:class:`~tracekit.events.Cause`), 0 for an allocation.
    """

    seq: IntArray
    time_ns: IntArray
    is_free: npt.NDArray[np.bool_]
    alloc_seq: IntArray
    size: IntArray
    domain: npt.NDArray[np.uint8]
    stack_id: npt.NDArray[np.int32]
    cause: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.seq)
