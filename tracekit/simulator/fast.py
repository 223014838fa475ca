"""The machine in C (tracekit/_native/kernels_sim*.c), for traces of many millions of events.

It comes to the same numbers as the readable :class:`~tracekit.simulator.machine.Machine`, and lets
other threads run while it works: several machines can be fed the same steps at once.
"""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt

from tracekit.events import Cause
from tracekit.simulator.machine import Machine
from tracekit.simulator.older import Layout
from tracekit.simulator.outcome import ArenaSpans, Collections, Outcome, OutOfMemory, Peak, Timeline
from tracekit.simulator.rows import PYMALLOC_DOMAINS, garbage_of
from tracekit.simulator.settings import MachineSettings, Older, Reference
from tracekit.store.steps import IntArray, Steps

try:
    from tracekit._native._kernels import Simulator
except ImportError:
    HAVE_KERNEL = False
else:
    HAVE_KERNEL = True

NO_LIMIT = -1
MOST = 2**63 - 1

STEP_COLUMNS: tuple[tuple[str, type[np.generic]], ...] = (
    ("seq", np.int64),
    ("time_ns", np.int64),
    ("is_free", np.bool_),
    ("alloc_seq", np.int64),
    ("size", np.int64),
    ("domain", np.uint8),
    ("stack_id", np.int32),
    ("cause", np.uint8),
    ("thread_id", np.int32),
    ("gc_tracked", np.bool_),
    ("realloc_of", np.int64),
    ("garbage", np.int32),
    ("address", np.int64),
    ("free_list", np.uint8),
)
"""What the kernel takes of :class:`~tracekit.store.steps.Steps`, in its order; it does what rows.py says."""


AnyArray = npt.NDArray[np.generic]


class AnyMachine(Protocol):
    """What :class:`Machine` and :class:`FastMachine` have in common."""

    def feed(self, steps: Steps) -> bool:
        """Run consecutive steps. False when an allocation did not fit: no more may be fed."""
        ...

    def finish(self) -> Outcome:
        """All that came out. To be called once, when nothing more is to be fed."""
        ...


class FastMachine:
    """As :class:`~tracekit.simulator.machine.Machine`; only where the extension was built (HAVE_KERNEL).

    Making one and :meth:`feed` raise ValueError for what no program does (sizes below 0, events out of order,
    more than 2**62 bytes), and MemoryError; then the machine is of no use any more.
    """

    def __init__(
        self, settings: MachineSettings, reference: Reference, older: Older, path_bytes: IntArray
    ) -> None:
        self._settings = settings
        self._reference = reference
        self._out_of_memory: OutOfMemory | None = None
        layout = Layout.of(older, settings.parameters) if settings.use_pymalloc else Layout.empty()
        self._kernel = Simulator(_numbers(settings, reference), _columns(reference, layout, path_bytes))

    def feed(self, steps: Steps) -> bool:
        """Run consecutive steps. False when an allocation did not fit: no more may be fed."""
        given = replace(steps, garbage=garbage_of(steps, self._reference, self._settings.collector.garbage))
        row = self._kernel.feed(
            tuple(np.ascontiguousarray(getattr(given, name), kind) for name, kind in STEP_COLUMNS)
        )
        if row < 0:
            return True
        # What there was then is asked for at the end: it does not change any more.
        self._out_of_memory = OutOfMemory(
            int(steps.seq[row]),
            int(steps.time_ns[row]) / 1e9,
            int(steps.size[row]),
            0,
            0,
            int(steps.stack_id[row]),
        )
        return False

    def finish(self) -> Outcome:
        """All that came out. To be called once, when nothing more is to be fed."""
        numbers, collections, points, spans, places = map(_int64, self._kernel.finish())
        value = iter(numbers.tolist())
        seq, generation, examined, freed_blocks, freed_bytes, asked = _table(collections, 6)
        arenas, peak_arenas, peak_arenas_seq, ntimes, *live = (next(value) for _ in range(8))
        peak = Peak(*(next(value) for _ in range(5)))
        memory = [next(value) for _ in range(4)]
        stack_bytes, stack_seq, unknown_causes = value
        lack = self._out_of_memory
        if lack is not None:
            lack = OutOfMemory(lack.seq, lack.time_s, lack.wanted_bytes, live[0], memory[0], lack.stack_id)
        return Outcome(
            arenas=arenas,
            peak_arenas=peak_arenas,
            peak_arenas_seq=peak_arenas_seq,
            ntimes_arena_allocated=ntimes,
            live_bytes=live[0],
            live_blocks=live[1],
            small_bytes=live[2],
            older_bytes=live[3],
            peak=peak,
            footprint_bytes=memory[0],
            peak_footprint_bytes=memory[1],
            heap_bytes=memory[2],
            mapped_bytes=memory[3],
            peak_stack_bytes=stack_bytes,
            peak_stack_seq=stack_seq,
            frees_of_unknown_cause=unknown_causes,
            out_of_memory=lack,
            collections=Collections(
                seq, generation, examined, freed_blocks, freed_bytes, asked.astype(np.bool_)
            ),
            timeline=Timeline(*_table(points, 7)),
            arena_spans=ArenaSpans(*_table(spans, 3)),
            places=places,
        )


def best_machine() -> type[FastMachine] | type[Machine]:
    """The fast machine where there is one, else the readable one."""
    return FastMachine if HAVE_KERNEL else Machine


def _numbers(settings: MachineSettings, reference: Reference) -> IntArray:
    """The numbers that a machine is told, in the order of kernels_sim_type.c. Raises ValueError."""
    parameters, collector = settings.parameters, settings.collector
    limit = NO_LIMIT if settings.memory_limit is None else min(max(settings.memory_limit, 0), MOST)
    numbers = (
        parameters.arena_size,
        parameters.pool_size,
        parameters.pool_overhead,
        parameters.alignment_shift,
        parameters.size_classes,
        parameters.pools_per_arena,
        parameters.page_size,
        limit,
        settings.base_bytes,
        settings.sample_every,
        settings.keep_places,
        parameters.small_request_threshold if settings.use_pymalloc else 0,
        sum(1 << domain for domain in PYMALLOC_DOMAINS),
        Cause.REALLOC,
        Cause.GC,
        Cause.UNKNOWN,
        settings.collects_at_checks,
        collector.enabled,
        collector.garbage,
        collector.freeze_seq is not None,
        collector.freeze_seq or 0,
        collector.thresholds is not None,
        *(collector.thresholds or (0, 0, 0)),
        *reference.counts,
        *reference.long_lived,
        *reference.lags,
    )
    if any(abs(number) > MOST for number in numbers):
        raise ValueError("numbers that no machine has")
    return np.array(numbers, np.int64)


def _columns(reference: Reference, layout: Layout, path_bytes: IntArray) -> tuple[AnyArray, ...]:
    """The columns that a machine is told, in the order of kernels_sim_type.c."""
    columns: tuple[tuple[AnyArray, type[np.generic]], ...] = (
        (reference.start_seq, np.int64),
        (reference.due(), np.int64),
        (reference.generation, np.int64),
        (reference.asked, np.bool_),
        (reference.correction, np.int64),
        (reference.young_share, np.float64),
        (reference.full_share, np.float64),
        (reference.off, np.bool_),
        (reference.thresholds, np.int64),
        (reference.opaque, np.bool_),
        (reference.observed, np.int64),
        (path_bytes, np.int64),
        (reference.stop_seq, np.int64),
        (reference.lists.waiting, np.int16),
        (reference.lists.drift, np.int16),
        (reference.lists.parked, np.int16),
        (reference.held(), np.int64),
        (reference.settings.seq, np.int64),
        (reference.settings.on, np.bool_),
        (reference.settings.thresholds, np.int64),
        *((getattr(layout, field.name), np.int64) for field in fields(layout)),
    )
    return tuple(np.ascontiguousarray(column, kind) for column, kind in columns)


def _int64(data: bytes) -> IntArray:
    return np.frombuffer(data, np.int64)


def _table(rows: IntArray, columns: int) -> list[IntArray]:
    """Columns of a table that comes row by row."""
    return [np.ascontiguousarray(column) for column in rows.reshape(-1, columns).T]
