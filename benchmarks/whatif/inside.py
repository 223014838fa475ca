"""Records a program that runs under other settings of the collector from its first line on.

    python inside.py OUTPUT THRESHOLD|off|default (SCRIPT | MODULE OF UNIT TESTS)

Every setting goes through the same calls. Free lists are empty when the recording begins, and a last
collection tells the cyclic garbage that is left at the end from what is alive.
"""

import contextlib
import gc
import os
import runpy
import sys
import unittest
from pathlib import Path

from tracekit.record.api import record


def run(program: str) -> object:
    """Run a program; what it leaves alive lives as long as the answer."""
    sys.argv = [program]
    if program.endswith(".py"):
        return runpy.run_path(program, run_name="__main__")
    return unittest.main(program, argv=sys.argv, exit=False, verbosity=0)


def main(output: str, setting: str, program: str) -> None:
    """Record one run; what the program prints goes nowhere."""
    first, *others = gc.get_threshold()
    threshold = int(setting) if setting.isdigit() else first
    change = gc.disable if setting == "off" else gc.enable
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        gc.collect()
        with record(output, engine="native"):
            gc.set_threshold(threshold, *others)
            change()
            kept = run(program)
            gc.collect()
            del kept


if __name__ == "__main__":
    main(*sys.argv[1:])
