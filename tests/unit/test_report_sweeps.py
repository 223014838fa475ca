"""Sweeps as text: the table, collector time against peak, what was found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from simulation_documents import MIB, bounded, ran_out, simulation

from tracekit.cli.sweeps import parse_sweep, sweep_document
from tracekit.report.curves import Canvas, Spot, draw_spots
from tracekit.report.sweeps import sweep_lines, trade_lines

POINTS = [(100, 40, 41, 8.0), (1000, 41, 42, 1.0), (10000, 42, 44, 0.1), (100000, 60, 90, 0.09)]


def collector_sweep(points: list[tuple[int, int, int, float]] | None = None) -> dict[str, Any]:
    """The recorded scenario, and thresholds with their bounds (MiB) and seconds."""
    sweep = parse_sweep("gc-threshold0=100..100000", 4)
    documents = [simulation()]
    for threshold, low, high, seconds in POINTS if points is None else points:
        one = bounded(f"gc={threshold}", low, high, seconds)
        one["settings"] = {"gc_thresholds": [threshold, None, None]}
        documents.append(one)
    return sweep_document(sweep, documents, Path("my app.tkt"))


def test_the_knee() -> None:
    document = collector_sweep()
    assert document["sweep"] == {
        "setting": "gc-threshold0",
        "values": [100, 1000, 10000, 100000],
        "shape": "knee",
        "best": "gc=10000",
    }
    assert document["knee"] == "gc=10000"
    assert [one["scenario"] for one in document["scenarios"]][:2] == ["recorded", "gc=100"]
    lines = list(sweep_lines(document, width=80, plots=[["a plot"], []]))
    assert lines[0] == "sweep of gc-threshold0: 4 scenarios, and recorded for comparison"
    assert [line[:1] for line in lines[4:9]] == ["R", "a", "b", "K", "d"]
    text = " ".join(lines)
    assert (
        "knee: gc=10000 takes 100.0 ms in the collector for a peak of 42.0 to 44.0 MiB (as recorded: 500"
        in text
    )
    assert "to set it, where the program begins: gc.set_threshold(10000)" in lines
    command = "tracekit simulate 'my app.tkt' --scenario recorded --scenario gc=10000"
    assert f"next: {command}" in lines
    assert document["next"] == command
    assert "a plot" in lines
    assert "of the sweep: a wider one" not in text
    assert "unknown: peak bytes of all but R: bounds" in lines
    assert "<- knee" in "\n".join(sweep_lines(document, width=120))


def test_the_best_at_an_end_of_the_sweep() -> None:
    document = collector_sweep([(1, 40, 41, 8.0), (2, 60, 80, 4.0), (3, 40, 42, 1.0)])
    assert document["knee"] == "gc=3"
    text = " ".join(sweep_lines(document))
    assert "It is the last of the sweep: a wider one may have a better" in text


def test_nothing_to_gain() -> None:
    document = collector_sweep([(1, 30, 30, 60.0), (2, 40, 41, 0.46), (3, 90, 90, 0.4)])
    lines = list(sweep_lines(document))
    assert document["knee"] == "gc=2"
    assert "The recorded settings are as good: there is nothing to gain here" in lines
    assert not any("gc.set_threshold" in line for line in lines)


def test_trade() -> None:
    document = collector_sweep()
    lines = list(trade_lines(document, Canvas(80)))
    assert lines[1].startswith("  90.0 MiB ┤")
    assert lines[12].startswith("  40.0 MiB ┤")
    chart = [line[12:].ljust(68) for line in lines[1:13]]
    # From 90 ms to 8 s, and from 40 to 90 MiB; the last point is from 60 to 90.
    assert chart[0].index("d") == 0
    assert [line[0] for line in chart] == list("d│││││││    ")
    assert "K" in chart[10]
    assert chart[11].index("R") < chart[11].index("b") < chart[11].index("a") == 67
    assert lines[13].split() == ["90.0", "ms", "8.00", "s"]
    assert "K the knee" in " ".join(lines)
    assert all(len(line) <= 80 for line in lines)
    assert "\n".join(trade_lines(document, Canvas(52, blocks=False))).isascii()


def test_spots_that_meet() -> None:
    def texts(spots: list[Spot]) -> list[str]:
        return ["".join(text for text, _ in row) for row in draw_spots(spots, 5, 3, blocks=False)]

    assert texts([Spot("a", 1.0, 5, 5), Spot("b", 1.0, 5, 5)]) == ["     ", "     ", "a    "]
    assert texts([Spot("a", 1.0, 1, 3), Spot("b", 9.0, 2, 3), Spot("c", 3.0, 1, 1)]) == [
        "a   b",
        "|   |",
        "| c  ",
    ]


def test_nothing_to_trade() -> None:
    unknown = collector_sweep()
    for one in unknown["scenarios"]:
        one["collector_seconds"] = None
    assert list(trade_lines(unknown, Canvas(80))) == []
    single = collector_sweep([POINTS[0]])
    single["scenarios"][0]["out_of_memory"] = ran_out("x")["out_of_memory"]
    assert list(trade_lines(single, Canvas(80))) == []


@pytest.mark.parametrize(
    ("points", "shape", "said"),
    [
        (
            [(1, 40, 40, 8.0), (2, 40, 40, 4.0), (3, 40, 40, 2.0)],
            "flat-peak",
            "gc=3 takes least time: 2.00 s",
        ),
        (
            [(1, 40, 40, 2.0), (2, 50, 50, 2.0), (3, 60, 60, 2.0)],
            "flat-time",
            "gc=1 has the lowest peak: 2.0",
        ),
        ([(1, 10, 10, 8.0), (2, 20, 20, 4.0), (3, 40, 40, 2.0)], "straight", "evenly"),
        ([(1, 40, 40, 2.0), (2, 40, 40, 2.0), (3, 40, 40, 2.0)], "flat", "depends on it"),
        (POINTS[:2], "too-few", "three thresholds"),
    ],
)
def test_no_knee(points: list[tuple[int, int, int, float]], shape: str, said: str) -> None:
    document = collector_sweep(points)
    assert (document["knee"], document["sweep"]["shape"]) == (None, shape)
    (line,) = (line for line in sweep_lines(document) if line.startswith("no knee: "))
    assert said in line
    assert (document["next"] is None) == (document["sweep"]["best"] is None)


def test_scenarios_that_ran_out_are_no_part_of_the_knee() -> None:
    document = collector_sweep()
    broken = ran_out("gc=10000") | {"collector_seconds": 0.1}
    found = sweep_document(
        parse_sweep("gc-threshold0=100..100000", 4), [*document["scenarios"][:3], broken], Path("a.tkt")
    )
    assert found["sweep"]["shape"] == "too-few"
    assert "b  gc=1000" in "\n".join(sweep_lines(found, width=80))


def test_no_knee_without_times() -> None:
    documents = [simulation(), *(bounded(f"gc={number}", 40, 50, None) for number in range(5))]
    found = sweep_document(parse_sweep("gc-threshold0=1..5"), documents, Path("a.tkt"))
    assert found["sweep"]["shape"] == "unknown"
    assert "no knee: how long the collector takes is not known" in list(sweep_lines(found))


def test_the_least_limit_that_is_enough() -> None:
    sweep = parse_sweep("memory-limit=32MiB..64MiB", 2)
    found = sweep_document(
        sweep, [simulation(), ran_out("limit=32MiB"), simulation("limit=64MiB")], Path("a.tkt")
    )
    assert found["sweep"]["best"] == "limit=64MiB"
    assert found["knee"] is None
    lines = list(sweep_lines(found))
    assert "limit=64MiB is the least of these limits that is enough" in lines
    assert not any("what was alive" in line for line in lines)
    none = sweep_document(sweep, [simulation(), ran_out("a"), ran_out("b", certain=False)], Path("a.tkt"))
    assert none["next"] is None
    assert "none of these limits is enough" in list(sweep_lines(none))


def test_the_smallest_footprint() -> None:
    small = simulation("arena=256KiB", peak_footprint_bytes=41 * MIB, peak_footprint_bounds=[41 * MIB] * 2)
    sweep = parse_sweep("arena-size=256k..512k")
    found = sweep_document(sweep, [simulation(), small, simulation("arena=512KiB")], Path("a.tkt"))
    lines = list(sweep_lines(found))
    assert "arena=256KiB has the smallest peak footprint: 41.0 MiB (as recorded: 44.0 MiB)" in lines
