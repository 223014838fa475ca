"""What differs between runs of a module with and without the recorder, and whether it is explained."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from tools.regrtest.run import Outcome

STATUS: Final = "(exit status)"
RESULT: Final = "(result)"
RECORDING: Final = "(recording)"
NOT_RUN: Final = "not run"
IN_ORDER: Final = "in order"

Pairs = list[tuple[Outcome, Outcome]]


class Kind(StrEnum):
    """What a finding is.

    DIFFERS: the recorder changes the outcome, every time. Once is enough for a crash, a timeout or a bad
    recording.
    UNSTEADY: without the recorder always the same, with it not in every round.
    FLAKY: not even without the recorder always the same.
    """

    DIFFERS = "differs"
    UNSTEADY = "unsteady"
    FLAKY = "flaky"


@dataclass(frozen=True)
class Known:
    """A difference whose cause is known. ``module``, ``tests`` and ``recorded`` are regular expressions."""

    module: str
    tests: str
    cause: str
    versions: tuple[str, ...]
    engines: tuple[str, ...]
    recorded: str = ".*"

    def covers(self, version: str, engine: str, module: str) -> bool:
        """Whether this is about a module under an interpreter (its full version) and an engine."""
        return (
            version.rpartition(".")[0] in self.versions
            and engine in self.engines
            and re.fullmatch(self.module, module) is not None
        )

    def explains(self, finding: Finding) -> bool:
        """Whether a finding is this difference."""
        return (
            self.covers(finding.version, finding.engine, finding.module)
            and re.fullmatch(self.tests, finding.test) is not None
            and all(
                re.fullmatch(self.recorded, after)
                for before, after in zip(finding.plain, finding.recorded, strict=True)
                if before != after
            )
        )


@dataclass(frozen=True)
class Finding:
    """A test (or the exit status, the result line, the recording) that was not the same in some round.

    ``plain`` and ``recorded`` have an outcome for every round.
    """

    version: str
    engine: str
    module: str
    test: str
    kind: Kind
    plain: tuple[str, ...]
    recorded: tuple[str, ...]
    reason: str = ""
    known: Known | None = None


@dataclass(frozen=True)
class Verdict:
    """What came of one module under one interpreter."""

    version: str
    module: str
    pairs: Pairs
    findings: list[Finding] = field(default_factory=list)

    @property
    def word(self) -> str:
        """The worst of the findings, in a word."""
        kinds = {finding.kind for finding in self.findings if finding.known is None}
        for kind in Kind:
            if kind in kinds:
                return str(kind)
        if any(finding.known is not None for finding in self.findings):
            return "known"
        return "same"


def differs(plain: Outcome, recorded: Outcome) -> bool:
    """Whether two runs of a module differ in anything that counts."""
    return _facts(plain) != _facts(recorded)


def judge(version: str, pairs: Pairs, known: list[Known]) -> Verdict:
    """The verdict on a module from all its rounds, of which there is at least one."""
    rounds = [(_facts(plain), _facts(recorded)) for plain, recorded in pairs]
    names = {name for pair in rounds for facts in pair for name in facts}
    changed = sorted(n for n in names if any(before.get(n) != after.get(n) for before, after in rounds))
    # A failed test changes the exit status and the result line; that is not one more difference.
    consequences = {STATUS, RESULT} if any(not name.startswith("(") for name in changed) else set()
    findings = []
    for name in changed:
        plain = tuple(before.get(name, NOT_RUN) for before, _ in rounds)
        recorded = tuple(after.get(name, NOT_RUN) for _, after in rounds)
        if name in consequences and not any(_grave(name, text) for text in recorded):
            continue
        finding = Finding(
            version=version,
            engine=pairs[0][1].engine,
            module=pairs[0][0].module,
            test=name,
            kind=_kind(name, plain, recorded),
            plain=plain,
            recorded=recorded,
            reason=next((r.reasons[name] for _, r in reversed(pairs) if name in r.reasons), ""),
        )
        cause = next((entry for entry in known if entry.explains(finding)), None)
        findings.append(Finding(**(vars(finding) | {"known": cause})))
    return Verdict(version, pairs[0][0].module, pairs, findings)


def load_known(path: Path) -> list[Known]:
    """The differences whose cause is known. Raises ValueError for an entry that is not in order."""
    entries = []
    for row in tomllib.loads(path.read_text(encoding="utf-8")).get("difference", []):
        try:
            row["versions"], row["engines"] = tuple(row["versions"]), tuple(row["engines"])
            entry = Known(**row)
            for pattern in (entry.module, entry.tests, entry.recorded):
                re.compile(pattern)
        except (TypeError, KeyError, re.error) as error:
            raise ValueError(f"{path.name}: {row}: {error}") from error
        entries.append(entry)
    return entries


def _facts(outcome: Outcome) -> dict[str, str]:
    return {
        STATUS: outcome.status,
        RESULT: outcome.result,
        RECORDING: _recording(outcome) if outcome.log else IN_ORDER,
        **outcome.tests,
    }


def _recording(outcome: Outcome) -> str:
    problem, damage = outcome.log.get("problem"), outcome.log.get("verify")
    if problem:
        return str(problem)
    if damage:
        return f"damaged: {damage}"
    if not outcome.log.get("complete"):
        return f"not complete, notices {outcome.log.get('notices')}"
    return IN_ORDER


def _grave(name: str, outcome: str) -> bool:
    """Whether once is too often: a death, a hang, a recording that is not one."""
    return (name == STATUS and not re.fullmatch("exit [02345]", outcome)) or (
        name == RECORDING and outcome != IN_ORDER
    )


def _kind(name: str, plain: tuple[str, ...], recorded: tuple[str, ...]) -> Kind:
    if any(_grave(name, text) for text in recorded) and not any(_grave(name, text) for text in plain):
        return Kind.DIFFERS
    if len(set(plain)) > 1:
        return Kind.FLAKY
    if all(before != after for before, after in zip(plain, recorded, strict=True)):
        return Kind.DIFFERS
    return Kind.UNSTEADY
