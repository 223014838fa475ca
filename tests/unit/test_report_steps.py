"""One event in words, and the graph above it."""

from __future__ import annotations

from typing import Any

import pytest
from cli_support import HOSTILE

from tracekit.report.graphs import bar_graph
from tracekit.report.steps import short_function, short_site, step_lines, title

BLOCK: dict[str, Any] = {
    "alloc_seq": 1000,
    "allocated_ns": 5_000_000,
    "free_seq": 1004,
    "freed_ns": 8_200_000,
    "cause": "refcount",
    "allocating_thread": "MainThread",
    "freeing_thread": "MainThread",
    "realloc_of": None,
    "replaced_by": None,
}
COLLECTION: dict[str, Any] = {
    "gc_id": 3,
    "generation": 2,
    "start_seq": 10,
    "stop_seq": 20,
    "pause_ns": 1_600_000,
    "collected": 2700,
    "uncollectable": 1,
    "counts": [701, 2, 0],
    "thresholds": [700, 10, 10],
    "freed_bytes": 2048,
    "freed_blocks": 2,
}


def document(effect: dict[str, Any] | None = None, **event: Any) -> dict[str, Any]:
    """A document of an allocation, with changes."""
    known = {
        "seq": 1000,
        "time_ns": 5_000_000,
        "kind": "allocation",
        "thread": "MainThread",
        "address": 0x7F00,
        "size": 1536,
        "domain": "object",
        "type": "app.Row",
        "site": "/srv/app.py:10 (main)",
        "stack_id": 1,
        "frames": [
            {"file": "/srv/app.py", "line": 10, "function": "main", "source": "x = Row()", "from_disk": False}
        ],
        "block": BLOCK,
        "cause": None,
        "collection": None,
        "mark": None,
        "older_size": None,
        "lost_seq": None,
    }
    change = {"by": "site", "key": "k", "bytes": 1536, "blocks": 1, "group_bytes": 3072, "group_blocks": 2}
    return {
        "position": {"seq": 1000, "live_bytes": 4096, "live_blocks": 3},
        "event": {**known, **event},
        "effect": change if effect is None else effect,
        "engine": "native",
        "unknown": [],
    }


NOTHING = {"by": "site", "key": None, "bytes": 0, "blocks": 0, "group_bytes": 0, "group_blocks": 0}


def lines(found: dict[str, Any], width: int = 70) -> list[str]:
    return [line.text for line in step_lines(found, width=width)]


def other(kind: str, **event: Any) -> dict[str, Any]:
    """An event that has no block."""
    nothing = dict.fromkeys(("address", "size", "domain", "type", "site", "block", "cause"))
    return document(NOTHING, **{**nothing, "kind": kind, "frames": [], "stack_id": 0, **event})


def test_an_allocation() -> None:
    assert lines(document()) == [
        "allocation of 1.5 KiB, app.Row",
        "lives   for 3.2 ms (4 events), until event 1,004",
        "heap    +1.5 KiB, +1 block: 4.0 KiB in 3 blocks",
        "group   3.0 KiB in 2 blocks of this site",
        "what    thread MainThread, domain object, 0x7f00",
        "allocated by (innermost first)",
        "/srv/app.py:10 (main)",
        "    x = Row()",
    ]


def test_a_block_that_lives_on_and_one_that_replaced_another() -> None:
    on = {**BLOCK, "free_seq": None, "freed_ns": None, "cause": None, "realloc_of": 999}
    assert lines(document(block=on))[1:3] == [
        "realloc of the block of event 999",
        "lives   on: it is never freed while recorded",
    ]


@pytest.mark.parametrize(
    ("cause", "said"),
    [
        ("refcount", "cause   its last reference went away"),
        ("gc", "cause   the garbage collector found it in a cycle"),
        ("unknown", "cause   not known"),
    ],
)
def test_a_free(cause: str, said: str) -> None:
    effect = {**NOTHING, "key": "k", "by": "stack", "bytes": -1536, "blocks": -1}
    found = lines(document(effect, kind="free", cause=cause))
    assert found[:5] == [
        "free of 1.5 KiB, app.Row",
        said,
        "lived   3.2 ms (4 events), since event 1,000",
        "heap    -1.5 KiB, -1 block: 4.0 KiB in 3 blocks",
        "group   0 B in 0 blocks of this call path",
    ]


def test_a_free_by_a_realloc_on_another_thread_within_a_collection() -> None:
    block = {**BLOCK, "replaced_by": 1005, "freeing_thread": "worker", "freed_ns": 5_000_000}
    found = lines(document(kind="free", cause="realloc", block=block, collection=COLLECTION))
    assert found[1:5] == [
        "cause   a realloc replaced it: event 1,005",
        "lived   less than 1 ms (4 events), since event 1,000",
        "made by thread MainThread",
        "by      gc:3 (generation 2)",
    ]


def test_frees_of_blocks_that_are_not_known() -> None:
    older = other("free", cause="refcount", type="<unknown>", address=0x10, older_size=48)
    assert lines(older)[:4] == [
        "free of a block older than the recording",
        "cause   its last reference went away",
        "size    48 B at most (its size class)",
        "heap    unchanged: 4.0 KiB in 3 blocks",
    ]
    lost = other("free", cause="unknown", type="<unknown>", lost_seq=7)
    assert lines(lost)[0] == "free of a block whose allocation the log has lost"
    assert "block   of event 7" in lines(lost)


def test_a_collection() -> None:
    assert lines(other("gc-stop", collection=COLLECTION))[:7] == [
        "the collection gc:3 ends",
        "of      generation 2",
        "counts  701, 2, 0",
        "limits  700, 10, 10",
        "pause   1.6 ms",
        "found   2,700 objects to collect, 1 uncollectable",
        "freed   2.0 KiB in 2 blocks of the recording",
    ]
    damaged = {**COLLECTION, "gc_id": None, "generation": None, "pause_ns": None, "collected": None}
    damaged["counts"] = damaged["thresholds"] = [None, None, None]
    assert lines(other("gc-start", collection=damaged))[:3] == [
        "a collection begins",
        "of      a generation not known",
        "freed   2.0 KiB in 2 blocks of the recording",
    ]


def test_other_events() -> None:
    assert title(other("mark", mark="warm")["event"]) == "mark warm"
    assert title(other("mark")["event"]) == "mark without a name"
    assert title(other("arena-allocation", size=1 << 20)["event"]) == "an arena of 1.0 MiB is obtained"
    assert title(other("arena-free", size=1 << 20)["event"]) == "an arena of 1.0 MiB is returned"
    marked = other("mark", mark="warm", frames=document()["event"]["frames"])
    assert "set by (innermost first)" in lines(marked)
    missing = {**document(), "event": None}
    assert lines(missing)[0] == "event 1,000 is missing"


def test_what_is_not_known_is_said() -> None:
    found = document(thread="<unknown>", address=None, type="<unknown>", domain="python", frames=[])
    found.update(engine="portable", unknown=["threads", "real_addresses", "types", "domains", "real_times"])
    text = " ".join(" ".join(lines(found, 200)).split())
    assert "allocation of 1.5 KiB lives for 3.2 ms by the sync points (4 events)" in text
    assert "what thread, domain, address and type not recorded by the portable engine" in text
    assert "no Python code was running" in text
    seen = " ".join(lines(document(type="<unknown>"), 200))
    assert "0x7f00, type not known" in seen


def test_source_from_disk_is_labelled() -> None:
    frame = {"file": "a.py", "line": 1, "function": "f", "source": "x = 1", "from_disk": True}
    assert lines(document(frames=[frame]))[-3:] == ["a.py:1 (f)", "  * x = 1", "* from the file on disk"]


@pytest.mark.parametrize("width", [20, 38, 80])
def test_lines_fit_and_are_harmless(width: int) -> None:
    frame = {"file": HOSTILE * 9, "line": 1, "function": HOSTILE, "source": HOSTILE, "from_disk": True}
    documents = [
        document(thread=HOSTILE, type=HOSTILE, frames=[frame]),
        document(kind="free", cause="gc", block={**BLOCK, "allocating_thread": HOSTILE}, frames=[frame]),
        other("mark", mark=HOSTILE),
        other("gc-stop", collection=COLLECTION),
        {**document(), "event": None},
    ]
    for found in documents:
        for line in lines(found, width):
            assert line.isprintable()
            assert len(line) <= max(width, 30)


def test_a_place_loses_its_folders_first() -> None:
    site = "/srv/lib/python3/json/decoder.py:337 (JSONDecoder.decode)"
    assert short_site(site, 80) == site
    assert short_site(site, 45).endswith("/decoder.py:337 (JSONDecoder.decode)")
    assert short_site(site, 25) == "decoder.py:337 (JSONDe..."
    assert short_site("<unknown>", 5) == "<u..."


def test_a_function_loses_the_folders_of_its_file_first() -> None:
    key = "JSONDecoder.decode (/srv/lib/python3/json/decoder.py)"
    assert short_function(key, 80) == key
    assert short_function(key, 40) == "JSONDecoder.decode (decoder.py)"
    assert short_function(key, 20) == "JSONDecoder.decod..."
    assert short_function("<unknown>", 5) == "<u..."


def test_the_graph() -> None:
    assert bar_graph([0, 1, 50, 100], 1) == [" ▁▄█"]
    assert bar_graph([0, 1, 50, 100], 2) == ["   █", " ▁██"]
    assert bar_graph([100, 150, 200], 1, least=100) == ["▁▄█"]
    assert bar_graph([7, 7], 1, least=7) == ["▁▁"]
    assert bar_graph([0, 0], 2) == ["  ", "  "]
    assert bar_graph([], 2) == ["", ""]
    assert bar_graph([2**63, 2**62], 4)[3] == "██"
