"""Programs that die in the middle: every allocation that they reported is in the log, whatever killed them.

The program numbers its allocations by their sizes and writes each number to a pipe after it allocated. The
native engine writes an event before the allocation returns, to memory that is the kernel's, so none may be
missing.
``TRACEKIT_KILLS`` sets at how many random instants the program is killed (10 where it is not set).
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from processes import running

from tracekit.log.columns import EventColumns
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.verify import verify
from tracekit.record.select import native_trouble

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

FIRST = 100_000
"""Bytes of the first numbered allocation, more than anything else in the program."""

PROGRAM = """
import os, sys, threading
def allocate(start, step):
    number = start
    while True:
        kept = bytes({first} - bytes.__basicsize__ + number)
        os.write(1, b"%d\\n" % number)
        number += step
        if number == int(sys.argv[1]):
            {ending}
allocate(0, 1)
"""

ENDINGS = {
    "SIGSEGV": "import ctypes; ctypes.string_at(0)",
    "abort": "os.abort()",
    "_exit": "os._exit(3)",
    "execv": "os.execv('/bin/true', ['true'])",
    "SIGTERM": "os.kill(os.getpid(), 15); import time; time.sleep(9)",
    "SIGKILL": "os.kill(os.getpid(), 9)",
    "MemoryError": "import resource as r; r.setrlimit(r.RLIMIT_AS, (1 << 28, 1 << 28)); bytes(1 << 29)",
    "exception": "raise KeyError(number)",
}

STATUS = {"SIGSEGV": -11, "abort": -6, "_exit": 3, "execv": 0, "SIGTERM": -15, "SIGKILL": -9}


def command(folder: Path, ending: str, limit: int) -> list[str]:
    (folder / "program.py").write_text(PROGRAM.format(first=FIRST, ending=ending))
    record = [sys.executable, "-m", "tracekit", "record", "-q", "--force", "--engine", "native"]
    return [*record, "-o", str(folder / "lost.tkt"), str(folder / "program.py"), str(limit)]


def numbers_in(log: Path) -> set[int]:
    """Numbers of the numbered allocations in a log."""
    found: set[int] = set()
    with LogReader(log) as reader:
        for _, record in reader.decoded():
            if isinstance(record, EventColumns):
                sizes = record.size[record.allocations]
                found |= set((sizes[(sizes >= FIRST) & (sizes < 2 * FIRST)] - FIRST).tolist())
    return found


def hold(log: Path, reported: list[int]) -> None:
    """Assert that a log is sound and holds all that was reported."""
    assert verify(log).problems == []
    missing = set(reported) - numbers_in(log)
    assert missing == set()
    assert not summarize(log).complete


@pytest.mark.parametrize("seed", range(int(os.environ.get("TRACEKIT_KILLS", "10"))))
def test_killed_at_a_random_instant(tmp_path: Path, seed: int) -> None:
    with running(command(tmp_path, "pass", -1), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        target = target_of(process.pid)
        time.sleep(random.Random(seed).uniform(0, 0.15))
        os.kill(target, signal.SIGKILL)
        rest = process.stdout.read()
        process.wait()
    assert process.returncode == 128 + signal.SIGKILL or process.returncode == -signal.SIGKILL
    lines = (first + rest).split(b"\n")[:-1]
    assert len(lines) > 0
    hold(tmp_path / "lost.tkt", [int(line) for line in lines])


def target_of(recorder: int) -> int:
    """The program that a recorder runs: its child that has the program's arguments."""
    for task in Path(f"/proc/{recorder}/task").iterdir():
        for child in (task / "children").read_text().split():
            if b"program.py" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
    raise AssertionError("the recorder runs nothing")


@pytest.mark.parametrize("name", ENDINGS)
def test_endings(tmp_path: Path, name: str) -> None:
    done = subprocess.run(
        command(tmp_path, ENDINGS[name], 500), capture_output=True, timeout=240, check=False
    )
    reported = [int(line) for line in done.stdout.split()]
    assert reported == list(range(500))
    log = tmp_path / "lost.tkt"
    if name in STATUS:
        assert done.returncode in {STATUS[name], 128 - STATUS[name] if STATUS[name] < 0 else STATUS[name]}
        hold(log, reported)
    else:
        assert done.returncode == 1
        assert b"MemoryError" in done.stderr or b"KeyError" in done.stderr
        assert verify(log).problems == []
        assert set(reported) <= numbers_in(log)
        assert summarize(log).complete


def test_numbers_are_counted(tmp_path: Path) -> None:
    """The test itself can fail: a number that was never allocated is missed."""
    subprocess.run(command(tmp_path, "os._exit(0)", 20), capture_output=True, timeout=240, check=True)
    found = numbers_in(tmp_path / "lost.tkt")
    assert found == set(range(20))
    with pytest.raises(AssertionError):
        hold(tmp_path / "lost.tkt", [20])
