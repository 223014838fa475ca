"""The heap at the end of a recording against tracemalloc's own snapshot, taken by the same process then.

A witness in the same process keeps what tracemalloc answers when the recorder asks it, and writes the last
answer down when the program is gone; nothing expected is stored. It has to be that very answer: making one
takes tuples and lists from CPython's free lists, which counts as new blocks, so a second one would differ.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from effort import QUICK, THOROUGH

import tracekit
from tracekit.record.capabilities import CAPABILITIES
from tracekit.replay.heap import heap_at
from tracekit.replay.moment import resolve_moment
from tracekit.store.opening import open_store

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "sample_traces" / "programs"

WITNESS = """
import atexit, json, os, _tracemalloc

ask, answers = _tracemalloc._get_traces, []

def ask_and_keep():
    answers[:] = [ask()]
    return answers[0]

def testify():
    if answers:  # not in the recorder's own process
        rows = [(size, trace[0]) for _, size, trace, _ in answers[0]]
        with open(os.environ["WITNESS"], "w") as file:
            json.dump(rows, file)

_tracemalloc._get_traces = ask_and_keep
atexit.register(testify)
"""

SLOWEST = "unparse_stdlib"
CASES = {
    "leaking_cache": ["leaking_cache.py"],
    "cyclic_garbage": ["cyclic_garbage.py"],
    "batch_peak": ["batch_peak.py"],
    SLOWEST: ["../demo/unparse_stdlib.py", "2" if THOROUGH else "1"],
    "json.tool": ["-m", "json.tool", str(ROOT / "schemas" / "log.v1.json")],
}


def witnessed(path: Path, witness: Path) -> dict[tuple[str, int], tuple[int, int]]:
    """(bytes, blocks) a (file, line) in the process's own words, without the recorder's own blocks."""
    package = Path(tracekit.__file__).parent / "record"
    own = {str(witness), *(str(file) for file in package.rglob("*.py"))}
    size: Counter[tuple[str, int]] = Counter()
    blocks: Counter[tuple[str, int]] = Counter()
    for block_size, frame in json.loads(path.read_text()):
        filename, line = frame
        if filename not in own:
            size[filename, line] += block_size
            blocks[filename, line] += 1
    return {site: (size[site], blocks[site]) for site in size}


def recorded(log: Path) -> dict[tuple[str, int], tuple[int, int]]:
    """The same from the recording, through log, store and SQL."""
    with open_store(log, cache=False) as store:
        moment = resolve_moment(store, "end")
        rows = store.query(
            "SELECT filename, line, sum(size)::BIGINT, count(*) FROM heap_at($seq)"
            " JOIN stacks USING (trace_id, stack_id) JOIN codes USING (trace_id, code_id) GROUP BY ALL",
            {"seq": moment.seq},
        ).rows()
        sites = {(str(file), int(str(line))): (int(str(size)), int(str(n))) for file, line, size, n in rows}
        heap = heap_at(store, moment)
        assert heap.total_bytes == sum(size for size, _ in sites.values())
        assert heap.total_blocks == sum(count for _, count in sites.values())
        assert sum(group.bytes for group in heap.by("site")) == heap.total_bytes
    return sites


# An engine that records every event does not ask tracemalloc; test_exact.py holds it to more.
@pytest.mark.parametrize("engine", [name for name, known in CAPABILITIES.items() if not known.every_event])
@pytest.mark.parametrize("name", [name for name in CASES if not QUICK or name != SLOWEST])
def test_the_heap_at_the_end_is_tracemallocs(name: str, engine: str, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    witness = tmp_path / "site" / "sitecustomize.py"
    witness.write_text(WITNESS)
    log, testimony = tmp_path / "truth.tkt", tmp_path / "testimony.json"
    recorder = ["-q", "-o", str(log), "--engine", engine, *["--max-frames", "8"] * (not THOROUGH)]
    subprocess.run(
        [sys.executable, "-m", "tracekit", "record", *recorder, *CASES[name]],
        cwd=PROGRAMS,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site"), "WITNESS": str(testimony)},
        stdout=subprocess.DEVNULL,
        timeout=240,
        check=True,
    )
    truth = witnessed(testimony, witness)
    assert sum(count for _, count in truth.values()) > 50, "the witness saw next to nothing"
    # The witness's own list and frame are there for the recorder, too.
    heap = {site: value for site, value in recorded(log).items() if site[0] != str(witness)}
    assert heap == truth
