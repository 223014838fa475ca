"""`tracekit leaks` as typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import HOSTILE, Cli, make_log, start
from traces import TraceBuilder, sample_capabilities, sample_header, write_log


def leaking_log(path: Path, *, portable: bool = False, complete: bool = True, name: str = "app") -> Path:
    """A line that leaks 100 bytes a mark ``tick``, and an import that keeps 5000 bytes."""
    header = sample_header()
    if portable:
        capabilities = sample_capabilities(
            types=False, real_times=False, every_event=False, exact_order=False
        )
        header = sample_header(engine="portable", capabilities=capabilities, sync_interval_ns=20_000_000)
    build = TraceBuilder(header)
    stack = build.stack((f"/srv/{name}.py", "<module>", 9), (f"/srv/{name}.py", "keep", 3))
    imported = build.stack(
        (f"/srv/{name}.py", "<module>", 9),
        ("<frozen importlib._bootstrap>", "_load", 1),
        ("/srv/b.py", "<module>", 1),
    )
    for number in range(60):
        build.advance(1_000_000)
        build.mark("tick")
        build.allocate(100, stack=stack)
        build.free(build.allocate(10, stack=build.stack((f"/srv/{name}.py", "work", 20))))
        if number == 40:
            build.allocate(5000, stack=imported)
    return write_log(path, build.finish(complete=complete))


def test_text(cli: Cli, tmp_path: Path) -> None:
    log = leaking_log(tmp_path / "a.tkt")
    answer = cli("leaks", log)
    assert answer.status == 0
    lines = answer.out.splitlines()
    assert lines[0].startswith("from 50% (event ")
    assert lines[2].startswith("1 site kept growing all the time, by ")
    assert any("16/16" in line and line.endswith("/srv/app.py:3 (keep)") for line in lines)
    assert "note: 4.9 KiB in 1 block that imports allocated" in answer.out
    assert "note: no full collection" in answer.out
    assert lines[-1] == f"next: tracekit replay {log} --from 50% --to end --by stack"


def test_json_and_marks(cli: Cli, tmp_path: Path) -> None:
    log = leaking_log(tmp_path / "a.tkt")
    document = cli("leaks", log, "--since", "mark:tick", "--to", "end", "--json").document
    (leak,) = document["leaks"]
    assert document["since"]["text"] == "mark:tick"
    assert (leak["bytes_per_mark"], leak["blocks"], leak["made_blocks"]) == (6000 / 59, 60, 60)
    assert (leak["evidence"], leak["steps_grown"], document["steps"]) == ("strong", 16, 16)
    assert len(leak["levels"]) == len(document["instants"]) == 17
    assert (document["imported_bytes"], document["imported_blocks"]) == (5000, 1)
    assert document["full_collections"] == 0
    assert leak["path"][0] == {"file": "/srv/app.py", "line": 9, "function": "<module>"}
    both = cli("leaks", log, "--json", "--imports").document
    assert [leak["key"] for leak in both["leaks"]] == ["/srv/app.py:3 (keep)", "/srv/b.py:1 (<module>)"]
    assert cli("leaks", log, "--json", "--imports", "--limit", "1").document["leaks_omitted"] == 1


def test_nothing_leaks(cli: Cli, tmp_path: Path) -> None:
    answer = cli("leaks", make_log(tmp_path / "a.tkt"))
    assert (answer.status, answer.err) == (0, "")
    assert answer.out == (
        "nothing that was allocated after 50% (event 6, 2.0 ms) and is alive at end (event 13, 1.00 s) "
        "has grown\n"
    )


def test_a_killed_program_and_the_portable_engine(cli: Cli, tmp_path: Path) -> None:
    answer = cli("leaks", leaking_log(tmp_path / "a.tkt", portable=True, complete=False))
    assert "note: 'end' is the last event" in answer.out
    assert "note: the recording has no end" in answer.out
    assert "note: blocks that came and went between two sync points are not recorded" in answer.out
    assert "types" not in answer.out
    answer = cli("leaks", tmp_path / "a.tkt", "--by", "type")
    assert "note: types are not recorded by the portable engine" in answer.out


@pytest.mark.parametrize("by", ["site", "innermost", "function", "file", "type", "stack", "thread", "domain"])
def test_every_grouping_is_safe_on_a_terminal(cli: Cli, tmp_path: Path, by: str) -> None:
    answer = cli("leaks", leaking_log(tmp_path / "a.tkt", name=HOSTILE), "--by", by)
    assert answer.status == 0
    assert "\x1b" not in answer.out
    assert f"  {'line' if by == 'innermost' else by}" in answer.out or by == "innermost"
    assert "16/16" in answer.out


def test_what_it_refuses(cli: Cli, tmp_path: Path) -> None:
    log = leaking_log(tmp_path / "a.tkt")
    for options, said in (
        (("--by", "colour"), "--by cannot be 'colour'"),
        (("--limit", "-1"), "--limit cannot be -1"),
        (("--since", "end"), "end (event 242) is not before end (event 242)"),
        (("--since", "mark:none"), "has no moment 'mark:none'"),
    ):
        answer = cli("leaks", log, *options)
        assert (answer.status, answer.out) == (2, "")
        assert said in answer.err
        assert answer.err.count("\n") <= 2


def test_own_code(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    library = tmp_path / "lib" / "python3.11" / "site-packages" / "cache"
    library.mkdir(parents=True)
    stack = build.stack(("/srv/a.py", "main", 1), (f"{library}/store.py", "put", 7))
    for _ in range(50):
        build.advance(1000)
        build.allocate(10, stack=stack)
    log = write_log(tmp_path / "a.tkt", build.finish())
    assert cli("leaks", log, "--json").document["leaks"][0]["key"] == "/srv/a.py:1 (main)"
    for own in (library, library / "store.py"):
        answer = cli("leaks", log, "--json", "--own", own)
        assert answer.document["leaks"][0]["key"] == f"{library}/store.py:7 (put)"


def test_bars_that_the_encoding_has(tmp_path: Path) -> None:
    log = leaking_log(tmp_path / "a.tkt")
    assert "▁▁▂" in start("leaks", log, PYTHONIOENCODING="utf-8").out
    plain = start("leaks", log, PYTHONIOENCODING="ascii").out
    assert plain.isascii()
    assert "__." in plain
