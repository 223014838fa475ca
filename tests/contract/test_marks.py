"""Where all threads are at a mark, held against what the program sees there: ``sys._current_frames()``."""

from __future__ import annotations

import json
from pathlib import Path

from record_support import PYTHON, Stage, run, sound

from tracekit.record.symbols import FRAME_SPECIALS_WORDS, WORD_BYTES
from tracekit.store.database import Store
from tracekit.store.opening import open_store

Frame = tuple[str, str, int, int]
"""File, qualified name, line, and bytes on the stack."""

Place = tuple[str, tuple[Frame, ...]]
"""A thread's name, and its call path, outermost first."""

WITNESS = (
    f"SPECIALS, WORD = {FRAME_SPECIALS_WORDS}, {WORD_BYTES}"
    + """
import json, queue, sys, threading, time, tracekit
seen = {}
def bytes_of(code):
    names = {*code.co_varnames, *code.co_cellvars, *code.co_freevars}
    return (len(names) + code.co_stacksize + SPECIALS) * WORD
def mark(name):
    tracekit.mark(name); frames = sys._current_frames(); line = sys._getframe().f_lineno
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in frames.items():
        path = []
        while frame is not None:
            code = frame.f_code
            at = line if frame is sys._getframe() else frame.f_lineno
            path.insert(0, (code.co_filename, code.co_qualname, at, bytes_of(code)))
            frame = frame.f_back
        found.append((names[ident], path))
    seen[name] = found
    frame = frames = None
"""
)
THREADS = """
def wait_until(there):
    deadline = time.monotonic() + 60
    while not there() and time.monotonic() < deadline: time.sleep(0.001)
    before = None  # and until none of them moves any more, however slowly it is recorded
    while time.monotonic() < deadline:
        now = sorted((i, f.f_code.co_name, f.f_lasti) for i, f in sys._current_frames().items())
        now = [one for one in now if one[0] != threading.get_ident()]
        if now == before: break
        before = now
        time.sleep(0.25)
lock, end, waiting, items = threading.Lock(), threading.Event(), [], queue.Queue()
lock.acquire()
def here():
    waiting.append(threading.get_ident())
def blocked():
    here(); lock.acquire()
def sleeping():
    here(); time.sleep(3600)
def getting():
    here()
    items.get()
def recursion(n):
    big = [n] * 3
    return recursion(n - 1) + big if n else (getting(), big)[1]
def generator():
    for n in range(3):
        if n == 1: here(); end.wait()
        yield n
def driving():
    for n in (n + 1 for n in generator()): pass
class Thing:
    def __init__(self):
        self.made = [lambda n: self.method(n) for _ in range(2)]
    def method(self, n):
        def inner(a, /, b, *c, d=1, **e):
            here()
            with lock: return n, a, b, c, d, e
        inner(1, 2, 3, f=4)
def through_c(): return sorted([1, 2], key=Thing().made[0])
class Eager:
    def __eq__(self, other):
        here()
        end.wait()
def comparing(): return [1, Eager()].index(2)
"""
START = """
targets = [(blocked, ()), (sleeping, ()), (recursion, (50,)), (driving, ()), (through_c, ()), (comparing, ())]
for target, arguments in targets:
    threading.Thread(target=target, args=arguments, name=target.__name__, daemon=True).start()
wait_until(lambda: len(waiting) == len(targets))
"""
MARKS = """
def deep(n): return deep(n - 1) if n else mark("deep")
def values():
    mark("generator")
    yield 1
mark("top"); deep(30); list(values())
exec(compile("\\n\\ndef made():\\n    mark('compiled')\\nmade()", "<made>", "exec"))
class Body: mark("class")
max([1, 2], key=lambda n: mark(f"lambda {n}") or n)
def later():
    time.sleep(0.5)  # until the main thread waits
    mark("thread")
other = threading.Thread(target=later, name="other"); other.start(); other.join()
with open("seen.json", "w") as file: json.dump(seen, file)
"""


def places(store: Store, seq: int) -> list[Place]:
    """Where the store says that threads were at a mark."""
    found = store.query(
        "WITH RECURSIVE up AS ("
        " SELECT thread_id, stack_id, 0 AS height FROM mark_stacks WHERE seq = $seq UNION ALL"
        " SELECT up.thread_id, s.parent_id, height + 1 FROM up JOIN stacks s USING (stack_id)"
        ") SELECT up.thread_id, t.name, c.filename, c.qualname, s.line, c.frame_bytes"
        " FROM up JOIN stacks s USING (stack_id) JOIN codes c USING (code_id)"
        " JOIN threads t ON t.thread_id = up.thread_id ORDER BY up.thread_id, height DESC",
        {"seq": seq},
    ).rows()
    threads: dict[int, tuple[str, list[Frame]]] = {}
    for number, name, filename, qualname, line, frame_bytes in found:
        frame = (str(filename), str(qualname), int(str(line)), int(str(frame_bytes)))
        threads.setdefault(int(str(number)), (str(name), []))[1].append(frame)
    return sorted((name, tuple(path)) for name, path in threads.values())


def marks(store: Store) -> dict[str, int]:
    return {str(name): int(str(seq)) for name, seq in store.query("SELECT name, seq FROM marks").rows()}


def check(store: Store, seen: Path) -> dict[str, list[Place]]:
    """Hold the marks against what the program saw; what the store says of all of them."""
    truth = json.loads(seen.read_text())
    found = {name: places(store, seq) for name, seq in marks(store).items()}
    assert len(truth) == 8
    for name, threads in truth.items():
        expected = sorted((thread, tuple(tuple(frame) for frame in path)) for thread, path in threads)
        assert found[name] == expected, name
    return found


def test_all_threads(stage: Stage) -> None:
    """The portable engine runs as Python: while it looks around, a thread may move on. It has three tries."""
    stage.write({"program.py": WITNESS + THREADS + START + MARKS})
    for left in range(2 if stage.engine == "portable" else 0, -1, -1):
        try:
            _check_all_threads(stage)
        except AssertionError:
            if not left:
                raise
        else:
            break


def _check_all_threads(stage: Stage) -> None:
    outcome = stage.record(["program.py"])
    assert (outcome.status, outcome.stderr) == (0, b"")
    stage.sound()
    with open_store(stage.log, cache=False) as store:
        found = check(store, stage.folder / "seen.json")
        sql = "SELECT stack_id FROM mark_stacks JOIN marks USING (seq, thread_id) WHERE name = 'end'"
        (own,) = store.query(sql).rows()
    assert own == (0,)  # who runs the exit handlers runs no code of the program
    assert {name for name, _ in found["end"]} == {name for name, _ in found["top"]} - {"MainThread"}
    assert found["start"][0][1][-1][0].startswith("<frozen")


def test_threads_older_than_the_recording(stage: Stage) -> None:
    """They have done nothing yet that was recorded, and have the same numbers when they do."""
    text = f"""
go = threading.Event()
def worker():
    here(); go.wait(); kept.extend(bytes(700_000) for _ in range(3)); done.release(); end.wait()
kept, done = [], threading.Semaphore(0)
old = threading.Thread(target=worker, name="worker", daemon=True); old.start()
wait_until(lambda: len(waiting) == len(targets) + 1)
with tracekit.record({str(stage.log)!r}, engine={stage.engine!r}):
    go.set(); done.acquire()
    """ + MARKS.strip().replace("\n", "\n    ")
    stage.write({"program.py": WITNESS + THREADS + START + text})
    outcome = run([*PYTHON, "program.py"], stage.folder)
    assert (outcome.status, outcome.stdout, outcome.stderr) == (0, b"", b"")
    sound(stage.log, complete=True)
    with open_store(stage.log, cache=False) as store:
        found = check(store, stage.folder / "seen.json")
        sql = "SELECT DISTINCT t.name FROM allocations JOIN threads t USING (thread_id) WHERE size > 700000"
        names = list(store.query(sql).rows())
    assert {name for name, _ in found["start"]} == {name for name, _ in found["end"]}
    assert [path[-1][1] for name, path in found["start"] if name == "MainThread"] == ["<module>"]
    assert names == [("worker",)] or stage.engine == "portable"


def test_an_audit_hook_may_forbid_it(stage: Stage) -> None:
    """Then nothing is known, and the program is not disturbed."""
    text = """
import sys, tracekit
def hook(event, arguments):
    if event == "sys._current_frames": raise RuntimeError("no")
sys.addaudithook(hook)
tracekit.mark("here")
"""
    stage.code(text).same()
    stage.sound()
    with open_store(stage.log, cache=False) as store:
        count = len(places(store, marks(store)["here"]))
    assert count == (1 if stage.engine == "native" else 0)
