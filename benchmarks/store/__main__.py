"""Measures the store: ``python -m benchmarks.store`` (``make bench-store``).

Three parts: ``answers``, from a log to the first answer; ``sizes``, what logs and stores take on disk; and
``lengths``, building the store of synthetic logs and asking for the heap at instants of them. Writes
``results/store.json`` and ``results/store.md``.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks import programs
from benchmarks.facts import facts
from benchmarks.measure import RunFailedError
from benchmarks.page import PAGE, write_page
from benchmarks.recorders import RECORDERS
from benchmarks.store import measure
from benchmarks.store.results import LARGEST, Length, StoreResults, goals
from benchmarks.store.tables import document
from benchmarks.synthetic.__main__ import number
from benchmarks.synthetic.generate import ALIVE
from benchmarks.tables import goal_list

LATEST = Path(__file__).resolve().parents[1] / "results" / "store.json"
PARTS = ("answers", "sizes", "lengths")
LENGTHS = (1_000_000, 10_000_000, LARGEST)
SCALES = (10_000, ALIVE, 100_000, 350_000)
SCALES_LENGTH = 10_000_000


def main() -> int:
    """Measure, write both files, print the tables. Returns 1 when something failed."""
    options = _options()
    results = _results(options)
    failures = 0
    with tempfile.TemporaryDirectory(prefix="tracekit-bench-") as made:
        folder = Path(made)
        logs = options.logs or folder
        logs.mkdir(parents=True, exist_ok=True)
        for part in options.part:
            try:
                if part == "answers":
                    _answers(results, folder)
                elif part == "sizes":
                    failures += _sizes(results, folder, options.workload)
                else:
                    _lengths(results, logs, options)
            except RunFailedError as error:
                _say(f"{part} failed: {error}")
                failures += 1
    _write(results)
    print(document(results))
    if options.docs:
        write_page({"store": document(results)})
    _say(goal_list(results.goals))
    return int(failures > 0 or any(asked.failed for asked in results.asked.values()))


def _answers(results: StoreResults, folder: Path) -> None:
    if why := RECORDERS[measure.RIVAL].missing():
        results.missing["memray"] = why
    for asked in measure.first_answers(results.rounds, folder, _say):
        results.asked = asked
        _write(results)


def _sizes(results: StoreResults, folder: Path, names: list[str]) -> int:
    """The sizes of the workloads that can run here; how many failed."""
    failures = 0
    for name in names:
        if why := programs.missing(name):
            _say(f"{name}: {why}")
            continue
        try:
            results.sizes[name] = size = measure.size_of(name, folder)
        except RunFailedError as error:
            _say(f"{name} failed: {error}")
            failures += 1
        else:
            _say(f"{name}: {size.store_bytes / size.events:.2f} bytes an event in {size.events:,}")
            _write(results)
    return failures


def _lengths(results: StoreResults, logs: Path, options: argparse.Namespace) -> None:
    model = options.model or logs / f"{measure.MODEL}.tkt"
    if not model.exists():
        measure.record(measure.ENGINE, programs.WORKLOADS[measure.MODEL], model)
    results.lengths, results.scales = [], []
    for events in [each for each in LENGTHS if each < options.largest] + [options.largest]:
        results.lengths.append(_length(model, logs, events, ALIVE))
        _write(results)
    events = min(SCALES_LENGTH, options.largest)
    for alive in SCALES:
        known = (each for each in results.lengths if (each.alive, each.size.events) == (alive, events))
        results.scales.append(next(known, None) or _length(model, logs, events, alive))
        _write(results)


def _length(model: Path, logs: Path, events: int, alive: int) -> Length:
    found = measure.length(model, logs, events, alive)
    _say(
        f"{events:,} events, {alive:,} blocks alive: built in {found.build_s:.2f} s, "
        f"an instant in {found.median_s * 1000:.1f} ms"
    )
    return found


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(results: StoreResults) -> None:
    results.goals = goals(results)
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    LATEST.with_suffix(".md").write_text(document(results), encoding="utf-8")


def _results(options: argparse.Namespace) -> StoreResults:
    """Results to add to: new ones, or those of last time when they are kept."""
    here = facts("duckdb")
    if options.render or options.keep:
        results = msgspec.json.decode(LATEST.read_bytes(), type=StoreResults)
        if results.facts != here and not options.render:
            raise SystemExit("the figures of last time are of another machine or other versions")
        if "answers" in options.part:
            results.rounds = options.rounds
        return results
    return StoreResults(here, options.rounds)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.store", description="Measure the store, on whole processes."
    )
    parser.add_argument("--rounds", type=int, default=5, help="runs of each command (default 5)")
    parser.add_argument("--part", action="append", choices=PARTS, help="only this one (repeatable)")
    parser.add_argument(
        "--workload",
        action="append",
        choices=[name for name in programs.WORKLOADS if name != programs.EMPTY],
        help="sizes of this one only (repeatable)",
    )
    parser.add_argument(
        "--largest", type=number, default=LARGEST, help="events of the longest synthetic log (default 100M)"
    )
    parser.add_argument("--logs", type=Path, help="folder to keep synthetic logs in, and to take them from")
    parser.add_argument("--model", type=Path, help=f"recording to draw from (default: {measure.MODEL})")
    parser.add_argument("--keep", action="store_true", help="keep last time's figures of the other parts")
    parser.add_argument("--render", action="store_true", help="measure nothing: make the tables anew")
    parser.add_argument("--docs", action="store_true", help=f"write the tables into {PAGE.name}, too")
    options = parser.parse_args()
    if (options.keep or options.render) and not LATEST.exists():
        parser.error(f"nothing to keep: there is no {LATEST.name} yet")
    options.part = [] if options.render else options.part or list(PARTS)
    options.workload = options.workload or [name for name in programs.WORKLOADS if name != programs.EMPTY]
    return options


if __name__ == "__main__":
    sys.exit(main())
