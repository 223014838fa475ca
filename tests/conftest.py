"""Fixtures that every test may use."""

from __future__ import annotations

import compileall
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_support import Cli, Stored, make_log
from effort import QUICK, THOROUGH, examples, in_turn
from empty_stores import copies
from hypothesis import HealthCheck, settings
from record_support import Stage

import tracekit
from tracekit.record.select import native_trouble
from tracekit.store import ingest
from tracekit.store.cache import cache_path
from tracekit.store.opening import open_store

# numpy's threads for linear algebra cost every process that imports it some 30 ms, for nothing.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# How long an example takes depends on what else the machine does, and says nothing about the code.
settings.register_profile(
    "any machine",
    deadline=None,
    max_examples=examples(100),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("any machine")


def pytest_configure(config: pytest.Config) -> None:
    """Programs that are tested begin with the signals of a terminal, also when we run in the background.

    They write no bytecode, so that it is there before: otherwise each would compile what it imports of ours.
    """
    if not hasattr(config, "workerinput"):  # once, not in each worker
        compileall.compile_dir(TRACEKIT, quiet=2)
    for number in (signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out programs of the slow engine that the other one runs, if it is to be quick."""
    if not QUICK or native_trouble() is not None:
        return
    names = {item.nodeid for item in items}
    left = [
        item
        for item in items
        if _is_portable(item)
        and item.nodeid.replace("portable", "native") in names
        and not in_turn(item.nodeid, 6)
    ]
    config.hook.pytest_deselected(items=left)
    items[:] = [item for item in items if item not in left]


def _is_portable(item: pytest.Item) -> bool:
    call = getattr(item, "callspec", None)
    return call is not None and call.params.get("engine") == "portable"


TRACEKIT = Path(tracekit.__file__).parent

needs_native = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))


@pytest.fixture(params=["portable", pytest.param("native", marks=needs_native)])
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine."""
    name: str = request.param
    return name


@pytest.fixture
def stage(tmp_path: Path, engine: str) -> Stage:
    """An empty folder to run programs in, plainly and recorded by each engine."""
    folder = tmp_path / "stage"
    folder.mkdir()
    return Stage(folder, engine, tmp_path / "app.tkt")


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line in this process."""
    return Cli(capsys, monkeypatch)


@pytest.fixture(scope="session", autouse=True)
def empty_stores(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Stores that are built in this process begin as copies of an empty one; in other processes as ever."""
    with pytest.MonkeyPatch.context() as patch:
        if not THOROUGH:
            patch.setattr(ingest, "make_tables", copies(tmp_path_factory.mktemp("empty") / "empty.duckdb"))
        yield


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """Gives a test a log of its own, with the store beside it, that a function writes: made once for all."""
    made: dict[Callable[[Path], Path], Path] = {}

    def copy(write: Callable[[Path], Path], path: Path) -> Path:
        if write not in made:
            made[write] = write(tmp_path_factory.mktemp("stored") / path.name)
            open_store(made[write]).close()
        shutil.copy2(made[write], path)
        shutil.copy2(cache_path(made[write]), cache_path(path))
        return path

    return copy


@pytest.fixture
def log(stored: Stored, tmp_path: Path) -> Path:
    """The log of a small recording, and its store."""
    return stored(make_log, tmp_path / "app.tkt")
