"""The figures as Markdown, for docs/benchmarks.md and for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from benchmarks.programs import EMPTY
from benchmarks.recorders import RECORDERS
from benchmarks.results import Facts, Goal, Results

MISSING = "not installed"
Cell = Callable[[str, str], str]


def document(results: Results) -> str:
    """Everything: what was run where, the tables, the goals."""
    others = [name for name in RECORDERS if name != "none" and name in results.recorders]
    recording = [name for name in others if RECORDERS[name].content]
    parts = [
        _facts(results),
        "### Wall time",
        "Whole processes, in times of the program alone; the first row is the start, in seconds added.",
        _wall(results, others),
        "### Wall time without the start",
        "The same, with the median time of the empty program taken off from both sides.",
        _matrix(results, others, results.names, _times(results, results.steady), mean=results.steady),
        "### CPU time",
        "Program and recorder together, in times of the program alone.",
        _matrix(results, others, results.names, _times(results, results.cpu), mean=results.cpu),
        "### Peak memory of the program",
        "Resident set in MiB. It has the pages of the ring that were touched, 16 MiB at most, with tracekit.",
        _matrix(results, ["none", *others], [EMPTY, *results.names], _mebibytes(results)),
        "### Size of the recording",
        "Bytes an event, an event being an allocation or a free.",
        _matrix(results, recording, results.names, _bytes_per_event(results)),
        "Events of one run, in thousands.",
        _matrix(results, recording, results.names, _events(results)),
        "### Goals of the native engine",
        goal_list(results.goals),
        "### Workloads",
        "\n".join(f"- `{name}`: {found.description}" for name, found in results.workloads.items()),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def goal_list(goals: Sequence[Goal]) -> str:
    """The goals, one a line."""
    said = {True: "met", False: "not met", None: "not measured"}
    return "\n".join(
        f"- {goal.goal}: " + (said[None] if goal.met is None else f"{goal.figure}: {said[goal.met]}")
        for goal in goals
    )


def summary(results: Results) -> str:
    """One paragraph for the README; "" when the native engine was not measured."""
    mean = results.mean("native", results.slowdown)
    start = results.added(EMPTY, "native")
    contents = [content for name in results.names if (content := results.content(name, "native"))]
    if mean is None or start is None or not contents:
        return ""
    slowdowns = {name: results.slowdown(name, "native") or 0.0 for name in results.names}
    least, most = min(slowdowns, key=lambda n: slowdowns[n]), max(slowdowns, key=lambda n: slowdowns[n])
    others = [
        f"{RECORDERS[name].title}: {other:.1f}x"
        for name in ("memray", "memray-python", "tracemalloc-1", "tracemalloc-25")
        if (other := results.mean(name, results.slowdown)) is not None
    ]
    density = sum(size for _, size in contents) / sum(events for events, _ in contents)
    text = (
        f"Over {len(slowdowns)} programs, recording every event with the native engine takes {mean:.2f} "
        f"times as long as running without it, in the geometric mean of whole processes (from "
        f"{slowdowns[least]:.2f}x, `{least}`, to {slowdowns[most]:.2f}x, `{most}`)"
    )
    if others:
        text += f"; {', '.join(others)}"
    return text + f". Starting adds {start:.2f} s, and an event takes {density:.2f} bytes of log."


def machine(facts: Facts) -> str:
    """Where it was measured, and with which versions."""
    versions = ", ".join(f"{name} {version}" for name, version in facts.versions.items())
    return (
        f"{facts.cpu}, {facts.cores} cores, {facts.memory / 2**30:.0f} GiB, {facts.kernel} {facts.machine}, "
        f"{facts.python}; {versions}."
    )


def _facts(results: Results) -> str:
    missing = [RECORDERS[name].title for name in results.missing]
    failed = [
        f"{name} under {RECORDERS[recorder].title} ({why})"
        for name, found in results.workloads.items()
        for recorder, why in found.failed.items()
    ]
    absent = [f"{name} ({found.missing})" for name, found in results.workloads.items() if found.missing]
    text = (
        f"Medians of {results.rounds} interleaved rounds; a ratio is taken within one round. "
        f"{machine(results.facts)} "
        f"Runs of a program alone differed by {results.unrest:.0%} at most."
    )
    once = [RECORDERS[name].title for name in results.once]
    for said, names in (
        ("Run in the first round only", once),
        ("Not installed", missing),
        ("Not run", absent),
        ("Failed", failed),
    ):
        text += f" {said}: {'; '.join(names)}." if names else ""
    return text


def _wall(results: Results, recorders: Sequence[str]) -> str:
    header = ["workload", "alone, s", *(RECORDERS[name].title for name in recorders)]
    start = [_cell(results, EMPTY, name, results.added, "{:+.2f} s") for name in recorders]
    rows = [[f"`{EMPTY}`", _number(results.wall(EMPTY, "none"), "{:.3f}"), *start]]
    for name in results.names:
        cells = [_cell(results, name, recorder, results.slowdown, "{:.2f}x") for recorder in recorders]
        rows.append([f"`{name}`", _number(results.wall(name, "none"), "{:.2f}"), *cells])
    means = [_mean(results, recorder, results.slowdown) for recorder in recorders]
    return table(header, [*rows, ["geometric mean", "", *means]])


def _matrix(
    results: Results,
    recorders: Sequence[str],
    names: Sequence[str],
    cell: Cell,
    *,
    mean: Callable[[str, str], float | None] | None = None,
) -> str:
    rows = [[f"`{name}`", *(cell(name, recorder) for recorder in recorders)] for name in names]
    if mean:
        rows.append(["geometric mean", *(_mean(results, recorder, mean) for recorder in recorders)])
    return table(["workload", *(RECORDERS[name].title for name in recorders)], rows)


def _times(results: Results, of: Callable[[str, str], float | None]) -> Cell:
    return lambda name, recorder: _cell(results, name, recorder, of, "{:.2f}x")


def _mebibytes(results: Results) -> Cell:
    def of(name: str, recorder: str) -> float | None:
        size = results.rss(name, recorder)
        return None if size is None else size / 2**20

    return lambda name, recorder: _cell(results, name, recorder, of, "{:.1f}")


def _bytes_per_event(results: Results) -> Cell:
    def of(name: str, recorder: str) -> float | None:
        content = results.content(name, recorder)
        return None if content is None else content[1] / content[0]

    return lambda name, recorder: _cell(results, name, recorder, of, "{:.2f}")


def _events(results: Results) -> Cell:
    def of(name: str, recorder: str) -> float | None:
        content = results.content(name, recorder)
        return None if content is None else content[0] / 1000

    return lambda name, recorder: _cell(results, name, recorder, of, "{:,.0f}")


def _cell(
    results: Results, name: str, recorder: str, of: Callable[[str, str], float | None], style: str
) -> str:
    if recorder in results.missing:
        return MISSING
    if name in results.workloads and recorder in results.workloads[name].failed:
        return "failed"
    return _number(of(name, recorder), style)


def _mean(results: Results, recorder: str, of: Callable[[str, str], float | None]) -> str:
    return _number(results.mean(recorder, of), "{:.2f}x")


def _number(figure: float | None, style: str) -> str:
    return "" if figure is None else style.format(figure)


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; all columns but the first are numbers."""
    lines = [f"| {' | '.join(header)} |", f"|---|{'---:|' * (len(header) - 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])
