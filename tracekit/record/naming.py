"""What the portable engine writes about names: files, stack nodes, threads and code objects.

Runs inside the program under observation.
"""

from __future__ import annotations

import _thread
import os
import sys
import threading

from tracekit.record.layouts import CODE_HEAD, FRAME_NODE, LINE_NODE
from tracekit.record.ring import RingWriter
from tracekit.record.slots import (
    DEF_CODE,
    DEF_FILE,
    DEF_FRAME_NODE,
    DEF_LINE_NODES,
    MAX_PAYLOAD,
    TRUNCATED_NODE,
)
from tracekit.record.texts import DEF_THREAD, pack_texts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, FrameType

MAIN_THREAD = 1

OWN_FILES = frozenset(
    os.path.join(os.path.dirname(__file__), name)
    for name in (
        "portable.py",
        "inventory.py",
        "naming.py",
        "ring.py",
        "slots.py",
        "texts.py",
        "signals.py",
        "active.py",
        "api.py",
        "bootstrap.py",
        "forks.py",
        "join.py",
        "_site/sitecustomize.py",
    )
)


class Symbols:
    """Numbers for files, stack nodes and threads, defined in the ring before their first use."""

    def __init__(self, ring: RingWriter) -> None:
        self._ring = ring
        self._files: dict[str, int] = {}
        self._children: dict[int, dict[tuple[str, int], int]] = {0: {}, TRUNCATED_NODE: {}}
        self._next_node = TRUNCATED_NODE + 1
        self._fresh = bytearray()
        self._exact: dict[tuple[int, tuple[str, int, str, int]], int] = {}
        self._told: set[tuple[str, str, int]] = set()
        self._threads: dict[int, int] = {}
        self._next_thread = MAIN_THREAD
        self.codes: dict[str, set[str]] = {own: _Everything() for own in OWN_FILES}

    def file(self, name: str) -> int:
        """Number of a file name."""
        number = self._files.get(name)
        if number is None:
            number = self._files[name] = len(self._files) + 1
            self._ring.define(DEF_FILE, number, pack_texts(name))
        return number

    def node(self, frames: tuple[tuple[str, int], ...], total: int) -> int:
        """The stack node of a traceback, whose frames are given most recent first."""
        node = TRUNCATED_NODE if total > len(frames) else 0
        for frame in reversed(frames):
            children = self._children[node]
            child = children.get(frame)
            if child is None:
                child = self._next_node
                self._next_node += 1
                children[frame] = child
                self._children[child] = {}
                self._fresh += LINE_NODE.pack(child, node, self.file(frame[0]), frame[1])
            node = child
        if len(self._fresh) > MAX_PAYLOAD - 4096:
            self.flush()
        return node

    def flush(self) -> None:
        """Define the nodes that are new."""
        if self._fresh:
            payload, self._fresh = bytes(self._fresh), bytearray()
            self._ring.define(DEF_LINE_NODES, 0, payload)

    def path(self, frames: list[tuple[CodeType, int]]) -> int:
        """The stack node of frames, the innermost first; with their code objects nothing is guessed."""
        node = 0
        for code, line in reversed(frames):
            key = (code.co_filename, line, code.co_qualname, code.co_firstlineno)
            child = self._exact.get((node, key))
            if child is None:
                child = self._exact[node, key] = self._next_node
                self._next_node += 1
                name = (code.co_filename, code.co_qualname, code.co_firstlineno)
                if name not in self._told:
                    self._told.add(name)
                    self.code(code)
                head = FRAME_NODE.pack(child, node, self.file(code.co_filename), line, code.co_firstlineno)
                self._ring.define(DEF_FRAME_NODE, 0, head + pack_texts(code.co_qualname))
            node = child
        return node

    def thread(self, ident: int = 0) -> int:
        """Number of a thread, by default the calling one."""
        ident = ident or _thread.get_ident()
        number = self._threads.get(ident)
        if number is None:
            number = self._threads[ident] = min(self._next_thread, 65_535)
            self._next_thread += 1
            known = threading._active.get(ident)  # type: ignore[attr-defined] # noqa: SLF001
            self._ring.define(DEF_THREAD, number, pack_texts(known.name if known else f"thread {number}"))
        return number

    def forget_thread(self) -> None:
        """The calling thread ends; its ident may be used again."""
        self._threads.pop(_thread.get_ident(), None)

    def code(self, code: CodeType) -> None:
        """Define a code object and all that are nested in it."""
        waiting = [code]
        while waiting:
            code = waiting.pop()
            names = self.codes.setdefault(code.co_filename, set())
            names.add(code.co_qualname)
            words = len({*code.co_varnames, *code.co_cellvars, *code.co_freevars}) + code.co_stacksize
            head = CODE_HEAD.pack(code.co_firstlineno, words) + pack_texts(code.co_filename, code.co_qualname)
            table = code.co_linetable
            room = MAX_PAYLOAD - len(head) - 8
            self._ring.define(DEF_CODE, 0, head + (table if len(table) < room else b""))
            # Classes and functions that were not called yet are found here: in the constants of their module.
            waiting += [constant for constant in code.co_consts if isinstance(constant, type(code))]


def call_paths() -> list[tuple[int, list[tuple[CodeType, int]]]]:
    """Code and line of all frames by thread, the innermost first; of ours those that the program called.

    The calling thread comes first. Nothing, if an audit hook of the program does not allow it.
    """
    try:
        tops = sys._current_frames()  # noqa: SLF001
    except Exception:  # noqa: BLE001
        return []
    mine = _thread.get_ident()
    paths: list[tuple[int, list[tuple[CodeType, int]]]] = []
    frame: FrameType | None
    for ident, frame in tops.items():
        while frame is not None and frame.f_code.co_filename in OWN_FILES:
            frame = frame.f_back  # noqa: PLW2901
        path: list[tuple[CodeType, int]] = []
        while frame is not None:
            path.append((frame.f_code, frame.f_lineno or 0))
            frame = frame.f_back  # noqa: PLW2901
        if ident == mine:
            paths.insert(0, (ident, path))
        elif path:
            paths.append((ident, path))
    tops.clear()  # frames of other threads must not wait for us when they are left
    return paths


class _Everything(set[str]):
    """Stands for "every name of this file was seen". No name is empty, and ``bool`` is not Python code."""

    __contains__ = bool
