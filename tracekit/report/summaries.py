"""What a log says about itself, as text. Takes the document of ``info --json``."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Iterator, Mapping
from typing import Any

from tracekit.report.pairs import pair_lines
from tracekit.report.units import human_bytes, human_count, human_seconds, plural

_MOST_MARKS = 12
_IN_WORDS = {"gc_tracked": "what the collector tracks"}


def summary_lines(document: Mapping[str, Any], *, width: int | None = None) -> Iterator[str]:
    """Lines of a summary: the program, the recording, the heap, the log."""
    yield from pair_lines(_pairs(document), width=width)


def exit_text(status: int | None) -> str:
    """An exit status as in :attr:`subprocess.Popen.returncode`, in words."""
    if status is None:
        return "not known"
    if status >= 0:
        return str(status)
    return f"killed by {signal_name(-status)}"


def signal_name(number: int) -> str:
    """``SIGKILL`` for 9."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def command_text(argv: list[str]) -> str:
    """Arguments as a shell would take them."""
    return shlex.join(argv)


def _pairs(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "log", f"{document['path']} (format {document['format_version']})"
    yield "program", command_text(document["argv"])
    yield "python", f"{document['python']} on {document['platform']}"
    if document["pid"]:
        yield "process", str(document["pid"])
    yield "recorded", f"{document['started_at']}, for {human_seconds(document['duration_s'])}"
    yield "engine", f"{document['engine']} ({document['engine_reason']})"
    yield "complete", _complete(document)
    yield "exit status", exit_text(document["exit_status"])
    yield "", ""
    yield "events", human_count(document["events"])
    yield "allocations", f"{human_count(document['allocations'])}, {human_bytes(document['allocated_bytes'])}"
    unmatched = document["unmatched_frees"]
    older = f", {human_count(unmatched)} of them of blocks older than the recording" if unmatched else ""
    yield "frees", human_count(document["frees"]) + older
    yield "collections", human_count(document["gc_collections"])
    yield "", ""
    yield "peak", f"{human_bytes(document['peak_bytes'])} after event {human_count(document['peak_seq'])}"
    yield "at the end", f"{human_bytes(document['end_bytes'])} in {plural(document['end_blocks'], 'block')}"
    if document["max_rss_bytes"]:
        yield "resident memory", f"{human_bytes(document['max_rss_bytes'])} at most, of the whole process"
    yield "", ""
    each = f"{document['bytes_per_event']:.1f} bytes an event" if document["events"] else "no events"
    yield "log size", f"{human_bytes(document['log_bytes'])}, {each}"
    yield (
        "definitions",
        f"{plural(document['threads'], 'thread')}, {plural(document['codes'], 'function')}, "
        f"{plural(document['stacks'], 'call path')}, {plural(document['types'], 'type')}",
    )
    yield from _marks(document["marks"])
    yield from _cannot(document["capabilities"])
    for notice in document["notices"]:
        yield "notice", f"[{notice['code']}] {notice['text']}"


def _complete(document: Mapping[str, Any]) -> str:
    if document["complete"]:
        return "yes"
    torn = document["torn_bytes"]
    rest = f"; the last {plural(torn, 'byte')} of the log are no whole record" if torn else ""
    return f"no: the recording ends before the program's own end{rest}"


def _marks(marks: list[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    for index, mark in enumerate(marks[:_MOST_MARKS]):
        where = f"event {human_count(mark['seq'])}, {human_seconds(mark['time_s'])}"
        yield "" if index else "marks", f"{mark['name']} ({where})"
    if len(marks) > _MOST_MARKS:
        yield "", f"... and {human_count(len(marks) - _MOST_MARKS)} more (--json lists all)"


def _cannot(capabilities: Mapping[str, bool]) -> Iterator[tuple[str, str]]:
    missing = [
        _IN_WORDS.get(name, name.replace("_", " ")) for name, present in capabilities.items() if not present
    ]
    if missing:
        yield "not known", ", ".join(missing)
