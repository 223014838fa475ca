"""Random codes and nodes, sound and not: the compiled kernels and Python resolve them alike."""

from __future__ import annotations

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from tracekit.record import layouts
from tracekit.record.offsets import PythonResolver, Resolver
from tracekit.record.ringfile import kernels

pytestmark = pytest.mark.skipif(kernels is None, reason="the kernels were not built")

TABLES = st.one_of(
    st.just((lambda: [1 for _ in "ab"]).__code__.co_linetable),
    st.just(settings.__init__.__code__.co_linetable),
    # Anything at all, with many of the entries that move the line far.
    st.lists(st.one_of(st.integers(0, 255), st.sampled_from([0xE8, 0xF0, 0x7F, 0x41])), max_size=40).map(
        bytes
    ),
)
NUMBERS = st.one_of(st.integers(0, 9), st.integers(0, 2**32 - 1))
CODES = st.tuples(
    st.one_of(NUMBERS, st.integers(0, 2**64 - 1)),
    st.integers(0, 6),
    st.integers(-(2**31), 2**31 - 1),
    TABLES,
)
NODES = st.tuples(NUMBERS, NUMBERS, st.integers(0, 200), st.one_of(st.integers(0, 9), NUMBERS))


def resolved(
    resolver: Resolver, rounds: list[tuple[list[tuple[int, int, int, bytes]], list[tuple[int, ...]]]]
) -> list[object]:
    """All that a resolver says, when every code that it does not know becomes number 7."""
    said: list[object] = []
    for codes, nodes in rounds:
        for code in codes:
            resolver.code(*code)
        data = b"".join(layouts.CODE_NODE.pack(*node) for node in nodes)
        at, unknown = resolver.nodes(data, 0)
        while unknown >= 0:
            said.append((at, unknown))
            resolver.code(unknown, 7, 0, b"")
            at, unknown = resolver.nodes(data, at)
        asked = np.array([0, *range(12), 2**31 - 1, -1, *(node[3] % 2**31 for node in nodes)], np.int32)
        resolver.map(asked)
        said += [at, resolver.take(), asked.tolist()]
    return said


@settings(max_examples=examples(300))
@given(rounds=st.lists(st.tuples(st.lists(CODES, max_size=5), st.lists(NODES, max_size=20)), max_size=4))
def test_both_resolvers_are_equal(
    rounds: list[tuple[list[tuple[int, int, int, bytes]], list[tuple[int, ...]]]],
) -> None:
    assert resolved(kernels.Stacks(), rounds) == resolved(PythonResolver(), rounds)
