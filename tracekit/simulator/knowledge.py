"""What a trace cannot tell the simulator, in words: one sentence for each result that is affected."""

from __future__ import annotations

from tracekit.events import Header
from tracekit.simulator.parameters import VERSIONS, version_of

PLAIN_ALLOCATORS = ("malloc", "malloc_debug")


def why_no_collections(header: Header) -> str:
    """Why the simulator cannot say how often a collector would have run."""
    if not header.capabilities.gc_tracked:
        return f"the engine '{header.engine}' does not record which blocks the collector tracks"
    return "this version of the simulator has no model of the collector"


def why_no_recorded_arenas(header: Header) -> str:
    """Why there is no recorded number of arenas to compare with."""
    return f"the engine '{header.engine}' does not record arenas"


def why_other_thresholds_leave_the_peak_open() -> str:
    """Why peaks under other thresholds are not what the simulation gives."""
    return (
        "taken with the frees of the recorded collections: which blocks other thresholds "
        "would have kept longer, or freed sooner, is not known"
    )


def why_peak_is_a_lower_bound(unknown_frees: int) -> str:
    """Why the peak without a collector may be higher than the simulation gives."""
    return (
        f"a lower bound, like the arenas and the footprint: {unknown_frees} frees of the trace have no "
        "known cause, and those that a collection made would not have happened"
    )


def assumptions(header: Header, *, use_pymalloc: bool) -> list[str]:
    """What holds for every number of a simulation of this trace."""
    can = header.capabilities
    notes = ["blocks older than the recording are unknown: the model starts from an empty heap"]
    if not can.domains:
        domain_note = "raw, mem and object blocks are not told apart in this trace"
        if use_pymalloc:
            domain_note += ": all of them up to the small request threshold are given to pymalloc"
        notes.append(domain_note)
    if not can.every_event:
        notes.append(
            "blocks that lived shorter than a sync interval of the engine were not recorded: "
            "peaks are lower bounds"
        )
    if not can.exact_order:
        notes.append("the order of events within a sync interval is the recorder's, not the program's")
    if header.allocator.name in PLAIN_ALLOCATORS and use_pymalloc:
        notes.append(f"the program ran with the allocator {header.allocator.name}, not with pymalloc")
    if version_of(header) not in VERSIONS:
        known = ", ".join(f"{major}.{minor}" for major, minor in VERSIONS)
        notes.append(f"the model was held against CPython {known}; this trace is of {header.python.version}")
    return notes
