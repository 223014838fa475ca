"""The figures of the store, and the numbers that follow from them."""

from __future__ import annotations

import statistics

from msgspec import Struct, field

from benchmarks.measure import Timing
from benchmarks.results import Facts, Goal

LARGEST = 100_000_000
"""The length that the goals of memory and size are about."""

ANSWER_RATE = 6e6
INGEST_RSS = 1 << 30
INSTANT_SECONDS = 0.030
STORE_BYTES = 12.0
SIMULATE_RATE = 5e6
SIMULATE_RSS = 1 << 30

FIRST = "first"
"""Name of the command whose speed is a goal."""


class Asked(Struct):
    """A command that answers something about a recording: its runs, and what is in its file.

    ``events`` is the tool's own count.
    """

    title: str
    events: int
    file_bytes: int
    runs: list[Timing] = field(default_factory=list)
    failed: str = ""

    @property
    def seconds(self) -> float | None:
        """Median wall time of the whole process."""
        return statistics.median(run.wall_s for run in self.runs) if self.runs else None

    @property
    def rate(self) -> float | None:
        """Events a second, of the median run."""
        return self.events / self.seconds if self.seconds else None

    def ratio(self, other: Asked) -> float | None:
        """Wall time in times of another command's; a ratio is taken within one round."""
        pairs = list(zip(self.runs, other.runs, strict=False))
        return statistics.median(mine.wall_s / its.wall_s for mine, its in pairs) if pairs else None


class Size(Struct):
    """A recorded program: events, and bytes of the log and of its store."""

    events: int
    log_bytes: int
    store_bytes: int


class Length(Struct):
    """A synthetic log. ``alive`` is how many blocks were asked to be alive at a time, ``blocks`` how many
    were at each instant that was asked for; times are seconds. ``simulate_s``: the recorded settings, and
    another threshold of the collector."""

    alive: int
    size: Size
    build_s: float
    build_rss: int
    ask_rss: int
    open_s: float
    instants_s: list[float]
    blocks: list[int]
    simulate_s: list[float] = field(default_factory=list)
    simulate_rss: int = 0

    @property
    def median_s(self) -> float:
        """Median time of one instant."""
        return statistics.median(self.instants_s)

    @property
    def slow_s(self) -> float:
        """95th percentile of the times of the instants."""
        return statistics.quantiles(self.instants_s, n=20, method="inclusive")[-1]


class StoreResults(Struct):
    """Everything of one benchmark; ``lengths`` differ in events, ``scales`` in blocks alive."""

    facts: Facts
    rounds: int
    asked: dict[str, Asked] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    sizes: dict[str, Size] = field(default_factory=dict)
    lengths: list[Length] = field(default_factory=list)
    scales: list[Length] = field(default_factory=list)
    goals: list[Goal] = field(default_factory=list)


def goals(results: StoreResults) -> list[Goal]:
    """The goals of the store, held against the figures."""
    first = results.asked[FIRST].rate if FIRST in results.asked else None
    slowest = max(results.lengths, key=lambda each: each.median_s, default=None)
    largest = next((each for each in results.lengths if each.size.events == LARGEST), None)
    dense = largest.size.store_bytes / largest.size.events if largest else None
    speed = largest.size.events / largest.simulate_s[0] if largest and largest.simulate_s else None
    room = largest.simulate_rss if largest else None
    million, memory = LARGEST // 1_000_000, largest.build_rss if largest else None
    return [
        _goal(
            f"from log to first answer at least {ANSWER_RATE / 1e6:.0f} M events/s",
            first and f"{first / 1e6:.2f} M",
            first and first >= ANSWER_RATE,
        ),
        _goal(
            f"peak RSS of building the store of {million} M events below {INGEST_RSS >> 20} MiB",
            memory and f"{memory / 2**20:,.0f} MiB",
            memory and memory < INGEST_RSS,
        ),
        _goal(
            f"heap at an instant by call path at most {INSTANT_SECONDS * 1000:.0f} ms, median, at any length",
            slowest and f"at worst {slowest.median_s * 1000:.1f} ms ({slowest.size.events:,} events)",
            slowest and slowest.median_s <= INSTANT_SECONDS,
        ),
        _goal(
            f"at most {STORE_BYTES:.0f} bytes of store an event at {million} M events",
            dense and f"{dense:.2f}",
            dense and dense <= STORE_BYTES,
        ),
        _goal(
            f"one scenario simulated at {SIMULATE_RATE / 1e6:.0f} M events/s or more, at {million} M events",
            speed and f"{speed / 1e6:.2f} M",
            speed and speed >= SIMULATE_RATE,
        ),
        _goal(
            f"peak RSS of simulating {million} M events below {SIMULATE_RSS >> 20} MiB",
            room and f"{room / 2**20:,.0f} MiB",
            room and room < SIMULATE_RSS,
        ),
    ]


def _goal(text: str, figure: object, met: object) -> Goal:
    """A goal, not measured when there is no figure."""
    return Goal(text, str(figure), bool(met)) if figure else Goal(text, "not measured", None)
