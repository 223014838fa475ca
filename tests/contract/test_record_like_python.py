"""`tracekit record PROGRAM` is `python PROGRAM` for the program and for whoever started it, side by side."""

from __future__ import annotations

import ast
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from record_support import TRACEKIT, Outcome, Stage, environment, on_engines, recording, run

from tracekit.record import TARGET_MODULES

# What the recorder brings into the program's sys.modules beside its own: `threading` (for its profile hook),
# `mmap` and `struct` (the ring), `opcode`, and what these import.
STDLIB_ALLOWANCE = {
    "__future__",
    "_collections_abc",
    "_functools",
    "_opcode",
    "_opcode_metadata",
    "_operator",
    "_struct",
    "_tracemalloc",
    "_weakrefset",
    "tracekit._native._engine",  # no file of source
    "atexit",
    "_collections",
    "collections",
    "gc",
    "functools",
    "itertools",
    "keyword",
    "mmap",
    "opcode",
    "operator",
    "reprlib",
    "struct",
    "threading",
    "time",
    "types",
    "warnings",
}

LOOK = """
import sys, os
main = sys.modules["__main__"]
print(ascii({
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "path": sys.path,
    "flags": repr(sys.flags),
    "name": __name__,
    "file": globals().get("__file__"),
    "spec": repr(globals().get("__spec__")).split(" at 0x")[0],
    "package": repr(globals().get("__package__")),
    "loader": repr(type(globals().get("__loader__"))),
    "builtins": repr(globals().get("__builtins__"))[:30],
    "is_main": main.__dict__ is globals(),
    "globals": sorted(globals()),
    "environ": list(os.environ.items()),
    "environb": [list(map(repr, item)) for item in os.environb.items()],
    "meta_path": [getattr(finder, "__name__", type(finder).__name__) for finder in sys.meta_path],
    "path_hooks": len(sys.path_hooks),
    "path_cache": sorted(map(str, sys.path_importer_cache)),
    "cwd": os.getcwd(),
    "streams": [sys.stdin.encoding, sys.stdout.encoding, sys.stderr.errors, sys.stdout.line_buffering],
    "warnoptions": sys.warnoptions,
    "xoptions": sys._xoptions,
    "recursion": sys.getrecursionlimit(),
    "switch": sys.getswitchinterval(),
    "excepthook": sys.excepthook is sys.__excepthook__,
    "unraisable": sys.unraisablehook is sys.__unraisablehook__,
    "umask": [os.umask(0o22)],
    "executable": sys.executable,
    "prefix": [sys.prefix, sys.exec_prefix],
    "isatty": [stream.isatty() for stream in (sys.stdin, sys.stdout, sys.stderr)],
    "group_is_session": os.getpgrp() == os.getsid(0),
    "depth": sys._getframe().f_back is None,
}))
"""
"""It imports next to nothing, because the portable engine takes its time with every import."""


def looked(stage: Stage, arguments: list[str], **options: Any) -> dict[str, Any]:
    """What LOOK sees, equal under both; the caller has written it."""
    pair = stage.both(arguments, **options)
    assert (pair.python.status, pair.python.stderr) == (0, b"")
    assert (pair.recorded.status, pair.recorded.stderr) == (0, b"")
    plain, recorded = (ast.literal_eval(run.stdout.decode()) for run in (pair.python, pair.recorded))
    assert recorded == plain
    found: dict[str, Any] = recorded
    return found


def archive(path: Path, text: str) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("__main__.py", text)


# -- ways to start ------------------------------------------------------------------------------------------

OURS = ["--json", "-o", "other.tkt", "--force", "--", "-q", "--engine", "native", "-m", "x", "", "ä b", "-c"]


@pytest.mark.parametrize(
    "start",
    [
        ["program.py"],
        ["./program.py"],
        ["folder/../program.py"],
        ["-m", "program"],
        ["-m", "package"],
        ["-m", "package.inner"],
        ["-c", LOOK],
        ["application.zip"],
        ["folder"],
        ["no_suffix"],
    ],
    ids=lambda start: "-c" if "-c" in start else " ".join(start),
)
def test_starts_the_same(stage: Stage, start: list[str]) -> None:
    stage.write(
        {
            "program.py": LOOK,
            "no_suffix": LOOK,
            "package/__init__.py": "",
            "package/__main__.py": LOOK,
            "package/inner.py": LOOK,
            "folder/__main__.py": LOOK,
        }
    )
    archive(stage.folder / "application.zip", LOOK)
    found = looked(stage, [*start, *OURS])
    assert found["argv"][1:] == OURS
    stage.sound()


def test_absolute_path_and_another_folder(stage: Stage) -> None:
    stage.write({"deep/er/program.py": LOOK})
    found = looked(stage, [str(stage.folder / "deep/er/program.py"), "x"])
    assert found["path"][0] == str(stage.folder / "deep/er")


def test_script_through_a_link(stage: Stage) -> None:
    stage.write({"real/program.py": LOOK})
    (stage.folder / "link.py").symlink_to("real/program.py")
    assert looked(stage, ["link.py"])["path"][0] == str(stage.folder / "real")


def test_script_on_stdin(stage: Stage) -> None:
    found = looked(stage, ["-", "a", "-o"], stdin=LOOK.encode())
    assert found["argv"] == ["-", "a", "-o"]


def test_double_dash_ends_our_options(stage: Stage) -> None:
    stage.write({"-odd.py": "import sys; print(sys.argv)"})
    outcome = stage.record(["--", "./-odd.py", "--", "-o"])
    assert outcome == Outcome(b"['./-odd.py', '--', '-o']\n", b"", 0)


def test_bytecode_file(stage: Stage) -> None:
    stage.write({"program.py": LOOK})
    run(
        [sys.executable, "-c", "import py_compile; py_compile.compile('program.py', 'program.pyc')"],
        stage.folder,
    )
    looked(stage, ["program.pyc"])


@pytest.mark.parametrize(
    "arguments",
    [["-m", "missing"], ["-m", "package"], ["-m", "broken"], ["-m", "package.missing"], ["-c", "1 +"]],
    ids=" ".join,
)
def test_what_python_cannot_start(stage: Stage, arguments: list[str]) -> None:
    files = {"package/__init__.py": "", "broken.py": "def f(:\n"}
    assert stage.both(arguments, files=files).same().status == 1


# -- the environment ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [None, "", "lib", ":lib", "lib::other", "/nowhere/at/all"])
def test_python_path(stage: Stage, value: str | None) -> None:
    stage.write({"program.py": LOOK, "lib/x.py": "", "other/y.py": ""})
    looked(stage, ["program.py"], env=environment(PYTHONPATH=value))


def test_python_path_keeps_its_place(stage: Stage) -> None:
    """os.environ is in the order of the real one, and a variable of the user's own comes through."""
    env = {"A": "1", "PYTHONPATH": "lib", **environment(), "TRACEKIT_X": "mine", "Z": "\udcff"}
    found = looked(stage, ["-c", LOOK], env=env)
    assert [name for name, _ in found["environ"]][:2] == ["A", "PYTHONPATH"]


def test_nothing_in_the_environment(stage: Stage) -> None:
    looked(stage, ["-c", LOOK], env={})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PYTHONSAFEPATH", "1"),
        ("PYTHONUTF8", "1"),
        ("PYTHONOPTIMIZE", "2"),
        ("PYTHONWARNINGS", "error::DeprecationWarning"),
        ("PYTHONUNBUFFERED", "1"),
        ("PYTHONHASHSEED", "7"),
        ("PYTHONNOUSERSITE", "1"),
        ("PYTHONIOENCODING", "latin-1:replace"),
        ("LC_ALL", "C"),
    ],
)
def test_variables_that_configure_python(stage: Stage, name: str, value: str) -> None:
    looked(stage, ["-c", LOOK], env=environment(**{name: value}))


def test_subprocesses_inherit_the_program_s_environment(stage: Stage) -> None:
    text = """
import os, subprocess, sys
print(os.popen("echo $PYTHONPATH; env | grep -c TRACEKIT; env | wc -l").read())
code = "import sys; print(sys.path, 'tracekit' in sys.modules)"
print(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout)
"""
    assert b"False" in stage.code(text, env=environment(PYTHONPATH="lib")).same().stdout


def test_modules_that_are_loaded(stage: Stage) -> None:
    text = "import sys; print(*sorted(sys.modules), sep='\\n')"
    pair = stage.both(["-c", text])
    plain, recorded = (set(outcome.stdout.decode().split()) for outcome in (pair.python, pair.recorded))
    assert plain <= recorded
    assert recorded - plain <= {*TARGET_MODULES, *STDLIB_ALLOWANCE}


def test_file_descriptors(stage: Stage) -> None:
    text = "import os; print(*(os.open('/dev/null', os.O_RDONLY) for _ in range(20)))"
    stage.code(text).same()


def test_daemon_that_closes_every_file(stage: Stage) -> None:
    text = """
import os
os.closerange(3, 1024)
ours = [os.open("/dev/null", os.O_RDONLY) for _ in range(300)]
keep = [bytes(1000) for _ in range(1000)]
import atexit
atexit.register(lambda: os.write(ours[-1] and 1, b"all open\\n" if all(os.fstat(fd) for fd in ours) else b""))
"""
    assert stage.code(text).same().stdout == b"all open\n"
    stage.sound()


@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
@pytest.mark.parametrize(
    "body",
    [
        "import sys; sys.told = [__name__, __file__, sys.modules[__name__].__name__, sys.argv]",
        "raise ValueError('mine')",
        "import no_such_module",
    ],
    ids=["works", "raises", "import error"],
)
def test_customize_modules_of_the_user(stage: Stage, name: str, body: str) -> None:
    # Only in the program: the recorder is a python program, too.
    guard = "import sys\nif 'tracekit.cli.app' not in sys.orig_argv:\n    "
    stage.write({f"lib/{name}.py": guard + body.replace("; ", "\n    ") + "\n"})
    text = f"import sys; print(getattr(sys, 'told', 0), {name!r} in sys.modules)"
    env = environment(PYTHONPATH=str(stage.folder / "lib"))
    stage.both(["-c", text], env=env).same()


# -- streams ------------------------------------------------------------------------------------------------


def test_stdin_is_the_program_s(stage: Stage) -> None:
    data = bytes(range(256)) * 5000
    text = "import sys, hashlib; print(hashlib.md5(sys.stdin.buffer.read()).hexdigest())"
    stage.both(["-c", text], stdin=data).same()


def test_input_by_lines(stage: Stage) -> None:
    text = "while True:\n try: print(input('? '))\n except EOFError: break"
    stage.both(["-c", text], stdin=b"one\ntwo\nthree").same()


def test_much_output(stage: Stage) -> None:
    text = "import sys\nfor i in range(40000): print(i, 'x' * 80)\nsys.stdout.buffer.write(bytes(256) * 4000)"
    assert len(stage.both(["-c", text]).same().stdout) > 4_000_000


def test_order_of_stdout_and_stderr(stage: Stage) -> None:
    text = (
        "import sys\nfor i in range(200): print(i); print(-i, file=sys.stderr, flush=i % 2)\nsys.exit('end')"
    )
    stage.write({"program.py": text})
    shell = 'exec "$@" 2>&1'
    outcomes = [
        run(["/bin/sh", "-c", shell, "sh", *command, "program.py"], stage.folder)
        for command in ([sys.executable], recording(stage.log, stage.engine))
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].status == 1


REDIRECTIONS = (
    "<&- >&- 2>&-",
    ">&-",
    "2>&-",
    "| head -n 1",
    "<&-",
    "2>&1 >/dev/null | head -c 5",
    ">/dev/full",
)


@pytest.mark.parametrize(("engine", "redirection"), on_engines(REDIRECTIONS, 3), indirect=["engine"])
def test_streams_that_are_closed(stage: Stage, redirection: str) -> None:
    # The reader of the first line is gone before the next are written: which write fails is not up to chance.
    text = (
        "import sys, time\ntry:\n  print('first', flush=True)\n  time.sleep(0.3)\n"
        "  for i in range(20000): print('line', i)\nfinally: print('done', file=sys.stderr)"
    )
    stage.write({"program.py": text})
    # The status goes to a file, because that of a pipeline is its last command's.
    outcomes, statuses = [], []
    for command in ([sys.executable], recording(stage.log, stage.engine)):
        shell = f'{{ "$@"; echo $? > ../status; }} {redirection}'
        outcomes.append(run(["/bin/sh", "-c", shell, "sh", *command, "program.py"], stage.folder))
        statuses.append((stage.folder.parent / "status").read_text())
    assert outcomes[0] == outcomes[1]
    assert statuses[0] == statuses[1]
    stage.sound()


# -- what tracekit itself says ------------------------------------------------------------------------------


def test_quiet_says_nothing_and_otherwise_stderr_ends_with_the_summary(stage: Stage) -> None:
    stage.write({"program.py": "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"})
    told = run(
        [*TRACEKIT, "record", "-o", str(stage.log), "--engine", stage.engine, "program.py"], stage.folder
    )
    assert (told.stdout, told.status) == (b"out\n", 3)
    first, *rest = told.stderr.decode().splitlines()
    assert first == "err"
    assert rest
    assert all(line.startswith("tracekit: ") for line in rest)


def test_no_shell_lost_its_signals(stage: Stage) -> None:
    """A program in the background of a shell ignores SIGINT, with and without us."""
    text = "import signal; print(signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGQUIT))"
    stage.write({"program.py": text})
    shell = "trap '' INT QUIT; \"$@\""
    outcomes = [
        run(["/bin/sh", "-c", shell, "sh", *command, "program.py"], stage.folder)
        for command in ([sys.executable], recording(stage.log, stage.engine))
    ]
    assert outcomes[0] == outcomes[1]
    assert b"SIG_IGN" in outcomes[1].stdout or b"1" in outcomes[1].stdout
    assert signal.getsignal(signal.SIGINT) is not None
