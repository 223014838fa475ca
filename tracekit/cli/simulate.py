"""``tracekit simulate``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from tracekit.cli.options import AsJson, Log, NoCache, choice, size, thresholds
from tracekit.cli.output import Progress, opened, put, put_lines, terminal_width
from tracekit.errors import UsageError
from tracekit.report.json import json_document
from tracekit.report.simulations import simulation_lines

if TYPE_CHECKING:
    from tracekit.simulator.scenario import OutOfMemory, Scenario
    from tracekit.store.database import Store

ALLOCATORS = ("pymalloc", "malloc")
HEAP_GROUPS = 10


@dataclass(frozen=True, slots=True)
class SimulateOptions:
    """What `simulate` was asked."""

    log: Log
    gc_threshold: Annotated[
        str | None,
        typer.Option(
            "--gc-threshold", metavar="A,B,C", help="Thresholds of the collector (gc.set_threshold)."
        ),
    ] = None
    gc_off: Annotated[bool, typer.Option("--gc-off", help="Never collect (gc.disable).")] = False
    allocator: Annotated[
        str,
        typer.Option("--allocator", metavar="NAME", help="pymalloc or malloc, as PYTHONMALLOC takes them."),
    ] = "pymalloc"
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
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        choice("--allocator", self.allocator, ALLOCATORS)
        if self.gc_off and self.gc_threshold is not None:
            raise UsageError("--gc-off and --gc-threshold exclude each other", hint="give one of them")

    def scenario(self) -> Scenario:
        """The settings as the simulator takes them. Raises UsageError."""
        from tracekit.simulator.scenario import Scenario

        given = {
            "gc-threshold": self.gc_threshold,
            "gc-off": "" if self.gc_off else None,
            "allocator": None if self.allocator == ALLOCATORS[0] else self.allocator,
            "arena-size": self.arena_size,
            "pool-size": self.pool_size,
            "memory-limit": self.memory_limit,
        }
        changed = [f"{name} {text}".rstrip() for name, text in given.items() if text is not None]
        return Scenario(
            name=", ".join(changed) or "recorded",
            gc_thresholds=_parsed(thresholds, "--gc-threshold", self.gc_threshold),
            gc_off=self.gc_off,
            allocator=cast("Literal['pymalloc', 'malloc']", self.allocator),
            arena_size=_parsed(size, "--arena-size", self.arena_size),
            pool_size=_parsed(size, "--pool-size", self.pool_size),
            memory_limit=_parsed(size, "--memory-limit", self.memory_limit),
        )


def run(options: SimulateOptions) -> int:
    """Run the recorded allocations through a model of CPython's memory manager.

    Shows arenas, footprint and fragmentation under the recorded settings, or under others. A SIZE is in
    bytes, or like 64k, 512MiB, 1.5G (binary units). With --memory-limit it names the first request that would
    not have fitted, and what was alive then; that is an answer, so the exit status is 0 all the same. What
    the recording cannot tell is listed as unknown.

    Examples:
        tracekit simulate app.tkt
        tracekit simulate app.tkt --memory-limit 64MiB
        tracekit simulate app.tkt --allocator malloc --json
        tracekit simulate app.tkt --arena-size 256k --pool-size 4k

    """
    import msgspec

    from tracekit.simulator.scenario import simulate

    scenario = options.scenario()
    with opened(options.log, cache=not options.no_cache) as store:
        progress = Progress("tracekit: simulating")
        try:
            result = simulate(store, scenario, progress)
        finally:
            progress.clear()
        document = msgspec.to_builtins(result)
        if result.out_of_memory is not None:
            document["out_of_memory"]["heap"] = _heap_before(store, result.out_of_memory)
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(simulation_lines(document, width=terminal_width(sys.stdout)))
    return 0


def _heap_before(store: Store, event: OutOfMemory) -> dict[str, Any]:
    """What was alive when the request came that did not fit: the heap after the event before it."""
    import msgspec

    from tracekit.replay.heap import heap_at
    from tracekit.replay.moment import resolve_moment

    moment = resolve_moment(store, f"seq:{max(0, event.seq - 1)}")
    heap = heap_at(store, moment, by="function", limit=HEAP_GROUPS)
    return {
        "by": "function",
        "total_bytes": heap.total_bytes,
        "total_blocks": heap.total_blocks,
        "groups": msgspec.to_builtins(heap.groups),
    }


def _parsed(parse: Any, option: str, text: str | None) -> Any:
    return None if text is None else parse(option, text)
