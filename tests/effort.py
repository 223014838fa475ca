"""How much work a test makes of what has no end: random examples, every byte of a file, programs that go on.

`make test` is to be quick, so it takes a part of them; with TRACEKIT_THOROUGH=1, all.
"""

from __future__ import annotations

import os
from typing import Final

THOROUGH: Final = os.environ.get("TRACEKIT_THOROUGH", "") not in ("", "0")


def examples(count: int) -> int:
    """So many random examples, or a third of them."""
    return count if THOROUGH else max(3, -(-count // 3))


def stride(step: int) -> int:
    """1 to try everything, or ``step`` to try one in so many."""
    return 1 if THOROUGH else step
