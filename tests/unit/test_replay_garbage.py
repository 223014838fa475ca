"""Collections and the counts of the collector: the cases that random recordings rarely hold."""

from __future__ import annotations

from pathlib import Path

import pytest
import traces

from tracekit.errors import MomentMissingError, UsageError
from tracekit.events import Free
from tracekit.replay.counts import counts_at
from tracekit.replay.garbage import collection, collections, collector_summary, garbage
from tracekit.replay.moment import resolve_moment
from tracekit.store.database import Store
from tracekit.store.opening import open_store


def store_of(path: Path, build: traces.TraceBuilder, *, complete: bool = True) -> Store:
    return open_store(traces.write_log(path / "a.tkt", build.finish(complete=complete)), cache=False)


def test_count_0_does_not_fall_below_0(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    kind = build.type("app.Row", gc_tracked=True)
    older = [build.allocate(64) for _ in range(3)]
    build.gc_start(0, counts=(701, 3, 4))
    build.gc_stop()
    for block in older:
        build.free(block, type_id=kind)
    newer = [build.allocate(64) for _ in range(2)]
    build.mark("here")
    build.gc_start(0, counts=(2, 4, 4))
    for block in newer:
        build.free(block, type_id=kind)
    build.gc_stop(collected=2)
    with store_of(tmp_path, build) as store:
        found = counts_at(store, resolve_moment(store, "mark:here"))
        assert (found.counts, found.check, found.thresholds_certain) == ((2, 4, 4), 2, True)
        assert collection(store, 1).freed_bytes == 128


def test_counts_before_the_first_collection_are_reckoned_back(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    kind = build.type("app.Row", gc_tracked=True)
    blocks = [build.allocate(64) for _ in range(5)]
    build.gc_start(2, counts=(701, 3, 4))
    for block in blocks:
        build.free(block, type_id=kind)
    build.gc_stop()
    with store_of(tmp_path, build) as store:
        found = counts_at(store, resolve_moment(store, "seq:2"))
    assert (found.counts, found.check, found.before) == ((698, 3, 4), None, None)
    assert (found.thresholds, found.thresholds_certain) == ((700, 10, 10), True)


def test_without_types_count_0_is_not_known(tmp_path: Path) -> None:
    build = traces.TraceBuilder(traces.sample_header(capabilities=traces.sample_capabilities(types=False)))
    build.gc_start(1, counts=(701, 11, 0))
    build.gc_stop()
    with store_of(tmp_path, build) as store:
        found = counts_at(store, resolve_moment(store, "gc:0"))
    assert (found.counts, found.check) == ((None, 0, 1), None)


def test_a_collection_that_the_recording_ended_in(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    block = build.allocate(100)
    build.gc_start(1)
    build.free(block)
    with store_of(tmp_path, build, complete=False) as store:
        one = collection(store, 0)
        assert (one.stop_seq, one.pause_ns, one.collected, one.freed_bytes) == (None, None, None, 100)
        assert garbage(store, by="site", of=one).total_bytes == 100
        (generation,) = collector_summary(store).generations
        assert (generation.pause_ns, generation.median_pause_ns, generation.longest_gc_id) == (0, None, None)
        assert counts_at(store, resolve_moment(store, "end")).collecting


def test_blocks_older_than_the_recording_are_counted_apart(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    build.gc_start()
    for address in (0x10, 0x20):
        build._add(Free(build.next_seq, build.now, 1, "gc", None, address))
    build.gc_stop(collected=2)
    build.free_unknown(0x30)
    with store_of(tmp_path, build) as store:
        found = garbage(store)
        assert (found.total_blocks, found.older_blocks, found.groups) == (0, 2, [])
        assert garbage(store, of=collection(store, 0)).older_blocks == 2


def test_a_recording_without_collections(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    build.allocate(100)
    with store_of(tmp_path, build) as store:
        assert collections(store) == []
        assert collector_summary(store).generations == []
        assert garbage(store).total_blocks == 0
        found = counts_at(store, resolve_moment(store, "end"))
        assert (found.counts, found.thresholds) == ((None, None, None), (700, 10, 10))
        with pytest.raises(MomentMissingError, match="has no collection 0"):
            collection(store, 0)
        with pytest.raises(MomentMissingError):
            collection(store, 2**70)
        with pytest.raises(UsageError, match="sorted"):
            collections(store, sort="size")
        with pytest.raises(UsageError, match="limit"):
            collections(store, limit=-1)
        with pytest.raises(UsageError, match="grouped"):
            garbage(store, by="colour")
