"""The heap at every mark against tracemalloc's, started and asked at the same instants in the same process.

A witness starts tracemalloc before the recorder's hooks go on top, forgets what it has traced as soon as
they are there, and asks it for all traces right behind every mark. Then the blocks alive must be the
same, by file, line and size, with one exception that CPython makes:

**Free lists.** A list, dict, tuple, float, slice or context that is not needed any more may wait on a
list of its type instead of going back to the allocator. When it is taken from there, tracemalloc is told
that the object is new and writes the block down for the line that reused it; for the allocator nothing
happened, and the recording keeps the line that allocated the block. So a block of such a type may stand
at another line, but it must be there: for every size as many blocks have left their line as have come to
another one. The witness's own call takes such objects, too, at its own line.

**Domains of tracemalloc's own.** A library may tell tracemalloc that a block belongs to a domain of the
library (numpy does so since 2.5 with the memory of its arrays, which the raw allocator gave it), and keep it
for the next use when tracemalloc was told that it is gone (numpy, up to 1 KiB). A block of the raw domain
that is missing in tracemalloc's first domain must then be in another one, at the same line, or be one of
those small ones.

**Instructions without a line.** At the start of a function an instruction may have no line. tracemalloc says
0 then, the recording says the line of the function's ``def``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from effort import THOROUGH, examples, some
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from benchmarks.programs import WORKLOADS, missing
from tracekit.record.select import native_trouble
from tracekit.store.opening import open_store

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

ROOT = Path(__file__).parents[2]

WITNESS = """
import json, os, _tracemalloc
from tracekit._native import _engine

start, mark, stop, ask = _engine.start, _engine.mark, _engine.stop, _tracemalloc._get_traces
answers = []
_tracemalloc.start(1)

def start_together(zero):
    start(zero)
    _tracemalloc.clear_traces()

def mark_and_ask(name):
    mark(name)
    answer = ask()  # no attribute is looked up in between: the cache of attributes would let go of a name
    answers.append(answer)

def stop_and_ask():
    stop()
    answer = ask()
    answers.append(answer)
    _tracemalloc.stop()
    with open(os.environ["WITNESS"], "w") as file:
        for answer in answers:
            rows = [(domain, size, *trace[0]) for domain, size, trace, _ in answer]
            file.write(json.dumps(rows) + "\\n")

_engine.start, _engine.mark, _engine.stop = start_together, mark_and_ask, stop_and_ask
"""

FREE_LISTED = {f"builtins.{name}" for name in ("list", "dict", "tuple", "float", "slice")}
FREE_LISTED |= {"_contextvars.Context", "contextvars.Context", "builtins.Context"}
FREE_LISTED |= {
    "async_generator_asend",
    "builtins.async_generator_asend",
    "builtins.async_generator_wrapped_value",
    "_asyncio.FutureIter",
}
FREE_LISTED |= {""}
"""Types with free lists in CPython 3.11 to 3.13. A float that came from one has no type when it is freed."""

FREE_LISTED_SIZES = {24, 40, 56, 64, 72, *range(48, 201, 8)}
"""Float, awaited future, list and slice, dict, context, tuples of up to 20 items; with collector headers."""

ASKED = {"builtins.tuple", ""}
"""What the witness is given and keeps, so that nobody can reuse it."""

RAW = "raw memory"
KEPT_BY_LIBRARIES = 1024

Block = tuple[str, int, int]
"""(file, line, size)"""


def recorded_heaps(log: Path) -> list[dict[Block, Counter[str]]]:
    """Types of the blocks that are alive, by block, at each mark but ``start``."""
    heaps = []
    with open_store(log, cache=False) as store:
        marks = store.query("SELECT seq FROM marks WHERE name <> 'start' ORDER BY seq").rows()
        for (seq,) in marks:
            rows = store.query(
                "SELECT coalesce(filename, '<unknown>'), coalesce(line, 0), size,"
                f" CASE WHEN domain = 'raw' THEN '{RAW}' ELSE coalesce(name, '') END, count(*)"
                " FROM heap_at($seq) heap LEFT JOIN stacks USING (trace_id, stack_id)"
                " LEFT JOIN codes USING (trace_id, code_id)"
                " LEFT JOIN types ON types.trace_id = heap.trace_id AND types.type_id = heap.type_id"
                " GROUP BY ALL",
                {"seq": int(str(seq))},
            ).rows()
            heap: defaultdict[Block, Counter[str]] = defaultdict(Counter)
            for file, line, size, kind, count in rows:
                heap[str(file), int(str(line)), int(str(size))][str(kind)] += int(str(count))
            heaps.append(dict(heap))
    return heaps


def assert_same(
    ours: dict[Block, Counter[str]], theirs: Counter[Block], elsewhere: Counter[Block], witness: str
) -> None:
    """Hold the two against each other; what differs must be explained by free lists."""
    mine = Counter({block: kinds.total() for block, kinds in ours.items() if block[0] != witness})
    reused_by_witness: Counter[int] = Counter()
    for (file, _, size), count in theirs.items():
        reused_by_witness[size] += count * (file == witness)
    truth = Counter({block: count for block, count in theirs.items() if block[0] != witness})
    left, came = mine - truth, truth - mine
    for file, line, size in list(came):
        for block in [block for block in left if line == 0 and (block[0], block[2]) == (file, size)]:
            same = min(came[file, line, size], left[block])
            left[block] -= same
            came[file, line, size] -= same
    left, came = +left, +came
    told: Counter[Block] = Counter()  # at most so many of those that left are the business of libraries
    for (file, line, size), count in left.items() if elsewhere else ():
        known = count if size <= KEPT_BY_LIBRARIES else elsewhere[file, line, size]
        told[file, line, size] = min(count, known, ours[file, line, size][RAW])
    unexplained = {
        block: count for block, count in (left - told + came).items() if block[2] not in FREE_LISTED_SIZES
    }
    assert unexplained == {}
    gone: Counter[int] = Counter()
    slack: Counter[int] = Counter()
    for block, count in left.items():
        movable = sum(ours[block][kind] for kind in FREE_LISTED)
        assert count <= movable + told[block], f"{count} blocks left {block}, {ours[block]}"
        gone[block[2]] += count
        slack[block[2]] += told[block]
    for block, count in came.items():
        gone[block[2]] -= count
    for (file, _, size), kinds in ours.items():
        if (
            file == witness
        ):  # the other way round: the witness's call allocated it, a line of the program reused it
            gone[size] += min(sum(kinds[kind] for kind in FREE_LISTED - ASKED), max(0, -gone[size]))
    assert {size: count for size, count in gone.items() if count < 0} == {}
    kept = {size: count - reused_by_witness[size] - slack[size] for size, count in gone.items()}
    assert {size: count for size, count in kept.items() if count > 0} == {}


def check(tmp_path: Path, arguments: list[str], cwd: Path) -> int:
    """Record with the witness and compare at every mark. Returns how many blocks were compared."""
    site = tmp_path / "site"
    site.mkdir(exist_ok=True)
    (site / "sitecustomize.py").write_text(WITNESS)
    log, testimony = tmp_path / "exact.tkt", tmp_path / "testimony.jsonl"
    command = [
        sys.executable,
        "-m",
        "tracekit",
        "record",
        "-q",
        "--force",
        "--engine",
        "native",
        "-o",
        str(log),
    ]
    subprocess.run(
        [*command, *arguments],
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(site), "WITNESS": str(testimony)},
        stdout=subprocess.DEVNULL,
        timeout=240,
        check=True,
    )
    heaps = recorded_heaps(log)
    answers = [json.loads(line) for line in testimony.read_text().splitlines()]
    assert len(heaps) == len(answers) >= 1
    compared = 0
    for heap, answer in zip(heaps, answers, strict=True):
        theirs = Counter((file, line, size) for domain, size, file, line in answer if domain == 0)
        elsewhere = Counter((file, line, size) for domain, size, file, line in answer if domain != 0)
        assert_same(heap, theirs, elsewhere, str(site / "sitecustomize.py"))
        compared += theirs.total()
    return compared


PROGRAMS = ROOT / "sample_traces" / "programs"

CASES = {
    "leaking_cache": ["leaking_cache.py"],
    "cyclic_garbage": ["cyclic_garbage.py"],
    "batch_peak": ["batch_peak.py"],
    "unparse_stdlib": ["../demo/unparse_stdlib.py", "2"],
    "json.tool": ["-m", "json.tool", str(ROOT / "schemas" / "log.v1.json")],
    "help": ["-m", "pydoc", "json"],
}


@pytest.mark.parametrize("name", some(CASES))
def test_programs(name: str, tmp_path: Path) -> None:
    assert check(tmp_path, CASES[name], PROGRAMS) > 50


MARKS_NOW_AND_THEN = """
import signal, sys, tracekit
def mark(*_, taken=[]):
    taken.append(1)
    tracekit.mark(f"now {len(taken)}")
    if len(taken) == TIMES: sys.exit()
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
signal.signal(signal.SIGALRM, mark)
signal.setitimer(signal.ITIMER_REAL, SECONDS)
del mark
""".replace("TIMES", str(examples(5))).replace("SECONDS", "0.2" if THOROUGH else "0.1")


SHORTER = {"tasks": ("REQUESTS = 900", "REQUESTS = 60"), "thr": ("range(2800)", "range(80)")}
"""Workloads that cannot be left at any moment, and how they end sooner."""


@pytest.mark.parametrize("name", some(sorted(WORKLOADS), 3))
def test_workloads_of_the_benchmark(name: str, tmp_path: Path) -> None:
    """Some of each, asked now and then wherever it is."""
    if missing(name):
        pytest.skip(missing(name))
    text = WORKLOADS[name].read_text(encoding="utf-8")
    head = MARKS_NOW_AND_THEN
    if name in SHORTER:
        assert SHORTER[name][0] in text
        text, head = text.replace(*SHORTER[name]), head.replace("sys.exit()", "return")
    (tmp_path / "program.py").write_text(head + text)
    try:
        compared = check(tmp_path, ["program.py"], tmp_path)
    except AssertionError:
        # A signal may come where an object of the handler itself is half made or half gone, about once in a
        # hundred runs: then it has to hold the second time.
        compared = check(tmp_path, ["program.py"], tmp_path)
    assert compared > 50


KITCHEN = """
import asyncio, collections, contextvars, ctypes, decimal, io, json, re, threading, tracekit, types, weakref

class Slots:
    __slots__ = ("a", "b", "__weakref__")

class Plain:
    def __init__(self, n):
        self.n, self.me = n, self

keep = []

def generator(n):
    held = [bytes(i) for i in range(n)]
    yield held
    yield [*held, n]

async def deep(n):
    if n:
        return await deep(n - 1)
    await asyncio.sleep(0)
    return [str(n)] * 3

async def tasks():
    return await asyncio.gather(*(deep(i) for i in range(30)))

def recurse(n):
    return [n] if n == 0 else [*recurse(n - 1)][:1] + [bytes(n)]

def compile_some(i):
    source = f"def made(x):\\n    return [x, {{'k': x}}, 'v{i}' * x]\\nkeep.append(made({i}))"
    exec(compile(source, f"<made {i}>", "exec"))

def worker(n):
    local = [Plain(i) for i in range(n)]
    keep.append([str(i) * 50 for i in range(n)])

for turn in range(6):
    keep += [Plain(i) for i in range(200)]
    some = [Slots() for _ in range(100)]
    keep.append([weakref.ref(one) for one in some])
    gen = generator(40)
    keep.append(next(gen))
    keep.append(gen)
    keep.append(asyncio.run(tasks()))
    keep.append(recurse(90))
    for i in range(20):
        compile_some(i)
    threads = [threading.Thread(target=worker, args=(50,)) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    text = json.dumps([{"a": i, "b": [1.5 * i]} for i in range(100)])
    keep.append(json.loads(text))
    keep.append(re.findall(r"\\d+", text)[:50])
    grow = []
    for i in range(3000):
        grow.append(i * 1000)
    keep.append(grow)
    buffer = bytearray()
    for i in range(300):
        buffer += b"x" * i
    keep.append(buffer)
    keep.append(collections.deque(range(500), maxlen=300))
    keep.append({str(i): i for i in range(300)})
    keep.append({i for i in range(400)})
    keep.append(types.SimpleNamespace(a=1, b=[2]))
    keep.append(decimal.Decimal(turn) / 7)
    keep.append(type(f"Made{turn}", (Plain,), {"x": turn})(turn))
    keep.append(contextvars.copy_context())
    tracekit.mark(f"turn {turn}")
    if turn % 2:
        del keep[: len(keep) // 2]
"""


def test_all_kinds_of_objects(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(KITCHEN.replace("range(6)", f"range({examples(6)})"))
    assert check(tmp_path, ["program.py"], tmp_path) > 5000


CACHED_NAMES = """
import threading, tracekit
class Even: pass
class Odd: pass
def work():
    keep.extend([str(i)] for i in range(3000))
keep = []
threads = [threading.Thread(target=work) for _ in range(4)]
for number, thread in enumerate(threads):
    names = [f"attribute {number} {i}" for i in range(NAMES)]
    for name in names:
        getattr(Even, name, None)
        getattr(Odd, name, None)
    del name, names
    thread.start()
    thread.join()
tracekit.mark("asked")
"""
"""The cache of attributes (Objects/typeobject.c) is the last to hold most names. When the recorder looks for
the name of a thread, it makes the cache let go of some, and has to record that. It has 4096 places: 15 000
names of two types leave next to none of them empty."""


def test_names_that_only_the_cache_of_attributes_holds(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(CACHED_NAMES.replace("NAMES", "40_000" if THOROUGH else "15_000"))
    assert check(tmp_path, ["program.py"], tmp_path) > 5000


MADE = {
    "list": "keep.append([{n}] * {n})",
    "grow": "keep.append(list(range({n})))",
    "text": "keep.append('x' * {n} + str({n}))",
    "bytes": "keep.append(bytes({n} * 37))",
    "dict": "keep.append({{i: str(i) for i in range({n})}})",
    "set": "keep.append({{str(i) for i in range({n})}})",
    "object": "keep.append([Thing(i) for i in range({n})])",
    "cycle": "a = Thing({n}); a.b = Thing(a); del a",
    "call": "keep.append(call({n} % 60))",
    "drop": "del keep[::{n} % 5 + 1]",
    "collect": "gc.collect()",
    "extend": "keep and isinstance(keep[-1], list) and keep[-1].extend(range({n}))",
    "class": "keep.append(type('T{n}', (), {{'n': {n}}}))",
    "code": "keep.append(compile('lambda: [{n}]', '<made>', 'eval'))",
    "thread": "t = threading.Thread(target=call, args=({n} % 30,)); t.start(); t.join(); del t",
    "generator": "g = (str(i) for i in range({n})); keep.append([next(g, None), g])",
    "except": "try_it({n})",
    "mark": "tracekit.mark('m{n}')",
}

HEAD = """
import gc, threading, tracekit
keep = []
class Thing:
    def __init__(self, n): self.n = n
def call(n):
    return [n] if n <= 0 else [call(n - 1)]
def try_it(n):
    try:
        [1][n + 1]
    except IndexError as error:
        keep.append(error)
"""

STEPS = st.lists(st.tuples(st.sampled_from(sorted(MADE)), st.integers(0, 300)), min_size=5, max_size=40)


@settings(
    max_examples=examples(5),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(STEPS)
def test_generated_programs(tmp_path: Path, steps: list[tuple[str, int]]) -> None:
    lines = [MADE[kind].format(n=number) for kind, number in steps]
    (tmp_path / "program.py").write_text(HEAD + "\n".join(lines) + "\ntracekit.mark('last')\n")
    check(tmp_path, ["program.py"], tmp_path)
