"""The simulator against the addresses that CPython gave to the blocks of recorded programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from record_support import Stage
from simulator_support import no_reference

from tracekit.record.select import native_trouble
from tracekit.simulator.machine import Machine
from tracekit.simulator.recording import read_recording
from tracekit.simulator.settings import CollectorSettings, MachineSettings
from tracekit.store.opening import open_store

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

PROGRAM = """
import json, random

draw, kept = random.Random(7), {}
for phase in range(4):
    for number in range(12_000):
        kept[draw.randrange(30_000)] = bytes(draw.choice((10, 60, 150, 300, 470)))
        if number % 50 == 0:
            json.loads('[{"a": 1, "b": [2.5, "text", null]}, 7]')
    for key in list(kept)[: len(kept) * (phase % 2 + 3) // 4]:
        del kept[key]
text = []
for number in range(2_000):
    text.append(str(number) * 20)
"""


ARENAS = (
    "SELECT address, coalesce(alloc_seq, -1), coalesce(free_seq, -1) FROM arenas WHERE size = ?"
    " ORDER BY alloc_seq NULLS FIRST, address"
)


def test_blocks_are_where_they_really_were(tmp_path: Path) -> None:
    """Arena, pool and block of each allocation in arenas obtained while recorded; arenas at any time.

    Holes in the pools that are older than the recording are filled in an order of which no address tells,
    so there it is the pool that is the same, but for a few blocks.
    """
    folder = tmp_path / "stage"
    folder.mkdir()
    stage = Stage(folder, "native", tmp_path / "app.tkt")
    stage.code(PROGRAM).same()
    with open_store(stage.log, cache=False) as store:
        recording = read_recording(store)
        sizes, older = recording.parameters, recording.older
        settings = MachineSettings(sizes, CollectorSettings(enabled=False), keep_places=True)
        machine = Machine(settings, no_reference(), older, np.zeros(1, np.int64))
        windows = list(store.steps())
        assert all(map(machine.feed, windows))
        rows = list(store.query(ARENAS, [sizes.arena_size]).rows())
    spans: list[list[int]] = np.array(rows, np.int64).tolist()
    outcome = machine.finish()
    allocations = [~steps.is_free for steps in windows]
    seq = np.concatenate([steps.seq[here] for steps, here in zip(windows, allocations, strict=True)])
    address = np.concatenate([steps.address[here] for steps, here in zip(windows, allocations, strict=True)])
    real = np.full(len(seq), -1, np.int64)
    for number, (base, alloc_seq, free_seq) in enumerate(spans):
        alive = (seq > alloc_seq) & (seq < (free_seq if free_seq >= 0 else seq[-1] + 1))
        inside = alive & (address >= base) & (address < base + sizes.arena_size)
        first = base + -base % sizes.pool_size
        real[inside] = number * sizes.arena_size + address[inside] - first
    later = real >= len(older.arenas) * sizes.arena_size
    assert np.count_nonzero(later) > 20_000
    assert np.count_nonzero(outcome.places[later] != real[later]) <= 0.001 * np.count_nonzero(later)
    assert np.count_nonzero((outcome.places < 0) != (real < 0)) <= 2
    pools = outcome.places // sizes.pool_size == real // sizes.pool_size
    assert np.count_nonzero(~pools) <= 0.005 * len(real)
    found = outcome.arena_spans
    mine = zip(found.number.tolist(), found.alloc_seq.tolist(), found.free_seq.tolist(), strict=True)
    recorded = [(number, *span[1:]) for number, span in enumerate(spans) if span[1] >= 0]
    assert len(recorded) >= 3
    assert any(free_seq >= 0 for *_, free_seq in recorded)
    for one, other in zip(mine, recorded, strict=True):
        # CPython's event of an arena comes just before the one of the block that needed it.
        assert one[0] == other[0]
        assert 0 <= one[1] - other[1] <= 2
        assert (one[2] < 0) == (other[2] < 0)
        assert abs(one[2] - other[2]) <= 2
