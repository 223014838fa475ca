"""The heap at an instant as a call tree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from msgspec import Struct, field

from tracekit.replay.moment import Moment
from tracekit.store.database import Store

_NODES = """
SELECT stack_id, parent_id, coalesce(function, '<unknown>'), coalesce(file, '<unknown>'), line, bytes, blocks,
       total_bytes, total_blocks
FROM heap_tree($seq, trace := $trace) WHERE total_bytes >= $least AND ($depth IS NULL OR depth <= $depth)
"""
_TOTALS = """
SELECT coalesce(sum(h.size), 0), count(*), coalesce(sum(h.size) FILTER (s.stack_id IS NULL), 0),
       count(*) FILTER (s.stack_id IS NULL)
FROM heap_at($seq, trace := $trace) h LEFT JOIN stacks s ON s.trace_id = $trace AND s.stack_id = h.stack_id
"""
NO_STACK = 0


class Node(Struct, frozen=True):
    """A line of a function, called along one path: what its own allocations hold, and with all below it.

    ``bytes`` and ``blocks`` are its own, ``total_bytes`` and ``total_blocks`` include everything that it
    called. ``children`` are what it called, the largest total first. ``stack_id`` stands for the path in SQL;
    the node without one (0, ``<unknown>``) holds what was allocated while no Python code ran.
    """

    stack_id: int
    function: str
    file: str
    line: int
    bytes: int
    blocks: int
    total_bytes: int
    total_blocks: int
    children: list[Node] = field(default_factory=list)


class Tree(Struct, frozen=True):
    """The call tree of a heap: its ``roots``, the largest total first. Totals are of the whole heap."""

    moment: Moment
    total_bytes: int
    total_blocks: int
    roots: list[Node]

    def walk(self) -> Iterator[tuple[int, Node]]:
        """All nodes with their depth, from 1: parents before children, the largest total first."""
        pending = [(1, node) for node in reversed(self.roots)]
        while pending:
            depth, node = pending.pop()
            yield depth, node
            pending.extend((depth + 1, child) for child in reversed(node.children))


def call_tree(store: Store, moment: Moment, min_bytes: int = 0, depth: int | None = None) -> Tree:
    """The heap at ``moment`` as a tree; see :meth:`tracekit.replay.heap.Heap.tree`."""
    at: dict[str, object] = {"seq": moment.seq, "trace": store.trace_id}
    size, blocks, pathless_size, pathless_blocks = _row(store, _TOTALS, at)
    roots: list[Node] = []
    nodes: dict[int, Node] = {}
    parents: dict[int, int] = {}
    row: Any
    for row in store.query(_NODES, at | {"least": min_bytes, "depth": depth}).rows():
        stack_id, parent_id, *rest = row
        nodes[stack_id] = Node(stack_id, *rest)
        parents[stack_id] = parent_id
    for stack_id, node in nodes.items():
        parent = nodes.get(parents[stack_id])  # of a damaged log it may be lost
        (parent.children if parent is not None else roots).append(node)
    if pathless_blocks and pathless_size >= min_bytes:
        own = (pathless_size, pathless_blocks)
        roots.append(Node(NO_STACK, "<unknown>", "<unknown>", 0, *own, *own))
    for siblings in (roots, *(node.children for node in nodes.values())):
        siblings.sort(key=_largest_first)
    return Tree(moment, size, blocks, roots)


def _largest_first(node: Node) -> tuple[int, int, str, str, int, int]:
    return (-node.total_bytes, -node.total_blocks, node.function, node.file, node.line, node.stack_id)


def _row(store: Store, statement: str, parameters: dict[str, object]) -> Any:
    return next(store.query(statement, parameters).rows())
