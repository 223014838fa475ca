"""Options that several commands share, and the checks of what was typed."""

from __future__ import annotations

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import typer

from tracekit.errors import UsageError

Log = Annotated[Path, typer.Argument(metavar="LOG", help="The log of a recording (*.tkt).")]

Logs = Annotated[
    list[Path] | None,
    typer.Argument(metavar="LOG...", help="Logs of recordings (*.tkt); trace_id 1 is the first."),
]

Followed = Annotated[
    bool,
    typer.Option("--followed", help="Also the logs of followed processes: app.PID.tkt beside app.tkt."),
]

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


def check_logs(logs: list[Path] | None, last: str, given: str) -> None:
    """Raises UsageError when there is no log: ``given`` was typed as what comes ``last``."""
    if not logs:
        raise UsageError(
            f"there is only '{given}': a log and {last} are needed", hint="see --help for examples"
        )


def with_followed(logs: list[Path], wanted: bool = True) -> list[Path]:
    """The logs, each with those of the processes that were followed from it, by process number."""
    found: list[Path] = []
    for log in logs if wanted else ():
        name = re.compile(rf"{re.escape(log.stem)}\.(\d+)(?:\.(\d+))?{re.escape(log.suffix)}")
        beside = log.parent.iterdir() if log.parent.is_dir() else ()
        followed = [(match, path) for path in beside if (match := name.fullmatch(path.name))]
        followed.sort(key=lambda entry: (int(entry[0][1]), int(entry[0][2] or 1)))
        found += [log, *(path for _, path in followed)]
    return list(dict.fromkeys(found)) if wanted else logs


def check_limit(limit: int | None, of: str = "groups") -> None:
    """Raises UsageError for a --limit below 0."""
    if limit is not None and limit < 0:
        raise UsageError(f"--limit cannot be {limit}", hint=f"give 0 for all {of}")


def most_shown(limit: int | None, default: int | None) -> int | None:
    """What --limit means: ``default`` where it was not given, None (all) for 0."""
    return default if limit is None else limit or None


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
