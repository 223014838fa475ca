"""Every error is one line that says what, where and what to do; and docs/errors.md explains every code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from cli_support import Cli, make_log

import tracekit.errors
from tracekit.errors import all_errors
from tracekit.log.format import pack_prelude

ROOT = Path(tracekit.errors.__file__).parent
DOCS = ROOT.parent / "docs" / "errors.md"

READERS = [
    ("info",),
    ("replay",),
    ("fragmentation",),
    ("query", "SELECT 1"),
    ("shell",),
    ("export", "tables"),
    ("simulate",),
    ("verify",),
    ("recover", "-o", "out.tkt"),
    ("dump",),
]


def check_line(err: str, code: str) -> None:
    """One line, in the form of all errors, without anything that a terminal obeys."""
    assert err.startswith(f"tracekit: error[{code}]: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert err[:-1].isprintable()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("command", READERS, ids=lambda command: command[0])
@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "file-missing"),
        (b"", "not-a-log"),
        (b"print('a program')\n" * 20, "not-a-log"),
        ("folder", "not-a-log"),
        ("version", "log-version"),
        ("header", "not-a-log"),
    ],
    ids=["missing", "empty", "other", "folder", "newer", "torn-header"],
)
def test_what_is_no_log(
    cli: Cli, here: Path, command: tuple[str, ...], content: bytes | str | None, code: str
) -> None:
    path = Path("x.tkt")
    if content == "folder":
        path.mkdir()
    elif content == "version":
        prelude = pack_prelude(99)
        path.write_bytes(prelude + make_log(Path("whole.tkt")).read_bytes()[len(prelude) :])
    elif content == "header":
        path.write_bytes(make_log(Path("whole.tkt")).read_bytes()[:60])
    elif isinstance(content, bytes):
        path.write_bytes(content)
    before = sorted(here.iterdir())
    answer = cli(command[0], path, *command[1:])
    assert (answer.status, answer.out) == (2, "")
    check_line(answer.err, code)
    assert "x.tkt" in answer.err
    assert sorted(here.iterdir()) == before


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nonsense"], "No such command 'nonsense'"),
        (["--nonsense"], "--nonsense"),
        (["replay"], "LOG"),
        (["replay", "app.tkt", "--limit", "many"], "--limit"),
        (["replay", "app.tkt", "--limit", "-1"], "--limit cannot be -1"),
        (["replay", "app.tkt", "--by", "colour"], "site, function, file, module, type, stack, thread"),
        (["replay", "app.tkt", "--depth", "3"], "--depth and --min-bytes cut a call tree; give --tree, too"),
        (["replay", "app.tkt", "--min-bytes", "3"], "give --tree, too"),
        (["replay", "app.tkt", "--tree", "--depth", "0"], "--depth"),
        (["replay", "app.tkt", "--tree", "--min-bytes", "much"], "--min-bytes cannot be 'much'"),
        (["replay", "app.tkt", "--tree", "--by", "site"], "--tree and --by/--limit exclude each other"),
        (["replay", "app.tkt", "--tree", "--limit", "3"], "--tree and --by/--limit exclude each other"),
        (["replay", "app.tkt", "--tree", "--to", "end"], "--tree and --from/--to exclude each other"),
        (["replay", "app.tkt", "--stacks", "--from", "end"], "--stacks and --from/--to exclude each other"),
        (["replay", "app.tkt", "--at", "peak", "--from", "start"], "--at and --from/--to exclude each other"),
        (["replay", "app.tkt", "more"], "more"),
        (["query", "app.tkt"], "SQL"),
        (["query", "app.tkt", " ; "], "the SQL is empty"),
        (["query", "app.tkt", "SELECT 1", "--format", "xml"], "table, json, jsonl, csv, markdown"),
        (["query", "app.tkt", "SELECT 1", "--format", "csv", "--json"], "exclude each other"),
        (["query", "app.tkt", "SELECT 1", "--format", "parquet"], "-o FILE.parquet"),
        (["query", "app.tkt", "SELECT 1", "--memory-limit", "much"], "--memory-limit cannot be 'much'"),
        (["shell", "app.tkt", "--memory-limit", "0"], "--memory-limit cannot be '0'"),
        (["export", "app.tkt"], "DIR"),
        (["export", "app.tkt", "tables", "--format", "xml"], "--format cannot be 'xml'"),
        (["shell", "app.tkt", "--format", "xml"], "--format cannot be 'xml'"),
        (["simulate", "app.tkt", "--memory-limit", "lots"], "--memory-limit cannot be 'lots'"),
        (["simulate", "app.tkt", "--memory-limit", "0"], "--memory-limit cannot be '0'"),
        (["simulate", "app.tkt", "--memory-limit", "-5M"], "--memory-limit cannot be '-5M'"),
        (["simulate", "app.tkt", "--gc-threshold", "1,2,3,4"], "700,10,10"),
        (["simulate", "app.tkt", "--gc-threshold", "1,2,3", "--gc-off"], "exclude each other"),
        (["simulate", "app.tkt", "--allocator", "jemalloc"], "pymalloc, malloc"),
        (["recover", "app.tkt"], "--output"),
        (["schema", "everything"], "log, store"),
        (["record"], "no program to record"),
        (["record", "-m"], "-m needs the name of a module"),
        (["record", "-c"], "-c needs code"),
        (["record", "--engine", "magic", "app.py"], "auto, native, portable"),
        (["record", "--max-frames", "0", "app.py"], "--max-frames cannot be 0"),
        (["record", "--nonsense", "app.py"], "--nonsense"),
        (["record", "-z", "app.py"], "-z"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_usage(cli: Cli, here: Path, arguments: list[str], said: str) -> None:
    make_log(here / "app.tkt")
    answer = cli(*arguments)
    assert (answer.status, answer.out) == (2, "")
    check_line(answer.err, "usage")
    assert said in answer.err
    assert [path.name for path in here.iterdir()] == ["app.tkt"]


@pytest.mark.parametrize("at", ["soon", "", "-1s", "seq:", "seq:x", "gc:", "mark:", "1.5", "\x1b[2J"])
def test_moment_that_does_not_parse(cli: Cli, log: Path, at: str) -> None:
    answer = cli("replay", log, "--at", at)
    assert (answer.status, answer.out) == (2, "")
    check_line(answer.err, "moment-syntax")


@pytest.mark.parametrize(
    ("at", "hint"), [("mark:cold", "mark:warm"), ("gc:7", "gc:0"), ("seq:99999", "seq:0"), ("3600s", "1.")]
)
def test_moment_that_does_not_exist(cli: Cli, log: Path, at: str, hint: str) -> None:
    answer = cli("replay", log, "--from", at)
    assert (answer.status, answer.out) == (2, "")
    check_line(answer.err, "moment-missing")
    assert hint in answer.err


def test_sql_error_points_at_the_place(cli: Cli, log: Path) -> None:
    answer = cli("query", log, "SELECT size,\n  colour FROM allocations")
    assert (answer.status, answer.out) == (2, "")
    lines = answer.err.splitlines()
    assert lines[0].startswith("tracekit: error[sql]: ")
    assert any(line.startswith("LINE 2:") for line in lines)
    assert any(line.strip("^ ") == "" and "^" in line for line in lines)


def test_sql_that_writes(cli: Cli, log: Path) -> None:
    answer = cli("query", log, "DROP TABLE allocations")
    assert answer.status == 2
    check_line(answer.err, "sql")
    assert "DROP is not possible: queries only read" in answer.err


def test_query_that_takes_too_much_memory(cli: Cli, log: Path) -> None:
    for arguments in (["--memory-limit", "40MiB"], ["--memory-limit", "1000", "--no-cache"]):
        answer = cli("query", log, "SELECT list(range) FROM range(30000000)", *arguments)
        assert (answer.status, answer.out) == (2, "")
        check_line(answer.err, "memory-limit")


def test_files_are_out_of_reach_unless_allowed(cli: Cli, log: Path, here: Path) -> None:
    (here / "names.csv").write_text("n\n7\n")
    answer = cli("query", log, "FROM 'names.csv'")
    assert answer.status == 2
    check_line(answer.err, "sql")
    assert "--allow-external" in answer.err
    assert cli("query", log, "FROM 'names.csv'", "--allow-external", "--json").document == [{"n": 7}]
    assert cli("shell", log, "--allow-external", stdin="FROM 'names.csv';").out == "n\n-\n7\n"


def test_settings_that_make_no_sense(cli: Cli, log: Path) -> None:
    answer = cli("simulate", log, "--arena-size", "5000")
    assert (answer.status, answer.out) == (2, "")
    check_line(answer.err, "scenario")


def test_output_that_exists(cli: Cli, log: Path, here: Path) -> None:
    kept = here / "kept.txt"
    kept.write_text("precious")
    script = here / "app.py"
    script.write_text("print('ran')")
    for arguments in (
        ["query", log, "SELECT 1", "-o", kept],
        ["query", log, "SELECT 1", "-o", kept, "--format", "parquet"],
        ["recover", log, "-o", kept],
        ["record", "-o", kept, script],
    ):
        answer = cli(*arguments)
        assert (answer.status, answer.out) == (2, "")
        check_line(answer.err, "output-exists")
        assert "--force" in answer.err
        assert kept.read_text() == "precious"


def test_output_in_a_folder_that_is_not_there(cli: Cli, log: Path, here: Path) -> None:
    script = here / "app.py"
    script.write_text("print('ran')")
    for arguments in (
        ["query", log, "SELECT 1", "-o", "no/such/out.csv"],
        ["query", log, "SELECT 1", "-o", "no/such/out.parquet"],
        ["export", log, "no/such/tables"],
        ["recover", log, "-o", "no/such/out.tkt"],
        ["record", "-o", "no/such/out.tkt", script],
    ):
        answer = cli(*arguments)
        assert (answer.status, answer.out) == (2, "")
        check_line(answer.err, "output-unwritable")


def test_program_that_is_not_there(cli: Cli, here: Path) -> None:
    answer = cli("record", "nothing.py")
    assert (answer.status, answer.out) == (2, "")
    check_line(answer.err, "program-missing")
    assert list(here.iterdir()) == []


def documented(title: str) -> list[str]:
    text = DOCS.read_text(encoding="utf-8")
    match = re.search(rf"^## {title}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match
    return re.findall(r"^### `([a-z-]+)`$", match[1], re.MULTILINE)


def test_every_error_code_is_explained() -> None:
    codes = [error.code for error in all_errors()]
    assert sorted(documented("Errors")) == sorted(codes)
    assert len(set(codes)) == len(codes)


def notice_codes() -> set[str]:
    """First arguments of all calls that make a notice, anywhere in the package."""
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in ROOT.rglob("*.py")]
    constants = {
        target.id: node.value.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name) and isinstance(node.value.value, str)
    }
    codes = set()
    for tree in trees:
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            first = node.args[0]
            if name.lower().lstrip("_") != "notice":
                continue
            if isinstance(first, ast.Constant):
                codes.add(str(first.value))
            elif isinstance(first, ast.Name) and first.id in constants:
                codes.add(constants[first.id])
    return codes | notice_codes_of_the_extension()


def notice_codes_of_the_extension() -> set[str]:
    """What the native engine's C sends: each call stands behind an array ``code`` with its code."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "_native").glob("*.c")]
    codes = [code for text in sources for code in re.findall(r'const char code\[\] = "([a-z-]+)"', text)]
    assert len(codes) == sum(text.count("define(TK_DEF_NOTICE") for text in sources) >= 1
    return set(codes)


def test_every_notice_code_is_explained() -> None:
    assert sorted(documented("Notices")) == sorted(notice_codes())
