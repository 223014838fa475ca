"""The commands that read a log: what they print for people and for programs."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from cli_support import HOSTILE, Cli, make_log

from tracekit.cli.options import size
from tracekit.cli.query import QueryOptions
from tracekit.errors import UsageError


def test_info(cli: Cli, log: Path) -> None:
    document = cli("info", log, "--json").document
    assert document["events"] == 14
    assert (document["allocations"], document["frees"], document["gc_collections"]) == (5, 4, 1)
    assert (document["peak_bytes"], document["end_bytes"], document["end_blocks"]) == (5000, 1000, 1)
    assert document["log_bytes"] == log.stat().st_size
    assert (document["engine"], document["python"], document["complete"]) == ("native", "3.11.7", True)
    assert document["duration_s"] == pytest.approx(1.002)
    text = cli("info", log).out
    assert "peak         4.9 KiB after event 6" in text
    assert "warm (event 2, 2.0 ms)" in text


def test_info_of_a_log_whose_writer_died(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt", complete=False)
    document = cli("info", log, "--json").document
    assert document["complete"] is False
    assert document["peak_bytes"] == 5000
    answer = cli("info", log)
    assert answer.status == 0
    assert "no: the recording ends before the program's own end" in answer.out


def test_replay(cli: Cli, log: Path) -> None:
    answer = cli("replay", log, "--json")
    assert (answer.status, answer.err) == (0, "")
    assert answer.document == {
        "moment": {"text": "peak", "seq": 6, "time_s": 0.002},
        "total_bytes": 5000,
        "total_blocks": 5,
        "by": "site",
        "groups": [
            {"key": "work.py:20 (work)", "bytes": 4000, "blocks": 4},
            {"key": "cache.py:10 (load)", "bytes": 1000, "blocks": 1},
        ],
        "groups_omitted": 0,
        "stack_bytes": 240,
        "stacks": [
            {
                "thread_id": 1,
                "thread": "MainThread",
                "bytes": 240,
                "exact": True,
                "seq": 6,
                "events_before": 0,
                "frames": [
                    {"function": "<module>", "file": "app.py", "line": 5, "bytes": 120},
                    {"function": "work", "file": "work.py", "line": 20, "bytes": 120},
                ],
            }
        ],
        "stacks_omitted": 0,
        "notes": [],
    }
    assert cli("replay", log).out == (
        "heap at peak (event 6, 2.0 ms)\n"
        "4.9 KiB in 5 blocks, by site\n"
        "\n"
        "  bytes  share  blocks  site\n"
        "-------  -----  ------  ------------------\n"
        "3.9 KiB  80.0%       4  work.py:20 (work)\n"
        " 1000 B  20.0%       1  cache.py:10 (load)\n"
        "\n"
        "stack segment: 240 B in the frames of 1 thread\n"
        "\n"
        "bytes  frames  events ago  thread      innermost frame\n"
        "-----  ------  ----------  ----------  -----------------\n"
        "240 B       2         now  MainThread  work (work.py:20)\n"
    )


def test_replay_at_a_moment_by_stack(cli: Cli, log: Path) -> None:
    document = cli("replay", log, "--at", "mark:warm", "--by", "stack", "--json").document
    assert document["groups"] == [
        {"key": "<module> (app.py:3);load (cache.py:10)", "bytes": 1000, "blocks": 1}
    ]


def test_replay_says_what_it_left_out(cli: Cli, log: Path) -> None:
    answer = cli("replay", log, "--limit", "1")
    assert "... and 1 more group (--limit 0 shows all)" in answer.out
    document = cli("replay", log, "--limit", "1", "--json").document
    assert (len(document["groups"]), document["groups_omitted"], document["total_bytes"]) == (1, 1, 5000)
    assert cli("replay", log, "--limit", "0", "--json").document["groups_omitted"] == 0


def test_json_shows_all_groups_and_a_table_twenty(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "many.tkt", names=[f"name{number}" for number in range(30)])
    assert len(cli("replay", log, "--at", "end", "--json").document["groups"]) == 31
    assert "... and 11 more groups" in cli("replay", log, "--at", "end").out


def test_difference(cli: Cli, log: Path) -> None:
    document = cli(
        "replay", log, "--from", "mark:warm", "--to", "peak", "--by", "function", "--json"
    ).document
    assert document["from"]["text"] == "mark:warm"
    assert document["to"] == {"text": "peak", "seq": 6, "time_s": 0.002}
    assert (document["total_bytes"], document["total_blocks"]) == (4000, 4)
    assert document["groups"] == [
        {
            "key": "work (work.py)",
            "bytes": 4000,
            "blocks": 4,
            "bytes_before": 0,
            "bytes_after": 4000,
            "blocks_before": 0,
            "blocks_after": 4,
            "made_bytes": 4000,
            "made_blocks": 4,
            "status": "new",
        }
    ]
    assert (document["bytes_before"], document["bytes_after"]) == (1000, 5000)
    assert (document["made_bytes"], document["made_blocks"]) == (4000, 4)
    assert document["statuses"]["new"] == {"groups": 1, "bytes": 4000, "blocks": 4}
    assert document["status"] == ["new", "grown", "shrunk", "gone"]
    text = cli("replay", log, "--from", "mark:warm", "--to", "peak", "--by", "function").out
    assert text.startswith("from mark:warm (event 2, 2.0 ms)\nto   peak (event 6, 2.0 ms)\n")
    assert "+3.9 KiB in +4 blocks, by function" in text


def test_difference_has_defaults_for_both_ends(cli: Cli, log: Path) -> None:
    assert cli("replay", log, "--to", "peak", "--json").document["from"]["text"] == "start"
    assert cli("replay", log, "--from", "peak", "--json").document["to"]["text"] == "end"


def test_difference_of_some_status(cli: Cli, log: Path) -> None:
    def keys(status: str) -> list[str]:
        answer = cli("replay", log, "--from", "peak", "--by", "function", "--json", "--status", status)
        return [group["key"] for group in answer.document["groups"]]

    assert keys("gone") == keys("new, gone") == ["work (work.py)"]
    assert keys("new,grown,shrunk") == []
    assert "nothing of that status changed" in cli("replay", log, "--from", "peak", "--status", "new").out
    assert "--status cannot be 'old'" in cli("replay", log, "--from", "peak", "--status", "new,old").err
    assert "--status is of a difference" in cli("replay", log, "--status", "new").err


def test_difference_of_nothing(cli: Cli, log: Path) -> None:
    answer = cli("replay", log, "--from", "end", "--to", "end")
    assert (answer.status, "nothing changed" in answer.out) == (0, True)


def test_reports_say_what_the_recording_cannot_know(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt", portable=True)
    assert "note: times are those of sync points (every 20.0 ms)" in cli("replay", log).out
    assert "note: types are not recorded by the portable engine" in cli("replay", log, "--by", "type").out
    assert any("threads" in note for note in cli("replay", log, "--by", "thread", "--json").document["notes"])


def test_query(cli: Cli, log: Path) -> None:
    sql = "SELECT count(*) AS blocks, sum(size) AS bytes FROM heap_at(moment('peak'))"
    assert cli("query", log, sql).out == "blocks  bytes\n------  -----\n     5   5000\n"
    assert cli("query", log, sql, "--json").document == [{"blocks": 5, "bytes": 5000}]
    assert cli("query", log, sql, "--format", "json").document == [{"blocks": 5, "bytes": 5000}]
    assert cli("query", log, sql, "--format", "csv").out == "blocks,bytes\n5,5000\n"
    assert cli("query", log, sql, "--format", "jsonl").out == '{"blocks": 5, "bytes": 5000}\n'
    assert (
        cli("query", log, sql, "--format", "markdown").out
        == "| blocks | bytes |\n| --- | --- |\n| 5 | 5000 |\n"
    )


def test_query_from_stdin(cli: Cli, log: Path) -> None:
    assert cli("query", log, "-", "--format", "csv", stdin="SELECT 1 AS one;\n").out == "one\n1\n"


def test_query_keeps_its_tables_beside_the_log(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt")
    cache = log.with_name(log.name + ".duckdb")
    cli("query", log, "SELECT 1", "--no-cache")
    assert not cache.exists()
    cli("query", log, "SELECT 1")
    assert cache.exists()


def test_query_to_a_file(cli: Cli, log: Path, tmp_path: Path) -> None:
    target = tmp_path / "sizes.csv"
    answer = cli("query", log, "SELECT size FROM allocations ORDER BY alloc_seq", "-o", target)
    assert (answer.status, answer.out, answer.err) == (0, "", "")
    with target.open() as file:
        assert list(csv.reader(file)) == [["size"], *[["1000"]] * 5]
    assert cli("query", log, "SELECT 2 AS n", "-o", target, "--force").status == 0
    assert target.read_text() == "n\n2\n"


def test_query_that_fails_leaves_the_file_as_it_was(cli: Cli, log: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("precious")
    failing = "SELECT CASE WHEN size = 1000 THEN error('on the way') END FROM allocations"
    assert cli("query", log, failing, "-o", target, "--force").status == 2
    assert target.read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_format_follows_the_suffix() -> None:
    options = {
        suffix: QueryOptions(logs=[Path("a.tkt")], sql="SELECT 1", output=Path(f"x{suffix}"))
        for suffix in (".csv", ".md", ".odd")
    }
    assert {suffix: value.format_name for suffix, value in options.items()} == {
        ".csv": "csv",
        ".md": "markdown",
        ".odd": "table",
    }


def test_query_to_what_is_no_file(cli: Cli, log: Path) -> None:
    answer = cli("query", log, "SELECT 1", "-o", "/dev/null")
    assert (answer.status, answer.err) == (0, "")
    assert Path("/dev/null").is_char_device()


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4096", 4096),
        ("64k", 65536),
        ("64K", 65536),
        ("64KiB", 65536),
        ("64kb", 65536),
        ("512MiB", 512 * 2**20),
        ("1.5G", 3 * 2**29),
        ("1g", 2**30),
        ("2T", 2**41),
        (" 10 MiB ", 10 * 2**20),
        ("100B", 100),
    ],
)
def test_sizes(text: str, count: int) -> None:
    assert size("--memory-limit", text) == count


@pytest.mark.parametrize("text", ["", "0", "x", "-1", "1e9", "10 apples", "k", "1..5k", "٣k", "0.0001"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(UsageError):
        size("--memory-limit", text)


def test_verify(cli: Cli, log: Path) -> None:
    answer = cli("verify", log)
    assert (answer.status, answer.err) == (0, "")
    assert answer.out.startswith(f"{log}: ok\n")
    document = cli("verify", log, "--json").document
    assert (document["ok"], document["events"], document["problems"]) == (True, 14, [])


def damaged(log: Path) -> Path:
    """A log with a flipped byte in the middle of a record."""
    data = bytearray(log.read_bytes())
    data[len(data) * 2 // 3] ^= 0x40
    log.write_bytes(data)
    return log


def test_verify_finds_damage_and_recover_saves_the_rest(cli: Cli, log: Path, tmp_path: Path) -> None:
    damaged(log)
    before = log.read_bytes()
    answer = cli("verify", log)
    assert (answer.status, answer.err) == (1, "")
    assert "problem: " in answer.out
    assert cli("verify", log, "--json").document["ok"] is False
    good = tmp_path / "good.tkt"
    answer = cli("recover", log, "-o", good)
    assert (answer.status, answer.out) == (0, "")
    assert "kept" in answer.err
    assert "lost" in answer.err
    assert f"tracekit info {good}" in answer.err
    assert log.read_bytes() == before
    assert cli("verify", good).status == 0
    document = cli("recover", log, "-o", good, "--force", "--json").document
    assert document["bytes_lost"] > 0


def test_dump(cli: Cli, log: Path) -> None:
    answer = cli("dump", log)
    records: list[dict[str, Any]] = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.status == 0
    assert records[0]["type"] == "header"
    assert records[-1]["type"] == "footer"
    events = [
        record
        for record in records
        if record["type"] in {"allocation", "free", "mark", "gc-start", "gc-stop"}
    ]
    assert [event["seq"] for event in events] == list(range(14))
    assert cli("dump", log, "--json").out == answer.out


def test_schema(cli: Cli) -> None:
    assert "$schema" in cli("schema", "log").document
    text = cli("schema", "store").out
    assert "CREATE TABLE allocations" in text
    assert cli("schema", "store", "--json").document["sql"] == text


@pytest.mark.parametrize(
    "command",
    [
        ("info",),
        ("info", "--json"),
        ("replay", "--at", "end"),
        ("replay", "--at", "end", "--by", "stack", "--json"),
        ("replay", "--at", "end", "--by", "function"),
        ("query", "SELECT filename, qualname FROM codes"),
        ("query", "SELECT filename, qualname FROM codes", "--format", "csv"),
        ("query", "SELECT filename, qualname FROM codes", "--format", "markdown"),
        ("query", "SELECT filename, qualname FROM codes", "--json"),
        ("query", "SELECT error(qualname) FROM codes"),
        ("query", f'SELECT 1 AS "{HOSTILE.strip()}"'),
        ("simulate", "--allocator", "malloc", "--memory-limit", "5k"),
        ("simulate", "--scenario", f"{HOSTILE.strip()}:gc=off", "--scenario", "allocator=malloc,limit=5k"),
        ("verify",),
        ("dump",),
        ("replay", "--at", "mark:nothing"),
    ],
    ids=lambda command: " ".join(command).encode("unicode_escape").decode()[:60],
)
def test_names_in_a_trace_cannot_command_the_terminal(
    cli: Cli, tmp_path: Path, command: tuple[str, ...]
) -> None:
    log = make_log(tmp_path / "app.tkt", names=[HOSTILE])
    answer = cli(command[0], log, *command[1:])
    for line in (answer.out + answer.err).split("\n"):
        assert line.isprintable(), ascii(line)


def test_markup_in_a_name_is_printed_as_it_is(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt", names=["[bold]x[/bold]", ":smile:"])
    out = cli("replay", log, "--at", "end", "--by", "function").out
    assert "[bold]x[/bold] ([bold]x[/bold].py)" in out
    assert ":smile: (:smile:.py)" in out


def test_several_logs_and_followed_ones(cli: Cli, tmp_path: Path) -> None:
    """The children of a followed run, in the order of their numbers, and not what only looks like one."""
    for name in ("app", "app.12", "app.9", "app.12.2", "app.x", "application.9"):
        make_log(tmp_path / f"{name}.tkt")
    log = tmp_path / "app.tkt"
    sql = "SELECT trace_id, parse_filename(path) AS name FROM traces ORDER BY trace_id"
    assert cli("query", log, sql, "--format", "csv").out.splitlines()[1:] == ["1,app.tkt"]
    both = cli("query", log, tmp_path / "app.x.tkt", sql, "--format", "csv")
    assert both.out.splitlines()[1:] == ["1,app.tkt", "2,app.x.tkt"]
    followed = cli("query", log, sql, "--followed", "--format", "csv")
    assert followed.out.splitlines()[1:] == ["1,app.tkt", "2,app.9.tkt", "3,app.12.tkt", "4,app.12.2.tkt"]
    folder = tmp_path / "tables"
    assert cli("export", log, folder, "--followed").status == 0
    assert len(list(folder.glob("allocations/trace_id=*/*.parquet"))) == 4
