"""Measures what recording costs: ``python -m benchmarks [--rounds N] [--workload NAME]...``.

Each workload is one file in ``workloads/`` and runs as a whole process under each recorder. Runs are
interleaved, so that a ratio is taken within one round and the machine's moods cancel out; the figures are
medians over the rounds. Writes ``results/latest.json`` and ``results/latest.md`` beside this file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from tracekit._version import __version__
from tracekit.log.summary import summarize

HERE = Path(__file__).resolve().parent
WORKLOADS = {path.stem: path for path in sorted((HERE / "workloads").glob("*.py"))}
PYTHON = sys.executable
RECORDERS = {
    "none": [PYTHON],
    "tracemalloc-1": [PYTHON, "-X", "tracemalloc=1"],
    "tracemalloc-64": [PYTHON, "-X", "tracemalloc=64"],
    "portable": [PYTHON, "-m", "tracekit", "record", "-q", "--force", "--engine", "portable", "-o"],
}


def measure(recorder: str, workload: Path, log: Path) -> dict[str, float]:
    """Wall and CPU seconds of one whole run, the recorder's own process included, and what it recorded."""
    command = [*RECORDERS[recorder], *([str(log)] if recorder == "portable" else []), str(workload)]
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    pid = os.posix_spawn(PYTHON, command, os.environ)
    _, status = os.waitpid(pid, 0)
    wall = time.perf_counter() - start
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    figures = {"wall": wall, "cpu": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime}
    if recorder == "portable":
        summary = summarize(log)
        figures |= {"events": summary.events, "bytes_per_event": summary.log_bytes / max(1, summary.events)}
    return figures


def run(names: list[str], rounds: int) -> dict[str, dict[str, list[dict[str, float]]]]:
    """Figures by workload, recorder and round."""
    results: dict[str, dict[str, list[dict[str, float]]]] = {}
    with tempfile.TemporaryDirectory(prefix="tracekit-bench-") as folder:
        for name in names:
            rows = results[name] = {recorder: [] for recorder in RECORDERS}
            for turn in range(rounds):
                for recorder in RECORDERS:
                    rows[recorder].append(measure(recorder, WORKLOADS[name], Path(folder) / "run.tkt"))
                print(f"{name}: round {turn + 1} of {rounds}", file=sys.stderr)
    return results


def ratio(rows: dict[str, list[dict[str, float]]], recorder: str) -> float:
    """Median over the rounds of the wall time against the same round without a recorder."""
    pairs = zip(rows[recorder], rows["none"], strict=True)
    return statistics.median(with_it["wall"] / without["wall"] for with_it, without in pairs)


def table(results: dict[str, dict[str, list[dict[str, float]]]], facts: dict[str, Any]) -> str:
    """The figures as Markdown."""
    others = [recorder for recorder in RECORDERS if recorder != "none"]
    lines = [
        "Wall time of the whole process against the same without a recorder;",
        f"{facts['rounds']} interleaved rounds, medians. tracekit {facts['tracekit']},",
        f"CPython {facts['python']}, {facts['cores']} cores, {facts['machine']}.",
        "",
        f"| workload | alone, s | {' | '.join(others)} | events | bytes an event |",
        "|---|---|" + "---|" * (len(others) + 2),
    ]
    for name, rows in results.items():
        alone = statistics.median(figures["wall"] for figures in rows["none"])
        last = rows["portable"][-1]
        ratios = " | ".join(f"{ratio(rows, recorder):.1f}x" for recorder in others)
        lines.append(
            f"| {name} | {alone:.2f} | {ratios} | {last['events']:,.0f} | {last['bytes_per_event']:.2f} |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure, print the table and write both files."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition(":")[0])
    parser.add_argument("--rounds", type=int, default=5, help="runs of each recorder (default 5)")
    parser.add_argument("--workload", action="append", choices=sorted(WORKLOADS), help="only this one")
    options = parser.parse_args()
    facts = {
        "tracekit": __version__,
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
        "rounds": options.rounds,
    }
    results = run(options.workload or list(WORKLOADS), options.rounds)
    text = table(results, facts)
    print(text, end="")
    folder = HERE / "results"
    folder.mkdir(exist_ok=True)
    (folder / "latest.md").write_text(text)
    (folder / "latest.json").write_text(json.dumps({"facts": facts, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
