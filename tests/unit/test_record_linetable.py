"""The decoder of co_linetable against co_lines() of the running interpreter."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

import pytest

from tracekit.record import linetable

MODULES = (
    "argparse ast asyncio.base_events asyncio.tasks base64 bisect calendar cmd collections configparser "
    "contextlib copy csv dataclasses datetime decimal difflib dis doctest email.message enum fractions "
    "functools getopt gzip heapq html.parser http.client inspect json.decoder logging numbers optparse "
    "pathlib pdb pickle pickletools pprint random re._parser shutil statistics string subprocess tarfile "
    "tempfile textwrap threading tokenize traceback typing unittest.case urllib.parse uuid weakref zipfile"
)


def codes(module: str) -> Iterator[CodeType]:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    waiting = [compile(Path(spec.origin).read_bytes(), spec.origin, "exec")]
    while waiting:
        code = waiting.pop()
        yield code
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]


@pytest.mark.parametrize("module", MODULES.split())
def test_equal_to_co_lines(module: str) -> None:
    for code in codes(module):
        wanted = [line for start, end, line in code.co_lines() for _ in range(start, end, 2)]
        found = [
            line
            for units, line in linetable.entries(code.co_linetable, code.co_firstlineno)
            for _ in range(units)
        ]
        assert found == wanted, code
        assert linetable.lines(code.co_linetable, code.co_firstlineno) == set(wanted) - {None}


def test_a_table_that_is_cut_gives_a_prefix() -> None:
    code = compile("x = [\n" + " 1,\n" * 300 + "]\ndef f():\n  return 2\n", "f", "exec")
    whole = list(linetable.entries(code.co_linetable, code.co_firstlineno))
    for length in range(len(code.co_linetable)):
        part = list(linetable.entries(code.co_linetable[:length], code.co_firstlineno))
        # The last entry may lack a part of its line.
        assert part[:-1] == whole[: max(0, len(part) - 1)]


def test_any_bytes_end() -> None:
    for pair in itertools.product(range(256), repeat=2):
        assert len(list(linetable.entries(bytes(pair) * 3, 1))) <= 6
