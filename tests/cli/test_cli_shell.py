"""The shell: statements are cut where SQL ends them, and nothing that is typed ends it but leaving."""

from __future__ import annotations

import contextlib
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from fcntl import ioctl
from pathlib import Path
from typing import Any, cast

import pytest
from cli_support import PROGRAM, Cli, environment
from hypothesis import given
from hypothesis import strategies as st

from tracekit.cli.shell import Shell
from tracekit.store.statements import is_blank, split_statements


@pytest.mark.parametrize(
    ("text", "statements", "rest"),
    [
        ("SELECT 1;", ["SELECT 1"], ""),
        ("SELECT 1; SELECT 2;\n", ["SELECT 1", "SELECT 2"], "\n"),
        ("SELECT 1", [], "SELECT 1"),
        ("SELECT ';';", ["SELECT ';'"], ""),
        ("SELECT 'it''s;';", ["SELECT 'it''s;'"], ""),
        ('SELECT ";" FROM t;', ['SELECT ";" FROM t'], ""),
        ("SELECT 1 -- ; not here\n;", ["SELECT 1 -- ; not here"], ""),
        ("SELECT /* ; */ 1;", ["SELECT /* ; */ 1"], ""),
        ("SELECT $$ ; $$;", ["SELECT $$ ; $$"], ""),
        ("SELECT $a$ ; $$ ; $a$;", ["SELECT $a$ ; $$ ; $a$"], ""),
        ("SELECT 'open; ", [], "SELECT 'open; "),
        (";;  ;", [], ""),
        ("-- only this\n;", [], ""),
    ],
)
def test_statements(text: str, statements: list[str], rest: str) -> None:
    assert split_statements(text) == (statements, rest)


@given(
    st.lists(
        st.sampled_from(["SELECT 1", "'a;b'", '"c;d"', "/* ; */ x", "$$;$$", "y"]), min_size=1, max_size=6
    )
)
def test_statements_are_found_however_they_are_quoted(parts: list[str]) -> None:
    assert split_statements(";".join(parts) + ";") == (parts, "")


def test_blank() -> None:
    assert is_blank(" \n-- nothing\n/* here */")
    assert not is_blank("-- a comment\nSELECT 1")


def test_piped_statements(cli: Cli, log: Path) -> None:
    answer = cli("shell", log, "--format", "csv", stdin="SELECT 1 AS a;\nSELECT\n 2 AS b\n;SELECT 3 AS c")
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == "a\n1\nb\n2\nc\n3\n"


def test_errors_do_not_end_it(cli: Cli, log: Path) -> None:
    answer = cli("shell", log, "--format", "csv", stdin="SELEC;\n.nonsense\n.mode xml\nSELECT 1 AS a;\n")
    assert answer.status == 1
    assert answer.out == "a\n1\n"
    assert "error[sql]" in answer.err
    assert "there is no .nonsense" in answer.err
    assert "error[usage]: .mode cannot be 'xml'" in answer.err
    assert "LINE 1: SELEC" in answer.err


def test_dot_commands(cli: Cli, log: Path) -> None:
    out = cli("shell", log, stdin=".tables\n").out
    for name in ("allocations", "sites", "heap_at"):
        assert name in out
    out = cli("shell", log, stdin=".schema marks\n").out
    assert "time_ns" in out
    assert "address" not in out
    assert "freed_by" in cli("shell", log, stdin=".schema\n").out
    assert cli("shell", log, stdin=".mode\n.mode jsonl\nSELECT 1 AS a;\n").out == 'table\n{"a": 1}\n'
    assert ".quit" in cli("shell", log, stdin=".help\n").out
    assert cli("shell", log, stdin=".quit\nSELECT 1;\n").out == ""


def read_until(terminal: int, wanted: bytes, *, after: bytes = b"", seconds: float = 240.0) -> None:
    """Read what a program writes to a terminal until a text comes, behind another one if that is given."""
    seen = b""
    deadline = time.monotonic() + seconds
    while wanted not in seen.partition(after)[2] if after else wanted not in seen:
        assert time.monotonic() < deadline, seen
        if select.select([terminal], [], [], 0.1)[0]:
            seen += os.read(terminal, 4096)


def interrupt(shell: subprocess.Popen[bytes], terminal: int) -> None:
    """Press Ctrl-C until a new prompt shows that it was noticed.

    One that comes right behind the prompt, before readline waits for a key, is only noticed with the next.
    """
    for _ in range(20):
        shell.send_signal(signal.SIGINT)
        with contextlib.suppress(AssertionError):
            return read_until(terminal, b"tracekit>", seconds=1.5)
    raise AssertionError("Ctrl-C does not end the input of a query")


@pytest.mark.parametrize("kind", ["dumb", "xterm"])
def test_on_a_terminal(log: Path, tmp_path: Path, kind: str) -> None:
    ours, theirs = pty.openpty()
    ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = environment(XDG_STATE_HOME=str(tmp_path / "state"), TERM=kind, PROMPT_TOOLKIT_NO_CPR="1")
    shell = subprocess.Popen(
        [*PROGRAM, "shell", str(log)], stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    try:
        read_until(ours, b"tracekit>")
        os.write(ours, b"SELECT 40 +\n")
        read_until(ours, b"...>")
        os.write(ours, b"2;\n")
        read_until(ours, b"tracekit>", after=b"42")
        os.write(ours, b"SELECT 1 +\n")
        read_until(ours, b"...>")
        interrupt(shell, ours)
        os.write(ours, b"\x04")
        assert shell.wait(240) == 0
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
    history = tmp_path / "state" / "tracekit" / "shell_history"
    assert history.exists() == (kind == "xterm")
    assert kind == "dumb" or "+SELECT 40 +\n+2;" in history.read_text()


def test_no_history_without_a_terminal(
    cli: Cli, log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    cli("shell", log, stdin="SELECT 1;\n")
    assert not (tmp_path / "state").exists()


class RaisingStore:
    """A store whose queries end in an exception."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def query(self, *_: object) -> None:
        raise self.error


def test_interrupted_query_does_not_end_it(capsys: pytest.CaptureFixture[str]) -> None:
    shell = Shell(cast("Any", RaisingStore(RuntimeError("Query interrupted"))), "table")
    assert shell.run("SELECT 1")
    assert shell.failures == 1
    assert capsys.readouterr().err == "tracekit: interrupted\n"


def test_a_bug_is_not_hidden() -> None:
    shell = Shell(cast("Any", RaisingStore(RuntimeError("a bug"))), "table")
    with pytest.raises(RuntimeError, match="a bug"):
        shell.run("SELECT 1")
