"""Where a curve of collector time against peak bends."""

from __future__ import annotations

from math import log

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.simulator.knee import Knee, Shape, find_knee

CORNER = ([64.0, 8.0, 1.0, 0.9, 0.8], [100.0, 101.0, 102.0, 300.0, 900.0])
"""Time falls to the third point and hardly any more; from there on the peak grows."""


def test_the_corner_is_the_knee() -> None:
    assert find_knee(*CORNER) == Knee(Shape.KNEE, 2)


def test_the_order_of_points_does_not_matter() -> None:
    seconds, peaks = (values[::-1] for values in CORNER)
    assert find_knee(seconds, peaks) == Knee(Shape.KNEE, 2)
    assert find_knee([8.0, 0.8, 1.0, 64.0], [101.0, 900.0, 102.0, 100.0]) == Knee(Shape.KNEE, 2)


def test_a_fair_trade_all_along_has_no_knee() -> None:
    assert find_knee([1000.0, 100.0, 10.0, 1.0], [1.0, 10.0, 100.0, 1000.0]) == Knee(Shape.STRAIGHT)
    assert find_knee([8.0, 7.0, 1.0], [1.0, 7.0, 8.0]) == Knee(Shape.STRAIGHT)


def test_what_is_flat_one_way_has_its_best_the_other_way() -> None:
    assert find_knee([9.0, 3.0, 5.0], [1000.0, 1019.0, 1001.0]) == Knee(Shape.FLAT_PEAK, 1)
    assert find_knee([9.0, 9.1, 9.0], [3000.0, 1000.0, 2000.0]) == Knee(Shape.FLAT_TIME, 1)
    assert find_knee([2.0, 2.0, 2.0], [5.0, 5.0, 5.0]) == Knee(Shape.FLAT)
    assert find_knee([0.0, 0.0, 0.0], [0.0, 0.0, 0.0]) == Knee(Shape.FLAT)
    assert find_knee([0.0, 0.0, 0.0], [3.0, 2.0, 1.0]) == Knee(Shape.FLAT_TIME, 2)
    assert find_knee([3.0, 2.0, 1.0], [0.0, 0.0, 0.0]) == Knee(Shape.FLAT_PEAK, 2)


@pytest.mark.parametrize("count", [0, 1, 2])
def test_it_takes_three_points(count: int) -> None:
    assert find_knee([5.0, 1.0][:count], [1.0, 5.0][:count]) == Knee(Shape.TOO_FEW)


def test_no_time_at_all_is_half_of_the_least() -> None:
    """The last point counts as 0.5 s, so that the third is still the knee."""
    assert find_knee([64.0, 8.0, 1.0, 0.0], [100.0, 101.0, 102.0, 900.0]) == Knee(Shape.KNEE, 2)


POINTS = st.lists(st.tuples(st.floats(1e-6, 1e6), st.integers(1, 1 << 50)), min_size=3, max_size=20)


@given(POINTS)
@settings(max_examples=examples(200))
def test_no_point_is_farther_below_the_chord(points: list[tuple[float, int]]) -> None:
    """Against the distance from the line as geometry has it; and a knee is never beaten both ways."""
    seconds, peaks = [point[0] for point in points], [float(point[1]) for point in points]
    found = find_knee(seconds, peaks)
    if found.best is None:
        return
    best = points[found.best]
    assert not any(other[0] < best[0] and other[1] < best[1] for other in points)
    if found.shape is Shape.KNEE:
        ends = [[f(map(log, values)) for f in (min, max)] for values in (seconds, peaks)]

        def below(point: tuple[float, int]) -> float:
            x, y = ((log(value) - low) / (high - low) for value, (low, high) in zip(point, ends, strict=True))
            return (1 - x - y) / 2**0.5

        assert below(best) >= max(map(below, points)) - 1e-9
        assert below(best) > 0
