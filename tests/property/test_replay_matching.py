"""Lines and files of two versions of a program find each other."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tracekit.replay import matching
from tracekit.replay.matching import Line, match_files, match_lines

TEXTS = st.lists(st.sampled_from("abcdefgh"), max_size=30)


def lines(texts: list[str], first: int = 1, known: bool = True) -> list[Line]:
    return [Line(first + at, at, text if known else None) for at, text in enumerate(texts)]


def by_index(old: list[str], new: list[str]) -> dict[int, int]:
    return {a - 1: b - 100 for a, b in match_lines(lines(old), lines(new, 100)).items()}


@given(old=TEXTS, new=TEXTS)
def test_only_equal_lines_match_and_as_many_as_can(old: list[str], new: list[str]) -> None:
    found = by_index(old, new)
    assert all(old[a] == new[b] for a, b in found.items())
    assert len(set(found.values())) == len(found) == (Counter(old) & Counter(new)).total()


@given(text=TEXTS, data=st.data())
def test_insertion_and_movement_lose_no_line(text: list[str], data: st.DataObject) -> None:
    inserted = data.draw(st.lists(st.tuples(st.integers(0, len(text)), st.sampled_from("xyz")), max_size=9))
    new = list(text)
    for place, line in sorted(inserted, reverse=True):
        new.insert(place, line)
    found = by_index(text, new)
    # Every old line is where it went: what was inserted is of no other text.
    assert [found[at] for at in range(len(text))] == [at for at, line in enumerate(new) if line not in "xyz"]
    shuffled = data.draw(st.permutations(text))
    assert sorted(by_index(text, shuffled)) == list(range(len(text)))


@given(text=TEXTS, changed=st.integers(0, 29))
def test_lines_around_a_change_stay(text: list[str], changed: int) -> None:
    new = list(text)
    if changed < len(new):
        new[changed] = "changed"
    assert by_index(text, new) == {at: at for at in range(len(text)) if at != changed}


@given(old=TEXTS, new=TEXTS)
def test_too_many_equal_lines_match_in_order(old: list[str], new: list[str]) -> None:
    before = matching.MOST_PAIRS
    matching.MOST_PAIRS = 0  # type: ignore[misc]
    try:
        found = by_index(old, new)
    finally:
        matching.MOST_PAIRS = before  # type: ignore[misc]
    assert all(old[a] == new[b] for a, b in found.items())
    assert len(found) == (Counter(old) & Counter(new)).total()


def test_of_equal_lines_those_with_equal_neighbours_match() -> None:
    assert by_index(["a", "x", "b", "x", "c"], ["b", "x", "c", "a"]) == {2: 0, 3: 1, 4: 2, 0: 3}
    assert by_index(["x", "a"], ["x", "x", "a"]) in ({0: 0, 1: 2}, {0: 1, 1: 2})


@pytest.mark.parametrize("without", ["old", "new", "both"])
def test_without_text_lines_match_by_their_distance(without: str) -> None:
    old = [Line(10, 0, "a"), Line(12, 2, "b"), Line(13, 3, "c")]
    new = [Line(20, 0, "c"), Line(23, 3, "b"), Line(24, 4, "a")]
    if without != "new":
        old[1] = Line(12, 2)
    if without != "old":
        new[0] = Line(20, 0)
    assert match_lines(old, new) == {10: 20, 13: 23}


def test_nothing_matches_nothing() -> None:
    assert match_lines([], []) == match_lines([], lines(["a"])) == match_lines(lines(["a"]), []) == {}
    assert match_files([], []) == match_files(["a.py"], []) == match_files([], ["a.py"]) == {}


@given(names=st.lists(st.text("ab/.", max_size=6), max_size=9, unique=True), data=st.data())
def test_every_file_that_is_still_there_is_itself(names: list[str], data: st.DataObject) -> None:
    others = data.draw(st.lists(st.text("ab/.", max_size=6), max_size=9, unique=True))
    found = match_files(names, others, old_folder="/a", new_folder="/b")
    assert {name: found[name] for name in names if name in others} == {n: n for n in names if n in others}
    assert len(set(found.values())) == len(found)
    assert found.keys() <= set(names)
    assert set(found.values()) <= set(others)


@pytest.mark.parametrize(
    ("old", "new", "folders", "found"),
    [
        # another checkout
        (["/a/app.py", "/a/lib/app.py"], ["/b/lib/app.py", "/b/app.py"], ("/a", "/b"), {0: 1, 1: 0}),
        (["/a/app.py"], ["app.py"], ("/a", "/b"), {0: 0}),
        (["./app.py"], ["/b/app.py"], ("/a", "/b"), {0: 0}),
        # another Python
        (["/usr/lib/python3.11/json/decoder.py"], ["/opt/lib/python3.12/json/decoder.py"], ("", ""), {0: 0}),
        (
            ["/v/lib/python3.11/site-packages/a/b.py"],
            ["/w/lib64/python3.13t/site-packages/a/b.py", "/w/lib/python3.13/a/b.py"],
            ("", ""),
            {0: 0},
        ),
        # neither folder is known: the longest end in common
        (["/x/one/util.py", "/x/two/util.py"], ["/y/two/util.py", "/y/one/util.py"], ("", ""), {0: 1, 1: 0}),
        (["/x/app.py"], ["/y/app.py"], ("", ""), {0: 0}),
        (["/x/app.py"], ["/y/app.py", "/z/app.py"], ("", ""), {}),
        (["/x/p/app.py"], ["/y/p/app.py", "/z/p/app.py"], ("", ""), {}),
        (["/x/p/__init__.py"], ["/y/q/__init__.py"], ("", ""), {}),
        (["/x/p/__init__.py"], ["/y/p/__init__.py"], ("", ""), {0: 0}),
        (["<string>", "<frozen os>"], ["<stdin>", "<frozen os>"], ("/", "/"), {1: 1}),
    ],
)
def test_files(old: list[str], new: list[str], folders: tuple[str, str], found: dict[int, int]) -> None:
    matched = match_files(old, new, old_folder=folders[0], new_folder=folders[1])
    assert matched == {old[a]: new[b] for a, b in found.items()}


def test_too_many_files_of_one_name_are_left_alone() -> None:
    old = [f"/x/{number}/a.py" for number in range(matching.MOST_NAMESAKES + 1)]
    assert match_files(old, [name.replace("x", "y") for name in old]) == {}
    old.pop()
    assert len(match_files(old, [name.replace("x", "y") for name in old])) == len(old)
