"""The heap at a moment in every grouping, and the difference of two."""

from __future__ import annotations

import sys
from pathlib import Path
from unittest import mock

import duckdb
import pytest
import traces

from tracekit.errors import SqlError, UsageError
from tracekit.events import Domain
from tracekit.replay import stacks
from tracekit.replay.calltree import Node
from tracekit.replay.difference import Change, StatusTotal, difference
from tracekit.replay.heap import GROUPINGS, Group, heap_at
from tracekit.replay.moment import resolve_moment
from tracekit.replay.stacks import Frame, StackSegment
from tracekit.store.database import Store
from tracekit.store.opening import open_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    build = traces.TraceBuilder(traces.sample_header(cwd="/srv"))
    main = ("/srv/app.py", "main", 10)
    build.code("/srv/app.py", "main", frame_bytes=96)
    worker = build.thread("worker")
    kind = build.type("app.Row")
    load = build.stack(main, ("/srv/lib/load.py", "Loader.read", 33))
    again = build.stack(main, ("/srv/lib/load.py", "Loader.read", 34))
    gone = build.allocate(1000, stack=load)  # seq 1
    typed = build.allocate(70, stack=load, thread=worker, domain=Domain.RAW)  # seq 2
    build.mark("before")  # seq 3
    build.free(gone)  # seq 4
    build.advance(2_000_000_000)
    build.allocate(30, stack=again)  # seq 5
    build.advance(50_000_000)
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
        ("module", [("app", 100, 2), ("lib.load", 100, 2), ("<unknown>", 8, 1)]),
        (
            "size_class",
            [
                ("112 B (pymalloc)", 100, 1),
                ("64 B to 128 B", 70, 1),
                ("32 B (pymalloc)", 30, 1),
                ("16 B (pymalloc)", 8, 2),
            ],
        ),
        ("age", [("< 1 ms", 108, 3), ("10 ms to 100 ms", 30, 1), ("1 s to 10 s", 70, 1)]),
    ],
)
def test_groupings(store: Store, by: str, groups: list[tuple[str, int, int]]) -> None:
    moment = resolve_moment(store, "mark:after")
    heap = heap_at(store, moment)
    assert heap.by(by) == [Group(*group) for group in groups]
    assert (heap.moment, heap.total_bytes, heap.total_blocks) == (moment, 208, 5)
    assert heap_at(store, "mark:after").by(by) == heap.by(by)


def test_the_limit_cuts_groups_and_not_totals(store: Store) -> None:
    heap = heap_at(store, "mark:after")
    whole = heap.by("site")
    assert len(whole) == 4
    for limit in range(6):
        assert heap.by("site", limit) == whole[:limit]


def test_an_empty_heap(store: Store) -> None:
    heap = heap_at(store, "start")
    assert (heap.total_bytes, heap.total_blocks) == (0, 0)
    assert [heap.by(by) for by in GROUPINGS] == [[]] * len(GROUPINGS)
    assert (heap.tree().roots, heap.stacks(), heap.blocks().fetchall()) == ([], [], [])


def test_difference(store: Store) -> None:
    start, end = resolve_moment(store, "mark:before"), resolve_moment(store, "mark:after")
    found = difference(store, start, end, by="file")
    assert (found.start, found.end, found.by) == (start, end, "file")
    assert (found.total_bytes, found.total_blocks) == (208 - 1070, 5 - 2)
    assert found.groups == [
        Change("/srv/app.py", 100, 2, 0, 100, 0, 2, 100, 2, "new"),
        Change("<unknown>", 8, 1, 0, 8, 0, 1, 8, 1, "new"),
        Change("/srv/lib/load.py", -970, 0, 1070, 100, 2, 2, 30, 1, "shrunk"),
    ]
    assert (found.bytes_before, found.bytes_after, found.made_bytes, found.made_blocks) == (1070, 208, 138, 4)
    assert found.statuses == {
        "new": StatusTotal(2, 108, 3),
        "grown": StatusTotal(0, 0, 0),
        "shrunk": StatusTotal(1, -970, 0),
        "gone": StatusTotal(0, 0, 0),
    }
    shrunk = difference(store, start, end, by="file", limit=1, status=["shrunk", "gone"])
    assert (shrunk.groups, shrunk.statuses) == (found.groups[2:], found.statuses)
    assert (shrunk.total_bytes, shrunk.made_bytes) == (found.total_bytes, found.made_bytes)
    limited = difference(store, start, end, by="file", limit=1)
    assert limited.groups == found.groups[:1]
    assert limited.total_bytes == found.total_bytes


def test_difference_backwards(store: Store) -> None:
    start, end = resolve_moment(store, "mark:after"), resolve_moment(store, "mark:before")
    found = difference(store, start, end, by="domain")
    assert found.groups == [Change("object", 862, -3, 138, 1000, 4, 1, 0, 0, "grown")]


def test_no_difference(store: Store) -> None:
    moment = resolve_moment(store, "peak")
    found = difference(store, moment, moment, by="stack")
    assert (found.total_bytes, found.total_blocks, found.groups) == (0, 0, [])


def test_what_makes_no_sense(store: Store) -> None:
    moment = resolve_moment(store, "end")
    with pytest.raises(UsageError, match=", ".join(GROUPINGS)):
        heap_at(store, moment).by("colour")
    with pytest.raises(UsageError, match="-1 groups"):
        heap_at(store, moment).by("site", -1)
    with pytest.raises(UsageError, match="depth 0"):
        heap_at(store, moment).tree(depth=0)
    with pytest.raises(UsageError, match="-1 groups"):
        difference(store, moment, moment, limit=-1)
    with pytest.raises(UsageError, match=r"'old' is no status .* new, grown, shrunk, gone"):
        difference(store, moment, moment, status=["new", "old"])


def test_the_call_tree(store: Store) -> None:
    tree = heap_at(store, "mark:after").tree()
    assert (tree.total_bytes, tree.total_blocks) == (208, 5)
    found = [(depth, node.function, node.line, node.bytes, node.total_bytes) for depth, node in tree.walk()]
    assert found == [
        (1, "main", 10, 100, 200),
        (2, "Loader.read", 33, 70, 70),
        (2, "Loader.read", 34, 30, 30),
        (1, "<unknown>", 0, 8, 8),
    ]
    assert [node.total_blocks for node in tree.roots] == [4, 1]
    assert tree.roots[1] == Node(0, "<unknown>", "<unknown>", 0, 8, 1, 8, 1)


def test_a_call_tree_is_cut(store: Store) -> None:
    heap = heap_at(store, "mark:after")
    assert [node.total_bytes for _, node in heap.tree(min_bytes=31).walk()] == [200, 70]
    assert [node.total_bytes for _, node in heap.tree(min_bytes=70).walk()] == [200, 70]
    shallow = heap.tree(depth=1)
    assert [(node.function, node.total_bytes, node.children) for node in shallow.roots] == [
        ("main", 200, []),
        ("<unknown>", 8, []),
    ]
    assert shallow.total_bytes == 208


def test_a_deep_call_tree(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    build.allocate(7, stack=build.stack(*[("deep.py", "down", 3)] * 2500))
    with open_store(traces.write_log(tmp_path / "deep.tkt", build.finish()), cache=False) as store:
        heap = heap_at(store, "end")
        nodes = list(heap.tree().walk())
        assert [depth for depth, _ in nodes] == list(range(1, 2501))
        assert {node.total_bytes for _, node in nodes} == {7}
        assert heap.by("stack")[0].key.count(";") == 2499
        assert len(heap.stacks()[0].frames) == 2500


def test_stacks_are_those_of_the_last_allocations(store: Store) -> None:
    app, load = Frame("main", "/srv/app.py", 10, 96), Frame("Loader.read", "/srv/lib/load.py", 33, 120)
    assert heap_at(store, "mark:before").stacks() == [
        StackSegment(1, "MainThread", 216, False, 1, 2, [app, load]),
        StackSegment(2, "worker", 216, False, 2, 1, [app, load]),
    ]
    assert heap_at(store, "seq:1").stacks() == [StackSegment(1, "MainThread", 216, True, 1, 0, [app, load])]
    assert [segment.thread for segment in heap_at(store, "end").stacks()] == ["worker", "MainThread"]


def test_stacks_at_a_mark_and_after_it(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    waits, works = build.stack(("a.py", "wait", 1)), build.stack(("a.py", "work", 2), ("b.py", "step", 3))
    gone, stays = build.thread("gone"), build.thread("stays")
    build.allocate(1, stack=works, thread=gone)  # seq 1
    build.allocate(1, stack=works, thread=stays)  # seq 2
    build.mark("warm", stacks={1: 0, stays: waits})  # seq 3
    build.allocate(1, stack=works)  # seq 4
    path = traces.write_log(tmp_path / "a.tkt", build.finish())

    def stacks(store: Store, moment: str) -> list[tuple[str, int, bool, int]]:
        found = heap_at(store, moment).stacks()
        return [(segment.thread, len(segment.frames), segment.exact, segment.seq) for segment in found]

    with open_store(path, cache=False) as store:
        assert stacks(store, "seq:2") == [("gone", 2, False, 1), ("stays", 2, True, 2)]
        assert stacks(store, "mark:warm") == [("stays", 1, True, 3), ("MainThread", 0, True, 3)]
        assert stacks(store, "end") == [("MainThread", 2, False, 4), ("stays", 1, False, 3)]


def test_last_allocations_far_back(tmp_path: Path) -> None:
    """Further than the first windows: a thread that has slept since, one that begins later."""
    build = traces.TraceBuilder()
    sleeps, later = build.thread("sleeps"), build.thread("later")
    build.allocate(1, thread=sleeps, stack=build.stack(("a.py", "sleep", 1)))
    for _ in range(200):
        build.free(build.allocate(1, stack=build.stack(("a.py", "work", 2))))
    middle = build.next_seq - 1
    build.allocate(1, thread=later)
    path = traces.write_log(tmp_path / "a.tkt", build.finish())
    with open_store(path, cache=False) as store, mock.patch.object(stacks, "_WINDOWS", (2, 10, 50)):
        found = heap_at(store, f"seq:{middle}").stacks()
        assert [(segment.thread, segment.seq) for segment in found] == [
            ("MainThread", middle - 1),
            ("sleeps", 1),
        ]


@pytest.mark.parametrize(
    ("file", "module"),
    [
        ("/usr/lib/python3.11/json/__init__.py", "json"),
        ("/usr/lib64/python3.13t/email/mime/text.py", "email.mime.text"),
        ("/opt/venv/lib/python3.12/site-packages/django/db/models/base.py", "django.db.models.base"),
        ("/usr/lib/python3/dist-packages/yaml/loader.py", "yaml.loader"),
        ("/usr/lib/python311.zip/ast.pyc", "ast"),
        ("python/lib/python3.11/ast.py", "ast"),
        ("/srv/app/jobs/__init__.py", "jobs"),
        ("/srv/app/run.py", "run"),
        ("/srv/application/run.py", "/srv/application/run.py"),
        ("./run.py", "run"),
        ("pkg/mod.py", "pkg.mod"),
        ("../run.py", "../run.py"),
        ("/somewhere/else.py", "/somewhere/else.py"),
        ("<frozen importlib._bootstrap>", "importlib._bootstrap"),
        ("<string>", "<string>"),
        ("<frozen >", "<frozen >"),
        ("/srv/app/template.html", "/srv/app/template.html"),
        ("", ""),
    ],
)
def test_module_names(store: Store, file: str, module: str) -> None:
    assert list(store.query("SELECT module_name(?, '/srv/app')", [file]).rows()) == [(module,)]
    assert list(store.query("SELECT module_name('/a/b.py', '/')").rows()) == [("/a/b.py",)]


def test_ranges_of_sizes_and_ages(tmp_path: Path) -> None:
    sizes = {0: "< 16 B", 15: "< 16 B", 16: "16 B to 32 B", 600: "512 B to 1 KiB", 1024: "1 KiB to 2 KiB"}
    sizes |= {(1 << 20) - 1: "512 KiB to 1 MiB", 1 << 40: "1 TiB to 2 TiB", 1 << 50: "1 PiB to 2 PiB"}
    ages = {0: "< 1 ms", 10**6: "1 ms to 10 ms", 6 * 10**10: "1 min to 10 min", 36 * 10**12: "10 h and more"}
    build = traces.TraceBuilder()
    for age in sorted(ages, reverse=True):
        build.now = 36 * 10**12 - age
        build.allocate(1)
    for size in sizes:
        build.free(build.allocate(size, domain=Domain.RAW))
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        for number, (size, text) in enumerate(sizes.items()):
            groups = heap_at(store, f"seq:{len(ages) + 1 + 2 * number}").by("size_class")
            assert Group(text, size, 1) in groups
        assert [group.key for group in heap_at(store, "end").by("age")] == list(ages.values())


def test_size_classes_end_where_the_object_allocator_does(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    for size in (0, 16, 17, 512, 513):
        build.allocate(size)
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        assert heap_at(store, "end").by("size_class") == [
            Group("512 B to 1 KiB", 513, 1),
            Group("512 B (pymalloc)", 512, 1),
            Group("32 B (pymalloc)", 17, 1),
            Group("16 B (pymalloc)", 16, 2),
        ]


def test_blocks_as_a_relation(store: Store) -> None:
    blocks = heap_at(store, "mark:after").blocks()
    assert blocks.columns[:4] == ["alloc_seq", "free_seq", "allocated_ns", "age_ns"]
    found = blocks.filter("thread = 'worker'").project("size, type, module, function, free_seq").fetchall()
    assert found == [(70, "app.Row", "lib.load", "Loader.read", 10)]
    assert sum(blocks.fetchnumpy()["size"].tolist()) == 208
    assert blocks.aggregate("count(*)").fetchall() == blocks.aggregate("count(*)").fetchall() == [(5,)]


def test_blocks_offer_arrow_without_pyarrow(store: Store) -> None:
    blocks = heap_at(store, "mark:after").blocks()
    capsule = blocks.__arrow_c_stream__()
    assert type(capsule).__name__ == "PyCapsule"
    assert "arrow_array_stream" in repr(capsule)
    assert "pyarrow" not in sys.modules


def test_relations_end_with_their_store(tmp_path: Path) -> None:
    with open_store(traces.write_log(tmp_path / "a.tkt", traces.random_trace(1, 50)), cache=False) as store:
        blocks = heap_at(store, "end").blocks()
        assert len(blocks.fetchall()) == heap_at(store, "end").total_blocks > 0
        for sql in ("SELECT 1; SELECT 2", "", "CREATE TABLE x (i INT)", "FROM nowhere"):
            with pytest.raises(SqlError):
                store.relation(sql)
    with pytest.raises(duckdb.Error):
        blocks.fetchall()


def test_threads_that_have_ended_are_left_out(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    worker = build.thread("worker")
    end = ("/usr/lib/python3.11/threading.py", "Thread._bootstrap_inner", 1049)
    own = build.stack(end, ("/srv/mine.py", "Thread._delete", 7))
    last = build.stack(end, ("/usr/lib/python3.11/threading.py", "Thread._delete", 1081))
    build.allocate(1, thread=worker, stack=own)  # seq 1
    build.mark("here")  # seq 2
    build.allocate(1, thread=worker, stack=last)  # seq 3
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        threads = {
            moment: [segment.thread for segment in heap_at(store, moment).stacks()]
            for moment in ("seq:2", "seq:3", "end")
        }
    assert threads == {"seq:2": ["worker"], "seq:3": ["worker"], "end": []}


def test_an_engine_that_does_not_keep_the_order_is_exact_at_marks_alone(tmp_path: Path) -> None:
    known = traces.sample_capabilities(exact_order=False)
    build = traces.TraceBuilder(traces.sample_header(engine="portable", capabilities=known))
    build.allocate(1, stack=build.stack(("a.py", "f", 1)))  # seq 1
    build.mark("here", stacks={1: 0})  # seq 2
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        exact = [heap_at(store, moment).stacks()[0].exact for moment in ("seq:1", "mark:here", "end")]
    assert exact == [False, True, False]
