"""Which source text is taken, from which files, and when."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from tracekit.events import Code, SourceLine, Stack
from tracekit.record import sources as sources_module
from tracekit.record.process import started_ns
from tracekit.record.sources import MOST_CHARACTERS, Sources

LATER = 1 << 62


def reader(cwd: Path | str = "", before_ns: int = LATER, *, fresh: bool = False) -> Sources:
    sources = Sources()
    sources.begin(str(cwd), before_ns, fresh=fresh)
    return sources


def texts(sources: Sources, filename: str, *lines: int, qualname: str = "f") -> dict[int, str]:
    """The text of lines of a file, all of which are read."""
    stacks = [Stack(number, number - 1, 1, line) for number, line in enumerate(lines, 1)]
    sources.refer_stacks([Code(1, filename, qualname, 1, 0)], stacks)
    assert not sources.read(time.monotonic() + 60)
    return {found.line: found.text for found in sources.take(all_of_them=True)}


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_lines_end_as_python_has_them(tmp_path: Path, end: bytes) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(
        end.join([b"one = 1", b"\tif x:\x0c ", b"", b"  last(\xc3\xa9) # \xe2\x80\xa8 \x1c here"])
    )
    found = texts(reader(), str(file), -1, 0, 1, 2, 3, 4, 5)
    assert found == {1: "one = 1", 2: "if x:", 4: "last(\u00e9) # \u2028 \x1c here"}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"\xef\xbb\xbfx = '\xc3\xa9'", "x = '\u00e9'"),
        (b"x = '\xe9'", "x = '\\xe9'"),
        (b"x = '\xe9' # -*- coding: latin-1 -*-", "x = '\\xe9' # -*- coding: latin-1 -*-"),
        (b"# vim: set fileencoding=cp1252 :\nx = '\x80'", "x = '\u20ac'"),
        (b"#!/bin/python\n# coding: latin-1\nx = '\xe9'", "x = '\u00e9'"),
        (b"x = 1\n# coding: latin-1\nx = '\xe9'", "x = '\\xe9'"),
        (b"# coding: no-such-thing\nx = '\xe9'", ""),
        (b"# coding: rot13\nx = '\xe9'", ""),
        (b"# coding: punycode\nx = '\xe9'", ""),
        (b"# coding: no-such-thing\nx = 1", "x = 1"),
    ],
)
def test_encodings(tmp_path: Path, content: bytes, expected: str) -> None:
    file = tmp_path / "a.py"
    file.write_bytes(content)
    last = content.count(b"\n") + 1
    assert texts(reader(), str(file), last).get(last, "") == expected


def test_long_lines_are_cut(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    lines = (" " * 999 + "x" * 201, "\U0001f600" * 201, "y" * 200)
    file.write_text("\n".join(lines), encoding="utf-8")
    assert texts(reader(), str(file), 1, 2, 3) == {
        1: "x" * MOST_CHARACTERS,
        2: "\U0001f600" * MOST_CHARACTERS,
        3: "y" * MOST_CHARACTERS,
    }


def test_relative_names_start_where_the_program_did(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("here")
    assert texts(reader(tmp_path), "a.py", 1) == {1: "here"}
    assert texts(reader(tmp_path / "b"), "../a.py", 1) == {}
    assert texts(reader(""), "a.py", 1) == {}


@pytest.mark.parametrize(
    "filename",
    ["", "<string>", "<frozen importlib._bootstrap>", "a\0b", "\ud800", "/", "/dev/zero", "app.zip/a.py"],
)
def test_what_is_no_file_goes_without(tmp_path: Path, filename: str) -> None:
    (tmp_path / "<string>").write_text("wrong")
    (tmp_path / "app.zip").write_text("wrong")
    assert texts(reader(tmp_path), filename, 1) == {}


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    assert texts(reader(tmp_path), "pipe.py", 1) == {}


def test_large_files_go_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("four")
    monkeypatch.setattr(sources_module, "MOST_FILE_BYTES", 3)
    assert texts(reader(tmp_path), "a.py", 1) == {}
    monkeypatch.setattr(sources_module, "MOST_FILE_BYTES", 4)
    assert texts(reader(tmp_path), "a.py", 1) == {1: "four"}


def test_the_time_of_last_access_stays(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("here")
    os.utime(file, ns=(1, 2))
    assert texts(reader(), str(file), 1) == {1: "here"}
    assert file.stat().st_atime_ns == 1


def test_a_file_that_changed_since_goes_without(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("old")
    changed = file.stat().st_ctime_ns
    assert texts(reader(before_ns=changed), str(file), 1) == {1: "old"}
    assert texts(reader(before_ns=changed - 1), str(file), 1) == {}
    os.utime(file, ns=(0, 0))  # as if an older file had been put in its place
    assert texts(reader(before_ns=changed - 1), str(file), 1) == {}


def test_a_module_that_was_written_by_the_program(tmp_path: Path) -> None:
    file = tmp_path / "a.py"
    file.write_text("made")
    assert texts(reader(before_ns=0, fresh=True), str(file), 1, qualname="<module>") == {1: "made"}
    assert texts(reader(before_ns=0, fresh=True), str(file), 1) == {}
    assert texts(reader(before_ns=0), str(file), 1, qualname="<module>") == {}
    sources = reader(before_ns=0, fresh=True)
    sources.refer_stacks([Code(1, str(file), "<module>", 1, 0)], [])
    seen = time.time_ns()
    while file.stat().st_mtime_ns <= seen:
        file.write_text("edited")
    sources.refer_stacks([], [Stack(1, 0, 1, 1)])
    sources.read(time.monotonic() + 60)
    assert sources.take(all_of_them=True) == []


def test_each_line_of_each_code_comes_once(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("one\ntwo\n")
    sources = reader(tmp_path)
    codes = [Code(1, "a.py", "f", 1, 0), Code(2, "a.py", "g", 1, 0), Code(3, "gone.py", "h", 1, 0)]
    sources.refer(codes, np.array([[1, 0, 1, 1], [2, 0, 2, 1], [3, 0, 1, 1], [4, 0, 3, 1]], np.int32))
    sources.read(time.monotonic() + 60)
    sources.refer([], np.array([[5, 0, 1, 1], [6, 0, 1, 2], [7, 0, 9, 1]], np.int32))
    sources.read(time.monotonic() + 60)
    assert sources.take(all_of_them=True) == [
        SourceLine(1, 1, "one"),
        SourceLine(2, 1, "one"),
        SourceLine(1, 2, "two"),
    ]


def test_a_file_at_a_time(tmp_path: Path) -> None:
    sources = reader(tmp_path)
    for number in (1, 2, 3):
        (tmp_path / f"{number}.py").write_text("x")
        sources.refer([Code(number, f"{number}.py", "f", 1, 0)], np.array([[number, 0, number, 1]], np.int32))
    assert [sources.read(0.0) for _ in range(4)] == [True, True, False, False]
    assert len(sources.take(all_of_them=True)) == 3


def test_few_texts_wait_for_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("x\ny\n")
    monkeypatch.setattr(sources_module, "WRITE_SECONDS", 3600.0)
    sources = reader(tmp_path)
    sources.refer([Code(1, "a.py", "f", 1, 0)], np.array([[1, 0, 1, 1], [2, 0, 1, 2]], np.int32))
    sources.read(0.0)
    assert sources.take() == []
    monkeypatch.setattr(sources_module, "WRITE_FROM", 2)
    assert len(sources.take()) == 2
    assert sources.take() == sources.take(all_of_them=True) == []


def test_so_many_lines_and_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.py").write_text("x\ny\n")
    monkeypatch.setattr(sources_module, "MOST_LINES", 1)
    sources = reader(tmp_path)
    sources.refer([Code(1, "a.py", "f", 1, 0)], np.array([[1, 0, 1, 1]], np.int32))
    sources.refer([], np.array([[2, 0, 1, 2]], np.int32))
    sources.read(0.0)
    assert sources.take(all_of_them=True) == [SourceLine(1, 1, "x")]


def test_when_a_process_began(tmp_path: Path) -> None:
    began = started_ns(os.getpid())
    assert 0 < began < time.time_ns()
    assert began > (tmp_path.parent.stat().st_mtime_ns - 365 * 86400 * 10**9)
    assert started_ns(2**30) == 0
