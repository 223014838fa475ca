"""Two recordings of one program, before and after it was edited."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import traces

from tracekit.errors import UsageError
from tracekit.replay.difference import StatusTotal
from tracekit.replay.moment import resolve_moment
from tracekit.replay.recordings import Place, RecordingDifference, recordings_difference
from tracekit.store.database import Store
from tracekit.store.opening import open_store

Source = dict[tuple[str, str], dict[int, tuple[str | None, int]]]
"""By file and function, of each line: its text and the bytes that are alive there (0: freed again)."""


def write(path: Path, source: Source, cwd: str = "/srv/app", unknown: int = 0) -> Path:
    build = traces.TraceBuilder(traces.sample_header(cwd=cwd))
    for (file, function), lines in source.items():
        build.code(file, function, first_line=min(lines))
        for line, (text, size) in lines.items():
            block = build.allocate(size or 1, stack=build.stack((file, function, line)))
            if not size:
                build.free(block)
            if text is not None:
                build.source_line(build.code(file, function), line, text)
    if unknown:
        build.allocate(unknown)
    return traces.write_log(path, build.finish())


@contextmanager
def stores(folder: Path, old: Source, new: Source, **options: str) -> Iterator[tuple[Store, Store]]:
    with ExitStack() as stack:
        first = write(folder / "old.tkt", old)
        second = write(folder / "new.tkt", new, **options)  # type: ignore[arg-type]
        yield (
            stack.enter_context(open_store(first, cache=False)),
            stack.enter_context(open_store(second, cache=False)),
        )


def compare(folder: Path, old: Source, new: Source, by: str = "site", **options: str) -> RecordingDifference:
    with stores(folder, old, new, **options) as (a, b):
        return recordings_difference(a, b, resolve_moment(a, "end"), resolve_moment(b, "end"), by=by)


def short(found: RecordingDifference) -> list[tuple[str, str, int, int]]:
    return [(change.key, change.status, change.bytes_before, change.bytes_after) for change in found.groups]


APP: Source = {
    ("/srv/app/a.py", "f"): {10: ("x = []", 100), 11: ("x.append(y)", 200)},
    ("/srv/app/a.py", "g"): {20: ("return 1", 300)},
}


def test_lines_that_moved_are_the_same(tmp_path: Path) -> None:
    new: Source = {
        ("/srv/app/a.py", "f"): {12: ("x = []", 100), 13: ("log(x)", 50), 14: ("x.append(y)", 260)},
        ("/srv/app/a.py", "g"): {30: ("return 1", 300)},
    }
    found = compare(tmp_path, APP, new)
    assert short(found) == [
        ("/srv/app/a.py:14 (f)", "grown", 200, 260),
        ("/srv/app/a.py:13 (f)", "new", 0, 50),
    ]
    assert found.groups[0].old == Place("/srv/app/a.py", "f", 11, "x.append(y)")
    assert found.groups[0].new == Place("/srv/app/a.py", "f", 14, "x.append(y)")
    assert (found.groups[1].old, found.groups[1].edited) == (None, False)
    assert (found.total_bytes, found.total_blocks, found.unchanged, found.untold_bytes) == (110, 1, 2, 0)
    assert (found.old.total_bytes, found.new.total_bytes, found.new.total_blocks) == (600, 710, 4)
    assert found.statuses["new"] == StatusTotal(1, 50, 1)
    assert found.statuses["grown"] == StatusTotal(1, 60, 0)


def test_the_program_in_another_folder(tmp_path: Path) -> None:
    new: Source = {(file.replace("/srv", "/home/me"), name): lines for (file, name), lines in APP.items()}
    found = compare(tmp_path, APP, new, cwd="/home/me/app")
    assert (found.groups, found.unchanged) == ([], 3)
    for by, count in (("function", 2), ("file", 1)):
        found = compare(tmp_path, APP, new, by, cwd="/home/me/app")
        assert (found.groups, found.unchanged) == ([], count)


def test_which_of_equal_lines_holds_something_is_told_by_all_lines(tmp_path: Path) -> None:
    old: Source = {("a.py", "f"): {1: ("x()", 0), 2: ("y()", 0), 3: ("x()", 70)}}
    new: Source = {("a.py", "f"): {1: ("x()", 70), 2: ("y()", 0), 3: ("x()", 0)}}
    assert short(compare(tmp_path, old, new)) == [("a.py:1 (f)", "new", 0, 70), ("a.py:3 (f)", "gone", 70, 0)]
    assert compare(tmp_path, old, old).groups == []


def test_an_edited_line(tmp_path: Path) -> None:
    new: Source = {**APP, ("/srv/app/a.py", "g"): {21: ("return 2", 400)}}
    (change,) = compare(tmp_path, APP, new).groups
    assert (change.key, change.status, change.bytes, change.edited) == (
        "/srv/app/a.py:21 (g)",
        "grown",
        100,
        True,
    )
    assert (change.old, change.new) == (
        Place("/srv/app/a.py", "g", 20, "return 1"),
        Place("/srv/app/a.py", "g", 21, "return 2"),
    )
    two: Source = {**APP, ("/srv/app/a.py", "g"): {21: ("return 2", 400), 22: ("return 3", 5)}}
    assert short(compare(tmp_path, APP, two)) == [
        ("/srv/app/a.py:21 (g)", "new", 0, 400),
        ("/srv/app/a.py:22 (g)", "new", 0, 5),
        ("/srv/app/a.py:20 (g)", "gone", 300, 0),
    ]


def test_a_line_that_is_still_there_is_not_the_edited_one(tmp_path: Path) -> None:
    new: Source = {("/srv/app/a.py", "g"): {20: ("return 1", 0), 21: ("return 2", 400)}}
    assert short(compare(tmp_path, {**APP}, {**APP, **new})) == [
        ("/srv/app/a.py:21 (g)", "new", 0, 400),
        ("/srv/app/a.py:20 (g)", "gone", 300, 0),
    ]


def test_without_source_text(tmp_path: Path) -> None:
    silent: Source = {
        name: {line + 5: (None, size) for line, (_, size) in lines.items()} for name, lines in APP.items()
    }
    found = compare(tmp_path, APP, silent)
    assert (found.groups, found.unchanged, found.untold_bytes) == ([], 3, 1200)
    assert compare(tmp_path, silent, silent).untold_bytes == 0  # nothing moved
    name = ("/srv/app/a.py", "f")
    inserted: Source = {**APP, name: {10: ("x = []", 100), 12: (None, 200)}}
    (change,) = compare(tmp_path, APP, {**inserted, name: {**inserted[name], 13: ("more()", 1)}}).groups[:1]
    assert (change.key, change.status, change.edited) == ("/srv/app/a.py:12 (f)", "new", False)
    found = compare(tmp_path, APP, inserted)
    assert (found.groups, found.untold_bytes) == ([], 600)


def test_blocks_without_a_place(tmp_path: Path) -> None:
    path = [write(tmp_path / f"{size}.tkt", APP, unknown=size) for size in (30, 40)]
    with open_store(path[0], cache=False) as a, open_store(path[1], cache=False) as b:
        for by in ("site", "function", "file", "stack"):
            moments = resolve_moment(a, "end"), resolve_moment(b, "end")
            found = recordings_difference(a, b, *moments, by=by)
            assert short(found) == [("<unknown>", "grown", 30, 40)]


@pytest.mark.parametrize("by", ["function", "file", "stack", "type", "thread", "domain"])
def test_other_groupings(tmp_path: Path, by: str) -> None:
    new: Source = {**APP, ("b.py", "h"): {1: ("z", 7)}}
    found = compare(tmp_path, APP, new, by)
    keys = {"function": "h (b.py)", "file": "b.py", "stack": "h (b.py:1)"}
    if by in keys:
        assert short(found) == [(keys[by], "new", 0, 7)]
    else:
        assert [(change.status, change.bytes, change.old) for change in found.groups] == [("grown", 7, None)]
    assert (found.total_bytes, found.total_blocks) == (7, 1)
    back = compare(tmp_path, new, APP, by)
    assert [change.bytes for change in back.groups] == [-7]


def test_text_that_comes_twice_counts_nothing_twice(tmp_path: Path) -> None:
    build = traces.TraceBuilder(traces.sample_header())
    build.allocate(100, stack=build.stack(("a.py", "f", 3)))
    for text in ("x", "x", "y"):
        build.source_line(build.code("a.py", "f"), 3, text)
    path = traces.write_log(tmp_path / "a.tkt", build.finish())
    with open_store(path, cache=False) as store:
        end = resolve_moment(store, "end")
        found = recordings_difference(store, store, resolve_moment(store, "start"), end)
    assert short(found) == [("a.py:3 (f)", "new", 0, 100)]
    assert found.groups[0].new == Place("a.py", "f", 3, "x")


def test_limits(tmp_path: Path) -> None:
    with stores(tmp_path, APP, {}) as (a, b):
        moments = resolve_moment(a, "peak"), resolve_moment(b, "end")
        found = recordings_difference(a, b, *moments, limit=2)
        assert [change.key for change in found.groups] == ["/srv/app/a.py:10 (f)", "/srv/app/a.py:11 (f)"]
        assert (found.total_bytes, found.statuses["gone"].groups) == (-600, 3)
        with pytest.raises(UsageError, match="-1 groups"):
            recordings_difference(a, b, *moments, limit=-1)
        with pytest.raises(UsageError, match="'colour'"):
            recordings_difference(a, b, *moments, by="colour")
