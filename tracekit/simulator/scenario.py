"""A simulation: what to suppose, what came out, and what the trace cannot tell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import msgspec

from tracekit.errors import ScenarioError
from tracekit.simulator import knowledge
from tracekit.simulator.machine import ArenaPoint, Machine, OutOfMemory
from tracekit.simulator.parameters import PyMallocParameters, recorded_parameters
from tracekit.simulator.source import TraceSource, recorded_collections, recorded_peak_arenas

ALLOCATORS = ("pymalloc", "malloc")
MAX_ARENA_BYTES = 1 << 31
"""obmalloc.c refuses arenas of 2**32 bytes and more."""

__all__ = ["ArenaPoint", "OutOfMemory", "Scenario", "Simulation", "simulate"]


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What to suppose; everything left out is as it was recorded. Sizes are bytes.

    ``gc_off``: no collection ever runs. ``gc_thresholds``: those of ``gc.set_threshold``. ``allocator``
    "malloc" is PYTHONMALLOC=malloc. ``memory_limit``: most bytes of arenas, malloc's heap and mappings.
    """

    name: str = "recorded"
    gc_thresholds: tuple[int, int, int] | None = None
    gc_off: bool = False
    allocator: Literal["pymalloc", "malloc"] = "pymalloc"
    arena_size: int | None = None
    pool_size: int | None = None
    memory_limit: int | None = None


class Simulation(msgspec.Struct, frozen=True, kw_only=True):
    """What a scenario came to. Sizes are bytes.

    ``collections``: collections of each generation. ``arenas``: held at the end. ``peak_bytes``: most bytes
    in live blocks. ``peak_footprint_bytes``: most bytes held from the kernel (arenas, malloc's heap,
    mappings). ``end_bytes``: in live blocks at the end. ``fragmentation``: 1 - live bytes in arenas / bytes
    of arenas, at the end; ``peak_fragmentation`` at the instant of ``peak_bytes``; both None when nothing
    goes to arenas. ``timeline``: a point for each change of the number of arenas (thinned when long).

    "The end" is the end of the trace, or the event before ``out_of_memory``. A field that the trace cannot
    answer is None. ``unknown`` names every field that is None, or is a bound only, and says why; ``notes``
    are the assumptions behind all of them.
    """

    scenario: str
    settings: dict[str, object]
    collections: list[int] | None
    recorded_collections: list[int]
    arenas: int
    peak_arenas: int
    recorded_peak_arenas: int | None
    peak_bytes: int
    peak_footprint_bytes: int
    end_bytes: int
    fragmentation: float | None
    peak_fragmentation: float | None
    out_of_memory: OutOfMemory | None
    unknown: dict[str, str]
    notes: list[str]
    timeline: list[ArenaPoint]


def simulate(
    source: TraceSource, scenario: Scenario, progress: Callable[[int, int], None] | None = None
) -> Simulation:
    """Run a trace through the model of CPython's allocators under a scenario.

    ``progress(steps_done, steps_total)`` is called after each batch. Raises ScenarioError, before anything
    is read, for settings that make no sense.
    """
    parameters = check(scenario, recorded_parameters(source.header))
    use_pymalloc = scenario.allocator == "pymalloc"
    machine = Machine(
        parameters,
        use_pymalloc=use_pymalloc,
        keep_collected=collector_is_off(scenario),
        memory_limit=scenario.memory_limit,
    )
    totals = source.totals
    done, total = 0, totals.allocations + totals.frees - totals.unmatched_frees
    for steps in source.steps():
        if not machine.feed(steps):
            break
        done += len(steps)
        if progress is not None:
            progress(done, total)
    unknown = _unknown(source, scenario, machine)
    return Simulation(
        scenario=scenario.name,
        settings=_settings(scenario, parameters),
        collections=[0, 0, 0] if collector_is_off(scenario) else None,
        recorded_collections=recorded_collections(source),
        arenas=machine.arenas,
        peak_arenas=machine.peak_arenas,
        recorded_peak_arenas=recorded_peak_arenas(source) if source.header.capabilities.arenas else None,
        peak_bytes=machine.peak.live_bytes,
        peak_footprint_bytes=machine.memory.peak_footprint_bytes,
        end_bytes=machine.live_bytes,
        fragmentation=machine.fragmentation() if use_pymalloc else None,
        peak_fragmentation=machine.peak_fragmentation() if use_pymalloc else None,
        out_of_memory=machine.out_of_memory,
        unknown=unknown,
        notes=knowledge.assumptions(source.header, use_pymalloc=use_pymalloc),
        timeline=machine.timeline,
    )


def collector_is_off(scenario: Scenario) -> bool:
    """Whether no collection runs: ``gc_off``, or a threshold of 0 for generation 0 (gc.set_threshold)."""
    return scenario.gc_off or (scenario.gc_thresholds is not None and scenario.gc_thresholds[0] == 0)


def check(scenario: Scenario, recorded: PyMallocParameters) -> PyMallocParameters:
    """The sizes that a scenario comes to. Raises ScenarioError naming the setting that makes no sense."""
    if scenario.allocator not in ALLOCATORS:
        raise ScenarioError(f"allocator {scenario.allocator!r} is none of {', '.join(ALLOCATORS)}")
    if scenario.gc_off and scenario.gc_thresholds is not None:
        raise ScenarioError(
            "the collector is switched off and given thresholds", hint="choose one of the two"
        )
    for generation, threshold in enumerate(scenario.gc_thresholds or ()):
        if threshold < 0:
            raise ScenarioError(f"threshold {threshold} of generation {generation} is below 0")
    if scenario.memory_limit is not None and scenario.memory_limit <= 0:
        raise ScenarioError(f"a memory limit of {scenario.memory_limit} bytes leaves no memory at all")
    if scenario.allocator == "malloc" and (scenario.arena_size or scenario.pool_size) is not None:
        raise ScenarioError("arena and pool sizes have no meaning with the allocator malloc")
    arena = recorded.arena_size if scenario.arena_size is None else scenario.arena_size
    pool = recorded.pool_size if scenario.pool_size is None else scenario.pool_size
    return _checked_sizes(replace(recorded, arena_size=arena, pool_size=pool))


def _checked_sizes(parameters: PyMallocParameters) -> PyMallocParameters:
    """The parameters, if an allocator can be built with them (the #error lines of obmalloc.c)."""
    arena, pool, page = parameters.arena_size, parameters.pool_size, parameters.page_size
    for what, size in (("arena", arena), ("pool", pool)):
        if size < page:
            raise ScenarioError(f"{what} size {size} is too small: a page has {page} bytes")
        if size & (size - 1):
            raise ScenarioError(f"{what} size {size} is not a power of two")
        if size > MAX_ARENA_BYTES:
            raise ScenarioError(f"{what} size {size} is too large: {MAX_ARENA_BYTES} bytes is the most")
    if pool > arena:
        raise ScenarioError(f"a pool of {pool} bytes is larger than an arena of {arena} bytes")
    if parameters.pools_per_arena < 2:
        raise ScenarioError(
            f"an arena of {arena} bytes has no room for two pools of {pool} bytes once they are aligned"
        )
    return parameters


def _settings(scenario: Scenario, parameters: PyMallocParameters) -> dict[str, object]:
    """What was in force, for the report."""
    settings: dict[str, object] = {
        "allocator": scenario.allocator,
        "gc_off": scenario.gc_off,
        "gc_thresholds": None if scenario.gc_thresholds is None else list(scenario.gc_thresholds),
        "memory_limit": scenario.memory_limit,
        "page_size": parameters.page_size,
    }
    if scenario.allocator == "pymalloc":
        settings |= {
            "arena_size": parameters.arena_size,
            "pool_size": parameters.pool_size,
            "pools_per_arena": parameters.pools_per_arena,
            "small_request_threshold": parameters.small_request_threshold,
        }
    return settings


def _unknown(source: TraceSource, scenario: Scenario, machine: Machine) -> dict[str, str]:
    """Every field that this trace leaves open or bounds only, and why."""
    header = source.header
    unknown: dict[str, str] = {}
    if not collector_is_off(scenario):
        unknown["collections"] = knowledge.why_no_collections(header)
        if scenario.gc_thresholds is not None:
            unknown["peak_bytes"] = knowledge.why_other_thresholds_leave_the_peak_open()
    elif machine.frees_of_unknown_cause:
        unknown["peak_bytes"] = knowledge.why_peak_is_a_lower_bound(machine.frees_of_unknown_cause)
    if not header.capabilities.arenas:
        unknown["recorded_peak_arenas"] = knowledge.why_no_recorded_arenas(header)
    if scenario.allocator == "malloc":
        unknown["fragmentation"] = unknown["peak_fragmentation"] = (
            "the fragmentation of malloc's heap is not modelled"
        )
    return unknown
