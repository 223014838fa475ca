"""What `tracekit fragmentation` predicts, against what a program sees when it really frees the blocks."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from record_support import PYTHON, Outcome, Stage, environment, run

from tracekit.errors import ArenasUnknownError
from tracekit.record.select import native_trouble
from tracekit.replay.fragmentation import Fragmentation, fragmentation
from tracekit.replay.moment import resolve_moment
from tracekit.store.database import Store
from tracekit.store.opening import open_store

native_only = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

PROGRAM = """
import gc, json, sys
import tracekit

def rss():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

def look(name):
    tracekit.mark(name)
    found.append(rss())
    print("###", name, file=sys.stderr, flush=True)
    sys._debugmallocstats()

def work():
    kept, noise, rows = [], [], []
    for number in range(300_000):
        rows.append(bytes(100))
        if number % 100 == 0:
            kept.append(bytes(101))  # kept
        if 200_000 <= number < 205_000 and number % 200 == 0:
            noise.append(bytes(102))  # noise
    rows.clear()
    gc.collect()
    look("kept")
    kept.clear()
    gc.collect()
    look("freed")
    noise.clear()
    gc.collect()
    look("all")

found = []
work()
print(json.dumps(found))
"""
KEPT, NOISE = (
    1 + next(number for number, line in enumerate(PROGRAM.splitlines()) if line.endswith(end))
    for end in ("# kept", "# noise")
)


def current_arenas(err: bytes) -> dict[str, int]:
    """What the allocator of a program that is not recorded said at each mark: how many arenas it had.

    Under a recorder it says nothing: its statistics stop when somebody else's functions are in its place.
    """
    found = {}
    for part in err.decode().split("###")[1:]:
        (count,) = re.findall(r"# arenas allocated current *= *([0-9,]+)", part)
        found[part.split()[0]] = int(count.replace(",", ""))
    return found


class Run:
    """The program twice: what it saw itself, and the store of the log."""

    def __init__(self, store: Store, plain: Outcome, recorded: Outcome) -> None:
        self.store = store
        self.rss = dict(zip(("kept", "freed", "all"), json.loads(recorded.stdout), strict=True))
        self.plain = current_arenas(plain.stderr)

    def at(self, mark: str, **options: object) -> Fragmentation:
        return fragmentation(self.store, resolve_moment(self.store, f"mark:{mark}"), **options)  # type: ignore[arg-type]

    def returned(self, start: str, end: str) -> int:
        """Bytes of the arenas that really went back to the system between two marks."""
        statement = """SELECT coalesce(sum(size), 0)::BIGINT FROM arenas
                       WHERE free_seq > moment(?) AND free_seq <= moment(?)"""
        ((found,),) = self.store.query(statement, [f"mark:{start}", f"mark:{end}"]).rows()
        assert isinstance(found, int)
        return found


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    folder = tmp_path_factory.mktemp("pinned")
    stage = Stage(folder, "native", folder / "app.tkt")
    stage.write({"program.py": PROGRAM})
    outcome = stage.record(["program.py"])
    assert outcome.status == 0
    with open_store(stage.log, cache=False) as store:
        yield Run(store, run([*PYTHON, "program.py"], folder), outcome)


@native_only
def test_what_is_predicted_comes_free(pinned: Run) -> None:
    found = pinned.at("kept")
    assert found.totals.live_share < 0.1  # what python itself had before is alive, too
    assert found.pins.arenas > 25
    first, second, *_ = found.pins.groups
    # pymalloc keeps an arena that is wholly free when it is the last usable one (insert_to_freepool).
    one = found.arena_size
    assert first.key.endswith(f"program.py:{KEPT} (work)")
    assert first.mostly == "builtins.bytes"
    assert 2900 < first.blocks < 3100
    assert first.returned_bytes == first.alone_bytes > 25 * one
    assert first.alone_bytes - one <= pinned.returned("kept", "freed") <= first.alone_bytes
    # The blocks of the other line keep an arena or two, which come free with them and the first line's.
    assert second.key.endswith(f"program.py:{NOISE} (work)")
    assert (second.blocks, second.arenas_alone) == (25, 0)
    assert second.returned_bytes is not None
    assert second.returned_bytes > first.returned_bytes
    assert second.returned_bytes - one <= pinned.returned("kept", "all") <= second.returned_bytes


@native_only
def test_the_allocator_and_the_system_say_the_same(pinned: Run) -> None:
    one = pinned.at("kept").arena_size
    for start, end in (("kept", "freed"), ("kept", "all")):
        # Where the first block of a size lands depends on what was there before: the recorder's parts, too.
        fewer = pinned.plain[start] - pinned.plain[end]
        assert abs(fewer * one - pinned.returned(start, end)) <= 2 * one
    # Every page of these arenas was written to, so that the resident memory falls with them.
    assert pinned.rss["kept"] - pinned.rss["all"] > pinned.returned("kept", "all") // 2


@native_only
def test_freed_arenas_are_gone(pinned: Run) -> None:
    found = pinned.at("all", by="type")
    assert found.totals.arenas <= pinned.at("kept").totals.arenas - 25
    assert not any(pin.key == "builtins.bytes" and pin.blocks > 1000 for pin in found.pins.groups)


@native_only
@pytest.mark.parametrize("by", ["function", "file", "type", "stack", "thread", "age"])
def test_every_grouping_predicts_no_less(pinned: Run, by: str) -> None:
    found = pinned.at("kept", by=by)
    returned = [pin.returned_bytes for pin in found.pins.groups if pin.returned_bytes is not None]
    assert returned == sorted(returned)
    assert returned[-1] >= pinned.returned("kept", "freed")
    if by != "age":
        assert returned[0] >= pinned.returned("kept", "freed")
        wanted = {
            "function": r"work \(.*program.py\)",
            "file": r".*program.py",
            "type": r"builtins.bytes",
            "stack": rf"<module> \(program.py:\d+\);work \(program.py:{KEPT}\)",
            "thread": "MainThread",
        }
        assert re.fullmatch(wanted[by], found.pins.groups[0].key)


SHRUNK = """
import tracekit
import os
with open("data", "wb+") as file:
    file.write(bytes(400))
    file.flush()
    kept = [os.pread(file.fileno(), 450, 0) for _ in range(4000)]  # made smaller when it comes back short
tracekit.mark("done")
"""


@native_only
def test_blocks_that_shrank_are_still_of_their_class(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "native", tmp_path / "app.tkt")
    stage.code(SHRUNK).same()
    with open_store(stage.log, cache=False) as store:
        found = fragmentation(store, resolve_moment(store, "mark:done"))
    size_class = next(entry for entry in found.size_classes if entry.block_bytes == 496)
    assert size_class.blocks > 2500
    assert size_class.requested_bytes < 440 * size_class.blocks
    assert found.totals.free_block_bytes < found.totals.arena_bytes // 10


REBUILT = """
import pickle
import tracekit
kept, rows = [], []
for number in range(60_000):
    rows.append(bytes(400))
    if number % 100 == 0:
        kept.append(bytes(401))
del rows
tracekit.mark("scattered")
kept = pickle.loads(pickle.dumps(kept))
tracekit.mark("rebuilt")
"""


@native_only
def test_what_is_rebuilt_lies_together(tmp_path: Path) -> None:
    """The advice in the output is good."""
    stage = Stage(tmp_path, "native", tmp_path / "app.tkt")
    stage.code(REBUILT).same()
    with open_store(stage.log, cache=False) as store:
        before, after = (fragmentation(store, resolve_moment(store, f"mark:{name}")) for name in MARKS)
    assert before.pins.arenas > 20
    assert after.pins.arenas < 5
    assert after.totals.arenas < before.totals.arenas - 15


MARKS = ("scattered", "rebuilt")


@native_only
@pytest.mark.parametrize(("malloc", "holds"), [("debug", True), ("malloc", False)])
def test_other_allocators(tmp_path: Path, malloc: str, holds: bool) -> None:
    stage = Stage(tmp_path, "native", tmp_path / "app.tkt")
    stage.write(
        {"program.py": "import tracekit\nkept = [bytes(100) for _ in range(40000)]\ntracekit.mark('done')\n"}
    )
    assert stage.record(["program.py"], env=environment(PYTHONMALLOC=malloc)).status == 0
    with open_store(stage.log, cache=False) as store:
        moment = resolve_moment(store, "mark:done")
        if not holds:
            with pytest.raises(ArenasUnknownError, match="PYTHONMALLOC=malloc"):
                fragmentation(store, moment)
            return
        found = fragmentation(store, moment)
    # 133 bytes of the object and 24 of the debug hook.
    (size_class,) = (entry for entry in found.size_classes if entry.blocks > 20_000)
    assert size_class.block_bytes == 160
    assert max(arena.share for arena in found.arenas) > 0.95


def test_the_portable_engine_has_no_arenas(tmp_path: Path) -> None:
    stage = Stage(tmp_path, "portable", tmp_path / "app.tkt")
    stage.code("print(1)").same()
    with open_store(stage.log, cache=False) as store, pytest.raises(ArenasUnknownError, match="portable"):
        fragmentation(store, resolve_moment(store, "end"))
