"""Pylint (https://pypi.org/project/pylint/) checks two modules of the standard library."""

import io
import os
import sysconfig
import tempfile
from pathlib import Path

# Pylint keeps files in a folder of its own, and reads settings from where it runs and from the user's home.
os.environ["PYLINTHOME"] = tempfile.gettempdir()

from pylint.lint import Run
from pylint.reporters.text import TextReporter

folder = Path(sysconfig.get_path("stdlib"))
modules = [str(folder / f"{name}.py") for name in ("sched", "bisect")]
options = ["--rcfile=/dev/null", "--persistent=n", "--jobs=1", "--score=n"]
Run([*options, *modules], reporter=TextReporter(io.StringIO()), exit=False)
