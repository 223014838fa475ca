"""One program under several settings: recorded once and simulated, and recorded under each of them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from tracekit.events import CollectionStart
from tracekit.log.reader import LogReader
from tracekit.simulator.outcome import Outcome
from tracekit.simulator.recording import Recording, generation_counts, read_recording
from tracekit.simulator.scenario import Scenario
from tracekit.simulator.settings import CollectorSettings, Garbage, MachineSettings
from tracekit.simulator.simulation import run_machines, simulate
from tracekit.store.database import Store
from tracekit.store.opening import open_store

HERE = Path(__file__).parent
PROGRAMS = {path.stem: str(path) for path in sorted((HERE / "programs").glob("*.py"))}
PROGRAMS |= {name: f"test.{name}" for name in ("test_ast", "test_email", "test_json", "test_typing")}
NEEDS = {"highlight": "pygments", "lint": "pylint"}
DEFAULT, OFF = "default", "off"

UNSTEADY = ("test_email",)
"""Another program each time; its rows count nowhere."""

MOST_APART = 0.02
"""Collections of a generation may differ by this share, or by one."""
MOST_WIDE = 0.10
"""Bounds of the peak, as a share of it, where there is little cyclic garbage."""
LITTLE_GARBAGE = 0.02
"""Share of the freed bytes that collections freed."""
SLACK = 0.001
"""Peaks of two runs of one program differ by this much: objects of the recorder, file names, free lists."""
BESIDE = 0.01
"""A peak that is this much beside the bounds is still told apart from one that is wrong."""


class Real(Struct, frozen=True):
    """What a run was: collections of each generation, most bytes in live blocks."""

    collections: list[int]
    peak_bytes: int


class Setting(Struct, frozen=True):
    """One setting: what the model said, and what was."""

    collections: list[int]
    low_bytes: int
    high_bytes: int
    real: Real

    @property
    def difference(self) -> float:
        """Collections of the model above the real ones, as a share: of the generation where it is most."""
        shares = [
            (said - was) / max(was, 1)
            for said, was in zip(self.collections, self.real.collections, strict=True)
            if abs(said - was) > 1
        ]
        return max(shares, key=abs, default=0.0)

    @property
    def outside(self) -> float:
        """By how much the real peak is outside of the bounds, as a share of it."""
        peak = self.real.peak_bytes
        return max(self.low_bytes - peak, peak - self.high_bytes, 0) / peak

    @property
    def width(self) -> float:
        """Width of the bounds, as a share of the real peak."""
        return (self.high_bytes - self.low_bytes) / self.real.peak_bytes


class Program(Struct, frozen=True):
    """A program: events of the default run, share of the freed bytes that collections freed, settings.

    ``as_recorded``: under the recorded settings it makes as many collections of each generation and needs as
    many arenas as it did.
    """

    events: int
    garbage: float
    settings: dict[str, Setting]
    as_recorded: bool = False

    @property
    def right(self) -> bool:
        """Whether collections, peaks and bounds are right under all other settings."""
        others = [figures for setting, figures in self.settings.items() if setting != DEFAULT]
        return all(
            abs(one.difference) <= MOST_APART
            and one.outside <= BESIDE
            and (self.garbage > LITTLE_GARBAGE or one.width <= MOST_WIDE)
            for one in others
        )


def record(python: str, program: str, setting: str, output: Path) -> None:
    """Record one run, unless it was recorded before. Raises CalledProcessError."""
    if not output.exists():
        environment = os.environ | {"PYTHONHASHSEED": "0", "PYTHONPATH": str(HERE.parents[1])}
        command = [python, str(HERE / "inside.py"), str(output), setting, program]
        subprocess.run(command, env=environment, check=True, cwd=HERE)


def real(log: Path) -> Real:
    """What a recording says of its collector, without a store."""
    collections = [0, 0, 0]
    with LogReader(log) as reader:
        for _, entry in reader.records(batches=False):
            if isinstance(entry, CollectionStart):
                collections[entry.generation] += 1
        if reader.footer is None:
            raise ValueError(f"{log} was not closed")
        return Real(collections, reader.footer.totals.peak_bytes)


def simulated(
    store: Store, names: Sequence[str]
) -> tuple[Recording, dict[str, tuple[Outcome, Outcome, Outcome]]]:
    """The outcomes by low bound, likely course and high bound for each setting."""
    recording = read_recording(store)
    _, second, third = store.header.collector.thresholds

    def settings(name: str, garbage: Garbage) -> MachineSettings:
        thresholds = (int(name), second, third) if name.isdigit() else None
        collector = CollectorSettings(thresholds=thresholds, enabled=name != OFF, garbage=garbage)
        return MachineSettings(
            recording.parameters, collector=collector, collects_at_checks=recording.collects_at_checks
        )

    garbage = (Garbage.EARLY, Garbage.LIKELY, Garbage.LATE)
    wanted = {name: [settings(name, one) for one in garbage] for name in names}
    machines = [one for told in wanted.values() for one in told]
    outcomes = run_machines(store, recording, machines, lambda _: None)
    return recording, {
        name: (outcomes[low], outcomes[likely], outcomes[high])
        for name, (low, likely, high) in wanted.items()
    }


def garbage_share(store: Store) -> float:
    """Share of the freed bytes that collections freed."""
    sql = "SELECT sum(size) FILTER (freed_by = 'gc') / sum(size) FROM allocations WHERE free_seq IS NOT NULL"
    for (share,) in store.query(sql).rows():
        return float(str(share or 0))
    return 0.0


def program(python: str, name: str, settings: Sequence[str], folder: Path) -> Program:
    """Record, simulate and compare."""
    logs = {setting: folder / f"{name}-{setting}.tkt" for setting in (DEFAULT, *settings)}
    for setting, log in logs.items():
        record(python, PROGRAMS[name], setting, log)
    with open_store(logs[DEFAULT]) as store:
        _, outcomes = simulated(store, list(logs))
        events, garbage = store.totals.events, garbage_share(store)
        same = simulate(store, Scenario())
    found = {
        setting: Setting(
            collections=generation_counts(likely.collections.generation),
            low_bytes=low.peak.live_bytes,
            high_bytes=high.peak.live_bytes,
            real=real(logs[setting]),
        )
        for setting, (low, likely, high) in outcomes.items()
    }
    as_recorded = (same.collections, same.peak_arenas) == (
        same.recorded_collections,
        same.recorded_peak_arenas,
    )
    return Program(events, garbage, found, as_recorded)
