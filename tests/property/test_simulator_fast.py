"""The fast machine against the readable one: every place, every collection, every number."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, replace
from pathlib import Path
from random import Random
from shutil import copy
from typing import Any

import numpy as np
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from simulator_recordings import SMALL_ARENAS, Recording, machine_settings, recording_of, recordings

from tracekit.simulator import fast
from tracekit.simulator.fast import STEP_COLUMNS, FastMachine, best_machine
from tracekit.simulator.machine import Machine
from tracekit.simulator.outcome import Outcome
from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.settings import (
    CollectorSettings,
    Garbage,
    MachineSettings,
    Older,
    RecordedSettings,
    Reference,
)
from tracekit.store.opening import open_store
from tracekit.store.steps import Steps

pytestmark = pytest.mark.skipif(not fast.HAVE_KERNEL, reason="the kernels were not built")

SAMPLES = sorted((Path(__file__).parents[2] / "sample_traces").glob("v*/*.tkt"))

SIZES = (
    *SMALL_ARENAS,
    PyMallocParameters(),
    PyMallocParameters(arena_size=1 << 16, pool_size=1 << 12, alignment=8, pool_overhead=40),
    PyMallocParameters(arena_size=1 << 22, pool_size=1 << 21, arena_aligned=True),
)
"""The last has pools of so many blocks that their numbers need more than 16 bits."""

ODD = {
    "alloc_seq": (-7, -1, 0, 3, 50, 2**61, 2**62, 2**63 - 1),
    "size": (0, 1, 511, 2**40),
    "domain": (0, 1, 63, 64, 255),
    "stack_id": (-1, 1, 1000, 2**31 - 1, -(2**31)),
    "cause": (0, 1, 2, 3, 255),
    "thread_id": (-1, 0, 2**31 - 1, -(2**31)),
    "gc_tracked": (False, True),
    "realloc_of": (-7, -1, 0, 3, 50, 2**62),
    "garbage": (-7, -1, 0, 1, 2**31 - 1),
    "address": (-1, 0, 2**62),
    "free_list": (0, 1, 2, 22, 23, 255),
}
"""What no program does, and what a log may say."""


def spoiled(steps: Steps, seed: int, changes: int) -> Steps:
    """The steps with so many values that do not fit the rest."""
    rng = Random(seed)
    columns = {one.name: getattr(steps, one.name).copy() for one in fields(Steps)}
    for _ in range(changes):
        name, row = rng.choice(list(ODD)), rng.randrange(len(steps))
        if name != "alloc_seq" or steps.is_free[row]:
            columns[name][row] = rng.choice(ODD[name])
    return Steps(**columns)


def batches(steps: Steps, length: int) -> list[Steps]:
    """Steps in batches of ``length``."""
    return [
        Steps(**{one.name: getattr(steps, one.name)[start : start + length] for one in fields(Steps)})
        for start in range(0, len(steps), length)
    ]


def plain(value: object) -> object:
    """An outcome, or a part of it, as what can be compared."""
    if isinstance(value, np.ndarray):
        return value.dtype, value.tolist()
    if hasattr(value, "__dataclass_fields__"):
        return {name: plain(getattr(value, name)) for name in value.__dataclass_fields__}
    return value


def outcome(
    kind: type[FastMachine] | type[Machine], told: MachineSettings, recording: Recording, batch: int = 4096
) -> Outcome:
    """What a machine makes of a recording, fed as long as it goes."""
    machine = kind(told, recording.reference, recording.older, recording.path_bytes)
    for steps in batches(recording.steps, batch):
        if not machine.feed(steps):
            break
    return machine.finish()


def assert_same(told: MachineSettings, recording: Recording, batch: int = 4096) -> Outcome:
    """Both machines come to the same; what that is."""
    mine = outcome(FastMachine, told, recording, batch)
    assert plain(mine) == plain(outcome(Machine, told, recording))
    return mine


@settings(max_examples=examples(400))
@given(
    recordings(600),
    st.sampled_from(SIZES).flatmap(machine_settings),
    st.none() | st.integers(0, 2_000_000) | st.just(2**70),
    st.sampled_from([1, 13, 4096]),
)
def test_any_recording_under_any_settings(
    recording: Recording, told: MachineSettings, limit: int | None, batch: int
) -> None:
    assert_same(replace(told, memory_limit=limit), recording, batch)


@settings(max_examples=examples(200))
@given(recordings(300), machine_settings(SIZES[0]), st.integers(0, 1 << 32), st.integers(1, 60))
def test_recordings_that_contradict_themselves(
    recording: Recording, told: MachineSettings, seed: int, changes: int
) -> None:
    assert_same(told, replace(recording, steps=spoiled(recording.steps, seed, changes)))


def sampled(path: Path) -> Recording:
    """A recorded program, with the collections that its frees tell of."""
    with open_store(path) as store:
        columns = [[getattr(steps, one.name) for one in fields(Steps)] for steps in store.steps()]
        steps = Steps(*(np.concatenate(column)[:20_000] for column in zip(*columns, strict=True)))
        blocks, block_bytes = store.older_blocks()
        path_bytes = store.path_bytes()
    by_collection = steps.is_free & (steps.garbage >= 0)
    total = 1 + int(steps.garbage[by_collection].max(initial=-1))
    start = np.searchsorted(np.maximum.accumulate(np.where(by_collection, steps.garbage, -1)), range(total))
    start_seq = steps.seq[start] - 1
    reference = Reference(
        start_seq=start_seq,
        stop_seq=start_seq + 1,
        generation=np.arange(total, dtype=np.int64) % 3,
        asked=np.arange(total) % 4 == 3,
        off=np.zeros(total + 1, np.bool_),
        thresholds=np.tile(np.array([700, 10, 10]), (total + 1, 1)),
        correction=np.arange(total, dtype=np.int64),
        young_share=np.ones(total),
        full_share=np.full(total, 1.5),
    )
    older = Older(np.unique(blocks >> 20) << 20, blocks, block_bytes)
    return Recording(steps, reference, older, path_bytes, PyMallocParameters())


@pytest.mark.parametrize("path", SAMPLES, ids=[f"{path.parent.name}-{path.stem}" for path in SAMPLES])
def test_recorded_programs(path: Path, tmp_path: Path) -> None:
    recording = sampled(Path(copy(path, tmp_path)))
    for garbage in Garbage:
        collector = CollectorSettings(thresholds=(50, 5, 5) if garbage else None, garbage=garbage)
        told = MachineSettings(recording.parameters, collector, sample_every=1000, keep_places=True)
        result = assert_same(told, recording, 65536)
        assert result.peak.live_bytes > 0


def test_machines_on_threads_share_the_steps() -> None:
    recording = recording_of(7, 5000)
    told = [
        MachineSettings(SIZES[0], CollectorSettings(thresholds=(threshold, 2, 2), garbage=garbage))
        for threshold in (5, 50, 500)
        for garbage in (Garbage.EARLY, Garbage.LATE)
    ]
    machines = [FastMachine(one, recording.reference, recording.older, recording.path_bytes) for one in told]
    with ThreadPoolExecutor(len(machines)) as pool:
        for steps in batches(recording.steps, 500):
            assert all(pool.map(lambda machine, steps=steps: machine.feed(steps), machines))
    for machine, one in zip(machines, told, strict=True):
        assert plain(machine.finish()) == plain(outcome(Machine, one, recording))


def test_without_the_kernels_the_readable_machine_is_the_best(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_machine() is FastMachine
    monkeypatch.setattr(fast, "HAVE_KERNEL", False)
    assert best_machine() is Machine


# -- what no machine can take --------------------------------------------------------------------------------

RECORDING = next(one for seed in range(100) if len((one := recording_of(seed, 200)).reference))
TOLD = MachineSettings(SIZES[0])


def machine_of(told: MachineSettings = TOLD, **changes: Any) -> FastMachine:
    recording = replace(RECORDING, **changes)
    return FastMachine(told, recording.reference, recording.older, recording.path_bytes)


def steps_with(**columns: Any) -> Steps:
    """The steps of RECORDING with some columns changed, by a value for row 20 or as a whole."""
    mine = {one.name: getattr(RECORDING.steps, one.name).copy() for one in fields(Steps)}
    for name, value in columns.items():
        if isinstance(value, np.ndarray):
            mine[name] = value
        else:
            mine[name][np.flatnonzero(~mine["is_free"])[20]] = value
    return Steps(**mine)


@pytest.mark.parametrize(
    "columns",
    [
        {"size": -1},
        {"size": -(2**63)},
        {"size": 2**62 + 1},
        {"size": np.full(len(RECORDING.steps), 2**61)},
        {"seq": 0, "alloc_seq": 0},
        {"seq": 2**63 - 1, "alloc_seq": 2**63 - 1},
        {"alloc_seq": 1},
        {"seq": RECORDING.steps.seq[::-1].copy()},
    ],
)
def test_rows_that_no_program_makes(columns: dict[str, Any]) -> None:
    machine = machine_of()
    with pytest.raises(ValueError, match="no program"):
        machine.feed(steps_with(**columns))
    with pytest.raises(RuntimeError, match="failed"):
        machine.feed(RECORDING.steps)
    with pytest.raises(RuntimeError, match="failed"):
        machine.finish()


@pytest.mark.parametrize("name", [name for name, _ in STEP_COLUMNS])
def test_a_column_that_is_too_short(name: str) -> None:
    machine = machine_of()
    with pytest.raises(ValueError, match="length"):
        machine.feed(steps_with(**{name: getattr(RECORDING.steps, name)[:-1]}))
    assert machine.feed(RECORDING.steps)


@pytest.mark.parametrize(
    "changes",
    [
        {"parameters": PyMallocParameters(arena_size=1 << 40)},
        {"parameters": PyMallocParameters(pool_size=1 << 9)},
        {"parameters": PyMallocParameters(pool_overhead=1 << 14)},
        {"parameters": PyMallocParameters(small_request_threshold=1 << 14)},
        {"parameters": PyMallocParameters(alignment=1 << 12)},
        {"parameters": PyMallocParameters(page_size=5000)},
        {"base_bytes": -1},
        {"base_bytes": 2**70},
        {"sample_every": 0},
        {"sample_every": 2**62},
    ],
)
def test_settings_that_no_machine_has(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no machine has|cannot be built"):
        machine_of(replace(TOLD, **changes))


@pytest.mark.parametrize(
    "changes",
    [
        {"generation": np.full(len(RECORDING.reference), 3)},
        {"generation": np.full(len(RECORDING.reference), -1)},
        {"correction": np.full(len(RECORDING.reference), 2**62)},
        {"young_share": np.full(len(RECORDING.reference), np.nan)},
        {"full_share": np.full(len(RECORDING.reference), np.inf)},
        {"off": np.zeros(len(RECORDING.reference), np.bool_)},
        {"thresholds": np.zeros((len(RECORDING.reference), 3), np.int64)},
        {"stop_seq": RECORDING.reference.stop_seq, "start_seq": np.zeros(0, np.int64)},
        {"settings": RecordedSettings(seq=np.zeros(1, np.int64))},
        {"settings": RecordedSettings(np.full(1, -1), np.ones(1, np.bool_), np.full((1, 3), 10))},
        {"counts": (2**50, 0, 0)},
        {"long_lived": (0, -(2**62))},
    ],
)
def test_collections_that_no_collector_makes(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"no collector|unequal length|before the first"):
        machine_of(reference=replace(RECORDING.reference, **changes))


def test_frames_of_impossible_size() -> None:
    for size in (-1, 2**61):
        with pytest.raises(ValueError, match="frames"):
            machine_of(path_bytes=np.array([0, size]))


@settings(max_examples=examples(100))
@given(st.integers(0, 1 << 32), st.sampled_from(SIZES), st.sampled_from(SIZES))
def test_older_blocks_that_cannot_be(
    seed: int, parameters: PyMallocParameters, now: PyMallocParameters
) -> None:
    rng = np.random.default_rng(seed)
    count = int(rng.integers(0, 200))
    arenas = rng.integers(0, 3, 4) * parameters.arena_size + rng.choice([0, 8], 4)
    blocks = rng.integers(0, 3 * parameters.arena_size, count) | rng.choice([0, 48, 2**62, -(2**62)], count)
    older = Older(
        np.sort(arenas),
        np.sort(blocks & ~rng.choice([7, 15, 1023], count)),
        rng.choice([16, 16, 32, 24, 0, -16, 512, 2**62], count),
        rng.integers(0, 3, 4) * parameters.arena_size + rng.choice([0, 8], 4),
        rng.integers(0, 3 * parameters.arena_size // parameters.pool_size, 9) * parameters.pool_size,
        parameters.arena_size,
        parameters.pool_size,
    )
    rows = np.arange(len(older.blocks))
    columns = {name: np.zeros(len(rows), kind) for name, kind in STEP_COLUMNS}
    columns |= {"seq": rows, "is_free": rows >= 0, "alloc_seq": rows * 0 - 1, "address": older.blocks}
    told = MachineSettings(now, sample_every=1)
    assert_same(told, replace(RECORDING, steps=Steps(**columns), older=older))


def test_a_machine_that_reached_the_limit_takes_no_more() -> None:
    machine = machine_of(replace(TOLD, memory_limit=0))
    assert not machine.feed(RECORDING.steps)
    with pytest.raises(RuntimeError, match="end"):
        machine.feed(RECORDING.steps)
    assert machine.finish().out_of_memory is not None


@settings(max_examples=examples(100))
@given(st.integers(0, 1 << 32), st.integers(0, 400))
def test_columns_of_anything_do_no_harm(seed: int, length: int) -> None:
    rng = np.random.default_rng(seed)
    columns = {
        name: rng.integers(0, 256, (length, np.dtype(kind).itemsize), np.uint8).view(kind).reshape(-1)
        if rng.random() < 0.2
        else rng.integers(0, 2 if kind is np.bool_ else 90, length).astype(kind)
        for name, kind in STEP_COLUMNS
    }
    columns["seq"] = np.sort(columns["seq"]) if rng.random() < 0.3 else np.arange(length)
    born = ~columns["is_free"].astype(np.bool_)
    columns["alloc_seq"] = np.where(born, columns["seq"], columns["alloc_seq"])
    machine = machine_of()
    try:
        machine.feed(Steps(**columns))
    except ValueError as error:
        assert "no program" in str(error)
    else:
        machine.finish()


def test_memory_that_fails() -> None:
    """In a process of its own, which may have little."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    subprocess.run([sys.executable, __file__], check=True, env=environment)


def run_out_of_memory() -> None:
    """Feed a machine until memory is short, and see that it says so and nothing else."""
    count = 1 << 18
    zeros = np.zeros(count, np.int64)
    columns = {name: zeros.astype(kind) for name, kind in STEP_COLUMNS}
    columns["size"] += 16
    columns["domain"] += 1
    columns["realloc_of"] -= 1
    columns["garbage"] -= 1
    told = MachineSettings(PyMallocParameters(), keep_places=True)
    empty = np.empty(0, np.int64)
    shares = empty.astype(np.float64)
    flags = empty.astype(np.bool_)
    reference = Reference(
        empty, empty, empty, flags, np.zeros(1, np.bool_), np.zeros((1, 3), np.int64), empty, shares, shares
    )
    machine = FastMachine(told, reference, Older(), empty)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
    columns["seq"] = columns["alloc_seq"] = np.arange(count)
    for _ in range(100):
        columns["seq"] += count
        try:
            machine.feed(Steps(**columns))
        except MemoryError:
            break
    else:
        raise AssertionError("there was enough memory")
    for more in (lambda: machine.feed(Steps(**columns)), machine.finish):
        try:
            more()
        except RuntimeError:
            continue
        raise AssertionError("a machine that failed went on")


if __name__ == "__main__":
    run_out_of_memory()
