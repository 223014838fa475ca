"""What only the native engine knows (paths, types, causes, reallocs, threads), and who shares its hooks."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from record_support import Stage, environment

from tracekit.log.summary import summarize
from tracekit.record.select import native_trouble
from tracekit.store.database import Store
from tracekit.store.opening import open_store

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))


@pytest.fixture
def native(tmp_path: Path) -> Stage:
    """A stage of the native engine."""
    folder = tmp_path / "stage"
    folder.mkdir()
    return Stage(folder, "native", tmp_path / "app.tkt")


@contextmanager
def recorded(stage: Stage, text: str, *, env: dict[str, str] | None = None) -> Iterator[Store]:
    """The store of a program that ends well, whose output is as without the recorder."""
    stage.code(text, env=env).same()
    stage.sound()
    with open_store(stage.log, cache=False) as store:
        yield store


def rows(store: Store, sql: str) -> list[tuple[object, ...]]:
    return [tuple(row) for row in store.query(sql).rows()]


def table(store: Store, sql: str) -> dict[str, object]:
    return {str(key): value for key, value in rows(store, sql)}


PATHS = """
import sys, traceback, threading, asyncio
kept, expected, size = [], {}, 500_000

def here():
    # The frame of here() itself is left out on both sides.
    global size
    size += 16
    stack = traceback.extract_stack()[:-1]
    expected[size] = [(frame.name, frame.lineno) for frame in stack]
    kept.append(bytearray(size - 1))

def plain(): here()
def lines():
    here(); here()
    [here() for _ in range(2)]
def generator():
    here(); yield 1
    here(); yield 2
def outer_generator():
    yield from generator()
async def inner(n):
    here()
    await asyncio.sleep(0)
    here()
    return await inner(n - 1) if n else 0
class Thing:
    def __init__(self): here()
    def __eq__(self, other): here(); return True
    @property
    def value(self): here(); return 1
def recurse(n):
    here() if n == 0 else recurse(n - 1)
def through_c(): sorted([2, 1], key=lambda x: (here(), x)[1]); list(map(lambda x: here(), [1]))
def advance(it): return next(it)

plain(); lines()
for _ in outer_generator(): pass
it = generator(); advance(it); next(it)
asyncio.run(inner(3))
Thing() == Thing(); Thing().value
sys.setrecursionlimit(20_000)
recurse(500); through_c()
for i in range(5):
    exec(compile(f"def made():\\n    {'pass;' * i} here()\\nmade()", f"<made {i}>", "exec"))
thread = threading.Thread(target=plain); thread.start(); thread.join()
try:
    1 / 0
except ZeroDivisionError:
    here()
import json
json.dump({str(size): [list(frame) for frame in path] for size, path in expected.items()}, sys.stdout)
"""


def test_call_paths(native: Stage) -> None:
    """Every allocation's path is the one that the program's own traceback shows there."""
    import json  # noqa: PLC0415

    pair = native.code(PATHS)
    pair.same()
    expected = {int(size): path for size, path in json.loads(pair.recorded.stdout).items()}
    assert len(expected) > 30
    with open_store(native.log, cache=False) as store:
        for size, stack_id in rows(
            store, "SELECT size, stack_id FROM allocations WHERE size BETWEEN 500000 AND 600000"
        ):
            frames = rows(
                store,
                f"WITH RECURSIVE up AS (SELECT stack_id, parent_id, code_id, line, 0 AS height FROM stacks"
                f" WHERE stack_id = {stack_id} UNION ALL SELECT s.stack_id, s.parent_id, s.code_id, s.line,"
                " height + 1 FROM stacks s JOIN up ON s.stack_id = up.parent_id)"
                " SELECT c.qualname, up.line FROM up JOIN codes c USING (code_id) ORDER BY height DESC",
            )
            path = [(str(name).rpartition(".")[2], line) for name, line in frames]
            assert path.pop()[0] == "here"
            assert path == [tuple(frame) for frame in expected.pop(int(str(size)))]
    assert expected == {}


def test_ten_thousand_frames(native: Stage) -> None:
    text = """
import sys, threading
sys.setrecursionlimit(20_000)
threading.stack_size(512 << 20)
def down(n):
    return bytes(700_000) if n == 0 else down(n - 1)
def run():
    for _ in range(3): kept.append(down(10_000))
kept = []
thread = threading.Thread(target=run); thread.start(); thread.join()
"""
    with recorded(native, text) as store:
        found = rows(store, "SELECT depth FROM allocations JOIN stacks USING (stack_id) WHERE size > 700000")
    assert len({depth for (depth,) in found}) == 1
    assert len(found) == 3
    assert int(str(found[0][0])) > 10_000


def test_long_chains_on_the_way_down_and_up(native: Stage) -> None:
    """In a chain of thousands of frames the walk looks only as far down as can have changed."""
    text = """
import sys
sys.setrecursionlimit(20_000)
kept = []
def leaf(n):
    kept.append(bytes(1_000_000 + n))
def again(n, levels):
    if levels: again(n, levels - 1)
    else: leaf(n)
def made():
    while True:
        n = yield
        kept.append(bytes(3_000_000 + n))
def down(n, steps):
    if n % 50 == 0:
        leaf(n)
        again(n, 700)
        steps.send(n)
    if n == 0: return bytes(8)
    value = down(n - 1, steps)
    if n % 50 == 0: kept.append(bytes(2_000_000 + n))
    return value + b"x"
steps = made(); next(steps)
down(5_000, steps)
"""
    with recorded(native, text) as store:
        found = rows(
            store,
            "SELECT size - 33, depth FROM allocations JOIN stacks USING (stack_id) WHERE size > 1000000",
        )
    depths: dict[int, set[int]] = {}
    for size, depth in found:
        kind, level = divmod(int(str(size)), 1_000_000)
        depths.setdefault(kind, set()).add(int(str(depth)) + level)
    # kind 1: in leaf and below again; both at the same distance from their level of down
    assert len(found) == 4 * 101 - 1
    top = min(depths[2])
    assert depths == {1: {top + 1, top + 702}, 2: {top}, 3: {top + 1}}


def test_types_causes_and_threads(native: Stage) -> None:
    text = """
import gc, threading, tracekit
class Plain:
    def __init__(self): self.me = self
class Slots:
    __slots__ = ("a",)
class Special(dict): pass
class Outer:
    class Inner: pass
gc.disable()
def work():
    made = [Slots() for _ in range(300)]
    made.clear()
thread = threading.Thread(target=work, name="the worker"); thread.start(); thread.join()
for _ in range(100): Plain()
gc.collect()
kept = [Special(a=1) for _ in range(70)] + [Outer.Inner() for _ in range(60)]
tracekit.mark("kept")
buffer = bytearray()
for i in range(2000): buffer += b"x" * 100
"""
    with recorded(native, text) as store:
        died = table(
            store,
            "SELECT name || ' ' || freed_by, count(*) FROM allocations a JOIN types t USING (type_id)"
            " WHERE name LIKE '%main%' AND free_seq IS NOT NULL GROUP BY ALL",
        )
        alive = table(
            store,
            "SELECT name, count(*) FROM allocations JOIN types USING (type_id)"
            " WHERE free_seq IS NULL AND name LIKE '%main%' GROUP BY ALL",
        )
        by_thread = rows(
            store,
            "SELECT DISTINCT threads.name FROM allocations JOIN threads USING (thread_id)"
            " JOIN types USING (type_id) WHERE types.name LIKE '%Slots'",
        )
        moved = rows(store, "SELECT count(*) FROM reallocs")
        arenas = rows(store, "SELECT DISTINCT size FROM arenas")
    assert died["__main__.Slots refcount"] == 300
    assert died["__main__.Plain gc"] == 100
    assert alive["__main__.Special"] == 70
    assert alive["__main__.Outer.Inner"] == 60
    assert by_thread == [("the worker",)]
    assert int(str(moved[0][0])) > 10
    assert arenas in ([], [(1 << 20,)])


def test_types_of_what_the_collector_does_not_look_at(native: Stage) -> None:
    """Keys of dictionaries that are texts, and the parts of code."""
    text = """
import tracekit
names = {}
for i in range(200): names["a key of two hundred characters" + "-" * 300 + str(i)] = b""
made = eval("lambda: (" + ", ".join(f"'{i}" + "=" * 800 + "'" for i in range(100)) + ")")
tracekit.mark("made")
"""
    with recorded(native, text) as store:
        alive = rows(
            store,
            "SELECT t.name, count(*) FROM heap_at(moment('mark:made')) heap LEFT JOIN types t USING (type_id)"
            " WHERE size BETWEEN 350 AND 450 OR size BETWEEN 840 AND 900 GROUP BY ALL ORDER BY ALL",
        )
    assert sum(int(str(count)) for name, count in alive if name == "builtins.str") >= 300


def test_a_realloc_that_fails_leaves_the_block_alive(native: Stage) -> None:
    text = """
import resource
held = bytearray(3_000_000)
resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))
try:
    held.extend(bytes(1 << 28))
    held.extend(bytes(1 << 28))
except MemoryError:
    print("no memory")
print(len(held) >= 3_000_000)
"""
    with recorded(native, text) as store:
        found = rows(store, "SELECT max(size) FROM allocations WHERE free_seq IS NULL")
    assert int(str(found[0][0])) >= 3_000_000


TRACEMALLOC = """
import tracemalloc, tracekit
{before}
first = [bytes(301_000) for _ in range(3)]
tracemalloc.stop()
second = [bytes(302_000) for _ in range(3)]
tracekit.mark("stopped")
third = [bytes(303_000) for _ in range(3)]
tracemalloc.start(3)
fourth = [bytes(304_000) for _ in range(3)]
print(tracemalloc.get_traced_memory()[0] > 900_000)
tracemalloc.stop()
fifth = [bytes(305_000) for _ in range(3)]
del first, second
"""


def counts(store: Store) -> dict[int, int]:
    found = rows(
        store,
        "SELECT (size // 1000)::INTEGER, count(*) FROM allocations WHERE size BETWEEN 301000 AND 306000"
        " GROUP BY ALL",
    )
    return {int(str(size)): int(str(count)) for size, count in found}


def test_a_program_that_starts_and_stops_tracemalloc(native: Stage) -> None:
    with recorded(native, TRACEMALLOC.format(before="tracemalloc.start()")) as store:
        assert counts(store) == {301: 3, 302: 3, 303: 3, 304: 3, 305: 3}
    assert summarize(native.log).notices == []


def test_a_program_that_takes_the_hooks_away(native: Stage) -> None:
    """A tracemalloc that was there first puts back what it found, without our hooks: noticed and told."""
    text = TRACEMALLOC.format(before="")
    with recorded(native, text, env=environment(PYTHONTRACEMALLOC="1")) as store:
        assert counts(store) == {301: 3, 303: 3, 304: 3, 305: 3}
    assert [notice.code for notice in summarize(native.log).notices] == ["hooks-replaced"]


def test_a_sub_interpreter_ends_the_recording(native: Stage) -> None:
    text = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
kept = bytes(400_000)
number = interpreters.create()
interpreters.run_string(number, "kept = [bytes(500) for _ in range(100)]; print('inside')")
interpreters.destroy(number)
print("done")
"""
    with recorded(native, text) as store:
        assert rows(store, "SELECT count(*) FROM allocations WHERE size > 400000") == [(1,)]
    assert [notice.code for notice in summarize(native.log).notices] == ["sub-interpreter"]


def test_malloc_in_place_of_pymalloc(native: Stage) -> None:
    for name in ("malloc", "debug", "malloc_debug"):
        with recorded(
            native, "print([str(i) for i in range(500)][-1])", env=environment(PYTHONMALLOC=name)
        ) as store:
            found = rows(
                store, "SELECT count(*) FROM allocations JOIN types USING (type_id) WHERE name LIKE '%str'"
            )
            assert int(str(found[0][0])) > 400


@pytest.mark.skipif(sys.version_info < (3, 12), reason="sys.monitoring is new in 3.12")
def test_monitoring_keeps_working(native: Stage) -> None:
    text = """
import sys
seen = []
sys.monitoring.use_tool_id(3, "mine")
start = sys.monitoring.events.PY_START
sys.monitoring.register_callback(3, start, lambda code, at: seen.append(code.co_name))
sys.monitoring.set_events(3, start)
def called(): return [1]
called(); called()
sys.monitoring.set_events(3, 0)
print(seen)
"""
    native.code(text).same()


def test_words_of_a_block_that_look_like_addresses(native: Stage) -> None:
    """A block of the object domain may hold anything where an object would have its type."""
    text = """
import ctypes, gc
api = ctypes.pythonapi
api.PyObject_Malloc.restype, api.PyObject_Malloc.argtypes = ctypes.c_void_p, [ctypes.c_size_t]
api.PyObject_Free.restype, api.PyObject_Free.argtypes = None, [ctypes.c_void_p]
main, data = id(api.PyObject_Malloc), ctypes.addressof(ctypes.c_int.in_dll(api, "Py_DebugFlag"))
words = [0, 8, 4096, main, data, data + 8, 2**47 - 8, 2**63, 2**64 - 256, 2**64 - 8, id(gc), id(type)]
for size in (16, 32, 48, 500, 1000, 5000):
    for word in words:
        for place in range(min(size // 8, 6)):
            block = api.PyObject_Malloc(size)
            cells = (ctypes.c_uint64 * (size // 8)).from_address(block)
            cells[:] = [0] * len(cells)
            cells[place] = word
            api.PyObject_Free(block)
print("alive")
"""
    with recorded(native, text) as store:
        assert rows(store, "SELECT count(*) > 300 FROM allocations") == [(True,)]
