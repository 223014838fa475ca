"""``tracekit replay``: the call tree, the stack segment, and every grouping."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import HOSTILE, Cli, make_log
from traces import TraceBuilder, write_log

from tracekit.replay.heap import GROUPINGS


@pytest.mark.parametrize("by", GROUPINGS)
def test_every_grouping(cli: Cli, log: Path, by: str) -> None:
    document = cli("replay", log, "--by", by, "--json").document
    assert document["by"] == by
    assert sum(group["bytes"] for group in document["groups"]) == document["total_bytes"] == 5000
    text = cli("replay", log, "--by", by).out
    assert all(group["key"] in text for group in document["groups"])


def test_ages_are_in_their_order_and_others_by_size(cli: Cli, log: Path) -> None:
    ages = cli("replay", log, "--by", "age", "--json").document["groups"]
    assert [(group["key"], group["bytes"]) for group in ages] == [("< 1 ms", 4000), ("1 ms to 10 ms", 1000)]
    sizes = cli("replay", log, "--by", "size_class", "--json").document["groups"]
    assert sizes == [{"key": "512 B to 1 KiB", "bytes": 5000, "blocks": 5}]
    growth = cli("replay", log, "--from", "mark:warm", "--to", "peak", "--by", "module", "--json").document
    assert [group["key"] for group in growth["groups"]] == ["work"]


def test_the_call_tree(cli: Cli, log: Path) -> None:
    answer = cli("replay", log, "--tree")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == (
        "heap at peak (event 6, 2.0 ms)\n"
        "4.9 KiB in 5 blocks, as a call tree\n"
        "\n"
        "  total  share     self  blocks  call path\n"
        "-------  -----  -------  ------  -----------------------------\n"
        "3.9 KiB  80.0%  3.9 KiB       4  <module> > work (work.py:20)\n"
        " 1000 B  20.0%   1000 B       1  <module> > load (cache.py:10)\n"
        "left out: what holds less than 50 B (--min-bytes 0 shows all)\n"
        "\n"
        "stack segment: 240 B in the frames of 1 thread\n"
        "\n"
        "bytes  frames  events ago  thread      innermost frame\n"
        "-----  ------  ----------  ----------  -----------------\n"
        "240 B       2         now  MainThread  work (work.py:20)\n"
        "\n"
        "note: call paths hold the 64 innermost frames at most\n"
    )
    assert "left out" not in cli("replay", log, "--tree", "--min-bytes", "0").out
    assert "calls deeper than 1" in cli("replay", log, "--tree", "--depth", "1").out


def test_the_call_tree_in_json(cli: Cli, log: Path) -> None:
    document = cli("replay", log, "--tree", "--json").document
    assert (document["min_bytes"], document["depth"]) == (0, None)
    assert document["nodes"][:2] == [
        {
            "id": 1,
            "parent": None,
            "depth": 1,
            "stack_id": 3,
            "function": "<module>",
            "file": "app.py",
            "line": 5,
            "bytes": 0,
            "blocks": 0,
            "total_bytes": 4000,
            "total_blocks": 4,
        },
        {
            "id": 2,
            "parent": 1,
            "depth": 2,
            "stack_id": 4,
            "function": "work",
            "file": "work.py",
            "line": 20,
            "bytes": 4000,
            "blocks": 4,
            "total_bytes": 4000,
            "total_blocks": 4,
        },
    ]
    assert [(node["id"], node["parent"]) for node in document["nodes"]] == [
        (1, None),
        (2, 1),
        (3, None),
        (4, 3),
    ]
    cut = cli("replay", log, "--tree", "--depth", "1", "--min-bytes", "1k", "--json").document
    assert (cut["min_bytes"], cut["depth"]) == (1024, 1)
    assert [node["total_bytes"] for node in cut["nodes"]] == [4000]


def test_where_threads_were(cli: Cli, log: Path) -> None:
    document = cli("replay", log, "--at", "end", "--json").document
    (stack,) = document["stacks"]
    assert (stack["exact"], stack["seq"], stack["events_before"]) == (False, 6, document["moment"]["seq"] - 6)
    assert any("last allocation" in note for note in document["notes"])
    text = cli("replay", log, "--at", "end", "--stacks").out
    assert f"MainThread: 240 B in 2 frames, {stack['events_before']} events ago" in text
    assert "     120 B  work (work.py:20)" in text


def test_where_threads_were_at_a_mark(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    worker = build.thread(HOSTILE)
    wait = build.stack(("queue.py", "get", 171))
    build.mark("warm", stacks={1: 0, worker: wait})
    log = write_log(tmp_path / "a.tkt", build.finish())
    document = cli("replay", log, "--at", "mark:warm", "--json").document
    assert [(s["thread_id"], s["exact"], len(s["frames"])) for s in document["stacks"]] == [
        (worker, True, 1),
        (1, True, 0),
    ]
    assert document["notes"] == []
    for more in ([], ["--stacks"]):
        text = cli("replay", log, "--at", "mark:warm", *more).out
        assert "queue.py:171" in text
        assert "\x1b" not in text


def test_many_threads(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    for number in range(25):
        build.allocate(1, thread=build.thread(f"worker {number}"), stack=build.stack(("a.py", "f", 1)))
    log = write_log(tmp_path / "a.tkt", build.finish())
    text = cli("replay", log).out
    assert text.count("f (a.py:1)") == 20
    assert "... and 5 more threads (--stacks shows all, with their call paths)" in text
    assert cli("replay", log, "--stacks").out.count("worker") == 25
    assert len(cli("replay", log, "--json").document["stacks"]) == 25


def test_what_a_portable_recording_cannot_say(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "p.tkt", portable=True)
    notes = cli("replay", log, "--json").document["notes"]
    assert "call paths of threads are known only in part by the portable engine" in notes


def test_no_stack_segment_in_a_difference(cli: Cli, log: Path) -> None:
    assert "stack segment" not in cli("replay", log, "--from", "start").out
    assert "stacks" not in cli("replay", log, "--from", "start", "--json").document
