"""Whose code a call path runs: the program's own, an installed package's, or the standard library's.

A line of the standard library that allocates seldom says who is to blame; the line of the program that called
it does. What was allocated while a module was being imported is there to stay, and is no leak.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from tracekit.store.database import Store

IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]

_STANDARD = re.compile(r"<|(?:^|.*/)lib(?:64)?/python\d+\.\d+\w*/", re.DOTALL)
_INSTALLED = re.compile(r"/(?:site|dist)-packages/")
_TYPED = re.compile(r"<(?:stdin|console|ipython-input|python-input)")
_RECORDER = re.compile(r"(?:^|/)tracekit/(?:record|_native)/[^/]+\.py$")
_IMPORTING = "<frozen importlib._bootstrap"
_LAUNCHERS = re.compile(r"/bin/[^/]+$")
_MODULE = "<module>"


class Owner(IntEnum):
    """Whose a code object is; of a call path the largest owner is the most interesting."""

    NOBODY = 0
    STANDARD_LIBRARY = 1
    PACKAGE = 2
    PROGRAM = 3


def owner_of(filename: str, qualname: str, *, command: bool, own: Sequence[str] = ()) -> Owner:
    """Whose the code is, by its file name.

    ``own`` are beginnings of file names that are the program's whatever else they look like. The standard
    library is what lies in ``lib/pythonX.Y`` and what has no file; installed packages lie in site-packages
    or dist-packages. Code typed or given with ``-c`` (``command``) is the program's. The top level of a
    script in a folder ``bin`` is the launcher that pip writes; it and the recorder's own code count as the
    standard library's.
    """
    if any(filename.startswith(prefix) for prefix in own):
        return Owner.PROGRAM
    if _INSTALLED.search(filename):
        return Owner.PACKAGE
    if (command and filename == "<string>") or _TYPED.match(filename):
        return Owner.PROGRAM
    if _STANDARD.match(filename) or _RECORDER.search(filename):
        return Owner.STANDARD_LIBRARY
    if qualname == _MODULE and _LAUNCHERS.search(filename):
        return Owner.STANDARD_LIBRARY
    return Owner.PROGRAM


@dataclass(frozen=True, slots=True)
class CallPaths:
    """All call paths of a recording. Arrays have one entry a node; entry 0 stands for "no call path".

    ``names`` are the (file, function) pairs that ``code`` points into. ``site`` is the innermost node of the
    path that belongs to the program, else to a package, else the node itself. ``importing`` is true while
    a module is being imported.
    """

    stack_id: IntArray
    parent: IntArray
    line: IntArray
    code: IntArray
    site: IntArray
    importing: BoolArray
    names: list[tuple[str, str]]
    levels: list[slice]
    """The nodes of each depth, callers before what they call."""

    def nodes(self, stack_ids: IntArray) -> IntArray:
        """The nodes with these stack_ids; 0 for one that is not there."""
        return _positions(self.stack_id, stack_ids)

    def path(self, node: int) -> list[tuple[str, int, str]]:
        """The frames (file, line, function) of a call path, outermost first."""
        frames = []
        while node:
            frames.append(self.frame(node))
            node = int(self.parent[node])
        return frames[::-1]

    def frame(self, node: int) -> tuple[str, int, str]:
        """The innermost frame of a call path: file, line, function."""
        file, function = self.names[int(self.code[node])]
        return file, int(self.line[node]), function

    def alike(self) -> IntArray:
        """A number for each node, equal where the whole path is the same text."""
        numbers = np.zeros(len(self.stack_id), np.int64)
        count = 1
        for level in self.levels:
            rows = np.stack([numbers[self.parent[level]], self.code[level], self.line[level]], axis=1)
            distinct, numbers[level] = np.unique(rows, axis=0, return_inverse=True)
            numbers[level] += count
            count += len(distinct)
        return numbers


def load_call_paths(store: Store, *, own: Sequence[str] = ()) -> CallPaths:
    """Read the call tree of a store; ``own`` is as in :func:`owner_of`."""
    command = store.header.argv[:1] == ["-c"]
    with store.cursor() as cursor:
        trace: dict[str, Any] = {"trace": store.trace_id}
        codes = cursor.execute(
            "SELECT code_id, filename, qualname FROM codes WHERE trace_id = $trace ORDER BY code_id", trace
        ).fetchall()
        columns = cursor.execute(
            """SELECT stack_id::BIGINT AS stack_id, parent_id::BIGINT AS parent_id,
                      code_id::BIGINT AS code_id, line::BIGINT AS line, depth::BIGINT AS depth
               FROM stacks WHERE trace_id = $trace ORDER BY depth, stack_id""",
            trace,
        ).fetchnumpy()
    names: dict[tuple[str, str], int] = {("<unknown>", "<unknown>"): 0}
    number_of = {code_id: names.setdefault((file, name), len(names)) for code_id, file, name in codes}
    stack_id, parent_id, code_id, line, depth = (
        np.concatenate(([0], np.ma.getdata(columns[name])))
        for name in ("stack_id", "parent_id", "code_id", "line", "depth")
    )
    known, inverse = np.unique(code_id, return_inverse=True)
    code = np.array([number_of.get(int(number), 0) for number in known], np.int64)[inverse]
    parent = _positions(stack_id, parent_id)
    edges = [*(np.flatnonzero(np.diff(depth)) + 1).tolist(), len(depth)]
    levels = [slice(start, stop) for start, stop in pairwise(edges)]
    owners = np.array([owner_of(*name, command=command, own=own) for name in names], np.int64)
    owners[0] = Owner.NOBODY
    imports = np.array([file.startswith(_IMPORTING) for file, _ in names])
    site, importing = _inherit(levels, parent, owners[code], imports[code])
    return CallPaths(stack_id, parent, line, code, site, importing, list(names), levels)


def _positions(numbers: IntArray, wanted: IntArray) -> IntArray:
    """Where each of the wanted is among the numbers; 0 for one that is not."""
    order = np.argsort(numbers, kind="stable")
    at = order[np.searchsorted(numbers, wanted, sorter=order).clip(max=len(numbers) - 1)]
    return np.where(numbers[at] == wanted, at, 0)


def _inherit(
    levels: list[slice], parent: IntArray, owner: IntArray, imports: BoolArray
) -> tuple[IntArray, BoolArray]:
    """What a path is by all of its frames, from the callers down."""
    site = np.arange(len(parent))
    importing = imports.copy()
    for level in levels:
        above = site[parent[level]]
        site[level] = np.where(owner[level] >= owner[above], site[level], above)
        importing[level] |= importing[parent[level]]
    return site, importing
