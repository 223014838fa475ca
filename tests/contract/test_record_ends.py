"""However a program ends, whoever started it sees the same with and without `tracekit record`."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from processes import TIMEOUT
from record_support import Outcome, Stage, environment, on_engines, programs

from tracekit.events import Mark
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize

ENDS = programs(Path(__file__).with_name("programs_ends.txt"))
# The program ends without Python's own end, and so has no end in the log.
CUT = {"os._exit", "abort", "segmentation fault", "sigkill", "sigterm", "sigpipe", "sigint default"}
CUT |= {"fork and leave", "atexit clear"}
OTHERS = {"broken.py": "x = (1,\n", "other.py": "import sys; print(__name__, sys.argv); sys.exit(8)"}


def written(log: Path) -> set[str]:
    """Names of marks and texts of lines that are in a log so far."""
    found: set[str] = set()
    if log.exists():
        with LogReader(log) as reader:
            for _, record in reader.records(batches=False):
                found |= {line.text for line in getattr(record, "lines", [])}
                if isinstance(record, Mark):
                    found.add(record.name)
    return found


@pytest.mark.parametrize(("engine", "name"), on_engines(ENDS, 3), indirect=["engine"])
def test_ends(stage: Stage, name: str) -> None:
    stage.write(OTHERS)
    pair = stage.code(ENDS[name])
    pair.same()
    found = stage.sound(complete=name not in CUT)
    assert found.exit_status == pair.python.status


def test_all_is_written_while_a_program_takes_itself_down(stage: Stage) -> None:
    text = """
import os, time
kept = [str(number) for number in range(1000)]  # here
class Last:
    def __del__(self, os=os, sleep=time.sleep):
        os.write(1, b"going\\n")
        while not os.path.exists("go"):
            sleep(0.01)
last = Last()
"""
    with stage.started(text) as program:
        assert program.line() == "going"
        deadline = time.monotonic() + TIMEOUT
        while not written(stage.log) >= {"end", "kept = [str(number) for number in range(1000)]  # here"}:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        early = summarize(stage.log)
        assert not early.closed
        (stage.folder / "go").touch()
        assert program.end() == Outcome(b"", b"", 0)
    assert stage.sound().events == early.events


def test_exec_leaves_a_log_without_an_end(stage: Stage) -> None:
    text = (
        "import os, sys\nx = [bytes(10) for _ in range(50)]\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'import sys; print(sys.path[0], 1); sys.exit(4)'])"
    )
    assert stage.code(text).same().status == 4
    assert stage.sound(complete=False).exit_status == 4


def test_exec_of_itself_records_once(stage: Stage) -> None:
    text = """
import os, sys
if len(sys.argv) < 4:
    os.execv(sys.executable, [sys.executable, *sys.argv, "x"])
print(sys.argv)
"""
    assert stage.code(text).same().stdout == b"['program.py', 'x', 'x', 'x']\n"


def test_tracemalloc_that_was_on_before_goes_on_in_a_child(stage: Stage) -> None:
    # In the program only: the recorder is a Python program, too.
    begin = "import sys\nif 'record' not in sys.orig_argv: import tracemalloc; tracemalloc.start(5)\n"
    stage.write({"lib/sitecustomize.py": begin})
    text = """
import os, tracemalloc
child = os.fork()
print(tracemalloc.is_tracing(), tracemalloc.get_traceback_limit(), flush=True)
if child:
    os.wait()
"""
    pair = stage.code(text, env=environment(PYTHONPATH=str(stage.folder / "lib")))
    assert pair.same().stdout == b"True 5\n" * 2
    stage.sound()


def test_stack_overflow(stage: Stage) -> None:
    """The recorder's call does not fit on a full stack: one frame may be at its `def` instead of its call."""
    pair = stage.code("def f(n):\n    return f(n + 1)\nf(0)\n")
    plain, recorded = (outcome.stderr.decode().splitlines() for outcome in (pair.python, pair.recorded))
    repeated = next(number for number, line in enumerate(plain) if "[Previous line repeated 99" in line)
    assert recorded[:repeated] == plain[:repeated]
    assert (
        "[Previous line repeated 99" in recorded[repeated]
    )  # one less when the last frame is not among them
    assert recorded[-1] == plain[-1] == "RecursionError: maximum recursion depth exceeded"
    assert b"tracekit" not in pair.recorded.stderr
    assert pair.recorded.status == 1
    stage.sound()


def test_recursion_that_is_caught(stage: Stage) -> None:
    text = """
import gc, sys
def f(n):
    try:
        return f(n + 1)
    except RecursionError:
        return n
for limit in (1000, 1500, 100):
    sys.setrecursionlimit(limit)
    print(round(f(0), -1))
gc.collect()
keep = [[str(i)] for i in range(20000)]
"""
    stage.code(text).same()
    # The profile function was taken away by CPython, and is back.
    assert "profile-replaced" not in {notice.code for notice in stage.sound().notices}
