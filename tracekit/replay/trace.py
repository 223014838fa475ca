"""An open recording, as Python programs see it: what :func:`tracekit.open` returns."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from tracekit.events import Header, Notice, Totals
from tracekit.replay.counts import Counts, counts_at
from tracekit.replay.cursor import Cursor
from tracekit.replay.difference import Difference, difference
from tracekit.replay.fragmentation import NEARLY_EMPTY, Fragmentation, fragmentation
from tracekit.replay.garbage import (
    Collection,
    CollectorSummary,
    Garbage,
    collections,
    collector_summary,
    garbage,
)
from tracekit.replay.heap import Heap, heap_at
from tracekit.replay.leaks import Leaks, leaks
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.replay.recordings import RecordingDifference, recordings_difference
from tracekit.replay.timeline import Timeline, timeline
from tracekit.store.database import Result, Store
from tracekit.store.opening import open_store

if TYPE_CHECKING:
    from duckdb import DuckDBPyRelation

_MARKS = """
SELECT name, seq, time_ns FROM marks WHERE trace_id = $trace AND NOT own AND name IS NOT NULL ORDER BY seq
"""


class Trace:
    """A recording, open for questions. A context manager; :func:`tracekit.open` makes one.

    Wherever a method takes a moment, it takes a :class:`Moment` or a text that names one: ``start``, ``end``,
    ``peak``, ``1.5s``, ``200ms``, ``50%``, ``seq:N``, ``gc:N`` or ``mark:NAME``. It then raises what
    :meth:`moment` does. Of several recordings that were opened together the first is meant, except in SQL.
    """

    # A method hands its question to a function of this package that takes the store first, and moments.

    def __init__(self, store: Store) -> None:
        self.store = store

    def __repr__(self) -> str:
        return f"<tracekit.Trace of {self.store.path}>"

    @property
    def path(self) -> Path:
        """The log."""
        return self.store.path

    @property
    def header(self) -> Header:
        """Who recorded what, where, with which engine, and what that engine can know (``capabilities``)."""
        return self.store.header

    @property
    def engine(self) -> str:
        """The engine that recorded: ``native`` or ``portable``."""
        return self.store.header.engine

    @property
    def python(self) -> str:
        """The version of the interpreter that was recorded."""
        return self.store.header.python.version

    @property
    def totals(self) -> Totals:
        """What the recording adds up to: events, allocations, peak_bytes, end_bytes, duration_ns ..."""
        return self.store.totals

    @property
    def complete(self) -> bool:
        """Whether the program reached its end; False when it was killed."""
        return self.store.complete

    @property
    def exit_status(self) -> int | None:
        """Exit status of the program, negative for a signal; None when it is not known."""
        return self.store.exit_status

    @property
    def notices(self) -> list[Notice]:
        """What the recorder has to say about the recording; docs/errors.md explains their codes."""
        return self.store.notices

    @property
    def notes(self) -> list[str]:
        """What opening the log showed: that it was not closed, or its tables cannot be kept beside it."""
        return self.store.notes

    @property
    def marks(self) -> list[Moment]:
        """The marks that the program set, in their order; each can be given as a moment."""
        rows = self.store.query(_MARKS, {"trace": self.store.trace_id}).rows()
        return [Moment(f"mark:{name}", int(str(seq)), int(str(time))) for name, seq, time in rows]

    def moment(self, text: str) -> Moment:
        """The instant that a text names.

        Raises MomentSyntaxError for a text that is no moment and MomentMissingError, which says what there
        is, for one that the recording lacks.
        """
        return resolve_moment(self.store, text)

    def heap_at(self, moment: Moment | str = "peak") -> Heap:
        """The heap right after a moment."""
        return heap_at(self.store, self._at(moment))

    def difference(
        self,
        start: Moment | str = "start",
        end: Moment | str = "end",
        *,
        by: str = "site",
        limit: int | None = None,
    ) -> Difference:
        """What changed from one moment to another, grouped as :meth:`Heap.by` does; most growth first.

        Raises UsageError for a grouping that does not exist and for a limit below 0.
        """
        return difference(self.store, self._at(start), self._at(end), by=by, limit=limit)

    def compared_with(
        self,
        new: Trace,
        moment: Moment | str = "peak",
        new_moment: Moment | str | None = None,
        *,
        by: str = "site",
        limit: int | None = None,
    ) -> RecordingDifference:
        """What changed from this recording to a newer one of the program, most growth first.

        The heap at ``moment`` of this one is held against that at ``new_moment`` of the other (the moment of
        the same name unless given). Lines that moved are matched by their function and text. Raises
        UsageError for a grouping that does not exist and for a limit below 0.
        """
        there = new_moment if new_moment is not None else moment if isinstance(moment, str) else moment.text
        moments = self._at(moment), new._at(there)
        return recordings_difference(self.store, new.store, *moments, by=by, limit=limit)

    def cursor(self, moment: Moment | str = "start", *, by: str = "site") -> Cursor:
        """A position that steps through the recording, forwards and backwards, with the heap grouped.

        Raises MomentMissingError where there are no events, and UsageError for a grouping it cannot follow.
        """
        return Cursor(self.store, self._at(moment), by=by)

    def leaks(  # noqa: PLR0913 - questions that exclude nothing of each other
        self,
        since: Moment | str | None = None,
        until: Moment | str | None = None,
        *,
        by: str = "site",
        limit: int | None = None,
        imports: bool = False,
        own: Sequence[str] = (),
    ) -> Leaks:
        """What was allocated after ``since``, is alive at ``until`` and kept growing, best evidence first.

        Without moments from half of the run to its end. ``by`` is site, innermost, function, file, type,
        stack, thread or domain; ``imports`` counts what imports allocated, too; ``own`` are folders or files
        whose code is the program's although it looks like a library. Raises UsageError.
        """
        moments = (None if moment is None else self._at(moment) for moment in (since, until))
        return leaks(self.store, *moments, by=by, limit=limit, imports=imports, own=own)

    def collector(self) -> CollectorSummary:
        """How often the collector ran and how long, by generation."""
        return collector_summary(self.store)

    def collections(self, *, sort: str = "order", limit: int | None = None) -> list[Collection]:
        """The collections; ``sort`` is order, pause or freed, ``limit`` cuts the list. Raises UsageError."""
        return collections(self.store, sort=sort, limit=limit)

    def garbage(self, *, by: str = "type", of: Collection | None = None, limit: int | None = None) -> Garbage:
        """What the collector freed, in all or in one collection, grouped; most bytes first.

        Raises UsageError for a grouping that garbage has not and for a limit below 0.
        """
        return garbage(self.store, by=by, of=of, limit=limit)

    def counts_at(self, moment: Moment | str) -> Counts:
        """``gc.get_count()`` and ``gc.get_threshold()`` at a moment, and how sure that is."""
        return counts_at(self.store, self._at(moment))

    def fragmentation(
        self, moment: Moment | str = "end", *, by: str = "site", below: float = NEARLY_EMPTY
    ) -> Fragmentation:
        """The arenas at a moment, how full they are, and which blocks keep the nearly empty ones.

        Nearly empty are those of which less than the share ``below`` is in use. ``by`` is site, function,
        file, type, stack, thread or age. Raises UsageError, and ArenasUnknownError when the recording has no
        arenas or no real addresses.
        """
        return fragmentation(self.store, self._at(moment), by=by, below=below)

    def timeline(
        self, start: Moment | str = "start", end: Moment | str = "end", *, steps: int = 100, x: str = "time"
    ) -> Timeline:
        """Live bytes, resident memory, collections and marks between two moments, in so many steps.

        ``x`` is time or events. Raises UsageError when ``end`` is before ``start``, and for steps or an axis
        that do not exist.
        """
        return timeline(self.store, self._at(start), self._at(end), steps=steps, x=x)

    def query(self, sql: str, parameters: Sequence[object] | Mapping[str, object] = ()) -> Result:
        """Ask in SQL (docs/sql.md): ``columns`` and ``types`` of the answer, and its ``rows()``, once.

        Rows are tuples, fetched while the query runs: they are never all in memory. Raises SqlError, also for
        SQL that would write or reach anything but the recording.
        """
        return self.store.query(sql, parameters)

    def relation(self, sql: str) -> DuckDBPyRelation:
        """The same as a relation of DuckDB, which can do what that of :meth:`Heap.blocks` can."""
        return self.store.relation(sql)

    def close(self) -> None:
        """Close it. What came from it and was not asked yet has no answer any more."""
        self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _at(self, moment: Moment | str) -> Moment:
        return self.moment(moment) if isinstance(moment, str) else moment


def open(  # noqa: A001 - it is called as tracekit.open
    path: str | os.PathLike[str], *more: str | os.PathLike[str], cache: bool = True
) -> Trace:
    """Open the log of a recording (``app.tkt``), or several together; close it, or use ``with``.

    The first time its tables are built, which takes some 0.2 s for a million events. With ``cache`` they are
    kept in ``app.tkt.duckdb`` beside the log, for the next time; without, or where that file cannot be
    written, in memory. Of several logs SQL tells the rows apart by ``trace_id``, 1 for the first.

    Raises FileMissingError, NotALogError, LogVersionError, LogCorruptError or StoreError.
    """
    return Trace(open_store(path, *more, cache=cache))
