"""Killed programs and recorders, full disks and rings: what was written reads back, the program goes on."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import time
from pathlib import Path

import pytest
from effort import some
from record_support import Stage, on_engines, one_engine, sound

from tracekit.errors import TracekitError
from tracekit.events import Mark, Totals
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.verify import verify
from tracekit.log.writer import LogWriter
from tracekit.record import lane, session
from tracekit.record.collector import Collector
from tracekit.record.recorded import Recorded
from tracekit.record.session import Program, RecordOptions, record

MARKS = """
import os, tracekit
print(os.getpid(), flush=True)
keep = []
for i in range(10**9):
    keep.append([str(i), bytes(i % 700)])
    tracekit.mark(f"n{i}")
    print(f"n{i}", flush=True)
"""


def marks(log: Path) -> list[str]:
    with LogReader(log) as reader:
        return [item.name for _, item in reader.records(batches=False) if isinstance(item, Mark)]


@pytest.mark.parametrize("seed", some(range(4)))
def test_killed_program_leaves_every_mark_that_it_passed(stage: Stage, seed: int) -> None:
    with stage.started(MARKS) as started:
        pid = int(started.line())
        started.line()
        # Its output must be read, or it would wait at some point; where it dies is left to chance.
        for _ in range(random.Random(seed).randrange(150)):
            started.line()
        os.kill(pid, signal.SIGKILL)
        outcome = started.end()
    assert outcome.status == -signal.SIGKILL
    told = outcome.stdout.decode().split()
    found = marks(stage.log)
    assert found[0] == "start"
    assert found[1:] == [f"n{i}" for i in range(len(found) - 1)]
    assert set(told) <= set(found)
    summary = stage.sound(complete=False)
    assert summary.exit_status == -signal.SIGKILL
    assert "no-end" in {notice.code for notice in summary.notices}


def wrote_a_mark(log: Path) -> bool:
    with contextlib.suppress(OSError, TracekitError):
        return "here" in marks(log)
    return False


@pytest.mark.parametrize(("engine", "seed"), on_engines(range(3), 2), indirect=["engine"])
def test_killed_recorder_leaves_the_program_alone(stage: Stage, seed: int) -> None:
    text = """
import os, sys, time, tracekit
print("ready", flush=True)
keep, recorder, end = [], os.getppid(), None
while end is None or time.monotonic() < end:
    keep.append([str(end), bytes(900)])
    tracekit.mark("here")
    time.sleep(0.001)
    if end is None and os.getppid() != recorder:
        end = time.monotonic() + 0.3
print("done", flush=True)
print("error", file=sys.stderr)
"""
    with stage.started(text) as started:
        assert started.line() == "ready"
        while not wrote_a_mark(stage.log):
            assert started.process.poll() is None
            time.sleep(0.05)
        time.sleep(random.Random(seed).uniform(0, 0.4))
        started.process.kill()
        # communicate() waits until the program, which has the pipes, is gone too
        outcome = started.end()
    assert (outcome.stdout, outcome.stderr) == (b"done\n", b"error\n")
    verification = verify(stage.log)
    assert [problem for problem in verification.problems if "ends within a record" not in problem] == []
    assert not verification.closed
    assert not summarize(stage.log).complete
    assert set(marks(stage.log)) == {"start", "here"}


BATCH = """
import sys, tracekit
keep = []
for i in range(15):
    keep += [[str(j), bytes(j % 500)] for j in range(300)]
    tracekit.mark(f"n{i}")
    print(f"n{i}", flush=True)
sys.exit(3)
"""
BATCH_OUTPUT = "".join(f"n{i}\n" for i in range(15))


def recorded(stage: Stage, text: str) -> Recorded:
    """Record in this process."""
    stage.write({"program.py": text})
    program = Program("script", str(stage.folder / "program.py"), [])
    return record(RecordOptions(program=program, output=stage.log, engine=stage.engine))


@one_engine
@pytest.mark.parametrize("full", ["from the first byte", "after 5000 bytes", "at the footer"])
def test_full_disk(
    stage: Stage, full: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    class FullDisk(LogWriter):
        room = {"from the first byte": 20, "after 5000 bytes": 5000}.get(full, 1 << 40)

        def close(self, totals: Totals, *, complete: bool, exit_status: int | None) -> None:
            if full == "at the footer":
                self.room = 0
            super().close(totals, complete=complete, exit_status=exit_status)

        def _append(self, data: bytes) -> None:
            if self.bytes_written + len(data) > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            super()._append(data)

    monkeypatch.setattr(lane, "LogWriter", FullDisk)
    result = recorded(stage, BATCH)
    assert capfd.readouterr() == (BATCH_OUTPUT, "")
    assert result.exit_status == 3
    assert not result.complete
    assert ["No space left on device" in n.text for n in result.notices if n.code == "log-not-written"] == [
        True
    ]
    if full == "from the first byte":
        assert result.output is None
        assert not list(stage.log.parent.glob("*.tkt*"))
    else:
        verification = verify(stage.log)
        assert [problem for problem in verification.problems if "ends within a record" not in problem] == []
        summary = summarize(stage.log)
        assert not summary.closed
        assert summary.complete is (full == "at the footer")  # all events are there, and the mark end


@one_engine
def test_mistake_in_the_recorder(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def fail(_: Collector, items: object) -> None:
        raise ZeroDivisionError("mine")

    monkeypatch.setattr(Collector, "take", fail)
    result = recorded(stage, BATCH)
    assert capfd.readouterr() == (BATCH_OUTPUT, "")
    assert (result.exit_status, result.complete, result.output) == (3, False, None)
    assert "ZeroDivisionError: mine" in result.notices[0].text


@one_engine
def test_full_disk_for_real(stage: Stage, tmp_path: Path) -> None:
    """On a file system of 16 KiB, where the system lets us mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.system(f"mount -t tmpfs -o size=16k none {disk} 2>/dev/null") != 0:
        pytest.skip("needs the right to mount a file system")
    try:
        stage = Stage(stage.folder, stage.engine, disk / "app.tkt")
        pair = stage.code(BATCH)
        assert pair.recorded.stdout == pair.python.stdout
        assert pair.recorded.status == pair.python.status
        assert b"No space left on device" in stage.record(["program.py"], quiet=False).stderr
        assert marks(stage.log)[0] == "start"
    finally:
        os.system(f"umount {disk}")


@pytest.mark.parametrize(("engine", "slots"), on_engines([2, 64, 1024], 2), indirect=["engine"])
def test_tiny_ring(
    stage: Stage, slots: int, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The program waits for room in the ring; nothing is lost, and nothing is stuck."""
    # The native engine writes a definition in one piece.
    capacity = max(slots, 64) if stage.engine == "native" else slots
    text = (
        BATCH if capacity > 10 else "import tracekit\ntracekit.mark('n0')\nprint('n0')\nraise SystemExit(3)\n"
    )
    monkeypatch.setattr(session, "RING_SLOTS", capacity)
    result = recorded(stage, text)
    out, err = capfd.readouterr()
    assert err == ""
    assert (result.exit_status, result.complete) == (3, True)
    assert marks(stage.log) == ["start", *out.split(), "end"]
    sound(stage.log, complete=True)


@one_engine
def test_stopped_recorder_only_delays(stage: Stage) -> None:
    stage.write({"program.py": BATCH})
    with stage.started(BATCH) as started:
        first = started.line()
        started.process.send_signal(signal.SIGSTOP)
        time.sleep(0.3)
        started.process.send_signal(signal.SIGCONT)
        outcome = started.end()
    assert first + "\n" + outcome.stdout.decode() == BATCH_OUTPUT
    assert (outcome.stderr, outcome.status) == (b"", 3)
    assert stage.sound().exit_status == 3


@one_engine
def test_output_is_never_replaced_by_accident(stage: Stage, tmp_path: Path) -> None:
    stage.write({"program.py": "print('ran')"})
    kept = tmp_path / "kept.tkt"
    kept.write_text("precious")
    (tmp_path / "dangling.tkt").symlink_to("nowhere")
    for path in (kept, tmp_path / "dangling.tkt", Path("/dev/full"), tmp_path):
        here = Stage(stage.folder, stage.engine, path)
        outcome = here.record(["program.py"], force=False)
        assert (outcome.stdout, outcome.status) == (b"", 2)
        assert len(outcome.stderr.splitlines()) == 1
    for path in (Path("/dev/full"), tmp_path):
        assert Stage(stage.folder, stage.engine, path).record(["program.py"]).status == 2
    assert kept.read_text() == "precious"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling.tkt", "kept.tkt", "stage"]
