"""Records the demo's job under valgrind: ``python -m tools.memcheck [MODULES]``.

Both processes run under memcheck, the program and the recorder. CPython and the libraries have findings of
their own; what counts is every error with one of our C functions in its call stack. Exit status: 0 when there
is none, 1 when there is, 2 when nothing could be checked.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
JOB = ROOT / "sample_traces" / "demo" / "unparse_stdlib.py"
SOURCES = {path.name for path in (ROOT / "tracekit" / "_native").glob("*.[ch]")}
FRAME = re.compile(r"\((?:([\w.]+):\d+|in [^)]*?([^/)]+))\)$")
LINE = re.compile(r"^==\d+== ?")


def errors(log: str) -> list[str]:
    """The errors of one process, each with its call stack."""
    text = "\n".join(LINE.sub("", line) for line in log.splitlines())
    return [part for part in text.split("\n\n") if re.search(r"^ +at 0x", part, re.MULTILINE)]


def is_ours(error: str) -> bool:
    """Whether the call stack passes through one of our functions."""
    found = [FRAME.search(line) for line in error.splitlines()]
    names = {name for match in found if match for name in match.groups() if name}
    return any(name in SOURCES or name.startswith(("_engine.", "_kernels.")) for name in names)


def main(arguments: list[str]) -> int:
    """Run it and report."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        print("valgrind is not installed", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="tracekit-memcheck-") as folder:
        command = [valgrind, "--trace-children=yes", f"--log-file={folder}/%p.log", "--error-limit=no"]
        command += [f"--suppressions={ROOT / 'tools' / 'valgrind.supp'}", sys.executable, "-m", "tracekit"]
        command += ["record", "-q", "--engine", "native", "-o", f"{folder}/job.tkt", str(JOB)]
        done = subprocess.run([*command, *(arguments or ["2"])], check=False)
        logs = [path.read_text(errors="replace") for path in Path(folder).glob("*.log")]
        verified = subprocess.run(
            [sys.executable, "-m", "tracekit", "verify", f"{folder}/job.tkt"], check=False
        )
    if done.returncode or verified.returncode or not any("ERROR SUMMARY" in log for log in logs):
        print("the job could not be recorded under valgrind", file=sys.stderr)
        return 2
    found = [error for log in logs for error in errors(log)]
    ours = [error for error in found if is_ours(error)]
    print("\n\n".join(ours), file=sys.stderr)
    print(f"{len(logs)} processes, {len(found)} findings, {len(ours)} of them ours")
    return int(bool(ours))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
