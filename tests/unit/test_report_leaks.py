"""The text of a search for leaks, from the document that --json prints."""

from __future__ import annotations

from typing import Any

from tracekit.report.leaks import ASCII_BARS, leak_lines, sparkline

SINCE = {"text": "mark:warm", "seq": 1000, "time_s": 1.0}
END = {"text": "end", "seq": 3000, "time_s": 3.0}


def leak(**changes: Any) -> dict[str, Any]:
    values = {
        "key": "/srv/app/cache.py:12 (put)",
        "evidence": "strong",
        "score": 4096,
        "bytes": 4096,
        "blocks": 40,
        "growth_bytes": 4096,
        "growth_blocks": 40,
        "made_bytes": 8192,
        "made_blocks": 80,
        "steps_grown": 4,
        "quarters_grown": 4,
        "direct": 1.0,
        "bytes_per_s": 2048.0,
        "bytes_per_mark": None,
        "levels": [0, 1024, 2048, 3072, 4096],
        "types": [{"key": "builtins.bytes", "bytes": 4096, "blocks": 40}],
        "allocated_at": [{"key": "/srv/app/cache.py:12 (put)", "bytes": 4096, "blocks": 40}],
        "path": [
            {"file": "/srv/app/app.py", "line": 3, "function": "<module>"},
            {"file": "/srv/app/cache.py", "line": 12, "function": "put"},
        ],
        "file": "/srv/app/cache.py",
        "line": 12,
        "function": "put",
    }
    return values | changes


def document(*leaks: dict[str, Any], **changes: Any) -> dict[str, Any]:
    strong = [item["growth_bytes"] for item in leaks if item["evidence"] == "strong"]
    values = {
        "since": SINCE,
        "to": END,
        "by": "site",
        "steps": 4,
        "growth_bytes": 5120,
        "strong": len(strong),
        "strong_bytes": sum(strong),
        "grown": len(leaks),
        "leaks": list(leaks),
        "leaks_omitted": 0,
        "notes": [],
        "next": "tracekit replay app.tkt --from mark:warm --to end --by stack",
    }
    return values | changes


def test_a_leak_and_a_cache() -> None:
    cache = leak(
        key="evil\x1b.py:1 (f)", evidence="weak", growth_bytes=9000, steps_grown=1, levels=[0, 0, 0, 0, 9000]
    )
    lines = list(leak_lines(document(leak(), cache, leaks_omitted=1, notes=["a note"]), bars=ASCII_BARS))
    assert lines == [
        "from mark:warm (event 1,000, 1.00 s)",
        "to   end (event 3,000, 3.00 s)",
        "1 site kept growing all the time, by 4.0 KiB together: strong evidence of a leak; "
        "the whole heap grew by 5.0 KiB",
        "",
        "evidence    growth   kept  grew  over time  site",
        "--------  --------  -----  ----  ---------  --------------------------",
        "strong    +4.0 KiB  50.0%   4/4  _.:+#      /srv/app/cache.py:12 (put)",
        "weak      +8.8 KiB  50.0%   1/4  ____#      evil\\x1b.py:1 (f)",
        "... and 1 more group that grew (--limit 0 shows all)",
        "",
        "1. /srv/app/cache.py:12 (put)",
        "   grew   from 0 B to 4.0 KiB in 2.00 s (2.0 KiB a second)",
        "   alive  40 of 80 blocks made since (4.0 KiB of 8.0 KiB)",
        "   types  builtins.bytes 4.0 KiB",
        "   path   <module> (app.py:3) > put (cache.py:12)",
        "",
        "note: a note",
        "",
        "next: tracekit replay app.tkt --from mark:warm --to end --by stack",
    ]


def test_no_strong_evidence() -> None:
    lines = list(leak_lines(document(leak(evidence="weak"), growth_bytes=-2048, by="innermost")))
    assert lines[2].startswith("no line kept growing all the time: no strong evidence of a leak; ")
    assert lines[2].endswith("; the whole heap shrank by 2.0 KiB")
    assert not any(line.startswith("1. ") for line in lines)
    lines = list(leak_lines(document(leak(evidence="fair"), growth_bytes=0)))
    assert lines[2].endswith("; the whole heap did not change")
    assert any(line.startswith("1. ") for line in lines)


def test_nothing_has_grown() -> None:
    assert list(leak_lines(document())) == [
        "nothing that was allocated after mark:warm (event 1,000, 1.00 s) and is alive at "
        "end (event 3,000, 3.00 s) has grown"
    ]
    assert list(leak_lines(document(notes=["killed"])))[1:] == ["", "note: killed"]


def test_libraries_marks_and_long_paths() -> None:
    library = [{"key": "json.py:1 (loads)", "bytes": 4096, "blocks": 40}]
    path = [{"file": "/srv/a.py", "line": line, "function": "f"} for line in range(20)]
    lines = list(leak_lines(document(leak(allocated_at=library, path=path, bytes_per_mark=512.0, types=[]))))
    text = "\n".join(lines)
    assert "(2.0 KiB a second), 512 B from one mark:warm to the next" in text
    assert "   where  json.py:1 (loads) 4.0 KiB" in lines
    assert "   path   ... > f (a.py:12) > " in text
    assert "types" not in text


def test_nothing_is_said_twice() -> None:
    library = [{"key": "json.py:1 (loads)", "bytes": 4096, "blocks": 40}]
    by_stack = list(leak_lines(document(leak(allocated_at=library, key="a;b"), by="stack")))
    assert "1. put (cache.py:12)" in by_stack
    by_type = list(leak_lines(document(leak(allocated_at=library, key="builtins.bytes"), by="type")))
    assert "   where  json.py:1 (loads) 4.0 KiB" in by_type
    assert not any(line.startswith("   where") for line in by_stack)
    assert not any(line.startswith("   types") for line in by_type)


def test_it_fits_a_terminal() -> None:
    wide = leak(key="/srv/" + "deep/" * 30 + "cache.py:12 (put)", levels=list(range(17)))
    lines = list(leak_lines(document(wide, notes=["word " * 60]), width=80))
    table = [line for line in lines if line.startswith(("evidence", "--------", "strong"))]
    assert all(len(line) <= 80 for line in table)
    assert table[-1].endswith("cache.py:12 (put)")
    assert all(len(line) <= 80 for line in lines if line.startswith(("note", "from", "to")))


def test_sparkline() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7]) == "▁▂▃▄▅▆▇█"
    assert sparkline([5, 5, 5]) == "▁▁▁"
    assert sparkline([]) == ""
    assert sparkline([1 << 60, 0]) == "█▁"
