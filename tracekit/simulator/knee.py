"""The knee of a curve: where to stop paying memory for less time in the collector."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from math import log
from typing import NamedTuple

SAME = 0.02
"""Values that differ by this share, or less, are the same to whoever chooses between them."""

LEAST_BEND = 0.05
"""A curve that comes no nearer to the corner than this, of 1, is a straight line: it has no knee."""


class Shape(enum.Enum):
    """What a curve looks like."""

    KNEE = "knee"
    STRAIGHT = "straight"
    FLAT = "flat"
    FLAT_TIME = "flat-time"
    FLAT_PEAK = "flat-peak"
    TOO_FEW = "too-few"


class Knee(NamedTuple):
    """``best`` is the number of a point: the knee, or of a curve flat one way the least the other way."""

    shape: Shape
    best: int | None = None


def find_knee(seconds: Sequence[float], peaks: Sequence[float]) -> Knee:
    """The knee of a curve of points (collector time, peak bytes), in any order; less of both is better.

    On logarithmic scales, each from its least (0) to its most (1), the line from (0, 1) to (1, 0) is a fair
    trade all along. The knee is the point farthest below that line (the first of several). No time at all
    counts as half of the least that is above 0.
    """
    if len(seconds) < 3:
        return Knee(Shape.TOO_FEW)
    least = min((value for value in seconds if value > 0), default=1.0) / 2
    times = [max(value, least) for value in seconds]
    same_peak, same_time = (max(values) <= min(values) * (1 + SAME) for values in (peaks, times))
    if same_peak:
        best = min(range(len(times)), key=times.__getitem__)
        return Knee(Shape.FLAT) if same_time else Knee(Shape.FLAT_PEAK, best)
    if same_time:
        return Knee(Shape.FLAT_TIME, min(range(len(times)), key=peaks.__getitem__))
    sums = [across + up for across, up in zip(_scaled(times), _scaled(peaks), strict=True)]
    best = min(range(len(sums)), key=sums.__getitem__)
    return Knee(Shape.KNEE, best) if sums[best] <= 1 - LEAST_BEND else Knee(Shape.STRAIGHT)


def _scaled(values: Sequence[float]) -> list[float]:
    """Logarithms, from 0 for the least value to 1 for the most."""
    logs = [log(max(value, 1e-12)) for value in values]
    low, high = min(logs), max(logs)
    return [(value - low) / (high - low) for value in logs]
