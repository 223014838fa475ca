"""Which groups of blocks keep arenas from being returned, and in which order to free them.

An arena goes back to the system only when none of its blocks is in use, so that a group of blocks *holds*
every arena that one of its blocks lies in: alone, or together with other groups. To return most memory by
freeing fewest groups is a hard problem (maximum coverage, of sets that need all of their members), and this
is the usual greedy answer: again and again, take the groups that together return most arenas a group.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tracekit.replay.pools import Flags, Integers

MOST_TOGETHER = 5
"""Groups that are worth freeing together for the sake of an arena: nobody changes forty places for one."""

_TRIED = 16
"""Sets of groups whose effect is counted exactly in each step, the most promising of all."""


@dataclass(frozen=True, slots=True)
class Holds:
    """Which groups hold which arenas: one pair of numbers each, every pair once.

    ``fixed`` are arenas that come free for no group that can be freed.
    """

    arena: Integers
    group: Integers
    arenas: int
    groups: int
    fixed: Flags

    @property
    def holders(self) -> Integers:
        """How many groups hold each arena."""
        return np.bincount(self.arena, minlength=self.arenas)

    def alone(self) -> Integers:
        """Of each group, how many arenas it holds alone."""
        single = self.holders[self.arena] == 1
        return np.bincount(self.group[single], minlength=self.groups)

    def all(self) -> Integers:
        """Of each group, how many arenas it holds."""
        return np.bincount(self.group, minlength=self.groups)


@dataclass(frozen=True, slots=True)
class Ranked:
    """A group to free, and the arenas that come free when it and all groups before it are freed."""

    group: int
    arenas: int


def rank(holds: Holds, cost: Integers, most: int) -> list[Ranked]:
    """The order in which to free groups, ``most`` of them at most.

    Each step takes a set of groups that hold an arena between them, MOST_TOGETHER at most: the one whose
    freeing returns most arenas a group, and of equal ones that with the least ``cost`` (of each group, in
    bytes). Within a set the group that holds more comes first. Groups that no such set has are left out.
    """
    state = _State(holds)
    found: list[Ranked] = []
    held = holds.all()
    while room := most - len(found):
        best = state.best(cost, min(room, MOST_TOGETHER))
        if best is None:
            break
        for group in best[np.lexsort((cost[best], -held[best]))]:
            state.free(int(group))
            found.append(Ranked(int(group), state.returned))
    return found


class _State:
    """Which groups are still there. Two arenas have equal signatures when the same groups hold them."""

    def __init__(self, holds: Holds) -> None:
        self._arena, self._group, self._holds = holds.arena, holds.group, holds
        self._left = holds.holders
        self._open: Flags = (self._left > 0) & ~holds.fixed
        self._mark: npt.NDArray[np.uint64] = np.random.default_rng(0).integers(
            1, 2**64 - 1, holds.groups, dtype=np.uint64
        )
        self._signature = np.zeros(holds.arenas, np.uint64)
        np.add.at(self._signature, self._arena, self._mark[self._group])
        self.returned = 0

    def best(self, cost: Integers, room: int) -> Integers | None:
        """The groups to free next, ``room`` of them at most; None when nothing more can be returned."""
        arenas = np.flatnonzero(self._open & (self._left <= room))
        if not len(arenas):
            return None
        _, example, count = np.unique(self._signature[arenas], return_index=True, return_counts=True)
        example = arenas[example]
        promising = np.argsort(-count / self._left[example], kind="stable")[:_TRIED]
        found: list[tuple[float, int, list[int]]] = []
        for arena in example[promising]:
            groups = self._group[self._arena == arena]
            gain = self._gain(groups) if len(groups) > 1 else int(count[example == arena][0])
            found.append((-gain / len(groups), int(cost[groups].sum()), sorted(groups.tolist())))
        return np.array(min(found)[2], np.int64)

    def _gain(self, groups: Integers) -> int:
        """Arenas that come free with these groups."""
        chosen = np.zeros(self._holds.groups, np.bool_)
        chosen[groups] = True
        covered = np.bincount(self._arena[chosen[self._group]], minlength=self._holds.arenas)
        return int((self._open & (covered == self._left)).sum())

    def free(self, group: int) -> None:
        """Free a group."""
        mine = self._group == group
        arenas = self._arena[mine]
        self._left[arenas] -= 1
        self._signature[arenas] -= self._mark[group]
        done = arenas[(self._left[arenas] == 0) & self._open[arenas]]
        self._open[done] = False
        self.returned += len(done)
        self._arena, self._group = self._arena[~mine], self._group[~mine]
