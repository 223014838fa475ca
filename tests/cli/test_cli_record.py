"""`record`: what belongs to the program stays its own, and what is said is said when it is over."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest
from cli_support import Cli, start

from tracekit.cli import app
from tracekit.cli.arguments import Split, split_arguments
from tracekit.errors import ProgramMissingError
from tracekit.record import session


@pytest.mark.parametrize(
    ("arguments", "split"),
    [
        (["app.py"], Split([], "script", "app.py", [])),
        (["app.py", "-o", "x", "--force"], Split([], "script", "app.py", ["-o", "x", "--force"])),
        (["-o", "a.tkt", "app.py", "--help"], Split(["-o", "a.tkt"], "script", "app.py", ["--help"])),
        (["-oa.tkt", "app.py"], Split(["-oa.tkt"], "script", "app.py", [])),
        (["--output=a.tkt", "app.py"], Split(["--output=a.tkt"], "script", "app.py", [])),
        (["--output", "a.tkt", "app.py"], Split(["--output", "a.tkt"], "script", "app.py", [])),
        (
            ["--engine", "portable", "-q", "app.py"],
            Split(["--engine", "portable", "-q"], "script", "app.py", []),
        ),
        (["--max-frames", "3", "app.py", "4"], Split(["--max-frames", "3"], "script", "app.py", ["4"])),
        (["-m", "pkg.mod", "-m", "-q"], Split([], "module", "pkg.mod", ["-m", "-q"])),
        (["-mpkg.mod", "-c"], Split([], "module", "pkg.mod", ["-c"])),
        (["-q", "-c", "print()", "-q"], Split(["-q"], "code", "print()", ["-q"])),
        (["-cprint()", "x"], Split([], "code", "print()", ["x"])),
        (["-qc", "print()"], Split(["-q"], "code", "print()", [])),
        (["-qmmod"], Split(["-q"], "module", "mod", [])),
        (["-qo", "a.tkt", "app.py"], Split(["-qo", "a.tkt"], "script", "app.py", [])),
        (["-c", ""], Split([], "code", "", [])),
        (["--", "-odd.py", "--", "x"], Split([], "script", "-odd.py", ["--", "x"])),
        (["-", "x"], Split([], "script", "-", ["x"])),
        (["app.py", "--", "-q"], Split([], "script", "app.py", ["--", "-q"])),
        (["app.py", ""], Split([], "script", "app.py", [""])),
        (["-q"], Split(["-q"], None, "", [])),
        (["--"], Split([], None, "", [])),
        ([], Split([], None, "", [])),
        (["--help", "app.py"], Split(["--help"], "script", "app.py", [])),
        (["--odd", "app.py"], Split(["--odd"], "script", "app.py", [])),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_where_the_program_begins(arguments: list[str], split: Split) -> None:
    assert vars(split_arguments(arguments)) == vars(split)


def test_record_says_what_it_recorded_when_it_is_over(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text("import sys\nprint('out', sys.argv[1:])\nprint('err', file=sys.stderr)\n")
    answer = start("record", script, "-q", "--json", cwd=tmp_path)
    assert answer.status == 0
    assert answer.out == "out ['-q', '--json']\n"
    lines = answer.err.splitlines()
    assert lines[0] == "err"
    assert all(line.startswith("tracekit: ") for line in lines[1:])
    assert lines[1].startswith("tracekit: recorded ")
    assert lines[2].startswith("tracekit: peak ")
    assert lines[3].startswith("tracekit: log app.tkt, ")
    assert lines[-1] == "tracekit: next: tracekit replay app.tkt --at peak"
    assert (tmp_path / "app.tkt").exists()


def test_quiet(tmp_path: Path) -> None:
    answer = start("record", "-q", "-o", "x.tkt", "-c", "print(1)", cwd=tmp_path)
    assert (answer.status, answer.out, answer.err) == (0, "1\n", "")
    assert json.loads(start("info", "x.tkt", "--json", cwd=tmp_path).out)["complete"] is True


def test_exit_status_is_the_programs_own(tmp_path: Path) -> None:
    answer = start("record", "-q", "-c", "raise SystemExit(7)", cwd=tmp_path)
    assert (answer.status, answer.err) == (7, "")
    assert start("record", "-q", "-o", "b.tkt", "-c", "raise SystemExit('text')", cwd=tmp_path) == type(
        answer
    )(1, "", "text\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV])
def test_a_program_that_is_killed_kills_us_the_same_way(tmp_path: Path, number: signal.Signals) -> None:
    code = f"import os, time\nos.kill(os.getpid(), {int(number)})\ntime.sleep(60)"
    answer = start("record", "-o", "x.tkt", "-c", code, cwd=tmp_path)
    assert answer.status == -number
    assert f"the recording is not complete: the program was killed by {number.name}" in answer.err
    assert "notice[no-end]" in answer.err
    assert start("info", "x.tkt", "--json", cwd=tmp_path).document["complete"] is False


def test_nothing_is_written_for_a_program_that_does_not_exist(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli("record", "-o", "x.tkt", "nothing.py").status == 2
    assert list(tmp_path.iterdir()) == []


def test_the_whole_path(tmp_path: Path) -> None:
    script = tmp_path / "app.py"
    script.write_text(
        "import tracekit\nkept = [bytes(1000) for _ in range(300)]\ntracekit.mark('full')\nkept.clear()\n"
    )
    assert start("record", "-q", script, cwd=tmp_path).status == 0
    at_mark = start("replay", "app.tkt", "--at", "mark:full", "--by", "site", "--json", cwd=tmp_path).document
    made = [group for group in at_mark["groups"] if f"{script}:2 " in group["key"]]
    assert sum(group["blocks"] for group in made) >= 300
    gone = start("replay", "app.tkt", "--from", "mark:full", "--json", cwd=tmp_path).document
    assert gone["total_bytes"] < -290_000


@pytest.mark.parametrize(
    "options",
    [
        "",
        "-q",
        "--quiet --force --follow",
        "--no-source",
        "-o x.tkt --engine portable --max-frames 3",
        "--output=a=b.tkt --engine= --max-frames=007",
        "-o -q",
        "-qo x.tkt",
        "-oy.tkt",
        "--max-frames x",
        "--max-frames -1",
        "--max-frames 0",
        "--max-frames ٣",
        "--engine steam",
        "--force=1",
        "--forc",
        "--odd x",
        "-q=x",
        "-x",
        "--output x --output y",
    ],
)
def test_options_mean_the_same_with_and_without_the_option_parser(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, options: str
) -> None:
    taken: list[dict[str, object]] = []

    def take(options: object) -> None:
        asked = dict(vars(options))
        asked["program"] = vars(asked["program"])
        taken.append(asked)
        raise ProgramMissingError("no further")

    monkeypatch.setattr(session, "record", take)
    arguments = ["record", *options.split(), "app.py", "-x"]
    quick = cli(*arguments)
    monkeypatch.setattr(app, "plain_recording", lambda _: None)
    slow = cli(*arguments)
    assert (quick.status, quick.out, quick.err) == (slow.status, slow.out, slow.err)
    assert taken[: len(taken) // 2] == taken[len(taken) // 2 :]


@pytest.mark.parametrize("name", ["", "."])
def test_the_output_is_a_folder(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    answer = cli("record", "-o", name, "-c", "print(1)")
    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "tracekit: error[output-unwritable]: . is a folder; name a file with -o\n"
    assert list(tmp_path.iterdir()) == []
