"""The prompt with editing, fed with keys, and the pager."""

from __future__ import annotations

import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from tracekit.cli import prompt
from tracekit.cli.completion import Catalogue
from tracekit.cli.pager import page, pager_command
from tracekit.cli.prompt import HISTORY_BYTES, editing, is_complete, statements
from tracekit.cli.shell import COMMANDS

Typing = Callable[..., list[str]]
PAUSE_S = 0.5
HUNG_S = 60
"""Behind a text that is not a statement Ctrl-D means nothing, and the prompt would be there for ever."""
CATALOGUE = Catalogue(tables={"sites": "view"}, columns={"sites": {"file": "VARCHAR"}})
CTRL_C, CTRL_D, UP, TAB = "\x03", "\x04", "\x1b[A", "\t"


@pytest.fixture
def history(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tracekit" / "shell_history"


@pytest.fixture
def typing(history: Path) -> Typing:
    """Types keys, with a pause between parts and Ctrl-D at the end; the statements that came of it."""

    def type_keys(*parts: str) -> list[str]:
        with create_pipe_input() as keyboard:
            *first, last = parts
            for number, keys in enumerate([*first, last + CTRL_D]):
                # Completions and history are looked up while the next keys are waited for.
                threading.Timer(PAUSE_S * number, keyboard.send_text, [keys]).start()
            end = threading.Timer(HUNG_S, keyboard.send_text, [CTRL_C + CTRL_D])
            end.start()
            try:
                read = editing(lambda: CATALOGUE, COMMANDS, history, input=keyboard, output=DummyOutput())
                typed = list(statements(read, interactive=True))
                assert end.is_alive(), f"the end of what was typed was not seen, only {typed}"
            finally:
                end.cancel()
            return typed

    return type_keys


def test_a_statement_ends_with_its_semicolon(typing: Typing) -> None:
    assert typing("SELECT 1;\r") == ["SELECT 1"]
    assert typing("SELECT\r 1\r;\r") == ["SELECT\n 1"]
    assert typing("SELECT ';'\r, 2;\r") == ["SELECT ';'\n, 2"]
    assert typing("SELECT 1; SELECT 2;\r") == ["SELECT 1", "SELECT 2"]
    assert typing("\r\r.tables\rSELECT 1;\r") == [".tables", "SELECT 1"]


def test_alt_enter_goes_on_behind_a_semicolon(typing: Typing) -> None:
    assert typing("SELECT 1;\x1b\rSELECT\r2;\r") == ["SELECT 1", "SELECT\n2"]


def test_ctrl_c_takes_back_what_was_typed(typing: Typing) -> None:
    assert typing(f"SELECT nonsense\r{CTRL_C}SELECT 1;\r") == ["SELECT 1"]


def test_tab_completes(typing: Typing) -> None:
    assert typing(f"FROM si{TAB}", ";\r") == ["FROM sites"]
    assert typing(f".tab{TAB}", "\r") == [".tables"]


def test_earlier_sessions_come_back(typing: Typing, history: Path) -> None:
    typing("SELECT 1\r + 1;\r")
    assert typing(f"{UP}\r") == ["SELECT 1\n + 1"]
    assert stat.S_IMODE(history.stat().st_mode) == 0o600


def test_history_does_not_grow_for_ever(typing: Typing, history: Path) -> None:
    history.parent.mkdir(parents=True)
    entry = "\n# 2026-01-01 00:00:00\n+SELECT 1234567890;\n"
    history.write_text(entry * (HISTORY_BYTES // len(entry) + 2))
    assert typing(f"{UP}\r") == ["SELECT 1234567890"]
    assert history.stat().st_size < HISTORY_BYTES * 0.6


def test_no_place_for_a_history(typing: Typing, history: Path) -> None:
    history.mkdir(parents=True)
    assert typing("SELECT 1;\r", f"{UP}\r") == ["SELECT 1", "SELECT 1"]


@pytest.mark.parametrize(
    ("text", "whole"),
    [
        ("", True),
        (".help", True),
        ("SELECT 1", False),
        ("SELECT 1;", True),
        ("SELECT ';", False),
        ("-- a", False),
    ],
)
def test_is_complete(text: str, whole: bool) -> None:
    assert is_complete(text) is whole or text.startswith("--")


def test_plain_input_on_a_dumb_terminal_or_without_prompt_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(sys, "stdout", Terminal())
    monkeypatch.setenv("TERM", "dumb")
    assert prompt.reader(lambda: CATALOGUE, COMMANDS) is prompt._plain_line
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setitem(sys.modules, "prompt_toolkit", None)
    assert prompt.reader(lambda: CATALOGUE, COMMANDS) is prompt._plain_line


def test_a_pipe_needs_no_prompt_toolkit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prompt, "editing", None)
    assert prompt.reader(lambda: CATALOGUE, COMMANDS) is not prompt._plain_line


@pytest.fixture
def paged(tmp_path: Path) -> Callable[..., str | None]:
    """Pages pieces on 5 lines of 10 columns: what the pager was given, None when it was not used."""

    def run(pieces: Iterator[str], script: str = "cat > {seen}") -> str | None:
        seen = tmp_path / "seen"
        seen.unlink(missing_ok=True)
        page(pieces, ["sh", "-c", script.format(seen=seen)], os.terminal_size((10, 5)))
        return seen.read_text() if seen.exists() else None

    return run


def test_what_fits_is_printed(paged: Callable[..., str | None], capsys: pytest.CaptureFixture[str]) -> None:
    assert paged(iter(["1\n", "2\n", "3\n", "4\n"])) is None
    assert capsys.readouterr().out == "1\n2\n3\n4\n"


def test_what_is_taller_goes_through_the_pager(
    paged: Callable[..., str | None], capsys: pytest.CaptureFixture[str]
) -> None:
    assert paged(iter(["1\n2\n", "3\n", "4\n", "5\n", "6\n"])) == "1\n2\n3\n4\n5\n6\n"
    assert paged(iter(["x" * 41 + "\n"])) == "x" * 41 + "\n"
    assert capsys.readouterr().out == ""


def test_a_pager_that_is_left_early_asks_for_no_more(paged: Callable[..., str | None]) -> None:
    taken = 0

    def rows() -> Iterator[str]:
        nonlocal taken
        for taken in range(10_000_000):
            yield f"{taken}\n"

    paged(rows(), "exit 0")
    assert taken < 1_000_000


def test_an_error_on_the_way_ends_the_pager(paged: Callable[..., str | None]) -> None:
    def rows() -> Iterator[str]:
        yield "1\n" * 10
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        paged(rows())


def test_a_pager_that_does_not_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page(iter(["1\n"] * 9), [str(tmp_path / "nothing")], os.terminal_size((10, 5)))
    assert capsys.readouterr().out == "1\n" * 9


def test_pager_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tracekit.cli.pager.shutil.which", lambda name: None if name == "missing" else name)
    assert pager_command({}) == ["less"]
    assert pager_command({"PAGER": "more -s"}) == ["more", "-s"]
    for none in ("", "cat", "missing", "'open"):
        assert pager_command({"PAGER": none}) == []
