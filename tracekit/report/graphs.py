"""A quantity over time, drawn with block characters."""

from __future__ import annotations

from collections.abc import Sequence

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def bar_graph(values: Sequence[int], height: int, *, least: int = 0) -> list[str]:
    """Lines from the top to the bottom: a column of eighths of a line for each value, the largest in full.

    ``least`` is the value at the bottom. A value above 0 shows at least an eighth, so that little can be told
    from nothing.
    """
    most = max(values, default=0) - least
    steps = height * 8
    heights = [
        max(1, round((value - least) * steps / most)) if most > 0 and value > 0 else min(value, 1)
        for value in values
    ]
    return [
        "".join(_EIGHTHS[min(8, max(0, size - level * 8))] for size in heights)
        for level in range(height - 1, -1, -1)
    ]
