"""A parser: modules of the standard library to syntax trees and back."""

import ast
import sysconfig
from pathlib import Path

for module in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:40]:
    ast.unparse(ast.parse(module.read_text(encoding="utf-8")))
