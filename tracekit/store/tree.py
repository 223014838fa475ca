"""The call tree laid out in a row, so that the subtree of a node is a range.

Numbered in preorder, a node and everything below it have the numbers from its ``position`` to its
``last_position``. What a function and all that it calls have allocated is then the difference of two running
sums: totals over a tree of any size take one pass and no recursion.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

NO_NODE = -1


@dataclass(frozen=True, slots=True)
class Layout:
    """One entry a node, in the order of the nodes."""

    position: list[int]
    """Number in preorder, from 0; siblings in the order of their own numbers."""
    last_position: list[int]
    """The largest number in the subtree; that of the node itself when it calls nothing."""
    outermost: list[bool]
    """No caller of the node runs the same code. Summing over these alone counts a recursion once."""


def lay_out(parents: Sequence[int], codes: Sequence[int]) -> Layout:
    """Lay out a forest.

    ``parents`` are indices into the sequence itself, each smaller than that of the node, or ``NO_NODE`` for
    a root; ``codes`` are the numbers of the code objects.
    """
    count = len(parents)
    size = [1] * count
    for node in range(count - 1, -1, -1):
        if parents[node] != NO_NODE:
            size[parents[node]] += size[node]
    position = [0] * count
    free = [0] * count
    roots = 0
    for node, parent in enumerate(parents):
        if parent == NO_NODE:
            position[node] = roots
            roots += size[node]
        else:
            position[node] = free[parent]
            free[parent] += size[node]
        free[node] = position[node] + 1
    last = [first + nodes - 1 for first, nodes in zip(position, size, strict=True)]
    outermost = [True] * count
    covered: dict[int, int] = {}
    for node in sorted(range(count), key=position.__getitem__):
        outermost[node] = position[node] > covered.get(codes[node], -1)
        if outermost[node]:
            covered[codes[node]] = last[node]
    return Layout(position, last, outermost)
