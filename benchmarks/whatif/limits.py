"""``python -m benchmarks.whatif.limits``: where a program runs out of memory, simulated and for real.

The limit is on how much the address space may grow (RLIMIT_AS); for the model that is what it held at the
start and as much again. Compared are the lines of the program itself: of a call, where that is what was
under way. See limited.py for how the real one is found.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tracekit.simulator.recording import read_recording
from tracekit.simulator.scenario import Scenario
from tracekit.simulator.simulation import simulate
from tracekit.store.database import Store
from tracekit.store.opening import open_store

HERE = Path(__file__).parent
PROGRAMS = [
    *sorted((HERE / "growing").glob("*.py")),
    HERE / "large" / "trees.py",
    HERE / "large" / "waves.py",
]
MEGABYTES = (8, 16, 32, 48, 64, 96, 128, 192)


def run(*arguments: str) -> str:
    """What limited.py says."""
    command = [sys.executable, str(HERE / "limited.py"), *arguments]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=100
    ).stdout.strip()


def held_at_start(store: Store) -> int:
    """Bytes that the model begins with."""
    recording = read_recording(store)
    return recording.base_bytes + len(recording.older.arenas) * recording.parameters.arena_size


def simulated(store: Store, limit: int, program: Path) -> str:
    """The line of the program whose allocation does not fit into ``limit`` bytes; "end" if all fit."""
    lack = simulate(store, Scenario(memory_limit=limit)).out_of_memory
    if lack is None:
        return "end"
    frames = "SELECT line FROM frames(?) WHERE file = ? ORDER BY depth"
    for (line,) in store.query(frames, [lack.stack_id, str(program)]).rows():
        return str(line)
    return "elsewhere"


def main() -> int:
    """Print the table; 1 when a line differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whatif.limits", description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="*", default=MEGABYTES)
    options = parser.parse_args()
    wrong = 0
    print("| program | may grow by, MiB | out of memory at line, real | simulated |\n|---|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="tracekit-limits-") as folder:
        for program in PROGRAMS:
            log = Path(folder) / f"{program.stem}.tkt"
            run("record", str(log), str(program))
            with open_store(log) as store:
                held = held_at_start(store)
                for size in options.megabytes:
                    line = run(str(size << 20), str(program))
                    said = simulated(store, held + (size << 20), program)
                    wrong += said != line
                    print(f"| `{program.stem}` | {size} | {line} | {said} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
