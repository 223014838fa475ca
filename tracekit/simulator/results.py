"""What a scenario came to: the numbers of its machines, set beside what was recorded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from tracekit.simulator import knowledge
from tracekit.simulator.outcome import Outcome, OutOfMemory, Timeline
from tracekit.simulator.recording import Recording, generation_counts
from tracekit.simulator.scenario import (
    Scenario,
    changes_collector,
    collector_is_off,
    knows_collections,
    settings_shown,
)
from tracekit.simulator.source import TraceSource

Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Courses:
    """What the machines of a scenario came to: of the low bound, of the likely course, and of the high bound.

    All are the same outcome where there is nothing to suppose.
    """

    low: Outcome
    likely: Outcome
    high: Outcome

    @property
    def certain(self) -> bool:
        """Whether there is only one."""
        return self.low is self.high


class TimelinePoint(msgspec.Struct, frozen=True, kw_only=True):
    """Up to event ``seq``, at ``time_s`` seconds: the most there was since the point before, low and high.

    ``live_bytes`` in live blocks, ``arenas`` held, ``footprint`` bytes held from the kernel just after
    ``seq``. The two bounds are equal where nothing is uncertain; None after that machine ran out of memory.
    """

    seq: int
    time_s: float
    live_bytes_low: int | None
    live_bytes_high: int | None
    arenas_low: int | None
    arenas_high: int | None
    footprint_low: int | None
    footprint_high: int | None


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario came to. Sizes are bytes, ``*_bounds`` are (low, high).

    ``collections``: of each generation, those that the program asked for (``collections_asked``) included.
    ``collector_seconds``: the recorded pauses where the collector is as recorded, otherwise estimated from
    them, by the objects that collections look at. ``arenas``: held at the end. ``peak_bytes``: most bytes in
    live blocks. ``peak_footprint_bytes``: most bytes held from the kernel (arenas, malloc's heap, mappings
    and what the process held besides at the start). ``fragmentation``: 1 - live bytes in arenas / bytes of
    arenas, at the end; ``peak_fragmentation`` at the instant of ``peak_bytes``; both None when nothing goes
    to arenas. ``peak_stack_bytes``: most that the frames of all threads took.

    Under another schedule of the collector nobody knows from when on cyclic garbage was unreachable: the
    low bound supposes as early as possible, the high one as late, and a likely course after the lifetimes
    that the recording shows. Collections and the time for them are those of the likely course. Every other
    number without bounds is the high one, except ``peak_bytes`` and ``end_bytes``, which are None where the
    bounds differ.

    "The end" is the end of the trace, or the event before ``out_of_memory``, which is that of the high
    bound; ``out_of_memory_certain`` says that the low one runs out, too. A field that the trace cannot
    answer is None. ``unknown`` names every field that is None, or is a bound only, and says why; ``notes``
    are the assumptions behind all of them.
    """

    scenario: str
    settings: dict[str, object]
    collections: list[int] | None
    collections_asked: list[int]
    recorded_collections: list[int]
    collector_seconds: float | None
    recorded_collector_seconds: float
    arenas: int
    peak_arenas: int
    peak_arenas_bounds: Bounds
    recorded_peak_arenas: int | None
    peak_bytes: int | None
    peak_bytes_bounds: Bounds
    peak_footprint_bytes: int
    peak_footprint_bounds: Bounds
    end_bytes: int | None
    end_bytes_bounds: Bounds
    fragmentation: float | None
    peak_fragmentation: float | None
    peak_stack_bytes: int
    out_of_memory: OutOfMemory | None
    out_of_memory_certain: bool
    unknown: dict[str, str]
    notes: list[str]
    timeline: list[TimelinePoint]


@dataclass(frozen=True, slots=True)
class Simulated:
    """A simulation and the outcomes behind it."""

    simulation: Simulation
    courses: Courses


class Pauses:
    """How long collections take: seconds for each object looked at, by generation, from the recorded ones."""

    def __init__(self, recording: Recording, as_recorded: Outcome) -> None:
        generation, durations = recording.reference.generation, recording.durations_ns / 1e9
        self._starts, self._durations = recording.reference.start_seq, durations
        self.recorded_seconds = float(durations.sum())
        examined = as_recorded.collections.examined
        all_examined = float(examined.sum())
        overall = self.recorded_seconds / all_examined if all_examined else None
        self._seconds: list[float | None] = []
        for number in range(3):
            looked_at = float(examined[as_recorded.collections.generation == number].sum())
            spent = float(durations[generation == number].sum())
            self._seconds.append(spent / looked_at if looked_at and spent else overall)

    def recorded_until(self, outcome: Outcome) -> float:
        """Seconds of the recorded collections that began before an outcome ran out of memory."""
        lack = outcome.out_of_memory
        begun = slice(None) if lack is None else self._starts <= lack.seq
        return float(self._durations[begun].sum())

    def estimate(self, outcome: Outcome) -> float | None:
        """Seconds for the collections of an outcome; None when there was no pause to learn from."""
        seconds = 0.0
        for number, each in enumerate(self._seconds):
            examined = int(outcome.collections.examined[outcome.collections.generation == number].sum())
            if examined and each is None:
                return None
            seconds += examined * (each or 0.0)
        return seconds


def result_of(
    source: TraceSource,
    recording: Recording,
    scenario: Scenario,
    pauses: Pauses,
    courses: Courses,
) -> Simulated:
    """The simulation that the outcomes come to."""
    low, high = courses.low, courses.high
    likely = high if high.out_of_memory is not None else courses.likely
    header = source.header
    knows = knows_collections(scenario, source)
    seconds = pauses.estimate(likely) if changes_collector(scenario) else pauses.recorded_until(high)
    peak = _ordered(low.peak.live_bytes, high.peak.live_bytes)
    end = _ordered(low.live_bytes, high.live_bytes)
    collections = likely.collections
    simulation = Simulation(
        scenario=scenario.name,
        settings=settings_shown(source, scenario, recording.parameters),
        collections=generation_counts(collections.generation) if knows else None,
        collections_asked=generation_counts(collections.generation[collections.asked]),
        recorded_collections=recording.collections(),
        collector_seconds=seconds if knows else None,
        recorded_collector_seconds=pauses.recorded_seconds,
        arenas=high.arenas,
        peak_arenas=high.peak_arenas,
        peak_arenas_bounds=_ordered(low.peak_arenas, high.peak_arenas),
        recorded_peak_arenas=recording.peak_arenas() if header.capabilities.arenas else None,
        peak_bytes=_certain(peak),
        peak_bytes_bounds=peak,
        peak_footprint_bytes=high.peak_footprint_bytes,
        peak_footprint_bounds=_ordered(low.peak_footprint_bytes, high.peak_footprint_bytes),
        end_bytes=_certain(end),
        end_bytes_bounds=end,
        fragmentation=_fragmentation(recording, scenario, high.small_bytes + high.older_bytes, high.arenas),
        peak_fragmentation=_fragmentation(
            recording, scenario, high.peak.small_bytes + high.peak.older_bytes, high.peak.arenas
        ),
        peak_stack_bytes=high.peak_stack_bytes,
        out_of_memory=high.out_of_memory,
        out_of_memory_certain=low.out_of_memory is not None,
        unknown=_unknown(source, scenario, courses),
        notes=_notes(source, recording, scenario),
        timeline=list(_timeline(low.timeline, high.timeline)),
    )
    return Simulated(simulation, courses)


def _notes(source: TraceSource, recording: Recording, scenario: Scenario) -> list[str]:
    notes = knowledge.assumptions(
        source.header,
        use_pymalloc=scenario.allocator == "pymalloc",
        older_arenas=len(recording.older.arenas),
    )
    notes += knowledge.about_switching(
        recording.reference, off=scenario.gc_off, other_thresholds=scenario.gc_thresholds is not None
    )
    if changes_collector(scenario):
        on = not collector_is_off(scenario) or knowledge.turns_it_on(recording.reference.settings)
        notes += knowledge.about_other_collections(
            by_itself=on, waits=recording.collects_at_checks, lists=recording.reference.lists.known
        )
    return notes


def _ordered(one: int, other: int) -> Bounds:
    """The low bound of live bytes need not be that of everything: fewer bytes may hold more arenas."""
    return min(one, other), max(one, other)


def _certain(bounds: Bounds) -> int | None:
    return bounds[0] if bounds[0] == bounds[1] else None


def _fragmentation(recording: Recording, scenario: Scenario, live: int, arenas: int) -> float | None:
    if scenario.allocator != "pymalloc":
        return None
    held = arenas * (scenario.arena_size or recording.parameters.arena_size)
    return 1 - live / held if held else 0.0


def _timeline(low: Timeline, high: Timeline) -> Iterator[TimelinePoint]:
    """Points of both, matched by the span of events that they stand for."""
    lower = _points(low)
    higher = lower if high is low else _points(high)
    for seq in sorted(lower.keys() | higher.keys()):
        time_ns, *first = lower.get(seq, (None, None, None, None))
        other_ns, *second = higher.get(seq, (None, None, None, None))
        yield TimelinePoint(
            seq=seq,
            time_s=(time_ns if time_ns is not None else other_ns or 0) / 1e9,
            live_bytes_low=first[0],
            live_bytes_high=second[0],
            arenas_low=first[1],
            arenas_high=second[1],
            footprint_low=first[2],
            footprint_high=second[2],
        )


def _points(timeline: Timeline) -> dict[int, tuple[int | None, ...]]:
    columns = (
        timeline.time_ns.tolist(),
        timeline.peak_live_bytes.tolist(),
        timeline.peak_arenas.tolist(),
        timeline.footprint_bytes.tolist(),
    )
    return dict(zip(timeline.seq.tolist(), zip(*columns, strict=True), strict=True))


def _unknown(source: TraceSource, scenario: Scenario, courses: Courses) -> dict[str, str]:
    """Every field that this trace leaves open or bounds only, and why."""
    header = source.header
    unknown: dict[str, str] = {}
    low, high = courses.low, courses.high
    if not knows_collections(scenario, source):
        unknown["collections"] = unknown["collector_seconds"] = knowledge.why_no_collections(header)
        if changes_collector(scenario):
            unknown["peak_bytes"] = knowledge.why_other_thresholds_leave_the_peak_open()
    elif low.peak.live_bytes != high.peak.live_bytes:
        unknown["peak_bytes"] = knowledge.why_the_peak_has_bounds()
    elif changes_collector(scenario) and high.frees_of_unknown_cause:
        unknown["peak_bytes"] = knowledge.why_peak_is_a_lower_bound(high.frees_of_unknown_cause)
    if not header.capabilities.arenas:
        unknown["recorded_peak_arenas"] = knowledge.why_no_recorded_arenas(header)
    if scenario.allocator == "malloc":
        unknown["fragmentation"] = unknown["peak_fragmentation"] = (
            "the fragmentation of malloc's heap is not modelled"
        )
    return unknown
