"""Lifetimes for a log of another length: young blocks die as in the model, the others are stretched.

A block is *young* when it dies within ``Plan.young`` events of the model. Those that live longer get a
lifetime from a power law that reaches over the whole new log, its exponent such that, by Little's law, as
many blocks are alive at a time as were asked for. The log begins with the blocks that would be alive already
had it gone on forever: their remaining lifetimes have the density P(lifetime > t), the stationary excess
of renewal theory. So the number of live blocks is steady from the first events to the last.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.synthetic.model import Model
from tracekit.log.columns import IntArray

NEVER = 1 << 62
"""The end of a block that is not freed."""

OLD_SHARE = 0.03
"""Blocks that outlive ``young``, of all."""

YOUNG_BITS = range(16, 3, -1)
MIDDLE = 64
"""An old block of the model that is one too many dies between ``young`` / 64 and ``young``."""

GRID = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """How blocks live.

    ``old`` is the share of blocks that get a lifetime from the power law. Of the model's own old blocks
    ``kept`` stay old, and ``promoted`` of its young ones become so. ``loaded`` blocks are there from the
    beginning, ``permanent`` of them for good.
    """

    young: int
    old: float
    kept: float
    promoted: float
    loaded: int
    permanent: int
    tail: Tail


class Tail:
    """A power law between ``low`` and ``high`` with a given mean."""

    def __init__(self, low: float, high: float, mean: float) -> None:
        self.grid = np.geomspace(low, high, GRID)
        self.exponent = self._solve(mean)
        density = self._density(self.exponent)
        self._cumulated = np.concatenate([[0.0], np.cumsum(density)]) / density.sum()
        survival = 1 - self._cumulated
        widths = np.diff(self.grid)
        excess = np.concatenate([[low], (survival[1:] + survival[:-1]) / 2 * widths])
        self._excess_grid = np.concatenate([[0.0], self.grid])
        self._excess = np.concatenate([[0.0], np.cumsum(excess)]) / excess.sum()

    def lifetimes(self, random: np.random.Generator, count: int) -> IntArray:
        """Lifetimes of new blocks, in events."""
        drawn: IntArray = np.interp(random.random(count), self._cumulated, self.grid).astype(np.int64)
        return drawn

    def remaining(self, random: np.random.Generator, count: int) -> IntArray:
        """What is left of the lifetimes of those that are alive at one moment."""
        drawn: IntArray = np.interp(random.random(count), self._excess, self._excess_grid).astype(np.int64)
        return drawn + 1

    def _density(self, exponent: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """Weights of the intervals of the grid, which is even in the logarithm."""
        middle = np.sqrt(self.grid[1:] * self.grid[:-1]) / self.grid[0]
        return np.asarray(middle**-exponent)

    def _mean(self, exponent: float) -> float:
        weights = self._density(exponent)
        return float((weights * (self.grid[1:] + self.grid[:-1]) / 2).sum() / weights.sum())

    def _solve(self, mean: float) -> float:
        low, high = -8.0, 32.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self._mean(middle) > mean else (low, middle)
        return (low + high) / 2


def plan(model: Model, events: int, alive: int) -> Plan:
    """The plan for a log of ``events`` with ``alive`` blocks. Raises ValueError when none is possible."""
    life = model.blocks["life"]
    for bits in YOUNG_BITS:
        young = 1 << bits
        dies_young = (life > 0) & (life <= young)
        share = 1 - float(dies_young.mean())
        kept = min(1.0, OLD_SHARE / share) if share else 1.0
        promoted = max(0.0, (OLD_SHARE - share) / (1 - share)) if share < 1 else 0.0
        middle = share * (1 - kept) * (young - young / MIDDLE) / np.log(MIDDLE)
        alive_young = model.rate * (float(np.where(dies_young, life, 0).mean()) * (1 - promoted) + middle)
        # The old ones must make up the rest, and live for longer than the young.
        if alive - alive_young >= 2 * model.rate * OLD_SHARE * young:
            break
    else:
        raise ValueError(f"with this model more than {alive:,} blocks are alive at a time")
    loaded = int(alive - alive_young)
    never = int(np.count_nonzero(life == 0)) / max(1, int(np.count_nonzero(~dies_young)))
    permanent = min(int(loaded * never), loaded // 4)
    mean = (loaded - permanent) / (model.rate * OLD_SHARE)
    tail = Tail(float(young), max(float(events), 4 * mean), mean)
    return Plan(young, OLD_SHARE, kept, promoted, loaded, permanent, tail)
