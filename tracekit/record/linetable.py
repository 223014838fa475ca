"""Decodes ``co_linetable``: which lines the instructions of a code object belong to.

The location table of CPython 3.11 to 3.13 (Objects/locations.md in its source): each entry begins with a
byte ``1 cccc nnn``, where c is its kind and n + 1 the number of code units it covers.
"""

from __future__ import annotations

from collections.abc import Iterator

_NONE, _LONG, _NO_COLUMN, _FIRST_ONE_LINE = 15, 14, 13, 10


def entries(table: bytes, first_line: int) -> Iterator[tuple[int, int | None]]:
    """(code units, line) of each entry in order; the line is None for instructions without one.

    A table that ends in the middle of an entry yields what is whole.
    """
    line, at = first_line, 0
    while at < len(table):
        head = table[at]
        at += 1
        units, kind = (head & 7) + 1, (head >> 3) & 15
        if kind == _NONE:
            yield units, None
            continue
        if kind in {_NO_COLUMN, _LONG}:
            delta, at = _signed(table, at)
            line += delta
            if kind == _LONG:
                for _ in range(3):
                    _, at = _unsigned(table, at)
        elif kind >= _FIRST_ONE_LINE:
            line += kind - _FIRST_ONE_LINE
            at += 2
        else:
            at += 1
        yield units, line


def lines(table: bytes, first_line: int) -> frozenset[int]:
    """All lines that a code object has instructions on."""
    return frozenset(line for _, line in entries(table, first_line) if line is not None)


def _unsigned(table: bytes, at: int) -> tuple[int, int]:
    """A variable-length integer: six bits a byte, least first, bit 6 says that more follow."""
    value = shift = 0
    while at < len(table):
        byte = table[at]
        at += 1
        value |= (byte & 63) << shift
        shift += 6
        if not byte & 64:
            break
    return value, at


def _signed(table: bytes, at: int) -> tuple[int, int]:
    value, at = _unsigned(table, at)
    return (-(value >> 1) if value & 1 else value >> 1), at
