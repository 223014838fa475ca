"""The report of a session, in Markdown."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from tools.regrtest.compare import Finding, Known, Verdict
from tools.regrtest.run import MODULE, Outcome

WORDS = ("same", "known", "flaky", "unsteady", "differs")


@dataclass
class Session:
    """All that one interpreter gave: outcomes without the recorder, and verdicts on what was recorded."""

    version: str
    engine: str
    verdicts: list[Verdict] = field(default_factory=list)
    plain: list[Outcome] = field(default_factory=list)

    @property
    def cannot_run(self) -> list[Outcome]:
        """Modules of which no test runs here."""
        return [outcome for outcome in self.plain if not outcome.ran]

    @property
    def unexplained(self) -> int:
        """Modules that the recorder changes for no known cause."""
        return sum(verdict.word == "differs" for verdict in self.verdicts)


def report(sessions: Sequence[Session], known: Sequence[Known]) -> str:
    """The whole report."""
    parts = [
        "# CPython's regression tests with and without the recorder",
        _summary(sessions),
        _section("Differences", _findings(sessions, ("differs",))),
        _section("Differences whose cause is known", _findings(sessions, ("known",))),
        _section("Not the same in every round with the recorder", _findings(sessions, ("unsteady",))),
        _section(
            "Flaky: not the same in every round without the recorder either", _findings(sessions, ("flaky",))
        ),
        _section("Modules that cannot run here, recorder or not", _cannot_run(sessions)),
        _section("Tests that fail here with and without the recorder", _failing(sessions)),
        _section("Known differences that were not seen", _not_seen(sessions, known)),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [[str(cell).replace("|", "\\|").replace("\n", " ") for cell in row] for row in (head, *rows)]
    lines.insert(1, ["---"] * len(head))
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _section(title: str, table: str) -> str:
    return f"## {title}\n\n{table}" if table else ""


def _summary(sessions: Sequence[Session]) -> str:
    head = [
        "CPython",
        "engine",
        "modules",
        *WORDS,
        "cannot run",
        "tests",
        "events",
        "alone, s",
        "recorded, s",
    ]
    rows: list[list[object]] = []
    for session in sessions:
        words = Counter(verdict.word for verdict in session.verdicts)
        first = [verdict.pairs[0][1] for verdict in session.verdicts]
        engines = sorted({str(recorded.log.get("engine", "none")) for recorded in first})
        rows.append(
            [
                session.version,
                " ".join(engines) or session.engine,
                len(session.plain) - len(session.cannot_run),
                *(words[word] for word in WORDS),
                len(session.cannot_run),
                f"{sum(len(plain.tests) for plain in session.plain):,}",
                f"{sum(_number(recorded.log.get('events')) for recorded in first):,}",
                f"{sum(plain.seconds for plain in session.plain):.0f}",
                f"{sum(recorded.seconds for recorded in first):.0f}",
            ]
        )
    return _table(head, rows)


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _findings(sessions: Sequence[Session], words: Sequence[str]) -> str:
    """Tests with the same outcomes and cause share a row, and so do versions of CPython."""
    versions: dict[tuple[str, ...], list[str]] = {}
    for finding in _all_findings(sessions):
        if ("known" if finding.known else str(finding.kind)) in words:
            why = finding.known.cause if finding.known else finding.reason
            outcomes = ", ".join(finding.plain), ", ".join(finding.recorded)
            key = finding.module, finding.test.removeprefix(f"test.{finding.module}."), *outcomes, why
            versions.setdefault(key, []).append(finding.version)
    tests: dict[tuple[str, ...], list[str]] = {}
    for (module, test, *rest), where in versions.items():
        tests.setdefault((module, " ".join(where), *rest), []).append(test)
    rows = [
        [where, module, ", ".join(names), *rest] for (module, where, *rest), names in sorted(tests.items())
    ]
    return _table(["CPython", "module", "tests", "alone", "recorded", "cause"], rows) if rows else ""


def _all_findings(sessions: Sequence[Session]) -> Iterator[Finding]:
    for session in sessions:
        for verdict in session.verdicts:
            yield from verdict.findings


def _cannot_run(sessions: Sequence[Session]) -> str:
    versions: dict[tuple[str, str], list[str]] = {}
    for session in sessions:
        for outcome in session.cannot_run:
            key = outcome.module, outcome.reasons.get(MODULE, outcome.status)
            versions.setdefault(key, []).append(session.version)
    rows = [[module, " ".join(where), why] for (module, why), where in sorted(versions.items())]
    return _table(["module", "CPython", "why"], rows) if rows else ""


def _failing(sessions: Sequence[Session]) -> str:
    versions: dict[tuple[str, str], list[str]] = {}
    reasons: dict[tuple[str, str], str] = {}
    for session in sessions:
        differing = {(f.module, f.test) for verdict in session.verdicts for f in verdict.findings}
        for plain in session.plain:
            for test, outcome in plain.tests.items():
                key = plain.module, test
                if key not in differing and {"failure", "error"} & set(outcome.split(",")):
                    versions.setdefault(key, []).append(session.version)
                    reasons.setdefault(key, plain.reasons.get(test, ""))
    rows = [[*key, " ".join(where), reasons[key]] for key, where in sorted(versions.items())]
    return _table(["module", "test", "CPython", "reason"], rows) if rows else ""


def _not_seen(sessions: Sequence[Session], known: Sequence[Known]) -> str:
    """Entries that could have been met: a module of theirs ran, on their version, under their engine."""
    seen = {id(finding.known) for finding in _all_findings(sessions) if finding.known}
    rows = [
        [entry.module, entry.tests, entry.cause]
        for entry in known
        if id(entry) not in seen and any(_could_be_met(entry, session) for session in sessions)
    ]
    return _table(["module", "tests", "cause"], rows) if rows else ""


def _could_be_met(entry: Known, session: Session) -> bool:
    return any(entry.covers(session.version, session.engine, verdict.module) for verdict in session.verdicts)
