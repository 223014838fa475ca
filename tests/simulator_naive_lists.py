"""Free lists for the naive machine: every object one by one, with the instant at which it comes or goes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from tracekit.simulator.settings import Garbage, Reference
from tracekit.store.steps import FREE_LIST_BYTES

if TYPE_CHECKING:
    from simulator_naive import NaiveMachine

MOST = [80, 80] + 20 * [2000] + [100, 80]
Happening = tuple[int, int, int, str]
"""(slot, kind of list, number, what): "come", "go" or "garbage", in the order in which they happen."""


def happenings(reference: Reference, number: int) -> list[Happening]:
    """What happens between recorded collection ``number`` and the one before it."""
    found: list[Happening] = []
    for kind in range(24):
        drift, parked = int(reference.lists.drift[number, kind]), int(reference.lists.parked[number, kind])
        for what, objects in (("come" if drift > 0 else "go", abs(drift)), ("garbage", parked)):
            found += [(-(-32 * one // objects), kind, one, what) for one in range(1, objects + 1)]
    return sorted(found, key=lambda one: (one[0], one[1], one[3] == "garbage", one[2]))


class NaiveLists:
    """``waiting`` counts objects; ``spare`` are names of blocks that the recording does not have."""

    def __init__(self, machine: NaiveMachine, reference: Reference, garbage: Garbage) -> None:
        self.machine, self.reference, self.garbage = machine, reference, garbage
        self.on = len(reference.lists.drift) > 0 and garbage != Garbage.RECORDED
        self.waiting: Counter[int] = Counter()
        self.recorded: Counter[int] = Counter()
        if self.on:
            self.waiting.update(dict(enumerate(reference.lists.waiting[0].tolist())))
            self.recorded.update(self.waiting)
        self.spare: dict[int, list[int]] = {kind: [] for kind in range(24)}
        self.owed: Counter[int] = Counter()
        self.unreachable: list[tuple[int, int]] = []
        self.in_use: list[tuple[int, int, int, int]] = []
        """(since, kind, which lifetime, turn)"""
        self.names = -1_000_000
        self.keys = 0
        self.interval = -1
        self.coming: list[Happening] = []

    @property
    def live_bytes(self) -> int:
        """Bytes of blocks beyond those of the recording that are not freed."""
        spare = sum(FREE_LIST_BYTES[kind] * len(names) for kind, names in self.spare.items())
        return int(spare - self.owed_bytes)

    @property
    def owed_bytes(self) -> int:
        """Bytes of blocks of the recording that the model does not have."""
        return sum(FREE_LIST_BYTES[kind] * blocks for kind, blocks in self.owed.items())

    def ahead(self, kind: int) -> int:
        """How many objects more wait in the model than in the recording."""
        return self.waiting[kind] - self.recorded[kind] if kind >= 0 else 0

    def take(self, kind: int) -> bool:
        if not self.waiting[kind]:
            return False
        self.waiting[kind] -= 1
        return True

    def put(self, kind: int) -> bool:
        if self.waiting[kind] == MOST[kind]:
            return False
        self.waiting[kind] += 1
        return True

    def lose(self, kind: int) -> None:
        if not self.spare[kind]:
            self.owed[kind] += 1
            return
        self.machine.free_name(self.spare[kind].pop(), FREE_LIST_BYTES[kind])

    def gain(self, kind: int) -> None:
        if self.owed[kind]:
            self.owed[kind] -= 1
        else:
            self.names -= 1
            self.machine.place_name(self.names, FREE_LIST_BYTES[kind])
            self.spare[kind].append(self.names)

    def begin_of(self, number: int) -> int:
        return int(self.reference.stop_seq[number - 1]) if number > 0 else 0

    def before(self, number: int, seq: float) -> None:
        """All that happens before event ``seq`` in the interval before recorded collection ``number``."""
        if not self.on or number >= len(self.reference):
            return
        if self.interval != number:
            self.interval, self.coming = number, happenings(self.reference, number)
        begin = self.begin_of(number)
        step = max(0, int(self.reference.start_seq[number]) - begin) // 32
        while self.coming and begin + step * self.coming[0][0] < seq:
            slot, kind, _, what = self.coming.pop(0)
            collector = self.machine.collector
            if what == "garbage":
                if self.garbage == Garbage.EARLY:
                    self.unreachable.append((0, kind))
                elif self.garbage == Garbage.LIKELY:
                    at = begin + step * slot
                    self.in_use.append((at, kind, collector.next_turn(), collector.lifetimes_used))
            elif what == "go":
                self.recorded[kind] -= 1
                if not self.take(kind):
                    self.gain(kind)
                    self.machine.note()
                    collector.count[0] += kind < 22
            else:
                self.recorded[kind] += 1
                if not self.put(kind):
                    self.lose(kind)
                    collector.count[0] -= kind < 22 and collector.count[0] > 0

    def over(self, number: int) -> None:
        """Recorded collection ``number`` began, and what happens from now on is after it."""
        if self.on:
            self.keys = self.recorded[23] if self.reference.generation[number] == 2 else 0
            self.recorded = Counter(dict(enumerate(self.reference.lists.waiting[number + 1].tolist())))

    def keep_keys(self) -> None:
        """Tables of keys that the recording freed, and nobody knows which blocks they are."""
        for _ in range(self.keys):
            self.gain(23)
            self.machine.note()
        self.keys = 0

    def due(self, number: int) -> None:
        """Recorded collection ``number`` was due."""
        if self.on and self.garbage == Garbage.LATE:
            generation = self.machine.collector.generation_of(self.begin_of(number))
            for kind in range(24):
                self.unreachable += int(self.reference.lists.parked[number, kind]) * [(generation, kind)]

    def ripe(self, one: tuple[int, int, int, int], generation: int) -> None:
        """An object is not in use any more."""
        self.in_use.remove(one)
        self.unreachable.append((generation, one[1]))

    def tell(self) -> int:
        """A dict for the recorder, which is dead soon. How many objects the collector counts for it."""
        if not self.on or self.take(0):
            self.waiting[0] += self.on
            return 0
        self.gain(0)
        self.machine.note()
        self.waiting[0] = 1
        return 1

    def collected(self, generation: int) -> None:
        """A collection of the model is at its end."""
        found = sorted(one for one in self.unreachable if one[0] <= generation)
        self.unreachable = [one for one in self.unreachable if one[0] > generation]
        for _, kind in found:
            if not self.put(kind):
                self.lose(kind)
        if generation == 2 and self.on:
            for kind in range(24):
                while self.take(kind):
                    self.lose(kind)
