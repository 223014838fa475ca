"""The native engine's tests under AddressSanitizer and UndefinedBehaviorSanitizer.

``python -m tools.sanitize [PYTEST ARGUMENTS]`` builds the extensions with both sanitizers, warnings as
errors, and the engine's own check of every call path into a copy of the package in a temporary folder, and
runs tests there (default: ``TESTS``) with the interpreter that runs this script. Exit status: that of pytest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("tracekit", "tests", "tools", "sample_traces", "schemas", "benchmarks", "docs")
FILES = ("setup.py", "pyproject.toml", "README.md", "LICENSE")
TESTS = (
    "tests/contract/test_collector_state.py",
    "tests/contract/test_exact.py",
    "tests/contract/test_marks.py",
    "tests/contract/test_native.py",
    "tests/contract/test_pools.py",
    "tests/contract/test_record_ends.py",
    "tests/property/test_record_fold.py",
    "tests/property/test_log_codec.py",
    "tests/property/test_log_lifetimes.py",
    "tests/property/test_simulator_fast.py",
    "tests/unit/test_record_decode.py",
)
CHOSEN = "not portable and not realloc_that_fails and not memory_that_fails"
"""The latter two limit their address space, of which a sanitizer takes most."""

FLAGS = (
    "-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -DTK_CHECK_STACKS -Werror"
)


def runtime(name: str) -> str:
    """Path of a sanitizer's library, which has to be loaded before Python."""
    command = [os.environ.get("CC", "gcc"), f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def copy(to: Path) -> None:
    """The tree without what was built from it."""
    nothing_built = shutil.ignore_patterns("*.so", "__pycache__", "results")
    for name in COPIED:
        shutil.copytree(ROOT / name, to / name, ignore=nothing_built)
    for name in FILES:
        shutil.copy2(ROOT / name, to / name)


def build(tree: Path) -> None:
    """Compile the extensions in place. Raises CalledProcessError when that brings a warning."""
    subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=tree,
        env=os.environ
        | {"CFLAGS": FLAGS, "LDFLAGS": "-fsanitize=address,undefined", "TRACEKIT_REQUIRE_NATIVE": "1"},
        check=True,
    )


def interpreter(tree: Path) -> Path:
    """A Python that finds the copy, and everything else where this one does.

    Tests start programs with environments of their own, so a variable would not do.
    """
    venv.create(tree / "venv", symlinks=True)
    python = tree / "venv" / "bin" / "python"
    packages = f"lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    paths = [str(tree), *(entry for entry in sys.path if entry.endswith("site-packages"))]
    (tree / "venv" / packages / "copy.pth").write_text("\n".join(paths) + "\n")
    return python


def main(arguments: list[str]) -> int:
    """Build and test; the exit status."""
    with tempfile.TemporaryDirectory(prefix="tracekit-sanitize-") as folder:
        tree = Path(folder)
        copy(tree)
        build(tree)
        python = interpreter(tree)
        # Python never frees some memory on purpose, so leaks say nothing.
        environment = os.environ | {
            "LD_PRELOAD": f"{runtime('libasan.so')} {runtime('libubsan.so')}",
            "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1:handle_segv=0:allocator_may_return_null=1",
            "UBSAN_OPTIONS": "print_stacktrace=1:abort_on_error=1",
        }
        tests = arguments or [*TESTS, "-k", CHOSEN]
        command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-n", "2", *tests]
        return subprocess.run(command, cwd=tree, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
