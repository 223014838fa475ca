"""`tracekit record PROGRAM` is `python PROGRAM` for the program and for whoever started it, side by side."""

from __future__ import annotations

import json
import signal
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
from record_support import TRACEKIT, Outcome, Stage, environment, recording, run

from tracekit.record import TARGET_MODULES

# What the recorder brings into the program's sys.modules beside its own: `threading` (for its profile hook),
# `mmap` and `struct` (the ring), `opcode`, and what these import.
STDLIB_ALLOWANCE = {
    "_collections_abc",
    "_functools",
    "_opcode",
    "_opcode_metadata",
    "_operator",
    "_struct",
    "_tracemalloc",
    "_weakrefset",
    "atexit",
    "_collections",
    "collections",
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
}

LOOK = """
import sys, os, json
main = sys.modules["__main__"]
json.dump({
    "argv": sys.argv,
    "orig_argv": sys.orig_argv,
    "path": sys.path,
    "flags": repr(sys.flags),
    "name": __name__,
    "file": globals().get("__file__"),
    "spec": repr(globals().get("__spec__")),
    "package": repr(globals().get("__package__")),
    "loader": repr(type(globals().get("__loader__"))),
    "builtins": repr(globals().get("__builtins__"))[:30],
    "is_main": main.__dict__ is globals(),
    "globals": sorted(globals()),
    "environ": list(os.environ.items()),
    "environb": [list(map(repr, item)) for item in os.environb.items()],
    "meta_path": repr(sys.meta_path),
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
    "group_and_session": [os.getpgrp() == os.getpid(), os.getsid(0) == os.getpid()],
    "depth": sys._getframe().f_back is None,
}, sys.stdout, indent=1)
"""
OWN = {"group_and_session"}  # the recorder leads group and session where python itself would


def looked(stage: Stage, arguments: list[str], **options: Any) -> dict[str, Any]:
    """What LOOK sees, equal under both; the caller has written it."""
    pair = stage.both(arguments, **options)
    assert (pair.python.status, pair.python.stderr) == (0, b"")
    assert (pair.recorded.status, pair.recorded.stderr) == (0, b"")
    plain, recorded = json.loads(pair.python.stdout), json.loads(pair.recorded.stdout)
    for name in OWN:
        plain.pop(name), recorded.pop(name)
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
    looked(
        stage,
        ["-c", LOOK + "\nprint(hash('x') if sys.flags.hash_randomization == 0 else 0, file=None)"[:0]],
        env=environment(**{name: value}),
    )


def test_subprocesses_inherit_the_program_s_environment(stage: Stage) -> None:
    text = """
        import os, subprocess, sys
        print(os.popen("echo $PYTHONPATH; env | grep -c TRACEKIT; env | wc -l").read())
        print(subprocess.run([sys.executable, "-c", "import sys, os; print(sys.path, 'tracekit' in sys.modules)"],
              capture_output=True, text=True).stdout)
    """.replace("\n        ", "\n")
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
        "raise SystemExit(5)",
    ],
    ids=["works", "raises", "import error", "exits"],
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
    text = "import sys\nfor i in range(40000): print(i, 'x' * 80)\nsys.stdout.buffer.write(bytes(range(256)) * 4000)"
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


@pytest.mark.parametrize(
    "redirection",
    [">&-", "2>&-", "<&-", "<&- >&- 2>&-", "| head -n 1", "2>&1 >/dev/null | head -c 5", ">/dev/full"],
)
def test_streams_that_are_closed(stage: Stage, redirection: str) -> None:
    text = (
        "import sys\ntry:\n  for i in range(20000): print('line', i)\nfinally: print('done', file=sys.stderr)"
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


# -- ends ---------------------------------------------------------------------------------------------------

CHAINED = """
def inner():
    try:
        {}["key"]
    except KeyError as error:
        raise ValueError("outer") from error
try:
    inner()
except ValueError:
    sorted([3, 1], key=lambda value: value / 0)
"""

ENDS = {
    "falls off": "x = 1",
    "exit 0": "import sys; sys.exit(0)",
    "exit 3": "import sys; sys.exit(3)",
    "exit text": "import sys; sys.exit('text')",
    "exit none": "import sys; sys.exit(None)",
    "exit big": "import sys; sys.exit(256 + 7)",
    "exit negative": "import sys; sys.exit(-1)",
    "exit object": "import sys; sys.exit([1, 'ä'])",
    "quit": "quit(4)",
    "exception": "def f():\n  raise ValueError('mine')\nf()",
    "chained": CHAINED,
    "group": "raise ExceptionGroup('several', [ValueError(1), TypeError(2)])",
    "syntax error": "x = 1\ndef f(:\n",
    "indentation": "if 1:\nx\n",
    "null byte": "x = '\0'",
    "keyboard interrupt": "raise KeyboardInterrupt",
    "from a comprehension": "print([1 / (i - 5) for i in range(9)])",
    "from a callback of C": "import re; re.sub('a', lambda match: match.nothing, 'cab')",
    "from an import": "import broken",
    "excepthook": "import sys\nsys.excepthook = lambda *a: print('hook', a[0])\n1/0",
    "hook that raises": "import sys\nsys.excepthook = lambda *a: 1/0\nraise ValueError",
    "os._exit": "import os; print('lost'); os._exit(7)",
    "abort": "import os; os.abort()",
    "segmentation fault": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "sigkill": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "sigterm": "import os, signal; os.kill(os.getpid(), signal.SIGTERM)",
    "sigpipe": "import os, signal; signal.signal(13, signal.SIG_DFL); os.kill(os.getpid(), 13)",
    "sigint": "import os, signal; os.kill(os.getpid(), signal.SIGINT)",
    "sigint default": "import os, signal; signal.signal(2, signal.SIG_DFL); os.kill(os.getpid(), 2)",
    "closed stderr": "import sys; sys.stderr.close(); 1/0",
    "atexit": "import atexit\nfor i in range(3): atexit.register(print, 'exit', i)\nprint('main')",
    "atexit raises": "import atexit; atexit.register(print, 'first'); atexit.register(lambda: 1/0)",
    "atexit exits": "import atexit, sys; atexit.register(sys.exit, 5); sys.exit(3)",
    "atexit clear": "import atexit; atexit._clear(); print(atexit._ncallbacks())",
    "thread": "import threading as t, time\n"
    "t.Thread(target=lambda: (time.sleep(.1), print('late'))).start(); print('main')",
    "daemon thread": "import threading as t, time\n"
    "t.Thread(target=lambda: (time.sleep(50), print('never')), daemon=True).start(); print('main')",
    "busy daemon thread": "import threading as t\ndef f():\n  while True: str(5)\n"
    "t.Thread(target=f, daemon=True).start(); print('main')",
    "thread raises": "import threading as t\nx = t.Thread(target=lambda: 1/0, name='x'); x.start(); x.join()",
    "raw thread raises": "import _thread, time\n_thread.start_new_thread(lambda: 1/0, ()); time.sleep(.2)",
    "exit in a thread": "import threading as t, sys\nt.Thread(target=sys.exit, args=(9,)).start(); sys.exit(2)",
    "unraisable": "class A:\n  def __del__(self): 1/0\nA(); print('after')",
    "unraisable at the end": "class A:\n  def __del__(self): print('del'); 1/0\na = A()",
    "warning": "import warnings\ndef f(): warnings.warn('mine', stacklevel=2)\nf(); f()\nopen('program.py')",
    "resource warning": "import warnings; warnings.simplefilter('always'); open('program.py').read()",
    "fork": "import os\nprint('before', flush=True)\npid = os.fork()\nprint('child' if not pid else 'parent')\n"
    "if pid: print(os.waitpid(pid, 0)[1])",
    "fork and exit": "import os, sys\npid = os.fork()\nif not pid: sys.exit(4)\n"
    "print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))",
    "fork and leave": "import os\nif os.fork(): os._exit(3)\nos.write(1, b'orphan')",
    "fork in a thread": "import os, threading\ndef f():\n  pid = os.fork()\n  if not pid: os._exit(6)\n"
    "  print(os.waitpid(pid, 0)[1])\nt = threading.Thread(target=f); t.start(); t.join()",
    "subprocess": "import subprocess, sys\nprint(subprocess.run([sys.executable, '-c', 'print(1); exit(3)']))",
    "multiprocessing fork": "import multiprocessing as m\nif __name__ == '__main__':\n"
    "  with m.get_context('fork').Pool(2) as p: print(p.map(abs, range(-50, 0)))",
    "multiprocessing spawn": "import multiprocessing as m\nif __name__ == '__main__':\n"
    "  with m.get_context('spawn').Pool(2) as p: print(p.map(abs, range(-50, 0)))",
    "process pool": "from concurrent.futures import ProcessPoolExecutor as P\nif __name__ == '__main__':\n"
    "  with P(2) as p: print(list(p.map(abs, range(-9, 0))))",
    "thread pool": "from concurrent.futures import ThreadPoolExecutor as P\n"
    "with P(4) as p: print(sum(p.map(lambda n: len([object()] * n), range(2000))))",
    "asyncio": "import asyncio\nasync def f(n):\n  await asyncio.sleep(0); return n\n"
    "async def main(): print(await asyncio.gather(*map(f, range(500))))\nasyncio.run(main())",
    "asyncio raises": "import asyncio\nasync def f(): raise OSError('mine')\nasyncio.run(f())",
    "generator left open": "def f():\n  try: yield 1\n  finally: print('closed')\ng = f(); next(g)",
    "recorded child of its own": "import runpy; runpy.run_path('other.py', run_name='__main__')",
}
# The program ends without Python's own end, and so has no end in the log.
CUT = {"os._exit", "abort", "segmentation fault", "sigkill", "sigterm", "sigpipe", "sigint default"}
CUT |= {"fork and leave", "atexit clear"}
OTHERS = {"broken.py": "x = (1,\n", "other.py": "import sys; print(__name__, sys.argv); sys.exit(8)"}


@pytest.mark.parametrize("text", ENDS.values(), ids=ENDS.keys())
def test_ends(stage: Stage, request: pytest.FixtureRequest, text: str) -> None:
    stage.write(OTHERS)
    name = request.node.callspec.id.split("-", 1)[1] if stage.engine in request.node.callspec.id else ""
    name = next(key for key, value in ENDS.items() if value == text) or name
    pair = stage.code(text)
    pair.same()
    found = stage.sound(complete=name not in CUT)
    assert found["exit_status"] == pair.python.status


def test_exec_leaves_a_log_without_an_end(stage: Stage) -> None:
    text = (
        "import os, sys\nx = [bytes(10) for _ in range(50)]\n"
        "os.execv(sys.executable, [sys.executable, '-c', 'import sys; print(sys.path[0], 1); sys.exit(4)'])"
    )
    assert stage.code(text).same().status == 4
    assert stage.sound(complete=False)["exit_status"] == 4


def test_exec_of_itself_records_once(stage: Stage) -> None:
    text = "import os, sys\nif len(sys.argv) < 4: os.execv(sys.executable, [sys.executable, *sys.argv, 'x'])\nprint(sys.argv)"
    assert stage.code(text).same().stdout == b"['program.py', 'x', 'x', 'x']\n"


def test_stack_overflow_message(stage: Stage) -> None:
    """Within two frames of the limit the recorder's own call does not fit; the rest is as with python."""
    text = "def f(n):\n    return f(n + 1)\nf(0)\n"
    pair = stage.code(text)
    lines = [
        [line for line in outcome.stderr.decode().splitlines() if "repeated" not in line]
        for outcome in (pair.python, pair.recorded)
    ]
    assert lines[0] == lines[1]
    assert pair.recorded.status == 1
    stage.sound()


def test_recursion_that_is_caught(stage: Stage) -> None:
    text = (
        "import sys\ndef f(n):\n    try:\n        return f(n + 1)\n    except RecursionError:\n        return n\n"
        "for limit in (1000, 1500, 50):\n    sys.setrecursionlimit(limit)\n    print(f(0) // 5)\n"
        "print(sys.getprofile.__name__)\nkeep = [[] for _ in range(100000)]\n"
    )
    stage.code(text).same()
    found = stage.sound()
    assert not any(notice["code"] == "profile-replaced" for notice in found["notices"])


# -- programs that use what the recorder uses ---------------------------------------------------------------

TOOLS = {
    "setprofile": "import sys\nseen = []\nsys.setprofile(lambda f, e, a: seen.append((f.f_code.co_name, e)))\n"
    "def g(): return len('x')\ng(); g()\nsys.setprofile(None)\nprint(seen[:-1], sys.getprofile())",
    "cProfile": "import cProfile, pstats, io\np = cProfile.Profile()\ndef g(n): return sum(range(n))\np.enable()\n"
    "for i in range(5): g(i)\np.disable()\ns = pstats.Stats(p)\nprint(sorted((k, v[0]) for k, v in s.stats.items()))",
    "settrace": "import sys\nseen = []\ndef t(f, e, a): seen.append((f.f_code.co_name, e, f.f_lineno)); return t\n"
    "def g(n):\n  x = [i for i in range(n)]\n  return x\nsys.settrace(t); g(3); sys.settrace(None); print(seen)",
    "threading.setprofile": "import threading\nseen = []\ndef p(f, e, a): seen.append(e)\n"
    "threading.setprofile(p); t = threading.Thread(target=len, args=('x',)); t.start(); t.join()\nprint(len(seen) > 3)",
    "tracemalloc start": "import tracemalloc\ntracemalloc.start()\nx = [bytes(1000) for _ in range(100)]\n"
    "s = tracemalloc.take_snapshot()\nprint([(t.size > 100000, t.count) for t in s.statistics('lineno')\n"
    "  if t.traceback[0].lineno == 3 and t.size > 9e4])",
    "tracemalloc stop": "import tracemalloc\ntracemalloc.start(); tracemalloc.stop()\nprint(tracemalloc.is_tracing())\n"
    "x = [bytes(1000) for _ in range(1000)]\ndel x\ntracemalloc.start(2)\nprint(tracemalloc.get_traceback_limit())",
    "tracemalloc clear": "import tracemalloc\ntracemalloc.start(); x = [bytes(100) for _ in range(1000)]\n"
    "tracemalloc.clear_traces(); tracemalloc.reset_peak(); del x\nprint(len('x'))",
    "gc disable": "import gc\ngc.disable()\nclass A: pass\nfor i in range(20000): a = A(); a.a = a\n"
    "print(gc.isenabled(), gc.collect(), gc.garbage)",
    "gc collect": "import gc\nclass A:\n  def __del__(self): D.append(1)\nD = []\nfor i in range(100): a = A(); a.a = a\n"
    "del a\nprint(gc.collect() >= 100, len(D), gc.isenabled())",
    "gc callbacks": "import gc\nseen = []\ndef c(phase, info): seen.append((phase, sorted(info)))\ngc.callbacks.append(c)\n"
    "gc.collect(0); gc.collect(); gc.callbacks.remove(c); print(seen)",
    "gc callbacks cleared": "import gc\ngc.callbacks.clear()\nprint(gc.callbacks)\nx = [[] for _ in range(9999)]\ngc.collect()",
    "gc freeze": "import gc\ngc.freeze(); print(gc.get_freeze_count() > 0); gc.collect(); gc.unfreeze(); print(gc.get_threshold())",
    "gc thresholds": "import gc\ngc.set_threshold(10, 3, 2)\nx = [[i] for i in range(5000)]\nprint(gc.get_threshold())",
    "gc debug": "import gc\ngc.set_debug(gc.DEBUG_SAVEALL)\na = []; a.append(a); del a; gc.collect(); print(len(gc.garbage) > 0)",
    "settrace in gc": "import sys, gc\nnames = set()\nsys.settrace(lambda f, e, a: names.add(f.f_code.co_name))\n"
    "def g(): pass\ng()\nsys.settrace(None)\nprint(sorted(names))",
    "weakrefs": "import weakref\nclass A: pass\na = A(); r = weakref.ref(a, lambda _: print('gone')); del a; print(r())",
    "refcounts": "import sys\nx = object()\nprint(sys.getrefcount(x))",
    "frames": "import sys, inspect, traceback\ndef f(): print([i.function for i in inspect.stack()]); traceback.print_stack()\nf()",
    "all frames": "import sys, threading\nprint(len(sys._current_frames()), threading.active_count(), threading.enumerate())",
    "faulthandler": "import faulthandler, sys\ndef f(): faulthandler.dump_traceback()\nf()",
    "alarm": "import signal\ndef h(n, f): print('alarm', n, f.f_code.co_name)\nsignal.signal(signal.SIGALRM, h)\n"
    "signal.setitimer(signal.ITIMER_REAL, .1)\nsignal.pause(); print('done', signal.getsignal(signal.SIGALRM) is h)",
    "sigchld": "import signal, os, time\ngot = []\nsignal.signal(signal.SIGCHLD, lambda n, f: got.append(n))\n"
    "if not os.fork(): os._exit(0)\nwhile not got: time.sleep(.01)\nprint(got, os.wait()[1])",
    "signal defaults": "import signal\nfor n in sorted(signal.valid_signals()): print(n, signal.getsignal(n))\n"
    "print(signal.pthread_sigmask(signal.SIG_BLOCK, []), signal.sigpending(), signal.getitimer(0))",
    "limits": "import resource\nfor n in sorted(x for x in dir(resource) if x.startswith('RLIMIT')):\n"
    "  print(n, resource.getrlimit(getattr(resource, n)))",
    "children": "import resource, os\ntry: print(os.wait())\nexcept ChildProcessError as e: print(e)",
    "memory limit": "import resource\nresource.setrlimit(resource.RLIMIT_AS, (3 << 28, 3 << 28))\n"
    "try: x = bytearray(1 << 30)\nexcept MemoryError as e: print('MemoryError', e)\ny = [bytes(100) for _ in range(1000)]",
    "interactive code": "import code\nc = code.InteractiveInterpreter()\nc.runsource('1/0')",
    "exec": "exec(compile('def f():\\n return 1/0\\nf()', '<made>', 'exec'))",
    "unusual code names": "exec(compile('x = [bytes(99) for _ in range(99)]', '\\udcff\\0 odd', 'exec'))\nprint(len(x))",
    "import hooks": "import sys\nclass F:\n  def find_spec(self, n, p, t=None): print('find', n)\nsys.meta_path.insert(0, F())\n"
    "try: import nothing_there\nexcept ImportError as e: print(e)\nimport json",
    "audit": "import sys\nseen = []\nsys.addaudithook(lambda e, a: seen.append(e))\nopen('program.py').close(); exec('1')\n"
    "print(seen)",
}


@pytest.mark.parametrize("name", TOOLS)
def test_tools(stage: Stage, name: str) -> None:
    stage.code(TOOLS[name]).same()
    stage.sound(complete=name not in {"tracemalloc stop"})


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
