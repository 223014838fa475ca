"""The source text in the log of a recorded program is that of the program that ran."""

from __future__ import annotations

from pathlib import Path

from record_support import PYTHON, Outcome, Stage, one_engine, recording, run, sound

from tracekit.log.reader import LogReader

PROGRAM = """\
import sys
sys.path.insert(0, "lib")
import \N{GREEK SMALL LETTER PI}lot  # zwei \N{EURO SIGN}
kept = []
def fill(count):
    for number in range(count):
        kept.append([number, str(number) * 50])  # here
fill(2000)
\N{GREEK SMALL LETTER PI}lot.fill(2000)
"""
MODULE = """\
# coding: latin-1
kept = []
def fill(count):
    for number in range(count):
        kept.append((number, 'caf\xe9' * number))
"""


def texts(log: Path) -> dict[tuple[str, str, int], str]:
    """Source text by file, function and line."""
    sound(log, complete=True)
    found = {}
    with LogReader(log) as reader:
        codes = {}
        for _, record in reader.records(batches=False):
            for code in getattr(record, "codes", []):
                codes[code.code_id] = code
            for line in getattr(record, "lines", []):
                code = codes[line.code_id]
                found[code.filename.rpartition("/")[2], code.qualname, line.line] = line.text
    return found


def test_a_log_without_source_text(stage: Stage) -> None:
    stage.write({"program.py": "kept = [str(number) * 50 for number in range(3000)]  # here\n"})
    assert stage.record(["--no-source", "program.py"]) == Outcome(b"", b"", 0)
    assert texts(stage.log) == {}
    assert b"# here" not in stage.log.read_bytes()


def test_text_of_lines_that_allocate(stage: Stage) -> None:
    stage.write({"program.py": PROGRAM})
    (stage.folder / "lib").mkdir()
    (stage.folder / "lib" / "\N{GREEK SMALL LETTER PI}lot.py").write_text(MODULE, encoding="latin-1")
    outcome = stage.record(["program.py"])
    assert outcome == Outcome(b"", b"", 0)
    found = texts(stage.log)
    assert found["program.py", "fill", 7] == "kept.append([number, str(number) * 50])  # here"
    assert found["program.py", "<module>", 8] == "fill(2000)"
    module = "\N{GREEK SMALL LETTER PI}lot.py"
    assert found[module, "fill", 5] == "kept.append((number, 'caf\xe9' * number))"
    lines = PROGRAM.splitlines()
    assert all(
        lines[line - 1].strip() == text for (file, _, line), text in found.items() if file == "program.py"
    )


def test_a_program_that_rewrites_itself_goes_without(stage: Stage) -> None:
    text = """\
import time
kept = [[str(i), i * 1.5] for i in range(3000)]
time.sleep(1)
open(__file__, "a").write("#" * 9)
late = [bytes(100 + i) for i in range(3000)]
"""
    stage.write({"program.py": text})
    assert stage.record(["program.py"]) == Outcome(b"", b"", 0)
    found = texts(stage.log)
    assert found.get(("program.py", "<module>", 2)) in {None, text.splitlines()[1]}
    assert not any(file == "program.py" and line == 5 for file, _, line in found)


def test_a_module_that_the_program_wrote(stage: Stage) -> None:
    text = """\
import sys, time
time.sleep(0.1)
sys.path.insert(0, ".")
open("made.py", "w").write("kept = [[str(i), i * 1.5] for i in range(3000)]")
import made
"""
    stage.write({"program.py": text})
    assert stage.record(["program.py"]) == Outcome(b"", b"", 0)
    assert texts(stage.log)["made.py", "<module>", 1] == "kept = [[str(i), i * 1.5] for i in range(3000)]"


def test_code_without_a_file(stage: Stage) -> None:
    assert stage.record(["-c", "kept = [[str(i)] for i in range(3000)]"]) == Outcome(b"", b"", 0)
    assert not any(file == "<string>" for file, _, _ in texts(stage.log))


def test_a_block_of_a_program(stage: Stage) -> None:
    text = f"""\
import tracekit
with tracekit.record({str(stage.log)!r}, engine={stage.engine!r}):
    kept = [[str(i), i * 1.5] for i in range(3000)]
"""
    stage.write({"program.py": text})
    assert run([*PYTHON, "program.py"], stage.folder) == Outcome(b"", b"", 0)
    found = texts(stage.log)
    assert any(
        (file, line, text) == ("program.py", 3, "kept = [[str(i), i * 1.5] for i in range(3000)]")
        for (file, _, line), text in found.items()
    )


@one_engine
def test_followed_processes(stage: Stage) -> None:
    child = "kept = [[str(i), i * 1.5] for i in range(3000)]"
    stage.write(
        {
            "program.py": "import subprocess, sys\nsubprocess.run([sys.executable, 'child.py'])\n",
            "child.py": f"{child}\n",
        }
    )
    assert stage.record(["program.py"]).status == 0
    assert "child.py" not in {file for file, _, _ in texts(stage.log)}
    outcome = run([*recording(stage.log, stage.engine), "--follow", "program.py"], stage.folder)
    assert outcome == Outcome(b"", b"", 0)
    (followed,) = (log for log in stage.log.parent.glob("app.*.tkt"))
    assert texts(followed)["child.py", "<module>", 1] == child


@one_engine
def test_a_fork_runs_what_its_parent_loaded(stage: Stage) -> None:
    helper = "def fill():\n    return [[str(i), i * 1.5] for i in range(3000)]\n"
    program = """\
import os, sys
sys.path.insert(0, ".")
import helper
open("helper.py", "w").write("# edited\\n")
if pid := os.fork():
    os.waitpid(pid, 0)
else:
    kept = helper.fill()
"""
    stage.write({"program.py": program, "helper.py": helper})
    outcome = run([*recording(stage.log, stage.engine), "--follow", "program.py"], stage.folder)
    assert outcome == Outcome(b"", b"", 0)
    (followed,) = stage.log.parent.glob("app.*.tkt")
    found = texts(followed)
    assert ("program.py", "<module>", 8) in found
    assert not any(file == "helper.py" for file, _, _ in found)
