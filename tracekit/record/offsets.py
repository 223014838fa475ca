"""Turns what the native engine knows of a call path into the log's stacks and codes.

The native engine knows a frame as (code object, offset of the instruction). One call site can show two
offsets, since CPython 3.11 and 3.12 specialise instructions while they run: the general instruction and its
specialised form stop at different inline cache entries. Frames are therefore told apart by the line that the
location table gives the offset, and nodes of the ring that differ in nothing else become one stack of the
log. That also makes one stack of a call path that gets another number, as those do which the engine forgot.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
import numpy.typing as npt

from tracekit.events import NO_STACK, Code
from tracekit.record import layouts, linetable
from tracekit.record.ringfile import kernels
from tracekit.record.symbols import UNKNOWN_FUNCTION, frame_bytes

CODE_UNIT_BYTES: Final = 2
MOST_CODES: Final = 1 << 24
"""Numbers of code objects from here on are one and the same."""
MOST_AHEAD: Final = 1 << 20
"""Nodes are numbered one after another: one so far beyond the highest so far is left out."""
LINE_MAX: Final = 2**31 - 1

StackRows = npt.NDArray[np.int32]
"""New stacks of the log, a row each: stack, stack above, code, line."""


class Resolver(Protocol):
    """Makes stacks of nodes; knows code objects by their number in the ring and the one in the log."""

    def code(self, number: int, code_id: int, first_line: int, table: bytes, /) -> None:
        """A code object has this ``co_linetable``, which is that of all with this ``code_id``."""

    def nodes(self, data: bytes, at: int, /) -> tuple[int, int]:
        """Take in the payload of nodes from number ``at`` on.

        Returns where it ended and the number of the code object that is not known there, or -1.
        """

    def map(self, nodes: StackRows, /) -> None:
        """Replace every node by its stack, in place; by ``NO_STACK`` if it was never defined."""

    def take(self) -> bytes:
        """The stacks that are new since the last call, as the bytes of ``StackRows``."""


def new_resolver() -> Resolver:
    """The fastest resolver there is."""
    if kernels is None:
        return PythonResolver()
    return kernels.Stacks()


class OffsetSymbols:
    """Resolves (code, offset) frames."""

    def __init__(self) -> None:
        self._resolver = new_resolver()
        self._codes: list[Code] = []
        self._by_value: dict[tuple[str, str, int, int, bytes], int] = {}

    def code(  # noqa: PLR0913, PLR0917 - what a code object is made of
        self, number: int, filename: str, qualname: str, first_line: int, frame_words: int, table: bytes
    ) -> None:
        """A code object got a number. Equal ones (compiled again, say) are one code of the log."""
        key = (filename, qualname, first_line, frame_words, table)
        code_id = self._by_value.get(key)
        if code_id is None:
            code_id = self._by_value[key] = len(self._by_value) + 1
            self._codes.append(Code(code_id, filename, qualname, first_line, frame_bytes(frame_words)))
        self._resolver.code(number, code_id, first_line, table)

    def nodes(self, data: bytes) -> None:
        """Nodes as they are in the ring (``layouts.CODE_NODE``)."""
        at, unknown = self._resolver.nodes(data, 0)
        while unknown >= 0:
            self.code(unknown, UNKNOWN_FUNCTION, UNKNOWN_FUNCTION, 0, 0, b"")
            at, unknown = self._resolver.nodes(data, at)

    def map(self, nodes: StackRows) -> None:
        """Replace every node by the log's stack, in place; those that were never defined have none."""
        self._resolver.map(nodes)

    def take(self) -> tuple[list[Code], StackRows]:
        """Codes and stacks that are new since the last call."""
        codes, self._codes = self._codes, []
        return codes, np.frombuffer(self._resolver.take(), np.int32).reshape(-1, 4)


@dataclass(frozen=True, slots=True)
class _Lines:
    """Lines of a code object by offset: ``line[i]`` holds up to ``end[i]`` bytes, None for "no line"."""

    code_id: int
    first_line: int
    end: list[int]
    line: list[int | None]

    def at(self, offset: int) -> int:
        place = bisect_right(self.end, offset)
        found = self.line[place] if place < len(self.line) else None
        return self.first_line if found is None else found


class PythonResolver:
    """What the compiled kernels do, in Python."""

    def __init__(self) -> None:
        self._by_number: dict[int, _Lines] = {}
        self._by_id: dict[int, _Lines] = {}
        self._sites: dict[tuple[int, int, int], int] = {}
        self._stack_ids = np.zeros(1 << 12, np.int32)
        self._top = 0
        self._new: list[int] = []

    def code(self, number: int, code_id: int, first_line: int, table: bytes, /) -> None:
        """See :class:`Resolver`."""
        known = self._by_id.get(code_id)
        if known is None:
            known = self._by_id[code_id] = _decoded(code_id, first_line, table)
        self._by_number[min(number, MOST_CODES)] = known

    def nodes(self, data: bytes, at: int, /) -> tuple[int, int]:
        """See :class:`Resolver`."""
        for parent, code, offset, number in _nodes(data, at):
            lines = self._by_number.get(min(code, MOST_CODES))
            if lines is None:
                return at, code
            at += 1
            if number <= self._top + MOST_AHEAD:
                self._node(number, parent, lines, offset)
        return at, -1

    def _node(self, number: int, parent: int, lines: _Lines, offset: int) -> None:
        above = int(self._stack_ids[parent]) if parent < len(self._stack_ids) else NO_STACK
        line = lines.at(offset)
        site = (above, lines.code_id, line)
        stack_id = self._sites.get(site)
        if stack_id is None:
            stack_id = self._sites[site] = len(self._sites) + 1
            self._new += (stack_id, *site)
        if number >= len(self._stack_ids):
            grown = np.zeros(max(2 * len(self._stack_ids), number + 1), np.int32)
            grown[: len(self._stack_ids)] = self._stack_ids
            self._stack_ids = grown
        self._stack_ids[number] = stack_id
        self._top = max(self._top, number)

    def map(self, nodes: StackRows, /) -> None:
        """See :class:`Resolver`."""
        inside = (nodes >= 0) & (nodes < len(self._stack_ids))
        nodes[:] = np.where(inside, self._stack_ids[np.where(inside, nodes, 0)], np.int32(NO_STACK))

    def take(self) -> bytes:
        """See :class:`Resolver`."""
        new, self._new = self._new, []
        return np.array(new, np.int32).tobytes()


def _nodes(data: bytes, at: int) -> Iterator[tuple[int, int, int, int]]:
    whole = len(data) // layouts.CODE_NODE.size
    for number in range(at, whole):
        parent, code, offset, node = layouts.CODE_NODE.unpack_from(data, number * layouts.CODE_NODE.size)
        yield parent, code, offset, node


def _decoded(code_id: int, first_line: int, table: bytes) -> _Lines:
    """The lines of a location table, up to one that none can be."""
    ends: list[int] = []
    lines: list[int | None] = []
    at = 0
    for units, line in linetable.entries(table, first_line):
        if line is not None and abs(line) > LINE_MAX:
            break
        at += units * CODE_UNIT_BYTES
        if lines and lines[-1] == line:
            ends[-1] = at
        else:
            ends.append(at)
            lines.append(line)
    return _Lines(code_id, first_line, ends, lines)
