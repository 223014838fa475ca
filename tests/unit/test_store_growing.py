"""A log that is still being written: each query answers for what is complete, and reads only what is new."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest
import traces
from effort import THOROUGH

from tracekit.log import lifetimes
from tracekit.log.checks import Numbers
from tracekit.log.format import FRAME, PRELUDE, unpack_frame
from tracekit.store import cache, ingest, rows
from tracekit.store.database import Store
from tracekit.store.opening import open_store

TABLES = (
    *("allocations", "unmatched_frees", "reallocs", "timeline", "stacks", "codes", "types", "threads"),
    *("gc_collections", "arenas", "marks", "memory_samples", "notices"),
    *("source_lines", "mark_stacks", "older_blocks"),
)


def everything(store: Store) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, but for what depends on the file."""
    sums = "SELECT * EXCLUDE (path, log_bytes) FROM traces"
    found = {"traces": list(store.query(sums).rows())}
    return found | {table: list(store.query(f"FROM {table} ORDER BY ALL").rows()) for table in TABLES}


def ends_of_records(data: bytes) -> list[int]:
    """Where each record of a log ends, the header first."""
    ends, offset = [], PRELUDE.size
    while (frame := unpack_frame(data[offset : offset + FRAME.size])) is not None:
        offset += FRAME.size + frame[0]
        ends.append(offset)
    return ends


@pytest.fixture(params=["kernel", "numpy"] if THOROUGH else ["kernel"], autouse=True)
def small_chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "numpy":
        monkeypatch.setattr(lifetimes, "kernels", None)
    monkeypatch.setattr(rows, "CHUNK_ROWS", 32)
    monkeypatch.setattr(lifetimes, "LIFETIME_TIERS", (8, 64))


@pytest.fixture
def resumed(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each ingest whether it went on where another had stopped."""
    seen: list[bool] = []
    real = ingest.ingest

    def watched(*arguments: object) -> object:
        seen.append(arguments[4] is not None)
        return real(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("tracekit.store.opening.ingest", watched)
    return seen


@pytest.mark.parametrize("seed", range(3 if THOROUGH else 1))
def test_every_prefix_is_answered_as_if_it_were_all(tmp_path: Path, resumed: list[bool], seed: int) -> None:
    """Cut anywhere, also within a record."""
    chance = random.Random(seed)
    whole = traces.write_log(tmp_path / "whole.tkt", traces.random_trace(seed, 400), seed=seed).read_bytes()
    log = tmp_path / "app.tkt"
    first = ends_of_records(whole)[0]
    for end in [*sorted(chance.randrange(first, len(whole)) for _ in range(5)), len(whole)]:
        log.write_bytes(whole[:end])
        with open_store(log) as grown, open_store(log, cache=False) as new:
            assert everything(grown) == everything(new)
            assert grown.totals == new.totals
    assert resumed == [False, False] + [True, False] * (len(resumed) // 2 - 1)
    open_store(log).close()
    assert len(resumed) == 12, "a closed log is not looked at again"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.tkt", "app.tkt.duckdb", "whole.tkt"]


def test_one_record_at_a_time(tmp_path: Path, resumed: list[bool]) -> None:
    whole = traces.write_log(tmp_path / "whole.tkt", traces.random_trace(11, 25), seed=3).read_bytes()
    log = tmp_path / "app.tkt"
    for end in ends_of_records(whole):
        log.write_bytes(whole[:end])
        open_store(log).close()
    log.write_bytes(whole)
    with open_store(log) as grown, open_store(tmp_path / "whole.tkt", cache=False) as new:
        assert everything(grown) == everything(new)
    assert all(resumed[1:-1])


def test_another_recording_under_the_name(tmp_path: Path, resumed: list[bool]) -> None:
    log = tmp_path / "app.tkt"
    traces.write_log(log, traces.random_trace(1, 100), closed=False)
    open_store(log).close()
    traces.write_log(log, traces.random_trace(2, 300), closed=False)
    with open_store(log) as store, open_store(log, cache=False) as new:
        assert everything(store) == everything(new)
    assert resumed[1] is False or resumed[1:3] == [True, False]


def forged(state: bytes, how: str) -> bytes:
    """The state of an ingest that decodes and cannot be."""
    known = msgspec.msgpack.decode(state, type=ingest.Resume)
    if how == "events":
        known.position.rules.next_seq += 5
    else:
        known.position.rules.stacks = Numbers()
    return msgspec.msgpack.encode(known)


@pytest.mark.parametrize("how", ["events", "stacks"])
def test_a_forged_state_is_found_out(tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "app.tkt"
    whole = traces.write_log(log, traces.random_trace(1, 400)).read_bytes()
    log.write_bytes(whole[: len(whole) // 2])
    open_store(log).close()
    real = cache.Database.resume
    monkeypatch.setattr(cache.Database, "resume", lambda store: forged(real(store) or b"", how))
    log.write_bytes(whole)
    with open_store(log) as store, open_store(log, cache=False) as new:
        assert everything(store) == everything(new)


def test_a_state_that_cannot_be_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "app.tkt"
    whole = traces.write_log(log, traces.random_trace(1, 100)).read_bytes()
    with open_store(log, cache=False) as new:
        wanted = everything(new)
    log.write_bytes(whole[:-200])
    open_store(log).close()
    older = cache.cache_path(log).read_bytes()
    log.write_bytes(whole)
    for state in (b"", b"\xc1", b"\x80", b"x" * 100):
        cache.cache_path(log).write_bytes(older)
        monkeypatch.setattr(cache.Database, "resume", lambda _, state=state: state)
        with open_store(log) as store:
            assert everything(store) == wanted, state
