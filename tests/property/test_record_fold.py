"""Random slots, sound and not, in random pieces: the compiled kernels and Python see the same in them."""

from __future__ import annotations

import struct

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from ring_support import allocation, fold_all, free, slot, time_passes

from tracekit.record import slots
from tracekit.record.decode import RingDefinition, RingTypes
from tracekit.record.pairing import Found, NativeFold, PythonFold
from tracekit.record.ring import pack_definition
from tracekit.record.ringfile import kernels

pytestmark = pytest.mark.skipif(kernels is None, reason="the kernels were not built")

# Few addresses, so that blocks meet again; the regions of 16 KiB that the kernels keep come and go.
ADDRESSES = st.one_of(
    st.integers(1, 6).map(lambda number: 16 * number),
    st.integers(0, 400).map(lambda number: 16384 * number + 48),
    st.integers(0, (1 << 48) - 1),
)
THREADS = st.integers(0, 3)
EVENTS = st.one_of(
    st.builds(
        lambda address, size, domain, thread, node: allocation(
            address, size, domain=domain, thread=thread, node=node
        ),
        ADDRESSES,
        st.one_of(st.integers(0, 600), st.integers(0, 1 << 48)),
        st.one_of(st.integers(0, 6), st.sampled_from([0x80, 0x81])),
        THREADS,
        st.integers(0, 5),
    ),
    st.builds(
        lambda address, cause, thread, node: free(address, cause=cause, thread=thread, type_id=node),
        ADDRESSES,
        st.integers(0, 4),
        THREADS,
        st.integers(0, 5),
    ),
)
OTHERS = st.one_of(
    st.builds(
        lambda thread, address: slot(slots.UNFREE, thread=thread, word=address),
        THREADS,
        ADDRESSES,
    ),
    st.builds(
        lambda address, node: slot(slots.TYPED, node=node, word=address),
        ADDRESSES,
        st.integers(0, 5),
    ),
    st.builds(
        lambda flags, address: slot(slots.ARENA, flags, 1, 1 << 20, address),
        st.integers(0, 2),
        ADDRESSES,
    ),
    st.integers(0, 1 << 40).map(time_passes),
    st.integers(0, 4).map(lambda times: slot(slots.REPEAT, word=times)),
    st.integers(0, 1 << 48).map(lambda size: slot(slots.WIDE, word=size)),
    st.builds(
        pack_definition,
        st.integers(1, 15),
        st.integers(0, 2**64 - 1),
        st.binary(max_size=40),
        st.integers(0, 65_535),
    ),
    st.integers(0, 9).map(lambda node: pack_definition(slots.DEF_CODE_NODE, 0, bytes([node] * 16), 0)),
    # Anything at all, as a program that overwrites its memory leaves it.
    st.binary(min_size=16, max_size=16),
)
STREAM = st.lists(st.one_of(EVENTS, EVENTS, OTHERS), max_size=60).map(b"".join)
CUTS = st.lists(st.integers(1, 9), max_size=10)
STAMPS = st.lists(st.tuples(st.integers(0, 70), st.integers(0, 1000)), max_size=6).map(
    lambda pairs: b"".join(struct.pack("<QQ", *pair) for pair in sorted(pairs))
)


def told(found: list[Found]) -> tuple[list[object], bytes, list[tuple[int, int]]]:
    """Definitions, nodes and types in order; where the slots were cut is not to be seen in them."""
    definitions: list[object] = []
    nodes, types = b"", []
    for item in found:
        if isinstance(item, RingTypes):
            types += list(zip(item.alloc_seq.tolist(), item.type_id.tolist(), strict=True))
        elif isinstance(item, RingDefinition) and item.what == slots.DEF_CODE_NODE and item.number < 99:
            nodes += item.payload
        else:
            definitions.append(item)
    return definitions, nodes, types


@settings(max_examples=examples(400))
@given(data=STREAM, cuts=CUTS, other_cuts=CUTS, room=st.integers(1, 40), stamps=STAMPS)
def test_both_folds_are_equal(
    data: bytes, cuts: list[int], other_cuts: list[int], room: int, stamps: bytes
) -> None:
    native, python = NativeFold(room), PythonFold(room)
    rows, found = fold_all(native, data, cuts, stamps)
    wanted, also = fold_all(python, data, other_cuts, stamps)
    assert rows == wanted
    assert told(found) == told(also)
    assert native.counts == python.counts
    assert (native.next_seq, native.time_ns) == (python.next_seq, python.time_ns)


@settings(max_examples=examples(200))
@given(addresses=st.lists(st.integers(1, 3000), max_size=400))
def test_many_blocks_in_many_regions(addresses: list[int]) -> None:
    """An address that comes again is freed: the live set grows and shrinks."""
    alive: set[int] = set()
    data = []
    for number in addresses:
        address = number * 4096 + 16 * (number % 7)
        data.append(free(address) if number in alive else allocation(address, number))
        alive ^= {number}
    native, python = NativeFold(64), PythonFold(64)
    assert fold_all(native, b"".join(data)) == fold_all(python, b"".join(data))
    assert native.counts == python.counts
    assert native.counts.live_blocks == len(alive)
