"""The comparison of `make regrtest`: what counts as a difference, and what explains one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.regrtest import compare, run
from tools.regrtest.__main__ import left_out, module_names
from tools.regrtest.compare import Kind, Known, judge, load_known
from tools.regrtest.report import Session, report
from tools.regrtest.results import Results
from tools.regrtest.run import PLAIN, Outcome

VERSION = "3.12.1"
GOOD_LOG: dict[str, object] = {"complete": True, "events": 7, "engine": "native"}


def outcome(engine: str = PLAIN, turn: int = 0, **changes: object) -> Outcome:
    values: dict[str, object] = {
        "module": "test_x",
        "engine": engine,
        "round": turn,
        "status": "exit 0",
        "result": "SUCCESS",
        "tests": {"a": "ok", "b": "skipped"},
        "seconds": 1.0,
        "log": {} if engine == PLAIN else GOOD_LOG,
    }
    return Outcome(**(values | changes))  # type: ignore[arg-type]


def failed(engine: str = "native", turn: int = 0) -> Outcome:
    tests = {"a": "failure", "b": "skipped"}
    return outcome(engine, turn, status="exit 2", result="FAILURE", tests=tests, reasons={"a": "because"})


def test_equal_runs_are_the_same() -> None:
    verdict = judge(VERSION, [(outcome(), outcome("native"))], [])
    assert verdict.word == "same"
    assert not verdict.findings


def test_a_failed_test_is_one_difference_and_not_three() -> None:
    verdict = judge(VERSION, [(outcome(turn=n), failed(turn=n)) for n in range(3)], [])
    assert [(f.test, f.kind, f.reason) for f in verdict.findings] == [("a", Kind.DIFFERS, "because")]


def test_a_test_that_fails_in_both_is_no_difference() -> None:
    assert judge(VERSION, [(failed(PLAIN), failed())], []).word == "same"


def test_unsteady_and_flaky_depend_on_the_runs_without_the_recorder() -> None:
    assert judge(VERSION, [(outcome(), failed()), (outcome(), outcome("native"))], []).word == "unsteady"
    assert judge(VERSION, [(outcome(), failed()), (failed(PLAIN), failed())], []).word == "flaky"


@pytest.mark.parametrize(
    "bad",
    [
        outcome("native", status="signal SIGSEGV"),
        outcome("native", status="timeout"),
        outcome("native", status="exit 1"),
        outcome("native", log={"problem": "no log"}),
        outcome("native", log=GOOD_LOG | {"complete": False}),
        outcome("native", log=GOOD_LOG | {"verify": ["a free without a block"]}),
    ],
)
def test_a_crash_and_a_bad_recording_count_when_seen_once(bad: Outcome) -> None:
    assert judge(VERSION, [(outcome(), bad), (outcome(), outcome("native"))], []).word == "differs"


def test_a_crash_is_not_hidden_by_the_tests_that_it_kept_from_running() -> None:
    crashed = outcome("native", status="signal SIGABRT", result="none", tests={"b": "skipped"})
    found = {finding.test for finding in judge(VERSION, [(outcome(), crashed)], []).findings}
    assert found == {"a", compare.STATUS}


def test_a_known_cause_explains_its_test_version_engine_and_outcome_only() -> None:
    pairs = [(outcome(), failed())]
    entry = Known("test_x", "a", "It has to be.", ("3.12",), ("native",), "failure")
    assert judge(VERSION, pairs, [entry]).word == "known"
    for changes in (
        {"module": "test_y"},
        {"tests": "b"},
        {"versions": ("3.13",)},
        {"engines": ("portable",)},
        {"recorded": "error"},
    ):
        assert judge(VERSION, pairs, [Known(**(vars(entry) | changes))]).word == "differs"


def test_the_report_names_the_cause_and_the_entries_that_were_not_met() -> None:
    known = [
        Known("test_x", "a", "It has to be.", ("3.12",), ("native",)),
        Known("test_x", "b", "It had to be.", ("3.12",), ("native",)),
        Known("test_y", "b", "Never asked.", ("3.12",), ("native",)),
    ]
    verdict = judge(VERSION, [(outcome(), failed())], known)
    text = report([Session(VERSION, "native", [verdict], [outcome()])], known)
    met, _, not_met = text.partition("Known differences that were not seen")
    assert "It has to be." in met
    assert "It had to be." in not_met
    assert "Never asked." not in text


def test_results_can_be_continued_and_survive_a_torn_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    first = Results(path, None)
    for one in (outcome(), failed()):
        first.add(VERSION, one)
    with path.open("a") as file:
        file.write('{"python": "3.1')
    assert Results(path, None).rounds(VERSION, "test_x", "native") == [(outcome(), failed())]
    kept = Results(path, {PLAIN})
    assert kept.get(VERSION, "test_x", PLAIN) == outcome()
    assert kept.get(VERSION, "test_x", "native") is None


def test_the_data_files_are_in_order() -> None:
    names = module_names(fast=False)
    assert len(names) == len(set(names)) >= 160
    assert set(module_names(fast=True)) < set(names)
    assert set(left_out()) <= set(names)
    load_known(Path(compare.__file__).with_name("known.toml"))


def test_names_of_tests_do_not_change_with_addresses_and_folders() -> None:
    text = "test_a (f=<function f at 0x7f01>) /tmp/tkrt-ab12cd34/tmp/test_python_77/@test_77_tmp"
    again = "test_a (f=<function f at 0x7f9c>) /tmp/tkrt-zz999999/tmp/test_python_8/@test_8_tmp"
    assert run._steady(text) == run._steady(again)
