"""Writes a synthetic log: batches of events whose allocations come from a model.

A batch covers so many ticks that it has about as many events as the recorder puts into one. What is kept
from batch to batch are the blocks that are alive.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks.synthetic.addresses import Memory, addresses, size_classes
from benchmarks.synthetic.births import Births, Source
from benchmarks.synthetic.clock import Clock
from benchmarks.synthetic.lifetimes import plan
from benchmarks.synthetic.model import Model
from benchmarks.synthetic.specials import Specials
from tracekit.events import Cause, EventKind, MemorySample, Totals
from tracekit.log.columns import NOTHING, EventColumns, IntArray, empty_columns
from tracekit.log.livetypes import encode_live_types
from tracekit.log.writer import LogWriter

BATCH_TICKS = 1 << 17
ALIVE = 35_000
RSS_BASE = 12 << 20

BLOCK = np.dtype(
    [
        ("alloc_seq", np.int64),
        ("due", np.int64),
        ("place", np.int64),
        ("size", np.int64),
        ("type", np.int32),
        ("free_thread", np.int32),
        ("class", np.uint8),
        ("cause", np.uint8),
    ]
)
"""A block that is alive between two batches."""

Blocks = npt.NDArray[np.void]

COLLECTED, USUAL = 1, 3
"""Order within a tick: 0 a collection starts, 1 what it frees, 2 it stops, 3 everything else."""

Progress = Callable[[int], None]


def generate(
    model: Model,
    path: Path,
    events: int,
    *,
    alive: int = ALIVE,
    seed: int = 0,
    progress: Progress | None = None,
) -> Totals:
    """Write a log of exactly ``events`` events, about ``alive`` blocks being alive at each of them.

    The same model, seed and numbers give the same log. ``progress`` is called with the events so far.
    Raises ValueError when that cannot be done, and OSError.
    """
    if events < alive + 100:
        raise ValueError(f"{events:,} events are too few for {alive:,} live blocks")
    random = np.random.default_rng(seed)
    header = msgspec.structs.replace(
        model.header,
        trace_uuid=str(uuid.UUID(bytes=random.bytes(16), version=4)),
        engine_reason="synthetic, drawn from a recorded log",
        capabilities=msgspec.structs.replace(model.header.capabilities, arenas=False),
    )
    with LogWriter(path.open("wb"), header) as log:
        for definitions in model.definitions:
            log.write(definitions)
        generator = _Generator(model, events, alive, random, log)
        for _ in generator.batches():
            if progress:
                progress(generator.totals.events)
        log.close(generator.totals, complete=True, exit_status=0)
    return generator.totals


class _Generator:
    """The state of one synthetic log."""

    def __init__(
        self, model: Model, events: int, alive: int, random: np.random.Generator, log: LogWriter
    ) -> None:
        self._events, self._log = events, log
        self._plan = plan(model, events, alive)
        self._source = Source(model, self._plan, random)
        self._clock = Clock(model, random)
        self._specials = Specials(model, -self._plan.loaded, events - self._plan.loaded)
        self._memory = Memory()
        self._alive = np.zeros(0, BLOCK)
        self.totals = Totals()

    def batches(self) -> Iterator[None]:
        """Write all events; one turn a batch."""
        start = -self._plan.loaded
        for tick in range(start, 0, BATCH_TICKS):
            stop = min(0, tick + BATCH_TICKS)
            births = self._source.loaded(tick - stop, self._plan.permanent * (stop - tick) // -start)
            births = Births(births.tick + stop, births.due, births.columns, births.replaces)
            self._write(births, tick, stop)
            yield
        tick = 0
        while self.totals.events < self._events:
            self._write(self._source.steady(tick, BATCH_TICKS), tick, tick + BATCH_TICKS)
            tick += BATCH_TICKS
            yield
        self._write_live_types()

    def _write(self, births: Births, start: int, stop: int) -> None:
        """Put the events of the ticks from ``start`` to ``stop`` in order and write them."""
        first = self.totals.events
        specials = self._specials.between(start, stop)
        due = np.flatnonzero(self._alive["due"] < stop)
        dead = np.flatnonzero(births.due < stop)
        keys = np.concatenate(
            [
                births.tick * 4 + USUAL,
                _free_keys(births.due[dead], births.columns["cause"][dead]),
                _free_keys(self._alive["due"][due], self._alive["cause"][due]),
                np.array([special.key for special in specials], np.int64),
            ]
        )
        order = np.argsort(keys, kind="stable")
        last = first + len(order) >= self._events
        if last:
            order = order[: self._events - first - 1]  # and the mark "end"
        rank = np.full(len(keys), NOTHING)
        rank[order] = np.arange(len(order))
        batch = _Batch(births, dead, self._alive[due], rank, first=first, count=len(order) + last)
        batch.fill(self._memory)
        there = [special.at(first + int(row)) for special, row in zip(specials, batch.special, strict=True)]
        there = [special for special in there if special.seq >= first]
        if last:
            there.append(self._specials.end(self._events - 1))
        self._clock.set(batch.columns)
        details = list(self._specials.details(there, batch.columns))
        self._count(batch)
        for detail in details:
            self._log.write(detail)
        self._log.write_events(batch.columns)
        self._alive = np.concatenate([np.delete(self._alive, due[batch.freed]), batch.surviving()])
        now = batch.columns
        self._log.write(
            MemorySample(int(now.time_ns[-1]), self.totals.events - 1, RSS_BASE + self.totals.end_bytes)
        )

    def _count(self, batch: _Batch) -> None:
        """Take a batch into the totals."""
        before, columns = self.totals, batch.columns
        born = columns.allocations
        change = np.where(born, columns.size, 0)
        change[columns.frees] = -batch.freed_sizes()
        running = before.end_bytes + np.cumsum(change)
        top = int(running.argmax())
        frees = int(np.count_nonzero(columns.frees))
        allocations = int(np.count_nonzero(born))
        peak = (before.peak_bytes, before.peak_blocks, before.peak_seq)
        if before.peak_seq < 0 or int(running[top]) > before.peak_bytes:
            until = slice(None, top + 1)
            blocks = int(np.count_nonzero(born[until])) - int(np.count_nonzero(columns.frees[until]))
            peak = (int(running[top]), before.end_blocks + blocks, columns.first_seq + top)
        self.totals = Totals(
            events=before.events + len(columns),
            allocations=before.allocations + allocations,
            frees=before.frees + frees,
            gc_collections=before.gc_collections + int(np.count_nonzero(columns.kind == EventKind.GC_START)),
            allocated_bytes=before.allocated_bytes + int(columns.size[born].sum()),
            peak_bytes=peak[0],
            peak_blocks=peak[1],
            peak_seq=peak[2],
            end_bytes=int(running[-1]),
            end_blocks=before.end_blocks + allocations - frees,
            duration_ns=int(columns.time_ns[-1]),
        )

    def _write_live_types(self) -> None:
        known = self._alive[(self._alive["type"] > 0) & (self._alive["alloc_seq"] >= 0)]
        if len(known):
            for record in encode_live_types(self._events - 1, known["alloc_seq"], known["type"]):
                self._log.write(record)


def _free_keys(due: IntArray, cause: npt.NDArray[np.uint8]) -> IntArray:
    return due * 4 + np.where(cause == Cause.GC, COLLECTED, USUAL)


class _Batch:
    """Events in order: the allocations, the frees of some of them (``dead``) and of ``older`` blocks.

    ``rank`` says for each of these and then for the specials which row of the batch it is, -1: none, the
    log being at its end.
    """

    def __init__(
        self, births: Births, dead: IntArray, older: Blocks, rank: IntArray, *, first: int, count: int
    ) -> None:
        edges = np.cumsum([len(births), len(dead), len(older)])
        self._births, self._dead, self._older = births, dead, older
        self._born, self._died, self._old, self.special = np.split(rank, edges)
        self.freed = self._old >= 0
        """Which of the older blocks were freed."""
        self.columns: EventColumns = empty_columns(first, count)
        self._classes = size_classes(births.columns["size"])
        self._places = np.zeros(len(births), np.int64)

    def fill(self, memory: Memory) -> None:
        """Fill in the columns, but for the time and what belongs to specials."""
        columns, births = self.columns, self._births
        here = self._born >= 0
        self._place(memory, here)
        row = self._born[here]
        columns.kind[row] = EventKind.ALLOCATION
        columns.thread_id[row] = births.columns["thread"][here]
        columns.address[row] = addresses(self._classes[here], self._places[here])
        columns.size[row] = births.columns["size"][here]
        columns.domain[row] = births.columns["domain"][here]
        columns.stack_id[row] = births.columns["stack"][here]
        old = births.replaces[here]
        columns.alloc_seq[row] = np.where(old >= 0, columns.first_seq + self._born[old], NOTHING)
        for rows, source, blocks in (
            (self._died, births.columns, self._dead),
            (self._old, self._older, np.arange(len(self._older))),
        ):
            done = rows >= 0
            row, block = rows[done], blocks[done]
            columns.kind[row] = EventKind.FREE
            columns.cause[row], columns.type_id[row] = source["cause"][block], source["type"][block]
            columns.thread_id[row] = source["free_thread"][block]
        columns.alloc_seq[self._died[self._died >= 0]] = (
            columns.first_seq + self._born[self._dead[self._died >= 0]]
        )
        columns.alloc_seq[self._old[self.freed]] = self._older["alloc_seq"][self.freed]

    def _place(self, memory: Memory, here: npt.NDArray[np.bool_]) -> None:
        """Give every allocation a place."""
        count = len(self.columns)
        classes, block, place = np.zeros(count, np.uint8), np.full(count, -1), np.full(count, -1)
        free, used = np.zeros(count, np.bool_), np.zeros(count, np.bool_)
        row, died, old = self._born[here], self._died[self._died >= 0], self._old[self.freed]
        dead = self._dead[self._died >= 0]
        # Allocations are in order, so what the end of the log cuts off are the last ones.
        classes[row], block[row] = self._classes[here], np.arange(len(row))
        classes[died], block[died] = self._classes[dead], dead
        classes[old], place[old] = self._older["class"][self.freed], self._older["place"][self.freed]
        free[died] = free[old] = True
        used[row] = used[died] = used[old] = True
        self._places[here] = memory.take(classes[used], free[used], block[used], place[used])

    def freed_sizes(self) -> IntArray:
        """Sizes of the blocks that were freed, in the order of the frees."""
        sizes = np.zeros(len(self.columns), np.int64)
        done = self._died >= 0
        sizes[self._died[done]] = self._births.columns["size"][self._dead[done]]
        sizes[self._old[self.freed]] = self._older["size"][self.freed]
        return sizes[self.columns.frees]

    def surviving(self) -> Blocks:
        """The blocks of this batch that are alive after it."""
        alive = self._born >= 0
        alive[self._dead[self._died >= 0]] = False
        births = self._births
        found = np.zeros(int(np.count_nonzero(alive)), BLOCK)
        found["alloc_seq"] = self.columns.first_seq + self._born[alive]
        found["due"], found["place"] = births.due[alive], self._places[alive]
        found["class"] = self._classes[alive]
        for name in ("size", "type", "free_thread", "cause"):
            found[name] = births.columns[name][alive]
        return found
