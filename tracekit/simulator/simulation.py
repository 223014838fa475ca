"""Simulations: scenarios run side by side over one trace, and what came out of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from tracekit.errors import StoreError
from tracekit.simulator.fast import best_machine
from tracekit.simulator.outcome import Outcome
from tracekit.simulator.recording import Recording, read_recording
from tracekit.simulator.results import Courses, Pauses, Simulated, Simulation, result_of
from tracekit.simulator.scenario import Scenario, changes_collector, check, knows_collections, settings_of
from tracekit.simulator.settings import Garbage, MachineSettings
from tracekit.simulator.source import TraceSource

TIMELINE_POINTS = 512
MACHINES_AT_ONCE = 8
"""So many hold their heaps in memory at the same time; more scenarios read the trace again."""


def simulate(
    source: TraceSource, scenario: Scenario, progress: Callable[[int, int], None] | None = None
) -> Simulation:
    """One scenario; see :func:`simulate_all`."""
    return simulate_all(source, [scenario], progress)[0].simulation


def simulate_all(
    source: TraceSource,
    scenarios: Sequence[Scenario],
    progress: Callable[[int, int], None] | None = None,
) -> list[Simulated]:
    """Run a trace through the model of CPython's memory manager under each of the scenarios.

    ``progress(steps_done, steps_total)`` is called after each batch. Raises ScenarioError, before anything
    is read, for settings that make no sense.
    """
    for scenario in scenarios:
        check(scenario, source)
    totals = source.totals
    events = totals.allocations + totals.frees
    wanted = len(scenarios)
    passes = 1 + -(-(3 * wanted + 1) // MACHINES_AT_ONCE)
    done = 0

    def tell(steps: int) -> None:
        if progress is not None:
            progress(min(done + steps, passes * events), passes * events)

    recording = read_recording(source, tell)
    done = events
    told = [_told(source, recording, scenario, events) for scenario in scenarios]
    as_recorded = _told(source, recording, Scenario(), events)[0]
    settings = list(dict.fromkeys([as_recorded, *(one for course in told for one in course)]))
    outcomes: dict[MachineSettings, Outcome] = {}
    for first in range(0, len(settings), MACHINES_AT_ONCE):
        outcomes |= run_machines(source, recording, settings[first : first + MACHINES_AT_ONCE], tell)
        done += events
    tell(passes * events)
    pauses = Pauses(recording, outcomes[as_recorded])
    return [
        result_of(source, recording, scenario, pauses, Courses(*(outcomes[one] for one in course)))
        for scenario, course in zip(scenarios, told, strict=True)
    ]


def _told(
    source: TraceSource, recording: Recording, scenario: Scenario, events: int
) -> tuple[MachineSettings, MachineSettings, MachineSettings]:
    """What the machines of the low bound, the likely course and the high bound are told; maybe the same."""
    settings = replace(
        settings_of(source, scenario, recording.parameters),
        collects_at_checks=recording.collects_at_checks,
        base_bytes=recording.base_bytes,
        sample_every=max(1, events // TIMELINE_POINTS),
    )
    if not changes_collector(scenario) or not knows_collections(scenario, source):
        return settings, settings, settings
    early, likely, late = (
        replace(settings, collector=replace(settings.collector, garbage=garbage))
        for garbage in (Garbage.EARLY, Garbage.LIKELY, Garbage.LATE)
    )
    return early, likely, late


def run_machines(
    source: TraceSource,
    recording: Recording,
    settings: Sequence[MachineSettings],
    tell: Callable[[int], None],
) -> dict[MachineSettings, Outcome]:
    """One pass over the trace, all machines side by side."""
    build = best_machine()
    machines = [build(one, recording.reference, recording.older, recording.path_bytes) for one in settings]
    running = list(machines)
    done = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for steps in source.steps():
            try:
                going = list(pool.map(lambda machine: machine.feed(steps), running))  # noqa: B023
            except ValueError as error:
                raise StoreError(
                    f"the recording's events contradict each other from seq:{int(steps.seq[0])}: {error}",
                    hint="'tracekit verify' says more",
                ) from None
            running = [machine for machine, goes_on in zip(running, going, strict=True) if goes_on]
            done += len(steps)
            tell(done)
            if not running:
                break
    return {one: machine.finish() for one, machine in zip(settings, machines, strict=True)}
