"""Scenarios as people type them: ``recorded``, ``gc=50000,20,20``, ``gc=off,limit=512MiB``.

The grammar, which is that of ``--scenario``::

    SCENARIO = [NAME:] recorded | [NAME:] SETTING[,SETTING]...
    SETTING  = gc=off | gc=A[,B[,C]] | freeze=MOMENT | allocator=NAME | arena=SIZE | pool=SIZE | limit=SIZE

A part without ``=`` belongs to the value before it (``gc=700,10,10``, ``freeze=mark:a,b``). An empty B is as
it was recorded (``gc=700,,5``). Settings are kept as text, by key, until a Scenario is made of them: a sweep
takes those of the options and adds its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from tracekit.cli.options import choice, size
from tracekit.errors import ScenarioError, UsageError
from tracekit.simulator.scenario import ALLOCATORS, MAX_THRESHOLD, Scenario

RECORDED: Final = "recorded"
MOST_SCENARIOS: Final = 26
"""A letter stands for each of them in tables and plots."""

_NAMED = re.compile(r"([^=,:]+):(.*)", re.DOTALL)
_INTEGER = re.compile(r"-?[0-9]{1,30}")
_EXAMPLES = "say recorded, or settings like gc=50000,20,20 or gc=off,limit=512MiB"

Thresholds = tuple[int, int | None, int | None]


def parse_scenario(text: str) -> Scenario:
    """The scenario of a text. Raises UsageError if it does not parse, ScenarioError for nonsense values."""
    named = _NAMED.fullmatch(text)
    name, rest = (named[1].strip(), named[2]) if named else ("", text)
    settings = _settings(text, rest.strip())
    if name == RECORDED and settings:
        raise UsageError(f"--scenario: '{RECORDED}' is the name of what changes nothing", hint="give another")
    return make_scenario(settings, name or scenario_text(settings))


def parse_scenarios(texts: Sequence[str]) -> list[Scenario]:
    """The scenarios of several ``--scenario``, each of another name. Raises UsageError and ScenarioError."""
    if len(texts) > MOST_SCENARIOS:
        raise UsageError(f"there are {len(texts)} scenarios", hint=f"give {MOST_SCENARIOS} at most")
    scenarios = [parse_scenario(text) for text in texts]
    names = [scenario.name for scenario in scenarios]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f"--scenario: '{name}' is there twice", hint="give each once, or NAME: before it"
            )
    return scenarios


def scenario_text(settings: Mapping[str, str]) -> str:
    """Settings as ``--scenario`` takes them."""
    return ",".join(f"{key}={value}" for key, value in settings.items()) or RECORDED


def make_scenario(
    settings: Mapping[str, str], name: str, options: Mapping[str, str] | None = None
) -> Scenario:
    """A scenario of settings as they were typed. ``options``: what each key is called in errors.

    Raises UsageError for a value that does not parse, ScenarioError for one that makes no sense.
    """
    fields: dict[str, Any] = {}
    for key, value in settings.items():
        said = options[key] if options else f"--scenario: {key}"
        fields |= _READERS[key](said, value.strip())
    return Scenario(name=name, **fields)


def thresholds(option: str, text: str) -> Thresholds:
    """Thresholds of the collector: ``700``, ``700,10``, ``700,10,10``, ``700,,5`` (None: as recorded).

    Raises UsageError for another text, ScenarioError for what gc.set_threshold does not take.
    """
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 3 or not parts[0] or not parts[-1] or not all(_is_number(part) for part in parts if part):
        raise UsageError(f"{option} cannot be '{text}'", hint="give one to three numbers, like 700,10,10")
    values = [int(part) if part else None for part in parts]
    for generation, value in enumerate(values):
        if value is not None and not 0 <= value <= MAX_THRESHOLD:
            which = "below 0" if value < 0 else f"above {MAX_THRESHOLD}, the most that Python takes"
            raise ScenarioError(
                f"{option}: threshold {value} of generation {generation} is {which}",
                hint="0 for generation 0 is no collector at all",
            )
    first, second, third = [*values, None, None][:3]
    assert first is not None  # noqa: S101 - parts[0] is a number
    return first, second, third


def _is_number(text: str) -> bool:
    return _INTEGER.fullmatch(text) is not None


def _settings(text: str, rest: str) -> dict[str, str]:
    """Values by key, as typed, of a scenario without its name; ``text`` is the whole of it, for errors."""
    first, *parts = rest.split(",")
    if "=" in first:
        parts = [first, *parts]
    elif first.strip() != RECORDED:
        raise UsageError(f"--scenario cannot be '{text}'", hint=_EXAMPLES)
    settings: dict[str, str] = {}
    key = ""
    for part in parts:
        before, equals, value = part.partition("=")
        if not equals or (key == "freeze" and before.strip() not in _READERS):
            if not key:
                raise UsageError(f"--scenario cannot be '{text}'", hint=_EXAMPLES)
            settings[key] += f",{part.strip()}"
            continue
        key = before.strip()
        if key not in _READERS:
            raise UsageError(
                f"--scenario: there is no setting '{key}'", hint=f"choose from {', '.join(_READERS)}"
            )
        if key in settings:
            raise UsageError(f"--scenario: '{key}' is twice in '{text}'", hint="give it once")
        settings[key] = value.strip()
    return settings


def _collector(option: str, text: str) -> dict[str, Any]:
    return {"gc_off": True} if text == "off" else {"gc_thresholds": thresholds(option, text)}


def _freeze(option: str, text: str) -> dict[str, Any]:
    if not text:
        raise UsageError(f"{option} needs a moment", hint="give one like mark:loaded, 1.5s or seq:1000")
    return {"gc_freeze_at": text}


def _allocator(option: str, text: str) -> dict[str, Any]:
    return {"allocator": choice(option, text, ALLOCATORS)}


def _size(field: str) -> Callable[[str, str], dict[str, Any]]:
    return lambda option, text: {field: size(option, text)}


_READERS: Final[Mapping[str, Callable[[str, str], dict[str, Any]]]] = {
    "gc": _collector,
    "freeze": _freeze,
    "allocator": _allocator,
    "arena": _size("arena_size"),
    "pool": _size("pool_size"),
    "limit": _size("memory_limit"),
}
"""By key: what makes fields of a Scenario of (what to call it in errors, the value as typed)."""

SETTINGS: Final = tuple(_READERS)
"""What ``--scenario`` can set."""
