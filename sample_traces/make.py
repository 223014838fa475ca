"""Records the programs in sample_traces/programs/ and writes what the tests expect of their traces.

    python sample_traces/make.py                  record the programs that have no trace of this log version
    python sample_traces/make.py --again [NAME]   record them (or those named) anew
    python sample_traces/make.py --answers        only write the expected answers anew, of every version

A trace stays here for good once its log version was released. Its expected answers change only when an answer
was wrong: look at the difference before it is committed.

Every engine that can record here makes a trace, NAME.ENGINE.tkt.

The names in a trace are relative to the programs' folder; where the interpreter lives is replaced by
``python``, so that a trace says nothing about the machine that made it.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec

from tracekit.errors import TracekitError
from tracekit.events import LOG_FORMAT_VERSION, Code, Definitions, Footer, Header, LogRecord
from tracekit.log.reader import LogReader
from tracekit.log.summary import Summary, summarize
from tracekit.log.verify import verify
from tracekit.log.writer import LogWriter
from tracekit.record.select import native_trouble
from tracekit.record.session import Program, RecordOptions, record
from tracekit.replay.heap import heap_at
from tracekit.store.database import Store
from tracekit.store.opening import open_store

HERE = Path(__file__).resolve().parent
PROGRAMS = HERE / "programs"
NOT_AN_ANSWER = {"path", "log_bytes", "bytes_per_event", "capabilities", "marks"}
"""Fields of a summary that are not held: where the file is, and what is held in another form."""


def answers(trace: Path) -> dict[str, object]:
    """What the tests hold a trace to (tests/gold/test_gold_logs.py)."""
    summary: Summary = summarize(trace)
    fields = msgspec.to_builtins(summary)
    with open_store(trace, cache=False) as store:
        found: dict[str, object] = {
            "summary": {name: value for name, value in fields.items() if name not in NOT_AN_ANSWER},
            "heap": {moment: groups(store, moment, "site") for moment in ("peak", "end")},
            "marks": fields["marks"],
        }
        if summary.capabilities.types:
            found["types"] = {moment: groups(store, moment, "type") for moment in ("peak", "end")}
        if summary.capabilities.causes:
            found["causes"] = causes(store)
    return found


def groups(store: Store, moment: str, by: str) -> list[list[object]]:
    """Key, bytes and blocks of all groups of the heap at a moment."""
    return [[group.key, group.bytes, group.blocks] for group in heap_at(store, moment).by(by)]


def causes(store: Store) -> dict[str, int]:
    """Number of frees by cause."""
    rows = store.query(
        "SELECT cause, count(*) FROM events WHERE kind = 'free' GROUP BY ALL ORDER BY ALL"
    ).rows()
    return {str(cause): int(str(count)) for cause, count in rows}


def write_answers(trace: Path) -> None:
    """Write NAME.expected.json beside NAME.tkt."""
    text = json.dumps(answers(trace), indent=1, ensure_ascii=False)
    trace.with_suffix(".expected.json").write_text(text + "\n", encoding="utf-8")


def make(program: Path, engine: str, trace: Path) -> None:
    """Record a program and keep its trace, with no path of this machine in it."""
    raw = trace.with_suffix(".raw.tkt")
    what = Program("script", program.name, [])
    try:
        with contextlib.chdir(PROGRAMS):
            done = record(RecordOptions(program=what, output=raw, force=True, engine=engine))
        if done.output is None or done.exit_status != 0 or not done.complete:
            raise SystemExit(f"{program.name} was not recorded to its end: {done}")
        _anonymize(raw, trace)
    finally:
        raw.unlink(missing_ok=True)
    found = verify(trace)
    if not found.ok:
        raise SystemExit(f"{trace} is not sound: {found.problems}")
    write_answers(trace)


def _anonymize(source: Path, target: Path) -> None:
    with LogReader(source) as log, LogWriter(target.open("wb"), _header(log.header), level=19) as writer:
        for _, item in log.records():
            if isinstance(item, Footer):
                writer.close(item.totals, complete=item.complete, exit_status=item.exit_status)
            elif not isinstance(item, Header):
                writer.write(_nameless(item))


def _header(header: Header) -> Header:
    python = msgspec.structs.replace(header.python, executable="python")
    return msgspec.structs.replace(header, cwd=".", python=python, platform=sys.platform, pid=1)


def _nameless(record: LogRecord) -> LogRecord:
    if not isinstance(record, Definitions):
        return record
    codes = [msgspec.structs.replace(code, filename=_file_name(code)) for code in record.codes]
    return msgspec.structs.replace(record, codes=codes)


def _file_name(code: Code) -> str:
    for folder, name in _folders():
        if code.filename.startswith(folder + os.sep):
            return name + code.filename[len(folder) :]
    return code.filename


def _folders() -> Iterator[tuple[str, str]]:
    """Folders of this machine and what stands for them, the innermost first."""
    yield str(PROGRAMS), "."
    yield str(HERE.parent), "tracekit"
    yield from ((prefix, "python") for prefix in (sys.prefix, sys.base_prefix))


def main() -> None:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="programs, without .py (default: all)")
    parser.add_argument("--again", action="store_true", help="record also those that have a trace")
    parser.add_argument("--answers", action="store_true", help="record nothing, write the expected answers")
    options = parser.parse_args()
    if options.answers:
        for trace in sorted(HERE.glob("v*/*.tkt")):
            if not options.names or trace.stem.partition(".")[0] in options.names:
                write_answers(trace)
        return
    folder = HERE / f"v{LOG_FORMAT_VERSION}"
    folder.mkdir(exist_ok=True)
    engines = ["portable"] if native_trouble() else ["native", "portable"]
    for program, engine in itertools.product(sorted(PROGRAMS.glob("*.py")), engines):
        trace = folder / f"{program.stem}.{engine}.tkt"
        wanted = not options.names or program.stem in options.names
        if wanted and (options.again or not trace.exists()):
            make(program, engine, trace)
            sys.stdout.write(f"{trace.relative_to(HERE)}: {trace.stat().st_size} bytes\n")


if __name__ == "__main__":
    try:
        main()
    except TracekitError as error:
        raise SystemExit(f"make.py: {error}") from None
