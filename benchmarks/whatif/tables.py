"""The figures as Markdown."""

from __future__ import annotations

from benchmarks.whatif.measure import (
    DEFAULT,
    LITTLE_GARBAGE,
    MOST_APART,
    MOST_WIDE,
    OFF,
    SLACK,
    Program,
    Setting,
)

Results = dict[str, dict[str, Program]]
"""By version of Python and name of the program."""

_HEAD = """\
| program | setting | collections simulated | real | apart | peak simulated, MB | real | outside by | width |
|---|---|---:|---:|---:|---:|---:|---:|---:|
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
    every = [(one, name, figures) for one in found.values() for name, figures in one.settings.items()]
    counted = [figures for _, name, figures in every if name != OFF]
    counts = sum(abs(figures.difference) <= MOST_APART for figures in counted)
    within = sum(figures.outside <= SLACK for _, _, figures in every)
    narrow = [figures.width for one, _, figures in every if one.garbage <= LITTLE_GARBAGE]
    return (
        f"Collections within {100 * MOST_APART:.0f} % or one in {counts} of {len(counted)} rows; the peak "
        f"between the bounds (or {100 * SLACK:.1f} % beside them) in {within} of {len(every)}; bounds at "
        f"most {100 * MOST_WIDE:.0f} % wide in {sum(one <= MOST_WIDE for one in narrow)} of {len(narrow)} "
        f"of programs with little cyclic garbage."
    )
