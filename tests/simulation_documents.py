"""Documents as ``simulate --json`` has them, made up."""

from __future__ import annotations

from typing import Any

MIB = 1 << 20


def simulation(name: str = "recorded", **changes: Any) -> dict[str, Any]:
    """One scenario of 4 points of time, 1 s each, at 10, 40, 20 and 30 MiB, with ``changes``."""
    live = [10 * MIB, 40 * MIB, 20 * MIB, 30 * MIB]
    return {
        "scenario": name,
        "settings": {"allocator": "pymalloc", "gc_off": False, "gc_thresholds": None, "memory_limit": None},
        "collections": [123, 11, 1],
        "collections_asked": [0, 0, 0],
        "recorded_collections": [123, 11, 1],
        "collector_seconds": 0.5,
        "recorded_collector_seconds": 0.4,
        "arenas": 30,
        "peak_arenas": 41,
        "peak_arenas_bounds": [41, 41],
        "recorded_peak_arenas": 41,
        "peak_bytes": 40 * MIB,
        "peak_bytes_bounds": [40 * MIB, 40 * MIB],
        "recorded_peak_bytes": 40 * MIB,
        "peak_footprint_bytes": 44 * MIB,
        "peak_footprint_bounds": [44 * MIB, 44 * MIB],
        "end_bytes": 30 * MIB,
        "end_bytes_bounds": [30 * MIB, 30 * MIB],
        "recorded_end_bytes": 30 * MIB,
        "recorded_duration_s": 3.0,
        "peak_stack_bytes": 2048,
        "fragmentation": 0.25,
        "peak_fragmentation": 0.05,
        "out_of_memory": None,
        "timeline": [point(second, value) for second, value in enumerate(live)],
        "unknown": {},
        "notes": ["malloc is modelled roughly"],
    } | changes


def point(second: float, low: int, high: int | None = None) -> dict[str, Any]:
    """A point of the timeline; what is not live bytes follows from them."""
    ends = {"low": low, "high": low if high is None else high}
    return (
        {"seq": round(second * 1000), "time_s": float(second)}
        | {f"live_bytes_{end}": value for end, value in ends.items()}
        | {f"footprint_{end}": value + 4 * MIB for end, value in ends.items()}
        | {f"arenas_{end}": value // MIB for end, value in ends.items()}
    )


def bounded(name: str, low: int, high: int, seconds: float | None = 0.01, **changes: Any) -> dict[str, Any]:
    """A scenario whose peak is between bounds, in MiB."""
    return simulation(
        name,
        collections=[5, 0, 0],
        collector_seconds=seconds,
        peak_bytes=None,
        peak_bytes_bounds=[low * MIB, high * MIB],
        peak_arenas=high,
        peak_arenas_bounds=[low, high],
        unknown={"peak_bytes": "bounds"},
        timeline=[point(0, 10 * MIB), point(3, low * MIB, high * MIB)],
        **changes,
    )


def garbage(size: int, *, exact: bool = True) -> dict[str, Any]:
    """What only the collector frees, in MiB."""
    groups = [{"key": "cycle (app.py)", "bytes": size * MIB, "blocks": 9}]
    return {"total_bytes": size * MIB, "total_blocks": 9, "exact": exact, "groups": groups}


def ran_out(name: str, *, certain: bool = True, live: int = 20) -> dict[str, Any]:
    """A scenario that ran out of 32 MiB after 1.5 s, when 15 MiB were alive in the recording."""
    found = simulation(name, timeline=[point(0, 10 * MIB), point(1, 20 * MIB)])
    found["settings"]["memory_limit"] = 32 * MIB
    found["out_of_memory"] = {
        "seq": 1500,
        "time_s": 1.5,
        "wanted_bytes": 640,
        "live_bytes": live * MIB,
        "footprint_bytes": 31 * MIB,
        "site": "app.py:7 (work\x1b[2J)",
        "certain": certain,
        "heap": {
            "by": "function",
            "total_bytes": 15 * MIB,
            "total_blocks": 6,
            "groups": [{"key": f"f{number} (app.py)", "bytes": MIB, "blocks": 1} for number in range(6)],
            "garbage": garbage(live - 15) if live > 15 else None,
        },
    }
    return found
