"""`tracekit gc` and `tracekit timeline`: what they print for people and for programs."""

from __future__ import annotations

import os
import pty
import re
from pathlib import Path

import pytest
from cli_support import HOSTILE, PROGRAM, Cli, Stored, environment, make_log, start
from processes import running
from traces import TraceBuilder, sample_capabilities, sample_header, write_log

from tracekit.events import Free


def make_cycles(path: Path) -> Path:
    """Two collections: 2 nodes and a string of the first are garbage, the second finds nothing."""
    build = TraceBuilder()
    node, text = build.type("app.Node", gc_tracked=True), build.type("builtins.str")
    make = build.stack(("app.py", "<module>", 3), ("app.py", "make", 10))
    nodes = [build.allocate(100, stack=make) for _ in range(2)]
    string = build.allocate(60, stack=build.stack(("app.py", "<module>", 4)))
    build.advance(1_000_000)
    build.gc_start(1, counts=(701, 11, 2))
    build.advance(2_000_000)
    for block in nodes:
        build.free(block, type_id=node)
    build.free(string, type_id=text)
    build.gc_stop(collected=2)
    build.sample(50 << 20)
    build.advance(3_000_000)
    build.mark("between")
    build.gc_start(0, counts=(0, 0, 3))
    build.advance(1_000_000)
    build.gc_stop(uncollectable=1)
    build.advance(3_000_000)
    return write_log(path, build.finish())


@pytest.fixture
def cycles(stored: Stored, tmp_path: Path) -> Path:
    return stored(make_cycles, tmp_path / "cycles.tkt")


def test_gc(cli: Cli, cycles: Path) -> None:
    answer = cli("gc", cycles)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == (
        "2 collections took 3.0 ms of 10.0 ms, 30.0% of the recorded run\n"
        "\n"
        "generation  runs  pauses  median  longest  objects  blocks  bytes\n"
        "----------  ----  ------  ------  -------  -------  ------  -----\n"
        "         0     1  1.0 ms  1.0 ms   1.0 ms        0       0    0 B\n"
        "         1     1  2.0 ms  2.0 ms   2.0 ms        2       3  260 B\n"
        "\n"
        "freed by the collector: 260 B in 3 blocks, by type\n"
        "\n"
        "bytes  share  blocks  type\n"
        "-----  -----  ------  ------------\n"
        "200 B  76.9%       2  app.Node\n"
        " 60 B  23.1%       1  builtins.str\n"
        "\n"
        "the same by the site that allocated them\n"
        "\n"
        "bytes  share  blocks  site\n"
        "-----  -----  ------  -------------------\n"
        "200 B  76.9%       2  app.py:10 (make)\n"
        " 60 B  23.1%       1  app.py:4 (<module>)\n"
        "\n"
        "collections: the longest pauses\n"
        "\n"
        "gc  gen      at   pause  objects  blocks  bytes  mostly\n"
        "--  ---  ------  ------  -------  ------  -----  --------\n"
        " 0    1  1.0 ms  2.0 ms        2       3  260 B  app.Node\n"
        " 1    0  6.0 ms  1.0 ms        0       0    0 B\n"
        "\n"
        "note: 1 object was uncollectable (gc.garbage)\n"
        "note: str, int, bytes and the like cannot form a cycle: they hung on one; '<unknown>' is memory "
        "behind objects (arrays of lists, tables of dicts, attributes)\n"
    )


def test_gc_as_json(cli: Cli, cycles: Path) -> None:
    document = cli("gc", cycles, "--json", "--by", "function").document
    assert (document["count"], document["pause_s"], document["pause_share"]) == (2, 0.003, pytest.approx(0.3))
    assert document["thresholds_at_start"] == [700, 10, 10]
    assert [one["generation"] for one in document["generations"]] == [0, 1]
    assert document["generations"][1]["longest_gc_id"] == 0
    assert document["garbage"] == [
        {
            "by": "function",
            "total_bytes": 260,
            "total_blocks": 3,
            "older_blocks": 0,
            "groups": [
                {"key": "make (app.py)", "bytes": 200, "blocks": 2},
                {"key": "<module> (app.py)", "bytes": 60, "blocks": 1},
            ],
            "groups_omitted": 0,
        }
    ]
    first = document["collections"][0]
    assert (first["gc_id"], first["started_s"], first["pause_s"]) == (0, 0.001, 0.002)
    assert first["counts"] == [701, 11, 2]
    assert first["types"] == [{"key": "app.Node", "bytes": 200, "blocks": 2}]


def test_gc_says_what_it_left_out(cli: Cli, cycles: Path) -> None:
    text = cli("gc", cycles, "--limit", 1, "--sort", "order").out
    assert "... and 1 more group (--limit 0 shows all)" in text
    assert "collections: in their order" in text
    assert "... and 1 more collection (--limit 0 shows all, --collection N one of them)" in text
    document = cli("gc", cycles, "--limit", 1, "--json").document
    assert (len(document["collections"]), document["collections_omitted"]) == (1, 1)
    assert "more" not in cli("gc", cycles, "--limit", 0).out


def test_one_collection(cli: Cli, cycles: Path) -> None:
    text = cli("gc", cycles, "--collection", 0).out
    assert text.startswith("collection 0 of generation 1\n")
    assert re.search(r"counts +701, 11, 2 at its start", text)
    assert "freed: 260 B in 3 blocks, by type" in text
    assert "freed: no block of this recording" in cli("gc", cycles, "--collection", 1).out
    document = cli("gc", cycles, "--collection", 1, "--json").document
    assert document["collection"]["uncollectable"] == 1
    answer = cli("gc", cycles, "--collection", 7)
    assert answer.status == 2
    assert "error[moment-missing]" in answer.err
    assert "its 2 collections are numbered from 0" in answer.err


def test_blocks_older_than_the_recording(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    build.gc_start()
    build._add(Free(build.next_seq, build.now, 1, "gc", None, 0x10))
    build.gc_stop(collected=1)
    text = cli("gc", write_log(tmp_path / "older.tkt", build.finish())).out
    first, second = text.partition("freed by the collector: ")[2].splitlines()[:2]
    assert first == "no block of this recording"
    assert second == "and 1 block older than the recording, of unknown size"


def test_counts_at_a_moment(cli: Cli, cycles: Path) -> None:
    document = cli("gc", cycles, "--at", "mark:between", "--json").document
    assert document["counts"] == [0, 0, 3]
    assert (document["before"]["gc_id"], document["after"]["gc_id"]) == (0, 1)
    assert document["count0_derived_at_after"] == 0
    text = cli("gc", cycles, "--at", "mark:between").out
    assert re.search(r"start of gc:0 \(generation 1\) +1.0 ms +701, 11, 2 +700, 10, 10\n", text)
    assert re.search(r"this moment +6.0 ms +0, 0, 3 +700, 10, 10\n", text)
    assert "note: confirmed: the estimate continued to the start of gc:1 gives exactly" in text
    after = cli("gc", cycles, "--at", "end").out
    assert "thresholds are those at gc:1, and no later collection tells more" in after
    assert "no later collection recorded a count that would confirm count 0" in after
    assert "count 0 was reckoned back from what gc:0 recorded" in cli("gc", cycles, "--at", "start").out
    assert "within gc:0 (generation 1)" in cli("gc", cycles, "--at", "seq:5").out


def test_counts_that_are_not_confirmed(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    for count in (701, 500):
        build.gc_start(0, counts=(count, 0, 0))
        build.gc_stop()
    build.mark("late")
    kind = build.type("app.Row", gc_tracked=True)
    rows = [build.allocate(16) for _ in range(702)]
    build.mark("many")
    for row in rows:
        build.free(row, type_id=kind)
    log = write_log(tmp_path / "odd.tkt", build.finish())
    text = cli("gc", log, "--at", "gc:0").out
    assert (
        "note: not confirmed: the estimate continued to the start of gc:1 gives 0, recorded are 500" in text
    )
    assert "count 0 is above its threshold" in cli("gc", log, "--at", "mark:many").out
    assert "above its threshold" not in cli("gc", log, "--at", "mark:late").out


def test_gc_of_the_portable_engine(cli: Cli, tmp_path: Path) -> None:
    known = sample_capabilities(types=False, causes=False, real_times=False)
    build = TraceBuilder(sample_header(engine="portable", capabilities=known))
    block = build.allocate(100, stack=build.stack(("app.py", "make", 10)))
    build.gc_start()
    build.free(block)
    build.gc_stop(collected=1)
    log = write_log(tmp_path / "portable.tkt", build.finish())
    text = cli("gc", log).out
    assert "by the site that allocated them" in text
    assert "by type" not in text
    assert "note: types are not recorded by the portable engine; the native engine does" in text
    assert "note: the portable engine does not see the cause of every free" in text
    assert "count 0 between collections needs the types of blocks" in cli("gc", log, "--at", "end").out


def test_gc_without_collections(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    build.advance(20_000_000)
    log = write_log(tmp_path / "none.tkt", build.finish())
    answer = cli("gc", log)
    assert (answer.status, answer.out) == (
        0,
        "no collections: the collector did not run in 20.0 ms; at the start it was enabled, "
        "thresholds 700, 10, 10\n",
    )
    assert cli("gc", log, "--json").document["collections"] == []
    assert "no collection was recorded, and so no counts" in cli("gc", log, "--at", "end").out


def test_settings_of_the_collector(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    build.set_collector(enabled=True)
    for number, (enabled, first) in enumerate([(False, 700), (True, 700), (True, 50), (False, 50)]):
        build.advance(3_000_000)
        build.mark(f"before {number}")
        build.set_collector(enabled=enabled, thresholds=(first, 10, 10))
        build.allocate(16)
    build.advance(1_000_000)
    log = write_log(tmp_path / "set.tkt", build.finish())
    assert "note: the collector was off 2 times, 4.0 ms in all (table gc_settings)" in cli("gc", log).out
    assert "note: the program set its thresholds 1 time (table gc_settings)" in cli("gc", log).out
    document = cli("gc", log, "--json").document
    assert [(one["seq"], one["time_s"], one["enabled"]) for one in document["settings"]] == [
        (1, 0.0, True),
        (2, 0.003, False),
        (4, 0.006, True),
        (6, 0.009, True),
        (8, 0.012, False),
    ]
    known = [cli("gc", log, "--at", f"seq:{seq}", "--json").document for seq in range(9)]
    assert [one["enabled"] for one in known] == [True, True, False, False, True, True, True, True, False]
    assert [one["thresholds"][0] for one in known] == [700] * 6 + [50] * 3
    assert all(one["thresholds_certain"] for one in known)
    assert "note: the collector was off (gc.disable)" in cli("gc", log, "--at", "seq:2").out
    assert "thresholds are those" not in cli("gc", log, "--at", "seq:5").out


@pytest.mark.parametrize(
    "arguments",
    [
        ("gc", "--at", "end", "--collection", "1"),
        ("gc", "--limit", "-1"),
        ("gc", "--by", "colour"),
        ("gc", "--sort", "size"),
        ("timeline", "--x", "bytes"),
        ("timeline", "--steps", "0"),
        ("timeline", "--steps", "500"),
        ("timeline", "--from", "end", "--to", "start"),
        ("timeline", "--steps", "1000000", "--json"),
    ],
)
def test_what_makes_no_sense(cli: Cli, cycles: Path, arguments: tuple[str, ...]) -> None:
    answer = cli(arguments[0], cycles, *arguments[1:])
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("tracekit: error[usage]: ")
    assert answer.err.count("\n") == 1


def test_timeline(cycles: Path) -> None:
    answer = start("timeline", cycles, "--steps", 10, PYTHONIOENCODING="utf-8")
    assert (answer.status, answer.err) == (0, "")
    lines = answer.out.splitlines()
    assert lines[:3] == [
        "timeline from start (event 0, 0 s)",
        "         to   end (event 12, 10.0 ms)",
        "10 columns of 1.0 ms each",
    ]
    assert lines[5:7] == ["     260 B ┤████", "           │████"]
    assert lines[15] == ""
    assert lines[16:18] == ["resident memory of the process (RSS)", "  50.0 MiB ┤   ███████"]
    assert answer.out.endswith(
        "collections within each column, by generation\n"
        "         0        1\n"
        "         1   1\n"
        "     marks        a\n"
        "            0 s 10.0 ms\n"
        "\n"
        "peak 260 B (event 3, 0 s)\n"
        "at end 0 B in 0 blocks\n"
        "largest RSS 50.0 MiB (3.0 ms)\n"
        "2 collections (1 / 1 / 0 of generation 0 / 1 / 2) took 3.0 ms\n"
        "\n"
        "a  between (event 9, 6.0 ms)\n"
    )


def test_timeline_as_json(cli: Cli, cycles: Path) -> None:
    document = cli("timeline", cycles, "--steps", 5, "--json").document
    assert (document["x"], document["exact"], document["notes"]) == ("time", True, [])
    assert document["peak"] == {"bytes": 260, "seq": 3, "time_s": 0.0, "of_recording": True}
    assert document["largest_rss"] == {"rss_bytes": 50 << 20, "time_s": 0.003}
    assert [step["most_bytes"] for step in document["steps"]] == [260, 260, 0, 0, 0]
    assert document["steps"][0] == {
        "most_bytes": 260,
        "bytes": 260,
        "blocks": 3,
        "rss_bytes": None,
        "collections": [0, 1, 0],
        "pause_s": 0.002,
    }
    assert [(mark["name"], mark["step"]) for mark in document["marks"]] == [
        ("start", 0),
        ("between", 3),
        ("end", 4),
    ]
    zoomed = cli("timeline", cycles, "--from", "gc:0", "--x", "events", "--json").document
    assert (zoomed["x"], len(zoomed["steps"]), zoomed["end_bytes"]) == ("events", 100, 0)


def test_timeline_says_what_is_not_known(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt", portable=True, complete=False)
    text = cli("timeline", log).out
    assert "the resident memory (RSS) is not known: no sample of it was recorded up to here" in text
    assert "RSS)\n" not in text
    assert "note: times are those of sync points of the portable engine" in text
    assert "note: the recording has no end" in text


def test_timeline_with_many_collections_and_hostile_marks(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    for number in range(30):
        build.mark(HOSTILE if number == 0 else f"mark {number}")
        build.gc_start(2)
        build.gc_stop()
    build.advance(1000)
    text = cli("timeline", write_log(tmp_path / "many.tkt", build.finish())).out
    assert re.search(r"2, max 30  \S", text)
    assert "*  4 more marks (--json names them)" in text
    assert "\x1b" not in text
    assert "evil\\x1b[31m" in text


def test_timeline_in_ascii(cycles: Path) -> None:
    answer = start("timeline", cycles, PYTHONIOENCODING="ascii", COLUMNS="40")
    assert answer.status == 0
    assert answer.out.isascii()
    assert "     260 B +###" in answer.out
    assert max(map(len, answer.out.splitlines()[5:15])) <= 40


@pytest.mark.parametrize(
    ("changes", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_colours_only_where_they_are_wanted(cycles: Path, changes: dict[str, str], coloured: bool) -> None:
    ours, theirs = pty.openpty()
    variables = environment(**{"TERM": "xterm", "NO_COLOR": "", **changes})
    command = [*PROGRAM, "timeline", str(cycles), "--steps", "10"]
    with running(command, stdout=theirs, stdin=theirs, env=variables) as done:
        os.close(theirs)
        said = b""
        while chunk := _read(ours):
            said += chunk
    os.close(ours)
    assert done.returncode == 0
    assert (b"\x1b[36m" in said) == coloured
    assert (b"\x1b" in said) == coloured


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""
