"""Columns of bytes and of nanoseconds in units that people read, by what their names say."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from math import isfinite

from tracekit.report.cells import Quantity
from tracekit.report.units import human_bytes, human_seconds

_WORD = re.compile(r"[A-Za-z0-9]+")
_COUNTS = frozenset({"count", "share", "percent", "ratio", "rank", "per"})
"""With one of these words in its name a column is about bytes or times and has another unit."""

Unit = Callable[[float], str]


def human_rows(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[list[object]]:
    """The rows with the numbers of such columns as texts like ``1.4 MiB`` and ``3.2 ms``."""
    units = [unit_of(column) for column in columns]
    for row in rows:
        yield [
            value if unit is None else _in_unit(unit, value) for unit, value in zip(units, row, strict=True)
        ]


def unit_of(column: str) -> Unit | None:
    """How numbers of a column are written: ``size``, ``live_bytes``, ``sum(size)`` are bytes, ``*_ns`` times.

    None for all others, and for instants since 1970 (``log_mtime_ns``).
    """
    words = [word.lower() for word in _WORD.findall(column.replace("_", " "))]
    if not words or _COUNTS.intersection(words):
        return None
    if words[-1] == "ns":
        return None if "mtime" in words else _duration
    return _bytes if words[-1] == "size" or "bytes" in words else None


def _in_unit(unit: Unit, value: object) -> object:
    if isinstance(value, (int, float, Decimal)) and not isinstance(value, bool):
        number = float(value)
        return Quantity(unit(number)) if isfinite(number) else value
    return value


def _bytes(value: float) -> str:
    return human_bytes(round(value))


def _duration(value: float) -> str:
    return human_seconds(value / 1e9)
