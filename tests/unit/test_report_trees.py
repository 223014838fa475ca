"""A heap as a call tree, and the stack segment, as text."""

from __future__ import annotations

from typing import Any

from tracekit.report.stacks import stack_lines
from tracekit.report.trees import tree_lines

NO_STACKS: dict[str, Any] = {"stack_bytes": 0, "stacks": [], "stacks_omitted": 0}


def node(number: int, parent: int | None, depth: int, name: str, *held: int) -> dict[str, Any]:
    own, total = held
    return {
        "id": number,
        "parent": parent,
        "depth": depth,
        "function": name,
        "file": f"/srv/{name}.py",
        "line": number,
        "bytes": own,
        "blocks": own // 100,
        "total_bytes": total,
        "total_blocks": total // 100,
    }


def shown(nodes: list[dict[str, Any]], *, min_bytes: int = 0, width: int | None = None) -> list[str]:
    document = {
        "moment": {"text": "peak", "seq": 7, "time_s": 0.5},
        "total_bytes": 1000,
        "total_blocks": 10,
        "min_bytes": min_bytes,
        "depth": None,
        "nodes": nodes,
        "notes": ["a note"],
        **NO_STACKS,
    }
    lines = list(tree_lines(document, width=width))
    assert lines[:3] == ["heap at peak (event 7, 500.0 ms)", "1000 B in 10 blocks, as a call tree", ""]
    end = lines.index("")
    return lines[5 : lines.index("", end + 1)]


CHAIN = [
    node(1, None, 1, "a", 0, 900),
    node(2, 1, 2, "b", 0, 900),
    node(3, 2, 3, "c", 100, 900),
    node(4, 3, 4, "d", 300, 300),
    node(5, 3, 4, "e\x1b", 0, 500),
    node(6, 5, 5, "f", 500, 500),
    node(7, None, 1, "g", 100, 100),
]


def test_calls_of_which_one_holds_all_stand_in_one_line() -> None:
    assert shown(CHAIN) == [
        "900 B  90.0%  100 B       9  a > b > c (c.py:3)",
        "300 B  30.0%  300 B       3    d (d.py:4)",
        "500 B  50.0%  500 B       5    e\\x1b > f (f.py:6)",
        "100 B  10.0%  100 B       1  g (g.py:7)",
    ]


def test_long_chains_are_counted() -> None:
    chain = [node(n, n - 1 or None, n, f"f{n}", 0, 900) for n in range(1, 6)]
    assert shown(chain) == ["900 B  90.0%   0 B       9  f1 > (3 more) > f5 (f5.py:5)"]


def test_what_would_be_left_out_does_not_break_a_chain() -> None:
    nodes = [node(1, None, 1, "a", 50, 900), node(2, 1, 2, "b", 850, 850)]
    assert len(shown(nodes)) == 2
    assert shown(nodes, min_bytes=60) == [
        "900 B  90.0%  850 B       9  a > b (b.py:2)",
        "left out: what holds less than 60 B (--min-bytes 0 shows all)",
    ]
    assert len(shown(nodes, min_bytes=50)) == 3


def test_a_single_child_that_holds_less_has_its_own_line() -> None:
    nodes = [node(1, None, 1, "a", 0, 900), node(2, 1, 2, "b", 400, 400)]
    assert [line.partition("  ")[0] for line in shown(nodes)] == ["900 B", "400 B"]


def test_a_narrow_terminal() -> None:
    deep = [node(n, n - 1 or None, n, "a_long_name" * 3, 100, 1000 - 100 * n) for n in range(1, 9)]
    lines = shown(deep, width=80)
    assert len(lines) == 8
    assert all(len(line) <= 80 for line in lines)
    assert lines[0].endswith(":1)")


def stack(thread: str, size: int, before: int, *frames: str) -> dict[str, Any]:
    return {
        "thread": thread,
        "bytes": size,
        "exact": before == 0,
        "events_before": before,
        "frames": [
            {"function": name, "file": f"/srv/{name}.py", "line": 3, "bytes": index * 100}
            for index, name in enumerate(frames)
        ],
    }


STACKS = {
    "stack_bytes": 1636,
    "stacks": [stack("Main\x1bThread", 1536, 0, "main", "load"), stack("idle", 100, 1234)],
    "stacks_omitted": 0,
}


def test_one_line_a_thread() -> None:
    assert list(stack_lines(STACKS, whole=False)) == [
        "",
        "stack segment: 1.6 KiB in the frames of 2 threads",
        "",
        "  bytes  frames  events ago  thread          innermost frame",
        "-------  ------  ----------  --------------  ----------------",
        "1.5 KiB       2         now  Main\\x1bThread  load (load.py:3)",
        "  100 B       0       1,234  idle            (no Python code)",
    ]
    assert list(stack_lines(STACKS | {"stacks_omitted": 3}, whole=False))[-1] == (
        "... and 3 more threads (--stacks shows all, with their call paths)"
    )


def test_whole_call_paths() -> None:
    assert list(stack_lines(STACKS, whole=True)) == [
        "",
        "stack segment: 1.6 KiB in the frames of 2 threads",
        "",
        "Main\\x1bThread: 1.5 KiB in 2 frames, now",
        "         -  main (/srv/main.py:3)",
        "     100 B  load (/srv/load.py:3)",
        "",
        "idle: 100 B in 0 frames, 1,234 events ago",
    ]
    lines = list(stack_lines(STACKS, whole=True, width=30))
    assert lines[4:6] == ["         -  main (/sr...in.py:3)", "     100 B  load (/sr...ad.py:3)"]
