"""Trees whose nodes know their parents: each is thrown away when the next is built."""

from __future__ import annotations


class Node:
    def __init__(self, parent: Node | None, depth: int) -> None:
        self.parent = parent
        self.children = [Node(self, depth - 1) for _ in range(3)] if depth else []


for _ in range(150):
    root = Node(None, 6)
    weight = len(root.children)
