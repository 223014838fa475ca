"""The recorders that are compared: how each runs a program, and how to ask it afterwards what it recorded."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tracekit.errors import TracekitError

PYTHON = sys.executable


@dataclass(frozen=True)
class Content:
    """What a recorder's file holds: allocations and frees, and the size of the file in bytes."""

    events: int
    bytes: int


@dataclass(frozen=True)
class Recorder:
    """One way to run a program.

    ``options`` is the command line without the program, with ``{output}`` where a file is to be named.
    ``package`` is the distribution whose version is told. ``missing`` says why the recorder cannot be used
    here, "" when it can. ``content`` reads the file of a run. ``apart`` is set when the program runs in a
    process below the recorder's.
    """

    name: str
    title: str
    options: tuple[str, ...]
    package: str = ""
    missing: Callable[[], str] = lambda: ""
    content: Callable[[Path], Content] | None = None
    apart: bool = False

    def command(self, program: Path, output: Path) -> list[str]:
        """The command that runs ``program`` and records into ``output``."""
        return [PYTHON, *(option.format(output=output) for option in self.options), str(program)]

    @property
    def version(self) -> str:
        """Version of the recorder, "" for what belongs to Python itself."""
        return importlib.metadata.version(self.package) if self.package and not self.missing() else ""


def missing_package(name: str) -> Callable[[], str]:
    """A check for a package that can be imported."""
    return lambda: "" if importlib.util.find_spec(name) else "not installed"


def missing_engine(name: str) -> Callable[[], str]:
    """A check for an engine of tracekit."""

    def check() -> str:
        from tracekit.record.select import select  # noqa: PLC0415 - the engine may be what is being worked on

        try:
            select(name)
        except TracekitError:
            return "not installed"
        return ""

    return check


def memray_content(path: Path) -> Content:
    """What memray recorded. Its header counts frees among the allocations."""
    from memray import FileReader  # noqa: PLC0415 - it may not be installed

    reader = FileReader(str(path))
    try:
        return Content(int(reader.metadata.total_allocations), path.stat().st_size)
    finally:
        reader.close()


def tracekit_content(path: Path) -> Content:
    """What tracekit recorded."""
    from tracekit.log.summary import summarize  # noqa: PLC0415 - not while anything is being timed

    summary = summarize(path)
    if not summary.closed:
        raise ValueError("the recording ended early")
    return Content(summary.events, summary.log_bytes)


def _memray(name: str, title: str, *options: str) -> Recorder:
    return Recorder(
        name,
        title,
        ("-m", "memray", "run", *options, "-q", "-f", "-o", "{output}"),
        "memray",
        missing_package("memray"),
        memray_content,
    )


def _tracekit(engine: str) -> Recorder:
    return Recorder(
        engine,
        f"tracekit {engine}",
        ("-P", "-m", "tracekit", "record", "-q", "--force", "--engine", engine, "-o", "{output}"),
        "tracekit-memory",
        missing_engine(engine),
        tracekit_content,
        apart=True,
    )


RECORDERS = {
    recorder.name: recorder
    for recorder in (
        Recorder("none", "alone", ()),
        Recorder("tracemalloc-1", "tracemalloc, 1 frame", ("-X", "tracemalloc=1")),
        Recorder("tracemalloc-25", "tracemalloc, 25 frames", ("-X", "tracemalloc=25")),
        _memray("memray", "memray"),
        _memray("memray-python", "memray, Python allocators", "--trace-python-allocators"),
        _tracekit("portable"),
        _tracekit("native"),
        Recorder(
            "native-null",
            "tracekit native, null sink",
            ("-m", "benchmarks.null_sink"),
            "tracekit-memory",
            missing_engine("native"),
            apart=True,
        ),
    )
}
"""By name. "none" is the program alone, which all others are compared with."""

SLOW = ("tracemalloc-25", "portable")
"""What a quick look leaves out unless it is asked for."""
