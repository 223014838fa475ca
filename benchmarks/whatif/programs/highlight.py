"""Pygments (https://pypi.org/project/Pygments/) turns modules of the standard library into web pages."""

import sysconfig
from pathlib import Path

from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

formatter = HtmlFormatter(linenos="table", full=True)
for module in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:8]:
    highlight(module.read_text(encoding="utf-8"), PythonLexer(), formatter)
