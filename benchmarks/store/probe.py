"""One process that builds a store or asks it, and says what that took.

``python -m benchmarks.store.probe build LOG OUTPUT``, or ``ask`` with ``--instants 100 --seed 0``, or
``simulate``: the recorded settings, then another threshold of the collector, which takes two bounds. The
answer goes to OUTPUT as JSON. Peak memory is the kernel's mark for this process (``VmHWM``, proc(5)), all
threads of DuckDB included.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from pathlib import Path

import msgspec
from msgspec import Struct, field

from benchmarks.measure import high_water
from tracekit.simulator.scenario import Scenario
from tracekit.simulator.simulation import simulate_all
from tracekit.store.database import Store
from tracekit.store.opening import open_store
from tracekit.store.recycling import keep_freed_memory

QUERY = "SELECT stack_id, sum(size), count(*) FROM heap_at(?) GROUP BY stack_id"


SCENARIOS = (Scenario(), Scenario(name="gc=10000", gc_thresholds=(10_000, None, None)))


class Answer(Struct):
    """What the process found. ``instants_s`` and ``blocks`` have one figure an instant, ``simulate_s`` one a
    scenario: seconds of the whole simulation, the reading of the store included."""

    open_s: float
    events: int
    peak_rss: int = 0
    instants_s: list[float] = field(default_factory=list)
    blocks: list[int] = field(default_factory=list)
    simulate_s: list[float] = field(default_factory=list)


def ask(store: Store, instants: list[int], answer: Answer) -> None:
    """The heap at each instant by call path; the first is asked twice, and counted the second time."""
    for number, seq in enumerate([instants[0], *instants]):
        start = time.perf_counter()
        rows = list(store.query(QUERY, [seq]).rows())
        took = time.perf_counter() - start
        if number:
            answer.instants_s.append(took)
            answer.blocks.append(sum(int(str(row[2])) for row in rows))


def main(arguments: list[str] | None = None) -> int:
    """Do it; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.store.probe", description=__doc__)
    parser.add_argument("task", choices=("build", "ask", "simulate"))
    parser.add_argument("log", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--instants", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    start = time.perf_counter()
    with open_store(options.log) as store:
        answer = Answer(time.perf_counter() - start, store.totals.events)
        if options.task == "ask":
            draw = random.Random(options.seed)
            ask(store, [draw.randrange(answer.events) for _ in range(options.instants)], answer)
        elif options.task == "simulate":
            keep_freed_memory()  # as the command does
            for scenario in SCENARIOS:
                start = time.perf_counter()
                simulate_all(store, [scenario])
                answer.simulate_s.append(time.perf_counter() - start)
    answer.peak_rss = high_water("self")
    options.output.write_bytes(msgspec.json.encode(answer))
    return 0


if __name__ == "__main__":
    sys.exit(main())
