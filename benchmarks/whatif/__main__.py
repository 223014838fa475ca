"""``python -m benchmarks.whatif``: real programs under other settings of the collector, simulated and real.

Each program is recorded under the default settings and simulated under others; then it runs under each of
these settings, recorded again, and the table says how far the two are apart.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from benchmarks.whatif.measure import NEEDS, PROGRAMS, program
from benchmarks.whatif.tables import Results, document

LATEST = Path(__file__).resolve().parents[1] / "results" / "whatif.json"


def main() -> int:
    """Measure, write both files, print the tables."""
    options = _options()
    results: Results = {}
    if options.keep and LATEST.exists():
        results = msgspec.json.decode(LATEST.read_bytes(), type=Results)
    with tempfile.TemporaryDirectory(prefix="tracekit-whatif-") as made:
        folder = options.logs or Path(made)
        for python in options.python:
            version = _ask(python, "import platform; print(platform.python_version())")
            mine = folder / version
            mine.mkdir(parents=True, exist_ok=True)
            for name in options.programs:
                if name in NEEDS and not _ask(python, f"import {NEEDS[name]}; print(1)"):
                    _say(f"{version} {name}: {NEEDS[name]} is not installed")
                    continue
                results.setdefault(version, {})[name] = program(python, name, options.settings, mine)
                _write(results)
                _say(f"{version} {name}: done")
    print(document(results))
    return 0


def _ask(python: str, code: str) -> str:
    answer = subprocess.run([python, "-c", code], capture_output=True, text=True, check=False)
    return answer.stdout.strip()


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _write(results: Results) -> None:
    LATEST.parent.mkdir(exist_ok=True)
    LATEST.write_bytes(msgspec.json.format(msgspec.json.encode(results), indent=1) + b"\n")
    LATEST.with_suffix(".md").write_text(document(results), encoding="utf-8")


def _list(text: str) -> list[str]:
    return text.split(",")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.whatif", description=__doc__)
    parser.add_argument("--programs", type=_list, default=list(PROGRAMS), help="names, with commas between")
    parser.add_argument("--settings", type=_list, default=["100", "10000", "50000", "off"])
    parser.add_argument("--python", action="append", help="an interpreter to run the programs (repeatable)")
    parser.add_argument("--logs", type=Path, help="folder to keep logs in, and to take them from")
    parser.add_argument("--keep", action="store_true", help="keep last time's figures of other programs")
    options = parser.parse_args()
    options.python = options.python or [sys.executable]
    if unknown := [name for name in options.programs if name not in PROGRAMS]:
        parser.error(f"there is no program {unknown[0]}: {', '.join(PROGRAMS)}")
    return options


if __name__ == "__main__":
    sys.exit(main())
