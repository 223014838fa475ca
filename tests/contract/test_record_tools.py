"""Programs that use, themselves, what the recorder uses: profile functions, tracemalloc, gc, signals."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_support import Stage, environment, on_engines, programs

TOOLS = programs(Path(__file__).with_name("programs_tools.txt"))


@pytest.mark.parametrize(("engine", "name"), on_engines(TOOLS, 2), indirect=["engine"])
def test_tools(stage: Stage, name: str) -> None:
    stage.code(TOOLS[name]).same()
    # Only the portable engine depends on tracemalloc.
    stage.sound(complete=name != "tracemalloc stop" or stage.engine == "native")


def test_a_large_heap(stage: Stage) -> None:
    """Stock is taken of much at once, within the time that a run may take at all."""
    text = """
keep = [[str(i), i] for i in range(20_000)]
print(len(keep))
"""
    stage.code(text).same()
    assert stage.sound().peak_bytes > 20_000 * 100


def test_a_mistake_of_the_engine_ends_the_recording_not_the_program(stage: Stage) -> None:
    begin = "import _tracemalloc, os\nask = _tracemalloc._get_traces\nasked = []\n"
    begin += "def fail():\n  asked.append(1)\n  return ask() if len(asked) < 2 else [1]\n"
    begin += "_tracemalloc._get_traces = fail\n"
    stage.write({"lib/sitecustomize.py": begin})
    text = "import gc\nkeep = [[str(i)] for i in range(5000)]\ngc.collect()\nprint(len(keep))\n"
    pair = stage.code(text, env=environment(PYTHONPATH=str(stage.folder / "lib")))
    assert pair.same().stdout == b"5000\n"
    fails = stage.engine == "portable"  # the other one does not ask tracemalloc
    assert fails == ("engine-failed" in {notice.code for notice in stage.sound(complete=not fails).notices})
