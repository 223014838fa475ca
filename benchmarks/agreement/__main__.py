"""``python -m benchmarks.agreement``: what tracekit and memray say of the same programs, side by side.

memray runs with its Python allocators traced; what it counts are its records of these, not of malloc. Both
recorders begin when the program has run once (see ``inside.py``).
"""

from __future__ import annotations

import argparse
import json as json_module
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from tracekit.log.summary import summarize

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
LIBRARY = Path(json_module.__file__).parents[1]


@dataclass(frozen=True)
class Said:
    """What a recorder says of a run."""

    allocations: int
    peak_bytes: int


def programs(folder: Path) -> dict[str, list[str]]:
    """The programs that are compared, as arguments of python."""
    numbers = folder / "numbers.json"
    rows = [{"name": f"row {n}", "values": [n / 7, n, str(n)], "next": {"id": n + 1}} for n in range(20_000)]
    numbers.write_text(json_module.dumps(rows), encoding="utf-8")
    return {
        "unparse": [str(ROOT / "sample_traces" / "demo" / "unparse_stdlib.py"), "25"],
        "json.tool": ["-m", "json.tool", str(numbers)],
        "tokenize": ["-m", "tokenize", str(LIBRARY / "typing.py")],
        "dis": ["-m", "dis", str(LIBRARY / "argparse.py")],
        "batch": [str(ROOT / "sample_traces" / "programs" / "batch_peak.py")],
        "cycles": [str(ROOT / "sample_traces" / "programs" / "cyclic_garbage.py")],
    }


def memray_says(path: Path) -> Said:
    """Allocations and peak of the Python allocators in a file of memray, by a fold over its records."""
    import memray  # noqa: PLC0415 - an optional extra

    kinds = memray.AllocatorType
    made = {int(kinds.PYMALLOC_MALLOC), int(kinds.PYMALLOC_CALLOC), int(kinds.PYMALLOC_REALLOC)}
    freed = int(kinds.PYMALLOC_FREE)
    live: dict[int, int] = {}
    allocations = now = peak = 0
    for record in memray.FileReader(path).get_allocation_records():
        if record.allocator in made:
            allocations += 1
            now += record.size - live.get(record.address, 0)
            live[record.address] = record.size
            peak = max(peak, now)
        elif record.allocator == freed:
            now -= live.pop(record.address, 0)
    return Said(allocations, peak)


def recorded(way: str, arguments: Sequence[str], folder: Path) -> Said:
    """Record a program in one of the ways of ``inside.py``."""
    output = folder / f"{way}.out"
    output.unlink(missing_ok=True)
    subprocess.run([sys.executable, str(HERE / "inside.py"), way, str(output), *arguments], check=True)
    if way == "memray":
        return memray_says(output)
    summary = summarize(output)
    return Said(summary.allocations, summary.peak_bytes)


def middle(way: str, arguments: Sequence[str], folder: Path, rounds: int) -> Said:
    """The medians of some runs: order of sets and times of collections differ between any two."""
    runs = [recorded(way, arguments, folder) for _ in range(rounds)]
    return Said(round(median(run.allocations for run in runs)), round(median(run.peak_bytes for run in runs)))


def share(value: int, of: int) -> str:
    """How far a value is from another."""
    return f"{(value / of - 1) * 100:+.2f} %"


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.agreement", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--program", action="append", help="one of the programs only (may be repeated)")
    given = parser.parse_args()
    print("| program | allocations, memray | tracekit | profiled | peak, memray | tracekit | profiled |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory(prefix="tracekit-agreement-") as name:
        folder = Path(name)
        for title, arguments in programs(folder).items():
            if given.program and title not in given.program:
                continue
            memray, plain, profiled = (
                middle(way, arguments, folder, given.rounds) for way in ("memray", "tracekit", "profiled")
            )
            cells = [
                f"`{title}`",
                f"{memray.allocations:,}",
                share(plain.allocations, memray.allocations),
                share(profiled.allocations, memray.allocations),
                f"{memray.peak_bytes:,}",
                share(plain.peak_bytes, memray.peak_bytes),
                share(profiled.peak_bytes, memray.peak_bytes),
            ]
            print("| " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
