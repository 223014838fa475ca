"""`with tracekit.record(...)`: the same recording, begun and ended by the program itself."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest
from record_support import PYTHON, Outcome, Stage, Started, one_engine, run, sound

import tracekit
from tracekit.errors import all_errors
from tracekit.events import CollectionStart
from tracekit.log.reader import LogReader
from tracekit.log.summary import Summary, summarize


def script(stage: Stage, text: str, **files: str) -> Outcome:
    """Run a script in which LOG and ENGINE stand for themselves."""
    stage.write({"program.py": prepared(stage, text), **files})
    return run([*PYTHON, "program.py"], stage.folder)


def prepared(stage: Stage, text: str) -> str:
    begin = f"import os, sys, tracekit\nLOG, ENGINE = {str(stage.log)!r}, {stage.engine!r}\n"
    begin += "def recording(log=LOG, **options): return tracekit.record(log, engine=ENGINE, **options)\n"
    return begin + text


def settled(log: Path, *, complete: bool) -> Summary:
    """The log's summary once the collector, which is nobody's child, has closed it."""
    for _ in range(1000):
        if log.exists() and summarize(log).closed:
            return sound(log, complete=complete)
        time.sleep(0.02)
    raise AssertionError("the log was not closed")


def test_block(stage: Stage) -> None:
    text = """
before = [bytes(5000) for _ in range(100)]
with recording() as it:
    kept = [[str(i), bytes(1000)] for i in range(300)]
    tracekit.mark("full")
    print(it.output == LOG, it.engine == ENGINE)
print(repr(it.engine), os.path.exists(LOG))
after = [bytes(5000) for _ in range(100)]
"""
    assert script(stage, text) == Outcome(b"True True\n'' True\n", b"", 0)
    summary = stage.sound()  # it is closed when the block is left
    assert [mark.name for mark in summary.marks] == ["start", "full", "end"]
    assert 300_000 < summary.end_bytes < 500_000
    assert (summary.engine, summary.exit_status, summary.argv) == (stage.engine, None, ["program.py"])


def test_counts_of_the_collector_when_it_began(stage: Stage) -> None:
    text = """
import gc
gc.disable()
gc.collect()
gc.collect(0)
gc.collect(0)
gc.collect(1)
kept = [[] for _ in range(5000)]
with recording():
    more = [[] for _ in range(1000)]
    gc.collect(0)
"""
    assert script(stage, text) == Outcome(b"", b"", 0)
    with LogReader(stage.log) as reader:
        began = reader.header.collector.counts
        (at_collection,) = [r.counts for _, r in reader.records() if isinstance(r, CollectionStart)]
    assert began is not None
    assert began[1:] == (0, 1)
    assert began[0] >= 5000
    # What is made and gone on the way into the block counts, too: the portable engine imports there.
    assert 700 < at_collection[0] - began[0] < 4000


def test_process_is_as_before_and_after(stage: Stage) -> None:
    text = """
import gc, signal, threading, tracemalloc
def look():
    numbers = [os.open(os.devnull, os.O_RDONLY) for _ in range(20)]
    for number in numbers:
        os.close(number)
    try:
        children = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        children = None
    return (numbers, children, len(gc.callbacks), gc.isenabled(), sys.getprofile(), threading.getprofile(),
            tracemalloc.is_tracing(), threading.active_count(), sorted(os.environ), sys.path, os.getcwd(),
            [signal.getsignal(n) for n in sorted(signal.valid_signals())], signal.pthread_sigmask(0, []))
def mapped():
    return open("/proc/self/maps").read().count("tracekit-ring")
before = look()
for round in range(3):
    with recording(force=True):
        kept = [str(i) for i in range(5000)]
    assert look() == before, (look(), before)
    assert mapped() == 0
print("same")
"""
    assert script(stage, text) == Outcome(b"same\n", b"", 0)


@one_engine
def test_exception_passes_through(stage: Stage) -> None:
    text = """
try:
    with recording():
        raise ValueError("mine")
except ValueError as error:
    print(error.args, error.__context__)
"""
    assert script(stage, text) == Outcome(b"('mine',) None\n", b"", 0)
    stage.sound()


def test_twice_and_in_a_thread(stage: Stage) -> None:
    text = """
import threading
def run(name):
    with recording(LOG.replace("app", name)):
        kept = [[str(i)] for i in range(1000)]
        tracekit.mark(name)
run("one")
run("two")
thread = threading.Thread(target=run, args=("three",), name="worker")
thread.start()
thread.join()
"""
    assert script(stage, text) == Outcome(b"", b"", 0)
    for name in ("one", "two", "three"):
        summary = sound(stage.log.with_name(f"{name}.tkt"), complete=True)
        assert [mark.name for mark in summary.marks] == ["start", name, "end"]
        assert summary.end_blocks >= 1000


def test_threads_that_go_on(stage: Stage) -> None:
    text = """
import threading, time
stop = threading.Event()
def work():
    while not stop.is_set():
        [[str(i)] for i in range(50)]
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads:
    thread.start()
for round in range(4):
    with recording(force=True):
        time.sleep(0.1)
stop.set()
for thread in threads:
    thread.join()
"""
    assert script(stage, text) == Outcome(b"", b"", 0)
    stage.sound()


@one_engine
def test_nested(stage: Stage) -> None:
    text = """
from tracekit.errors import AlreadyRecordingError
with recording() as outer:
    for it in (recording(LOG + "2"), outer):
        try:
            with it:
                print("never")
        except AlreadyRecordingError as error:
            print(error.code)
    tracekit.mark("on")
"""
    assert script(stage, text) == Outcome(b"already-recording\n" * 2, b"", 0)
    assert [mark.name for mark in stage.sound().marks] == ["start", "on", "end"]
    assert not stage.log.with_name("app.tkt2").exists()


@one_engine
def test_under_record(stage: Stage) -> None:
    text = """
try:
    with recording(LOG + "2"):
        print("never")
except Exception as error:
    print(error.code)
tracekit.mark("on")
"""
    stage.write({"program.py": prepared(stage, text)})
    assert stage.record(["program.py"]) == Outcome(b"already-recording\n", b"", 0)
    assert stage.sound().marks[1].name == "on"


@one_engine
@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("open(LOG, 'w').write('precious'); recording", "output-exists"),
        ("os.mkdir(LOG); recording", "output-unwritable"),
        ("LOG = '/nowhere/at/all/app.tkt'; recording", "output-unwritable"),
        ("ENGINE = 'steam'; recording", "usage"),
        ("sys.executable = '/nowhere/python'; recording", "collector"),
        ("sys.executable = '/bin/false'; recording", "collector"),
    ],
)
def test_what_cannot_begin(stage: Stage, how: str, code: str) -> None:
    text = f"""
from tracekit.errors import TracekitError
try:
    with {how.rpartition("; ")[2]}(LOG):
        print("never")
except TracekitError as error:
    print(error.code, len(str(error)) > 10)
tracekit.mark("nothing happens")
"""
    begin = how.rpartition("; ")[0]
    assert script(stage, begin + text) == Outcome(f"{code} True\n".encode(), b"", 0)
    assert code in {kind.code for kind in all_errors()}
    if code == "output-exists":
        assert stage.log.read_text() == "precious"
        assert script(stage, "with recording(force=True): pass") == Outcome(b"", b"", 0)
        stage.sound()


@one_engine
def test_the_collector_is_the_programs_own_copy(stage: Stage) -> None:
    """Two that speak differently would not understand each other."""
    shutil.copytree(Path(tracekit.__file__).parent, stage.folder / "tracekit")
    (stage.folder / "tracekit" / "_version.py").write_text('__version__ = "9.9.9"\n')
    assert script(stage, "with recording(): pass") == Outcome(b"", b"", 0)
    with LogReader(stage.log) as reader:
        assert reader.header.tool_version == "9.9.9"


@one_engine
def test_relative_path_and_a_folder_that_is_left(stage: Stage) -> None:
    text = """
os.mkdir("inner")
os.chdir("inner")
with tracekit.record("x.tkt", engine=ENGINE) as it:
    os.chdir("/")
print(it.output.endswith("stage/inner/x.tkt"))
"""
    assert script(stage, text) == Outcome(b"True\n", b"", 0)
    sound(stage.folder / "inner" / "x.tkt", complete=True)


@one_engine
def test_exit_inside(stage: Stage) -> None:
    assert script(stage, "with recording():\n    sys.exit(5)\n") == Outcome(b"", b"", 5)
    stage.sound()


def test_end_of_the_program_inside(stage: Stage) -> None:
    """Nobody leaves the block; python's own end does."""
    text = "it = recording().__enter__()\nkept = [bytes(100) for _ in range(1000)]\n"
    assert script(stage, text) == Outcome(b"", b"", 0)
    assert settled(stage.log, complete=True).end_bytes > 100_000


@pytest.mark.parametrize("how", ["os._exit(3)", "os.kill(os.getpid(), 9)"])
def test_killed_inside(stage: Stage, how: str) -> None:
    text = f"""
with recording():
    kept = [[str(i), bytes(1000)] for i in range(300)]
    tracekit.mark("here")
    {how}
"""
    script(stage, text)
    summary = settled(stage.log, complete=False)
    assert [mark.name for mark in summary.marks] == ["start", "here"]
    assert [notice.code for notice in summary.notices] == ["no-end"]
    assert summary.end_bytes > 300_000


def test_fork_inside(stage: Stage) -> None:
    """The child leaves the block, too, and may begin a recording of its own."""
    text = """
with recording():
    pid = os.fork()
    if pid == 0:
        tracekit.mark("not here")
    else:
        tracekit.mark("here")
        os.waitpid(pid, 0)
if pid == 0:
    with recording(LOG.replace("app", "child")):
        tracekit.mark("child")
    os._exit(0)
print("done")
"""
    assert script(stage, text) == Outcome(b"done\n", b"", 0)
    assert [mark.name for mark in stage.sound().marks] == ["start", "here", "end"]
    child = sound(stage.log.with_name("child.tkt"), complete=True)
    assert [mark.name for mark in child.marks] == ["start", "child", "end"]


@one_engine
def test_signals_of_children(stage: Stage) -> None:
    """A program that ignores SIGCHLD, or reaps whatever ends, is not in the way."""
    text = """
import signal
def reap(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
for handler in (signal.SIG_IGN, reap):
    signal.signal(signal.SIGCHLD, handler)
    with recording(force=True):
        kept = [str(i) for i in range(100)]
print("done")
"""
    assert script(stage, text) == Outcome(b"done\n", b"", 0)
    stage.sound()


@one_engine
def test_closed_streams(stage: Stage) -> None:
    text = """
os.closerange(0, 3)
with recording():
    kept = [str(i) for i in range(100)]
os._exit(len(os.listdir("/proc/self/fd")) - 1)
"""
    assert script(stage, text).status == 0
    stage.sound()


@one_engine
def test_nothing_of_the_program_s_is_held(stage: Stage) -> None:
    """A pipe that the program passes on to children is at its end when the program closes it."""
    text = """
reading, writing = os.pipe()
os.set_inheritable(writing, True)
with recording():
    os.close(writing)
    print(os.read(reading, 1))
"""
    assert script(stage, text) == Outcome(b"b''\n", b"", 0)


COLLECTOR = """
import time
with recording() as it:
    print(it._collector, flush=True)
    sys.stdin.read(1)
    kept = [[str(i), bytes(100)] for i in range(30_000)]
    print("on", flush=True)
"""


def test_collector_is_lost(stage: Stage) -> None:
    stage.write({"program.py": prepared(stage, COLLECTOR)})
    with Started([*PYTHON, "program.py"], stage.folder) as started:
        os.kill(int(started.line()), signal.SIGKILL)
        outcome = started.end()
    assert outcome.stdout == b"on\n"
    assert outcome.status == 1
    assert b"CollectorError" in outcome.stderr.splitlines()[-1]
    assert b"is gone" in outcome.stderr.splitlines()[-1]


@one_engine
def test_mark_costs_nothing_that_matters_without_a_recording(stage: Stage) -> None:
    text = (
        "import gc\nfor _ in range(100_000): tracekit.mark('x')\nprint('tracekit.record.api' in sys.modules)"
    )
    assert script(stage, text) == Outcome(b"False\n", b"", 0)


def test_sub_interpreter(stage: Stage) -> None:
    text = f"""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
code = '''
import sys
sys.path[:] = {{path!r}}
import tracekit
try:
    with tracekit.record({str(stage.log)!r}, engine={stage.engine!r}):
        print("never")
except tracekit.errors.PlatformError as error:
    print(error.code, flush=True)
'''.format(path=sys.path)
one = interpreters.create() if sys.version_info < (3, 13) else interpreters.create("legacy")
interpreters.run_string(one, code)
"""
    assert script(stage, text) == Outcome(b"platform\n", b"", 0)
    assert not stage.log.exists()
