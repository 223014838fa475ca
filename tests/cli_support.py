"""Runs the command line, in this process or in one of its own, and makes the log that it is run on."""

from __future__ import annotations

import fcntl
import io
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from processes import TIMEOUT, running
from traces import TraceBuilder, sample_capabilities, sample_header, write_log

from tracekit.cli.app import main

PROGRAM = (sys.executable, "-P", "-m", "tracekit.cli.app")

Stored = Callable[[Callable[[Path], Path], Path], Path]
"""The fixture ``stored``: (what writes the log, path) to that path."""

HOSTILE = "evil\x1b[31m\x9b2J\u202e[bold]x[/bold]\n"
"""A name that would do something to a terminal, and something to a library that formats text."""

COMMANDS = (
    "record",
    "info",
    "replay",
    "leaks",
    "diff",
    "gc",
    "fragmentation",
    "timeline",
    "step",
    "query",
    "shell",
    "export",
    "simulate",
    "verify",
    "recover",
    "dump",
    "schema",
)


@dataclass(frozen=True)
class Answer:
    """What a command line came to."""

    status: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Stdout as JSON."""
        return json.loads(self.out)


class Cli:
    """Runs command lines in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capsys = capsys
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: object, stdin: str = "") -> Answer:
        self._monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        self._capsys.readouterr()
        status = main([str(argument) for argument in arguments])
        said = self._capsys.readouterr()
        return Answer(status, said.out, said.err)


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without what would change what is printed."""
    hidden = ("COLUMNS", "LINES", "PYTHONIOENCODING", "PYTHONPATH")
    return {**{name: value for name, value in os.environ.items() if name not in hidden}, **changes}


def start(*arguments: object, cwd: Path | None = None, stdin: str = "", **changes: str) -> Answer:
    """Run a command line in a process of its own."""
    done = subprocess.run(
        [*PROGRAM, *map(str, arguments)],
        cwd=cwd,
        env=environment(**changes),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    return Answer(done.returncode, done.stdout, done.stderr)


def make_log(path: Path, *, complete: bool = True, portable: bool = False, names: Sequence[str] = ()) -> Path:
    """A small log: 3 functions, a peak in the middle, a mark ``warm``, one collection.

    At ``warm`` 1000 bytes are alive, at the peak 4000 more, at the end 1000 and 30 of ``names`` each.
    """
    header = sample_header()
    if portable:
        capabilities = sample_capabilities(types=False, real_times=False, every_event=False, threads=False)
        header = sample_header(engine="portable", capabilities=capabilities, sync_interval_ns=20_000_000)
    build = TraceBuilder(header)
    load = build.stack(("app.py", "<module>", 3), ("cache.py", "load", 10))
    work = build.stack(("app.py", "<module>", 5), ("work.py", "work", 20))
    build.advance(1_000_000)
    build.allocate(1000, stack=load)
    build.advance(1_000_000)
    build.mark("warm")
    blocks = [build.allocate(1000, stack=work) for _ in range(4)]
    build.advance(500_000_000)
    for name in names:
        build.allocate(30, stack=build.stack((f"{name}.py", name, 1)))
    build.gc_start()
    for block in blocks:
        build.free(block)
    build.gc_stop(collected=4)
    build.advance(500_000_000)
    return write_log(path, build.finish(complete=complete), closed=complete)


__all__ = ["COMMANDS", "HOSTILE", "PROGRAM", "Answer", "Cli", "Stored", "environment", "make_log", "start"]


def on_terminal(columns: int, *arguments: object, **changes: str) -> str:
    """What a command prints on a terminal of a width."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    command = [*PROGRAM, *map(str, arguments)]
    with running(command, stdin=theirs, stdout=theirs, env=environment(**changes)) as run:
        os.close(theirs)
        seen = b""
        try:
            while data := os.read(ours, 65536):
                seen += data
        except OSError:
            pass  # the other end is closed
        assert run.wait(60) == 0
    os.close(ours)
    return seen.decode().replace("\r\n", "\n")
