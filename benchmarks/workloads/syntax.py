"""Parses and unparses modules of the standard library."""

import ast
import sysconfig
from pathlib import Path

for module in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:250]:
    ast.unparse(ast.parse(module.read_text(encoding="utf-8")))
