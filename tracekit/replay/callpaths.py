"""Call paths as a cursor needs them: by number, loaded in batches and kept."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tracekit.replay.rows import UNKNOWN
from tracekit.store.database import Store

_NODES = """
WITH RECURSIVE wanted AS (
    SELECT unnest($nodes::INTEGER[]) AS stack_id
    UNION
    SELECT s.parent_id FROM wanted w JOIN stacks s ON s.stack_id = w.stack_id AND s.trace_id = $trace
    WHERE s.parent_id > 0
)
SELECT s.stack_id, s.parent_id, s.code_id, s.line, c.filename, c.qualname, module_name(c.filename, t.cwd)
FROM wanted w JOIN stacks s ON s.stack_id = w.stack_id AND s.trace_id = $trace
LEFT JOIN codes c ON c.code_id = s.code_id AND c.trace_id = $trace
JOIN traces t ON t.trace_id = $trace
"""


class Node(NamedTuple):
    """One node of the call tree, which stands for the path from the root to it."""

    stack_id: int
    parent_id: int
    code_id: int
    line: int
    file: str
    function: str
    module: str

    @property
    def site(self) -> str:
        """The key of ``heap_by('site')``."""
        return f"{self.file}:{self.line} ({self.function})"


class CallPaths:
    """The nodes of one trace, as far as they were asked for."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._nodes: dict[int, Node | None] = {0: None}
        self._paths: dict[int, str] = {}

    def load(self, stack_ids: Iterable[int]) -> None:
        """Have these at hand, with their callers: one query for those that are not there yet."""
        missing = {stack_id for stack_id in stack_ids if stack_id not in self._nodes}
        if not missing:
            return
        self._nodes.update(dict.fromkeys(missing))  # what the trace does not define stays unknown
        given = {"nodes": sorted(missing), "trace": self._store.trace_id}
        for stack_id, parent_id, code_id, line, *names in self._store.query(_NODES, given).rows():
            self._nodes[int(str(stack_id))] = Node(
                int(str(stack_id)),
                int(str(parent_id)),
                int(str(code_id)),
                int(str(line)),
                *(UNKNOWN if name is None else str(name) for name in names),
            )

    def node(self, stack_id: int) -> Node | None:
        """The node, None for "no call path" and for what the trace does not define."""
        if stack_id not in self._nodes:
            self.load([stack_id])
        return self._nodes[stack_id]

    def path(self, stack_id: int) -> list[Node]:
        """The nodes from the innermost frame to the root."""
        found = []
        node = self.node(stack_id)
        while node is not None:
            found.append(node)
            node = self.node(node.parent_id)
        return found

    def key(self, by: str, stack_id: int) -> str:
        """The key of a call path as ``heap_by`` forms it, by site, function, file, module or stack."""
        node = self.node(stack_id)
        if node is None:
            return UNKNOWN
        if by == "site":
            return node.site
        if by == "function":
            return f"{node.function} ({node.file})"
        if by in ("file", "module"):
            return node.file if by == "file" else node.module
        if stack_id not in self._paths:
            frames = (f"{n.function} ({n.file.rpartition('/')[2]}:{n.line})" for n in self.path(stack_id))
            self._paths[stack_id] = ";".join(reversed(list(frames)))
        return self._paths[stack_id]
