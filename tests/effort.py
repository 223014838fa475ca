"""How much work a test makes of what has no end: random examples, every byte of a file, programs that go on.

Tests take a part of them; with TRACEKIT_THOROUGH=1, all. With TRACEKIT_QUICK=1, as in `make test`, the
portable engine runs one in six of the programs that the native engine runs, too, and of cases that are
alike, only some are tried.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable
from typing import Final, TypeVar

Case = TypeVar("Case")

THOROUGH: Final = os.environ.get("TRACEKIT_THOROUGH", "") not in ("", "0")
QUICK: Final = not THOROUGH and os.environ.get("TRACEKIT_QUICK", "") not in ("", "0")


def in_turn(name: str, count: int) -> bool:
    """True for one in ``count`` names, the same ones in each process."""
    return zlib.crc32(name.encode()) % count == 0


def examples(count: int) -> int:
    """So many random examples, or a third of them, or a sixth."""
    return count if THOROUGH else max(3, -(-count // (6 if QUICK else 3)))


def some(cases: Iterable[Case], step: int = 2) -> list[Case]:
    """All, or in the quick run the first of each ``step``."""
    every = list(cases)
    return every[::step] if QUICK else every


def stride(step: int) -> int:
    """1 to try everything, or ``step`` to try one in so many."""
    return 1 if THOROUGH else step
