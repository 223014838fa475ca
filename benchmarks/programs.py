"""The programs that are measured, one file each in ``workloads/``."""

from __future__ import annotations

import ast
import importlib.util
import re
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "workloads"
WORKLOADS = {path.stem: path for path in sorted(FOLDER.glob("*.py"))}

EMPTY = "empty"
"""The program that does nothing: a row of its own, and in no mean over the workloads."""

NEEDS = {
    "arrays": ("numpy",),
    "highlight": ("pygments",),
    "imports": ("pygments", "pylint"),
    "lint": ("pylint",),
}
"""Packages that a workload imports."""


def description(name: str) -> str:
    """The first line of a workload's docstring."""
    return (ast.get_docstring(ast.parse(WORKLOADS[name].read_text(encoding="utf-8"))) or "").splitlines()[0]


def missing(name: str) -> str:
    """Why a workload cannot run here, "" when it can."""
    absent = [package for package in NEEDS.get(name, ()) if importlib.util.find_spec(package) is None]
    return f"not installed: {', '.join(absent)}" if absent else ""


def with_turns(name: str, turns: int, folder: Path) -> Path:
    """A workload whose outermost loop makes another number of turns, as a file in ``folder``."""
    text, count = re.subn(
        r"(?m)^(for turn in range\()\d+\)", rf"\g<1>{turns})", WORKLOADS[name].read_text(encoding="utf-8")
    )
    if count != 1:
        raise ValueError(f"{name} has no turns")
    path = folder / f"{name}.py"
    path.write_text(text, encoding="utf-8")
    return path
