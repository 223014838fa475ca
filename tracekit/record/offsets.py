"""Turns what the native engine knows of a call path into the log's stacks and codes.

The native engine knows a frame as (code object, offset of the instruction). One call site can show two offsets,
since CPython 3.11 and 3.12 specialise instructions while they run: the general instruction and its specialised
form stop at different inline cache entries. Frames are therefore told apart by the line that the location
table gives the offset, and nodes of the ring that differ in nothing else become one stack of the log.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tracekit.events import NO_STACK, Code, Stack
from tracekit.record import linetable
from tracekit.record.symbols import UNKNOWN_FUNCTION, frame_bytes

CODE_UNIT_BYTES: Final = 2


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


class OffsetSymbols:
    """Resolves (code, offset) frames. New codes and stacks are collected in ``codes`` and ``stacks``."""

    def __init__(self) -> None:
        self.codes: list[Code] = []
        self.stacks: list[Stack] = []
        self._by_number: dict[int, _Lines] = {}
        self._by_value: dict[tuple[str, str, int, int, bytes], _Lines] = {}
        self._sites: dict[tuple[int, int, int], int] = {}
        self._stack_ids = np.zeros(1 << 12, np.int32)

    def code(
        self, number: int, filename: str, qualname: str, first_line: int, frame_words: int, table: bytes
    ) -> None:
        """A code object got a number. Equal ones (compiled again, say) are one code of the log."""
        key = (filename, qualname, first_line, frame_words, table)
        known = self._by_value.get(key)
        if known is None:
            code_id = len(self._by_value) + 1
            self.codes.append(Code(code_id, filename, qualname, first_line, frame_bytes(frame_words)))
            known = self._by_value[key] = _decoded(code_id, first_line, table)
        self._by_number[number] = known

    def node(self, number: int, parent: int, code: int, offset: int) -> None:
        """Node ``number`` is ``code`` stopped at ``offset``, called from the node ``parent``."""
        lines = self._by_number.get(code)
        if lines is None:
            lines = self._unknown(code)
        above = int(self._stack_ids[parent]) if parent < len(self._stack_ids) else NO_STACK
        line = lines.at(offset)
        site = (above, lines.code_id, line)
        stack_id = self._sites.get(site)
        if stack_id is None:
            stack_id = self._sites[site] = len(self._sites) + 1
            self.stacks.append(Stack(stack_id, above, lines.code_id, line))
        if number >= len(self._stack_ids):
            grown = np.zeros(max(2 * len(self._stack_ids), number + 1), np.int32)
            grown[: len(self._stack_ids)] = self._stack_ids
            self._stack_ids = grown
        self._stack_ids[number] = stack_id

    def stack_ids(self, nodes: npt.NDArray[np.int32]) -> npt.NDArray[np.int32]:
        """The log's stack of every node; those that were never defined have none."""
        try:
            found: npt.NDArray[np.int32] = self._stack_ids[nodes]
        except IndexError:
            inside = nodes < len(self._stack_ids)
            return np.where(inside, self._stack_ids[np.where(inside, nodes, 0)], np.int32(NO_STACK))
        return found

    def take(self) -> tuple[list[Code], list[Stack]]:
        """Codes and stacks that are new since the last call."""
        codes, self.codes = self.codes, []
        stacks, self.stacks = self.stacks, []
        return codes, stacks

    def _unknown(self, number: int) -> _Lines:
        self.code(number, UNKNOWN_FUNCTION, UNKNOWN_FUNCTION, 0, 0, b"")
        return self._by_number[number]


def _decoded(code_id: int, first_line: int, table: bytes) -> _Lines:
    ends: list[int] = []
    lines: list[int | None] = []
    at = 0
    for units, line in linetable.entries(table, first_line):
        at += units * CODE_UNIT_BYTES
        if lines and lines[-1] == line:
            ends[-1] = at
        else:
            ends.append(at)
            lines.append(line)
    return _Lines(code_id, first_line, ends, lines)
