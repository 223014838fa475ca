"""Runs one program under plain python and under `tracekit record`, in the same surroundings."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TIMEOUT = 60.0
"""Seconds until a run counts as hung, which is a failure."""

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


def recording(log: Path, engine: str, *options: str) -> list[str]:
    """The command line that records; the program's own arguments follow it."""
    return [*TRACEKIT, "record", "-q", "--force", "-o", str(log), "--engine", engine, *options]


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
            os.killpg(process.pid, signal.SIGKILL)
            raise
    return Outcome(stdout, stderr, process.returncode)


@dataclass(frozen=True)
class Pair:
    """The same program twice."""

    python: Outcome
    recorded: Outcome
    log: Path

    def same(self) -> Outcome:
        """Assert that nothing differs, and return what there was."""
        assert self.recorded == self.python
        return self.recorded


@dataclass(frozen=True)
class Stage:
    """A folder in which programs run, and the engine that records them."""

    folder: Path
    engine: str

    @property
    def log(self) -> Path:
        """The log of the last recording; outside of the programs' folder, which looks the same to both."""
        return self.folder.parent / f"{self.folder.name}.tkt"

    def write(self, files: Mapping[str, str]) -> None:
        """Write programs."""
        for name, text in files.items():
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")

    def record(
        self,
        arguments: Sequence[str],
        *options: str,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
    ) -> Outcome:
        """Run `tracekit record` only."""
        command = [*recording(self.log, self.engine, *options), *arguments]
        return run(command, self.folder, env=env, stdin=stdin)

    def both(
        self,
        arguments: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        stdin: bytes = b"",
        files: Mapping[str, str] | None = None,
    ) -> Pair:
        """Run ``python ARGUMENTS`` and ``tracekit record ARGUMENTS``."""
        self.write(files or {})
        python = run([*PYTHON, *arguments], self.folder, env=env, stdin=stdin)
        return Pair(python, self.record(arguments, env=env, stdin=stdin), self.log)

    def code(self, text: str, *arguments: str, env: Mapping[str, str] | None = None) -> Pair:
        """Both, on a script with this text."""
        return self.both(["program.py", *arguments], env=env, files={"program.py": text})

    def info(self) -> dict[str, Any]:
        """``info --json`` of the log."""
        return info(self.log)

    def sound(self, *, complete: bool = True) -> dict[str, Any]:
        """Assert that the log verifies, and return its info."""
        verified = run([*TRACEKIT, "verify", str(self.log)], self.folder.parent)
        assert verified.status == 0, verified
        found = self.info()
        assert found["complete"] is complete
        return found


def info(log: Path) -> dict[str, Any]:
    """``info --json`` of a log."""
    told = run([*TRACEKIT, "info", "--json", str(log)], log.parent)
    assert told.status == 0, told
    document: dict[str, Any] = json.loads(told.stdout)
    return document
