"""Pylint (https://pypi.org/project/pylint/) checks a module of the standard library."""

import io
import os
import sysconfig
import tempfile
from pathlib import Path

# Pylint keeps files in a folder of its own, and reads settings from where it runs and from the user's home.
os.environ["PYLINTHOME"] = tempfile.gettempdir()

from pylint.lint import Run
from pylint.reporters.text import TextReporter

module = Path(sysconfig.get_path("stdlib")) / "textwrap.py"
options = ["--rcfile=/dev/null", "--persistent=n", "--jobs=1", "--score=n"]
Run([*options, str(module)], reporter=TextReporter(io.StringIO()), exit=False)
