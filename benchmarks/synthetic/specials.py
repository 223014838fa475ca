"""Collections and marks of a synthetic log: the few events that have a record of their own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from benchmarks.synthetic.model import Model
from tracekit.events import Cause, CollectionStart, CollectionStop, EventKind, Mark
from tracekit.log.columns import EventColumns

PHASES = 10
STARTS, STOPS = 0, 2
"""Order within a tick, see :mod:`benchmarks.synthetic.generate`."""


@dataclass(frozen=True, slots=True)
class Special:
    """A collection's start or stop, or a mark; ``key`` is 4 times its tick and its order within that."""

    key: int
    kind: EventKind
    number: int = 0
    name: str = ""
    seq: int = -1

    def at(self, seq: int) -> Special:
        """The same as event ``seq``."""
        return replace(self, seq=seq)


class Specials:
    """Says which come when: a collection every so many ticks, a mark at each tenth of the log."""

    def __init__(self, model: Model, first_tick: int, ticks: int) -> None:
        self._every, self._first_tick = model.collect_every, first_tick
        self._collector = model.header.collector
        threads, counts = np.unique(model.blocks["thread"], return_counts=True)
        self._thread = int(threads[counts.argmax()])
        self._phases = {ticks * number // PHASES: f"phase {number}" for number in range(1, PHASES)}
        self._running: CollectionStart | None = None

    def between(self, start: int, stop: int) -> list[Special]:
        """Those of the ticks from ``start`` to ``stop``."""
        found = [
            Special(4 * tick, EventKind.MARK, name=name)
            for tick, name in self._phases.items()
            if start <= tick < stop
        ]
        if start == self._first_tick:
            found.append(Special(4 * start, EventKind.MARK, name="start"))
        if self._every:
            for tick in range(max(-(-start // self._every), 0) * self._every, stop, self._every):
                number = tick // self._every
                found.append(Special(4 * tick + STARTS, EventKind.GC_START, number))
                found.append(Special(4 * tick + STOPS, EventKind.GC_STOP, number))
        return found

    def end(self, seq: int) -> Special:
        """The mark at the end."""
        return Special(0, EventKind.MARK, name="end", seq=seq)

    def details(
        self, specials: Sequence[Special], columns: EventColumns
    ) -> Iterator[CollectionStart | CollectionStop | Mark]:
        """Enter them into their batch, whose times are known; their records."""
        for special in specials:
            row = special.seq - columns.first_seq
            columns.kind[row], columns.thread_id[row] = special.kind, self._thread
            time_ns = int(columns.time_ns[row])
            if special.kind == EventKind.MARK:
                own = special.name in {"start", "end"}
                yield Mark(special.name, special.seq, time_ns, self._thread, own)
            elif special.kind == EventKind.GC_START:
                self._running = self._start(special, time_ns)
                yield self._running
            elif self._running is not None:
                began = self._running
                freed = columns.cause[max(0, began.seq - columns.first_seq) : row]
                collected = int(np.count_nonzero(freed == Cause.GC))
                yield CollectionStop(
                    special.number, special.seq, time_ns, time_ns - began.time_ns, collected, 0
                )

    def _start(self, special: Special, time_ns: int) -> CollectionStart:
        young, middle, old = self._collector.thresholds
        turn = special.number + 1
        generation = 2 if turn % max(1, middle * old) == 0 else int(turn % max(1, middle) == 0)
        counts = (young + 1, turn % max(1, middle), turn // max(1, middle) % max(1, old))
        return CollectionStart(
            special.number,
            special.seq,
            time_ns,
            self._thread,
            generation,
            counts,
            self._collector.thresholds,
        )
