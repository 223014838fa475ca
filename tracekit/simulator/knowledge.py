"""What a trace cannot tell the simulator, in words: one sentence for each result that is affected."""

from __future__ import annotations

import numpy as np

from tracekit.events import Header
from tracekit.simulator.parameters import VERSIONS, version_of
from tracekit.simulator.settings import RecordedSettings, Reference

PLAIN_ALLOCATORS = ("malloc", "malloc_debug")


def knows_tracked(header: Header) -> bool:
    """Whether it is known which blocks the collector counts: their types tell."""
    return header.capabilities.gc_tracked or header.capabilities.types


def why_no_collections(header: Header) -> str:
    """Why the simulator cannot say how often a collector would have run."""
    return f"the engine '{header.engine}' does not record which blocks the collector tracks"


def why_no_recorded_arenas(header: Header) -> str:
    """Why there is no recorded number of arenas to compare with."""
    return f"the engine '{header.engine}' does not record arenas"


def why_other_thresholds_leave_the_peak_open() -> str:
    """Why peaks under other thresholds are not what the simulation gives."""
    return (
        "taken with the frees of the recorded collections: which blocks other thresholds "
        "would have kept longer, or freed sooner, is not known"
    )


def why_the_peak_has_bounds() -> str:
    """Why the peak is given as two numbers."""
    return (
        "from when on cyclic garbage could not be reached any more is not known, nor what it shared with the "
        "living: the low bound supposes as early as possible, the high one as late as possible and that it "
        "kept what it may have shared"
    )


def why_peak_is_a_lower_bound(unknown_frees: int) -> str:
    """Why the peak without a collector may be higher than the simulation gives."""
    return (
        f"a lower bound, like the arenas and the footprint: {unknown_frees} frees of the trace have no "
        "known cause, and those that a collection made would not have happened"
    )


def about_other_collections(*, by_itself: bool, waits: bool, lists: bool) -> list[str]:
    """What holds where collections run at other times than in the recording.

    ``by_itself``: the collector is on. ``waits``: what is due waits for the eval breaker (3.12 on).
    ``lists``: the lengths of free lists were recorded.
    """
    notes = []
    if not lists:
        notes.append(
            "how many dead objects wait in free lists is not recorded: with fewer collections than recorded "
            "the peak may be above the high bound, where many of them are tuples, lists and dicts by a third"
        )
    if by_itself:
        notes.append(
            "garbage that no collection had found when the recording ended is not known as such: with more "
            "collections than recorded the peak may be below the low bound"
        )
    if waits and by_itself:
        notes.append(
            "a collection that is due waits for the next check of the eval breaker; a line where none was "
            "due in the recording is taken for what most lines were where one was"
        )
    return notes


def turns_it_on(settings: RecordedSettings) -> bool:
    """Whether the program turned the collector on, having turned it off."""
    return bool(np.any(settings.on[1:] & ~settings.on[:-1]))


def about_switching(reference: Reference, *, off: bool, other_thresholds: bool) -> list[str]:
    """What holds where the program itself turned the collector off, or set its thresholds.

    ``off``: it is off at the start of the scenario. ``other_thresholds``: the scenario has its own.
    """
    notes = []
    settings = reference.settings
    times = int(np.count_nonzero(~settings.on))
    stretches = int(np.count_nonzero(reference.off))
    if times:
        many = "once" if times == 1 else f"{times:,} times"
        notes.append(f"the program turned the collector off {many}; so does the model, at the same events")
        if off and turns_it_on(settings):
            notes.append(
                "the program turned the collector on again: off at the start, it runs from there on "
                "(--gc-threshold 0 keeps it off)"
            )
    elif stretches:
        notes.append(
            f"the program kept the collector from running in {stretches} of the stretches between "
            "collections; so does the model"
        )
    if other_thresholds and len(np.unique(settings.thresholds, axis=0)) > 1:
        notes.append("the program set thresholds itself; the model keeps those of the scenario throughout")
    return notes


def assumptions(header: Header, *, use_pymalloc: bool, older_arenas: int) -> list[str]:
    """What holds for every number of a simulation of this trace.

    ``older_arenas``: how many the model starts with.
    """
    can = header.capabilities
    if older_arenas:
        older = "of the blocks older than the recording the model knows those in arenas, not those of malloc"
    else:
        older = "blocks older than the recording are unknown: the model starts from an empty heap"
    notes = [older]
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
