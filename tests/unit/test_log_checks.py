"""The sets of defined numbers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracekit.log.checks import Numbers


@given(st.lists(st.one_of(st.integers(0, 30), st.integers(0, 2**31 - 1))), st.lists(st.integers(0, 40)))
def test_numbers_are_a_set(defined: list[int], asked: list[int]) -> None:
    numbers, expected = Numbers(), set(defined)
    for number in defined:
        numbers.add(number)
    assert len(numbers) == len(expected)
    for number in [*defined, *asked]:
        assert (number in numbers) == (number in expected)
    array = np.array(asked, np.int32)
    assert numbers.missing(array) == sorted(set(asked) - expected - {0})


def test_numbers_given_in_order_cost_nothing() -> None:
    numbers = Numbers()
    for number in range(1, 1001):
        numbers.add(number)
    assert not numbers._others
    assert len(numbers) == 1000
