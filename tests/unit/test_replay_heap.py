"""The heap at a moment in every grouping, and the difference of two."""

from __future__ import annotations

import pytest
import traces

from tracekit.errors import UsageError
from tracekit.events import Domain
from tracekit.replay.difference import Change, difference
from tracekit.replay.heap import GROUPINGS, Group, heap_at
from tracekit.replay.moment import resolve_moment
from tracekit.store.database import Store
from tracekit.store.opening import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    build = traces.TraceBuilder()
    main = ("/srv/app.py", "main", 10)
    worker = build.thread("worker")
    kind = build.type("app.Row")
    load = build.stack(main, ("/srv/lib/load.py", "Loader.read", 33))
    again = build.stack(main, ("/srv/lib/load.py", "Loader.read", 34))
    gone = build.allocate(1000, stack=load)  # seq 1
    typed = build.allocate(70, stack=load, thread=worker, domain=Domain.RAW)  # seq 2
    build.mark("before")  # seq 3
    build.free(gone)  # seq 4
    build.allocate(30, stack=again)  # seq 5
    build.allocate(100, stack=build.stack(main))  # seq 6
    build.allocate(8, thread=0)  # seq 7
    build.allocate(0, stack=build.stack(main))  # seq 8
    build.mark("after")  # seq 9
    build.free(typed, type_id=kind)  # seq 10
    path = tmp_path_factory.mktemp("heap") / "a.tkt"
    return open_store(traces.write_log(path, build.finish()), cache=False)


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (
            "site",
            [
                ("/srv/app.py:10 (main)", 100, 2),
                ("/srv/lib/load.py:33 (Loader.read)", 70, 1),
                ("/srv/lib/load.py:34 (Loader.read)", 30, 1),
                ("<unknown>", 8, 1),
            ],
        ),
        (
            "function",
            [("Loader.read (/srv/lib/load.py)", 100, 2), ("main (/srv/app.py)", 100, 2), ("<unknown>", 8, 1)],
        ),
        ("file", [("/srv/app.py", 100, 2), ("/srv/lib/load.py", 100, 2), ("<unknown>", 8, 1)]),
        ("type", [("<unknown>", 138, 4), ("app.Row", 70, 1)]),
        (
            "stack",
            [
                ("main (app.py:10)", 100, 2),
                ("main (app.py:10);Loader.read (load.py:33)", 70, 1),
                ("main (app.py:10);Loader.read (load.py:34)", 30, 1),
                ("<unknown>", 8, 1),
            ],
        ),
        ("thread", [("MainThread", 130, 3), ("worker", 70, 1), ("<unknown>", 8, 1)]),
        ("domain", [("object", 138, 4), ("raw", 70, 1)]),
    ],
)
def test_groupings(store: Store, by: str, groups: list[tuple[str, int, int]]) -> None:
    moment = resolve_moment(store, "mark:after")
    heap = heap_at(store, moment, by=by)
    assert heap.groups == [Group(*group) for group in groups]
    assert (heap.moment, heap.by, heap.total_bytes, heap.total_blocks) == (moment, by, 208, 5)


def test_the_limit_cuts_groups_and_not_totals(store: Store) -> None:
    moment = resolve_moment(store, "mark:after")
    whole = heap_at(store, moment)
    for limit in range(6):
        part = heap_at(store, moment, limit=limit)
        assert part.groups == whole.groups[:limit]
        assert (part.total_bytes, part.total_blocks) == (208, 5)


def test_an_empty_heap(store: Store) -> None:
    heap = heap_at(store, resolve_moment(store, "start"))
    assert (heap.total_bytes, heap.total_blocks, heap.groups) == (0, 0, [])


def test_difference(store: Store) -> None:
    start, end = resolve_moment(store, "mark:before"), resolve_moment(store, "mark:after")
    found = difference(store, start, end, by="file")
    assert (found.start, found.end, found.by) == (start, end, "file")
    assert (found.total_bytes, found.total_blocks) == (208 - 1070, 5 - 2)
    assert found.groups == [
        Change("/srv/app.py", 100, 2, 0, 100, 0, 2),
        Change("<unknown>", 8, 1, 0, 8, 0, 1),
        Change("/srv/lib/load.py", -970, 0, 1070, 100, 2, 2),
    ]
    limited = difference(store, start, end, by="file", limit=1)
    assert limited.groups == found.groups[:1]
    assert limited.total_bytes == found.total_bytes


def test_difference_backwards(store: Store) -> None:
    start, end = resolve_moment(store, "mark:after"), resolve_moment(store, "mark:before")
    found = difference(store, start, end, by="domain")
    assert found.groups == [Change("object", 862, -3, 138, 1000, 4, 1)]


def test_no_difference(store: Store) -> None:
    moment = resolve_moment(store, "peak")
    found = difference(store, moment, moment, by="stack")
    assert (found.total_bytes, found.total_blocks, found.groups) == (0, 0, [])


def test_what_makes_no_sense(store: Store) -> None:
    moment = resolve_moment(store, "end")
    with pytest.raises(UsageError, match=", ".join(GROUPINGS)):
        heap_at(store, moment, by="colour")
    with pytest.raises(UsageError, match="-1 groups"):
        difference(store, moment, moment, limit=-1)
