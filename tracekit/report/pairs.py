"""Summaries in two columns: what, and how much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from tracekit.report.text import columns_of, printable, wrapped


def pair_lines(pairs: Iterable[tuple[str, str]], *, width: int | None = None) -> Iterator[str]:
    """Lines of names and values; a pair with an empty name continues the one before. ``width`` wraps."""
    rows = [(printable(name), printable(value)) for name, value in pairs]
    left = max((columns_of(name) for name, _ in rows), default=0)
    for name, value in rows:
        first, *more = wrapped(value, None if width is None else width - left - 2)
        yield f"{name}{' ' * (left - columns_of(name))}  {first}".rstrip()
        yield from (" " * (left + 2) + text for text in more)
