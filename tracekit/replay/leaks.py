"""What leaks: memory that a line of the program keeps asking for and that stays alive.

The evidence is the course of the memory of each group (a line, a function, a type, ...) over the time from
one moment to another, at 16 instants between them. A buffer comes and goes, a cache that is bounded or filled
once stops growing, a leak goes on. No look at the heap at one moment can tell them apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from msgspec import Struct

from tracekit.errors import UsageError
from tracekit.replay.growth import EVIDENCE, STRONG, Growth, IntArray, measure, ranking
from tracekit.replay.heap import Group
from tracekit.replay.instants import Instant, half_of, instants_between
from tracekit.replay.leakkeys import GROUPINGS, Keys, names_of
from tracekit.replay.lifespans import BoolArray, Lifespans, kept_between, lifespans, made_between
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.replay.ownership import CallPaths, load_call_paths
from tracekit.replay.rows import UNKNOWN
from tracekit.store.database import Store

__all__ = ["GROUPINGS", "Leak", "Leaks", "leaks"]

_DETAILS = 3


class Frame(Struct, frozen=True):
    """One frame of a call path."""

    file: str
    line: int
    function: str


class Leak(Struct, frozen=True):
    """What one group still holds of what was allocated for it since a moment, and how it grew.

    ``bytes`` and ``blocks`` were allocated after ``since`` and are alive at ``until``, of ``made_bytes`` and
    ``made_blocks`` that were allocated in that time. ``growth_bytes`` and ``growth_blocks`` are the net
    growth of the group, older blocks included: what it has replaced does not count. ``levels`` are its bytes
    at each instant. ``steps_grown`` and ``quarters_grown`` count the steps between two instants, and the
    quarters of them, in which it grew; ``direct`` is the net growth as a share of all ups and downs.
    ``evidence`` is ``strong``, ``fair`` or ``weak``; ``score`` ranks, in bytes (docs/cli.md says how).
    ``bytes_per_s`` is the growth by time, None when no time passed, and ``bytes_per_mark`` the growth from
    one mark to the next of the name that ``since`` has, if there is another.

    ``types``, ``allocated_at`` (the innermost frames) and ``path`` (frames, outermost first, of the call path
    with the most bytes) say more of what ``bytes`` are; the first two are the largest three. ``types`` is
    empty when the engine records none. ``file``, ``line`` and ``function`` are None for groups that have
    none.
    """

    key: str
    evidence: str
    score: int
    bytes: int
    blocks: int
    growth_bytes: int
    growth_blocks: int
    made_bytes: int
    made_blocks: int
    steps_grown: int
    quarters_grown: int
    direct: float
    bytes_per_s: float | None
    bytes_per_mark: float | None
    levels: list[int]
    types: list[Group]
    allocated_at: list[Group]
    path: list[Frame]
    file: str | None = None
    line: int | None = None
    function: str | None = None


class Leaks(Struct, frozen=True):
    """What grew from ``since`` to ``until``, the best evidence of a leak first.

    ``growth_bytes`` is the growth of the whole heap; ``strong`` counts the groups with strong evidence, which
    grew by ``strong_bytes``, and ``grown`` the number of all that grew. ``imported_bytes`` and
    ``imported_blocks`` were allocated after ``since`` while a module was imported, are alive at ``until`` and
    belong to no group. ``full_collections`` counts the collections of the oldest generation in that time.
    """

    since: Moment
    until: Moment
    by: str
    instants: list[Instant]
    growth_bytes: int
    strong: int
    strong_bytes: int
    grown: int
    imported_bytes: int
    imported_blocks: int
    full_collections: int
    leaks: list[Leak]


def leaks(  # noqa: PLR0913 - questions that exclude nothing of each other
    store: Store,
    since: Moment | None = None,
    until: Moment | None = None,
    *,
    by: str = "site",
    limit: int | None = None,
    imports: bool = False,
    own: Sequence[str] = (),
) -> Leaks:
    """Rank what was allocated after ``since``, is alive at ``until`` and has grown between them.

    ``since`` is half of the run unless given (:func:`~tracekit.replay.instants.half_of`), ``until`` its end.
    ``by`` is one of GROUPINGS, ``limit`` cuts the list, ``imports`` counts what imports allocated as well,
    and ``own`` are folders or files whose code is the program's, though it looks like an installed package or
    the standard library. Raises UsageError for anything that makes no sense, a ``since`` not before ``until``
    included.
    """
    if by not in GROUPINGS:
        raise UsageError(f"leaks are not grouped by {by!r}", hint=f"possible are {', '.join(GROUPINGS)}")
    if limit is not None and limit < 0:
        raise UsageError(f"a limit of {limit} groups makes no sense", hint="0 is the least")
    until = resolve_moment(store, "end") if until is None else until
    since = half_of(store, until) if since is None else since
    if since.seq >= until.seq:
        raise UsageError(
            f"{since.text} (event {since.seq}) is not before {until.text} (event {until.seq})",
            hint="leaks are looked for from an earlier to a later moment",
        )
    instants = instants_between(store, since, until)
    paths = load_call_paths(store, own=own)
    return _Search(store, instants, Keys(store, by, paths), paths, imports=imports).result(
        since, until, limit
    )


@dataclass(frozen=True, slots=True)
class _Groups:
    """Groups of blocks that were alive at one of the instants at least; one entry a group."""

    keys: IntArray
    levels: IntArray
    blocks: IntArray
    growth: Growth
    order: IntArray
    """Those that grew and hold what is new, as indices, the best evidence first."""


@dataclass(frozen=True, slots=True)
class _Held:
    """What one group holds of what was allocated since the beginning; one entry a call path and type."""

    node: IntArray
    part: IntArray
    type_id: IntArray
    bytes: IntArray
    blocks: IntArray


class _Search:
    """One search for leaks in a store."""

    def __init__(
        self, store: Store, instants: list[Instant], keys: Keys, paths: CallPaths, *, imports: bool
    ) -> None:
        self._store, self._keys, self._paths, self._imports = store, keys, paths, imports
        self._instants = instants
        self._since, self._until = instants[0].seq, instants[-1].seq

    def result(self, since: Moment, until: Moment, limit: int | None) -> Leaks:
        alive = lifespans(self._store, [instant.seq for instant in self._instants], self._keys.part)
        final = len(self._instants) - 1
        node = self._paths.nodes(alive.stack_id)
        new = (alive.first > 0) & (alive.last == final)
        skipped = new & self._paths.importing[node] & (not self._imports)
        groups = self._groups(alive, node, new)
        strong = groups.order[groups.growth.evidence[groups.order] == EVIDENCE.index(STRONG)]
        return Leaks(
            since=since,
            until=until,
            by=self._keys.by,
            instants=self._instants,
            growth_bytes=int(alive.bytes[alive.last == final].sum() - alive.bytes[alive.first == 0].sum()),
            strong=len(strong),
            strong_bytes=int(groups.growth.bytes[strong].sum()),
            grown=len(groups.order),
            imported_bytes=int(alive.bytes[skipped].sum()),
            imported_blocks=int(alive.blocks[skipped].sum()),
            full_collections=self._full_collections(),
            leaks=self._leaks(groups, groups.order[:limit], self._marks_of(since)),
        )

    def _groups(self, alive: Lifespans, node: IntArray, new: BoolArray) -> _Groups:
        wanted = self._wanted(node)
        numbers = self._keys.of(node[wanted], alive.part[wanted])
        keys, group = np.unique(numbers, return_inverse=True)
        shape = (len(keys), len(self._instants))
        first, last = alive.first[wanted], alive.last[wanted]
        levels = _levels(shape, group, first, last, alive.bytes[wanted])
        blocks = _levels(shape, group, first, last, alive.blocks[wanted])
        growth = measure(levels)
        # What grew holds what is new, unless invented sizes have overflowed the sums.
        holds = np.bincount(group[new[wanted]], minlength=len(keys)) > 0
        order = ranking(growth)
        return _Groups(keys, levels, blocks, growth, order[(growth.bytes > 0)[order] & holds[order]])

    def _wanted(self, node: IntArray) -> BoolArray:
        """Which call paths count: all, or those that are not under an import."""
        return ~self._paths.importing[node] | self._imports

    def _leaks(self, groups: _Groups, shown: IntArray, marks: int) -> list[Leak]:
        if not len(shown):
            return []
        keys = groups.keys[shown]
        made_bytes, made_blocks = self._made(keys)
        types = names_of(self._store, "type") if self._store.header.capabilities.types else {}
        seconds = (self._instants[-1].time_ns - self._instants[0].time_ns) / 1e9
        growth = groups.growth
        found = []
        for place, (row, held) in enumerate(zip(shown.tolist(), self._held(keys), strict=True)):
            net = int(growth.bytes[row])
            path = self._paths.path(_heaviest(held))
            label, (file, line, function) = self._keys.label(int(held.node[0]), int(held.part[0]))
            found.append(
                Leak(
                    key=label,
                    evidence=EVIDENCE[int(growth.evidence[row])],
                    score=int(growth.score[row]),
                    bytes=int(held.bytes.sum()),
                    blocks=int(held.blocks.sum()),
                    growth_bytes=net,
                    growth_blocks=int(groups.blocks[row, -1] - groups.blocks[row, 0]),
                    made_bytes=int(made_bytes[place]),
                    made_blocks=int(made_blocks[place]),
                    steps_grown=int(growth.steps[row]),
                    quarters_grown=int(growth.quarters[row]),
                    direct=round(float(growth.direct[row]), 3),
                    bytes_per_s=net / seconds if seconds else None,
                    bytes_per_mark=net / marks if marks else None,
                    levels=groups.levels[row].tolist(),
                    types=_largest((types.get(kind, UNKNOWN) for kind in held.type_id.tolist()), held)
                    if types
                    else [],
                    allocated_at=_largest(map(self._site, held.node.tolist()), held),
                    path=[Frame(*frame) for frame in path],
                    file=file,
                    line=line,
                    function=function,
                )
            )
        return found

    def _site(self, node: int) -> str:
        file, line, function = self._paths.frame(node)
        return f"{file}:{line} ({function})" if node else UNKNOWN

    def _made(self, keys: IntArray) -> tuple[IntArray, IntArray]:
        """Bytes and blocks that were allocated for each of the groups."""
        made = made_between(self._store, self._since, self._until, self._keys.part)
        place, wanted = self._places(keys, self._paths.nodes(made.stack_id), made.part)
        totals = []
        for column in (made.bytes, made.blocks):
            total = np.zeros(len(keys), np.int64)
            np.add.at(total, place[wanted], column[wanted])
            totals.append(total)
        return totals[0], totals[1]

    def _held(self, keys: IntArray) -> Iterator[_Held]:
        """What each of the groups holds."""
        kept = kept_between(self._store, self._since, self._until, self._keys.part)
        node = self._paths.nodes(kept.stack_id)
        place, wanted = self._places(keys, node, kept.part)
        rows = np.flatnonzero(wanted)
        rows = rows[np.lexsort((kept.type_id[rows], kept.stack_id[rows], place[rows]))]
        edges = np.searchsorted(place[rows], np.arange(len(keys) + 1))
        for start, stop in pairwise(edges.tolist()):
            at = rows[start:stop]
            yield _Held(node[at], kept.part[at], kept.type_id[at], kept.bytes[at], kept.blocks[at])

    def _places(self, keys: IntArray, node: IntArray, part: IntArray) -> tuple[IntArray, BoolArray]:
        """For each row the place of its group among ``keys``, and whether it is of one of them."""
        order = np.argsort(keys)
        numbers = self._keys.of(node, part)
        place = order[np.searchsorted(keys, numbers, sorter=order).clip(max=len(keys) - 1)]
        return place, (keys[place] == numbers) & self._wanted(node)

    def _full_collections(self) -> int:
        return self._count(
            """SELECT count(*) FROM gc_collections WHERE trace_id = $trace AND generation = 2
               AND start_seq > $since AND stop_seq <= $until""",
        )

    def _marks_of(self, since: Moment) -> int:
        """How many marks with the name of ``since`` came after it."""
        name = since.text.removeprefix("mark:")
        if name == since.text:
            return 0
        statement = """SELECT count(*) FROM marks WHERE trace_id = $trace AND name = $name
                       AND seq > $since AND seq <= $until"""
        return self._count(statement, name=name)

    def _count(self, statement: str, **more: str) -> int:
        limits = {"trace": self._store.trace_id, "since": self._since, "until": self._until, **more}
        ((count,),) = self._store.query(statement, limits).rows()
        return int(str(count))


def _levels(
    shape: tuple[int, int], group: IntArray, first: IntArray, last: IntArray, amount: IntArray
) -> IntArray:
    """What each group (row) holds at each instant (column), from what it gains and loses there."""
    changes = np.zeros((shape[0], shape[1] + 1), np.int64)
    np.add.at(changes, (group, first), amount)
    np.subtract.at(changes, (group, last + 1), amount)
    return changes.cumsum(axis=1)[:, :-1]


def _heaviest(held: _Held) -> int:
    """The node of the call path with the most bytes."""
    nodes, inverse = np.unique(held.node, return_inverse=True)
    total = np.zeros(len(nodes), np.int64)
    np.add.at(total, inverse, held.bytes)
    return int(nodes[total.argmax()])


def _largest(names: Iterable[str], held: _Held) -> list[Group]:
    """The three names with the most bytes."""
    totals: dict[str, list[int]] = {}
    for name, size, count in zip(names, held.bytes.tolist(), held.blocks.tolist(), strict=True):
        total = totals.setdefault(name, [0, 0])
        total[0] += size
        total[1] += count
    groups = sorted((Group(name, *total) for name, total in totals.items()), key=lambda g: (-g.bytes, g.key))
    return groups[:_DETAILS]
