"""Frees find the allocations that they end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tracekit.record.decode import RingEvents
from tracekit.record.pairing import Pairing


def events(rows: list[tuple[bool, int, int]]) -> RingEvents:
    """(is free, address, size) as they come out of a ring."""
    count = len(rows)
    return RingEvents(
        np.array([row[0] for row in rows], np.bool_),
        np.zeros(count, np.uint8),
        np.zeros(count, np.int32),
        np.zeros(count, np.int32),
        np.array([row[1] for row in rows], np.int64),
        np.array([0 if row[0] else row[2] for row in rows], np.int64),
    )


def test_frees_end_the_last_allocation_at_their_address() -> None:
    pairing = Pairing()
    ended, by_bytes, by_blocks = pairing.pair(
        10,
        events(
            [(False, 16, 100), (True, 16, 0), (False, 16, 7), (True, 32, 0), (True, 16, 0), (True, 16, 0)]
        ),
    )
    assert ended.tolist() == [-1, 10, -1, -1, 12, -1]
    assert by_bytes.tolist() == [100, -100, 7, 0, -7, 0]
    assert by_blocks.tolist() == [1, -1, 1, 0, -1, 0]
    assert (pairing.live_bytes, pairing.live_blocks) == (0, 0)


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 6), st.integers(0, 50)), max_size=60), st.integers(0, 60)
)
def test_equal_to_a_dictionary_and_to_any_split(rows: list[tuple[bool, int, int]], cut: int) -> None:
    # A block is not allocated over one that is alive: the engines write its free first.
    alive: dict[int, tuple[int, int]] = {}
    sane: list[tuple[bool, int, int]] = []
    wanted: list[int] = []
    for is_free, address, size in rows:
        if not is_free and address in alive:
            continue
        if is_free:
            wanted.append(alive.pop(address, (-1, 0))[0])
        else:
            alive[address] = (len(sane), size)
            wanted.append(-1)
        sane.append((is_free, address, size))
    pairing = Pairing()
    first = pairing.pair(0, events(sane[:cut]))
    second = pairing.pair(len(sane[:cut]), events(sane[cut:]))
    assert [*first[0].tolist(), *second[0].tolist()] == wanted
    assert pairing.live_blocks == len(alive)
    assert pairing.live_bytes == sum(size for _, size in alive.values())
    assert sum(first[1].tolist() + second[1].tolist()) == pairing.live_bytes
    assert sum(first[2].tolist() + second[2].tolist()) == pairing.live_blocks
