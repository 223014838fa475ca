"""The arithmetic of the store's benchmark, and its probe on a sample trace; no time is judged."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from benchmarks.measure import RunFailedError, Timing, timed
from benchmarks.page import PAGE, write_page
from benchmarks.programs import WORKLOADS, with_turns
from benchmarks.recorders import PYTHON
from benchmarks.results import Facts
from benchmarks.store import probe
from benchmarks.store.measure import PROGRAM
from benchmarks.store.results import FIRST, LARGEST, Asked, Length, Size, StoreResults, goals
from benchmarks.store.tables import document

FACTS = Facts("a processor", 2, 1 << 30, "Linux 6.1", "x86_64", "CPython 3.12.1", {"duckdb": "1.4.0"})
SAMPLE = Path(__file__).parents[2] / "sample_traces" / "v2" / "batch_peak.native.tkt"


def length(events: int, instant_s: float) -> Length:
    size = Size(events, events, events * 8)
    return Length(
        alive=35_000,
        size=size,
        build_s=10.0,
        build_rss=500 << 20,
        ask_rss=100 << 20,
        open_s=0.05,
        instants_s=[instant_s] * 20,
        blocks=[34_000, 36_000],
        simulate_s=[10.0, 16.0],
        simulate_rss=900 << 20,
    )


@pytest.fixture
def results() -> StoreResults:
    """All goals met but the one of instants. The machine was half as fast in the last round."""
    found = StoreResults(FACTS, 3)
    for name, seconds in ((FIRST, 1.0), ("stats", 2.5)):
        found.asked[name] = Asked(name, 9_000_000, 1 << 20)
        found.asked[name].runs = [Timing(seconds * pace, seconds) for pace in (0.9, 1.0, 2.0)]
    found.sizes["churn"] = Size(1_000_000, 200_000, 9_000_000)
    found.lengths = [length(1_000_000, 0.01), length(LARGEST, 0.04)]
    found.scales = found.lengths[:1]
    return found


def test_goals(results: StoreResults) -> None:
    told = goals(results)
    assert [goal.met for goal in told] == [True, True, False, True, True, True]
    assert [goal.figure for goal in told] == [
        "9.00 M",
        "500 MiB",
        "at worst 40.0 ms (100,000,000 events)",
        "8.00",
        "10.00 M",
        "900 MiB",
    ]
    results.lengths[-1].simulate_s[0] = 25.0
    results.lengths[-1].simulate_rss = 2 << 30
    assert [goal.met for goal in goals(results)][-2:] == [False, False]


def test_what_was_not_measured_is_not_judged(results: StoreResults) -> None:
    results.asked[FIRST].runs.clear()
    results.lengths = results.lengths[:1]
    assert [goal.met for goal in goals(results)] == [None, None, True, None, None, None]
    assert {goal.met for goal in goals(StoreResults(FACTS, 1))} == {None}


def test_tables(results: StoreResults) -> None:
    results.goals = goals(results)
    results.asked["flamegraph"] = Asked("flamegraph", 9_000_000, 1, failed="status 1")
    text = document(results)
    assert "| first | 9,000,000 | 1.00 | 9.00 |  |" in text
    assert "| stats | 9,000,000 | 2.50 | 3.60 | 2.50x |" in text
    assert "| flamegraph | 9,000,000 | failed |  |  |" in text
    assert "| `churn` | 1,000 | 0.20 | 9.00 |" in text
    assert (
        "| 1,000,000 | 35,000 | 10.00 | 0.10 | 500 | 1.00 | 8.00 | 50.0 | 10.0 | 10.0 | 10.0 | 100 |" in text
    )
    assert "| 1,000,000 | 35,000 | 10.00 | 0.10 | 16.00 | 0.06 | 900 |" in text
    assert "40.0 ms (100,000,000 events): not met" in text
    assert "###" not in document(StoreResults(FACTS, 1))


def test_results_survive_their_file(results: StoreResults) -> None:
    again = msgspec.json.decode(msgspec.json.encode(results), type=StoreResults)
    assert document(again) == document(results)


def test_probe(tmp_path: Path) -> None:
    log, output = tmp_path / "a.tkt", tmp_path / "answer.json"
    shutil.copy(SAMPLE, log)
    assert probe.main(["build", str(log), str(output)]) == 0
    built = msgspec.json.decode(output.read_bytes(), type=probe.Answer)
    assert (tmp_path / "a.tkt.duckdb").exists()
    assert built.events == 90_323
    assert built.peak_rss > 10 << 20
    assert probe.main(["ask", str(log), str(output), "--instants", "7", "--seed", "4"]) == 0
    asked = msgspec.json.decode(output.read_bytes(), type=probe.Answer)
    assert len(asked.instants_s) == len(asked.blocks) == 7
    assert len(set(asked.blocks)) > 1
    probe.main(["ask", str(log), str(output), "--instants", "7", "--seed", "4"])
    assert msgspec.json.decode(output.read_bytes(), type=probe.Answer).blocks == asked.blocks
    assert probe.main(["simulate", str(log), str(output)]) == 0
    simulated = msgspec.json.decode(output.read_bytes(), type=probe.Answer)
    assert len(simulated.simulate_s) == len(probe.SCENARIOS) == 2
    assert all(seconds > 0 for seconds in simulated.simulate_s)


def test_a_shortened_program_is_the_same_but_for_its_turns(tmp_path: Path) -> None:
    text = with_turns(PROGRAM, 7, tmp_path).read_text(encoding="utf-8")
    assert "for turn in range(7):" in text
    assert len(text.splitlines()) == len(WORKLOADS[PROGRAM].read_text(encoding="utf-8").splitlines())
    with pytest.raises(ValueError, match="no turns"):
        with_turns("imports", 7, tmp_path)


def test_a_command_that_takes_too_long_is_ended() -> None:
    with pytest.raises(RunFailedError, match="not done after 0 s"):
        timed([PYTHON, "-c", "import time; time.sleep(60)"], timeout=0.1)


def test_the_page_has_a_place_for_all_figures(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    write_page({"summary": "one\n", "figures": "two\n", "store": "three\n"}, page)
    text = page.read_text(encoding="utf-8")
    assert all(f"begin -->\n{word}\n<!--" in text for word in ("one", "two", "three"))
    with pytest.raises(ValueError, match="no place for 'others'"):
        write_page({"others": "four"}, page)
