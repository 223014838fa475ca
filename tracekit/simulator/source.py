"""What the simulator needs of a trace. :class:`tracekit.store.database.Store` is one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from tracekit.events import Header, Totals
from tracekit.store.steps import IntArray, Outline, Steps


class Rows(Protocol):
    """The answer to a query."""

    def rows(self) -> Iterator[tuple[object, ...]]:
        """The rows in order, each a tuple of its columns."""
        ...


class TraceSource(Protocol):
    """One trace: its header and totals, its allocations and frees in order, and SQL over its tables."""

    @property
    def header(self) -> Header:
        """Who recorded what, with which engine."""
        ...

    @property
    def totals(self) -> Totals:
        """What the trace adds up to; used to report progress."""
        ...

    @property
    def trace_id(self) -> int:
        """The trace's number in the tables."""
        ...

    def steps(self) -> Iterator[Steps]:
        """Allocations and frees in the order of ``seq``, in batches."""
        ...

    def outlines(self) -> Iterator[Outline | Steps]:
        """The same in other batches, perhaps, with the columns of ``Outline`` only."""
        ...

    def older_blocks(self) -> tuple[IntArray, IntArray]:
        """Addresses of the blocks that pymalloc held at the start, rising, and their sizes in bytes."""
        ...

    def used_pools(self, addresses: range, pool_size: int, most_bytes: int) -> IntArray:
        """Pools with these addresses, in the order in which blocks of 1 to ``most_bytes`` came there."""
        ...

    def shared_blocks(self, most_for_one: int) -> tuple[IntArray, IntArray]:
        """Blocks that garbage may have referred to, too: events that began them, rising, and that ended them.

        They went by reference count, after a collection had freed something while they were alive; and of the
        blocks of their call path collections freed one for each ``most_for_one``, or more.
        """
        ...

    def path_bytes(self) -> IntArray:
        """Bytes that the frames of each call path occupy, by ``stack_id``."""
        ...

    def query(self, sql: str, parameters: Sequence[object] = ..., /) -> Rows:
        """Rows of the store's tables."""
        ...
