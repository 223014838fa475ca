"""What the portable engine writes about names: files, stack nodes, threads and code objects.

Runs inside the program under observation.
"""

from __future__ import annotations

import _thread
import os
import threading

from tracekit.record.ring import RingWriter
from tracekit.record.slots import (
    CODE_HEAD,
    DEF_CODE,
    DEF_FILE,
    DEF_LINE_NODES,
    DEF_THREAD,
    LINE_NODE,
    MAX_PAYLOAD,
    TRUNCATED_NODE,
    pack_texts,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType

MAIN_THREAD = 1

OWN_FILES = frozenset(
    os.path.join(os.path.dirname(__file__), name)
    for name in (
        "portable.py",
        "inventory.py",
        "naming.py",
        "ring.py",
        "slots.py",
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

    def thread(self) -> int:
        """Number of the calling thread."""
        ident = _thread.get_ident()
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


class _Everything(set[str]):
    """Stands for "every name of this file was seen". No name is empty, and ``bool`` is not Python code."""

    __contains__ = bool
