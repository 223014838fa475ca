"""Time in a synthetic log: it stands still and steps as in the model."""

from __future__ import annotations

import numpy as np

from benchmarks.synthetic.model import Model
from tracekit.log.columns import EventColumns, IntArray

STRETCH = 64
"""Steps that are taken from one place of the model."""


class Clock:
    """Sets the times of batch after batch."""

    def __init__(self, model: Model, random: np.random.Generator) -> None:
        self._steps, self._lengths, self._random = model.steps, model.lengths, random
        self._now = 0

    def set(self, columns: EventColumns) -> None:
        """Fill in ``time_ns``, going on where the last batch ended."""
        starts, steps = self._steps_for(len(columns))
        increments = np.zeros(len(columns), np.int64)
        increments[starts] = steps
        if not columns.first_seq:
            increments[0] = 0
        columns.time_ns[:] = self._now + np.cumsum(increments)
        self._now = int(columns.time_ns[-1])

    def _steps_for(self, count: int) -> tuple[IntArray, IntArray]:
        """(rows at which time goes on, by how much), the first of them row 0."""
        lengths, steps, covered = [], [], 0
        within = np.arange(min(STRETCH, len(self._steps)))
        while covered < count:
            first = self._random.integers(0, len(self._steps) - len(within) + 1, 16)
            place = (first[:, None] + within).ravel()
            lengths.append(self._lengths[place])
            steps.append(self._steps[place])
            covered += int(lengths[-1].sum())
        length = np.concatenate(lengths)
        starts = np.cumsum(length) - length
        inside = starts < count
        return starts[inside], np.concatenate(steps)[inside]
