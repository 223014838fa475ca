"""What a block belongs to when leaks are added up: a number for each group, and its name."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from tracekit.errors import UsageError
from tracekit.replay.lifespans import PARTS, Blocks, IntArray
from tracekit.replay.ownership import CallPaths
from tracekit.replay.rows import UNKNOWN
from tracekit.store.database import Store

GROUPINGS = ("site", "innermost", "function", "file", "type", "stack", "thread", "domain")
"""How leaks can be grouped. Site, function and file are those of the innermost frame of the program's own
code (:class:`~tracekit.replay.ownership.Owner`); innermost is the line that allocated, whoever's it is."""

_NAMES = {
    "type": "SELECT type_id, name FROM types WHERE trace_id = $trace ORDER BY type_id",
    "thread": "SELECT thread_id, name FROM threads WHERE trace_id = $trace ORDER BY thread_id",
    "domain": """
        SELECT enum_code(d.name::allocator_domain)::BIGINT, d.name
        FROM traces, (SELECT unnest(enum_range(NULL::allocator_domain)) AS name) d WHERE trace_id = $trace""",
}
_LINE_BITS = 32

Frame = tuple[str | None, int | None, str | None]
"""File, line and function; None for what a group does not have."""


def names_of(store: Store, part: str) -> dict[int, str]:
    """The names of the types, threads or domains of a recording by their numbers."""
    found = store.query(_NAMES[part], {"trace": store.trace_id}).rows()
    return {int(str(number)): str(name) for number, name in found}


class Keys:
    """The groups of one grouping. Blocks with an equal number are of one group."""

    def __init__(self, store: Store, by: str, paths: CallPaths) -> None:
        if by not in GROUPINGS:
            raise UsageError(f"leaks are not grouped by {by!r}", hint=f"possible are {', '.join(GROUPINGS)}")
        self.by = by
        self.part = by if by in PARTS else ""
        self._paths = paths
        self._names = names_of(store, by) if self.part else {}
        self._numbers = _numbers([UNKNOWN, *self._names.values()])
        self._of_node = self._nodes()

    def of(self, node: IntArray, part: IntArray) -> IntArray:
        """The number of the group of each row, from the nodes of its call path and its part."""
        if self._of_node is not None:
            return self._of_node[node]
        distinct, inverse = np.unique(part, return_inverse=True)
        names = (self._names.get(int(number), UNKNOWN) for number in distinct)
        return np.array([self._numbers[name] for name in names], np.int64)[inverse]

    def _nodes(self) -> IntArray | None:
        """The number of the group of each node; None when a group is not of call paths."""
        paths = self._paths
        at = np.arange(len(paths.site)) if self.by == "innermost" else paths.site
        match self.by:
            case "site" | "innermost":
                return (paths.code[at] << _LINE_BITS) | (paths.line[at] & ((1 << _LINE_BITS) - 1))
            case "function":
                return paths.code[at]
            case "file":
                numbers = _numbers([file for file, _ in paths.names])
                return np.array([numbers[file] for file, _ in paths.names], np.int64)[paths.code[at]]
            case "stack":
                return paths.alike()
        return None

    def label(self, node: int, part: int) -> tuple[str, Frame]:
        """The name of the group that a block with this call path and part is of, and where it is."""
        at = node if self.by == "innermost" else int(self._paths.site[node])
        file, line, function = self._paths.frame(at)
        known = file if at else None
        match self.by:
            case "site" | "innermost":
                text = f"{file}:{line} ({function})" if at else UNKNOWN
                return text, (known, line if at else None, function if at else None)
            case "function":
                return (f"{function} ({file})" if at else UNKNOWN), (known, None, function if at else None)
            case "file":
                return file, (known, None, None)
            case "stack":
                frames = self._paths.path(node)
                text = ";".join(f"{name} ({file.rpartition('/')[2]}:{line})" for file, line, name in frames)
                return text or UNKNOWN, (None, None, None)
        return self._names.get(part, UNKNOWN), (None, None, None)

    def rows(self, blocks: Blocks) -> tuple[IntArray, IntArray]:
        """The nodes of the call paths of blocks, and the numbers of their groups."""
        node = self._paths.nodes(blocks.stack_id)
        return node, self.of(node, blocks.part)


def _numbers(names: Iterable[str]) -> dict[str, int]:
    """A number for each name; equal names have the same."""
    found: dict[str, int] = {}
    for name in names:
        found.setdefault(name, len(found))
    return found
