"""`record --follow`: each Python that descends from the program has a log of its own, and behaves as ever."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from processes import TIMEOUT
from record_support import (
    TRACEKIT,
    Outcome,
    Stage,
    Started,
    environment,
    one_engine,
    run,
    sound,
    without_addresses,
)

from tracekit.events import Mark
from tracekit.log.reader import LogReader
from tracekit.log.summary import Summary
from tracekit.record.select import native_trouble


def following(stage: Stage, *options: str) -> list[str]:
    return [*TRACEKIT, "record", "--follow", "-o", str(stage.log), "--engine", stage.engine, *options]


def follow(stage: Stage, text: str, *options: str, same: bool = True) -> Outcome:
    """Run a script with this text plainly and followed; nothing may differ but what tracekit says."""
    stage.write({"program.py": text})
    plain = run([*TRACEKIT[:1], "program.py"], stage.folder)
    followed = run([*following(stage, *options), "program.py"], stage.folder)
    lines = followed.stderr.splitlines(keepends=True)
    ours = b"".join(line for line in lines if line.startswith(b"tracekit: "))
    if same:
        rest = b"".join(line for line in lines if not line.startswith(b"tracekit: "))
        expected = (plain.stdout, without_addresses(plain.stderr), plain.status)
        assert (followed.stdout, without_addresses(rest), followed.status) == expected
    return Outcome(followed.stdout, ours, followed.status)


def others(stage: Stage, *, complete: bool | None = True) -> list[Summary]:
    """The logs of followed processes, all of them sound, in the order of their starts."""
    logs = sorted(stage.log.parent.glob("app.*.tkt"))
    found = []
    for log in logs:
        assert re.fullmatch(r"app\.\d+(\.\d+)?\.tkt", log.name)
        found.append(sound(log, complete=complete) if complete is not None else checked(log))
        assert str(found[-1].pid) == log.name.split(".")[1]
    assert not list(stage.log.parent.glob(".*.tmp"))
    return sorted(found, key=lambda summary: summary.started_at)


def checked(log: Path) -> Summary:
    try:
        return sound(log, complete=True)
    except AssertionError:
        return sound(log, complete=False)


def marks(log: Path) -> list[str]:
    with LogReader(log) as reader:
        return [item.name for _, item in reader.records(batches=False) if isinstance(item, Mark)]


def logs_marked(stage: Stage) -> list[list[str]]:
    """Marks of the program's own of each followed process that has some."""
    found = (marks(log)[1:-1] for log in stage.log.parent.glob("app.*.tkt"))
    return sorted(names for names in found if names)


WORK = """
import tracekit
def work(n):
    kept = [[str(i), bytes(700)] for i in range(200)]
    tracekit.mark(f"work{n}")
    print("worked", n, flush=True)
"""


def test_fork(stage: Stage) -> None:
    text = (
        WORK
        + """
import os, sys
tracekit.mark("before")
pid = os.fork()
if pid == 0:
    work(1)
    sys.exit(3)
print(os.waitpid(pid, 0)[1])
tracekit.mark("after")
sys.exit(4)
"""
    )
    said = follow(stage, text)
    assert said.status == 4
    (child,) = others(stage)
    main = stage.sound()
    assert main.exit_status == 4
    assert (child.exit_status, child.argv, child.engine) == (None, ["program.py"], stage.engine)
    assert child.peak_bytes > 200 * 700
    assert logs_marked(stage) == [["work1"]]
    assert [mark.name for mark in main.marks] == ["start", "before", "after", "end"]
    assert child.trace_uuid != main.trace_uuid
    assert f"; process {child.pid}: program.py".encode() in said.stderr


@one_engine
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_multiprocessing(stage: Stage, method: str) -> None:
    text = (
        WORK
        + f"""
import multiprocessing
if __name__ == "__main__":
    context = multiprocessing.get_context({method!r})
    processes = [context.Process(target=work, args=(n,)) for n in range(2)]
    for process in processes:
        process.start()
        process.join()
    print([process.exitcode for process in processes])
"""
    )
    follow(stage, text)
    stage.sound()
    found = others(stage)
    assert logs_marked(stage) == [["work0"], ["work1"]]
    # The two processes; spawn also has its tracker of resources, and forkserver that and its server.
    assert len(found) == {"fork": 2, "spawn": 3, "forkserver": 4}[method]


@one_engine
def test_process_pool(stage: Stage) -> None:
    text = (
        WORK
        + """
from concurrent.futures import ProcessPoolExecutor
if __name__ == "__main__":
    with ProcessPoolExecutor(1) as pool:
        print(list(pool.map(work, range(3))))
"""
    )
    follow(stage, text)
    assert len(others(stage)) >= 1
    assert logs_marked(stage) == [["work0", "work1", "work2"]]


@one_engine
def test_subprocess_by_every_way(stage: Stage) -> None:
    stage.write({"child.py": WORK + "import sys; work(sys.argv[1]); print(sys.path[0] != '', sys.argv)\n"})
    text = """
import os, subprocess, sys
subprocess.run([sys.executable, "child.py", "1"])
subprocess.run(f"{sys.executable} child.py 2; exit 0", shell=True)
subprocess.run([sys.executable, "child.py", "3"], preexec_fn=os.getpid)
os.system(f"{sys.executable} -c 'print(5)'")
subprocess.run([sys.executable, "-I", "-c", "print('isolated')"])
os.spawnv(os.P_WAIT, sys.executable, [sys.executable, "child.py", "4"])
"""
    follow(stage, text)
    assert logs_marked(stage) == [["work1"], ["work2"], ["work3"], ["work4"]]
    whole = [summary for summary in others(stage, complete=None) if summary.complete]
    assert ["-c", "print(5)"] in [summary.argv for summary in whole]
    assert ["child.py", "3"] in [summary.argv for summary in whole]
    assert len(whole) == 5


def test_exec_of_python_begins_another_log(stage: Stage) -> None:
    text = (
        WORK
        + """
import os, sys
work(len(sys.argv))
if len(sys.argv) < 3:
    os.execv(sys.executable, [sys.executable, *sys.argv, "x"])
sys.exit(6)
"""
    )
    follow(stage, text)
    assert stage.sound(complete=False).exit_status == 6
    assert logs_marked(stage)[-1] == ["work3"]
    first, second = others(stage, complete=None)
    assert (first.complete, second.complete) == (False, True)
    assert "exec" in first.notices[0].text
    assert second.path.endswith(f"app.{second.pid}.2.tkt")
    assert (first.pid, second.argv, second.exit_status) == (second.pid, ["program.py", "x", "x"], 6)


@one_engine
def test_grandchildren_and_a_child_that_outlives_its_parent(stage: Stage) -> None:
    text = (
        WORK
        + """
import os, sys, time
def child(n):
    if os.fork() == 0:
        work(n)
        if n < 3:
            child(n + 1)
            os.wait()
        sys.exit()
child(1)
os.wait()
if os.fork() == 0:
    if os.fork() == 0:
        time.sleep(1)
        work(9)
    sys.exit()
os.wait()
"""
    )
    follow(stage, text)
    assert logs_marked(stage) == [["work1"], ["work2"], ["work3"], ["work9"]]
    assert len(others(stage)) == 5


@one_engine
def test_a_python_that_still_starts_when_the_program_ends(stage: Stage) -> None:
    text = "import subprocess, sys\nsubprocess.Popen([sys.executable, '-c', 'import json; print(1)'])\n"
    follow(stage, text)
    assert [summary.argv[0] for summary in others(stage)] == ["-c"]


@one_engine
def test_twenty_at_once(stage: Stage) -> None:
    text = (
        WORK
        + """
import os, sys
ready, go = os.pipe()
for n in range(20):
    if os.fork() == 0:
        os.close(go)
        os.read(ready, 1)
        sys.stdout = open(os.devnull, "w")
        work(n)
        sys.exit(0)
os.close(go)
print(sorted(os.wait()[1] for _ in range(20)))
"""
    )
    follow(stage, text)
    assert len(others(stage)) == 20
    assert logs_marked(stage) == sorted([f"work{n}"] for n in range(20))


def test_children_have_their_files_and_nothing_else(stage: Stage) -> None:
    """Numbers of files, threads, what is ignored: as in any child; and so it is with threads at the fork."""
    text = """
import gc, os, signal, sys, threading
event = threading.Event()
threading.Thread(target=event.wait).start()
def look():
    numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(4)]
    print(numbers, threading.active_count(), signal.getsignal(signal.SIGINT), flush=True)
look()
if os.fork() == 0:
    look()
    print(gc.isenabled(), flush=True)
    os._exit(0)
os.wait()
event.set()
"""
    follow(stage, text)
    (child,) = others(stage, complete=False)
    assert [notice.code for notice in child.notices] == ["no-end"]


@one_engine
def test_log_that_exists_is_left_alone(stage: Stage) -> None:
    text = """
import os, sys
if os.fork() == 0:
    sys.exit(0)
os.wait()
"""
    stage.write({"program.py": text})
    # Numbers of processes are given out one after another: those that come next are taken.
    newest = int(run([*TRACEKIT[:1], "-c", "import os; print(os.getpid())"], stage.folder).stdout)
    for pid in range(newest, newest + 500):
        (stage.log.parent / f"app.{pid}.tkt").write_text("precious")
    said = run([*following(stage), "program.py"], stage.folder)
    kept = [log for log in stage.log.parent.glob("app.*.tkt") if log.read_bytes() != b"precious"]
    if kept:
        pytest.skip("another process's number came between")
    assert said.status == 0
    assert b"not recorded: process" in said.stderr
    assert b"exists" in said.stderr
    stage.sound()


def test_without_follow_children_see_nothing(stage: Stage) -> None:
    text = """
import gc, os, subprocess, sys, tracekit, tracemalloc
kept = [str(i) for i in range(10_000)]
if os.fork() == 0:
    tracekit.mark("mine")
    print(len(gc.callbacks), "TRACEKIT_FOLLOW" in os.environ, sys.getprofile(), flush=True)
    print(tracemalloc.is_tracing(), flush=True)
    x = [str(i) for i in range(10_000)]
    sys.exit(0)
os.wait()
subprocess.run([sys.executable, "-c", "import sys; print('tracekit' in sys.modules)"])
"""
    stage.code(text).same()
    assert stage.sound().marks[-1].name == "end"
    assert others(stage) == []


@pytest.mark.skipif(native_trouble() is not None, reason="tracemalloc and sub-interpreters do not mix")
@pytest.mark.parametrize("options", [(), ("--follow",)])
def test_sub_interpreters_are_left_alone(tmp_path: Path, options: tuple[str, ...]) -> None:
    text = """
import os, sys
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
one = interpreters.create() if sys.version_info < (3, 13) else interpreters.create("legacy")
code = "import os, sys; print(os.environ.get('PYTHONPATH', '')[-3:], [p for p in sys.path if '_site' in p])"
interpreters.run_string(one, code + "; sys.stdout.flush()")
print(os.environ["PYTHONPATH"][-3:])
"""
    (tmp_path / "program.py").write_text(text)
    stage = Stage(tmp_path, "native", tmp_path / "app.tkt")
    command = [*TRACEKIT, "record", "-q", *options, "-o", str(stage.log), "program.py"]
    assert run(command, tmp_path, env=environment(PYTHONPATH="lib")) == Outcome(b"lib []\nlib\n", b"", 0)
    assert "sub-interpreter" in {notice.code for notice in stage.sound().notices}
    assert others(stage) == []


LEFT = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    print(os.getpid(), flush=True)
    kept = []
    while not os.path.exists("end"):
        kept.append([str(len(kept))])
        time.sleep(0.01)
    print("done", flush=True)
    os._exit(0)
"""


def left_running(stage: Stage) -> Started:
    stage.write({"program.py": LEFT})
    return Started([*following(stage), "program.py"], stage.folder)


@one_engine
def test_waits_for_what_the_program_left_and_says_so(stage: Stage) -> None:
    with left_running(stage) as started:
        pid = int(started.line())
        assert started.process.stderr is not None
        line = started.process.stderr.readline().decode()
        assert line.startswith("tracekit: the program has ended; waiting for")
        assert str(pid) in line
        (stage.folder / "end").touch()
        outcome = started.end()
    assert (outcome.stdout, outcome.status) == (b"done\n", 0)
    stage.sound()
    (child,) = others(stage, complete=False)
    assert child.pid == pid


@one_engine
def test_interrupt_ends_the_recording_and_not_the_process(stage: Stage) -> None:
    with left_running(stage) as started:
        pid = int(started.line())
        assert started.process.stderr is not None
        started.process.stderr.readline()
        started.process.send_signal(signal.SIGINT)
        started.process.wait(TIMEOUT)
        os.kill(pid, 0)
        (stage.folder / "end").touch()
        outcome = started.end()
    assert (outcome.stdout, outcome.status) == (b"done\n", 0)
    (child,) = others(stage, complete=False)
    assert [notice.code for notice in child.notices] == ["follow-ended"]


@one_engine
def test_killed_recorder_leaves_the_children_alone(stage: Stage) -> None:
    with left_running(stage) as started:
        int(started.line())
        time.sleep(0.3)
        started.process.kill()
        started.process.wait(TIMEOUT)
        (stage.folder / "end").touch()
        outcome = started.end()
    assert outcome.stdout == b"done\n"


@one_engine
def test_nothing_is_left_in_temporary_folders(stage: Stage, tmp_path: Path) -> None:
    folder = tmp_path / "temporary"
    folder.mkdir()
    stage.write({"program.py": "import os\nif os.fork(): os.wait()\n"})
    shared = set(Path("/dev/shm").iterdir())
    run([*following(stage, "-q"), "program.py"], stage.folder, env=environment(TMPDIR=str(folder)))
    assert list(folder.iterdir()) == []
    assert not [name for name in set(Path("/dev/shm").iterdir()) - shared if "tracekit" in name.name]
