"""Scenarios and sweeps as they are typed."""

from __future__ import annotations

import re
from typing import Any

import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import asdict

from tracekit.cli.scenarios import (
    make_scenario,
    parse_scenario,
    parse_scenarios,
    scenario_text,
    thresholds,
)
from tracekit.cli.sweeps import log_spaced, parse_sweep, size_text, sweep_scenarios
from tracekit.errors import ScenarioError, UsageError
from tracekit.simulator.scenario import Scenario

MIB = 1 << 20


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("recorded", {}),
        (" recorded ", {"name": "recorded"}),
        ("base:recorded", {"name": "base"}),
        ("gc=50000,20,20", {"gc_thresholds": (50000, 20, 20)}),
        ("gc=50000", {"gc_thresholds": (50000, None, None)}),
        ("gc=50000,20", {"gc_thresholds": (50000, 20, None)}),
        ("gc=50000,,20", {"gc_thresholds": (50000, None, 20)}),
        ("gc=0", {"gc_thresholds": (0, None, None)}),
        ("gc=off", {"gc_off": True}),
        ("gc=off,limit=512MiB", {"gc_off": True, "memory_limit": 512 * MIB}),
        ("freeze=mark:loaded", {"gc_freeze_at": "mark:loaded"}),
        ("freeze=mark:a,b=c", {"gc_freeze_at": "mark:a,b=c"}),
        ("freeze=mark:a,pool=4k", {"gc_freeze_at": "mark:a", "pool_size": 4096}),
        ("allocator=malloc", {"allocator": "malloc"}),
        ("arena=256k,pool=4k", {"arena_size": 256 * 1024, "pool_size": 4096}),
        (
            "big one:gc=7,8,9,limit=1G",
            {"name": "big one", "gc_thresholds": (7, 8, 9), "memory_limit": 1 << 30},
        ),
        ("recorded,limit=1k", {"name": "limit=1k", "memory_limit": 1024}),
        ("limit = 1k , gc = off", {"name": "limit=1k,gc=off", "memory_limit": 1024, "gc_off": True}),
    ],
)
def test_scenarios(text: str, fields: dict[str, Any]) -> None:
    found = parse_scenario(text)
    assert found == Scenario(**{"name": text, **fields})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "say recorded"),
        ("nonsense", "'nonsense'; say recorded"),
        ("gc", "say recorded"),
        ("recorded,off", "say recorded"),
        ("off,gc=1", "say recorded"),
        ("colour=red", "no setting 'colour'; choose from gc, freeze, allocator, arena, pool, limit"),
        ("gc=1,colour=red", "no setting 'colour'"),
        ("=1", "no setting ''"),
        ("gc=off,gc=700", "'gc' is twice"),
        ("limit=1k,limit=2k", "'limit' is twice"),
        ("gc=", "gc cannot be ''"),
        ("gc=on", "gc cannot be 'on'"),
        ("gc=1,2,3,4", "one to three numbers"),
        ("gc=,2", "one to three numbers"),
        ("gc=700,", "one to three numbers"),
        ("gc=1.5", "one to three numbers"),
        ("gc=٣", "one to three numbers"),
        ("limit=lots", "limit cannot be 'lots'"),
        ("limit=-5M", "limit cannot be '-5M'"),
        ("arena=0", "arena cannot be '0'"),
        ("allocator=jemalloc", "pymalloc, malloc"),
        ("freeze=", "needs a moment"),
        ("recorded:gc=off", "name of what changes nothing"),
        (":gc=off", "no setting ':gc'"),
    ],
)
def test_what_is_no_scenario(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_scenario(text)


@pytest.mark.parametrize("text", ["gc=-1", "gc=700,-1", "gc=700,10,-99", f"gc={2**31}", "gc=1,2," + "9" * 30])
def test_thresholds_that_python_refuses(text: str) -> None:
    with pytest.raises(ScenarioError, match=r"threshold -?[0-9]+ of generation [012] is (below 0|above)"):
        parse_scenario(text)


def test_each_scenario_is_there_once() -> None:
    names = [scenario.name for scenario in parse_scenarios(["recorded", "gc=off", "x:gc=off"])]
    assert names == ["recorded", "gc=off", "x"]
    with pytest.raises(UsageError, match="'gc=off' is there twice"):
        parse_scenarios(["gc=off", "recorded", "gc=off"])
    with pytest.raises(UsageError, match="26 at most"):
        parse_scenarios([f"gc={number}" for number in range(27)])
    assert len(parse_scenarios([f"gc={number}" for number in range(26)])) == 26


SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "gc": st.sampled_from(["off", "1", "700,10", "700,,5", "50000,20,20"]),
        "freeze": st.sampled_from(["start", "mark:a,b", "mark:gc", "50%", "seq:5"]),
        "allocator": st.sampled_from(["malloc", "pymalloc"]),
        "arena": st.sampled_from(["256k", "1MiB"]),
        "pool": st.sampled_from(["4k", "16384"]),
        "limit": st.sampled_from(["5k", "1.5G"]),
    },
)


@given(SETTINGS)
@settings(max_examples=examples(200))
def test_what_is_written_is_read_back(given: dict[str, str]) -> None:
    text = scenario_text(given)
    assert parse_scenario(text) == make_scenario(given, text)
    renamed = parse_scenario(f"other:{text}")
    assert asdict(renamed) == {**asdict(parse_scenario(text)), "name": "other"}


@given(st.text(alphabet="gcofreezlimt=:,. -0123456789k\x1b", max_size=30))
@settings(max_examples=examples(500))
def test_any_text_is_a_scenario_or_one_clear_line(text: str) -> None:
    try:
        assert isinstance(parse_scenario(text), Scenario)
    except (UsageError, ScenarioError) as error:
        assert error.hint


def test_thresholds_of_options() -> None:
    assert thresholds("--gc-threshold", "700, 10,10") == (700, 10, 10)
    assert thresholds("--gc-threshold", "700") == (700, None, None)
    with pytest.raises(UsageError, match="--gc-threshold cannot be"):
        thresholds("--gc-threshold", "a,b,c")


def test_values_of_a_sweep() -> None:
    sweep = parse_sweep("gc-threshold0=100..100000", 7)
    assert sweep.values == [100, 320, 1000, 3200, 10000, 32000, 100000]
    assert sweep.of_collector
    assert len(parse_sweep("gc-threshold0=100..100000").values) == 10
    assert parse_sweep("gc-threshold1 = 3 .. 5").values == [3, 4, 5]
    limits = parse_sweep("memory-limit=64MiB..1GiB", 5)
    assert [size_text(value) for value in limits.values] == ["64MiB", "130MiB", "260MiB", "510MiB", "1GiB"]
    assert parse_sweep("arena-size=200k..2MiB").values == [256 << 10, 512 << 10, 1 << 20, 2 << 20]
    assert not limits.of_collector


@pytest.mark.parametrize(
    ("text", "steps", "said"),
    [
        ("gc-threshold0", None, "give it like"),
        ("gc-threshold0=5", None, "give it like"),
        ("gc-threshold0=5-10", None, "give it like"),
        ("gc=5..10", None, "no setting 'gc'"),
        ("=5..10", None, "no setting ''"),
        ("gc-threshold0=0..10", None, "from 1"),
        ("gc-threshold0=-5..10", None, "from 1"),
        ("gc-threshold0=5..4294967296", None, "from 1"),
        ("gc-threshold0=..10", None, "from 1"),
        ("gc-threshold0=10..5", None, "10 is not less than 5"),
        ("gc-threshold0=5..5", None, "5 is not less than 5"),
        ("memory-limit=1k..much", None, "memory-limit cannot be 'much'"),
        ("arena-size=300k..500k", None, "powers of two"),
        ("arena-size=256k..1M", 3, "every power of two"),
        ("gc-threshold0=5..10", 1, "--steps cannot be 1"),
        ("gc-threshold0=5..10", 26, "give 2 to 25"),
    ],
)
def test_what_is_no_sweep(text: str, steps: int | None, said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        parse_sweep(text, steps)


def test_scenarios_of_a_sweep() -> None:
    def names(text: str, **base: str) -> list[str]:
        scenarios = sweep_scenarios(parse_sweep(text, 2 if "gc" in text else None), base, 700)
        assert [parse_scenario(scenario.name) for scenario in scenarios] == scenarios
        return [scenario.name for scenario in scenarios]

    assert names("gc-threshold0=5..10") == ["gc=5", "gc=10"]
    assert names("gc-threshold0=5..10", gc="1,20,30", arena="256k") == [
        "gc=5,20,30,arena=256k",
        "gc=10,20,30,arena=256k",
    ]
    assert names("gc-threshold1=5..10") == ["gc=700,5", "gc=700,10"]
    assert names("gc-threshold2=5..10") == ["gc=700,,5", "gc=700,,10"]
    assert names("gc-threshold2=5..10", gc="9,8") == ["gc=9,8,5", "gc=9,8,10"]
    assert names("pool-size=4k..8k", gc="off") == ["gc=off,pool=4KiB", "gc=off,pool=8KiB"]


@pytest.mark.parametrize(
    ("text", "base", "said"),
    [
        ("gc-threshold0=5..10", {"gc": "off"}, "--sweep gc-threshold0 and --gc-off exclude"),
        ("memory-limit=5k..10k", {"limit": "1k"}, "--sweep memory-limit and --memory-limit exclude"),
    ],
)
def test_sweeps_of_what_is_given(text: str, base: dict[str, str], said: str) -> None:
    with pytest.raises(UsageError, match=re.escape(said)):
        sweep_scenarios(parse_sweep(text), base, 700)


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(2, 25))
@settings(max_examples=examples(300))
def test_steps_go_from_end_to_end(one: int, other: int, steps: int) -> None:
    low, high = min(one, other), max(one, other) + 1
    values = log_spaced(low, high, steps)
    assert (values[0], values[-1]) == (low, high)
    assert values == sorted(set(values))
    assert len(values) <= steps
    if high / low > 2 ** (steps + 3):
        assert len(values) == steps
