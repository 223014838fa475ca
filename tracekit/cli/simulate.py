"""``tracekit simulate``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.options import AsJson, Log, NoCache, choice
from tracekit.cli.output import Progress, opened, put, put_lines, say, terminal_width
from tracekit.cli.timeline import wants_colour
from tracekit.errors import ScenarioError, UsageError
from tracekit.report.json import json_document
from tracekit.report.plots import can_draw
from tracekit.report.units import human_bytes

if TYPE_CHECKING:
    from tracekit.cli.sweeps import Sweep
    from tracekit.report.curves import Canvas
    from tracekit.simulator.outcome import Outcome
    from tracekit.simulator.results import Simulated, Simulation
    from tracekit.simulator.scenario import Scenario
    from tracekit.store.database import Store

HEAP_GROUPS = 10
PLOTS = ("live", "footprint", "arenas", "none")

_OPTIONS = {
    "gc": "--gc-threshold",
    "freeze": "--gc-freeze-at",
    "allocator": "--allocator",
    "arena": "--arena-size",
    "pool": "--pool-size",
    "limit": "--memory-limit",
}
"""Single options by what --scenario calls them."""


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What `simulate` was asked."""

    log: Log
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            "--scenario",
            metavar="SCENARIO",
            help="recorded, or settings: gc=A,B,C or gc=off, freeze=MOMENT, allocator=NAME, arena=SIZE, "
            "pool=SIZE, limit=SIZE, with commas between them. May be repeated.",
        ),
    ] = None
    sweep: Annotated[
        str | None,
        typer.Option(
            "--sweep",
            metavar="SETTING=LOW..HIGH",
            help="Simulate many values of gc-threshold0, gc-threshold1, gc-threshold2, memory-limit, "
            "arena-size or pool-size, and find the best.",
        ),
    ] = None
    steps: Annotated[
        int | None, typer.Option("--steps", metavar="N", help="Values of the sweep. [default: 10]")
    ] = None
    gc_threshold: Annotated[
        str | None,
        typer.Option(
            "--gc-threshold", metavar="A[,B[,C]]", help="Thresholds of the collector (gc.set_threshold)."
        ),
    ] = None
    gc_off: Annotated[bool, typer.Option("--gc-off", help="Never collect (gc.disable).")] = False
    gc_freeze_at: Annotated[
        str | None, typer.Option("--gc-freeze-at", metavar="MOMENT", help="Call gc.freeze() then.")
    ] = None
    allocator: Annotated[
        str | None,
        typer.Option(
            "--allocator",
            metavar="NAME",
            help="pymalloc (the default) or malloc, as PYTHONMALLOC takes them.",
        ),
    ] = None
    arena_size: Annotated[
        str | None,
        typer.Option("--arena-size", metavar="SIZE", help="Bytes of an arena. [default: as recorded]"),
    ] = None
    pool_size: Annotated[
        str | None,
        typer.Option("--pool-size", metavar="SIZE", help="Bytes of a pool. [default: as recorded]"),
    ] = None
    memory_limit: Annotated[
        str | None,
        typer.Option("--memory-limit", metavar="SIZE", help="Find the first request that would not fit."),
    ] = None
    plot: Annotated[
        str | None,
        typer.Option(
            "--plot",
            metavar="WHAT",
            help="Plot live, footprint or arenas over time, or none. [default: footprint where a scenario "
            "changes the allocator or has a limit, else live; in a sweep none]",
        ),
    ] = None
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        if self.gc_off and self.gc_threshold is not None:
            raise UsageError("--gc-off and --gc-threshold exclude each other", hint="give one of them")
        if self.plot is not None:
            choice("--plot", self.plot, PLOTS)
        if self.scenario and self.sweep:
            raise UsageError("--scenario and --sweep exclude each other", hint="give one of them")
        if self.steps is not None and not self.sweep:
            raise UsageError("--steps is of a sweep", hint="give --sweep, too")
        single = self.settings()
        if self.scenario and single:
            key, value = next(iter(single.items()))
            option = "--gc-off" if value == "off" else _OPTIONS[key]
            raise UsageError(
                f"--scenario and {option} exclude each other", hint=f"say --scenario {key}={value}"
            )

    def settings(self) -> dict[str, str]:
        """The single options by what --scenario calls them, as typed."""
        given = {
            "gc": "off" if self.gc_off else self.gc_threshold,
            "freeze": self.gc_freeze_at,
            "allocator": self.allocator,
            "arena": self.arena_size,
            "pool": self.pool_size,
            "limit": self.memory_limit,
        }
        return {key: text for key, text in given.items() if text is not None}

    def scenarios(self) -> list[Scenario]:
        """What to simulate, without a sweep's. Raises UsageError and ScenarioError."""
        from tracekit.cli.scenarios import make_scenario, parse_scenarios, scenario_text

        if self.scenario:
            return parse_scenarios(self.scenario)
        settings = self.settings()
        return [make_scenario(settings, scenario_text(settings), _OPTIONS)]


def run(options: SimulateOptions) -> int:
    r"""Run the recorded allocations through a model of CPython's memory manager.

    Shows collections, arenas, footprint and fragmentation under the recorded settings, or under others. A
    SIZE is in bytes, or like 64k, 512MiB, 1.5G (binary units); a MOMENT is what `tracekit replay` takes.

    The single options make one scenario. With --scenario, several stand side by side. --sweep tries many
    values of one setting, on top of the single options, and finds the knee: where to stop paying memory for
    less time in the collector.

    With a memory limit it names the first request that would not have fitted, and what was alive then;
    that is an answer, so the exit status is 0 all the same. What the recording leaves open is given as
    bounds, and what it cannot tell is listed as unknown.

    Examples:
        tracekit simulate app.tkt
        tracekit simulate app.tkt --memory-limit 64MiB
        tracekit simulate app.tkt --gc-threshold 50000,20,20
        tracekit simulate app.tkt --scenario recorded --scenario gc=50000,20,20 \
            --scenario gc=off,limit=512MiB
        tracekit simulate app.tkt --scenario frozen:freeze=mark:loaded --json
        tracekit simulate app.tkt --sweep gc-threshold0=100..100000
        tracekit simulate app.tkt --sweep memory-limit=64MiB..1GiB --steps 20

    """
    scenarios = options.scenarios()
    sweep = _sweep(options)
    with opened(options.log, cache=not options.no_cache) as store:
        if sweep is not None:
            scenarios = _swept(store, sweep, options)
        results = _simulated(store, scenarios)
        documents = [
            _document(store, scenario, result.simulation)
            for scenario, result in zip(scenarios, results, strict=True)
        ]
        if not options.no_cache:
            _keep(store, results)
    if sweep is not None:
        _put_sweep(options, sweep, documents)
    else:
        _put_scenarios(options, documents)
    return 0


def _sweep(options: SimulateOptions) -> Sweep | None:
    if options.sweep is None:
        return None
    from tracekit.cli.sweeps import parse_sweep, sweep_scenarios

    sweep = parse_sweep(options.sweep, options.steps)
    sweep_scenarios(sweep, options.settings(), 1)  # complains now, before a store is built
    return sweep


def _swept(store: Store, sweep: Sweep, options: SimulateOptions) -> list[Scenario]:
    """The scenarios of a sweep, behind that of the recorded settings."""
    from tracekit.cli.sweeps import sweep_scenarios
    from tracekit.simulator.scenario import Scenario

    statement = """
        SELECT threshold0 FROM gc_collections WHERE trace_id = ? AND threshold0 IS NOT NULL
        GROUP BY threshold0 ORDER BY count(*) DESC, threshold0 LIMIT 1
    """
    mostly = [int(str(row[0])) for row in store.query(statement, [store.trace_id]).rows()]
    threshold0 = (mostly or [store.header.collector.thresholds[0]])[0]
    return [Scenario(), *sweep_scenarios(sweep, options.settings(), threshold0)]


def _simulated(store: Store, scenarios: Sequence[Scenario]) -> list[Simulated]:
    """Raises ScenarioError, MomentSyntaxError, MomentMissingError."""
    from tracekit.replay.moment import resolve_moment
    from tracekit.simulator.simulation import simulate_all
    from tracekit.store.recycling import keep_freed_memory

    keep_freed_memory()
    for scenario in scenarios:
        if scenario.gc_freeze_at is not None:
            resolve_moment(store, scenario.gc_freeze_at)
    what = "simulating" if len(scenarios) == 1 else f"simulating {len(scenarios)} scenarios"
    progress = Progress(f"tracekit: {what}")
    try:
        return simulate_all(store, scenarios, progress)
    finally:
        progress.clear()


def _keep(store: Store, results: Sequence[Simulated]) -> None:
    """Keep what was simulated in the tables ``sim_timeline``, ``sim_collections`` and ``sim_arenas``."""
    from tracekit.store.simulated import save

    kept = {}
    for result in results:
        courses = result.courses
        named = {"low": courses.low, "likely": courses.likely, "high": courses.high}
        kept[result.simulation.scenario] = {
            name: _tables(outcome)
            for name, outcome in ({"only": courses.high} if courses.certain else named).items()
        }
    trouble = save(store, kept)
    if trouble:
        say(f"note: {trouble}")


def _tables(outcome: Outcome) -> dict[str, dict[str, Any]]:
    parts: dict[str, Any] = {
        "sim_timeline": outcome.timeline,
        "sim_collections": outcome.collections,
        "sim_arenas": outcome.arena_spans,
    }
    return {
        table: {field.name: getattr(columns, field.name) for field in fields(columns)}
        for table, columns in parts.items()
    }


def _document(store: Store, scenario: Scenario, result: Simulation) -> dict[str, Any]:
    import msgspec

    document: dict[str, Any] = msgspec.to_builtins(result)
    document["recorded_peak_bytes"] = store.totals.peak_bytes
    document["recorded_end_bytes"] = store.totals.end_bytes
    document["recorded_duration_s"] = store.totals.duration_ns / 1e9
    certain = document.pop("out_of_memory_certain")
    if result.out_of_memory is not None:
        event = document["out_of_memory"]
        _check_limit(store, scenario, event)
        event["site"] = _site(store, event.pop("stack_id"))
        event["certain"] = certain
        event["heap"] = _heap_before(store, event["seq"], event["live_bytes"])
    return document


def _site(store: Store, stack_id: int) -> str | None:
    """Where a call path ends, as `replay --by site` names it."""
    statement = "SELECT site FROM stack_sites WHERE trace_id = ? AND stack_id = ?"
    return next((str(site) for (site,) in store.query(statement, [store.trace_id, stack_id]).rows()), None)


def _check_limit(store: Store, scenario: Scenario, event: Mapping[str, Any]) -> None:
    """Raises ScenarioError when it was the very first allocation that did not fit."""
    statement = "SELECT min(alloc_seq) FROM allocations WHERE trace_id = ?"
    first = next(store.query(statement, [store.trace_id]).rows())[0]
    if first == event["seq"]:
        held = event["footprint_bytes"]
        before = f", when {human_bytes(held)} were held already" if held else ""
        raise ScenarioError(
            f"a memory limit of {human_bytes(scenario.memory_limit or 0)} does not hold the first block of "
            f"the recording ({event['wanted_bytes']} bytes{before})",
            hint="give a larger one",
        )


def _heap_before(store: Store, seq: int, live_bytes: int) -> dict[str, Any]:
    """What was alive when the request came that did not fit: the recorded heap after the event before it.

    And, where more was alive in the simulation, the garbage that the recorded collections had freed. What is
    left then (``reused_bytes``) is in objects for which the recorded program allocated nothing, or which
    garbage may have shared with the living.
    """
    import msgspec

    from tracekit.replay.heap import heap_at
    from tracekit.replay.uncollected import uncollected_before

    heap = heap_at(store, f"seq:{max(0, seq - 1)}")
    more = live_bytes - heap.total_bytes
    garbage = uncollected_before(store, seq, more, HEAP_GROUPS) if more > 0 else None
    return {
        "by": "function",
        "total_bytes": heap.total_bytes,
        "total_blocks": heap.total_blocks,
        "groups": msgspec.to_builtins(heap.by("function", HEAP_GROUPS)),
        "garbage": msgspec.to_builtins(garbage),
        "reused_bytes": max(0, more - garbage.total_bytes) if garbage is not None else 0,
    }


def _put_scenarios(options: SimulateOptions, documents: list[dict[str, Any]]) -> None:
    from tracekit.report.comparisons import comparison_lines
    from tracekit.report.simulations import simulation_lines

    if options.as_json:
        put(json_document(documents[0] if len(documents) == 1 else {"scenarios": documents}))
        return
    width = terminal_width(sys.stdout)
    plot = _plot(documents, options.plot or _what_to_plot(documents))
    if len(documents) == 1:
        put_lines(simulation_lines(documents[0], width=width, plot=plot))
    else:
        put_lines(comparison_lines(documents, width=width, plot=plot))


def _put_sweep(options: SimulateOptions, sweep: Sweep, documents: list[dict[str, Any]]) -> None:
    from tracekit.cli.sweeps import sweep_document
    from tracekit.report.sweeps import LETTERS, sweep_lines, trade_lines

    document = sweep_document(sweep, documents, options.log)
    if options.as_json:
        put(json_document(document))
        return
    plots = []
    if sweep.of_collector and options.plot != "none":
        plots.append(list(trade_lines(document, _canvas())))
    if options.plot is not None:
        plots.append(_plot(documents, options.plot, LETTERS))
    put_lines(sweep_lines(document, width=terminal_width(sys.stdout), plots=plots))


def _what_to_plot(documents: Sequence[dict[str, Any]]) -> str:
    """Bytes from the system, if scenarios differ in what decides them; otherwise what is alive."""
    settings = [document["settings"] for document in documents]
    shapes = [(one.get("allocator"), one.get("arena_size"), one.get("pool_size")) for one in settings]
    limited = any(one.get("memory_limit") for one in settings)
    return "footprint" if limited or any(shape != shapes[0] for shape in shapes) else "live"


def _plot(documents: Sequence[dict[str, Any]], what: str, letters: str | None = None) -> list[str]:
    from tracekit.report.comparisons import plot_lines

    if what == "none":
        return []
    return list(plot_lines(documents, what, _canvas(), letters))


def _canvas() -> Canvas:
    from tracekit.report.curves import Canvas

    columns = shutil.get_terminal_size().columns
    return Canvas(columns, blocks=can_draw(sys.stdout.encoding), colour=wants_colour())
