"""The heap at an instant: added up by what it can be grouped by, as a call tree, or block by block."""

from __future__ import annotations

from collections.abc import Collection
from functools import cached_property
from typing import TYPE_CHECKING

from msgspec import Struct

from tracekit.errors import UsageError
from tracekit.replay.calltree import Tree, call_tree
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.replay.rows import integer, live_at
from tracekit.replay.stacks import StackSegment, stack_segments
from tracekit.store.database import Store

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

GROUPINGS = (
    *("site", "function", "file", "module", "type", "stack", "thread", "domain"),
    *("size_class", "age"),
)
"""How a heap can be grouped; the macro ``heap_by`` of the store forms the keys."""

BY_ORIGIN = tuple(by for by in GROUPINGS if by not in ("size_class", "age"))
"""Those of them that say where a block comes from and what it is, at whatever moment."""


class Group(Struct, frozen=True):
    """Blocks with one key in common: how many (``blocks``), and the sum of their sizes (``bytes``)."""

    key: str
    bytes: int
    blocks: int


def check_grouping(by: str, limit: int | None, possible: Collection[str] = GROUPINGS) -> None:
    """Raise UsageError for a grouping that is not possible or a limit below 0."""
    if by not in possible:
        raise UsageError(f"a heap is not grouped by {by!r} here", hint=f"possible are {', '.join(possible)}")
    if limit is not None and limit < 0:
        raise UsageError(f"a limit of {limit} groups makes no sense", hint="0 is the least")


class Heap:
    """What was alive right after ``moment``. It holds no blocks: what it is asked, it asks the store.

    Sizes are the bytes that the program asked for. Blocks older than the recording are not among them.
    """

    def __init__(self, store: Store, moment: Moment) -> None:
        self._store = store
        self.moment = moment

    def __repr__(self) -> str:
        return f"Heap({self.moment!r})"

    @property
    def total_bytes(self) -> int:
        """Bytes of all blocks."""
        return self._totals[0]

    @property
    def total_blocks(self) -> int:
        """Number of all blocks."""
        return self._totals[1]

    @cached_property
    def _totals(self) -> tuple[int, int]:
        return live_at(self._store, self.moment.seq)

    def by(self, grouping: str = "site", limit: int | None = None) -> list[Group]:
        """The blocks added up, the largest group first; ``limit`` cuts the list.

        Groups of equal bytes are in the order of their keys; ages come youngest first. Groupings, and the
        keys of their groups:

        - ``site``: ``FILE:LINE (FUNCTION)`` of the innermost frame
        - ``function``: ``FUNCTION (FILE)``; ``file``; ``module``: its dotted name, as far as the file tells
        - ``type``: of the object that died in the block later
        - ``stack``: the call path from the outermost frame, ``FUNCTION (BASENAME:LINE)`` joined by ``;``
        - ``thread``; ``domain`` of CPython's allocators
        - ``size_class``: ``48 B (pymalloc)``, or ``512 B to 1 KiB`` (without the end) for what malloc serves
        - ``age`` at the moment, from ``< 1 ms`` to ``10 h and more``

        ``<unknown>`` stands where the recording does not say. Raises UsageError for a grouping that does not
        exist and for a limit below 0.
        """
        check_grouping(grouping, limit)
        statement = "SELECT key, bytes, blocks FROM heap_by($seq, $by, trace := $trace) LIMIT $limit"
        rows = self._store.query(statement, self._parameters | {"by": grouping, "limit": limit}).rows()
        return [Group(str(key), integer(size), integer(blocks)) for key, size, blocks in rows]

    def tree(self, min_bytes: int = 0, depth: int | None = None) -> Tree:
        """The blocks as a call tree, without nodes whose total is below ``min_bytes`` or that are deeper.

        ``depth`` 1 leaves the outermost frames alone. Raises UsageError for a depth below 1.
        """
        if depth is not None and depth < 1:
            raise UsageError(f"a call tree of depth {depth} makes no sense", hint="1 is the least")
        return call_tree(self._store, self.moment, min_bytes, depth)

    def blocks(self) -> DuckDBPyRelation:
        """The blocks one by one, as a relation of DuckDB that runs when its rows are asked for.

        Columns: alloc_seq, free_seq, allocated_ns, age_ns, freed_ns, address, size, domain, thread_id,
        thread, type_id, type, stack_id, file, line, function, site, module; times in nanoseconds since the
        recording began, and None where the recording does not say.

        Go on in SQL (``.filter()``, ``.aggregate()``, ``.query()``) or hand it over: ``.fetchall()``,
        ``.fetchnumpy()``, ``.df()`` for pandas, ``polars.DataFrame(heap.blocks())``. It offers the Arrow
        PyCapsule interface, which needs no pyarrow. It is good as long as the recording is open; when it runs
        it raises DuckDB's own errors.
        """
        seq, trace = int(self.moment.seq), int(self._store.trace_id)
        return self._store.relation(f"FROM heap_blocks({seq}, trace := {trace})")

    def stacks(self) -> list[StackSegment]:
        """Where each thread was, and the bytes of its frames; most bytes first.

        At a mark that is exact, where the recording says it; at any other moment it is as of the thread's
        last allocation (``StackSegment.exact``). Threads that allocated nothing until then are not known.
        """
        return stack_segments(self._store, self.moment)

    @property
    def _parameters(self) -> dict[str, object]:
        return {"seq": self.moment.seq, "trace": self._store.trace_id}


def heap_at(store: Store, moment: Moment | str) -> Heap:
    """The heap at a moment, or at what :func:`resolve_moment` makes of a text (and raises for it)."""
    return Heap(store, resolve_moment(store, moment) if isinstance(moment, str) else moment)
