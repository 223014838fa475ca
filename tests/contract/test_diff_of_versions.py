"""Two recordings of a real program, which was edited between them and moved to another folder."""

from __future__ import annotations

from pathlib import Path

from record_support import Outcome, Stage

from tracekit.replay.moment import resolve_moment
from tracekit.replay.recordings import RecordingChange, recordings_difference
from tracekit.store.opening import open_store

BEFORE = """\
cache = {}

def render(number):
    return str(number) * 40

def serve(count):
    for number in range(count):
        cache[number] = render(number)

serve(2000)
"""
AFTER = """\
import sys

SEEN = []
cache = {}

def serve(count):
    # Remembers whom it served.
    for number in range(count):
        SEEN.append(bytes(400 + number % 2))
        cache[number] = render(number)

def render(number):
    number += 0
    return str(number) * 40

serve(2000)
"""


def changes(old: Path, new: Path, by: str = "site") -> dict[str, RecordingChange]:
    """What changed in the program's own file, by key; that of a site without the folder."""
    with open_store(old, cache=False) as a, open_store(new, cache=False) as b:
        moments = resolve_moment(a, "end"), resolve_moment(b, "end")
        found = recordings_difference(a, b, *moments, by=by)
    own = [change for change in found.groups if "program.py" in change.key]
    return {change.key.rpartition("/")[2] if by == "site" else change.key: change for change in own}


def record(stage: Stage, name: str, text: str) -> Path:
    folder = stage.folder / name
    folder.mkdir()
    version = Stage(folder, stage.engine, stage.log.with_name(f"{name}.tkt"))
    version.write({"program.py": text})
    assert version.record([str(folder / "program.py")]) == Outcome(b"", b"", 0)
    version.sound()
    return version.log


def test_only_the_leak_is_new(stage: Stage) -> None:
    old, new = record(stage, "before", BEFORE), record(stage, "after", AFTER)
    found = changes(old, new)
    leak = found.pop("program.py:9 (serve)")
    assert (leak.status, leak.old) == ("new", None)
    assert leak.new is not None
    assert leak.new.text == "SEEN.append(bytes(400 + number % 2))"
    assert leak.bytes_after > 2000 * 400
    # Lines that were there before: little differs, if anything.
    assert all(abs(change.bytes) < 20_000 for change in found.values())
    assert not {"program.py:14 (render)", "program.py:4 (render)"} & found.keys()
    functions = changes(old, new, "function")
    assert functions[f"serve ({stage.folder}/after/program.py)"].bytes > 2000 * 400


def test_the_same_program_twice(stage: Stage) -> None:
    old, new = record(stage, "before", BEFORE), record(stage, "after", BEFORE)
    assert not {change.status for change in changes(old, new).values()} & {"new", "gone"}
