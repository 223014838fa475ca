"""Sample traces of every log version that was ever released, held against the answers kept beside them.

sample_traces/make.py records the programs and writes the answers.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tracekit.events import LOG_FORMAT_VERSION
from tracekit.log.dump import dump
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.verify import verify
from tracekit.replay.heap import heap_at
from tracekit.store.opening import open_store

MOST_BYTES = {"v1": 300_000, "v2": 300_000}
"""Bytes of all samples of a version."""

SAMPLES = Path(__file__).parents[2] / "sample_traces"
TRACES = sorted(SAMPLES.glob("v*/*.tkt"))
NAMES = [f"{trace.parent.name}/{trace.stem}" for trace in TRACES]
each_trace = pytest.mark.parametrize("trace", TRACES, ids=NAMES)


def expected(trace: Path) -> dict[str, Any]:
    answers: dict[str, Any] = json.loads(trace.with_suffix(".expected.json").read_text(encoding="utf-8"))
    return answers


def program_of(trace: Path) -> str:
    """The name of the program that a trace is of; the engine's may follow it."""
    return trace.stem.partition(".")[0]


@pytest.mark.parametrize("version", range(1, LOG_FORMAT_VERSION + 1))
def test_every_version_has_samples(version: int) -> None:
    names = {program_of(trace) for trace in TRACES if trace.parent.name == f"v{version}"}
    assert len(names) >= 3, f"record them with 'python sample_traces/make.py': {sorted(names)}"


def test_every_program_has_a_sample() -> None:
    programs = {program.stem for program in (SAMPLES / "programs").glob("*.py")}
    assert programs
    assert programs <= {program_of(trace) for trace in TRACES}


@pytest.mark.parametrize("engine", ["native", "portable"])
def test_both_engines_made_samples(engine: str) -> None:
    """A native one knows types, causes and addresses; the other one does not."""
    made = [summarize(trace) for trace in TRACES if trace.parent.name == f"v{LOG_FORMAT_VERSION}"]
    assert sum(summary.engine == engine for summary in made) >= 3


@pytest.mark.parametrize("version", MOST_BYTES)
def test_the_samples_are_small(version: str) -> None:
    assert sum(trace.stat().st_size for trace in TRACES if trace.parent.name == version) < MOST_BYTES[version]


@each_trace
def test_a_sample_is_sound_and_of_its_version(trace: Path) -> None:
    found = verify(trace)
    assert found.problems == []
    assert (found.complete, found.closed) == (True, True)
    with LogReader(trace) as log:
        assert f"v{log.version}" == trace.parent.name


@each_trace
def test_the_summary(trace: Path) -> None:
    answers = expected(trace)
    summary = msgspec.to_builtins(summarize(trace))
    assert answers["summary"]
    assert {name: summary[name] for name in answers["summary"]} == answers["summary"]
    assert summary["marks"] == answers["marks"]


@each_trace
def test_the_heap_at_the_peak_and_at_the_end(trace: Path, tmp_path: Path) -> None:
    answers = expected(trace)
    copy = Path(shutil.copy(trace, tmp_path))
    with open_store(copy) as store:
        for moment in ("peak", "end"):
            heap = heap_at(store, moment)
            groups = [[group.key, group.bytes, group.blocks] for group in heap.by("site")]
            assert groups == answers["heap"][moment], moment
            assert groups
            assert heap.total_bytes == sum(group.bytes for group in heap.by("domain"))
    assert answers["summary"]["peak_bytes"] == sum(group[1] for group in answers["heap"]["peak"])


@each_trace
def test_types_and_causes_where_the_engine_knows_them(trace: Path) -> None:
    answers = expected(trace)
    known = summarize(trace).capabilities
    assert (known.types, known.causes) == ("types" in answers, "causes" in answers)
    with open_store(trace, cache=False) as store:
        for moment, groups in answers.get("types", {}).items():
            found = heap_at(store, moment).by("type")
            assert [[group.key, group.bytes, group.blocks] for group in found] == groups, moment
            assert {"builtins.str", "builtins.dict", "builtins.function"} & {key for key, *_ in groups}
        if known.causes:
            rows = store.query("SELECT cause, count(*) FROM events WHERE kind = 'free' GROUP BY ALL").rows()
            assert {str(cause): count for cause, count in rows} == answers["causes"]
            assert sum(answers["causes"].values()) == answers["summary"]["frees"]


@each_trace
def test_a_sample_names_no_folder_of_the_machine_that_made_it(trace: Path) -> None:
    for line in dump(trace):
        record = msgspec.json.decode(line)
        if record["type"] == "header":
            assert (record["cwd"], record["python"]["executable"]) == (".", "python")
        for code in record.get("codes", []):
            assert not code[1].startswith("/"), code
