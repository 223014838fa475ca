"""The figures as Markdown."""

from __future__ import annotations

from benchmarks.whatif.measure import (
    BESIDE,
    DEFAULT,
    LITTLE_GARBAGE,
    MOST_APART,
    MOST_WIDE,
    SLACK,
    UNSTEADY,
    Program,
    Setting,
)

Results = dict[str, dict[str, Program]]
"""By version of Python and name of the program."""

_HEAD = """\
| program | setting | collections simulated | real | apart | peak simulated, MB | real | outside by | width |
|---|---|---:|---:|---:|---:|---:|---:|---:|
"""
_SUMS = f"""\
| garbage | programs | collections {100 * MOST_APART:.0f} % apart | peak {100 * BESIDE:.0f} % beside \
| {100 * SLACK:.1f} % beside | bounds {100 * MOST_WIDE:.0f} % wide |
|---|---:|---:|---:|---:|---:|
"""


def document(results: Results) -> str:
    """One table a version of Python, and how many of its rows met the goals."""
    return "\n".join(f"### CPython {version}\n\n{_table(found)}" for version, found in results.items())


def _table(found: dict[str, Program]) -> str:
    rows = [
        _row(name if setting == DEFAULT else "", one, setting, figures)
        for name, one in found.items()
        for setting, figures in one.settings.items()
    ]
    return f"{_HEAD}{''.join(rows)}\n{_met(found)}\n"


def _row(name: str, one: Program, setting: str, figures: Setting) -> str:
    said = _counts(figures.collections)
    title = f"`{name}` ({100 * one.garbage:.0f} % garbage)" if name else ""
    peak = f"{figures.low_bytes / 1e6:.2f} to {figures.high_bytes / 1e6:.2f}"
    outside = f"{100 * figures.outside:.1f} %" if figures.outside > SLACK else ""
    apart = f"{100 * figures.difference:+.1f} %" if figures.difference else ""
    return (
        f"| {title} | {setting} | {said} | {_counts(figures.real.collections)} | {apart} | {peak} "
        f"| {figures.real.peak_bytes / 1e6:.2f} | {outside} | {100 * figures.width:.1f} % |\n"
    )


def _counts(collections: list[int]) -> str:
    return " ".join(map(str, collections))


def _met(found: dict[str, Program]) -> str:
    same = sum(one.as_recorded for one in found.values())
    steady = {name: one for name, one in found.items() if name not in UNSTEADY}
    little = [one for one in steady.values() if one.garbage <= LITTLE_GARBAGE]
    more = [one for one in steady.values() if one.garbage > LITTLE_GARBAGE]
    right = [name for name, one in steady.items() if one.right]
    return (
        f"Under the recorded settings: collections and most arenas as recorded in {same} of {len(found)}.\n"
        f"Right under all other settings: {len(right)} of {len(steady)} ({', '.join(right)}).\n\n"
        f"{_SUMS}{_sums('little', little)}{_sums('more', more)}"
    )


def _sums(garbage: str, programs: list[Program]) -> str:
    every = [figures for one in programs for figures in one.settings.values()]
    others = [figures for one in programs for setting, figures in one.settings.items() if setting != DEFAULT]
    counts = sum(abs(one.difference) <= MOST_APART for one in others)
    beside, close = (sum(one.outside <= most for one in every) for most in (BESIDE, SLACK))
    narrow = sum(one.width <= MOST_WIDE for one in every)
    total = len(every)
    return (
        f"| {garbage} | {len(programs)} | {counts} of {len(others)} | {beside} of {total} "
        f"| {close} of {total} | {narrow} of {total} |\n"
    )
