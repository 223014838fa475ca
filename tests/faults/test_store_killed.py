"""Queries while the store is built: killed at random instants, and while the log grows.

``TRACEKIT_KILLS`` sets at how many random instants the building is killed (2 where it is not set).
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import resource
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from effort import THOROUGH, some
from processes import TIMEOUT, running
from record_support import TRACEKIT, environment, recording

from tracekit.log.format import FRAME, PRELUDE, unpack_frame
from tracekit.record.select import native_trouble

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

CHURN = """
import time
kept = []
for turn in range({turns}):
    rows = [{{"id": row, "tags": [row, turn]}} for row in range(2000)]
    kept.append(rows[::50])
"""

GROW = """
import pathlib, sys, time
kept = []
while not pathlib.Path(sys.argv[1]).exists():
    kept.append([[str(row)] for row in range(2000)][::50])
    time.sleep(0.2)
"""

FINGERPRINT = """
SELECT (SELECT bit_xor(hash(t)) FROM (SELECT * EXCLUDE (path, log_bytes) FROM traces) t) AS traces,
       (SELECT count(*) FROM allocations) AS blocks,
       (SELECT bit_xor(hash(a)) FROM allocations a) AS allocations,
       (SELECT bit_xor(hash(l)) FROM timeline l) AS timeline,
       (SELECT bit_xor(hash(s)) FROM stacks s) AS stacks,
       (SELECT bit_xor(hash(u)) FROM unmatched_frees u) AS unmatched,
       (SELECT bit_xor(hash(g)) FROM gc_collections g) AS collections
"""
"""One row that is the same only for the same rows in all large tables."""

CONSISTENT = """
SELECT t.events, (SELECT count(*) FROM events) AS counted, t.end_blocks,
       (SELECT count(*) FROM allocations WHERE free_seq IS NULL) AS alive,
       (SELECT live_blocks FROM timeline ORDER BY seq DESC LIMIT 1) AS level, t.last_seq
FROM traces t
"""


def record(log: Path, turns: int) -> None:
    program = log.with_suffix(".py")
    program.write_text(CHURN.format(turns=turns))
    command = [*recording(log, "native"), str(program)]
    subprocess.run(command, env=environment(), timeout=TIMEOUT, check=True)


def query(log: Path, sql: str, *options: str) -> dict[str, object]:
    done = subprocess.run(
        [*TRACEKIT, "query", str(log), sql, "--json", *options],
        capture_output=True, check=True, timeout=TIMEOUT, env=environment(),
    )  # fmt: skip
    rows = json.loads(done.stdout)
    assert len(rows) == 1
    return dict(rows[0])


def asked(log: Path, sql: str, times: int) -> list[bytes]:
    """What a query answers to so many who ask at the same time."""
    command = [*TRACEKIT, "query", str(log), sql, "--json"]
    with contextlib.ExitStack() as stack:
        asking = [
            stack.enter_context(running(command, env=environment(), stdout=subprocess.PIPE))
            for _ in range(times)
        ]
        answers = [process.communicate()[0] for process in asking]
    assert [process.returncode for process in asking] == [0] * times
    return answers


def half_of(log: Path) -> int:
    """Bytes of the log up to a record in its middle."""
    data = log.read_bytes()
    offset = PRELUDE.size
    while offset < len(data) // 2 and (frame := unpack_frame(data[offset : offset + FRAME.size])):
        offset += FRAME.size + frame[0]
    return offset


@pytest.mark.parametrize("grown", some([True, False]))
def test_killed_and_asked_again(tmp_path: Path, grown: bool) -> None:
    """Also while the store of half of the log is brought up to date."""
    whole, log = tmp_path / "whole.tkt", tmp_path / "app.tkt"
    record(whole, 40 if THOROUGH else 25)
    cache = Path(f"{log}.duckdb")
    wanted = query(whole, FINGERPRINT, "--no-cache")
    half = None
    if grown:
        log.write_bytes(whole.read_bytes()[: half_of(whole)])
        query(log, FINGERPRINT)
        half = cache.rename(tmp_path / "half.duckdb")
    shutil.copy(whole, log)
    began = time.monotonic()
    query(log, "SELECT 1")
    took = time.monotonic() - began
    chance, interrupted = random.Random(took), 0
    kills = int(os.environ.get("TRACEKIT_KILLS", "2"))
    for number in range(20 * kills):
        if number >= kills and interrupted:
            break
        cache.unlink()
        if half is not None:
            shutil.copy(half, cache)
        asking = [*TRACEKIT, "query", str(log), FINGERPRINT]
        with running(asking, stdout=subprocess.DEVNULL, env=environment()) as building:
            if number % 2:
                time.sleep(chance.uniform(0.2, took))
            else:  # certainly while it is built
                while building.poll() is None and not any(tmp_path.glob(".app.tkt.duckdb.*.tmp")):
                    time.sleep(0.002)
                time.sleep(chance.uniform(0, 0.1))
            building.kill()
        interrupted += any(tmp_path.glob(".app.tkt.duckdb.*.tmp"))
        assert query(log, FINGERPRINT) == wanted
    assert interrupted, "none of the kills was while it was built"
    for left in tmp_path.glob(".app.tkt.duckdb.*"):
        os.utime(left, (1_000_000, 1_000_000))
    cache.unlink()
    query(log, "SELECT 1")
    assert list(tmp_path.glob(".app.tkt.duckdb.*")) == []


def test_asked_while_it_grows(tmp_path: Path) -> None:
    """Each answer is of a prefix, no shorter than the one before; two ask at the same time."""
    log, program, enough = tmp_path / "app.tkt", tmp_path / "app.py", tmp_path / "enough"
    program.write_text(GROW)
    seen: list[int] = []
    with running([*recording(log, "native"), str(program), str(enough)], env=environment()) as recorder:
        while len(set(seen)) < 3:
            assert recorder.poll() is None
            if not log.exists():
                time.sleep(0.05)
                continue
            row: dict[str, int] = {}
            for answer in asked(log, CONSISTENT, 2):
                (row,) = json.loads(answer)
                assert row["events"] == row["counted"]
                assert row["end_blocks"] == row["alive"]
                assert row["events"] == 0 or row["level"] == row["alive"]
                assert row["events"] == 0 or row["events"] == row["last_seq"] + 1
            seen.append(row["events"])
        enough.touch()
    assert recorder.returncode == 0
    assert seen == sorted(seen)
    assert query(log, FINGERPRINT) == query(log, FINGERPRINT, "--no-cache")


def test_first_asked_by_several_at_once(tmp_path: Path) -> None:
    log = tmp_path / "app.tkt"
    record(log, 20)
    assert len(set(asked(log, FINGERPRINT, 3))) == 1
    assert list(tmp_path.glob(".app.tkt.duckdb.*")) == []


@pytest.mark.parametrize("limit", some([1 << 16, 1 << 21]))
def test_no_room_for_the_cache(tmp_path: Path, limit: int) -> None:
    """The tables are kept in memory instead, with a note that says why, and nothing is left behind."""
    log = tmp_path / "app.tkt"
    record(log, 60)
    done = subprocess.run(
        [*TRACEKIT, "query", str(log), FINGERPRINT, "--json"],
        capture_output=True, check=True, timeout=TIMEOUT, env=environment(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )  # fmt: skip
    assert b"File too large" in done.stderr
    assert b"kept in memory instead" in done.stderr
    assert json.loads(done.stdout) == [query(log, FINGERPRINT, "--no-cache")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["app.py", "app.tkt"]
