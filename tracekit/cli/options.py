"""Options that several commands share, and the checks of what was typed."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from tracekit.errors import UsageError

Log = Annotated[Path, typer.Argument(metavar="LOG", help="The log of a recording (*.tkt).")]

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]

NoCache = Annotated[
    bool,
    typer.Option(
        "--no-cache",
        help="Keep the tables in memory; neither read nor write the .duckdb file beside the log.",
    ),
]

Force = Annotated[bool, typer.Option("--force", help="Replace the output file if it exists.")]

Human = Annotated[
    bool,
    typer.Option(
        "--human", help="Show bytes and nanoseconds as 1.4 MiB and 3.2 ms, in table and markdown only."
    ),
]

AllowExternal = Annotated[
    bool,
    typer.Option(
        "--allow-external",
        help="Let the SQL use files, other databases, extensions and settings. Not for SQL of strangers.",
    ),
]

MemoryLimit = Annotated[
    str | None,
    typer.Option(
        "--memory-limit",
        metavar="SIZE",
        help="Memory that DuckDB may take, like 512MiB; what does not fit goes to the temporary folder.",
    ),
]

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b?)", re.IGNORECASE | re.ASCII)
_FACTORS = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}


def choice(option: str, value: str, names: Collection[str]) -> str:
    """The value, if it is one of the names. Raises UsageError."""
    if value not in names:
        raise UsageError(f"{option} cannot be '{value}'", hint=f"choose one of {', '.join(names)}")
    return value


def size(option: str, text: str) -> int:
    """Bytes of a size like ``4096``, ``64k``, ``512MiB``, ``1.5G``; units are binary. Raises UsageError."""
    match = _SIZE.fullmatch(text.strip())
    count = round(float(match[1]) * _FACTORS[match[2].lower()]) if match else 0
    if count <= 0:
        raise UsageError(
            f"{option} cannot be '{text}'", hint="give a size in bytes, or one like 64k, 512MiB or 1.5G"
        )
    return count


def memory_limit(text: str | None) -> int | None:
    """Bytes of --memory-limit, if it was given. Raises UsageError."""
    return None if text is None else size("--memory-limit", text)


def thresholds(option: str, text: str) -> tuple[int, int, int]:
    """Three thresholds of the collector, as ``700,10,10``. Raises UsageError."""
    parts = text.split(",")
    if len(parts) != 3 or not all(part.strip().isascii() and part.strip().isdigit() for part in parts):
        raise UsageError(f"{option} cannot be '{text}'", hint="give three numbers, like 700,10,10")
    first, second, third = (int(part) for part in parts)
    return first, second, third
