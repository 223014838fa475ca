"""The steps of a trace as the store reads them, against one query that says what they are and sorts them."""

from __future__ import annotations

import dataclasses
import tempfile
import threading
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import traces
from effort import examples
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tracekit.errors import StoreError
from tracekit.events import Cause, Domain
from tracekit.store import placing, stepping
from tracekit.store.database import Store
from tracekit.store.opening import open_store
from tracekit.store.steps import Steps

slow = settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))

WITH_KERNEL = [False, True] if placing.HAVE_KERNEL else [False]

STEPS = """
WITH mine AS (
    SELECT a.*, coalesce(t.gc_tracked, false) AS gc_tracked, coalesce(r.realloc_of, -1) AS realloc_of,
           CASE WHEN freed_by = 'gc' THEN coalesce(g.number, -1) ELSE -1 END::INTEGER AS garbage,
           CASE WHEN t.name = 'builtins.dict' AND size = 64 THEN 1
                WHEN t.name = 'builtins.list' AND size = 56 THEN 2
                WHEN t.name = 'builtins.tuple' AND size BETWEEN 48 AND 200 AND size % 8 = 0 THEN size // 8 - 3
                WHEN t.name = 'builtins.float' AND size = 24 THEN 23
                ELSE 0 END::UTINYINT AS free_list
    FROM allocations a
    LEFT JOIN types t ON t.trace_id = a.trace_id AND t.type_id = a.type_id
    LEFT JOIN reallocs r ON r.trace_id = a.trace_id AND r.alloc_seq = a.alloc_seq
    ASOF LEFT JOIN (SELECT trace_id, start_seq, row_number() OVER (ORDER BY start_seq) - 1 AS number
                    FROM gc_collections WHERE trace_id = $trace AND start_seq IS NOT NULL) g
        ON g.trace_id = a.trace_id AND g.start_seq <= a.free_seq
    WHERE a.trace_id = $trace)
SELECT alloc_seq AS seq, allocated_ns AS time_ns, false AS is_free, alloc_seq, size,
       enum_code(domain)::UTINYINT AS domain, stack_id, 0::UTINYINT AS cause, thread_id, gc_tracked,
       realloc_of, garbage, address, free_list
FROM mine
UNION ALL
SELECT free_seq, freed_ns, true, alloc_seq, size, enum_code(domain)::UTINYINT, stack_id,
       enum_code(freed_by)::UTINYINT, freed_thread_id, gc_tracked, -1, garbage, address, free_list
FROM mine WHERE free_seq IS NOT NULL
UNION ALL
SELECT u.seq, u.time_ns, true, -1, coalesce(o.block_size, 0),
       CASE WHEN o.address IS NULL THEN 0 ELSE 2 END::UTINYINT, 0, enum_code(u.cause)::UTINYINT, u.thread_id,
       coalesce(t.gc_tracked, false), -1, -1, u.address, 0::UTINYINT
FROM unmatched_frees u
LEFT JOIN older_blocks o ON o.trace_id = u.trace_id AND o.free_seq = u.seq
LEFT JOIN types t ON t.trace_id = u.trace_id AND t.type_id = u.type_id
WHERE u.trace_id = $trace AND u.alloc_seq IS NULL
ORDER BY seq
"""


def check(store: Store, trace_id: int, window: int) -> list[Steps]:
    """That the steps of a trace are right; returns them."""
    with store.cursor() as cursor:
        found = cursor.execute(STEPS, {"trace": trace_id}).fetchnumpy()
    parts = list(store.steps(window, trace_id))
    for read in (parts, list(store.outlines(window, trace_id))):
        for part in read:
            assert len(part) > 0
            assert part.seq[-1] - part.seq[0] < window
        for field in dataclasses.fields(read[0]) if read else ():
            wanted = np.ma.getdata(found[field.name])
            arrays = [getattr(part, field.name) for part in read]
            assert np.concatenate(arrays).tolist() == wanted.tolist(), field.name
            assert {array.dtype for array in arrays} == {wanted.dtype}, field.name
            assert all(array.flags.c_contiguous for array in arrays)
        assert sum(map(len, read)) == len(found["seq"])
    return parts


@slow
@given(
    traces.traces(max_events=80),
    st.sampled_from([3, 30, 1 << 19]),
    st.booleans(),
    st.sampled_from(WITH_KERNEL),
)
def test_steps_are_what_the_query_says(
    trace: traces.Trace, window: int, closed: bool, with_kernel: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder, mock.patch.object(placing, "HAVE_KERNEL", with_kernel):
        log = traces.write_log(Path(folder, "a.tkt"), trace, closed=closed)
        with open_store(log, cache=False) as store:
            check(store, 1, window)


@slow
@given(traces.traces(), traces.traces(), st.sampled_from([5, 1 << 19]))
def test_of_several_traces_each_has_its_own(a: traces.Trace, b: traces.Trace, window: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        logs = [traces.write_log(Path(folder, f"{n}.tkt"), trace) for n, trace in enumerate((a, b))]
        with open_store(*logs, cache=False) as store:
            check(store, 1, window)
            check(store, 2, window)
            assert list(store.steps(window, 3)) == []


@pytest.mark.parametrize("with_kernel", WITH_KERNEL)
def test_of_many_events(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, with_kernel: bool) -> None:
    monkeypatch.setattr(placing, "HAVE_KERNEL", with_kernel)
    log = traces.write_log(tmp_path / "a.tkt", traces.random_trace(3, 4000))
    with open_store(log, cache=False) as store:
        for window in (500, 3999, 1 << 19):
            check(store, 1, window)


def test_blocks_older_than_the_recording(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    first = 0x7F00_0010_0030
    build.older_arena(0x7F00_0010_0000)
    build.older_pool(first, 64, 0b1011)
    tracked = build.type("app.Node", gc_tracked=True)
    block = build.allocate(100)
    build.free_unknown(first + 64)
    build.free_unknown(0x1000)  # nobody knows of this one
    build.free(block, type_id=tracked)
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        (steps,) = check(store, 1, 1 << 19)
    older = steps.alloc_seq == -1
    assert steps.size[older].tolist() == [64, 0]
    assert steps.domain[older].tolist() == [Domain.OBJECT, Domain.RAW]
    assert steps.address[older].tolist() == [first + 64, 0x1000]
    assert steps.gc_tracked.tolist() == [True, False, False, True]


def test_objects_of_free_lists(tmp_path: Path) -> None:
    """Dicts, lists, tuples and floats, if they have the size that such an object has."""
    build = traces.TraceBuilder()
    types = {name: build.type(f"builtins.{name}", gc_tracked=name != "float") for name in ("list", "float")}
    types |= {name: build.type(f"builtins.{name}", gc_tracked=True) for name in ("dict", "tuple", "set")}
    objects = [("dict", 64), ("dict", 65), ("list", 56), ("list", 64), ("tuple", 40), ("tuple", 48)]
    objects += [
        ("tuple", 52),
        ("tuple", 200),
        ("tuple", 208),
        ("tuple", 1 << 40),
        ("float", 24),
        ("float", 32),
    ]
    objects += [("set", 64), ("dict", 0), ("dict", 64)]
    for name, size in objects:
        build.free(build.allocate(size), type_id=types[name])
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        (steps,) = check(store, 1, 1 << 19)
    wanted = [1, 0, 2, 0, 0, 3, 0, 22, 0, 0, 23, 0, 0, 0, 1]
    assert steps.free_list.tolist() == [number for number in wanted for _ in ("allocation", "free")]


def test_garbage_reallocs_and_an_open_end(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    early = build.allocate(10)
    build.gc_start()
    build.free(early)
    build.gc_stop()
    late, kept = build.allocate(20), build.allocate(30)
    moved = build.realloc(kept, 40)
    build.gc_start()
    build.free(late)
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish(complete=False)), cache=False) as store:
        (steps,) = check(store, 1, 1 << 19)
    by_block = dict(zip(steps.alloc_seq, steps.garbage, strict=True))
    assert by_block == {early: 0, late: 1, kept: -1, moved: -1}
    assert steps.realloc_of[steps.seq == moved].tolist() == [kept]
    assert (steps.realloc_of == -1).sum() == len(steps) - 1
    assert steps.cause.tolist() == [0, Cause.GC, 0, 0, Cause.REALLOC, 0, Cause.GC]


@pytest.mark.parametrize("cache", [True, False])
def test_steps_that_are_not_read_to_the_end(tmp_path: Path, cache: bool) -> None:
    log = traces.write_log(tmp_path / "a.tkt", traces.random_trace(3, 200))
    with open_store(log, cache=cache) as store:
        steps = store.steps(10)
        first = next(steps)
        steps.close()
        assert [thread.name for thread in threading.enumerate() if thread.name == "tracekit-query"] == []
        check(store, 1, 100)
        abandoned = store.steps(10)
        assert next(abandoned).seq.tolist() == first.seq.tolist()
    assert [thread.name for thread in threading.enumerate() if thread.name == "tracekit-query"] == []
    assert list(abandoned) == []


def test_a_scan_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stepping, "_BLOCKS", "SELECT error('broken')")
    log = traces.write_log(tmp_path / "a.tkt", traces.random_trace(3, 50))
    with open_store(log, cache=False) as store, pytest.raises(StoreError, match="cannot be read"):
        list(store.steps())
