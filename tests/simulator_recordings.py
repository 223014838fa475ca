"""Random recordings as the simulator takes them: steps, collections, older blocks, stacks."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import numpy as np
from hypothesis import strategies as st

from tracekit.events import Cause, Domain
from tracekit.simulator.freelists import LISTS, RecordedLists
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.settings import (
    LAGS,
    MOST_EVENTS,
    CollectorSettings,
    Garbage,
    MachineSettings,
    Older,
    RecordedSettings,
    Reference,
    Shared,
)
from tracekit.store.steps import FREE_LIST_BYTES, IntArray, Steps

SMALL_ARENAS = (
    PyMallocParameters(arena_size=8192, pool_size=2048, arena_aligned=True),
    PyMallocParameters(arena_size=4096, pool_size=2048, arena_aligned=True),
    PyMallocParameters(arena_size=1 << 16, pool_size=1 << 13),
    PyMallocParameters(arena_size=1 << 15, pool_size=1 << 13, arena_aligned=True),
)
"""Arenas of 2 to 8 pools, so that a few hundred events fill and empty many of them."""

PATHS = 6
THREADS = 3
SIZES = (0, 1, 16, 17, 100, 384, 400, 500, 512, 513, 700, 5000, 140_000, 200_000)


@dataclass(repr=False)
class Recording:
    """What the machines take. ``parameters`` are those that the older blocks were laid out with."""

    steps: Steps
    reference: Reference
    older: Older
    path_bytes: IntArray
    parameters: PyMallocParameters

    def __repr__(self) -> str:
        # All of it would be longer than hypothesis cares to print.
        return f"<{len(self.steps)} steps, {len(self.reference)} collections>"


MY_LISTS = (0, 1, 2, 5, 21, 22, 23)


class _Recorder:
    """Makes up a program: what it allocates and frees, and when collections ran that freed some of it."""

    def __init__(self, rng: Random, parameters: PyMallocParameters) -> None:
        self.rng = rng
        self.sizes = rng.sample(SIZES, rng.randint(1, 5))
        self.domains = rng.sample(list(Domain), rng.randint(1, 4))
        self.older = _older(rng, parameters)
        self.left = self.older.blocks.tolist()
        self.seq = rng.randrange(3)
        self.rows: list[dict[str, int]] = []
        self.live: list[dict[str, int]] = []
        self.starts: list[tuple[int, int, int]] = []
        self.shared: list[tuple[int, int]] = []

    def row(self, block: dict[str, int], **changes: int) -> dict[str, int]:
        self.rows.append({**block, "seq": self.seq, "time_ns": self.seq * 1000, **changes})
        self.seq += 1 + (self.rng.random() < 0.1)
        return self.rows[-1]

    def allocate(self, **changes: int) -> None:
        rng = self.rng
        block = {
            "is_free": 0,
            "alloc_seq": self.seq,
            "size": rng.choice(self.sizes),
            "domain": rng.choice(self.domains),
            "stack_id": rng.randrange(PATHS),
            "cause": 0,
            "thread_id": rng.randrange(1, 1 + THREADS),
            "gc_tracked": int(rng.random() < 0.5),
            "realloc_of": -1,
            "garbage": -1,
            "address": 0,
            "free_list": 0,
        }
        if rng.random() < 0.3 and not changes:
            which = rng.choice(MY_LISTS)
            block |= {"free_list": which + 1, "size": FREE_LIST_BYTES[which], "gc_tracked": which < 22}
        self.live.append(self.row({**block, **changes}))

    def free(self, cause: Cause, block: dict[str, int] | None = None, **changes: int) -> dict[str, int]:
        if block is None:
            block = self.rng.choice(self.live)
        self.live.remove(block)
        if cause == Cause.REFCOUNT and not changes and self.rng.random() < 0.2:
            self.shared.append((block["alloc_seq"], self.seq))
        gone = {"is_free": 1, "cause": cause, "realloc_of": -1, "thread_id": self.rng.randrange(1, 4)}
        self.row(block, **{**gone, **changes})
        return block

    def free_older(self) -> None:
        known = bool(self.left) and self.rng.random() < 0.8
        address = self.left.pop(self.rng.randrange(len(self.left))) if known else 24
        self.allocate()
        block = self.live[-1]
        self.free(Cause(self.rng.choice([0, 2, 3])), block, alloc_seq=-1, address=address)
        self.rows.remove(block)

    def reallocate(self) -> None:
        old = self.free(Cause.REALLOC)
        if self.rng.random() < 0.1:
            return
        if self.rng.random() < 0.2:
            self.allocate()
        kept = {name: old[name] for name in ("domain", "gc_tracked")}
        self.allocate(realloc_of=old["alloc_seq"], **kept)

    def collect(self) -> None:
        number, start = len(self.starts), self.seq
        self.seq += 1
        gone = self.rng.sample(self.live, self.rng.randrange(len(self.live) // 2 + 1))
        for block in gone:
            block["garbage"] = number
            self.free(Cause.GC, block)
            if self.rng.random() < 0.1:
                self.allocate()
        self.starts.append((start, self.seq, self.rng.choice([0, 0, 0, 1, 1, 2])))
        self.seq += 1

    def go_on(self, growing: bool) -> None:
        chance = self.rng.random()
        if chance < 0.02:
            self.free_older()
        elif chance < 0.04:
            self.collect()
        elif not self.live or (chance < 0.7) == growing:
            self.allocate()
        elif chance > 0.93:
            self.reallocate()
        else:
            self.free(Cause.UNKNOWN if self.rng.random() < 0.1 else Cause.REFCOUNT)

    def steps(self) -> Steps:
        types = {"is_free": np.bool_, "gc_tracked": np.bool_, "domain": np.uint8, "cause": np.uint8}
        types |= dict.fromkeys(("stack_id", "thread_id", "garbage"), np.int32)
        types["free_list"] = np.uint8
        return Steps(
            **{
                name: np.array([row[name] for row in self.rows], types.get(name, np.int64))
                for name in Steps.__dataclass_fields__
            }
        )

    def reference(self) -> Reference:
        rng, total = self.rng, len(self.starts)
        starts = np.array(self.starts, np.int64).reshape(-1, 3)
        shared = np.array(self.shared, np.int64).reshape(-1, 2)
        mine = [row["seq"] for row in self.rows if not row["is_free"] and rng.random() < 0.05]
        return Reference(
            start_seq=starts[:, 0],
            stop_seq=starts[:, 1],
            generation=starts[:, 2],
            asked=np.array([rng.random() < 0.4 for _ in range(total)], np.bool_),
            off=np.array([rng.random() < 0.1 for _ in range(total + 1)], np.bool_),
            thresholds=np.array(
                [(rng.choice([0, 1, 5, 20]), rng.randrange(4), rng.randrange(4)) for _ in range(total + 1)],
                np.int64,
            ),
            correction=np.array([rng.randint(-3, 3) for _ in range(total)], np.int64),
            young_share=np.array([rng.random() * 2 for _ in range(total)], np.float64),
            full_share=np.array([rng.random() * 2 for _ in range(total)], np.float64),
            counts=(rng.randrange(5), rng.randrange(3), rng.randrange(3)),
            long_lived=(rng.randrange(50), rng.randrange(50)),
            observed=np.array(mine, np.int64),
            opaque=np.array([rng.random() < 0.5 for _ in range(rng.randrange(PATHS + 1))], np.bool_),
            held_from=starts[:, 0] - np.array([rng.choice([0, 0, 2, 30]) for _ in range(total)], np.int64),
            due_seq=np.maximum(
                starts[:, 0] - np.array([rng.randrange(6) for _ in range(total)], np.int64),
                np.append(-1, starts[:-1, 0])[:total],
            ),
            flushed=np.array(
                [row["seq"] for row in self.rows if not row["is_free"] and rng.random() < 0.05], np.int64
            ),
            lists=_lists(rng, total),
            lags=tuple(sorted(rng.choice([0, 0, 3, 20, 80, MOST_EVENTS]) for _ in range(LAGS))),
            settings=_settings(rng, self.seq),
            shared=Shared.of(shared[:, 0], shared[:, 1], starts[:, 0]),
        )


def _settings(rng: Random, last_seq: int) -> RecordedSettings:
    """Nothing, or what the program set at a few events."""
    if rng.random() < 0.4:
        return RecordedSettings()
    seqs = sorted([0, *(rng.randrange(last_seq + 9) for _ in range(rng.randrange(6)))])
    return RecordedSettings(
        seq=np.array(seqs, np.int64),
        on=np.array([rng.random() < 0.6 for _ in seqs], np.bool_),
        thresholds=np.array(
            [(rng.choice([0, 1, 5, 20]), rng.randrange(4), rng.randrange(4)) for _ in seqs], np.int64
        ),
    )


def _lists(rng: Random, collections: int) -> RecordedLists:
    """Nothing, or what happened to a few free lists between and in the collections."""
    if rng.random() < 0.3:
        return RecordedLists()
    drift, parked = np.zeros((2, collections, LISTS), np.int16)
    for which in rng.sample(MY_LISTS, 3):
        for number in range(collections):
            drift[number, which] = rng.choice([0, -1, 1, -3, 5, -40, 90])
            parked[number, which] = rng.choice([0, 0, 2, 9, 50])
    waiting = np.array([[rng.choice([0, 0, 1, 79]) for _ in range(LISTS)] for _ in range(collections + 1)])
    return RecordedLists(waiting.astype(np.int16) if collections else parked, drift, parked)


def _older(rng: Random, parameters: PyMallocParameters) -> Older:
    """Up to three arenas, some of them not at a multiple of the pool size, and blocks in their pools."""
    arenas = []
    blocks: list[tuple[int, int]] = []
    for number in range(rng.randrange(4)):
        base = (number + 1) * 16 * parameters.arena_size
        arenas.append(base + rng.choice([0, parameters.pool_size // 2]))
        first = -(-arenas[-1] // parameters.pool_size) * parameters.pool_size
        for pool in range(
            first, arenas[-1] + parameters.arena_size - parameters.pool_size + 1, parameters.pool_size
        ):
            if rng.random() < 0.3:
                continue
            size = 16 * rng.choice([1, 2, 7, 25, 32])
            places = range(pool + 48, pool + parameters.pool_size - size + 1, size)
            share = rng.choice([0.1, 0.5, 0.9, 1.0])
            blocks += [(place, size) for place in places if rng.random() < share]
    columns = np.array(blocks, np.int64).reshape(-1, 2)
    pools = sorted({block // parameters.pool_size * parameters.pool_size for block, _ in blocks})
    return Older(
        arenas=np.array(arenas, np.int64),
        blocks=columns[:, 0],
        block_bytes=columns[:, 1],
        later_arenas=np.array([rng.randrange(4) << 10 for _ in range(rng.randrange(6))], np.int64),
        used_pools=np.array(rng.sample(pools, len(pools) // 2), np.int64),
        arena_size=parameters.arena_size,
        pool_size=parameters.pool_size,
    )


@st.composite
def recordings(draw: st.DrawFn, most: int = 300) -> Recording:
    """A random recording of up to about ``most`` events."""
    return recording_of(draw(st.integers(0, 1 << 32)), draw(st.integers(1, most)))


def recording_of(seed: int, events: int) -> Recording:
    """The recording with this seed, of about so many events."""
    rng = Random(seed)
    parameters = rng.choice(SMALL_ARENAS)
    recorder = _Recorder(rng, parameters)
    recorder.allocate()
    for number in range(events):
        recorder.go_on(growing=number % 100 < 60)
    path_bytes = np.array([0, *(rng.randrange(5000) for _ in range(PATHS - 1))], np.int64)
    return Recording(recorder.steps(), recorder.reference(), recorder.older, path_bytes, parameters)


def machine_settings(
    parameters: PyMallocParameters, last_seq: int = 400
) -> st.SearchStrategy[MachineSettings]:
    """Any settings but a memory limit, with these sizes of arenas and pools."""
    collector = st.builds(
        CollectorSettings,
        thresholds=st.none() | st.tuples(st.sampled_from([0, 1, 3, 10, 50]), *[st.integers(0, 4)] * 2),
        enabled=st.booleans() | st.just(True),
        freeze_seq=st.none() | st.integers(0, last_seq),
        garbage=st.sampled_from(Garbage),
    )
    return st.builds(
        MachineSettings,
        st.just(parameters),
        collector,
        use_pymalloc=st.booleans() | st.just(True),
        collects_at_checks=st.booleans(),
        base_bytes=st.sampled_from([0, 12345]),
        sample_every=st.sampled_from([1, 7, 64, 1000]),
        keep_places=st.just(True),
    )
