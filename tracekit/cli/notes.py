"""What a recording cannot tell, as notes below the numbers that it concerns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tracekit.report.units import human_seconds

if TYPE_CHECKING:
    from tracekit.events import Header


def heap_notes(header: Header, by: str, *, complete: bool) -> list[str]:
    """Notes on a heap that is grouped ``by`` something, from the recording's own header."""
    known = header.capabilities
    engine = f"the {header.engine} engine"
    notes = []
    if not complete:
        notes.append("the recording has no end: the program was killed, or the log is not whole")
    if by == "type" and not known.types:
        notes.append(f"types are not recorded by {engine}")
    if by == "type" and known.types:
        notes.append(
            "'<unknown>' is memory behind objects (arrays of lists, tables of dicts, buffers), "
            "and objects whose type was not seen"
        )
    if by == "thread" and not known.threads:
        notes.append(f"threads are known only in part by {engine}; '<unknown>' is any of them")
    if by == "domain" and not known.domains:
        notes.append(f"{engine} does not tell the domains raw, mem and object apart; 'python' is any of them")
    if by == "stack" and header.max_frames:
        notes.append(f"call paths hold the {header.max_frames} innermost frames at most")
    if not known.real_times:
        every = f" (every {human_seconds(header.sync_interval_ns / 1e9)})" if header.sync_interval_ns else ""
        notes.append(f"times are those of sync points{every}")
    if not known.every_event:
        notes.append("blocks that came and went between two sync points are not recorded")
    return notes
