"""What a simulation reads of a trace before it begins: its collections, what was there before, its stacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from tracekit.simulator.freelists import LISTS
from tracekit.simulator.knowledge import knows_tracked
from tracekit.simulator.older import aligned_as_recorded
from tracekit.simulator.parameters import PyMallocParameters, recorded_parameters
from tracekit.simulator.reference import RecordedCollections, ReferenceFold
from tracekit.simulator.settings import Older, RecordedSettings, Reference, Shared
from tracekit.simulator.source import TraceSource
from tracekit.store.steps import IntArray, in_parts

FOLDED_AT_ONCE = 1 << 18
"""Steps of which the fold's arrays are small enough for the processor's caches."""

EVAL_BREAKER = 0x030C0000
"""From this version on a collection that is due waits for the next check of the eval breaker."""

SHARED_FOR_ONE = 50
"""Garbage may refer to blocks of call paths of whose blocks collections freed one for each so many."""

_COLLECTIONS = """
SELECT start_seq, coalesce(stop_seq, (SELECT last_seq FROM traces t WHERE t.trace_id = g.trace_id)),
       coalesce(generation, 0), coalesce(count0, -1), coalesce(count1, 0), coalesce(count2, 0),
       coalesce(threshold0, 0), coalesce(threshold1, 0), coalesce(threshold2, 0),
       coalesce(long_lived_total, -1), coalesce(long_lived_pending, -1), coalesce(duration_ns, 0),
       coalesce(collected, 0)
FROM gc_collections g WHERE trace_id = ? AND start_seq IS NOT NULL ORDER BY start_seq
"""
_SETTINGS = """
SELECT seq, enabled::INTEGER, threshold0, threshold1, threshold2
FROM gc_settings WHERE trace_id = ? ORDER BY seq
"""
_LISTS = """
SELECT free_lists_before, coalesce(free_lists_after, free_lists_before)
FROM gc_collections WHERE trace_id = ? AND start_seq IS NOT NULL ORDER BY start_seq
"""
_STACKS = "SELECT stack_id, code_id, line FROM stacks WHERE trace_id = ? ORDER BY stack_id"
_ARENAS = """
SELECT alloc_seq, free_seq, address FROM arenas WHERE trace_id = ? AND size = ? ORDER BY alloc_seq, address
"""
"""The arena allocator also serves data-stack chunks of other sizes (Python/pystate.c); they do not count."""
_RESIDENT = "SELECT seq, rss_bytes FROM memory_samples WHERE trace_id = ? ORDER BY seq LIMIT 1"
_LIVE_AT = "SELECT live_bytes FROM timeline WHERE trace_id = ? AND seq <= ? ORDER BY seq DESC LIMIT 1"


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """A trace as the simulator knows it before the first step.

    ``durations_ns`` of the recorded collections, in the order of ``reference``. ``arena_changes``: events at
    which arenas came (+1) and went (-1), as two columns. ``base_bytes``: resident memory of the process that
    neither arenas nor recorded blocks explain, from the first sample; 0 when there is none.
    """

    parameters: PyMallocParameters
    reference: Reference
    durations_ns: IntArray
    older: Older
    path_bytes: IntArray
    arena_changes: IntArray
    base_bytes: int
    collects_at_checks: bool

    def collections(self) -> list[int]:
        """Recorded collections of each generation; those whose start was lost do not count."""
        return generation_counts(self.reference.generation)

    def peak_arenas(self) -> int:
        """Most arenas that there were at once, older ones included."""
        held = np.cumsum(self.arena_changes[:, 1])
        return len(self.older.arenas) + max(0, int(held.max(initial=0)))


def generation_counts(generation: npt.NDArray[np.integer]) -> list[int]:
    """How many collections there were of generations 0, 1 and 2."""
    known = generation[(generation >= 0) & (generation < 3)]
    return [int(count) for count in np.bincount(known, minlength=3)]


def read_recording(source: TraceSource, progress: Callable[[int], None] | None = None) -> Recording:
    """Read a trace once. ``progress(steps_done)`` is called after each batch of them."""
    header, trace_id = source.header, source.trace_id
    table = _table(source, _COLLECTIONS, [trace_id], 13)
    settings = _table(source, _SETTINGS, [trace_id], 5)
    recorded = RecordedCollections(
        start_seq=table[:, 0].copy(),
        stop_seq=table[:, 1].copy(),
        generation=table[:, 2].copy(),
        counts=table[:, 3:6],
        thresholds=table[:, 6:9],
        long_lived=table[:, 9:11],
        collected=table[:, 12],
        lists=_lists(source),
        settings=RecordedSettings(settings[:, 0].copy(), settings[:, 1] > 0, settings[:, 2:].copy()),
    )
    parameters = recorded_parameters(header)
    arenas = _table(source, _ARENAS, [trace_id, parameters.arena_size], 3)
    got = arenas[arenas[:, 0] >= 0]
    parameters = aligned_as_recorded(parameters, Older(later_arenas=got[:, 2]))
    addresses, block_bytes = source.older_blocks()
    older_arenas = np.sort(arenas[arenas[:, 0] < 0, 2])
    older = Older(
        arenas=older_arenas,
        blocks=addresses,
        block_bytes=block_bytes,
        later_arenas=got[:, 2].copy(),
        used_pools=_used_pools(source, older_arenas, parameters),
        arena_size=parameters.arena_size,
        pool_size=parameters.pool_size,
    )
    at_checks = header.python.hexversion >= EVAL_BREAKER
    fold = ReferenceFold(recorded, header.collector, _places(source))
    if knows_tracked(header):
        done = 0
        for steps in source.outlines():
            for part in in_parts(steps, FOLDED_AT_ONCE):
                fold.feed(part)
            done += len(steps)
            if progress is not None:
                progress(done)
    return Recording(
        parameters=parameters,
        reference=replace(fold.finish(collects_at_checks=at_checks), shared=_shared(source, recorded)),
        durations_ns=table[:, 11].copy(),
        older=older,
        path_bytes=source.path_bytes(),
        arena_changes=_arena_changes(arenas),
        base_bytes=_base_bytes(source, len(older.arenas) * parameters.arena_size),
        collects_at_checks=at_checks,
    )


def _table(source: TraceSource, sql: str, parameters: list[object], columns: int) -> IntArray:
    """Rows of whole numbers as a table; NULL becomes -1."""
    rows = [
        [-1 if value is None else int(str(value)) for value in row]
        for row in source.query(sql, parameters).rows()
    ]
    return np.array(rows, np.int64).reshape(-1, columns)


def _lists(source: TraceSource) -> IntArray:
    """Lengths of the free lists before and after each collection; empty where any is not known."""
    rows = list(source.query(_LISTS, [source.trace_id]).rows())
    if any(row[0] is None for row in rows):
        rows = []
    return np.array(rows, np.int64).reshape(-1, 2, LISTS)


def _places(source: TraceSource) -> IntArray:
    """The same number for call paths that end at the same line of the same code, by ``stack_id``."""
    table = _table(source, _STACKS, [source.trace_id], 3)
    places = np.zeros(int(table[-1, 0]) + 1 if len(table) else 1, np.int64)
    if len(table):
        _, number = np.unique(table[:, 1:], axis=0, return_inverse=True)
        places[table[:, 0]] = number.reshape(-1) + 1
    return places


def _shared(source: TraceSource, recorded: RecordedCollections) -> Shared:
    """Nothing where no collection freed anything, so that nothing need be read."""
    if not recorded.collected.any():
        return Shared()
    return Shared.of(*source.shared_blocks(SHARED_FOR_ONE), recorded.start_seq)


def _used_pools(source: TraceSource, arenas: IntArray, parameters: PyMallocParameters) -> IntArray:
    """Pools of older arenas in the order in which the recording first allocated in them."""
    if not len(arenas):
        return np.empty(0, np.int64)
    addresses = range(int(arenas[0]), int(arenas[-1]) + parameters.arena_size)
    return source.used_pools(addresses, parameters.pool_size, parameters.small_request_threshold)


def _arena_changes(arenas: IntArray) -> IntArray:
    come, gone = arenas[arenas[:, 0] >= 0, 0], arenas[arenas[:, 1] >= 0, 1]
    changes = np.concatenate(
        [
            np.stack([come, np.ones_like(come)], axis=1),
            np.stack([gone, np.full_like(gone, -1)], axis=1),
        ]
    )
    return changes[np.argsort(changes[:, 0], kind="stable")]


def _base_bytes(source: TraceSource, older_bytes: int) -> int:
    for seq, resident in source.query(_RESIDENT, [source.trace_id]).rows():
        for (live,) in source.query(_LIVE_AT, [source.trace_id, seq]).rows():
            return max(0, int(str(resident)) - int(str(live)) - older_bytes)
    return 0
