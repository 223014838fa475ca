"""What is taken from a recorded log: its definitions, stretches of its allocations, how its time goes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tracekit.events import Cause, Definitions, Header, LiveTypes
from tracekit.log.columns import NOTHING, EventColumns, IntArray
from tracekit.log.livetypes import decode_live_types
from tracekit.log.reader import LogReader

MODEL_EVENTS = 1 << 22
"""Events of the recorded log that are kept, about; of a longer one every 2nd, 3rd... batch."""

Rows = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A recorded log, as material.

    ``blocks`` has a row an allocation: ``at`` (the event, counted in kept events), ``size``, ``domain``,
    ``thread``, ``stack``, ``life`` (events until its free, 0: never freed), ``cause``, ``type`` and
    ``free_thread`` of that free, and ``back`` (how many rows before it the block stands that a realloc
    replaced by it, 0: none). ``span`` counts the kept events. Time passes in ``steps`` of nanoseconds, after
    ``lengths`` events each. ``collect_every`` is the number of events a collection (0: there were none).
    """

    header: Header
    definitions: list[Definitions]
    blocks: Rows
    span: int
    steps: IntArray
    lengths: IntArray
    collect_every: int

    @property
    def rate(self) -> float:
        """Allocations an event."""
        return len(self.blocks["at"]) / self.span


def read_model(path: Path) -> Model:
    """Read a log that was closed. Raises ValueError when too little is in it, and what LogReader raises."""
    with LogReader(path) as log:
        if log.footer is None:
            raise ValueError(f"{path} was not closed")
        totals = log.footer.totals
        material = _Material(every=-(-totals.events // MODEL_EVENTS))
        for _, record in log.decoded():
            match record:
                case Definitions():
                    material.definitions.append(record)
                case EventColumns():
                    material.take(record)
                case LiveTypes():
                    material.types_of_live(record)
                case _:
                    pass
        if sum(map(len, material.at)) < 1000:
            raise ValueError(f"{path} holds too few allocations to draw from")
        every = totals.events // totals.gc_collections if totals.gc_collections else 0
        return material.model(log.header, every)


class _Material:
    """Collects the batches that are kept, and what later batches say of their blocks."""

    def __init__(self, every: int) -> None:
        self.definitions: list[Definitions] = []
        self.at: list[IntArray] = []
        self._every, self._batches, self._span = every, 0, 0
        self._columns: list[Rows] = []
        self._seq: list[IntArray] = []
        self._ends: list[Rows] = []
        self._steps: list[IntArray] = []
        self._lengths: list[IntArray] = []

    def take(self, batch: EventColumns) -> None:
        """Take a batch: its frees in any case, its allocations when it is one of those to keep."""
        frees = np.flatnonzero(batch.frees & (batch.alloc_seq != NOTHING))
        self._ends.append(
            {
                "alloc_seq": batch.alloc_seq[frees],
                "free_seq": batch.first_seq + frees,
                "cause": batch.cause[frees],
                "type": batch.type_id[frees],
                "free_thread": batch.thread_id[frees],
            }
        )
        if self._batches % self._every == 0:
            self._keep(batch)
        self._batches += 1
        if len(self._ends) >= 32:
            self._ends = [self._of_kept()]

    def types_of_live(self, record: LiveTypes) -> None:
        """Take the types of blocks that no free tells."""
        alloc_seq, type_id = decode_live_types(record)
        count = len(alloc_seq)
        zeros = np.zeros(count, np.int32)
        self._ends.append(
            {
                "alloc_seq": alloc_seq,
                "free_seq": alloc_seq,
                "cause": np.full(count, Cause.REFCOUNT, np.uint8),
                "type": type_id.astype(np.int32),
                "free_thread": zeros,
            }
        )

    def _keep(self, batch: EventColumns) -> None:
        rows = np.flatnonzero(batch.allocations)
        self.at.append(self._span + rows)
        self._seq.append(batch.first_seq + rows)
        self._columns.append(
            {
                "size": batch.size[rows],
                "domain": batch.domain[rows],
                "thread": batch.thread_id[rows],
                "stack": batch.stack_id[rows],
                "replaces": batch.alloc_seq[rows],
            }
        )
        self._span += len(batch)
        changes = np.flatnonzero(np.diff(batch.time_ns))
        if len(changes) > 1:
            self._steps.append(np.diff(batch.time_ns)[changes[:-1]])
            self._lengths.append(np.diff(changes))

    def _of_kept(self) -> Rows:
        """The ends so far, without those of blocks that are not kept and cannot come any more."""
        ends = {name: np.concatenate([each[name] for each in self._ends]) for name in self._ends[0]}
        seq = np.concatenate(self._seq)
        kept = np.isin(ends["alloc_seq"], seq, assume_unique=False)
        return {name: values[kept] for name, values in ends.items()}

    def model(self, header: Header, collect_every: int) -> Model:
        """Everything put together; the free of a block counts more than what is said of a living one."""
        ends = self._of_kept()
        seq = np.concatenate(self._seq)
        blocks = {name: np.concatenate([each[name] for each in self._columns]) for name in self._columns[0]}
        place = np.searchsorted(seq, ends["alloc_seq"])
        order = np.argsort(ends["free_seq"] > ends["alloc_seq"], kind="stable")
        place = place[order]
        for name, kind in (("cause", np.uint8), ("type", np.int32), ("free_thread", np.int32)):
            blocks[name] = np.zeros(len(seq), kind)
            blocks[name][place] = ends[name][order]
        blocks["life"] = np.zeros(len(seq), np.int64)
        blocks["life"][place] = (ends["free_seq"] - ends["alloc_seq"])[order]
        replaces = blocks.pop("replaces")
        old = np.minimum(np.searchsorted(seq, replaces), len(seq) - 1)
        linked = (replaces != NOTHING) & (seq[old] == replaces)
        blocks["back"] = np.where(linked, np.arange(len(seq)) - old, 0)
        blocks["at"] = np.concatenate(self.at)
        steps, lengths = self._steps or [np.array([1000])], self._lengths or [np.array([8])]
        return Model(
            header,
            self.definitions,
            blocks,
            self._span,
            np.concatenate(steps),
            np.concatenate(lengths),
            collect_every,
        )
