"""How growth is judged, whose code is whose, and what a search for leaks refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from traces import TraceBuilder, sample_capabilities, sample_header, write_log

from tracekit.errors import MomentMissingError, UsageError
from tracekit.replay.growth import EVIDENCE, measure, ranking
from tracekit.replay.leaks import leaks
from tracekit.replay.moment import resolve_moment
from tracekit.replay.ownership import Owner, owner_of
from tracekit.store.opening import open_store

LEAK = [100 * step for step in range(17)]
ONCE = [0] * 8 + [1_000_000] * 9
WARMING = [min(step, 6) * 5000 for step in range(17)]
FILLING = [min(step, 12) * 10 for step in range(17)]
BUFFERS = [5000, 9000, 100, 7000, 6000, 200, 9500, 300, 4000, 8000, 900, 7600, 20, 6000, 5100, 300, 6000]
BURSTS = [500 * (step // 4) for step in range(17)]
NOISY_LEAK = [1000 * step + 100 * (-1) ** step for step in range(17)]
SHRINKING = LEAK[::-1]


@pytest.mark.parametrize(
    ("levels", "evidence"),
    [
        (LEAK, "strong"),
        (NOISY_LEAK, "strong"),
        (FILLING, "fair"),
        (BURSTS, "fair"),
        (ONCE, "weak"),
        (WARMING, "weak"),
        (BUFFERS, "weak"),
        (SHRINKING, "weak"),
        (LEAK[:5], "strong"),
        (LEAK[:4], "weak"),
        ([0, 1 << 40], "weak"),
    ],
)
def test_evidence(levels: list[int], evidence: str) -> None:
    assert EVIDENCE[measure(np.array([levels])).evidence[0]] == evidence


def test_a_leak_comes_before_a_larger_cache_and_larger_buffers() -> None:
    growth = measure(np.array([ONCE, BUFFERS, LEAK, WARMING, BURSTS, SHRINKING]))
    assert ranking(growth).tolist() == [2, 4, 0, 3, 1, 5]
    assert growth.score.tolist() == [0, 0, 1600, 0, 500, 0]
    assert growth.bytes.tolist() == [1_000_000, 1000, 1600, 30_000, 2000, -1600]


def test_a_jump_adds_nothing_to_the_score() -> None:
    jump = [level + (10**9 if step > 8 else 0) for step, level in enumerate(LEAK)]
    growth = measure(np.array([LEAK, jump]))
    assert growth.score.tolist() == [1600, 1600]
    assert growth.evidence.tolist() == [2, 2]


def test_no_groups() -> None:
    growth = measure(np.zeros((0, 17), np.int64))
    assert ranking(growth).tolist() == []


@pytest.mark.parametrize(
    ("file", "owner"),
    [
        ("/srv/app/main.py", Owner.PROGRAM),
        ("main.py", Owner.PROGRAM),
        ("/home/me/library/python/app.py", Owner.PROGRAM),
        ("<stdin>", Owner.PROGRAM),
        ("<ipython-input-3-ab12>", Owner.PROGRAM),
        ("<string>", Owner.STANDARD_LIBRARY),
        ("<frozen importlib._bootstrap>", Owner.STANDARD_LIBRARY),
        ("/usr/lib/python3.11/json/decoder.py", Owner.STANDARD_LIBRARY),
        ("/usr/local/lib64/python3.13t/json/decoder.py", Owner.STANDARD_LIBRARY),
        ("/srv/tracekit/tracekit/record/native.py", Owner.STANDARD_LIBRARY),
        ("/srv/.venv/lib/python3.11/site-packages/flask/app.py", Owner.PACKAGE),
        ("/usr/lib/python3/dist-packages/yaml/loader.py", Owner.PACKAGE),
    ],
)
def test_owner_of_a_file(file: str, owner: Owner) -> None:
    assert owner_of(file, "f", command=False) == owner
    assert owner_of(file, "f", command=False, own=[file]) == Owner.PROGRAM


def test_owner_of_code_without_a_file_of_its_own() -> None:
    assert owner_of("<string>", "f", command=True) == Owner.PROGRAM
    assert owner_of("/usr/local/bin/serve", "<module>", command=False) == Owner.STANDARD_LIBRARY
    assert owner_of("/usr/local/bin/serve", "main", command=False) == Owner.PROGRAM


def test_own_folders_and_the_fall_back_to_packages(tmp_path: Path) -> None:
    build = TraceBuilder()
    package = ("/venv/lib/python3.11/site-packages/cache/store.py", "put", 5)
    standard = ("/usr/lib/python3.11/copy.py", "deepcopy", 128)
    own = ("/srv/app/main.py", "main", 10)
    through = build.stack(own, package, standard)
    without = build.stack(standard, package, standard)
    for _ in range(40):
        build.advance(1000)
        build.allocate(100, stack=through)
        build.allocate(10, stack=without)
        build.allocate(1, stack=build.stack(standard))
    with open_store(write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        since = resolve_moment(store, "start")
        keys = ["/srv/app/main.py:10 (main)", f"{package[0]}:5 (put)", f"{standard[0]}:128 (deepcopy)"]
        assert [leak.key for leak in leaks(store, since).leaks] == keys
        found = leaks(store, since, own=["/venv/lib/python3.11/site-packages/cache/"])
        assert [leak.key for leak in found.leaks] == keys[1:]


def sparse_log(folder: Path, *, idle: int = 0, exact: bool = True) -> Path:
    """100 blocks of one line in 1 ms each, and after that so many nanoseconds of nothing."""
    build = TraceBuilder(sample_header(capabilities=sample_capabilities(exact_order=exact)))
    stack = build.stack(("/srv/app/main.py", "main", 10))
    for number in range(100):
        if number % 5 == 0:
            build.advance(5_000_000)
        build.allocate(100, stack=stack)
    build.advance(idle)
    return write_log(folder / "a.tkt", build.finish())


def test_idle_time_at_the_end_is_no_half_of_the_run(tmp_path: Path) -> None:
    with open_store(sparse_log(tmp_path, idle=10**12), cache=False) as store:
        found = leaks(store)
        assert found.since.text == "seq:50"
        assert (found.leaks[0].growth_blocks, found.leaks[0].evidence) == (50, "strong")


def test_half_of_the_run_until_a_moment(tmp_path: Path) -> None:
    with open_store(sparse_log(tmp_path), cache=False) as store:
        assert leaks(store).since.text == "50%"
        found = leaks(store, until=resolve_moment(store, "40ms"))
        assert (found.since.text, found.since.time_ns) == ("20.000000ms", 20_000_000)


def test_instants_are_sync_points_where_the_order_of_events_is_not_known(tmp_path: Path) -> None:
    with open_store(sparse_log(tmp_path, exact=False), cache=False) as store:
        found = leaks(store, resolve_moment(store, "start"))
        assert all(instant.seq % 5 == 0 for instant in found.instants[:-1])


def test_what_makes_no_sense_is_refused(tmp_path: Path) -> None:
    with open_store(sparse_log(tmp_path), cache=False) as store:
        end, start = resolve_moment(store, "end"), resolve_moment(store, "start")
        with pytest.raises(UsageError, match="not before"):
            leaks(store, end, start)
        with pytest.raises(UsageError, match="not before"):
            leaks(store, end)
        with pytest.raises(UsageError, match="'colour'"):
            leaks(store, by="colour")
        with pytest.raises(UsageError, match="limit of -1"):
            leaks(store, limit=-1)
        assert leaks(store, limit=0).leaks == []


def test_a_recording_without_events(tmp_path: Path) -> None:
    build = TraceBuilder()
    build.trace.events.clear()
    with (
        open_store(write_log(tmp_path / "a.tkt", build.finish(complete=False)), cache=False) as store,
        pytest.raises(MomentMissingError),
    ):
        leaks(store)
