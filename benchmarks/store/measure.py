"""The measurements of the store. Everything that is measured runs as a process of its own."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from benchmarks import programs
from benchmarks.measure import RunFailedError, timed
from benchmarks.recorders import PYTHON, RECORDERS, Content
from benchmarks.store.probe import Answer
from benchmarks.store.results import FIRST, Asked, Length, Size

ENGINE, RIVAL = "native", "memray-python"
PROGRAM, TURNS = "churn", 320
"""The program of the first answer, and the turns it makes for 10 million events."""

MODEL = "tasks"
"""The program whose recording the synthetic logs are drawn from: a service that runs on and on."""

SQL = "SELECT count(*) FROM allocations"
PATIENCE = 3600.0
INSTANTS = 100

Say = Callable[[str], None]


def record(recorder: str, program: Path, output: Path) -> Content:
    """Record a program, and what its file holds. Raises RunFailedError."""
    found = RECORDERS[recorder]
    timed(found.command(program, output), timeout=PATIENCE)
    assert found.content is not None
    return found.content(output)


def store_of(log: Path) -> Path:
    """Where the store of a log is kept."""
    return log.with_name(log.name + ".duckdb")


def first_answers(rounds: int, folder: Path, say: Say, turns: int = TURNS) -> Iterator[dict[str, Asked]]:
    """What each command took, after every round. In a round every command runs once.

    Every other round the rival's commands come first.
    """
    program = programs.with_turns(PROGRAM, turns, folder)
    log, capture = folder / "churn.tkt", folder / "churn.memray"
    ours = record(ENGINE, program, log)
    query = [PYTHON, "-m", "tracekit", "query", str(log), SQL]
    commands = [(FIRST, query), ("again", query)]
    found = {
        FIRST: Asked("`tracekit query`, no store yet", ours.events, ours.bytes),
        "again": Asked("`tracekit query`, the store being there", ours.events, ours.bytes),
    }
    rivals = []
    if not RECORDERS[RIVAL].missing():
        theirs = record(RIVAL, program, capture)
        memray = [PYTHON, "-m", "memray"]
        rivals.append(("stats", [*memray, "stats", str(capture)]))
        rivals.append(("flamegraph", [*memray, "flamegraph", "-f", "-o", f"{capture}.html", str(capture)]))
        for name, _ in rivals:
            found[name] = Asked(f"`memray {name}`", theirs.events, theirs.bytes)
    for turn in range(rounds):
        for name, command in rivals + commands if turn % 2 else commands + rivals:
            if found[name].failed:
                continue
            if name == FIRST:
                store_of(log).unlink(missing_ok=True)
            try:
                found[name].runs.append(timed(command, timeout=PATIENCE))
            except RunFailedError as error:
                found[name].failed = str(error)
                say(f"{name} failed: {error}")
            else:
                say(f"{turn + 1}/{rounds} {found[name].title}: {found[name].runs[-1].wall_s:.2f} s")
        yield found


def size_of(name: str, folder: Path) -> Size:
    """Record a workload and build its store. Raises RunFailedError."""
    log = folder / f"{name}.tkt"
    try:
        content = record(ENGINE, programs.WORKLOADS[name], log)
        probe("build", log, folder)
        return Size(content.events, content.bytes, store_of(log).stat().st_size)
    finally:
        log.unlink(missing_ok=True)
        store_of(log).unlink(missing_ok=True)


def probe(task: str, log: Path, folder: Path, *options: str) -> Answer:
    """Let a process build or ask the store of a log. Raises RunFailedError."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".json") as output:
        command = [PYTHON, "-m", "benchmarks.store.probe", task, str(log), output.name, *options]
        timed(command, timeout=PATIENCE)
        return msgspec.json.decode(Path(output.name).read_bytes(), type=Answer)


def synthetic(model: Path, folder: Path, events: int, alive: int) -> Path:
    """A synthetic log in ``folder``, made if it is not there. Raises RunFailedError."""
    log = folder / f"{model.stem}-{events}-{alive}.tkt"
    if not log.exists():
        unfinished = log.with_suffix(".unfinished")
        numbers = ["--events", str(events), "--alive", str(alive)]
        command = [PYTHON, "-m", "benchmarks.synthetic", str(model), *numbers, "-o", str(unfinished)]
        timed(command, timeout=PATIENCE)
        unfinished.rename(log)
    return log


def length(model: Path, folder: Path, events: int, alive: int) -> Length:
    """Build the store of one synthetic log and ask it. Raises RunFailedError."""
    log = synthetic(model, folder, events, alive)
    try:
        store_of(log).unlink(missing_ok=True)
        built = probe("build", log, folder)
        asked = probe("ask", log, folder, "--instants", str(INSTANTS))
        simulated = probe("simulate", log, folder)
        return Length(
            alive=alive,
            size=Size(built.events, log.stat().st_size, store_of(log).stat().st_size),
            build_s=built.open_s,
            build_rss=built.peak_rss,
            ask_rss=asked.peak_rss,
            open_s=asked.open_s,
            instants_s=asked.instants_s,
            blocks=asked.blocks,
            simulate_s=simulated.simulate_s,
            simulate_rss=simulated.peak_rss,
        )
    finally:
        store_of(log).unlink(missing_ok=True)
