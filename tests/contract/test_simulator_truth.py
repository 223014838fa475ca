"""What the simulator says of other settings of the collector is what happens under them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from effort import some

from tracekit.log.summary import summarize
from tracekit.record.select import native_trouble
from tracekit.simulator.results import Simulation
from tracekit.simulator.scenario import Scenario
from tracekit.simulator.simulation import simulate_all
from tracekit.store.opening import open_store

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

PROGRAMS = {
    "documents": """\
import json
kept = []
document = [{"id": row, "text": "x" * (row % 40), "nested": {"a": [1.5, None]}} for row in range(100)]
for turn in range(40):
    document = json.loads(json.dumps(document))
    kept = [*kept[-30:], document]
""",
    "parents": """\
class Node:
    def __init__(self, parent, depth):
        self.parent = parent
        self.children = [Node(self, depth - 1) for _ in range(3)] if depth else []
for turn in range(40):
    root = Node(None, 5)
""",
    "asked": """\
rows = []
for turn in range(12):
    rows = [[row, {"turn": turn}] for row in range(2000)]
    rows[0].append(rows)
    if turn % 3 == 0:
        gc.collect()
""",
}
SWITCHING = """\
for turn in range(30):
    gc.disable()
    rows = [[row, {"turn": turn}] for row in range(1500)]
    rows[0].append(rows)
    if turn % 3 == 0:
        gc.collect(1)
    gc.enable()
    for row in range(300 * turn):
        [row].append([row])
    more = [[row] for row in range(50 * turn)]
"""
SETTINGS = {"200": Scenario(name="200", gc_thresholds=(200, None, None)), "off": Scenario(gc_off=True)}
CHANGES = {"200": "gc.set_threshold(200)", "off": "gc.disable()"}
RUN = """\
import gc
from tracekit.record.api import record
program = compile(PROGRAM, "program.py", "exec")
space = {"gc": gc}
gc.collect()
with record(LOG, engine="native"):
    CHANGE
    exec(program, space)
    gc.collect()
"""
SLACK = 0.01
"""Share of the peak by which it may be outside: garbage at the end, and what garbage holds, is not known."""


def record(folder: Path, name: str, program: str, change: str) -> Path:
    """The log of a program that begins with a setting of the collector."""
    log = folder / f"{name}.tkt"
    text = RUN.replace("CHANGE", change).replace("LOG", repr(str(log))).replace("PROGRAM", repr(program))
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    subprocess.run([sys.executable, "-c", text], check=True, env=environment, timeout=100)
    return log


def collections(log: Path) -> list[int]:
    """Recorded collections of each generation."""
    with open_store(log, cache=False) as store:
        rows = store.query("SELECT generation FROM gc_collections WHERE start_seq IS NOT NULL").rows()
        generations = [int(str(row[0])) for row in rows]
    return [generations.count(generation) for generation in range(3)]


def close(said: list[int], was: list[int]) -> bool:
    """Within 6 %, or two: from when on garbage was unreachable is not recorded (docs/benchmarks.md)."""
    return all(abs(one - other) <= max(2, 0.06 * other) for one, other in zip(said, was, strict=True))


@pytest.mark.parametrize("name", some(PROGRAMS))
def test_other_settings(tmp_path: Path, name: str) -> None:
    """The program runs for real under each setting."""
    first = record(tmp_path, name, PROGRAMS[name], "gc.set_threshold(*gc.get_threshold())")
    with open_store(first, cache=False) as store:
        runs = simulate_all(store, [Scenario(), *SETTINGS.values()])
    found: dict[str, Simulation] = dict(
        zip(["recorded", *SETTINGS], (run.simulation for run in runs), strict=True)
    )
    assert found["recorded"].collections == found["recorded"].recorded_collections == collections(first)
    for setting, change in CHANGES.items():
        log = record(tmp_path, f"{name}{setting}", PROGRAMS[name], change)
        simulation = found[setting]
        assert close(simulation.collections or [], collections(log)), setting
        low, high = simulation.peak_bytes_bounds
        assert low * (1 - SLACK) <= summarize(log).peak_bytes <= high * (1 + SLACK), setting


def test_what_the_recorder_is_told_with(tmp_path: Path) -> None:
    """Each collection leaves the program a dict, which it need not allocate: many collections show it."""
    program = 'kept = [{"number": number} for number in range(30_000)]'
    first = record(tmp_path, "first", program, "gc.set_threshold(*gc.get_threshold())")
    with open_store(first, cache=False) as store:
        (run,) = simulate_all(store, [Scenario(name="20", gc_thresholds=(20, None, None))])
    second = record(tmp_path, "second", program, "gc.set_threshold(20)")
    said, was = run.simulation.collections or [], collections(second)
    assert was[0] > 1000
    assert all(abs(one - other) <= max(1, 0.01 * other) for one, other in zip(said, was, strict=True))


def test_a_program_that_switches_the_collector(tmp_path: Path) -> None:
    """It is off and on in the model when it was, also with another threshold."""
    first = record(tmp_path, "first", SWITCHING, "gc.set_threshold(*gc.get_threshold())")
    with open_store(first, cache=False) as store:
        recorded, other = (run.simulation for run in simulate_all(store, [Scenario(), SETTINGS["200"]]))
        (switched,) = store.query("SELECT count(*) FROM gc_settings WHERE NOT enabled").rows()
    assert switched == (30,)
    assert recorded.collections == recorded.recorded_collections == collections(first)
    second = record(tmp_path, "second", SWITCHING, CHANGES["200"])
    assert close(other.collections or [], collections(second))
