"""Garbage that recorded collections freed, and a simulation did not: against a fold over the events."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from effort import examples
from traces import TraceBuilder, write_log

from tracekit.replay.uncollected import uncollected_before
from tracekit.store.opening import open_store


def collected_trace(build: TraceBuilder) -> list[tuple[int, int, int]]:
    """Three collections that free 10 blocks of `a` and 5 of `b` each: (free_seq, size, which function)."""
    freed = []
    stacks = [build.stack(("app.py", name, 1)) for name in "ab"]
    for size in (100, 200, 300):
        blocks = [
            (build.allocate(size + at, stack=stacks[at >= 10]), size + at, at >= 10) for at in range(15)
        ]
        kept = build.allocate(7, stack=stacks[0])
        build.gc_start()
        freed += [(build.free(block), bytes_, int(of)) for block, bytes_, of in blocks]
        build.gc_stop(collected=15)
        build.free(kept)
    return freed


def test_all_of_it_is_exact(tmp_path: Path) -> None:
    build = TraceBuilder()
    freed = collected_trace(build)
    with open_store(write_log(tmp_path / "app.tkt", build.finish()), cache=False) as store:
        for seq in [freed[0][0], freed[20][0], freed[-1][0] + 1]:
            gone = [entry for entry in freed if entry[0] < seq]
            total = sum(size for _, size, _ in gone)
            found = uncollected_before(store, seq, total)
            assert (found.total_bytes, found.total_blocks, found.exact) == (total, len(gone), True)
            expected = Counter[str]()
            for _, size, of in gone:
                expected[f"{'ab'[of]} (app.py)"] += size
            assert {group.key: group.bytes for group in found.groups} == expected
            assert [group.bytes for group in found.groups] == sorted(expected.values(), reverse=True)


def test_a_part_of_it_is_the_latest_and_an_estimate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracekit.replay.uncollected._STRETCH", 4)
    build = TraceBuilder()
    freed = collected_trace(build)
    end = freed[-1][0] + 1
    with open_store(write_log(tmp_path / "app.tkt", build.finish()), cache=False) as store:
        for wanted in range(50, sum(size for _, size, _ in freed), 9000 // examples(60)):
            found = uncollected_before(store, end, wanted, limit=1)
            assert not found.exact
            assert len(found.groups) == 1
            ends = sorted({seq // 4 * 4 for seq, _, _ in freed}, reverse=True)
            sums = (sum(size for seq, size, _ in freed if seq >= first) for first in ends)
            assert found.total_bytes == next(total for total in sums if total >= wanted)


def test_there_is_none(tmp_path: Path) -> None:
    build = TraceBuilder()
    build.free(build.allocate(100))
    with open_store(write_log(tmp_path / "app.tkt", build.finish()), cache=False) as store:
        found = uncollected_before(store, 5, 100)
    assert (found.total_bytes, found.total_blocks, found.exact, found.groups) == (0, 0, False, [])
