"""Sweeps as people type them: ``gc-threshold0=100..100000`` is a scenario for each of some thresholds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from tracekit.cli.options import size
from tracekit.cli.scenarios import MOST_SCENARIOS, SETTINGS, make_scenario, scenario_text
from tracekit.errors import UsageError
from tracekit.report.simulations import bounds_of
from tracekit.simulator.knee import Shape, find_knee

if TYPE_CHECKING:
    from tracekit.simulator.scenario import Scenario

DEFAULT_STEPS: Final = 10
MOST_STEPS: Final = MOST_SCENARIOS - 1
"""One more is the scenario ``recorded``, for comparison."""

_KEYS: Final = {
    "gc-threshold0": "gc",
    "gc-threshold1": "gc",
    "gc-threshold2": "gc",
    "memory-limit": "limit",
    "arena-size": "arena",
    "pool-size": "pool",
}
_THRESHOLDS: Final = ("gc-threshold0", "gc-threshold1", "gc-threshold2")
_POWERS_OF_TWO: Final = frozenset({"arena-size", "pool-size"})
_UNITS: Final = (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10))
_SHAPE = "give it like gc-threshold0=100..100000 or memory-limit=64MiB..1GiB"


@dataclass(frozen=True, slots=True)
class Sweep:
    """One setting, as ``--sweep`` names it, and the values that it takes, ascending."""

    setting: str
    values: list[int]

    @property
    def of_collector(self) -> bool:
        """Whether it is a threshold: then there is a trade between collector time and peak."""
        return self.setting in _THRESHOLDS


def parse_sweep(text: str, steps: int | None = None) -> Sweep:
    """The sweep of ``SETTING=LOW..HIGH`` with ``steps`` values (10 if None). Raises UsageError."""
    setting, _, span = (part.strip() for part in text.partition("="))
    low_text, dots, high_text = (part.strip() for part in span.partition(".."))
    if not dots:
        raise UsageError(f"--sweep cannot be '{text}'", hint=_SHAPE)
    if setting not in _KEYS:
        raise UsageError(f"--sweep: there is no setting '{setting}'", hint=f"choose from {', '.join(_KEYS)}")
    read = _whole_number if setting in _THRESHOLDS else size
    low, high = (read(f"--sweep: {setting}", end) for end in (low_text, high_text))
    if low >= high:
        raise UsageError(f"--sweep: {low_text} is not less than {high_text}", hint=_SHAPE)
    if steps is not None and not 2 <= steps <= MOST_STEPS:
        raise UsageError(f"--steps cannot be {steps}", hint=f"give 2 to {MOST_STEPS}")
    if setting in _POWERS_OF_TWO:
        if steps is not None:
            raise UsageError(f"--steps: {setting} takes every power of two in between", hint="leave it out")
        return Sweep(setting, _powers_of_two(setting, low, high))
    unit = 1 if setting in _THRESHOLDS else _unit_of(low)
    return Sweep(setting, log_spaced(low, high, steps or DEFAULT_STEPS, unit=unit))


def sweep_scenarios(sweep: Sweep, base: Mapping[str, str], recorded_threshold0: int) -> list[Scenario]:
    """A scenario for each value, on top of the settings ``base`` (by key, as typed).

    ``recorded_threshold0`` is what threshold 0 is where only another one is swept. Raises UsageError for a
    base that contradicts the sweep.
    """
    key = _KEYS[sweep.setting]
    if key in base and (key != "gc" or base["gc"] == "off"):
        raise UsageError(f"--sweep {sweep.setting} and {_OPTIONS[key]} exclude each other", hint="give one")
    scenarios = []
    for value in sweep.values:
        swept = {**base, key: _value_text(sweep.setting, value, base.get("gc"), recorded_threshold0)}
        settings = {name: swept[name] for name in SETTINGS if name in swept}
        scenarios.append(make_scenario(settings, scenario_text(settings)))
    return scenarios


_OPTIONS: Final = {
    "gc": "--gc-off",
    "limit": "--memory-limit",
    "arena": "--arena-size",
    "pool": "--pool-size",
}


def sweep_document(sweep: Sweep, documents: Sequence[dict[str, Any]], log: Path) -> dict[str, Any]:
    """The document of a sweep (report/sweeps.py); the first of those of its scenarios is ``recorded``."""
    shape, best = _best(sweep, documents[1:])
    command = None
    if best is not None:
        parts = ["tracekit", "simulate", str(log), "--scenario", documents[0]["scenario"], "--scenario", best]
        command = shlex.join(parts)
    return {
        "sweep": {"setting": sweep.setting, "values": sweep.values, "shape": shape, "best": best},
        "scenarios": list(documents),
        "knee": best if shape == Shape.KNEE.value else None,
        "next": command,
    }


def _best(sweep: Sweep, documents: Sequence[dict[str, Any]]) -> tuple[str, str | None]:
    """What was found (report/sweeps.py), and the scenario that it is. A peak is its upper bound."""
    ended = [document for document in documents if document["out_of_memory"] is None]
    if sweep.setting == "memory-limit":
        return "limit", ended[0]["scenario"] if ended else None
    if not sweep.of_collector:
        least = min(ended, key=lambda document: document["peak_footprint_bytes"], default=None)
        return "footprint", None if least is None else least["scenario"]
    seconds = [document["collector_seconds"] for document in ended]
    if any(value is None for value in seconds):
        return "unknown", None
    found = find_knee(
        seconds, [bounds[1] for document in ended if (bounds := bounds_of(document, "peak_bytes"))]
    )
    return found.shape.value, None if found.best is None else ended[found.best]["scenario"]


def log_spaced(low: int, high: int, steps: int, *, unit: int = 1) -> list[int]:
    """At most ``steps`` numbers from ``low`` to ``high``, each about as many times the one before.

    Those in between are multiples of ``unit``, and of two digits where that keeps them apart.
    """
    ratio = (high / low) ** (1 / (steps - 1))
    exact = [low * ratio**step / unit for step in range(1, steps - 1)]
    rounded = _between(low, high, [_two_digits(value) * unit for value in exact])
    if len(rounded) < steps:
        rounded = _between(low, high, [round(value) * unit for value in exact])
    return rounded


def size_text(count: int) -> str:
    """Bytes in the largest unit that needs no fraction: ``96MiB``, ``1000``."""
    for name, factor in _UNITS:
        if count % factor == 0:
            return f"{count // factor}{name}"
    return str(count)


def _between(low: int, high: int, values: list[int]) -> list[int]:
    return [low, *sorted({value for value in values if low < value < high}), high]


def _two_digits(value: float) -> int:
    digits = max(0, len(str(int(value))) - 2)
    return int(round(value / 10**digits) * 10**digits)


def _unit_of(low: int) -> int:
    """MiB for sizes of many MiB, KiB for those of many KiB."""
    return next((factor for factor in (2**20, 2**10) if low >= 16 * factor), 1)


def _powers_of_two(setting: str, low: int, high: int) -> list[int]:
    values = [1 << bit for bit in range(low.bit_length() - 1, high.bit_length()) if low <= 1 << bit <= high]
    if len(values) < 2:
        raise UsageError(
            f"--sweep: fewer than two powers of two are from {low} to {high}, and {setting} takes no others",
            hint="widen it",
        )
    return values


def _whole_number(option: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:12]) < 2**31 and len(text) <= 10):
        raise UsageError(
            f"{option} cannot be '{text}'", hint="give a whole number from 1 to 2147483647, like 700"
        )
    return int(text)


def _value_text(setting: str, value: int, base: str | None, recorded_threshold0: int) -> str:
    """One value of the sweep as ``--scenario`` takes it; the other thresholds are those of the base."""
    if setting not in _THRESHOLDS:
        return size_text(value)
    parts = [*(base.split(",") if base else []), "", "", ""][:3]
    parts[0] = parts[0] or str(recorded_threshold0)
    parts[_THRESHOLDS.index(setting)] = str(value)
    return ",".join(parts).rstrip(",")
