"""Classes made while the program runs: named tuples, data classes, enumerations. A class refers to itself."""

import dataclasses
import enum
from collections import namedtuple

kept = []
for turn in range(250):
    point = namedtuple("point", [f"x{turn}", "y", "z"])  # type: ignore[misc]
    record = dataclasses.make_dataclass("Record", [("name", str), (f"value{turn}", int, 3)])
    colour = enum.Enum("colour", [f"red{turn}", "green", "blue"])  # type: ignore[misc]
    rows = [point(turn, row, record(str(row))) for row in range(100)]  # type: ignore[call-arg]
    if turn % 10 == 0:
        kept.append((colour.green, rows))  # type: ignore[attr-defined]
