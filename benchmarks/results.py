"""The figures of a benchmark: what was run, round by round, and the numbers that follow from it."""

from __future__ import annotations

import statistics
from collections.abc import Callable

from msgspec import Struct, field

from benchmarks.measure import Run
from benchmarks.programs import EMPTY

RING_BYTES = 16 << 20


class Workload(Struct):
    """All runs of one program. ``rounds`` are in the order of time, each by the recorder's name.

    ``watched`` are the runs that peak memory was read from. ``failed`` says by recorder what went wrong,
    ``missing`` why the workload could not be run at all.
    """

    description: str
    missing: str = ""
    watched: dict[str, Run] = field(default_factory=dict)
    rounds: list[dict[str, Run]] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)


class Facts(Struct):
    """What the figures depend on beside the programs. Sizes in bytes; versions by distribution."""

    cpu: str
    cores: int
    memory: int
    kernel: str
    machine: str
    python: str
    versions: dict[str, str]


class Goal(Struct):
    """A goal, the figure that was measured, and whether it is met (None: it was not measured)."""

    goal: str
    figure: str
    met: bool | None


class Results(Struct):
    """Everything of one benchmark.

    ``missing`` says by recorder why it was not used; those in ``once`` ran in the first round only.
    """

    facts: Facts
    rounds: int
    recorders: dict[str, str] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    workloads: dict[str, Workload] = field(default_factory=dict)
    once: list[str] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)

    def pairs(self, workload: str, recorder: str) -> list[tuple[Run, Run]]:
        """The runs with a recorder, each with the one alone of the same round."""
        rounds = self.workloads[workload].rounds if workload in self.workloads else []
        return [(runs[recorder], runs["none"]) for runs in rounds if recorder in runs and "none" in runs]

    def median(self, workload: str, recorder: str, of: Callable[[Run, Run], float]) -> float | None:
        """Median over the rounds of a figure of a run and the run alone; None when there is none."""
        pairs = self.pairs(workload, recorder)
        return statistics.median(of(run, alone) for run, alone in pairs) if pairs else None

    def wall(self, workload: str, recorder: str) -> float | None:
        """Wall seconds."""
        return self.median(workload, recorder, lambda run, _: run.wall_s)

    def slowdown(self, workload: str, recorder: str) -> float | None:
        """Wall time, in times of the program alone."""
        return self.median(workload, recorder, lambda run, alone: run.wall_s / alone.wall_s)

    def cpu(self, workload: str, recorder: str) -> float | None:
        """CPU time of program and recorder together, in times of the program alone."""
        return self.median(workload, recorder, lambda run, alone: run.cpu_s / alone.cpu_s)

    def added(self, workload: str, recorder: str) -> float | None:
        """Wall seconds that the recorder adds."""
        return self.median(workload, recorder, lambda run, alone: run.wall_s - alone.wall_s)

    def steady(self, workload: str, recorder: str) -> float | None:
        """The slowdown that is left when Python's and the recorder's start and end are taken off.

        These are the median times of the program that does nothing.
        """
        start, bare = self.wall(EMPTY, recorder), self.wall(EMPTY, "none")
        if start is None or bare is None:
            return None
        return self.median(
            workload, recorder, lambda run, alone: (run.wall_s - start) / (alone.wall_s - bare)
        )

    def rss(self, workload: str, recorder: str) -> float | None:
        """Peak resident bytes of the program."""
        found = self.workloads[workload].watched.get(recorder) if workload in self.workloads else None
        return found.peak_rss if found and found.peak_rss else None

    def content(self, workload: str, recorder: str) -> tuple[int, int] | None:
        """Events and bytes of the recorder's file, both medians over the rounds."""
        runs = [run for run, _ in self.pairs(workload, recorder) if run.events]
        if not runs:
            return None
        return (
            int(statistics.median(run.events for run in runs)),
            int(statistics.median(run.log_bytes for run in runs)),
        )

    @property
    def unrest(self) -> float:
        """How much longer than its fastest run alone the slowest took, at worst over the workloads."""
        spreads = [0.0]
        for name in self.names:
            walls = [alone.wall_s for _, alone in self.pairs(name, "none")]
            spreads.append(max(walls) / min(walls) - 1)
        return max(spreads)

    @property
    def names(self) -> list[str]:
        """The workloads that were measured, without the empty program."""
        return [name for name, found in self.workloads.items() if name != EMPTY and found.rounds]

    def mean(self, recorder: str, of: Callable[[str, str], float | None]) -> float | None:
        """Geometric mean over the workloads; None unless every one of them has the figure."""
        figures = [of(name, recorder) for name in self.names]
        known = [figure for figure in figures if figure is not None]
        complete = bool(known) and len(known) == len(figures) and min(known) > 0
        return statistics.geometric_mean(known) if complete else None
