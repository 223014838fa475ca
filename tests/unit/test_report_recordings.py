"""The difference of two recordings as text."""

from __future__ import annotations

from typing import Any

import pytest

from tracekit.report.recordings import recordings_lines

NONE = {"groups": 0, "bytes": 0, "blocks": 0}


def side(path: str, moment: str, total: int) -> dict[str, Any]:
    return {
        "path": path,
        "moment": {"text": moment, "seq": 1234, "time_s": 0.056},
        "total_bytes": total,
        "total_blocks": 2,
        "peak_bytes": 2 * total,
        "end_bytes": 1024,
        "end_blocks": 2,
        "allocations": 10 * total,
        "gc_collections": 0,
        "duration_s": 1.5,
    }


def group(key: str, before: int, after: int, status: str, **more: object) -> dict[str, Any]:
    return {
        "key": key,
        "status": status,
        "bytes": after - before,
        "blocks": 0,
        "bytes_before": before,
        "bytes_after": after,
        "blocks_before": 1,
        "blocks_after": 1,
        "old": None,
        "new": None,
        "edited": False,
    } | more


def place(line: int | None, text: str | None) -> dict[str, Any]:
    return {"file": "a.py", "function": "f", "line": line, "text": text}


DOCUMENT: dict[str, Any] = {
    "old": side("old.tkt", "peak", 1024),
    "new": side("new\x1b.tkt", "end", 1536),
    "by": "site",
    "total_bytes": 512,
    "total_blocks": 0,
    "statuses": {
        "new": NONE,
        "grown": {"groups": 3, "bytes": 512, "blocks": 0},
        "shrunk": NONE,
        "gone": NONE,
    },
    "unchanged": 3,
    "groups": [
        group("a.py:3 (f)", 0, 100, "new", new=place(3, "x = '\x9b'")),
        group("a.py:5 (f)", 10, 90, "grown", old=place(4, "y = 1"), new=place(5, "y = 1")),
        group("a.py:7 (f)", 10, 20, "grown", old=place(7, "z = 1"), new=place(7, "z = 2"), edited=True),
        group("a.py:8 (f)", 9, 0, "gone", old=place(8, "last()")),
        group("<unknown>", 1, 0, "gone", old=place(0, None)),
    ],
    "groups_omitted": 1,
    "fail_above": {"text": "10%", "bytes": 102},
    "failed": True,
    "notes": ["a note"],
}


def test_all_of_it() -> None:
    assert list(recordings_lines(DOCUMENT)) == [
        "old old.tkt at peak (event 1,234, 56.0 ms)",
        "new new\\x1b.tkt at end (event 1,234, 56.0 ms)",
        "",
        "                       old      new             change",
        "-----------------  -------  -------  -----------------",
        "at this moment     1.0 KiB  1.5 KiB    +512 B (+50.0%)",
        "at the peak        2.0 KiB  3.0 KiB  +1.0 KiB (+50.0%)",
        "at the end         1.0 KiB  1.0 KiB                0 B",
        "blocks at the end        2        2                  0",
        "allocations         10,240   15,360    +5,120 (+50.0%)",
        "collections              0        0                  0",
        "duration            1.50 s   1.50 s",
        "",
        "+512 B in 0 blocks, by site",
        "groups: 3 grown +512 B, 3 unchanged",
        "",
        "change  blocks  before  after  status  site",
        "------  ------  ------  -----  ------  ---------------",
        "+100 B       0     0 B  100 B  new     a.py:3 (f)",
        "        x = '\\x9b'",
        " +80 B       0    10 B   90 B  grown   a.py:4 -> 5 (f)",
        "        y = 1",
        " +10 B       0    10 B   20 B  grown   a.py:7 (f)",
        "        - z = 1",
        "        + z = 2",
        "  -9 B       0     9 B    0 B  gone    a.py:8 (f)",
        "        last()",
        "  -1 B       0     1 B    0 B  gone    <unknown>",
        "... and 1 more changed group (--limit 0 shows all)",
        "",
        "note: a note",
        "",
        "failed: +512 B is more than 10% (102 B)",
    ]


@pytest.mark.parametrize("width", [20, 50, 80])
def test_it_fits(width: int) -> None:
    long = place(3, "x" * 300)
    document = DOCUMENT | {"groups": [group(f"/srv/{'p' * 200}.py:3 (f)", 0, 1, "new", new=long)]}
    lines = list(recordings_lines(document, width=width))
    (text,) = (line for line in lines if line.lstrip().startswith("xx"))
    assert len(text) <= width
    assert text.endswith("...")
    if width == 80:
        assert all(len(line) <= width for line in lines)


def test_moments_that_are_told_anyway() -> None:
    same = DOCUMENT | {
        "old": side("a", "end", 1),
        "new": side("b", "end", 2),
        "groups": [],
        "groups_omitted": 0,
    }
    text = "\n".join(
        recordings_lines(same | {"statuses": dict.fromkeys(("new", "gone"), NONE), "failed": False})
    )
    assert "at this moment" not in text
    assert "nothing changed" in text
    assert text.endswith("passed: +512 B is not more than 10% (102 B)")
    assert "passed" not in "\n".join(recordings_lines(same | {"fail_above": None}))
    in_bytes = same | {"fail_above": {"text": "5k", "bytes": 5120}}
    assert list(recordings_lines(in_bytes))[-1] == "failed: +512 B is more than 5k"
