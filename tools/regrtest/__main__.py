"""Runs CPython's own regression tests with and without the recorder, and compares.

Exits 0 when the recorder changes nothing that is not explained in known.toml, 1 when it does, 2 when nothing
could be compared.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tools.regrtest import interpreters, run
from tools.regrtest.compare import Known, differs, judge, load_known
from tools.regrtest.report import Session, report
from tools.regrtest.results import Results
from tools.regrtest.run import PLAIN, Outcome, Settings

HERE = Path(__file__).resolve().parent
ROUNDS = 3


def module_names(*, fast: bool) -> list[str]:
    """The modules of modules.txt, all or those of the fast subset."""
    lines = [line.split() for line in (HERE / "modules.txt").read_text(encoding="utf-8").splitlines()]
    chosen = [words for words in lines if words and not words[0].startswith("#")]
    return [words[-1] for words in chosen if not fast or words[0] == "*"]


def left_out() -> dict[str, list[str]]:
    """Patterns of tests to leave out, by module, from left_out.txt."""
    lines = (HERE / "left_out.txt").read_text(encoding="utf-8").splitlines()
    patterns: dict[str, list[str]] = {}
    for words in (line.split() for line in lines if not line.startswith("#")):
        if words:
            patterns.setdefault(words[0], []).append(words[1])
    return patterns


@dataclass
class Runner:
    """Runs the modules of one interpreter, as far as the results are not there yet."""

    settings: Settings
    version: str
    results: Results
    jobs: int
    known: list[Known]
    plain_only: bool

    def run(self, modules: list[str]) -> Session:
        """One round of all modules, then two more, one module at a time, of those that differed."""
        session = Session(self.version, self.settings.engine)
        with ThreadPoolExecutor(self.jobs) as pool:
            try:
                for done, module in enumerate(pool.map(self._compare, modules), 1):
                    print(f"[{done:3}/{len(modules)}] {self.version} {self._line(module)}", flush=True)
            except BaseException:
                run.stop()
                raise
        for module in modules:
            pairs = self.results.rounds(self.version, module, self.settings.engine)
            if any(differs(*pair) for pair in pairs):
                for turn in range(1, ROUNDS):
                    self._compare(module, turn)
                print(f"[again  ] {self.version} {self._line(module)}", flush=True)
        for module in modules:
            plain = self._plain(module)
            pairs = self.results.rounds(self.version, module, self.settings.engine)
            session.plain.append(plain)
            if plain.ran and pairs:
                session.verdicts.append(judge(self.version, pairs, self.known))
        return session

    def _plain(self, module: str) -> Outcome:
        outcome = self.results.get(self.version, module, PLAIN)
        if outcome is None:
            raise LookupError(module)
        return outcome

    def _compare(self, module: str, turn: int = 0) -> str:
        plain = self._once(module, turn, recorded=False)
        if plain.ran and not self.plain_only:
            self._once(module, turn, recorded=True)
        return module

    def _once(self, module: str, turn: int, *, recorded: bool) -> Outcome:
        engine = self.settings.engine if recorded else PLAIN
        outcome = self.results.get(self.version, module, engine, turn)
        if outcome is None:
            outcome = run.run_module(self.settings, module, recorded=recorded, turn=turn)
            self.results.add(self.version, outcome)
        return outcome

    def _line(self, module: str) -> str:
        plain = self._plain(module)
        if not plain.ran:
            return f"{module}: cannot run here: {plain.reasons.get(run.MODULE, plain.status)}"
        pairs = self.results.rounds(self.version, module, self.settings.engine)
        if not pairs:
            return f"{module}: {plain.status}, {len(plain.tests)} tests, {plain.seconds:.1f} s"
        said = ["differs" if differs(*pair) else "same" for pair in pairs]
        recorded = pairs[0][1]
        return (
            f"{module}: {', '.join(said)}; {len(plain.tests)} tests, {plain.status}, {plain.seconds:.1f} s; "
            f"recorded {recorded.status}, {recorded.seconds:.1f} s, {recorded.log.get('events', 'no')} events"
        )


def arguments() -> argparse.Namespace:
    """What is to be done."""
    parser = argparse.ArgumentParser(prog="python -m tools.regrtest", description=__doc__)
    parser.add_argument(
        "--python", action="append", metavar="PATH", help="an interpreter; default: all found"
    )
    parser.add_argument("--engine", default="auto", help="engine to record with (default: auto)")
    parser.add_argument("--modules", nargs="+", metavar="MODULE", help="default: those of modules.txt")
    parser.add_argument("--fast", action="store_true", help="the subset that is marked in modules.txt")
    parser.add_argument("--jobs", type=int, default=min(2, os.cpu_count() or 1), help="modules side by side")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one process (default: 300)")
    parser.add_argument("--verify", action="store_true", help="check every log with 'tracekit verify', too")
    parser.add_argument("--plain-only", action="store_true", help="run without the recorder only")
    parser.add_argument("--resume", action="store_true", help="keep all results that are there")
    parser.add_argument("--baseline", action="store_true", help="keep the results without the recorder")
    parser.add_argument("--no-install", action="store_true", help="use the environments as they are")
    parser.add_argument("--folder", type=Path, default=Path(".regrtest"), help="default: .regrtest")
    return parser.parse_args()


def sessions(options: argparse.Namespace, known: list[Known]) -> list[Session]:
    """Run what is asked for, interpreter after interpreter, and judge it."""
    if options.python:
        chosen = [
            interpreters.probe(path) or _fail(f"{path} is no CPython with tests") for path in options.python
        ]
    else:
        chosen = interpreters.found()
    modules = options.modules or module_names(fast=options.fast)
    keep = None if options.resume else {PLAIN} if options.baseline else set()
    results = Results(options.folder / "results.jsonl", keep)
    pythons = [
        interpreters.environment(one, options.folder, install=not options.no_install) for one in chosen
    ]
    done = []
    for interpreter, python in zip(chosen, pythons, strict=True):
        settings = Settings(python, options.engine, options.timeout, options.verify, left_out())
        runner = Runner(settings, interpreter.version, results, options.jobs, known, options.plain_only)
        done.append(runner.run(modules))
    return done


def _fail(message: str) -> NoReturn:
    print(f"regrtest: {message}", file=sys.stderr)
    raise SystemExit(2)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _ignore(_number: int, _frame: FrameType | None) -> None:
    """Do nothing, as SIG_IGN does, but without being inherited."""


def _guard_signals() -> None:
    """SIGTERM ends the session in order. What nohup or ``&`` makes us ignore, we alone ignore.

    Tests need the default action, and programs inherit that a signal is ignored.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, _ignore)
    signal.signal(signal.SIGTERM, _interrupt)


def main() -> int:
    """Run, report, and say by the exit status whether the recorder is harmless."""
    _guard_signals()
    options = arguments()
    known = load_known(HERE / "known.toml")
    try:
        done = sessions(options, known)
    except subprocess.CalledProcessError as error:
        _fail(f"no environment to run in: {error}")
    except KeyboardInterrupt:
        print("regrtest: interrupted; --resume goes on from here", file=sys.stderr)
        return 130
    text = report(done, known)
    (options.folder / "report.md").write_text(text, encoding="utf-8")
    print(text)
    if not any(session.verdicts for session in done) and not options.plain_only:
        _fail("nothing was compared")
    return int(any(session.unexplained for session in done))


if __name__ == "__main__":
    sys.exit(main())
