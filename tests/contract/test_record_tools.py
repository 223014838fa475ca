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


def test_a_large_heap(stage: Stage) -> None:
    """Stock is taken of much at once, within the time that a run may take at all."""
    text = """
keep = [[str(i), i] for i in range(100_000)]
print(len(keep))
"""
    stage.code(text).same()
    assert stage.sound().peak_bytes > 100_000 * 100
