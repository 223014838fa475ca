"""tracekit diff: the command line, its document, its text and its exit status."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import traces
from cli_support import HOSTILE, Answer, Cli, Stored, make_log

from tracekit.events import Header


def edited(path: Path, header: Header | None = None) -> Path:
    """The program of ``make_log`` in another version: ``load`` moved and holds more, another file is new."""
    build = traces.TraceBuilder(header or traces.sample_header())
    build.advance(1_000_000)
    build.allocate(1500, stack=build.stack(("app.py", "<module>", 4), ("cache.py", "load", 12)))
    build.mark("warm")
    build.allocate(64, stack=build.stack(("serve.py", HOSTILE, 7)))
    build.source_line(build.code("serve.py", HOSTILE), 7, "held.append('\x1b[2J')")
    return traces.write_log(path, build.finish())


@pytest.fixture
def pair(stored: Stored, tmp_path: Path) -> tuple[Path, Path]:
    return stored(make_log, tmp_path / "old.tkt"), stored(edited, tmp_path / "new.tkt")


def test_document(cli: Cli, pair: tuple[Path, Path]) -> None:
    answer = cli("diff", *pair, "--at", "end", "--json")
    assert (answer.status, answer.err) == (0, "")
    document = answer.document
    assert document["old"]["path"] == str(pair[0])
    assert document["old"]["moment"]["text"] == document["new"]["moment"]["text"] == "end"
    assert (document["old"]["peak_bytes"], document["new"]["peak_bytes"]) == (5000, 1564)
    assert (document["old"]["total_bytes"], document["new"]["total_bytes"]) == (1000, 1564)
    assert (document["total_bytes"], document["total_blocks"], document["by"]) == (564, 1, "site")
    load, serve = document["groups"]
    assert (load["key"], load["status"], load["bytes"], load["edited"]) == (
        "cache.py:12 (load)",
        "grown",
        500,
        True,
    )
    assert load["old"] == {"file": "cache.py", "function": "load", "line": 10, "text": None}
    assert (serve["status"], serve["old"], serve["new"]["text"]) == ("new", None, "held.append('\x1b[2J')")
    assert document["statuses"]["new"] == {"groups": 1, "bytes": 64, "blocks": 1}
    assert (document["groups_omitted"], document["unchanged"]) == (0, 0)
    assert (document["fail_above"], document["failed"]) == (None, False)
    (note,) = document["notes"]
    assert note.startswith("2.4 KiB are in functions whose source text is not in both recordings")


def test_text(cli: Cli, pair: tuple[Path, Path]) -> None:
    answer = cli("diff", *pair, "--at", "end")
    assert answer.status == 0
    assert "\x1b" not in answer.out
    lines = answer.out.splitlines()
    assert lines[0] == f"old {pair[0]} at end (event 13, 1.00 s)"
    assert "+564 B in +1 block, by site" in lines
    assert "groups: 1 new +64 B, 1 grown +500 B" in lines
    assert any(line.endswith("grown   cache.py:10 -> 12 (load)") for line in lines)
    assert "        held.append('\\x1b[2J')" in lines
    limited = cli("diff", *pair, "--at", "end", "--limit", 1).out
    assert "... and 1 more changed group (--limit 0 shows all)" in limited


def test_moments(cli: Cli, pair: tuple[Path, Path]) -> None:
    def sizes(*options: str) -> tuple[int, int]:
        document = cli("diff", *pair, *options, "--json").document
        return document["old"]["total_bytes"], document["new"]["total_bytes"]

    assert sizes() == sizes("--at", "peak") == (5000, 1564)
    assert sizes("--at", "mark:warm") == (1000, 1500)
    assert sizes("--old-at", "start") == (0, 1564)
    assert sizes("--new-at", "mark:warm") == (5000, 1500)
    assert sizes("--old-at", "end", "--new-at", "start") == (1000, 0)


@pytest.mark.parametrize("by", ["function", "file", "type", "stack", "thread", "domain"])
def test_groupings(cli: Cli, pair: tuple[Path, Path], by: str) -> None:
    document = cli("diff", *pair, "--at", "end", "--by", by, "--json").document
    assert (document["by"], document["total_bytes"]) == (by, 564)
    assert sum(group["bytes"] for group in document["groups"]) == 564
    assert any("line numbers" in note for note in document["notes"]) is (by == "stack")
    assert cli("diff", *pair, "--at", "end", "--by", by).status == 0


@pytest.mark.parametrize(
    ("limit", "allowed", "status"),
    [
        ("564", 564, 0),
        ("563", 563, 1),
        ("0", 0, 1),
        ("1k", 1024, 0),
        ("56.4%", 564, 0),
        ("56%", 560, 1),
        ("0%", 0, 1),
    ],
)
def test_failing(cli: Cli, pair: tuple[Path, Path], limit: str, allowed: int, status: int) -> None:
    answer = cli("diff", *pair, "--at", "end", "--fail-above", limit, "--json")
    assert answer.status == status
    assert answer.document["fail_above"] == {"text": limit, "bytes": allowed}
    assert answer.document["failed"] is bool(status)
    text = cli("diff", *pair, "--at", "end", "--fail-above", limit)
    assert text.status == status
    verdict = text.out.splitlines()[-1]
    assert verdict.startswith(
        "failed: +564 B is more than " if status else "passed: +564 B is not more than "
    )


def test_a_smaller_heap_does_not_fail(cli: Cli, pair: tuple[Path, Path]) -> None:
    assert cli("diff", *reversed(pair), "--at", "end", "--fail-above", "0").status == 0


def test_nothing_changed(cli: Cli, log: Path) -> None:
    answer = cli("diff", log, log)
    assert answer.status == 0
    assert "groups: 2 unchanged\n\nnothing changed\n" in answer.out


def test_what_else_differs_is_said(cli: Cli, tmp_path: Path, log: Path) -> None:
    header = traces.sample_header(argv=["-m", "other", "x"], engine="portable")
    header = msgspec.structs.replace(header, python=msgspec.structs.replace(header.python, version="3.12.1"))
    notes = cli("diff", log, edited(tmp_path / "new.tkt", header), "--json").document["notes"]
    assert notes[:3] == [
        "the recordings are of different programs: app.py and -m other",
        "the recordings are of different versions of Python: 3.11.7 and 3.12.1",
        "the recordings are of different engines, which do not count the same: native and portable",
    ]
    other = make_log(tmp_path / "portable.tkt", portable=True)
    notes = cli("diff", log, other, "--by", "type", "--json").document["notes"]
    assert "new: types are not recorded by the portable engine" in notes
    assert any(note.startswith("old: '<unknown>' is memory behind objects") for note in notes)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--at", "end", "--old-at", "peak"], "--at and --old-at/--new-at exclude each other"),
        (["--limit", "-1"], "--limit cannot be -1"),
        (["--by", "colour"], "--by cannot be 'colour'"),
        (["--fail-above", "much"], "--fail-above cannot be 'much'"),
        (["--fail-above", "-1%"], "--fail-above cannot be '-1%'"),
        (["--new-at", "never"], "'never' is not a moment"),
    ],
)
def test_what_makes_no_sense(cli: Cli, pair: tuple[Path, Path], options: list[str], said: str) -> None:
    answer = cli("diff", *pair, *options)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_a_log_that_is_not_there(cli: Cli, log: Path) -> None:
    def missing(answer: Answer) -> bool:
        return answer.status == 2 and "error[file-missing]" in answer.err and "gone.tkt" in answer.err

    assert missing(cli("diff", log, "gone.tkt"))
    assert missing(cli("diff", "gone.tkt", log))
