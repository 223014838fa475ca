"""``python -m benchmarks.whatif.limits``: where a program runs out of memory, simulated and for real.

The limit is on how much the address space may grow (RLIMIT_AS); for the model that is what it held of arenas
at the start and as much again. See limited.py for how the line is found.
"""

from __future__ import annotations

import argparse
import ast
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tracekit.simulator.fast import best_machine
from tracekit.simulator.recording import Recording, read_recording
from tracekit.simulator.settings import MachineSettings
from tracekit.store.database import Store
from tracekit.store.opening import open_store

HERE = Path(__file__).parent
PROGRAMS = sorted((HERE / "growing").glob("*.py"))
MEGABYTES = (8, 16, 32, 48, 64, 96, 128, 192)


def run(*arguments: str) -> str:
    """What limited.py says."""
    command = [sys.executable, str(HERE / "limited.py"), *arguments]
    environment = os.environ | {"PYTHONHASHSEED": "0"}
    return subprocess.run(
        command, env=environment, stdout=subprocess.PIPE, text=True, check=False, timeout=100
    ).stdout.strip()


def simulated(store: Store, recording: Recording, growth: int) -> int | None:
    """The line of the allocation that does not fit when ``growth`` bytes are all that may come."""
    held = len(recording.older.arenas) * recording.parameters.arena_size
    settings = MachineSettings(
        recording.parameters,
        collects_at_checks=recording.collects_at_checks,
        memory_limit=held + growth,
    )
    machine = best_machine()(settings, recording.reference, recording.older, recording.path_bytes)
    for steps in store.steps():
        if not machine.feed(steps):
            break
    lack = machine.finish().out_of_memory
    if lack is None:
        return None
    for (line,) in store.query("SELECT line FROM stacks WHERE stack_id = ?", [lack.stack_id]).rows():
        return int(str(line))
    return 0


def loop_at(program: Path, line: int | None) -> str:
    """The first line of the loop that a line is in; "end" for none."""
    if line is None:
        return "end"
    for one in ast.parse(program.read_text(encoding="utf-8")).body:
        if one.lineno <= line <= (one.end_lineno or one.lineno):
            return str(one.lineno)
    return "?"


def main() -> int:
    """Print the table; 1 when a line differs."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whatif.limits", description=__doc__)
    parser.add_argument("--megabytes", type=int, nargs="*", default=MEGABYTES)
    options = parser.parse_args()
    wrong = 0
    print(
        "| program | may grow by, MiB | loop at line, real | turns | simulated |\n|---|---:|---:|---:|---:|"
    )
    with tempfile.TemporaryDirectory(prefix="tracekit-limits-") as folder:
        for program in PROGRAMS:
            log = Path(folder) / f"{program.stem}.tkt"
            run("record", str(log), str(program))
            with open_store(log) as store:
                recording = read_recording(store)
                for size in options.megabytes:
                    line, _, turns = run(str(size << 20), str(program)).partition(" ")
                    said = loop_at(program, simulated(store, recording, size << 20))
                    wrong += said != line
                    print(f"| `{program.stem}` | {size} | {line} | {turns} | {said} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
