"""One test module in one process, with or without the recorder, and what came of it.

The module runs as ``python -m test MODULE`` in a folder of its own, with an environment that is the same
every time. Never with ``-j``: that makes regrtest run the module in a child process, which is not recorded.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

PLAIN: Final = "plain"
"""The name that stands for "no engine" in results."""

ABORT_SECONDS: Final = 5.0
"""How long a process that is out of time may take to say where it is before it is killed."""

MODULE: Final = "(module)"
"""The key of a reason that is about the whole module."""

TAIL_CHARACTERS: Final = 4000
REASON_CHARACTERS: Final = 400

REGRTEST_OPTIONS: Final = ("-v", "--fail-env-changed", "--randseed", "1")
RESULT_LINE: Final = re.compile(r"^(?:Tests result|Result): (.+)$", re.MULTILINE)
SUBTEST_LINE: Final = re.compile(r"^(FAIL|ERROR): \S+ \(([\w.]+)\) ([\[(].*)$", re.MULTILINE)
MODULE_SKIPPED: Final = re.compile(r"^test\S* skipped -- (.+)$", re.MULTILINE)
TEST_SKIPPED: Final = re.compile(r"\.\.\. skipped ['\"](.+)['\"]$", re.MULTILINE)
MODULE_MISSING: Final = re.compile(
    r"^(?:ModuleNotFoundError: No module named 'test\.|FileNotFoundError: .*/test/test_)", re.MULTILINE
)
CHANGING: Final = (
    (re.compile(r"0x[0-9a-fA-F]+"), "0x..."),
    (re.compile(r"@test_\d+_tmp\w*"), "@test_tmp"),
    (re.compile(r"test_python_\d+\w*"), "test_python"),
    (re.compile(r"/\S*tkrt-[\w]{8}"), "TMP"),
)


_running: Final[set[int]] = set()
_stopped: Final = threading.Event()


@dataclass(frozen=True)
class Outcome:
    """What one run of one module gave.

    ``status`` is how the process ended, ``result`` regrtest's own last line, ``tests`` the outcome of every
    test by its name, ``seconds`` the wall time of the whole process. ``log`` is what ``tracekit info`` and
    ``verify`` say of the recording; empty for a plain run.
    """

    module: str
    engine: str
    round: int
    status: str
    result: str
    tests: dict[str, str]
    seconds: float
    reasons: dict[str, str] = field(default_factory=dict)
    log: dict[str, object] = field(default_factory=dict)
    tail: str = ""

    @property
    def ran(self) -> bool:
        """Whether a test ran at all: the module is there, could be imported and is for this machine."""
        return self.status != "timeout" and any(o != "skipped" for o in self.tests.values())


@dataclass(frozen=True)
class Settings:
    """What all runs of a session share.

    ``timeout`` is in seconds of wall time, for one process; ``left_out`` has patterns of tests by module, as
    regrtest's option ``--ignore`` takes them.
    """

    python: Path
    engine: str
    timeout: float
    verify: bool
    left_out: Mapping[str, Sequence[str]] = field(default_factory=dict)


def run_module(settings: Settings, module: str, *, recorded: bool, turn: int = 0) -> Outcome:
    """Run one module once, in a new temporary folder that is removed afterwards."""
    # The name is short because tests make sockets in there, whose path may have 107 bytes.
    with tempfile.TemporaryDirectory(prefix="tkrt-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        for part in ("home", "tmp", "cwd"):
            (folder / part).mkdir()
        log = folder / "run.tkt"
        command = [str(settings.python)]
        if recorded:
            command += ["-m", "tracekit", "record", "-q", "--engine", settings.engine, "-o", str(log)]
        command += ["-m", "test", *REGRTEST_OPTIONS, "--tempdir", str(folder / "tmp")]
        command += ["--junit-xml", str(folder / "tests.xml")]
        command += [f"--ignore={pattern}" for pattern in settings.left_out.get(module, ())]
        command += [module]
        started = time.monotonic()
        status = _run(command, folder, settings.timeout)
        seconds = time.monotonic() - started
        output = (folder / "output").read_text(encoding="utf-8", errors="replace")
        tests, reasons = _tests(folder / "tests.xml", output)
        found = RESULT_LINE.findall(output)
        outcome = Outcome(
            module=module,
            engine=settings.engine if recorded else PLAIN,
            round=turn,
            status=status,
            result=found[-1].strip() if found else "none",
            tests=tests,
            seconds=round(seconds, 2),
            reasons=reasons,
            log=_log_facts(settings, log) if recorded else {},
            tail="" if status == "exit 0" else output[-TAIL_CHARACTERS:],
        )
        if not outcome.ran:
            outcome.reasons[MODULE] = _why_not(outcome, folder / "tests.xml", output)
        return outcome


def _why_not(outcome: Outcome, report: Path, output: str) -> str:
    """Why no test of a module ran, in a line."""
    if outcome.status == "timeout":
        return f"not done after {outcome.seconds:.0f} s"
    skipped = MODULE_SKIPPED.findall(output) or TEST_SKIPPED.findall(output)
    if skipped:
        return str(skipped[-1])
    reasons = collections.Counter(reason for _, _, reason in _reported(report))
    if reasons:
        return reasons.most_common(1)[0][0][:REASON_CHARACTERS]
    missing = MODULE_MISSING.search(output)
    if missing:
        return "not in this installation of CPython"
    return (output.strip().splitlines() or [outcome.status])[-1][:REASON_CHARACTERS]


def _environment(folder: Path) -> dict[str, str]:
    """The same for every run but for the folder. No HASHSEED: regrtest of some versions sets its own."""
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder / "home"),
        "TMPDIR": str(folder / "tmp"),
        "LANG": "C.UTF-8",
        "PYTHONHASHSEED": "0",
    }


def _run(command: list[str], folder: Path, timeout: float) -> str:
    """Start the command in a session of its own, wait, and leave none of that session behind."""
    _refuse_when_stopped()
    # A file, not a pipe: a process that a test left behind would keep a pipe open.
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            cwd=folder / "cwd",
            env=_environment(folder),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        _running.add(process.pid)
        try:
            status = process.wait(timeout)
            text = f"exit {status}" if status >= 0 else f"signal {signal.Signals(-status).name}"
        except subprocess.TimeoutExpired:
            text = "timeout"
            # regrtest has faulthandler on: it says where every thread is.
            _signal_group(process.pid, signal.SIGABRT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(ABORT_SECONDS)
        finally:
            _signal_group(process.pid, signal.SIGKILL)
            process.wait()
            _running.discard(process.pid)
    _refuse_when_stopped()
    return text


def stop() -> None:
    """End what runs now, in all threads, and let nothing start any more: runs raise KeyboardInterrupt."""
    _stopped.set()
    for group in list(_running):
        _signal_group(group, signal.SIGKILL)


def _refuse_when_stopped() -> None:
    if _stopped.is_set():
        raise KeyboardInterrupt


def _signal_group(group: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _steady(text: str) -> str:
    for pattern, replacement in CHANGING:
        text = pattern.sub(replacement, text)
    return text


def _tests(report: Path, output: str) -> tuple[dict[str, str], dict[str, str]]:
    """Outcomes by test, and the reasons of those that failed.

    They are in regrtest's JUnit report, but for the subtests that failed: those are in the output only. A
    name that comes more than once has its outcomes joined by commas.
    """
    outcomes: dict[str, list[str]] = {}
    reasons: dict[str, str] = {}
    for name, outcome, reason in [*_reported(report), *_failed_subtests(output)]:
        outcomes.setdefault(name, []).append(outcome)
        if reason and outcome in ("error", "failure"):
            reasons[name] = reason[-REASON_CHARACTERS:]
    return {name: ",".join(sorted(several)) for name, several in outcomes.items()}, reasons


def _reported(report: Path) -> Iterator[tuple[str, str, str]]:
    try:
        root = ET.parse(report).getroot()  # noqa: S314 - written by the run itself
    except (OSError, ET.ParseError):  # the process died before it wrote one
        return
    for case in root.iter("testcase"):
        # One with failed subtests has no attributes at all.
        name = _steady(case.get("name", "")) or "a test with failed subtests"
        outcome, reason = "ok", ""
        for tag in ("error", "failure", "skipped", "output", "outcome"):
            part = case.find(tag)
            if part is not None:
                outcome = {"output": "expected failure", "outcome": "unexpected success"}.get(tag, tag)
                reason = part.get("message") or part.text or ""
                break
        else:
            outcome = "ok" if case.get("name") else "failure"
        yield name, outcome, reason.strip()


def _failed_subtests(output: str) -> Iterator[tuple[str, str, str]]:
    for kind, test, description in SUBTEST_LINE.findall(output):
        yield f"{test} {_steady(description)}", "failure" if kind == "FAIL" else "error", ""


def _log_facts(settings: Settings, log: Path) -> dict[str, object]:
    """That there is a recording, what it holds, and whether it is in order."""
    if not log.exists():
        return {"problem": "no log"}
    facts: dict[str, object] = {"log_bytes": log.stat().st_size}
    info = _tracekit(settings, "info", log)
    if not isinstance(info, dict):
        return facts | {"problem": f"tracekit info: {info}"}
    facts |= {key: info[key] for key in ("events", "complete", "engine", "duration_s") if key in info}
    notices = info.get("notices")
    facts["notices"] = [notice["code"] for notice in notices] if isinstance(notices, list) else []
    if settings.verify:
        answer = _tracekit(settings, "verify", log)
        if not isinstance(answer, dict):
            return facts | {"problem": f"tracekit verify: {answer}"}
        facts["verify"] = answer.get("problems", [])
    return facts


def _tracekit(settings: Settings, command: str, log: Path) -> dict[str, object] | str:
    """The JSON that a command prints, or what it said instead."""
    try:
        done = subprocess.run(
            [settings.python, "-m", "tracekit", command, log, "--json"],
            capture_output=True,
            check=False,
            text=True,
            timeout=settings.timeout,
        )
    except subprocess.TimeoutExpired:
        return "timeout"
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        return (done.stderr or done.stdout).strip()[-REASON_CHARACTERS:]
    return answer if isinstance(answer, dict) else str(answer)
