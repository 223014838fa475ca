"""Turns what an engine knows of a call path into the log's stacks and codes.

The portable engine knows a frame as (file, line), because that is all tracemalloc keeps, and separately the
code objects that exist. A frame's function is the code object of its file that has instructions on its line.
Where several have (a lambda and the function around it), frames that follow each other on one line are taken
from the outermost inwards, and module code is not taken twice in one path. That is a reconstruction, and on
lines with several functions it can name the wrong one of them; file and line are exact.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from tracekit.events import NO_STACK, Code, Stack
from tracekit.record import linetable
from tracekit.record.slots import TRUNCATED_NODE

UNKNOWN_FUNCTION: Final = "<unknown>"
TRUNCATED: Final = "<frames not recorded>"
MODULE: Final = "<module>"

FRAME_SPECIALS_WORDS: Final = 9
"""Words of a frame beside its locals and stack: FRAME_SPECIALS_SIZE of pycore_frame.h, 3.11 to 3.13."""

WORD_BYTES: Final = 8


def frame_bytes(frame_words: int) -> int:
    """Bytes of one frame with so many locals and stack entries; 0 when that is not known."""
    return (frame_words + FRAME_SPECIALS_WORDS) * WORD_BYTES if frame_words else 0


@dataclass(slots=True)
class _Known:
    """A code object with the lines it has; ``order`` puts outer code before what is nested in it."""

    code_id: int
    qualname: str
    order: tuple[int, int, int]
    lines: frozenset[int]


@dataclass(slots=True)
class _File:
    by_name: dict[tuple[str, int], _Known] = field(default_factory=dict)
    by_line: dict[int, list[_Known]] = field(default_factory=dict)


@dataclass(slots=True)
class _Node:
    stack_id: int
    filename: str
    line: int
    known: _Known | None
    modules: frozenset[int]
    """Code ids of module-level code further up in the path."""


class LineSymbols:
    """Resolves (file, line) frames. New codes and stacks are collected in ``codes`` and ``stacks``."""

    def __init__(self) -> None:
        self.codes: list[Code] = []
        self.stacks: list[Stack] = []
        self._next_code = 1
        self._files: dict[str, _File] = {}
        self._numbers: dict[int, str] = {}
        self._nodes: dict[int, _Node] = {}
        self._unknown: dict[str, int] = {}
        self._frames: dict[int, int] = {}
        self._sites: dict[tuple[int, int, int], int] = {}

    def file(self, number: int, name: str) -> None:
        """A file got a number."""
        self._numbers[number] = name

    def code(self, filename: str, qualname: str, first_line: int, frame_words: int, table: bytes) -> None:
        """A code object was seen. The same one may come again."""
        file = self._files.setdefault(filename, _File())
        lines = linetable.lines(table, first_line)
        known = file.by_name.get((qualname, first_line))
        if known is None:
            code_id = self._define(filename, qualname, first_line, frame_words)
            order = (first_line, qualname.count("."), code_id)
            known = file.by_name[qualname, first_line] = _Known(code_id, qualname, order, frozenset())
        for line in lines - known.lines:
            row = file.by_line.setdefault(line, [])
            row.append(known)
            row.sort(key=lambda entry: entry.order)
        known.lines |= lines

    def line_node(self, number: int, parent: int, file: int, line: int) -> None:
        """A frame in a call path: node ``number`` is (file, line) called from node ``parent``."""
        filename = self._numbers.get(file, UNKNOWN_FUNCTION)
        if parent == TRUNCATED_NODE and parent not in self._nodes:
            self._truncated_node()
        above = self._nodes.get(parent)
        known = self._choose(filename, line, above)
        modules = above.modules if above else frozenset()
        if known is not None and known.qualname == MODULE:
            modules |= {known.code_id}
        code_id = known.code_id if known else self._unknown_code(filename)
        parent_id = above.stack_id if above else NO_STACK
        self._nodes[number] = _Node(number, filename, line, known, modules)
        self._sites[parent_id, code_id, line] = number
        self.stacks.append(Stack(number, parent_id, code_id, line))

    def frame_node(  # noqa: PLR0913, PLR0917 - what a frame is made of
        self, number: int, parent: int, file: int, line: int, first_line: int, qualname: str
    ) -> None:
        """The same where the engine had the code object, so that nothing is reconstructed.

        Its parent is one of these, too. It becomes the stack of a line node, if one is equal.
        """
        filename = self._numbers.get(file, UNKNOWN_FUNCTION)
        place = self._files.get(filename)
        known = place.by_name.get((qualname, first_line)) if place else None
        code_id = known.code_id if known else self._unknown_code(filename)
        site = (self._frames.get(parent, NO_STACK), code_id, line)
        stack_id = self._frames[number] = self._sites.setdefault(site, number)
        if stack_id == number:
            self.stacks.append(Stack(number, *site))

    def map(self, nodes: npt.NDArray[np.int32]) -> None:
        """Replace frame nodes by their stacks, in place; by ``NO_STACK`` if they were never defined."""
        nodes[:] = [self._frames.get(number, NO_STACK) for number in nodes.tolist()]

    def take(self) -> tuple[list[Code], list[Stack]]:
        """Codes and stacks that are new since the last call."""
        codes, self.codes = self.codes, []
        stacks, self.stacks = self.stacks, []
        return codes, stacks

    def _choose(self, filename: str, line: int, above: _Node | None) -> _Known | None:
        file = self._files.get(filename)
        candidates = file.by_line.get(line, []) if file else []
        if above is not None:
            candidates = [known for known in candidates if known.code_id not in above.modules]
        if not candidates:
            return None
        if above is not None and (above.filename, above.line) == (filename, line) and above.known:
            inner = [known for known in candidates if known.order > above.known.order]
            return inner[0] if inner else candidates[-1]
        return candidates[0]

    def _truncated_node(self) -> None:
        """The node above call paths that were cut."""
        code_id = self._define(TRUNCATED, TRUNCATED, 0, 0)
        self._nodes[TRUNCATED_NODE] = _Node(TRUNCATED_NODE, TRUNCATED, 0, None, frozenset())
        self.stacks.append(Stack(TRUNCATED_NODE, NO_STACK, code_id, 0))

    def _unknown_code(self, filename: str) -> int:
        code_id = self._unknown.get(filename)
        if code_id is None:
            code_id = self._unknown[filename] = self._define(filename, UNKNOWN_FUNCTION, 0, 0)
        return code_id

    def _define(self, filename: str, qualname: str, first_line: int, frame_words: int) -> int:
        code_id, self._next_code = self._next_code, self._next_code + 1
        self.codes.append(Code(code_id, filename, qualname, first_line, frame_bytes(frame_words)))
        return code_id
