"""What the native engine is to reach, held against the figures."""

from __future__ import annotations

from benchmarks.programs import EMPTY
from benchmarks.results import RING_BYTES, Goal, Results

ENGINE = "native"
RIVAL = "memray-python"
SLOWDOWN = 1.5
SHARE = 0.25
CALLS = 1.05
START_SECONDS = 0.25
RSS_GROWTH = 0.05
BYTES_PER_EVENT = 1.0


def goals(results: Results) -> list[Goal]:
    """All goals, in the order in which they are told."""
    return [
        _slowdown(results),
        _share(results),
        *_calls(results),
        _start(results),
        _memory(results),
        _size(results),
    ]


def _slowdown(results: Results) -> Goal:
    text = f"slowdown, geometric mean over the workloads, at most {SLOWDOWN}x"
    mean = results.mean(ENGINE, results.slowdown)
    if mean is None:
        return _unknown(text)
    steady = results.mean(ENGINE, results.steady)
    without = f" ({steady:.2f}x without the start)" if steady is not None else ""
    return Goal(text, f"{mean:.2f}x over {len(results.names)}{without}", mean <= SLOWDOWN)


def _share(results: Results) -> Goal:
    text = f"added time on every workload below {SHARE:.0%} of memray's with Python allocators"
    shares = {}
    for name in results.names:
        ours, theirs = results.added(name, ENGINE), results.added(name, RIVAL)
        if ours is None or theirs is None or theirs <= 0:
            return _unknown(text)
        shares[name] = ours / theirs
    return _worst(text, shares, SHARE, "{:.0%}", below=True)


def _calls(results: Results) -> list[Goal]:
    text = f"slowdown of fib at most {CALLS}x"
    found = []
    for how, of in (("", results.slowdown), (", start taken off", results.steady)):
        figure = of("fib", ENGINE)
        known = Goal(text + how, f"{figure:.2f}x", figure <= CALLS) if figure is not None else None
        found.append(known or _unknown(text + how))
    return found


def _start(results: Results) -> Goal:
    text = f"at most {START_SECONDS} s added to an empty script"
    added = results.added(EMPTY, ENGINE)
    return Goal(text, f"{added:.2f} s", added <= START_SECONDS) if added is not None else _unknown(text)


def _memory(results: Results) -> Goal:
    text = f"peak RSS of the program grows by the ring ({RING_BYTES >> 20} MiB) and at most {RSS_GROWTH:.0%}"
    growth = {}
    for name in results.names:
        ours, alone = results.rss(name, ENGINE), results.rss(name, "none")
        if ours is None or alone is None:
            return _unknown(text)
        growth[name] = (ours - RING_BYTES) / alone - 1
    return _worst(text, growth, RSS_GROWTH, "{:+.1%}")


def _size(results: Results) -> Goal:
    text = f"at most {BYTES_PER_EVENT} byte an event, all workloads together"
    found = {name: results.content(name, ENGINE) for name in results.names}
    contents = {name: content for name, content in found.items() if content}
    if not contents or len(contents) != len(found):
        return _unknown(text)
    events = sum(events for events, _ in contents.values())
    size = sum(size for _, size in contents.values())
    over = [
        f"{name} {each / count:.2f} in {count:,}"
        for name, (count, each) in contents.items()
        if each / count > BYTES_PER_EVENT
    ]
    note = f" (above it alone: {', '.join(over)})" if over else ""
    return Goal(text, f"{size / events:.2f} in {events:,} events{note}", size / events <= BYTES_PER_EVENT)


def _worst(text: str, figures: dict[str, float], limit: float, style: str, *, below: bool = False) -> Goal:
    """A goal that holds for each workload, told by the worst of them and by how many miss it."""
    if not figures:
        return _unknown(text)
    missed = [name for name, figure in figures.items() if (figure >= limit if below else figure > limit)]
    worst = max(figures, key=lambda name: figures[name])
    figure = f"at worst {style.format(figures[worst])} ({worst})"
    if missed:
        figure += f"; missed on {len(missed)} of {len(figures)}: {', '.join(missed)}"
    return Goal(text, figure, not missed)


def _unknown(text: str) -> Goal:
    return Goal(text, "not measured", None)
