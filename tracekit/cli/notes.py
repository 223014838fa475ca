"""What a recording cannot tell, as notes below the numbers that it concerns."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from tracekit.report.units import human_bytes, human_seconds

if TYPE_CHECKING:
    from tracekit.events import Header
    from tracekit.replay.stacks import StackSegment
    from tracekit.replay.timeline import Timeline

NO_END = "the recording has no end: the program was killed, or the log is not whole"


def heap_notes(header: Header, by: str, *, complete: bool) -> list[str]:
    """Notes on a heap that is grouped ``by`` something, from the recording's own header."""
    known = header.capabilities
    engine = f"the {header.engine} engine"
    notes = []
    if not complete:
        notes.append(NO_END)
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
    if by == "size_class" and not known.domains:
        notes.append(f"{engine} does not tell which blocks the object allocator served, nor their size class")
    if by == "module":
        notes.append("modules are told by their files, as far as those say it")
    if by == "stack" and header.max_frames:
        notes.append(f"call paths hold the {header.max_frames} innermost frames at most")
    if not known.real_times:
        every = f" (every {human_seconds(header.sync_interval_ns / 1e9)})" if header.sync_interval_ns else ""
        notes.append(f"times are those of sync points{every}")
    if not known.every_event:
        notes.append("blocks that came and went between two sync points are not recorded")
    return notes


def stack_notes(header: Header, stacks: Sequence[StackSegment]) -> list[str]:
    """Notes on the stack segment."""
    notes = []
    if any(not stack.exact for stack in stacks):
        notes.append(
            "a thread's call path is that of its last allocation before the moment (or of a mark since "
            "then); it may have moved on since"
        )
    if any(not frame.bytes for stack in stacks for frame in stack.frames):
        notes.append("the bytes of some frames are not known, and count as 0")
    if not header.capabilities.threads:
        notes.append(f"call paths of threads are known only in part by the {header.engine} engine")
    return notes


def collector_notes(header: Header, groupings: Collection[str], *, complete: bool) -> list[str]:
    """Notes on collections and on what they freed, in these groupings."""
    known = header.capabilities
    engine = f"the {header.engine} engine"
    notes = []
    if not complete:
        notes.append(NO_END)
    if known.types and "type" in groupings:
        notes.append(
            "str, int, bytes and the like cannot form a cycle: they hung on one; '<unknown>' is memory "
            "behind objects (arrays of lists, tables of dicts, attributes)"
        )
    if not known.types:
        notes.append(f"types are not recorded by {engine}; the native engine does (record --engine native)")
    if not known.causes:
        notes.append(
            f"{engine} does not see the cause of every free: garbage is what was gone after a collection, "
            "as far as it looked then"
        )
    return notes


def timeline_notes(header: Header, found: Timeline, *, complete: bool) -> list[str]:
    """Notes on a timeline."""
    known = header.capabilities
    notes = []
    if not complete:
        notes.append(NO_END)
    if found.largest_rss is None:
        notes.append(
            "no sample of the resident memory (RSS) falls into this window"
            if found.rss_before is not None
            else "the resident memory (RSS) is not known: no sample of it was recorded up to here"
        )
    if not found.exact:
        notes.append(
            f"drawn from {found.ticks:,} ticks of the recording's clock: a peak between two of them does not "
            "show, except the highest of the recording; --from and --to zoom in"
        )
    if not known.real_times:
        notes.append(f"times are those of sync points of the {header.engine} engine")
    if not known.every_event:
        notes.append("blocks that came and went between two sync points are not recorded")
    if found.x == "time" and found.start.time_ns == found.end.time_ns and found.end.seq > found.start.seq:
        notes.append("all events here have one time: --x events tells them apart")
    return notes


def pair_notes(old: Header, new: Header, by: str, untold_bytes: int) -> list[str]:
    """Notes on the difference of two recordings: what else differs, and what was not matched for certain."""
    notes = []
    for what, before, after in (
        ("programs", _program(old.argv), _program(new.argv)),
        ("versions of Python", old.python.version, new.python.version),
        ("engines, which do not count the same", old.engine, new.engine),
    ):
        if before != after:
            notes.append(f"the recordings are of different {what}: {before} and {after}")
    if untold_bytes:
        notes.append(
            f"{human_bytes(untold_bytes)} are in functions whose source text is not in both recordings; "
            "their lines were matched by the distance to the function's first line"
        )
    if by == "stack":
        notes.append("call paths have line numbers in them: a line that moved makes another path")
    return notes


def _program(argv: list[str]) -> str:
    """What python was told to run, without the folder of a script."""
    if argv[:1] in (["-m"], ["-c"]):
        return " ".join(argv[:2])
    return argv[0].rpartition("/")[2] if argv else "no program"
