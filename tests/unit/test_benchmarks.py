"""The benchmark's arithmetic and its outside view of a process, without measuring any time."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.goals import goals
from benchmarks.measure import Run, RunFailedError, run
from benchmarks.programs import NEEDS, WORKLOADS, description
from benchmarks.recorders import RECORDERS, Recorder
from benchmarks.results import RING_BYTES, Facts, Results, Workload
from benchmarks.tables import document, summary

FACTS = Facts("a processor", 2, 1 << 30, "Linux 6.1", "x86_64", "CPython 3.12.1", {"memray": "1.20.0"})
MIB = 1 << 20
PARENT = "import subprocess, sys; subprocess.run(sys.argv[1:2] and [sys.executable, sys.argv[1]], check=True)"


def workload(alone: float, native: float, memray: float, *, events: int, size: int, rss: int) -> Workload:
    """Three rounds; the middle one has the given seconds, and the last one was on a machine half as fast."""
    rounds = [
        {
            "none": Run(alone * pace, alone),
            "native": Run(native * pace, native, events=events, log_bytes=size),
            "memray-python": Run(memray * pace, memray, events=events, log_bytes=size * 2),
        }
        for pace in (0.9, 1.0, 2.0)
    ]
    watched = {"none": Run(1, 1, 10 * MIB), "native": Run(1, 1, rss)}
    return Workload("A program.", watched=watched, rounds=rounds)


@pytest.fixture
def results() -> Results:
    """Native meets all goals but the one of memory."""
    found = Results(FACTS, 3, dict.fromkeys(("none", "memray-python", "native"), ""))
    found.workloads = {
        "empty": workload(0.02, 0.12, 0.32, events=100, size=5000, rss=27 * MIB),
        "fib": workload(1.02, 1.16, 9.02, events=200, size=8000, rss=RING_BYTES + 10 * MIB),
        "js": workload(0.52, 0.72, 1.52, events=9_999_800, size=4_992_000, rss=RING_BYTES + 11 * MIB),
    }
    return found


def test_a_ratio_is_taken_within_a_round(results: Results) -> None:
    assert results.slowdown("js", "native") == pytest.approx(0.72 / 0.52)
    assert results.added("js", "native") == pytest.approx(0.2)
    assert results.steady("fib", "native") == pytest.approx(1.04)
    assert results.mean("native", results.slowdown) == pytest.approx((1.16 / 1.02 * 0.72 / 0.52) ** 0.5)
    assert results.unrest == pytest.approx(2.0 / 0.9 - 1)


def test_goals(results: Results) -> None:
    told = {goal.goal: goal for goal in goals(results)}
    met = [goal.met for goal in told.values()]
    assert met == [True, True, False, True, True, False, True]
    assert [goal.figure for goal in told.values()][1:] == [
        "at worst 20% (js)",
        "1.14x",
        "1.04x",
        "0.10 s",
        "at worst +10.0% (js); missed on 1 of 2: js",
        "0.50 in 10,000,000 events (above it alone: fib 40.00 in 200)",
    ]


def test_what_was_not_measured_is_not_judged(results: Results) -> None:
    for found in results.workloads.values():
        del found.watched["native"]
        for runs in found.rounds:
            del runs["native"]
    assert {goal.met for goal in goals(results)} == {None}
    assert summary(results) == ""


def test_one_workload_without_a_figure_leaves_no_mean(results: Results) -> None:
    del results.workloads["js"].rounds[0]["native"]
    assert results.mean("native", results.slowdown) is not None
    results.workloads["js"].rounds = [{"none": Run(1, 1)}]
    results.workloads["js"].failed["native"] = "status 1"
    assert results.mean("native", results.slowdown) is None
    assert "| `js` | 1.00 |  | failed |" in document(results)


def test_a_recorder_that_is_not_there_is_shown(results: Results) -> None:
    results.recorders["memray"], results.missing["memray"] = "", "not installed"
    text = document(results)
    assert "| `js` | 0.52 | not installed | 2.92x | 1.38x |" in text
    assert "Not installed: memray." in text
    assert "1.25 times as long" in summary(results)


def test_every_workload_says_what_it_is() -> None:
    assert all(description(name).endswith(".") for name in WORKLOADS)
    assert set(NEEDS) <= set(WORKLOADS)


@pytest.mark.parametrize("apart", [False, True])
def test_peak_memory_is_that_of_the_program(tmp_path: Path, *, apart: bool) -> None:
    program = tmp_path / "program.py"
    program.write_text("import time\nblock = bytes(range(256)) * 400_000\ntime.sleep(0.3)\n")
    recorder = Recorder("x", "x", ("-c", PARENT) if apart else (), apart=apart)
    assert run(recorder, program, tmp_path, watched=True).peak_rss > 100_000_000
    if apart:
        inside = Recorder("x", "x", ("-c", PARENT))
        assert run(inside, program, tmp_path, watched=True).peak_rss < 100_000_000


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("raise SystemExit('no luck')\n")
    with pytest.raises(RunFailedError, match="status 1: no luck"):
        run(RECORDERS["none"], program, tmp_path)
