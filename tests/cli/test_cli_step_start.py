"""`tracekit step`: what it needs to start, what it says when it cannot, and a run on a real terminal."""

from __future__ import annotations

import os
import pty
import select
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import pytest
import traces
from cli_support import PROGRAM, Cli, environment, make_log
from processes import running

from tracekit.cli import step
from tracekit.cli.stepping.sources import Sources


def test_source_is_read_from_files_that_are_older_than_the_recording(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text("import os\n  x = 1\n")
    written = file.stat().st_mtime_ns
    older = traces.sample_header(cwd=str(tmp_path), started_at_ns=written + 1)
    assert Sources(older).line(str(file), 2) == "x = 1"
    assert Sources(older).line("app.py", 1) == "import os"
    for name, line in [
        ("app.py", 9),
        ("app.py", 0),
        ("none.py", 1),
        ("<string>", 1),
        ("", 1),
        ("/", 1),
        ("\0", 1),
    ]:
        assert Sources(older).line(name, line) is None
    newer = traces.sample_header(cwd=str(tmp_path), started_at_ns=written)
    assert Sources(newer).line("app.py", 1) is None


def test_without_a_terminal(cli: Cli, log: Path) -> None:
    answer = cli("step", log, "--at", "seq:4")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("tracekit: error[usage]: step needs a terminal")
    assert f"tracekit replay {log} --at seq:4" in answer.err


@pytest.fixture
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(step, "_check_terminal", str)


@pytest.mark.usefixtures("on_a_terminal")
def test_without_textual(cli: Cli, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "textual", None)
    answer = cli("step", log)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("tracekit: error[extra-missing]: step needs Textual")
    assert "tracekit-memory[step]" in answer.err


@pytest.mark.usefixtures("on_a_terminal")
def test_what_cannot_be_shown(cli: Cli, tmp_path: Path, log: Path) -> None:
    empty = traces.write_log(tmp_path / "empty.tkt", traces.Trace(traces.sample_header(), [], []))
    cases: list[tuple[list[object], str]] = [
        ([empty], "moment-missing"),
        ([log, "--at", "mark:cold"], "moment-missing"),
        ([log, "--at", "soon"], "moment-syntax"),
        ([log, "--by", "colour"], "usage"),
        ([tmp_path / "none.tkt"], "file-missing"),
    ]
    for arguments, code in cases:
        answer = cli("step", *arguments)
        assert (answer.status, answer.out) == (2, "")
        assert answer.err.startswith(f"tracekit: error[{code}]: ")
        assert answer.err.count("\n") == 1


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """(our end, the program's end) of a terminal of 80 by 24."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    yield ours, theirs
    os.close(ours)


def test_on_a_real_terminal(tmp_path: Path, terminal: tuple[int, int]) -> None:
    ours, theirs = terminal
    log = make_log(tmp_path / "app.tkt")
    command = [*PROGRAM, "step", str(log), "--no-cache"]
    env = environment(TERM="xterm-256color")
    with running(command, stdin=theirs, stdout=theirs, stderr=theirs, env=env) as process:
        os.close(theirs)
        seen = b""
        while b"event 6 of" not in seen:
            seen += read(ours)
            assert process.poll() is None
        os.write(ours, b"q")
        while process.poll() is None:
            seen += read(ours)
    assert process.returncode == 0
    assert b"\x1b[?1049l" in seen + read(ours)  # the screen of before is back


def read(descriptor: int) -> bytes:
    """What a terminal has to say within a moment; nothing once it is closed."""
    if not select.select([descriptor], [], [], 0.1)[0]:
        return b""
    try:
        return os.read(descriptor, 65536)
    except OSError:
        return b""
