"""Runs one program under plain python and under `tracekit record`, in the same surroundings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self, TypeVar

import pytest
from effort import stride
from processes import TIMEOUT, kill_all

from tracekit.log.summary import Summary, summarize
from tracekit.log.verify import verify
from tracekit.record.select import select

Name = TypeVar("Name")

one_engine = pytest.mark.parametrize("engine", [select("auto").engine], indirect=True)
"""For tests of what is the same for all engines: the session, the command, the log."""


def on_engines(names: Iterable[Name], step: int) -> list[tuple[str, Name]]:
    """(engine, name): every name on the best engine, one in ``step`` on the portable one, which is slow."""
    every = list(names)
    best, portable = select("auto").engine, every[:: stride(step)]
    return list(
        dict.fromkeys([*((best, name) for name in every), *(("portable", name) for name in portable)])
    )


PYTHON = (sys.executable,)
# -P: what lies in the folder of a test must not replace a module that tracekit itself imports.
TRACEKIT = (sys.executable, "-P", "-m", "tracekit.cli.app")


@dataclass(frozen=True)
class Outcome:
    """What the world sees of a run. ``status`` is negative for a signal."""

    stdout: bytes
    stderr: bytes
    status: int


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment without what would make Python differ; None takes a variable away."""
    values = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    values["PYTHONDONTWRITEBYTECODE"] = "1"
    for name, value in changes.items():
        if value is None:
            values.pop(name, None)
        else:
            values[name] = value
    return values


def recording(
    log: Path, engine: str, *, force: bool = True, quiet: bool = True, frames: int | None = None
) -> list[str]:
    """The command line that records; the program's own arguments follow it."""
    options = [*["--force"] * force, *["-q"] * quiet]
    if frames is not None:
        options += ["--max-frames", str(frames)]
    return [*TRACEKIT, "record", *options, "-o", str(log), "--engine", engine]


def run(
    command: Sequence[str],
    cwd: Path,
    *,
    env: Mapping[str, str] | None = None,
    stdin: bytes = b"",
    timeout: float = TIMEOUT,
) -> Outcome:
    """Run a command to its end in a session of its own, which is killed whole if it hangs."""
    with subprocess.Popen(
        command,
        cwd=cwd,
        env=environment() if env is None else env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = process.communicate(stdin, timeout)
        except BaseException:
            kill_all(process)
            raise
    return Outcome(stdout, stderr, process.returncode)


def without_addresses(text: bytes) -> bytes:
    """The same text with all addresses, idents of threads and process ids alike: they change run by run."""
    return re.sub(rb"0x[0-9a-f]{6,}|\b1[34]\d{13}\b|\(pid=\d+\)", b"ADDRESS", text)


@dataclass(frozen=True)
class Pair:
    """The same program twice."""

    python: Outcome
    recorded: Outcome
    log: Path

    def same(self) -> Outcome:
        """Assert that nothing differs, and return what there was."""
        plain, recorded = (
            Outcome(without_addresses(outcome.stdout), without_addresses(outcome.stderr), outcome.status)
            for outcome in (self.python, self.recorded)
        )
        assert recorded == plain
        return recorded


class Started:
    """A program that was started and that tells how far it is, a line at a time."""

    def __init__(self, command: Sequence[str], cwd: Path) -> None:
        self.process = subprocess.Popen(
            command,
            bufsize=0,  # what line() did not take is left to end()
            cwd=cwd,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        self._timer = threading.Timer(TIMEOUT, self._kill)
        self._timer.start()

    def _kill(self) -> None:
        kill_all(self.process)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._timer.cancel()
        self._kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line of its stdout, waited for."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().rstrip("\n")

    def end(self) -> Outcome:
        """Wait for its end; what it wrote since the last line."""
        stdout, stderr = self.process.communicate()
        return Outcome(stdout, stderr, self.process.returncode)


@dataclass(frozen=True)
class Stage:
    """A folder in which programs run, and the engine that records them."""

    folder: Path
    engine: str
    log: Path
    """Of the last recording. Outside of the programs' folder, which looks the same to both."""

    def write(self, files: Mapping[str, str]) -> None:
        """Write programs."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def record(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        force: bool = True,
        quiet: bool = True,
        frames: int | None = None,
    ) -> Outcome:
        """Run `tracekit record` only."""
        command = [*recording(self.log, self.engine, force=force, quiet=quiet, frames=frames), *arguments]
        return run(command, self.folder, env=env, stdin=stdin)

    def both(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        files: Mapping[str, str] | None = None,
    ) -> Pair:
        """Run ``python ARGUMENTS`` and ``tracekit record ARGUMENTS``, which keeps short call paths.

        What the program sees does not depend on their length; the portable engine's time does.
        """
        self.write(files or {})
        python = run([*PYTHON, *arguments], self.folder, env=env, stdin=stdin)
        return Pair(python, self.record(arguments, env=env, stdin=stdin, frames=4), self.log)

    def started(self, text: str) -> Started:
        """A script with this text, started to be recorded."""
        self.write({"program.py": text})
        return Started([*recording(self.log, self.engine), "program.py"], self.folder)

    def started_plainly(self, text: str) -> Started:
        """A script with this text, started by python."""
        self.write({"program.py": text})
        return Started([*PYTHON, "program.py"], self.folder)

    def code(self, text: str, *arguments: str, env: Mapping[str, str] | None = None) -> Pair:
        """Both, on a script with this text."""
        return self.both(["program.py", *arguments], env=env, files={"program.py": text})

    def sound(self, *, complete: bool = True) -> Summary:
        """Assert that the log verifies, and return what it says of itself."""
        return sound(self.log, complete=complete)


def sound(log: Path, *, complete: bool) -> Summary:
    """Assert that a log verifies, and return what it says of itself."""
    verification = verify(log)
    assert verification.problems == []
    summary = summarize(log)
    assert summary.complete is verification.complete is complete
    return summary


def programs(path: Path) -> dict[str, str]:
    """The programs in a text file: each under a line with ### and its name."""
    parts = re.split(r"^### (.*)\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    return dict(zip(parts[0::2], parts[1::2], strict=True))
