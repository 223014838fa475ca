"""Moments: what they mean, and what the errors offer instead."""

from __future__ import annotations

from pathlib import Path

import pytest
import traces

from tracekit.errors import MomentMissingError, MomentSyntaxError
from tracekit.log.writer import LogWriter
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.store.database import Store
from tracekit.store.opening import open_store


def opened(folder: Path, build: traces.TraceBuilder, *, complete: bool = True) -> Store:
    return open_store(traces.write_log(folder / "a.tkt", build.finish(complete=complete)), cache=False)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    build = traces.TraceBuilder()  # seq 0: start
    build.advance(1_000_000)
    block = build.allocate(100)  # seq 1
    build.allocate(50)  # seq 2, the peak
    build.free(block)  # seq 3
    build.advance(1_000_000)
    build.gc_start()  # seq 4
    build.gc_stop()  # seq 5
    build.allocate(100)  # seq 6, as high again
    build.mark("warm up")  # seq 7
    build.mark("end")  # seq 8, the program's own
    build.mark("warm up")  # seq 9
    build.gc_start()  # seq 10
    build.advance(1_998_000_000)
    build.gc_stop()  # seq 11
    return opened(tmp_path_factory.mktemp("moment"), build)


@pytest.mark.parametrize(
    ("text", "seq", "time_ns"),
    [
        ("start", 0, 0),
        ("end", 12, 2_000_000_000),
        ("peak", 2, 1_000_000),
        ("0s", 0, 0),
        ("0.0009s", 0, 0),
        ("1ms", 3, 1_000_000),
        ("1.999999ms", 3, 1_000_000),
        ("2ms", 10, 2_000_000),
        ("1.5s", 10, 2_000_000),
        ("2s", 12, 2_000_000_000),
        ("0%", 0, 0),
        ("0.05%", 3, 1_000_000),
        ("50%", 10, 2_000_000),
        ("100%", 12, 2_000_000_000),
        ("seq:0", 0, 0),
        ("seq:2", 2, 1_000_000),
        ("seq:0004", 4, 2_000_000),
        ("seq:12", 12, 2_000_000_000),
        ("gc:0", 5, 2_000_000),
        ("gc:1", 11, 2_000_000_000),
        ("mark:warm up", 7, 2_000_000),
        ("mark:start", 0, 0),
        ("mark:end", 8, 2_000_000),
    ],
)
def test_moments(store: Store, text: str, seq: int, time_ns: int) -> None:
    moment = resolve_moment(store, text)
    assert moment == Moment(text, seq, time_ns)
    assert moment.time_s == time_ns / 1e9
    assert list(store.query("SELECT moment(?)", [text]).rows()) == [(seq,)]


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "now", "Start", "end ", "1", "1.5", "1.5 s", "-1s", ".5s", "1.s", "1e3s", "1h", "50 %"),
        *("seq:", "seq:-1", "seq:x", "seq:1.5", "gc:", "gc:a", "mark:", "mark", "peak\n", "\u0661s", "%"),
    ],
)
def test_no_moments(store: Store, text: str) -> None:
    with pytest.raises(MomentSyntaxError, match="say start, end, peak"):
        resolve_moment(store, text)
    assert list(store.query("SELECT moment(?)", [text]).rows()) == [(None,)]


@pytest.mark.parametrize(
    ("text", "offer"),
    [
        ("2.000001s", "it lasts 2s"),
        ("2001ms", "it lasts 2s"),
        ("100.1%", "it lasts 2s"),
        ("9" * 400 + "s", "it lasts 2s"),
        ("seq:13", "its events are seq:0 to seq:12"),
        ("seq:" + "9" * 40, "its events are seq:0 to seq:12"),
        ("gc:2", "its 2 collections are gc:0 to gc:1"),
        ("mark:nothing", "its marks are mark:start, mark:warm up, mark:end"),
        ("mark:'; DROP TABLE marks", "its marks are mark:start, mark:warm up, mark:end"),
    ],
)
def test_moments_that_are_not_there(store: Store, text: str, offer: str) -> None:
    with pytest.raises(MomentMissingError) as caught:
        resolve_moment(store, text)
    assert caught.value.hint == offer
    assert list(store.query("SELECT moment(?)", [text]).rows()) == [(None,)]


def test_end_of_a_program_that_did_not_reach_it(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    build.allocate(1)
    build.gc_start()
    store = opened(tmp_path, build, complete=False)
    assert resolve_moment(store, "end").seq == 2
    with pytest.raises(MomentMissingError, match="it has no collections"):
        resolve_moment(store, "gc:0")


def test_many_marks(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    for number in range(30):
        build.mark(f"m{number}")
    with pytest.raises(MomentMissingError, match="mark:m8 and 22 more"):
        resolve_moment(opened(tmp_path, build), "mark:x")


def test_without_events(tmp_path: Path) -> None:
    LogWriter((tmp_path / "a.tkt").open("wb"), traces.sample_header()).abandon()
    store = open_store(tmp_path / "a.tkt", cache=False)
    for text in ("start", "end", "peak", "0s", "50%", "seq:0", "gc:0", "mark:end"):
        with pytest.raises(MomentMissingError, match="it holds no events"):
            resolve_moment(store, text)
