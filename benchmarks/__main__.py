"""Measures what recording costs: ``python -m benchmarks`` (``make bench``).

Each workload is one file in ``workloads/`` and runs as a whole process under each recorder. In a round every
recorder runs once, so that a ratio is taken between runs that follow each other and the machine's moods
cancel out; the next round begins with another recorder. Before the first round each runs once unmeasured,
which fills the caches, and is watched for its peak of memory. The figures are medians over the rounds.

Writes ``results/latest.json`` (every run) and ``results/latest.md`` beside this file.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks import programs
from benchmarks.facts import facts
from benchmarks.goals import goals
from benchmarks.measure import RunFailedError, run
from benchmarks.page import PAGE, write_page
from benchmarks.recorders import RECORDERS, SLOW
from benchmarks.results import Results, Workload
from benchmarks.tables import document, goal_list, summary

HERE = Path(__file__).resolve().parent
LATEST = HERE / "results" / "latest.json"


def measure(name: str, results: Results, folder: Path) -> Workload:
    """All runs of one workload. A recorder that fails once is left out of the rest."""
    recorders = [recorder for recorder in results.recorders if recorder not in results.missing]
    rounds = results.rounds
    found = Workload(programs.description(name), missing=programs.missing(name))
    if found.missing:
        _say(f"{name}: {found.missing}")
        return found
    for turn in range(rounds + 1):
        runs = found.rounds[-1] if turn else found.watched
        if turn < rounds:
            found.rounds.append({})
        shift = turn % len(recorders)
        for recorder in recorders[shift:] + recorders[:shift]:
            # Round 0 is the unmeasured one.
            if recorder in found.failed or (recorder in results.once and turn != 1):
                continue
            try:
                runs[recorder] = run(RECORDERS[recorder], programs.WORKLOADS[name], folder, watched=not turn)
            except RunFailedError as error:
                found.failed[recorder] = str(error)
                _say(f"{name}: {recorder} failed: {error}")
            else:
                _say(f"{name} {turn}/{rounds} {recorder}: {runs[recorder].wall_s:.2f} s")
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(results: Results) -> None:
    results.goals = goals(results)
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    LATEST.with_suffix(".md").write_text(document(results), encoding="utf-8")


def main() -> int:
    """Measure, write both files, print the tables. Returns 1 when a run failed."""
    options = _options()
    results = _results(options)
    with tempfile.TemporaryDirectory(prefix="tracekit-bench-") as folder:
        for name in options.workload:
            results.workloads[name] = measure(name, results, Path(folder))
            _write(results)
    _write(results)
    print(document(results))
    if options.docs:
        write_page({"summary": summary(results) + "\n", "figures": document(results)})
    _say(goal_list(results.goals))
    return int(any(found.failed for found in results.workloads.values()))


def _results(options: argparse.Namespace) -> Results:
    """Results to add to: new ones, or those of last time when they are kept."""
    if options.keep:
        results = msgspec.json.decode(LATEST.read_bytes(), type=Results)
        if results.facts != facts():
            raise SystemExit("the figures of last time are of another machine or other versions")
        return results
    missing = {name: why for name in options.recorder if (why := RECORDERS[name].missing())}
    used = {name: RECORDERS[name].version for name in RECORDERS if name in options.recorder}
    return Results(facts(), options.rounds, used, missing, once=options.once)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Measure what recording costs, on whole processes."
    )
    parser.add_argument("--rounds", type=int, help="runs of each recorder (default 5)")
    parser.add_argument(
        "--workload", action="append", choices=list(programs.WORKLOADS), help="only this one (repeatable)"
    )
    parser.add_argument(
        "--recorder", action="append", choices=list(RECORDERS), help='only this one and "none" (repeatable)'
    )
    parser.add_argument(
        "--once",
        action="append",
        choices=list(RECORDERS),
        default=[],
        help="run this one in the first round only (repeatable)",
    )
    parser.add_argument(
        "--quick", action="store_true", help=f"one round, and without {' and '.join(SLOW)} unless asked for"
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep what was measured last time, but for these workloads"
    )
    parser.add_argument(
        "--render", action="store_true", help="measure nothing: make the tables anew from last time's figures"
    )
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE.name}, too")
    options = parser.parse_args()
    options.keep |= options.render
    if options.keep and (options.rounds or options.recorder or options.quick):
        parser.error("--keep and --render use the rounds and the recorders of last time")
    if options.keep and not LATEST.exists():
        parser.error(f"nothing to keep: there is no {LATEST.name} yet")
    options.rounds = options.rounds or (1 if options.quick else 5)
    everything = [name for name in RECORDERS if not options.quick or name not in SLOW]
    options.recorder = ["none", *options.recorder] if options.recorder else everything
    order = sorted(programs.WORKLOADS, key=lambda name: (name != programs.EMPTY, name))
    wanted = options.workload or order
    options.workload = [] if options.render else [name for name in order if name in wanted]
    return options


if __name__ == "__main__":
    sys.exit(main())
