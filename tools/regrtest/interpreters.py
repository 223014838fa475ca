"""The CPythons of this machine, and a virtual environment with tracekit and nothing else for each of them.

An environment of its own, because packages of a development environment change what the tests do: with
hypothesis installed, for one, some of them generate their cases.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SUPPORTED: Final = ("3.11", "3.12", "3.13")
ROOT: Final = Path(__file__).resolve().parent.parent.parent

PROBE: Final = """
import json, platform, sys
import test.libregrtest
print(json.dumps([platform.python_version(), getattr(sys, "_base_executable", sys.executable)]))
"""


@dataclass(frozen=True)
class Interpreter:
    """A CPython that has its tests installed. ``version`` is the full one, such as 3.12.1."""

    version: str
    executable: Path

    @property
    def minor(self) -> str:
        """Such as 3.12."""
        return ".".join(self.version.split(".")[:2])


def probe(executable: str | Path) -> Interpreter | None:
    """What an executable is; None if it does not start or has no tests."""
    try:
        done = subprocess.run(
            [executable, "-c", PROBE], capture_output=True, check=True, text=True, timeout=60
        )
        version, base = json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(version, Path(base))


def found() -> list[Interpreter]:
    """One of each supported version: the one that runs this, those on PATH, those of pyenv, in this order."""
    by_minor: dict[str, Interpreter] = {}
    for candidate in _candidates():
        interpreter = probe(candidate)
        if interpreter is not None and interpreter.minor in SUPPORTED:
            by_minor.setdefault(interpreter.minor, interpreter)
    return [by_minor[minor] for minor in sorted(by_minor)]


def _candidates() -> Iterator[str | Path]:
    yield sys.executable
    for minor in SUPPORTED:
        for folder in os.environ.get("PATH", "").split(os.pathsep):
            path = shutil.which(f"python{minor}", path=folder)
            if path:
                yield path
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    for minor in SUPPORTED:
        yield from sorted(pyenv.glob(f"versions/{minor}.*/bin/python3"))


def environment(interpreter: Interpreter, folder: Path, *, install: bool) -> Path:
    """The python of the environment for an interpreter; made, or brought up to date, if ``install``.

    Raises subprocess.CalledProcessError when that fails.
    """
    home = folder.absolute() / f"venv-{interpreter.version}"
    python = home / "bin" / "python"
    if not python.exists():
        subprocess.run([interpreter.executable, "-m", "venv", home], check=True)
        # What setuptools does at every start is seen by test_trace; Python 3.11 puts it in.
        _pip(python, "uninstall", "--yes", "setuptools")
        install = True
    if install:
        # An entry of sys.path, not an import hook of setuptools: test_bdb sees hooks.
        _pip(python, "install", "--config-settings", "editable_mode=compat", "--editable", str(ROOT))
    return python


def _pip(python: Path, *arguments: str) -> None:
    command: list[str | Path] = [
        python,
        "-m",
        "pip",
        "--quiet",
        "--quiet",
        "--disable-pip-version-check",
        *arguments,
    ]
    subprocess.run(command, check=True)
