"""Signals from outside reach the program once, and an interrupt looks as if nobody recorded."""

from __future__ import annotations

import fcntl
import os
import pty
import random
import signal
import termios
import time
from collections.abc import Callable

import pytest
from effort import examples
from processes import running
from record_support import PYTHON, Stage, Started, environment, one_engine, recording

COUNT = """
import signal, time
got = []
for number in (1, 2, 3, 10, 12, 15):
    signal.signal(number, lambda number, frame: got.append(number))
print("ready", flush=True)
while not got:
    time.sleep(0.01)
time.sleep(0.3)
print(got)
"""

BUSY = """
import signal, traceback
def work(n):
    return sum(len([str(i), [i]]) for i in range(n))
def busy():
    while True:
        work(50)
        [work(i) for i in range(3)]
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
print("ready", flush=True)
for _ in range(ROUNDS):
    try:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
        busy()
    except KeyboardInterrupt:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
        print(traceback.format_exc().replace("\\n", "|"), flush=True)
signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
busy()
"""

Send = Callable[[Started, int], None]


def to_the_process(started: Started, number: int) -> None:
    os.kill(started.process.pid, number)


def to_the_group(started: Started, number: int) -> None:
    os.killpg(started.process.pid, number)


@one_engine
@pytest.mark.parametrize("send", [to_the_process, to_the_group])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGINT])
def test_the_program_gets_a_signal_once(stage: Stage, number: int, send: Send) -> None:
    with stage.started(COUNT) as started:
        assert started.line() == "ready"
        send(started, number)
        outcome = started.end()
    assert (outcome.stdout, outcome.stderr, outcome.status) == (f"[{int(number)}]\n".encode(), b"", 0)
    stage.sound()


@one_engine
@pytest.mark.parametrize("send", [to_the_process, to_the_group])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGQUIT, signal.SIGINT])
def test_ends_by_the_signal_as_python_does(stage: Stage, number: int, send: Send) -> None:
    text = "import time\nprint('ready', flush=True)\ntime.sleep(50)\n"
    outcomes = []
    for start in (stage.started_plainly, stage.started):
        with start(text) as started:
            assert started.line() == "ready"
            time.sleep(0.1)  # until it sleeps
            send(started, number)
            outcomes.append(started.end())
    assert outcomes[0] == outcomes[1]
    assert outcomes[1].status == -number
    stage.sound(complete=number == signal.SIGINT)


def test_interrupts_at_random_instants_show_the_program_only(stage: Stage) -> None:
    rounds, chance = examples(25), random.Random(5)
    text = BUSY.replace("ROUNDS", str(rounds))
    with stage.started(text) as started:
        assert started.line() == "ready"
        for _ in range(rounds):
            time.sleep(chance.uniform(0, 0.03))
            to_the_process(started, signal.SIGINT)
            shown = started.line()
            assert shown.startswith("Traceback (most recent call last):|  File")
            assert shown.endswith("|KeyboardInterrupt|")
            assert "tracekit" not in shown
        time.sleep(0.02)
        to_the_process(started, signal.SIGINT)
        outcome = started.end()
    assert outcome.status == -signal.SIGINT
    assert outcome.stderr.count(b"KeyboardInterrupt") == 1
    assert b"tracekit" not in outcome.stderr
    stage.sound()


RAISING = """
import gc, random, signal, sys, threading, traceback
gc.set_threshold(THRESHOLD)
class Late(Exception):
    pass
def handler(number, frame):
    raise Late(number)
def work(n):
    return sum(len([str(i), [i]]) for i in range(n))
def cycles(n):
    for _ in range(n):
        a = []
        a.append(a)
signal.signal(signal.SIGALRM, handler)
chance, shown = random.Random(7), set()
for _ in range(TIMES):
    try:
        signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.0005, 0.01))
        while True:
            work(40)
            cycles(40)
    except Late as late:
        frames = traceback.extract_tb(late.__traceback__)
        shown.update(frame.filename.rpartition("/")[2] for frame in frames)
        assert frames[-1].name == "handler"
        assert late.__context__ is None
print(shown, signal.getsignal(signal.SIGALRM) is handler)
print([n for n in signal.valid_signals() if callable(signal.getsignal(n))] == [2, 14])
"""


@pytest.mark.parametrize(("threshold", "times"), [(700, 100), (2, 50)])
def test_handlers_that_raise_raise_in_the_program(stage: Stage, threshold: int, times: int) -> None:
    """Also from within a collection, where CPython drops what a callback raises.

    With a threshold of 2 there is one in nearly every call of the engine.
    """
    text = RAISING.replace("TIMES", str(examples(times))).replace("THRESHOLD", str(threshold))
    assert stage.code(text).same().stdout == b"{'program.py'} True\nTrue\n"
    assert "profile-replaced" not in {notice.code for notice in stage.sound().notices}


def test_interrupt_of_a_program_with_threads(stage: Stage) -> None:
    """It joins with a timeout: what the portable engine hands on cannot end a wait that begins right then."""
    text = """
import threading
stop = threading.Event()
def work():
    while not stop.is_set():
        [str(i) for i in range(50)]
threads = [threading.Thread(target=work) for _ in range(2)]
for thread in threads:
    thread.start()
try:
    print("ready", flush=True)
    while any(thread.is_alive() for thread in threads):
        threads[0].join(0.2)
except KeyboardInterrupt:
    stop.set()
    print("interrupted")
"""
    with stage.started(text) as started:
        assert started.line() == "ready"
        time.sleep(0.05)
        to_the_group(started, signal.SIGINT)
        outcome = started.end()
    assert (outcome.stdout, outcome.stderr, outcome.status) == (b"interrupted\n", b"", 0)


TERMINAL = """
import signal, time
class Count:
    def __init__(self):
        self.interrupts = 0
count = Count()
try:
    print("ready", flush=True)
    while True:
        [str(i) for i in range(50)]
except KeyboardInterrupt:
    count.interrupts += 1
try:
    time.sleep(0.3)
except KeyboardInterrupt:
    count.interrupts += 1
print("interrupts:", count.interrupts, flush=True); time.sleep(50)
"""


def typed(command: list[str], stage: Stage) -> tuple[bytes, int]:
    """Run on a terminal of its own where somebody types ^C twice. All that is shown there, and the status."""
    master, slave = pty.openpty()
    shown = b""
    with running(
        command,
        cwd=stage.folder,
        env=environment(),
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # of the session that was made for it
    ) as process:
        os.close(slave)
        for awaited in (b"ready", b"interrupts: "):
            while awaited not in shown:
                shown += os.read(master, 4096)
            time.sleep(0.1)
            os.write(master, b"\x03")
        while True:
            try:
                shown += os.read(master, 4096)
            except OSError:  # the last process has closed the terminal
                break
        status = process.wait()
    os.close(master)
    return shown, status


@one_engine
def test_control_c_at_a_terminal(stage: Stage) -> None:
    stage.write({"program.py": TERMINAL})
    plain = typed([*PYTHON, "program.py"], stage)
    recorded = typed([*recording(stage.log, stage.engine), "program.py"], stage)
    assert recorded == plain
    assert recorded[0].count(b"interrupts: 1") == 1
    assert recorded[0].count(b"KeyboardInterrupt") == 1
    assert recorded[1] == -signal.SIGINT
    stage.sound()
