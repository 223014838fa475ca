"""The allocations of one stretch of a synthetic log, copied from the model in runs.

A run is a stretch of the model, so that what stands together there stands together here: the sequence of
sites, sizes and threads, and the young blocks' deaths. Where each run is taken from is drawn.

Time is counted in *ticks*: an event of the model is one, and as allocations and frees balance, an event of
the new log is one on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.synthetic.lifetimes import MIDDLE, NEVER, Plan
from benchmarks.synthetic.model import Model, Rows
from tracekit.events import Cause
from tracekit.log.columns import IntArray

RUN_TICKS = 1 << 14
GROUP_TICKS = 512
"""Old blocks that were allocated together die together, as the parts of one structure do."""

COPIED = ("size", "domain", "thread", "stack", "cause", "type", "free_thread")


@dataclass(frozen=True, slots=True, eq=False)
class Births:
    """Allocations in order: ``tick`` of each, ``due`` (the tick of its free), what is copied from the model
    (``columns``), and which earlier one of these it replaces as a realloc (``replaces``, -1: none)."""

    tick: IntArray
    due: IntArray
    columns: Rows
    replaces: IntArray

    def __len__(self) -> int:
        return len(self.tick)


class Source:
    """Draws allocations. ``collect_every``: ticks between collections, which begin at its multiples."""

    def __init__(self, model: Model, plan: Plan, random: np.random.Generator) -> None:
        self._blocks, self._span = model.blocks, model.span
        self._plan, self._random = plan, random
        self._collect_every = model.collect_every
        self._run = max(16, min(RUN_TICKS, model.span // 16))
        life = model.blocks["life"]
        self._young = (life > 0) & (life <= plan.young)
        self._old_rows = np.flatnonzero(~self._young)
        if not len(self._old_rows):
            self._old_rows = np.arange(len(life))

    def steady(self, start: int, ticks: int) -> Births:
        """The allocations of the ticks from ``start`` on."""
        rows, shift, link = [], [], []
        at, back = self._blocks["at"], self._blocks["back"]
        for tick in range(start, start + ticks, self._run):
            length = min(self._run, start + ticks - tick)
            first = int(self._random.integers(0, self._span - length + 1))
            low, high = np.searchsorted(at, [first, first + length])
            here = np.arange(low, high)
            linked = (back[low:high] > 0) & (here - back[low:high] >= low)
            rows.append(here)
            link.append(np.where(linked, back[low:high], 0))
            shift.append(np.full(len(here), tick - first))
        row = np.concatenate(rows)
        tick = at[row] + np.concatenate(shift)
        stretched, life = self._lives(row, (tick - start) // GROUP_TICKS)
        number = np.arange(len(row))
        back = np.concatenate(link)
        old = number - back
        replaces = np.where((back > 0) & ~stretched[old], old, -1)
        return self._births(row, tick, tick + life, replaces)

    def loaded(self, start: int, permanent: int) -> Births:
        """Old blocks from tick ``start`` to tick 0, one a tick; ``permanent`` of them for good."""
        count = -start
        row = np.sort(self._random.choice(self._old_rows, count))
        due = self._plan.tail.remaining(self._random, count)
        due[self._random.permutation(count)[:permanent]] = NEVER
        return self._births(row, np.arange(start, 0), due, np.full(count, -1))

    def _lives(self, row: IntArray, group: IntArray) -> tuple[npt.NDArray[np.bool_], IntArray]:
        """(is it another one than in the model, lifetime in ticks) of blocks; ``group`` numbers them."""
        plan, random = self._plan, self._random
        groups = int(group[-1]) + 1 if len(group) else 0
        young = self._young[row]
        kept = random.random(groups) < plan.kept
        promoted = young & (random.random(len(row)) < plan.promoted)
        promoted &= self._blocks["cause"][row] != Cause.REALLOC
        old = promoted | (~young & kept[group])
        tail = plan.tail.lifetimes(random, groups)[group]
        alone = plan.tail.lifetimes(random, len(row))
        middle = np.exp(random.uniform(np.log(plan.young / MIDDLE), np.log(plan.young), groups))
        life = np.where(young, self._blocks["life"][row], middle.astype(np.int64)[group])
        life = np.where(old, np.where(promoted, alone, tail), life)
        return old | ~young, np.maximum(life, 1)

    def _births(self, row: IntArray, tick: IntArray, due: IntArray, replaces: IntArray) -> Births:
        columns = {name: self._blocks[name][row] for name in COPIED}
        every = self._collect_every
        if every:
            collected = (columns["cause"] == Cause.GC) & (due < NEVER)
            down = due // every * every
            due = np.where(collected, np.where(down > tick, down, down + every), due)
        return Births(tick, due, columns, replaces)
