"""A second, deliberately naive machine: real lists of blocks and objects, and everything added up anew."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from simulator_naive_lists import NaiveLists
from simulator_naive_pymalloc import NaivePyMalloc

from tracekit.events import Cause, Domain
from tracekit.simulator.settings import Garbage, MachineSettings, Older, Reference
from tracekit.simulator.system import AddressSpace, Malloc
from tracekit.store.steps import FREE_LIST_BYTES, IntArray, Steps

PYMALLOC_DOMAINS = {Domain.MEM, Domain.OBJECT, Domain.PYTHON}


@dataclass(eq=False)
class Block:
    """A block allocated while recorded. ``doomed``: from which recorded collection on it is garbage."""

    seq: int
    size: int
    tracked: bool
    garbage: int
    free_list: int = -1
    doomed: int | None = None
    unreachable_since: int | None = None
    lifetime: int | None = None
    turn: int = 0


class NaiveCollector:
    """The collector with the three lists of objects that CPython keeps (here: of all blocks), and a fourth.

    ``generations[3]`` is the permanent one of gc.freeze().
    """

    def __init__(self, machine: NaiveMachine, settings: MachineSettings, reference: Reference) -> None:
        self.machine, self.settings, self.reference = machine, settings, reference
        self.generations: list[list[Block]] = [[], [], [], []]
        self.count = list(reference.counts)
        self.long_lived_total, self.long_lived_pending = reference.long_lived
        self.collections: list[tuple[int, ...]] = []
        self.passed = self.passed_due = 0
        self.waiting_at: int | None = None
        self.frozen = False
        self.turns = 0
        self.looked: list[tuple[int, int]] = []
        self.lifetimes_used = 0

    def setting(self, seq: int) -> tuple[bool, list[int]]:
        """Whether the program had the collector on at event ``seq``, and the thresholds then."""
        recorded, told = self.reference.settings, self.settings.collector.thresholds
        on, row = self.settings.collector.enabled, self.reference.thresholds[self.passed].tolist()
        for number, now in enumerate(recorded.on.tolist()):
            if recorded.seq[number] <= seq:
                row = recorded.thresholds[number].tolist()
                if number == 0:
                    on = on and now
                elif now != recorded.on[number - 1]:
                    on = now
        return on, row if told is None else list(told)

    def before(self, seq: int) -> None:
        reference = self.reference
        while self.passed < len(reference) and reference.start_seq[self.passed] < seq:
            number = self.passed
            start = int(reference.start_seq[number])
            self.machine.lists.before(number, float("inf"))
            self.freeze(start)
            self.due_until(start)
            on, thresholds = self.setting(start)
            self.passed += 1
            self.machine.lists.over(number)
            self.count[0] = max(0, self.count[0] + int(reference.correction[number]))
            if reference.asked[number]:
                self.collect(start, int(reference.generation[number]), asked=True)
            elif self.waiting_at is not None or (on and 0 < thresholds[0] < self.count[0]):
                self.collect_what_is_due(start, thresholds)
            self.condemn(number, Garbage.EARLY)
            self.machine.lists.keep_keys()
        self.machine.lists.before(self.passed, seq)
        self.freeze(seq)
        self.due_until(seq - 1)

    def due_until(self, seq: int) -> None:
        while self.passed_due < len(self.reference) and self.reference.due()[self.passed_due] <= seq:
            self.passed_due += 1
            self.condemn(self.passed_due - 1, Garbage.LATE)
            self.machine.lists.due(self.passed_due - 1)
            if self.settings.collector.garbage == Garbage.LIKELY:
                self.ripen(int(self.reference.due()[self.passed_due - 1]), all_of_them=True)
                self.condemn(self.passed_due - 1, Garbage.LIKELY)

    def freeze(self, seq: int) -> None:
        at = self.settings.collector.freeze_seq
        if at is not None and seq >= at and not self.frozen:
            self.frozen = True
            self.count = [0, 0, 0]
            self.generations[3] = [block for row in self.generations for block in row]
            self.generations[:3] = [[], [], []]
            self.machine.lists.unreachable.clear()
            self.machine.lists.in_use.clear()
            self.looked.append((2, at))

    def generation_of(self, seq: int) -> int:
        """In which generation an object of this age is."""
        for oldest in (0, 1):
            if seq >= next((at for generation, at in reversed(self.looked) if generation >= oldest), 0):
                return oldest
        return 2

    def condemn(self, number: int, when: Garbage) -> None:
        """All blocks that are garbage from recorded collection ``number`` on, in order of their age."""
        if self.settings.collector.garbage == when:
            blocks = [block for row in self.generations for block in row if block.doomed == number]
            for block in sorted(blocks, key=lambda one: one.seq):
                self.turns += 1
                block.unreachable_since = self.turns

    def next_turn(self) -> int:
        """Which of the lifetimes comes next: 13, 26, 7, 20..."""
        self.lifetimes_used += 13
        return self.lifetimes_used % 32

    def ripen(self, seq: int, *, all_of_them: bool = False) -> None:
        """What was in use for its lifetime is not any more."""
        blocks = [block for row in self.generations[:3] for block in row if block.lifetime is not None]
        hidden = self.machine.lists.in_use
        waiting: list[tuple[int, int, Block | tuple[int, int, int]]] = [
            *((block.lifetime or 0, block.turn, block) for block in blocks),
            *((lifetime, turn, (since, kind, turn)) for since, kind, lifetime, turn in hidden),
        ]
        for lifetime, _, one in sorted(waiting, key=lambda entry: entry[:2]):
            since = one.seq if isinstance(one, Block) else one[0]
            age = 0 if all_of_them else self.reference.lags[lifetime]
            if since + age > seq:
                continue
            if isinstance(one, Block):
                self.turns += 1
                one.unreachable_since, one.lifetime = self.turns, None
            else:
                self.machine.lists.ripe((*one[:2], lifetime, one[2]), self.generation_of(since))

    def check(self, seq: int, stack_id: int) -> None:
        if self.waiting_at is not None and self.waiting_at != stack_id and not self.is_held(seq - 1):
            self.collect_what_is_due(seq, self.setting(seq)[1])

    def is_held(self, seq: int) -> bool:
        waiting = [
            number
            for number in range(self.passed, len(self.reference))
            if self.reference.held()[number] <= seq
        ]
        return waiting[:1] == [self.passed]

    def allocated(self, block: Block, stack_id: int, *, counts: bool) -> None:
        self.count[0] += counts
        (on, thresholds), opaque = self.setting(block.seq), self.reference.opaque
        if (
            counts
            and on
            and 0 < thresholds[0] < self.count[0]
            and self.waiting_at is None
            and not self.reference.off[self.passed]
        ):
            opaque_here = stack_id < len(opaque) and opaque[stack_id]
            if self.settings.collects_at_checks and (opaque_here or self.is_held(block.seq)):
                self.waiting_at = stack_id
            else:
                self.collect_what_is_due(block.seq, thresholds)
        self.generations[0].append(block)
        if block.garbage >= 0 and self.settings.collector.garbage != Garbage.RECORDED:
            self.doom(block)

    def doom(self, block: Block) -> None:
        block.doomed = block.garbage
        if self.settings.collector.garbage in (Garbage.EARLY, Garbage.LIKELY):
            # What happened to it: which recorded collections looked at it before the one that freed it.
            generation, block.doomed = 0, None
            for number in range(self.passed, block.garbage):
                if self.reference.generation[number] >= generation:
                    block.doomed = number
                    generation = min(2, int(self.reference.generation[number]) + 1)
        if self.settings.collector.garbage != Garbage.EARLY and block.garbage < self.passed_due:
            block.doomed = None
        elif self.settings.collector.garbage == Garbage.LIKELY:
            turn = self.next_turn()
            if block.doomed is None:
                block.lifetime, block.turn = turn, self.lifetimes_used
                return
            block.doomed += math.ceil((block.garbage - block.doomed) * Fraction(2 * turn + 1, 64))
        if block.doomed is None:
            self.turns += 1
            block.unreachable_since = self.turns

    def freed(self, block: Block | None, *, counts: bool) -> None:
        for row in self.generations:
            if block in row:
                row.remove(block)
        self.count[0] -= counts and self.count[0] > 0

    def collect_what_is_due(self, seq: int, thresholds: list[int]) -> None:
        self.waiting_at = None
        for generation in (2, 1, 0):
            if self.count[generation] <= thresholds[generation]:
                continue
            if generation < 2 or self.long_lived_pending >= self.long_lived_total // 4:
                self.collect(seq, generation, asked=False)
                return

    def collect(self, seq: int, generation: int, *, asked: bool) -> None:
        self.count[: generation + 1] = [0] * (generation + 1)
        if generation < 2:
            self.count[generation + 1] += 1
        self.ripen(seq)
        self.machine.lists.tell()
        looked_at = self.generations[: generation + 1]
        gone = []
        for row in looked_at:
            garbage = [block for block in row if block.unreachable_since is not None]
            gone += sorted(garbage, key=lambda block: block.unreachable_since or 0)
        examined = sum(block.tracked for row in looked_at for block in row)
        freed = [block for block in gone if not self.machine.found_unreachable(block)]
        for block in gone:
            self.freed(block, counts=False)
        self.machine.lists.collected(generation)
        self.count[0] += self.machine.lists.tell()
        self.looked.append((generation, seq))
        size = sum(block.size for block in freed)
        self.collections.append((seq, generation, examined, len(freed), size, asked))
        survivors = [block for row in looked_at for block in row]
        self.generations[: generation + 1] = [[] for _ in looked_at]
        self.generations[min(2, generation + 1)] += survivors
        tracked = sum(block.tracked for block in survivors)
        if generation == 1:
            share = self.reference.young_share[self.passed - 1] if self.passed else 1
            self.long_lived_pending += int(tracked * share)
        if generation == 2:
            share = self.reference.full_share[self.passed - 1] if self.passed else 1
            self.long_lived_total = self.reference.long_lived[0] + int(tracked * share)
            self.long_lived_pending = 0


class NaiveMachine:
    """A machine without a memory limit. It runs whole steps in one go; ``numbers`` is what came out."""

    def __init__(
        self, settings: MachineSettings, reference: Reference, older: Older, path_bytes: IntArray
    ) -> None:
        self.settings = settings
        self.pymalloc = NaivePyMalloc(settings.parameters)
        self.malloc = Malloc(AddressSpace(), settings.parameters.page_size)
        self.older_names = self.pymalloc.begin_with(older) if settings.use_pymalloc else {}
        self.older_sizes = dict(zip(older.blocks.tolist(), older.block_bytes.tolist(), strict=True))
        self.collector = NaiveCollector(self, settings, reference)
        self.flushed = set(reference.flushed.tolist())
        shared = reference.shared
        self.shared: dict[int, int] = dict(zip(shared.seq.tolist(), shared.garbage.tolist(), strict=True))
        self.observed = set(reference.observed.tolist())
        self.lists = NaiveLists(self, reference, settings.collector.garbage)
        self.live: dict[int, Block] = {}
        self.parked: dict[int, Block] = {}
        self.path_bytes, self.paths = path_bytes, dict[int, int]()
        self.places: list[int] = []
        self.now = -1
        self.states: list[tuple[int, int, int, int]] = []
        """(seq, live bytes, arenas, stack bytes) after each allocation and its placing."""

    def run(self, steps: Steps) -> None:
        for row in range(len(steps)):
            self.now = int(steps.seq[row])
            self.collector.before(int(steps.seq[row]))
            if steps.is_free[row]:
                self.free_row(steps, row)
            else:
                self.allocate_row(steps, row)
        self.collector.before(1 << 62)

    def garbage(self, steps: Steps, row: int) -> int:
        """Which collection freed the block of a row as garbage; -1: none, or it said what nobody can mean."""
        number = int(steps.garbage[row])
        if self.settings.collector.garbage == Garbage.LATE and int(steps.seq[row]) in self.shared:
            return self.shared[int(steps.seq[row])]
        wrong = number >= len(self.collector.reference) or int(steps.alloc_seq[row]) in self.flushed
        return -1 if wrong else number

    def allocate_row(self, steps: Steps, row: int) -> None:
        seq, size, domain = int(steps.seq[row]), int(steps.size[row]), int(steps.domain[row])
        stack_id, of = int(steps.stack_id[row]), int(steps.realloc_of[row])
        self.collector.check(seq, stack_id)
        block = Block(seq, size, bool(steps.gc_tracked[row]), self.garbage(steps, row))
        if self.lists.on and of == -1:
            block.free_list = int(steps.free_list[row]) - 1
        parked = self.parked.get(domain)
        resized = parked is not None and parked.seq == of and parked.tracked
        if parked is not None and parked.seq == of:
            del self.parked[domain]
            self.places.append(self.reallocate(parked, block, domain))
        elif self.lists.ahead(block.free_list) > 0 and self.lists.take(block.free_list):
            self.places.append(self.reuse(block, domain))
            resized = True
        else:
            self.places.append(self.place(block, domain))
        self.live[seq] = block
        self.paths[int(steps.thread_id[row])] = int(self.path_bytes[stack_id])
        self.note()
        counts = block.tracked and not resized and seq not in self.observed
        self.collector.allocated(block, stack_id, counts=counts)

    def note(self) -> None:
        arenas = len(self.pymalloc.arenas)
        self.states.append((self.now, self.live_bytes, arenas, sum(self.paths.values())))

    def place(self, block: Block, domain: int) -> int:
        if self.settings.use_pymalloc and 0 < block.size <= 512 and domain in PYMALLOC_DOMAINS:
            return self.pymalloc.allocate(block.seq, (block.size - 1) // 16)
        self.malloc.allocate(block.size)
        return -1

    def place_name(self, name: int, size: int) -> None:
        """A block that the recording does not have."""
        self.place(Block(name, size, tracked=True, garbage=-1), Domain.OBJECT)

    def free_name(self, name: int, size: int) -> None:
        self.free_for_good(Block(name, size, tracked=True, garbage=-1))

    def reuse(self, block: Block, domain: int) -> int:
        """The block of an object that waited in a free list."""
        spare = self.lists.spare[block.free_list]
        if not spare:
            self.lists.owed[block.free_list] += 1
            return self.place(block, domain)
        found = self.pymalloc.find(name := spare.pop())
        if found is None:
            return -1
        _, pool, place = found
        assert pool.blocks[place] == name
        pool.blocks[place] = block.seq
        return self.pymalloc.where(block.seq)

    def keep(self, block: Block) -> None:
        """The object of a block waits in a free list; the block gets another name."""
        lists = self.lists
        lists.names -= 1
        found = self.pymalloc.find(block.seq)
        if found is not None:
            found[1].blocks[found[2]] = lists.names
        lists.spare[block.free_list].append(lists.names)
        del self.live[block.seq]

    def found_unreachable(self, block: Block) -> bool:
        """A collection found a block. Whether its object waits in a free list now."""
        if block.free_list >= 0 and self.lists.put(block.free_list):
            self.keep(block)
            return True
        self.give_back(block)
        return False

    def reallocate(self, old: Block, new: Block, domain: int) -> int:
        found = self.pymalloc.find(old.seq)
        if found is None:
            self.malloc.reallocate(old.size, new.size)
            return -1
        _, pool, place = found
        assert pool.size_class is not None
        held = 16 * (pool.size_class + 1)
        if held * 3 / 4 < new.size <= held:
            pool.blocks[place] = new.seq
            return self.pymalloc.where(new.seq)
        where = self.place(new, domain)
        self.pymalloc.free(old.seq)
        return where

    def free_row(self, steps: Steps, row: int) -> None:
        if self.garbage(steps, row) >= 0 and self.settings.collector.garbage != Garbage.RECORDED:
            return
        seq, cause = int(steps.alloc_seq[row]), steps.cause[row]
        counts = (
            bool(steps.gc_tracked[row])
            and cause not in (Cause.REALLOC, Cause.GC)
            and seq not in self.observed
        )
        if seq < 0:
            name = self.older_names.pop(int(steps.address[row]), None)
            if name is not None:
                self.pymalloc.free(name)
            self.collector.freed(None, counts=counts)
        elif cause == Cause.REALLOC:
            domain = int(steps.domain[row])
            if domain in self.parked:
                self.free_for_good(self.parked[domain])
            self.parked[domain] = self.live.pop(seq)
            self.collector.freed(self.parked[domain], counts=counts)
        else:
            block = self.live[seq]
            if self.lists.on:
                block.free_list = int(steps.free_list[row]) - 1
            waits = block.free_list >= 0 and self.waits(block.free_list, collected=cause == Cause.GC)
            if waits:
                self.keep(block)
            else:
                self.give_back(block)
            self.collector.freed(block, counts=counts and not waits)

    def waits(self, kind: int, *, collected: bool) -> bool:
        """Whether a block that the recording freed waits in a list of the model. ``collected``: flushed."""
        if not collected:
            return self.lists.ahead(kind) < 0 and self.lists.put(kind)
        if self.lists.owed[kind]:
            self.lists.owed[kind] -= 1
            return False
        return True

    def give_back(self, block: Block) -> None:
        del self.live[block.seq]
        self.free_for_good(block)

    def free_for_good(self, block: Block) -> None:
        if self.pymalloc.find(block.seq) is None:
            self.malloc.free(block.size)
        else:
            self.pymalloc.free(block.seq)

    @property
    def live_bytes(self) -> int:
        return sum(block.size for block in self.live.values()) + self.lists.live_bytes

    def numbers(self) -> dict[str, object]:
        """Fields of the outcome by name."""
        parameters, none = self.settings.parameters, (-1, 0, 0, 0)
        small = [block.size for block in self.live.values() if self.pymalloc.find(block.seq)]
        spare = [(kind, name) for kind, names in self.lists.spare.items() for name in names]
        small += [FREE_LIST_BYTES[kind] for kind, name in spare if self.pymalloc.find(name)]
        arena_bytes = len(self.pymalloc.arenas) * parameters.arena_size
        malloc = self.malloc
        # Before the first event nothing is live; with spare blocks owed there may be less than that after.
        peak = max([none, *self.states], key=lambda state: (state[1], -state[0]))
        stack = max(self.states, key=lambda state: (state[3], -state[0]), default=none)
        return {
            "arenas": len(self.pymalloc.arenas),
            "ntimes_arena_allocated": self.pymalloc.ever,
            "live_bytes": self.live_bytes,
            "live_blocks": len(self.live) + len(spare) - self.lists.owed.total(),
            "small_bytes": sum(small) - (self.lists.owed_bytes if self.settings.use_pymalloc else 0),
            "older_bytes": sum(self.older_sizes[address] for address in self.older_names),
            "heap_bytes": malloc.heap_bytes,
            "mapped_bytes": malloc.mapped_bytes,
            "footprint_bytes": arena_bytes
            + malloc.heap_bytes
            + malloc.mapped_bytes
            + self.settings.base_bytes,
            "peak_stack_bytes": stack[3],
            "peak_stack_seq": stack[0] if stack[3] else -1,
            "peak": (peak[1], peak[0] if peak[1] else -1),
            "collections": [
                np.array([row[column] for row in self.collector.collections]) for column in range(6)
            ],
            "places": np.array(self.places, np.int64),
        }
