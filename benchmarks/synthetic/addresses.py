"""Addresses for blocks, recycled as allocators do: the place that was freed last is taken first.

Each size class has a range of addresses and a stack of free places of its own, so that blocks that are alive
never overlap. A batch is worked off without a step of Python an event: what the stack holds at each depth is
found by sorting, and chains of one place that goes from block to block by pointer doubling.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tracekit.log.columns import IntArray

SMALL = 512
ALIGNMENT = 16
SMALL_CLASSES = SMALL // ALIGNMENT + 1
SMALL_BASE, SMALL_RANGE = 0x7F00_0000_0000, 1 << 36
LARGE_BASE, LARGE_PLACES = 1 << 50, 21

Flags = npt.NDArray[np.bool_]


def size_classes(size: IntArray) -> npt.NDArray[np.uint8]:
    """The class of each size: steps of 16 bytes up to 512, then powers of two."""
    small = (size + ALIGNMENT - 1) // ALIGNMENT
    bits = np.ceil(np.log2(np.maximum(size, 1))).astype(np.int64)
    return np.where(size <= SMALL, small, SMALL_CLASSES + bits).astype(np.uint8)


def addresses(classes: npt.NDArray[np.uint8], places: IntArray) -> IntArray:
    """The address of a place of a class."""
    number = classes.astype(np.int64)
    bits = np.maximum(number - SMALL_CLASSES, 0)
    small = SMALL_BASE + number * SMALL_RANGE + places * np.maximum(number, 1) * ALIGNMENT
    large = LARGE_BASE + (np.int64(1) << (bits + LARGE_PLACES)) + (places << bits)
    return np.where(number < SMALL_CLASSES, small, large)


class Places:
    """The free places of one size class, a stack on infinitely many places that were never used."""

    def __init__(self) -> None:
        self._free: IntArray = np.zeros(0, np.int64)
        self._used = 0

    def take(self, is_free: Flags, own: IntArray, place: IntArray) -> IntArray:
        """The places of the allocations of one batch.

        One element an event, in order: ``is_free``, and for a free ``own``, which of these allocations it
        ends (-1: an earlier one), and then ``place``, the place of that one.
        """
        depth = len(self._free) + np.cumsum(np.where(is_free, 1, -1))
        cell = np.where(is_free, depth - 1, depth)
        order = np.argsort(cell, kind="stable")
        before = np.full(len(cell), -1)
        same = cell[order[1:]] == cell[order[:-1]]
        before[order[1:][same]] = order[:-1][same]
        taken = np.flatnonzero(~is_free)
        source = before[taken]  # the free whose place an allocation takes, -1: the stack as it was
        wanted = cell[taken]
        roots = np.where(wanted >= 0, 0, self._used - 1 - wanted)
        old = (wanted >= 0) & (source < 0)
        roots[old] = self._free[wanted[old]]
        earlier = (source >= 0) & (own[source] < 0)
        roots[earlier] = place[source[earlier]]
        parent = np.where((source >= 0) & ~earlier, own[source], np.arange(len(taken)))
        while True:
            further = parent[parent]
            if np.array_equal(further, parent):
                break
            parent = further
        found = roots[parent]
        self._put_back(is_free, cell, np.where(own >= 0, found[own] if len(found) else 0, place), depth)
        return found

    def _put_back(self, is_free: Flags, cell: IntArray, place: IntArray, depth: IntArray) -> None:
        """The stack after the batch."""
        bottom = min(0, int(cell.min()))
        content = np.zeros(int(depth[-1]) - bottom, np.int64)
        kept = min(len(self._free), int(depth[-1]))
        if kept > 0:
            content[-bottom : kept - bottom] = self._free[:kept]
        pushed = np.flatnonzero(is_free & (cell < depth[-1]))
        content[cell[pushed] - bottom] = place[pushed]  # of several the last one counts
        self._free = content
        self._used -= bottom


class Memory:
    """The places of all size classes."""

    def __init__(self) -> None:
        self._classes: dict[int, Places] = {}

    def take(
        self, classes: npt.NDArray[np.uint8], is_free: Flags, block: IntArray, place: IntArray
    ) -> IntArray:
        """The places of the allocations of a batch, in order.

        One element an event: ``classes``, the size class of its block; ``is_free``; ``block``, which of
        these allocations an event makes or ends (-1: it ends an earlier one, whose place is ``place``).
        """
        found = np.zeros(int(np.count_nonzero(~is_free)), np.int64)
        local = np.zeros(len(found), np.int64)
        order = np.argsort(classes, kind="stable")
        present, starts = np.unique(classes[order], return_index=True)
        for number, rows in zip(present.tolist(), np.split(order, starts[1:]), strict=True):
            free, mine = is_free[rows], block[rows]
            made = mine[~free]
            local[made] = np.arange(len(made))
            own = np.full(len(rows), -1)
            again = free & (mine >= 0)
            own[again] = local[mine[again]]
            found[made] = self._classes.setdefault(number, Places()).take(free, own, place[rows])
        return found
