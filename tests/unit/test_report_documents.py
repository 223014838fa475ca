"""The reports for people, rendered from the documents that --json prints."""

from __future__ import annotations

from typing import Any

from tracekit.report.heaps import difference_lines, heap_lines
from tracekit.report.recorded import recorded_lines
from tracekit.report.simulations import simulation_lines
from tracekit.report.summaries import exit_text, signal_name, summary_lines
from tracekit.report.verifications import recovery_lines, verification_lines

PEAK = {"text": "peak", "seq": 1234, "time_s": 0.056}


def test_heap() -> None:
    document = {
        "moment": PEAK,
        "by": "function",
        "total_bytes": 4096,
        "total_blocks": 10,
        "groups": [
            {"key": "load (a.py)", "bytes": 3072, "blocks": 1},
            {"key": "x\x1b", "bytes": 512, "blocks": 8},
        ],
        "groups_omitted": 1,
        "stack_bytes": 0,
        "stacks": [],
        "stacks_omitted": 0,
        "notes": ["types are not recorded"],
    }
    assert list(heap_lines(document)) == [
        "heap at peak (event 1,234, 56.0 ms)",
        "4.0 KiB in 10 blocks, by function",
        "",
        "  bytes  share  blocks  function",
        "-------  -----  ------  -----------",
        "3.0 KiB  75.0%       1  load (a.py)",
        "  512 B  12.5%       8  x\\x1b",
        "... and 1 more group (--limit 0 shows all)",
        "",
        "stack segment: no thread is known to have been there yet",
        "",
        "note: types are not recorded",
    ]


def test_empty_heap() -> None:
    document: dict[str, Any] = {
        "moment": {"text": "start", "seq": 0, "time_s": 0.0},
        "by": "site",
        "total_bytes": 0,
        "total_blocks": 0,
        "groups": [],
        "groups_omitted": 0,
        "stack_bytes": 0,
        "stacks": [],
        "stacks_omitted": 0,
        "notes": [],
    }
    assert list(heap_lines(document))[:2] == ["heap at start (event 0, 0 s)", "0 B in 0 blocks, by site"]


def test_difference() -> None:
    group = {
        "key": "a.py:1 (f)",
        "bytes": -1024,
        "blocks": -1,
        "bytes_before": 2048,
        "bytes_after": 1024,
        "blocks_before": 2,
        "blocks_after": 1,
        "made_bytes": 512,
        "made_blocks": 1,
        "status": "shrunk",
    }
    none = {"groups": 0, "bytes": 0, "blocks": 0}
    document: dict[str, Any] = {
        "from": {"text": "start", "seq": 0, "time_s": 0.0},
        "to": PEAK,
        "by": "site",
        "total_bytes": -1024,
        "total_blocks": -1,
        "bytes_before": 3072,
        "bytes_after": 2048,
        "made_bytes": 1536,
        "made_blocks": 2,
        "statuses": {
            "new": none,
            "grown": {"groups": 1, "bytes": 1024, "blocks": 1},
            "shrunk": {"groups": 1, "bytes": -1024, "blocks": -1},
            "gone": {"groups": 1, "bytes": -1024, "blocks": -1},
        },
        "groups": [group],
        "groups_omitted": 2,
        "notes": [],
    }
    assert list(difference_lines(document)) == [
        "from start (event 0, 0 s)",
        "to   peak (event 1,234, 56.0 ms)",
        "-1.0 KiB in -1 block, by site",
        "3.0 KiB before; 2.0 KiB after, 1.5 KiB of them allocated in between",
        "groups: 1 grown +1.0 KiB, 1 shrunk -1.0 KiB, 1 gone -1.0 KiB",
        "",
        "  change  blocks   before    after   made  status  site",
        "--------  ------  -------  -------  -----  ------  ----------",
        "-1.0 KiB      -1  2.0 KiB  1.0 KiB  512 B  shrunk  a.py:1 (f)",
        "... and 2 more changed groups (--limit 0 shows all)",
    ]
    document |= {"groups": [], "groups_omitted": 0}
    assert list(difference_lines(document))[-1] == "nothing of that status changed"
    document["statuses"] = dict.fromkeys(("new", "grown", "shrunk", "gone"), none)
    assert list(difference_lines(document))[-2:] == ["", "nothing changed"]


def summary() -> dict[str, Any]:
    return {
        "path": "app.tkt",
        "format_version": 1,
        "argv": ["app.py", "an argument", "\x1b[31m"],
        "python": "3.11.7",
        "platform": "Linux",
        "pid": 7,
        "started_at": "2026-01-02T03:04:05+00:00",
        "duration_s": 1.5,
        "engine": "portable",
        "engine_reason": "asked for",
        "complete": False,
        "exit_status": -9,
        "torn_bytes": 17,
        "events": 1000,
        "allocations": 600,
        "allocated_bytes": 6000,
        "frees": 390,
        "unmatched_frees": 3,
        "gc_collections": 4,
        "peak_bytes": 5000,
        "peak_seq": 900,
        "end_bytes": 2100,
        "end_blocks": 213,
        "max_rss_bytes": 2**24,
        "log_bytes": 12345,
        "bytes_per_event": 12.345,
        "threads": 1,
        "codes": 20,
        "stacks": 300,
        "types": 0,
        "marks": [{"name": f"m{number}", "seq": number, "time_s": 0.1} for number in range(20)],
        "capabilities": {"exact_order": False, "types": False, "threads": True},
        "notices": [{"code": "a-code", "text": "what happened", "time_s": 0.0}],
    }


def test_summary() -> None:
    text = "\n".join(summary_lines(summary()))
    assert "\x1b" not in text
    assert "'an argument'" in text
    assert "no: the recording ends before the program's own end; the last 17 bytes" in text
    assert "killed by SIGKILL" in text
    assert "3 of them of blocks older than the recording" in text
    assert "16.0 MiB at most" in text
    assert "not known        exact order, types" in text
    assert "[a-code] what happened" in text
    assert "... and 8 more" in text
    assert all(line.isascii() for line in text.splitlines())


def test_summary_of_a_complete_log() -> None:
    document = {**summary(), "complete": True, "torn_bytes": 0, "exit_status": 0, "notices": [], "marks": []}
    lines = list(summary_lines(document))
    assert "complete         yes" in lines
    assert "exit status      0" in lines
    assert all(len(line) <= 80 for line in summary_lines(document, width=80))
    long = {**document, "engine_reason": "word " * 40}
    assert all(len(line) <= 80 for line in summary_lines(long, width=80))
    assert " ".join(" ".join(summary_lines(long, width=80)).split()).count("word") == 40


def test_exit_text() -> None:
    assert exit_text(None) == "not known"
    assert exit_text(3) == "3"
    assert exit_text(-11) == "killed by SIGSEGV"
    assert signal_name(1000) == "signal 1000"


def simulation() -> dict[str, Any]:
    return {
        "scenario": "recorded",
        "settings": {"allocator": "pymalloc", "arena_size": 2**20, "gc_thresholds": None, "gc_off": False},
        "collections": None,
        "recorded_collections": [3, 2, 1],
        "arenas": 5,
        "peak_arenas": 7,
        "recorded_peak_arenas": None,
        "peak_bytes": 2**20,
        "peak_footprint_bytes": 2**21,
        "end_bytes": 1024,
        "fragmentation": 0.25,
        "peak_fragmentation": 0.5,
        "out_of_memory": None,
        "unknown": {"recorded_peak_arenas": "no arena was recorded"},
        "notes": ["large blocks are modelled"],
    }


def test_simulation() -> None:
    lines = list(simulation_lines(simulation()))
    text = "\n".join(lines)
    assert lines[0] == "scenario: recorded"
    assert "arena size" in text or "arena_size" in text
    assert "1.0 MiB" in text
    assert "collections of generation 0 / 1 / 2    unknown  3 / 2 / 1" in lines
    assert any(line.split() == ["peak", "arenas", "7", "unknown"] for line in lines)
    assert "unknown: recorded peak arenas: no arena was recorded" in lines
    assert lines[-1] == "note: large blocks are modelled"
    assert "out of memory" not in text


def test_simulation_that_runs_out_of_memory() -> None:
    document = simulation()
    document["out_of_memory"] = {
        "seq": 4000,
        "time_s": 1.0,
        "wanted_bytes": 2048,
        "live_bytes": 1024,
        "footprint_bytes": 4096,
        "heap": {
            "by": "function",
            "total_bytes": 1024,
            "total_blocks": 2,
            "groups": [{"key": "f (a.py)", "bytes": 1024, "blocks": 2}],
        },
    }
    lines = list(simulation_lines(document))
    at = lines.index("out of memory at event 4,000, 1.00 s: 2.0 KiB wanted, 1.0 KiB live, 4.0 KiB footprint")
    assert lines[at + 1] == "what was alive just before: 1.0 KiB in 2 blocks, by function"
    assert "1.0 KiB  100.0%       2  f (a.py)" in lines


def test_recorded() -> None:
    totals = {
        "events": 1000,
        "allocations": 600,
        "frees": 390,
        "gc_collections": 1,
        "duration_ns": 1_500_000_000,
        "peak_bytes": 2048,
        "peak_blocks": 5,
        "end_bytes": 1024,
        "end_blocks": 1,
    }
    known: dict[str, Any] = {"log": "app.tkt", "log_bytes": 2000, "engine": "portable engine (asked for)"}
    lines = list(recorded_lines(totals, [], complete=True, exit_status=3, **known))
    assert lines == [
        "recorded 1,000 events in 1.50 s: 600 allocations, 390 frees, 1 collection",
        "peak 2.0 KiB in 5 blocks; at the end 1.0 KiB in 1 block",
        "log app.tkt, 2.0 KiB, 2.0 bytes an event; portable engine (asked for)",
    ]
    notice = {"code": "ring-full", "text": "it was full"}
    killed = list(recorded_lines(totals, [notice], complete=False, exit_status=-9, **known))
    assert killed[3] == "the recording is not complete: the program was killed by SIGKILL"
    assert killed[4] == "notice[ring-full]: it was full"
    none = list(recorded_lines(totals, [], complete=False, exit_status=1, **{**known, "log": None}))
    assert none[2] == "no log; portable engine (asked for)"
    left = list(recorded_lines(totals, [], complete=False, exit_status=0, **known))
    assert left[3] == "the recording is not complete: the program ended with status 0"


def test_verification_and_recovery() -> None:
    document = {
        "path": "a.tkt",
        "ok": False,
        "records": 10,
        "events": 1000,
        "complete": False,
        "closed": False,
        "torn_bytes": 3,
        "problems": ["record 4 at offset 99: \x1b"],
    }
    lines = list(verification_lines(document))
    assert lines[0] == "a.tkt: 1 problem"
    assert lines[-1] == "problem: record 4 at offset 99: \\x1b"
    whole = {**document, "ok": True, "problems": [], "torn_bytes": 0, "complete": True, "closed": True}
    assert next(verification_lines(whole)) == "a.tkt: ok"
    kept = {"records_kept": 9, "events_kept": 900, "bytes_lost": 100, "losses": ["record 4"]}
    assert list(recovery_lines(kept)) == ["kept 9 records with 900 events, lost 100 bytes", "lost: record 4"]
