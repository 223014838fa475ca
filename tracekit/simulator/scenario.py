"""Scenarios: what to suppose, and whether it makes sense."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import msgspec

from tracekit.errors import ScenarioError
from tracekit.simulator.knowledge import knows_tracked
from tracekit.simulator.parameters import PyMallocParameters, recorded_parameters
from tracekit.simulator.settings import CollectorSettings, MachineSettings
from tracekit.simulator.source import TraceSource

ALLOCATORS = ("pymalloc", "malloc")
MAX_ARENA_BYTES = 1 << 31
"""obmalloc.c refuses arenas of 2**32 bytes and more."""
MAX_THRESHOLD = 2**31 - 1
"""Thresholds are C ints."""


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """What to suppose; everything left out is as it was recorded. Sizes are bytes.

    ``gc_off``: gc.disable() at the start; collections that the program asks for run all the same.
    ``gc_thresholds``: those of gc.set_threshold, None for one that stays as it was. ``gc_freeze_at``: the
    moment after which gc.freeze() is called. ``allocator`` "malloc" is PYTHONMALLOC=malloc.
    ``memory_limit``: most bytes that the process may hold.
    """

    name: str = "recorded"
    gc_thresholds: tuple[int, int | None, int | None] | None = None
    gc_off: bool = False
    gc_freeze_at: str | None = None
    allocator: Literal["pymalloc", "malloc"] = "pymalloc"
    arena_size: int | None = None
    pool_size: int | None = None
    memory_limit: int | None = None


def collector_is_off(scenario: Scenario) -> bool:
    """Whether no collection begins by itself: ``gc_off``, or a threshold 0 of 0."""
    return scenario.gc_off or (scenario.gc_thresholds is not None and scenario.gc_thresholds[0] == 0)


def changes_collector(scenario: Scenario) -> bool:
    """Whether collections run at other times than in the recording."""
    return scenario.gc_off or scenario.gc_thresholds is not None or scenario.gc_freeze_at is not None


def knows_collections(scenario: Scenario, source: TraceSource) -> bool:
    """Whether the model can say when its collections run, or needs not: none begins by itself."""
    return knows_tracked(source.header) or collector_is_off(scenario)


def check(scenario: Scenario, source: TraceSource) -> None:
    """Raises ScenarioError naming the setting that makes no sense, for this trace or for any."""
    if scenario.allocator not in ALLOCATORS:
        raise ScenarioError(f"allocator {scenario.allocator!r} is none of {', '.join(ALLOCATORS)}")
    if scenario.gc_off and scenario.gc_thresholds is not None:
        raise ScenarioError(
            "the collector is switched off and given thresholds", hint="choose one of the two"
        )
    for generation, threshold in enumerate(scenario.gc_thresholds or ()):
        if threshold is not None and not 0 <= threshold <= MAX_THRESHOLD:
            bound = "below 0" if threshold < 0 else f"above {MAX_THRESHOLD}, the most that CPython takes"
            raise ScenarioError(f"threshold {threshold} of generation {generation} is {bound}")
    if scenario.memory_limit is not None and scenario.memory_limit <= 0:
        raise ScenarioError(f"a memory limit of {scenario.memory_limit} bytes leaves no memory at all")
    if scenario.allocator == "malloc" and (scenario.arena_size or scenario.pool_size) is not None:
        raise ScenarioError("arena and pool sizes have no meaning with the allocator malloc")
    settings_of(source, scenario, recorded_parameters(source.header))


def _sizes(scenario: Scenario, recorded: PyMallocParameters) -> PyMallocParameters:
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


def settings_of(source: TraceSource, scenario: Scenario, recorded: PyMallocParameters) -> MachineSettings:
    """What a machine is told of a scenario. Raises ScenarioError."""
    return MachineSettings(
        parameters=_sizes(scenario, recorded),
        use_pymalloc=scenario.allocator == "pymalloc",
        memory_limit=scenario.memory_limit,
        collector=CollectorSettings(
            thresholds=_thresholds(source, scenario),
            enabled=not scenario.gc_off,
            freeze_seq=_freeze_seq(source, scenario),
        ),
    )


def _thresholds(source: TraceSource, scenario: Scenario) -> tuple[int, int, int] | None:
    """All three; those that were left out are as at the start of the recording."""
    given = scenario.gc_thresholds
    if given is None:
        return None
    recorded = source.header.collector.thresholds
    first, second, third = (
        was if value is None else value for value, was in zip(given, recorded, strict=True)
    )
    return first, second, third


def _freeze_seq(source: TraceSource, scenario: Scenario) -> int | None:
    moment = scenario.gc_freeze_at
    if moment is None:
        return None
    for (seq,) in source.query("SELECT moment(?, trace := ?)", [moment, source.trace_id]).rows():
        if seq is not None:
            return int(str(seq)) + 1
    raise ScenarioError(
        f"the recording has no moment {moment!r} to freeze the collector's objects at",
        hint="say start, end, peak, 1.5s, 200ms, 50%, seq:N, gc:N or mark:NAME",
    )


def settings_shown(
    source: TraceSource, scenario: Scenario, recorded: PyMallocParameters
) -> dict[str, object]:
    """What was in force, for the report."""
    parameters = _sizes(scenario, recorded)
    thresholds = _thresholds(source, scenario)
    settings: dict[str, object] = {
        "allocator": scenario.allocator,
        "gc_off": scenario.gc_off,
        "gc_thresholds": None if thresholds is None else list(thresholds),
        "gc_freeze_at": scenario.gc_freeze_at,
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
