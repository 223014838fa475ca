"""What happens at the edges of a process: pipes that close, disks that are full, Ctrl-C, terminals."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cli_support import PROGRAM, environment, make_log, on_terminal, start
from processes import TIMEOUT, running

from tracekit.cli.output import Progress

LONG = "SELECT range AS n, repeat('x', 300) AS text FROM range(200000)"


@pytest.mark.parametrize("form", ["table", "json", "csv"])
def test_reader_that_goes_away(log: Path, form: str) -> None:
    command = [*PROGRAM, "query", str(log), LONG, "--format", form]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as query:
        assert query.stdout is not None
        assert query.stderr is not None
        query.stdout.readline()
        query.stdout.close()
        assert query.stderr.read() == b""
        assert query.wait(60) == 141


def test_reader_that_never_was(log: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PROGRAM, "info", str(log)],
        stdout=writing,
        stderr=subprocess.PIPE,
        env=environment(),
        timeout=TIMEOUT,
        check=False,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [["info"], ["query", LONG]], ids=["short", "long"])
def test_full_disk_behind_stdout(log: Path, arguments: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PROGRAM, arguments[0], str(log), *arguments[1:]],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
            timeout=TIMEOUT,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "tracekit: error[output-unwritable]: standard output cannot be written: No space left on device\n"
    )


def test_ctrl_c(log: Path) -> None:
    command = [*PROGRAM, "query", str(log), LONG, "--format", "jsonl"]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as query:
        assert query.stdout is not None
        query.stdout.readline()
        time.sleep(0.2)  # it fills the pipe and waits
        query.send_signal(signal.SIGINT)
        _, said = query.communicate(timeout=240)
    assert (query.returncode, said) == (130, b"")


INTERRUPTED_WHERE_PYTHON_DROPS_IT = """
import signal, sys, threading
from tracekit.cli import app, group

class Finalized:
    def __del__(self):
        signal.raise_signal(signal.SIGINT)

def command(given):
    Finalized()
    threading.Event().wait(30)
    return 0

group.run_group = command
sys.argv[1:] = ["query"]
app.program()
"""


def test_ctrl_c_in_a_finalizer() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-c", INTERRUPTED_WHERE_PYTHON_DROPS_IT],
        capture_output=True,
        env=environment(),
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", b"")


def spent_s(pid: int) -> float:
    """Seconds of processor time that a process has taken."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT count(*) FROM range(1000000000000)",
        "SELECT * FROM range(1000000000000) r(i) WHERE i % 100000000000 = 77",
        "SELECT md5(range::VARCHAR) AS m FROM range(100000000) ORDER BY m",
    ],
    ids=["count", "filter", "sort"],
)
def test_ctrl_c_before_the_first_row(log: Path, sql: str) -> None:
    start("query", log, "SELECT 1")  # so that the tables are there
    command = [*PROGRAM, "query", str(log), sql]
    with running(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as query:
        while spent_s(query.pid) < 1:  # half a second is what it takes to begin
            assert query.poll() is None
            time.sleep(0.02)
        query.send_signal(signal.SIGINT)
        sent = time.monotonic()
        out, said = query.communicate(timeout=60)
        took = time.monotonic() - sent
    assert (query.returncode, out, said) == (130, b"", b"")
    assert took < 10  # a fraction of a second on a machine that has nothing else to do


def test_what_the_encoding_lacks_is_escaped(tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt", names=["漢字"])
    answer = start("replay", log, "--at", "end", "--by", "function", PYTHONIOENCODING="ascii")
    assert answer.status == 0
    assert "\\u6f22\\u5b57" in answer.out
    assert start("query", log, "SELECT qualname FROM codes", "--json", PYTHONIOENCODING="ascii").document[
        -1
    ] == {"qualname": "漢字"}


def test_a_terminal_is_not_overrun(tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt", names=["deeply/" * 30 + "nested"])
    whole = start("replay", log, "--at", "end").out
    assert max(map(len, whole.splitlines())) > 200
    for columns in (80, 120):
        shown = on_terminal(columns, "replay", log, "--at", "end")
        assert max(map(len, shown.splitlines())) <= columns
        tables, notes = shown.split("\nnote: ")
        assert len(tables.splitlines()) == len(whole.split("\nnote: ")[0].splitlines())
        assert "it may have moved on since" in " ".join(notes.split())
    assert on_terminal(1000, "replay", log, "--at", "end") == whole


def test_what_is_piped_is_neither_cut_nor_coloured(tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt", names=["long" * 100])
    answer = start("query", log, "SELECT qualname FROM codes", COLUMNS="40", FORCE_COLOR="1")
    assert "long" * 100 in answer.out
    assert "\x1b" not in answer.out


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_shown_on_a_terminal_after_a_while_and_taken_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    monkeypatch.setattr("tracekit.cli.output.time.monotonic", lambda: now)
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = Progress("reading \x1b")
    progress(1, 10)
    assert screen.getvalue() == ""
    now += 0.6
    progress(5, 10)
    progress(6, 10)  # too soon after the last one
    progress.clear()
    shown = screen.getvalue()
    assert "reading \\x1b" in shown
    assert " 50%" in shown
    assert " 60%" not in shown
    assert shown.endswith("\x1b[1A\x1b[2K"), "the line is gone"


def test_progress_is_silent_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("tracekit.cli.output.time.monotonic", lambda: now)
    screen = io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = Progress("reading")
    now += 10
    progress(5, 10)
    progress.clear()
    assert screen.getvalue() == ""
