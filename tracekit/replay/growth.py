"""How memory grew over time: the growth of many groups at once, judged by its course and not by its size."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

WEAK: Final = "weak"
FAIR: Final = "fair"
STRONG: Final = "strong"
EVIDENCE: Final = (WEAK, FAIR, STRONG)
"""How much the course of the growth speaks for a leak, in ascending order."""

_QUARTERS: Final = 4
_STRONG_STEPS: Final = 0.6
_STRONG_DIRECT: Final = 0.8
_FAIR_DIRECT: Final = 0.5


@dataclass(frozen=True, slots=True)
class Growth:
    """What the bytes of groups at successive instants say; one entry a group.

    ``bytes`` is the net growth. ``steps`` counts the steps from one instant to the next in which a group
    grew. ``quarters`` counts the quarters of the time in which it did. ``direct`` is the net growth as
    a share of all ups and downs together: 1 for what only grew, near 0 for what came and went. ``steady`` is
    the growth that it would have with its second-smallest quarter throughout, at most the real one: a single
    jump, or a cache that fills up in a part of the time, adds nothing to it. ``evidence`` indexes EVIDENCE,
    ``score`` is what groups are ranked by, in bytes: ``steady``, less where steps or directness are wanting,
    and 0 for weak evidence.
    """

    bytes: IntArray
    steps: IntArray
    quarters: IntArray
    direct: FloatArray
    steady: IntArray
    evidence: IntArray
    score: IntArray


def measure(levels: IntArray) -> Growth:
    """Judge groups by ``levels``: a row a group, a column an instant, in bytes.

    Strong: it grew in all four quarters and in 3 of 5 steps, and its ups outweigh its downs by 9 to 1. Fair:
    it grew in three quarters, by 3 to 1. With fewer steps than four nothing can be told, which is weak.
    """
    groups, instants = levels.shape
    count = max(instants - 1, 1)
    steps = np.diff(levels, axis=1)
    net = levels[:, -1] - levels[:, 0]
    up = steps.clip(min=0).sum(axis=1)
    moved = up - steps.clip(max=0).sum(axis=1)
    direct = net / np.maximum(moved, 1)
    grew = np.count_nonzero(steps > 0, axis=1)
    if instants <= _QUARTERS:
        by_quarter = np.zeros((groups, _QUARTERS), np.int64)
    else:
        bounds = [round((instants - 1) * part / _QUARTERS) for part in range(_QUARTERS + 1)]
        by_quarter = np.diff(levels[:, bounds], axis=1)
    quarters = np.count_nonzero(by_quarter > 0, axis=1)
    second = np.sort(by_quarter, axis=1)[:, 1]
    steady = np.minimum(_QUARTERS * second, net).clip(min=0)
    share = grew / count
    strong = (quarters == _QUARTERS) & (share >= _STRONG_STEPS) & (direct >= _STRONG_DIRECT)
    fair = (quarters >= _QUARTERS - 1) & (direct >= _FAIR_DIRECT)
    evidence = np.where(strong, 2, np.where(fair, 1, 0))
    weighed = np.where(evidence > 0, steady * share * direct, 0)
    return Growth(net, grew, quarters, direct, steady, evidence, weighed.astype(np.int64))


def ranking(growth: Growth) -> IntArray:
    """The groups in the order in which they are worth a look: by score, weak ones last and by growth."""
    return np.lexsort((-growth.bytes, -growth.score, growth.evidence == 0))
