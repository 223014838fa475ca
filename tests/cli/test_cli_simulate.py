"""``tracekit simulate``: one scenario, several side by side, and sweeps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cli_support import Cli, on_terminal
from effort import some
from test_cli_errors import check_line
from traces import TraceBuilder, sample_header, write_log

from tracekit.record.capabilities import CAPABILITIES

FIELDS = (
    *("scenario", "settings", "collections", "recorded_collections", "arenas", "peak_arenas"),
    *("recorded_peak_arenas", "peak_bytes", "peak_bytes_bounds", "recorded_peak_bytes", "fragmentation"),
    *("peak_footprint_bytes", "end_bytes", "out_of_memory", "timeline", "unknown", "notes"),
)
LIMITED = ("--allocator", "malloc", "--memory-limit", "5k")


def test_one_scenario(cli: Cli, log: Path) -> None:
    document = cli("simulate", log, "--json").document
    assert set(FIELDS) <= set(document)
    assert document["scenario"] == "recorded"
    assert document["peak_bytes"] == document["recorded_peak_bytes"] == 5000
    assert document["peak_bytes_bounds"] == [5000, 5000]
    assert document["out_of_memory"] is None
    text = cli("simulate", log, "--plot", "none").out
    assert text.startswith("scenario: recorded\n")
    assert "peak live" in text
    assert "over time" not in text


def test_single_options_make_one_scenario(cli: Cli, log: Path) -> None:
    options = ("--gc-threshold", "50,5", "--arena-size", "64k", "--pool-size", "4k", "--memory-limit", "1G")
    document = cli("simulate", log, *options, "--gc-freeze-at", "mark:warm", "--json").document
    name = "gc=50,5,freeze=mark:warm,arena=64k,pool=4k,limit=1G"
    assert document["scenario"] == name
    assert document["settings"]["arena_size"] == 65536
    same = cli("simulate", log, "--scenario", name, "--json").document
    assert same == document


def test_out_of_memory(cli: Cli, log: Path) -> None:
    answer = cli("simulate", log, *LIMITED, "--json")
    assert answer.status == 0
    document = answer.document
    assert document["scenario"] == "allocator=malloc,limit=5k"
    event = document["out_of_memory"]
    assert event["wanted_bytes"] == 1000
    heap = event["heap"]
    assert heap["by"] == "function"
    assert heap["total_bytes"] == event["live_bytes"] == sum(group["bytes"] for group in heap["groups"])
    text = cli("simulate", log, *LIMITED).out
    assert "out of memory at event" in text
    assert "what was alive just before" in text


def test_several_scenarios(cli: Cli, log: Path) -> None:
    scenarios = (
        "--scenario",
        "recorded",
        "--scenario",
        "gc=off",
        "--scenario",
        "tiny:allocator=malloc,limit=5k",
    )
    documents = cli("simulate", log, *scenarios, "--json").document["scenarios"]
    assert [document["scenario"] for document in documents] == ["recorded", "gc=off", "tiny"]
    assert [document["out_of_memory"] is None for document in documents] == [True, True, False]
    assert all(set(FIELDS) <= set(document) for document in documents)
    assert documents[0] == cli("simulate", log, "--json").document
    text = cli("simulate", log, *scenarios).out
    assert text.splitlines()[0].split() == ["a", "recorded", "b", "gc=off", "c", "tiny"]
    assert "c tiny: out of memory at event" in text
    assert "work (work.py)" in text


def test_what_was_simulated_is_in_tables(cli: Cli, log: Path) -> None:
    sql = "SELECT scenario, bound, max(peak_live_bytes) AS peak FROM sim_timeline GROUP BY ALL"
    assert cli("query", log, sql, "--json").document == []
    documents = cli("simulate", log, "--scenario", "recorded", "--scenario", "gc=off", "--json").document
    rows = {row["scenario"]: row for row in cli("query", log, sql, "--json").document}
    assert set(rows) == {"recorded", "gc=off"}
    for document in documents["scenarios"]:
        low, high = document["peak_bytes_bounds"]
        assert low <= rows[document["scenario"]]["peak"] <= high
    assert cli("simulate", log, "--gc-threshold", "5", "--no-cache").err == ""
    assert set(rows) == {row["scenario"] for row in cli("query", log, sql, "--json").document}


@pytest.fixture(scope="module")
def growing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log of 4000 blocks of 500 bytes, a millisecond each."""
    build = TraceBuilder()
    for _ in range(4000):
        build.advance(1_000_000)
        build.allocate(500)
    return write_log(tmp_path_factory.mktemp("logs") / "growing.tkt", build.finish())


@pytest.mark.parametrize("width", some([80, 120]))
def test_lines_fit_a_terminal(cli: Cli, growing: Path, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    monkeypatch.setattr("tracekit.cli.simulate.terminal_width", lambda _: width)
    monkeypatch.setenv("COLUMNS", str(width))
    many = [text for number in range(8) for text in ("--scenario", f"gc={number + 5},20,20,limit=640MiB")]
    few = ["--scenario", "recorded", "--scenario", "gc=50000,20,20", "--scenario", "gc=off,limit=640MiB"]
    for arguments in (many, few, ["--sweep", "gc-threshold0=10..1000"], LIMITED):
        out = cli("simulate", growing, *arguments).out
        assert len(out.splitlines()) > 15
        assert all(len(line) <= width for line in out.splitlines() if not line.startswith("next: ")), out


@pytest.mark.parametrize(("encoding", "axis"), [("utf-8", "┤"), ("ascii", "+")])
def test_a_plot_in_what_the_encoding_has(growing: Path, encoding: str, axis: str) -> None:
    scenarios = ("--scenario", "recorded", "--scenario", "arena=256k", "--no-cache")
    out = on_terminal(80, "simulate", growing, *scenarios, PYTHONIOENCODING=encoding, TERM="xterm")
    assert "(footprint) over time" in out
    assert f" {axis}" in out
    assert out.isascii() == (encoding == "ascii")
    assert "  \x1b[33mb\x1b[0m  arena=256k" in out
    assert "\x1b" not in out.replace("\x1b[33m", "").replace("\x1b[36m", "").replace("\x1b[0m", "")


def test_sweep(cli: Cli, log: Path) -> None:
    answer = cli("simulate", log, "--sweep", "gc-threshold0=10..1000", "--steps", "3", "--json")
    document = answer.document
    assert set(document) == {"sweep", "scenarios", "knee", "next"}
    assert document["sweep"]["setting"] == "gc-threshold0"
    assert document["sweep"]["values"] == [10, 100, 1000]
    names = [one["scenario"] for one in document["scenarios"]]
    assert names == ["recorded", "gc=10", "gc=100", "gc=1000"]
    text = cli("simulate", log, "--sweep", "gc-threshold0=10..1000", "--steps", "3").out
    assert text.startswith("sweep of gc-threshold0: 3 scenarios, and recorded for comparison\n")
    assert "knee: " in text


def test_sweep_on_top_of_options(cli: Cli, log: Path) -> None:
    def names(*options: str) -> list[str]:
        found = cli("simulate", log, *options, "--json").document["scenarios"]
        return [one["scenario"] for one in found]

    first = names("--sweep", "gc-threshold1=5..6", "--arena-size", "64k", "--steps", "2")
    assert first == ["recorded", "gc=700,5,arena=64k", "gc=700,6,arena=64k"]
    second = names("--sweep", "pool-size=4k..8k", "--gc-off")
    assert second == ["recorded", "gc=off,pool=4KiB", "gc=off,pool=8KiB"]


def test_sweep_of_limits(cli: Cli, log: Path) -> None:
    options = ("--sweep", "memory-limit=5000..50000", "--steps", "3", "--allocator", "malloc")
    document = cli("simulate", log, *options, "--json").document
    ended = [one["scenario"] for one in document["scenarios"][1:] if one["out_of_memory"] is None]
    assert 0 < len(ended) < 3
    assert document["sweep"]["best"] == ended[0]
    assert f"{ended[0]} is the least of these limits that is enough" in cli("simulate", log, *options).out
    assert (
        f"next: tracekit simulate {log} --scenario recorded --scenario {ended[0]}"
        in cli("simulate", log, *options, "--plot", "live").out
    )


def test_swept_thresholds_begin_with_the_one_that_was_in_force(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    for thresholds in ((700, 10, 10), (9000, 10, 10), (9000, 10, 10)):
        build.gc_start(0, thresholds=thresholds)
        build.gc_stop()
    log = write_log(tmp_path / "set.tkt", build.finish())
    options = ("--sweep", "gc-threshold2=5..6", "--steps", "2", "--json")
    found = cli("simulate", log, *options).document["scenarios"]
    assert [one["scenario"] for one in found] == ["recorded", "gc=9000,,5", "gc=9000,,6"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--scenario", "gc=-1"], "scenario", "threshold -1 of generation 0 is below 0"),
        (["--gc-threshold", "700,-5"], "scenario", "--gc-threshold: threshold -5 of generation 1 is below 0"),
        (["--scenario", "recorded", "--scenario", "arena=4k,pool=64k"], "scenario", "pool"),
        (["--scenario", "arena=5000"], "scenario", "power of two"),
        (["--scenario", "allocator=malloc,arena=64k"], "scenario", "no meaning"),
        (["--scenario", "limit=10"], "scenario", "does not hold the first block"),
        (["--allocator", "malloc", "--memory-limit", "1k"], "scenario", "(1000 bytes); give a larger one"),
        (["--scenario", "recorded", "--scenario", "freeze=mark:cold"], "moment-missing", "mark:warm"),
        (["--gc-freeze-at", "soon"], "moment-syntax", "'soon' is not a moment"),
        (["--scenario", "colour=red"], "usage", "no setting 'colour'"),
        (["--scenario", "gc=off,gc=off"], "usage", "'gc' is twice"),
        (["--scenario", "gc=off", "--scenario", "gc=off"], "usage", "'gc=off' is there twice"),
        (["--scenario", "gc=off", "--memory-limit", "5k"], "usage", "say --scenario limit=5k"),
        (["--scenario", "gc=5", "--gc-off"], "usage", "--scenario and --gc-off exclude"),
        (["--scenario", "gc=5", "--sweep", "gc-threshold0=1..5"], "usage", "--scenario and --sweep exclude"),
        (["--steps", "5"], "usage", "give --sweep, too"),
        (["--sweep", "gc-threshold0=1..5", "--steps", "0"], "usage", "--steps cannot be 0"),
        (["--sweep", "gc-threshold0=5"], "usage", "--sweep cannot be 'gc-threshold0=5'"),
        (["--sweep", "gc-threshold0=1..5", "--gc-off"], "usage", "--gc-off exclude"),
        (["--sweep", "gc-threshold0=1..5", "--gc-threshold", "1,2,3,4"], "usage", "--gc-threshold cannot be"),
        (["--plot", "colours"], "usage", "live, footprint, arenas, none"),
        (["--scenario", "\x1b[31m=1"], "usage", "no setting"),
    ],
    ids=lambda value: " ".join(value).replace("\x1b", "") if isinstance(value, list) else "",
)
def test_nonsense_is_one_clear_line(cli: Cli, log: Path, arguments: list[str], code: str, said: str) -> None:
    answer = cli("simulate", log, *arguments)
    assert (answer.status, answer.out) == (2, "")
    check_line(answer.err, code)
    assert said in answer.err


def test_a_portable_recording_says_what_it_cannot(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder(sample_header(engine="portable", capabilities=CAPABILITIES["portable"]))
    build.allocate(500)
    log = write_log(tmp_path / "portable.tkt", build.finish())
    documents: list[dict[str, Any]] = cli(
        "simulate", log, "--scenario", "recorded", "--scenario", "gc=50", "--json"
    ).document["scenarios"]
    for document in documents:
        assert document["collections"] is None
        assert "portable" in document["unknown"]["collections"]
    assert "unknown" in cli("simulate", log, "--scenario", "recorded", "--scenario", "gc=50").out
