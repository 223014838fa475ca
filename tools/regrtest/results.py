"""Results of runs, kept as they come in a file of JSON lines, so that a session can be continued."""

from __future__ import annotations

import dataclasses
import json
import threading
from pathlib import Path

from tools.regrtest.run import PLAIN, Outcome

Key = tuple[str, str, str, int]
"""Python version, module, engine, round."""


class Results:
    """All outcomes of a session by key, and the file that they are in. Threads may add at the same time.

    ``keep_engines``: outcomes of these engines that the file already holds are kept, the others dropped; None
    keeps all.
    """

    def __init__(self, path: Path, keep_engines: set[str] | None) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._outcomes: dict[Key, Outcome] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
        for line in lines:
            try:
                version, outcome = _from_json(json.loads(line))
            except (ValueError, KeyError, TypeError):  # the last line of a session that was killed
                continue
            if keep_engines is None or outcome.engine in keep_engines:
                self._outcomes[_key(version, outcome)] = outcome
        with path.open("w", encoding="utf-8") as file:
            for key, outcome in self._outcomes.items():
                file.write(_to_line(key[0], outcome))

    def add(self, version: str, outcome: Outcome) -> None:
        """Keep an outcome; one with the same key is replaced."""
        with self._lock, self._path.open("a", encoding="utf-8") as file:
            file.write(_to_line(version, outcome))
            self._outcomes[_key(version, outcome)] = outcome

    def get(self, version: str, module: str, engine: str, turn: int = 0) -> Outcome | None:
        """The outcome of one run, if it is there."""
        return self._outcomes.get((version, module, engine, turn))

    def rounds(self, version: str, module: str, engine: str) -> list[tuple[Outcome, Outcome]]:
        """The (plain, recorded) pairs of a module that are complete, in the order of their rounds."""
        pairs: list[tuple[Outcome, Outcome]] = []
        while True:
            plain = self.get(version, module, PLAIN, len(pairs))
            recorded = self.get(version, module, engine, len(pairs))
            if plain is None or recorded is None:
                return pairs
            pairs.append((plain, recorded))


def _key(version: str, outcome: Outcome) -> Key:
    return version, outcome.module, outcome.engine, outcome.round


def _to_line(version: str, outcome: Outcome) -> str:
    by_outcome: dict[str, list[str]] = {}
    for test, text in outcome.tests.items():
        by_outcome.setdefault(text, []).append(test)
    return json.dumps({"python": version} | dataclasses.asdict(outcome) | {"tests": by_outcome}) + "\n"


def _from_json(row: dict[str, object]) -> tuple[str, Outcome]:
    version, by_outcome = row.pop("python"), row.pop("tests")
    if not isinstance(version, str) or not isinstance(by_outcome, dict):
        raise TypeError("not a result")
    tests = {test: text for text, tests in by_outcome.items() for test in tests}
    return version, Outcome(tests=tests, **row)  # type: ignore[arg-type]
