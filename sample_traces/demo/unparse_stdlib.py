"""Parses the standard library's own sources and prints them back, as a code formatter would.

Every function is looked up by its text in a cache, so that one which occurs twice is printed once. The cache
is never emptied. The number of modules is the only argument (default 40).
"""

import ast
import sys
import sysconfig
from pathlib import Path

import tracekit

CACHE: dict[str, str] = {}


Function = ast.FunctionDef | ast.AsyncFunctionDef


def functions(tree: ast.Module) -> list[Function]:
    return [node for node in ast.walk(tree) if isinstance(node, Function)]


def unparse(source: str) -> int:
    tree = ast.parse(source)
    lines = source.splitlines()
    size = 0
    for function in functions(tree):
        key = "\n".join(lines[function.lineno - 1 : function.end_lineno])
        if key not in CACHE:
            CACHE[key] = ast.unparse(function)
        size += len(CACHE[key])
    return size


def main() -> None:
    wanted = int(sys.argv[1]) if len(sys.argv) > 1 else 40
    modules = sorted(Path(sysconfig.get_path("stdlib")).glob("*.py"))[:wanted]
    size = 0
    for number, module in enumerate(modules):
        if number == wanted // 4:
            tracekit.mark("quarter")
        size += unparse(module.read_text(encoding="utf-8"))
    tracekit.mark("done")
    print(f"{len(modules)} modules, {len(CACHE)} functions, {size:,} characters")


main()
