"""The stack segment as text: where each thread was, and what its frames take."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.tables import Column, table
from tracekit.report.text import cut, printable
from tracekit.report.units import human_bytes, human_count, plural


def stack_lines(document: Mapping[str, Any], *, whole: bool, width: int | None = None) -> Iterator[str]:
    """Lines of the stack segment, after an empty line: one a thread, or the ``whole`` call path of each.

    ``document``: stack_bytes, stacks [{thread, bytes, exact, events_before, frames [{function, file, line,
    bytes}]}], stacks_omitted.
    """
    stacks, omitted = document["stacks"], document["stacks_omitted"]
    yield ""
    if not stacks and not omitted:
        yield "stack segment: no thread is known to have been there yet"
        return
    total = human_bytes(document["stack_bytes"])
    yield f"stack segment: {total} in the frames of {plural(len(stacks) + omitted, 'thread')}"
    if whole:
        for stack in stacks:
            yield from _path(stack, width)
        return
    yield ""
    columns = (
        Column("bytes", "right"),
        Column("frames", "right"),
        Column("events ago", "right"),
        Column("thread"),
        Column("innermost frame", cut="middle"),
    )
    yield from table(columns, map(_row, stacks), width=width)
    if omitted:
        yield f"... and {plural(omitted, 'more thread')} (--stacks shows all, with their call paths)"


def _row(stack: Mapping[str, Any]) -> Sequence[str]:
    frames = stack["frames"]
    innermost = short_frame_text(frames[-1]) if frames else "(no Python code)"
    return (
        human_bytes(stack["bytes"]),
        human_count(len(frames)),
        "now" if stack["exact"] else human_count(stack["events_before"]),
        stack["thread"],
        innermost,
    )


def _path(stack: Mapping[str, Any], width: int | None) -> Iterator[str]:
    frames = stack["frames"]
    yield ""
    size = human_bytes(stack["bytes"])
    ago = "now" if stack["exact"] else f"{plural(stack['events_before'], 'event')} ago"
    yield printable(f"{stack['thread']}: {size} in {plural(len(frames), 'frame')}, {ago}")
    for frame in frames:
        text = printable(frame_text(frame))
        text = text if width is None else cut(text, max(20, width - 12), "middle")
        yield f"{human_bytes(frame['bytes']) if frame['bytes'] else '-':>10}  {text}"


def short_frame_text(frame: Mapping[str, Any]) -> str:
    """``FUNCTION (BASENAME:LINE)``; the function alone where there is no line."""
    file = str(frame["file"])
    where = f" ({file.rpartition('/')[2] or file}:{frame['line']})" if frame["line"] else ""
    return f"{frame['function']}{where}"


def frame_text(frame: Mapping[str, Any]) -> str:
    """``FUNCTION (FILE:LINE)``."""
    return f"{frame['function']} ({frame['file']}:{frame['line']})"
