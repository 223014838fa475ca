"""Programs that use, themselves, what the recorder uses: profile functions, tracemalloc, gc, signals."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_support import Stage, programs

TOOLS = programs(Path(__file__).with_name("programs_tools.txt"))


@pytest.mark.parametrize("name", TOOLS)
def test_tools(stage: Stage, name: str) -> None:
    stage.code(TOOLS[name]).same()
    stage.sound(complete=name not in {"tracemalloc stop"})


def test_a_large_heap_takes_a_sane_time(stage: Stage) -> None:
    """What the recorder takes stays in proportion to what the program does, however much is alive."""
    text = """
import time
begun = time.perf_counter()
keep = [[str(i), i] for i in range(100_000)]
print(time.perf_counter() - begun)
"""
    pair = stage.code(text)
    plain, recorded = float(pair.python.stdout), float(pair.recorded.stdout)
    # The portable engine may take 2 s at once (GRACE), and each block costs it some microseconds.
    assert recorded < 15 + 20 * plain
    assert stage.sound().peak_bytes > 100_000 * 100
