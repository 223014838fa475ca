"""``tracekit.open`` and what it gives; docs/api.md says the same."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import traces

import tracekit
from tools.api import PAGE, public_names, with_reference
from tracekit.errors import FileMissingError, MomentMissingError, MomentSyntaxError, SqlError, UsageError
from tracekit.replay import (
    counts,
    difference,
    fragmentation,
    garbage,
    heap,
    leaks,
    moment,
    recordings,
    timeline,
)

TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
SAMPLE = PAGE.parents[1] / "sample_traces" / "v2" / "leaking_cache.native.tkt"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    build = traces.TraceBuilder()
    build.allocate(100, stack=build.stack(("a.py", "f", 1)))
    build.advance(1_000_000_000)
    build.mark("warm")
    build.allocate(20, stack=build.stack(("a.py", "g", 2)))
    build.mark("warm")
    build.notice("test-notice", "something happened")
    return traces.write_log(tmp_path / "a.tkt", build.finish(exit_status=3))


def test_facts(log: Path) -> None:
    with tracekit.open(log) as trace:
        assert repr(trace) == f"<tracekit.Trace of {log}>"
        assert (trace.path, trace.engine, trace.python) == (log, "native", "3.11.7")
        assert (trace.complete, trace.exit_status) == (True, 3)
        assert (trace.totals.allocations, trace.totals.end_bytes) == (2, 120)
        assert trace.header.argv == ["app.py", "--fast"]
        assert [notice.code for notice in trace.notices] == ["test-notice"]
        assert trace.notes == []
        assert [(mark.text, mark.seq, mark.time_s) for mark in trace.marks] == [
            ("mark:warm", 2, 1.0),
            ("mark:warm", 4, 1.0),
        ]
        assert trace.heap_at(trace.marks[1]).total_bytes == 120
    assert log.with_name("a.tkt.duckdb").exists()


def test_it_asks_the_functions_of_replay(log: Path) -> None:
    with tracekit.open(str(log), cache=False) as trace:
        warm = trace.moment("mark:warm")
        assert warm == moment.resolve_moment(trace.store, "mark:warm")
        assert trace.heap_at(warm).by("function") == heap.heap_at(trace.store, warm).by("function")
        assert trace.heap_at("mark:warm").moment == trace.heap_at(warm).moment == warm
        assert trace.heap_at().moment.text == "peak"
        end = trace.moment("end")
        found = trace.difference(warm, "end", by="function")
        assert found == difference.difference(trace.store, warm, end, by="function")
        assert [change.bytes for change in found.groups] == [20]
        assert trace.difference().total_bytes == 120
    assert not log.with_name("a.tkt.duckdb").exists()


def test_the_other_views() -> None:
    """Each is the function of its module, with moments as texts or as they are."""
    with tracekit.open(SAMPLE, cache=False) as trace:
        store, warm, end = trace.store, trace.moment("mark:warm"), trace.moment("end")
        assert trace.leaks("mark:warm") == trace.leaks(warm, end) == leaks.leaks(store, warm, end)
        assert trace.leaks(by="function", limit=1).leaks == leaks.leaks(store, by="function").leaks[:1]
        assert trace.counts_at("end") == counts.counts_at(store, end)
        assert trace.timeline(steps=7) == timeline.timeline(store, trace.moment("start"), end, steps=7)
        at = trace.cursor(warm, by="type")
        assert (at.seq, at.by) == (warm.seq, "type")
        assert at.heap().groups == trace.heap_at(warm).by("type")
        with pytest.raises(UsageError, match=r"not grouped by 'age' here; possible are site"):
            trace.cursor(by="age")
        found = fragmentation.fragmentation(store, end, by="type", below=0.5)
        assert trace.fragmentation(by="type", below=0.5) == found
        assert trace.compared_with(trace).groups == []
        changed = trace.compared_with(trace, warm, "end", by="function")
        assert changed == recordings.recordings_difference(store, store, warm, end, by="function")


def test_collections() -> None:
    sample = SAMPLE.with_name("cyclic_garbage.native.tkt")
    with tracekit.open(sample, cache=False) as trace:
        every = trace.collections()
        assert every == garbage.collections(trace.store)
        assert len(every) == sum(one.collections for one in trace.collector().generations) > 0
        assert trace.collections(sort="freed", limit=1)[0].freed_bytes == max(
            one.freed_bytes for one in every
        )
        assert trace.garbage(by="site") == garbage.garbage(trace.store, by="site")
        assert trace.garbage(of=every[0]).total_bytes == every[0].freed_bytes


def test_sql(log: Path) -> None:
    with tracekit.open(log) as trace:
        result = trace.query("SELECT name, seq FROM marks WHERE seq > ? ORDER BY seq", [2])
        assert result.columns == ["name", "seq"]
        assert list(result.rows()) == [("warm", 4), ("end", 5)]
        assert trace.relation("FROM allocations").aggregate("sum(size)").fetchall() == [(120,)]
        with pytest.raises(SqlError):
            trace.query("DROP TABLE marks")
        with pytest.raises(SqlError):
            trace.relation("DROP TABLE marks")
    with pytest.raises(tracekit.TracekitError):
        trace.query("SELECT 1")


def test_several(log: Path, tmp_path: Path) -> None:
    other = Path(shutil.copy(log, tmp_path / "b.tkt"))
    with tracekit.open(log, other) as trace:
        assert list(trace.query("SELECT trace_id, count(*) FROM marks GROUP BY ALL ORDER BY ALL").rows()) == [
            (1, 4),
            (2, 4),
        ]
        assert trace.path == log
        assert trace.heap_at("end").total_bytes == 120


def test_what_does_not_exist(log: Path, tmp_path: Path) -> None:
    with pytest.raises(FileMissingError):
        tracekit.open(tmp_path / "nothing.tkt")
    with tracekit.open(log) as trace:
        with pytest.raises(MomentSyntaxError):
            trace.heap_at("yesterday")
        with pytest.raises(MomentMissingError, match="mark:warm"):
            trace.difference("mark:cold")


def test_the_reference_is_in_step() -> None:
    assert with_reference(TEXT) == TEXT, "run 'make schemas'"


def test_every_public_name_is_documented() -> None:
    for name in public_names():
        assert f"\n## `{name}`\n" in TEXT or f"\n## `tracekit.{name}(" in TEXT
    parts = re.split(r"\n##+ ", TEXT.partition("<!-- reference: begin")[2])[1:]
    assert len(parts) > 30
    assert [part for part in parts if not part.split("\n", 2)[2].strip("\n")] == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples(
    example: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(SAMPLE, tmp_path / "app.tkt")
    monkeypatch.chdir(tmp_path)
    exec(compile(example, str(PAGE), "exec"), {})
    assert capsys.readouterr().out.count("\n") >= 5 or "assert" in example


def test_there_are_examples() -> None:
    assert len(EXAMPLES) == 3
