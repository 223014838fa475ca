"""``python -m benchmarks.whatif.arenas``: simulated arenas held against recorded ones, event by event."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from msgspec import Struct

from benchmarks.programs import WORKLOADS, missing
from tracekit.simulator.fast import best_machine
from tracekit.simulator.outcome import Outcome
from tracekit.simulator.recording import Recording, read_recording
from tracekit.simulator.settings import CollectorSettings, MachineSettings
from tracekit.store.opening import open_store
from tracekit.store.steps import IntArray

LEAST_BYTES = 32 << 20
"""Workloads whose arenas never come to this many bytes say little."""

LARGE = Path(__file__).parent / "large"


class Arenas(Struct, frozen=True):
    """Arenas of one program: most at once, and by how many the model was off at any event.

    ``differing`` is the share of the events at which the two numbers differ.
    """

    program: str
    events: int
    older: int
    recorded_peak: int
    simulated_peak: int
    largest_difference: int
    differing: float


def compared(program: str, log: Path) -> Arenas:
    """Run the model over a log under recorded settings, and compare."""
    with open_store(log) as store:
        recording = read_recording(store)
        settings = MachineSettings(
            recording.parameters,
            collector=CollectorSettings(),
            collects_at_checks=recording.collects_at_checks,
        )
        machine = best_machine()(settings, recording.reference, recording.older, recording.path_bytes)
        events = last = 0
        for steps in store.steps():
            machine.feed(steps)
            events += len(steps)
            last = int(steps.seq[-1])
        outcome = machine.finish()
    changes, difference = _difference(recording, outcome)
    spans = np.diff(np.append(changes, last + 1))
    return Arenas(
        program=program,
        events=events,
        older=len(recording.older.arenas),
        recorded_peak=recording.peak_arenas(),
        simulated_peak=outcome.peak_arenas,
        largest_difference=int(np.abs(difference).max(initial=0)),
        differing=float(spans[difference != 0].sum() / max(1, last)),
    )


def _difference(recording: Recording, outcome: Outcome) -> tuple[IntArray, IntArray]:
    """Events at which either number changes, and by how much the model is above the recording after them."""
    spans = outcome.arena_spans
    gone = spans.free_seq[spans.free_seq >= 0]
    seq = np.concatenate([recording.arena_changes[:, 0], spans.alloc_seq, gone])
    change = np.concatenate([-recording.arena_changes[:, 1], np.ones(len(spans.number)), -np.ones(len(gone))])
    at, where = np.unique(seq, return_inverse=True)
    total = np.cumsum(np.bincount(where, change, minlength=len(at))).astype(np.int64)
    return at, total


def record(program: Path, output: Path) -> None:
    """Record a program natively."""
    command = [sys.executable, "-m", "tracekit", "record", "-q", "-o", str(output), str(program)]
    with Path(os.devnull).open("w") as nowhere:
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        subprocess.run(command, stdout=nowhere, check=True, env=environment)


def line(found: Arenas) -> str:
    """A row of the table."""
    return (
        f"| `{found.program}` | {found.events:,} | {found.recorded_peak} | {found.simulated_peak} "
        f"| {found.largest_difference} | {100 * found.differing:.2f} % |"
    )


def main() -> int:
    """Record what was asked for, or all workloads, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whatif.arenas", description=__doc__)
    parser.add_argument("--folder", type=Path, required=True, help="logs are kept here, and taken from here")
    parser.add_argument("--program", action="append", help="one of the programs only (may be repeated)")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print(
        "| program | events | peak recorded | simulated | largest difference | events at which they differ |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for name, path in {**WORKLOADS, **{path.stem: path for path in sorted(LARGE.glob("*.py"))}}.items():
        if (given.program and name not in given.program) or (name in WORKLOADS and missing(name)):
            continue
        log = given.folder / f"{name}.tkt"
        if not log.exists():
            record(path, log)
        print(line(compared(name, log)), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
