"""Scenarios as text: alone, side by side, and over time."""

from __future__ import annotations

from typing import Any

import pytest
from simulation_documents import MIB, bounded, garbage, point, ran_out, simulation

from tracekit.report.comparisons import comparison_lines, plot_lines
from tracekit.report.curves import Canvas
from tracekit.report.simulations import bounds_of, range_text, simulation_lines

SCENARIOS = [simulation(), bounded("gc=50000,20,20", 44, 58), bounded("gc=off", 90, 90, 0.0)]


def words(line: str) -> str:
    """A line with one space between words."""
    return " ".join(line.split())


def row(lines: list[str], name: str) -> str:
    """What stands in the row of a table that begins with a name."""
    (line,) = (line for line in lines if line.startswith(f"{name}  "))
    return words(line.removeprefix(name))


def test_ranges() -> None:
    assert range_text((44 * MIB, 58 * MIB)) == "44.0 to 58.0 MiB"
    assert range_text((900, 58 * MIB)) == "900 B to 58.0 MiB"
    assert range_text((40 * MIB, 40 * MIB + 1)) == "40.0 MiB"
    assert range_text((7, 9), str) == "7 to 9"
    assert range_text(None) == "unknown"
    assert bounds_of({"peak_bytes": 7}, "peak_bytes") == (7, 7)
    assert bounds_of({"peak_bytes": None, "peak_bytes_bounds": [6, 7]}, "peak_bytes") == (6, 7)
    assert bounds_of({"peak_bytes": None, "peak_bytes_bounds": None}, "peak_bytes") is None


def test_one_scenario_beside_what_was_recorded() -> None:
    document = bounded("gc=50000,20,20", 44, 58, collections_asked=[0, 0, 2])
    lines = list(simulation_lines(document, width=80, plot=["a plot"]))
    assert lines[0] == "scenario: gc=50000,20,20"
    assert row(lines, "collections of generation 0 / 1 / 2") == "5 / 0 / 0 123 / 11 / 1"
    assert row(lines, "  of them asked for by the program") == "0 / 0 / 2"
    assert row(lines, "collector time (estimate)") == "10.0 ms 400.0 ms"
    assert row(lines, "peak live") == "44.0 to 58.0 MiB 40.0 MiB"
    assert row(lines, "peak arenas") == "44 to 58 41"
    assert row(lines, "peak of all stack segments") == "2.0 KiB"
    assert "a plot" in lines
    assert "unknown: peak bytes: bounds" in lines
    assert all(len(line) <= 80 for line in lines)


def test_side_by_side_with_a_column_each() -> None:
    for width in (None, 120, 80):
        lines = list(comparison_lines(SCENARIOS, width=width))
        assert words(lines[0]) == "a recorded b gc=50000,20,20 c gc=off"
        assert row(lines, "collections, gen. 0") == "123 5 5"
        assert row(lines, "             gen. 1") == "11 0 0"
        assert row(lines, "collector time, est.") == "500.0 ms 10.0 ms 0 s"
        assert row(lines, "peak live") == "40.0 MiB 44.0 to 58.0 MiB 90.0 MiB"
        assert row(lines, "fragmentation at end") == "25.0% 25.0% 25.0%"
        assert not any(line.startswith(("out of memory", "of them asked for")) for line in lines)
        assert "unknown: peak bytes of b, c: bounds" in lines
        assert lines.count("note: malloc is modelled roughly") == 1
        assert width is None or all(len(line) <= width for line in lines)


def test_titles_are_cut_no_more_than_it_takes() -> None:
    documents = [simulation(), simulation("gc=off,limit=512MiB"), simulation("gc=50000,20,20,limit=512MiB")]

    def titles(width: int) -> str:
        return words(next(comparison_lines(documents, width=width)))

    assert titles(97) == "a recorded b gc=off,limit=512MiB c gc=50000,20,20,limit=512MiB"
    assert titles(80) == "a recorded b gc=off,limit=512MiB c gc=50000,20,20,lim..."
    assert titles(60).startswith("a recorded b gc=off")
    assert titles(56).startswith("scenario gc 0/1/2")


def test_side_by_side_with_a_row_each() -> None:
    many = [*SCENARIOS, *(bounded(f"gc={number},20,20,limit=64MiB", 44, number) for number in range(50, 56))]
    lines = list(comparison_lines(many, width=80))
    assert words(lines[0]) == "scenario gc 0/1/2 gc time peak live arenas frag."
    assert words(lines[2]) == "a recorded 123/11/1 500.0 ms 40.0 MiB 41 25.0%"
    assert words(lines[3]) == "b gc=50000,20,20 5/0/0 10.0 ms 44.0-58.0 MiB 44-58 25.0%"
    assert [line[0] for line in lines[2:11]] == list("abcdefghi")
    assert all(len(line) <= 80 for line in lines)
    assert "i  gc=55,20,20,limit=64MiB" in lines
    assert "unknown: peak bytes of all but a: bounds" in lines
    wide = list(comparison_lines(many, width=120))
    assert words(wide[3]) == "b gc=50000,20,20 5 / 0 / 0 10.0 ms 44.0 to 58.0 MiB 44 to 58 25.0%"


def test_what_is_not_known_is_said() -> None:
    nothing: dict[str, Any] = {"collections": None, "collector_seconds": None, "fragmentation": None}
    documents = [simulation(), simulation("b", **nothing, collections_asked=None)]
    lines = list(comparison_lines(documents, width=80))
    for name in ("collections, gen. 0", "collector time, est.", "fragmentation at end"):
        assert row(lines, name).endswith(" unknown")


def test_what_is_unknown_for_one_reason_is_one_line() -> None:
    why = {"collections": "no types", "collector_seconds": "no types", "peak_bytes": "bounds"}
    documents = [simulation(unknown=why), simulation("b", unknown=why | {"fragmentation": "malloc"})]
    lines = [line for line in comparison_lines(documents) if line.startswith("unknown: ")]
    assert lines == [
        "unknown: collections, collector seconds: no types",
        "unknown: peak bytes: bounds",
        "unknown: fragmentation of b: malloc",
    ]


def test_rows_go_without_fragmentation_where_there_is_no_room() -> None:
    large = {"collections": [40_000_000, 4_000_000, 400_000]}
    many = [bounded(f"gc={number},20,20", 144, 258) | large for number in range(9)]
    many[-1] = ran_out("gc=99999,20,20", certain=False) | large
    lines = list(comparison_lines(many, width=80))
    assert words(lines[0]) == "scenario gc 0/1/2 gc time peak live arenas ran out"
    assert lines[10].endswith("  1.50 s?")
    assert lines[9].endswith("  no")


def test_running_out_of_memory() -> None:
    text = "\n".join(comparison_lines([simulation(), ran_out("b"), ran_out("c", certain=False)]))
    assert "out of memory" in text
    assert (
        "b b: out of memory at event 1,500, 1.50 s: 640 B wanted at app.py:7 (work\\x1b[2J), 20.0 MiB" in text
    )
    assert "c c: out of memory at event 1,500, 1.50 s (only if garbage stays for as long as it can): " in text
    assert "what was alive just before: 15.0 MiB in 6 blocks, by function\n" in text
    assert "and 5.0 MiB in 9 blocks of garbage, which the recorded collections had freed by then\n" in text
    assert "cycle (app.py)" in text
    assert "f4 (app.py)" in text
    assert "f5 (app.py)" not in text
    assert row(text.splitlines(), "out of memory") == "no 1.50 s perhaps 1.50 s"
    assert "f5 (app.py)" in "\n".join(simulation_lines(ran_out("b")))


def test_what_was_alive_when_more_was_collected_than_recorded() -> None:
    assert "by function; 3.0 MiB of it are garbage, which the simulation had collected\n" in "\n".join(
        simulation_lines(ran_out("b", live=12))
    )
    assert "garbage" not in "\n".join(simulation_lines(ran_out("b", live=15)))
    estimate = ran_out("b")
    estimate["out_of_memory"]["heap"]["garbage"] = garbage(4, exact=False)
    assert "and about 4.0 MiB in 9 blocks of garbage" in "\n".join(simulation_lines(estimate))
    assert "blocks of dead ones" not in "\n".join(simulation_lines(estimate))
    estimate["out_of_memory"]["heap"]["reused_bytes"] = 3 << 20
    reused = "\nand 3.0 MiB in objects for which the recorded program had the blocks of dead ones, or which"
    assert reused in "\n".join(simulation_lines(estimate))


def test_the_model_is_held_against_the_recording() -> None:
    other = simulation(collections=[122, 11, 1])
    said = (
        "as recorded, the model comes to 122 / 11 / 1 collections of generation 0 / 1 / 2; "
        "123 / 11 / 1 were recorded"
    )
    assert said in list(comparison_lines([other, SCENARIOS[1]]))
    assert not any("the model comes to" in line for line in comparison_lines(SCENARIOS))


def test_plot() -> None:
    lines = list(plot_lines(SCENARIOS, "live", Canvas(52)))
    assert lines[0] == "live bytes over time"
    assert lines[1].startswith("  90.0 MiB ┤")
    assert lines[12].startswith("       0 B ┤")
    assert words(lines[13]) == "0 s 3.00 s"
    assert lines[14:17] == ["  a  recorded", "  b  gc=50000,20,20", "  c  gc=off"]
    assert lines[17] == "(where curves meet, the first of them is shown;"
    columns = ["".join(line.ljust(52)[12 + column] for line in lines[1:13]) for column in range(40)]
    # Rows of 7.5 MiB: 10 in the second from below; at the end 30, 44 to 58, and 90.
    assert columns[0] == " " * 10 + "a "
    assert columns[39] == "c│││B│ba││  "
    assert all(len(line) <= 52 for line in lines)


def test_plot_in_ascii_and_in_colour() -> None:
    plain = list(plot_lines(SCENARIOS, "footprint", Canvas(52, blocks=False)))
    assert "\n".join(plain).isascii()
    assert plain[1].startswith("  94.0 MiB +")
    colour = list(plot_lines(SCENARIOS, "footprint", Canvas(52, blocks=False, colour=True)))
    for number in range(31, 38):
        colour = [line.replace(f"\x1b[{number}m", "").replace("\x1b[0m", "") for line in colour]
    assert colour == plain


def test_a_plot_ends_where_memory_does() -> None:
    lines = list(plot_lines([simulation(), ran_out("b")], "arenas", Canvas(52)))
    assert lines[0] == "arenas over time"
    chart = [line[12:] for line in lines[1:13]]
    (mark,) = (line for line in chart if "!" in line)
    assert mark.index("!") == 20
    assert "! is where memory ran out" in " ".join(lines)


@pytest.mark.parametrize("timeline", [[], [point(0, 0)]])
def test_nothing_to_plot(timeline: list[dict[str, Any]]) -> None:
    assert list(plot_lines([simulation(timeline=timeline)], "live", Canvas(80))) == []


def test_names_cannot_command_the_terminal() -> None:
    documents = [simulation("\x1b[31mevil\n"), ran_out("\x9b2J")]
    for width in (None, 80, 40):
        plot = list(plot_lines(documents, "live", Canvas(80)))
        for line in comparison_lines(documents, width=width, plot=plot):
            assert line.isprintable(), ascii(line)
