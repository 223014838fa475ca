"""Stacks for call path nodes of the native engine."""

from __future__ import annotations

import numpy as np
import pytest

from tracekit.record import layouts, offsets
from tracekit.record.offsets import MOST_AHEAD, OffsetSymbols, PythonResolver
from tracekit.record.ringfile import kernels
from tracekit.record.symbols import UNKNOWN_FUNCTION

built = pytest.param("built", marks=pytest.mark.skipif(kernels is None, reason="the kernels were not built"))


@pytest.fixture(params=[built, "python"])
def symbols(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> OffsetSymbols:
    """Symbols with a code 1 of two lines, 10 (up to 6 bytes) and 11."""
    if request.param == "python":
        monkeypatch.setattr(offsets, "new_resolver", PythonResolver)
    found = OffsetSymbols()
    found.code(1, "app.py", "f", 10, 4, bytes([0x80 | 13 << 3 | 2, 0, 0x80 | 13 << 3 | 7, 2]))
    return found


def define(symbols: OffsetSymbols, *nodes: tuple[int, int, int, int]) -> list[tuple[int, ...]]:
    """New stacks of the log for nodes (parent, code, offset, number)."""
    symbols.nodes(b"".join(layouts.CODE_NODE.pack(*node) for node in nodes))
    return [tuple(row) for row in symbols.take()[1].tolist()]


def stacks(symbols: OffsetSymbols, *nodes: int) -> list[int]:
    column = np.array(nodes, np.int32)
    symbols.map(column)
    found: list[int] = column.tolist()
    return found


def test_offsets_on_one_line_are_one_stack(symbols: OffsetSymbols) -> None:
    assert define(symbols, (0, 1, 0, 1), (0, 1, 4, 2), (0, 1, 6, 3), (2, 1, 8, 4)) == [
        (1, 0, 1, 10),
        (2, 0, 1, 11),
        (3, 1, 1, 11),
    ]
    assert stacks(symbols, 1, 2, 3, 4) == [1, 1, 2, 3]


def test_a_path_that_gets_another_number_is_the_same_stack(symbols: OffsetSymbols) -> None:
    define(symbols, (0, 1, 0, 1), (1, 1, 6, 2))
    assert define(symbols, (0, 1, 0, 70_000), (70_000, 1, 6, 70_001)) == []
    assert stacks(symbols, 2, 70_001) == [2, 2]


def test_behind_its_last_instruction_a_code_is_on_its_first_line(symbols: OffsetSymbols) -> None:
    assert define(symbols, (0, 1, 1 << 30, 1)) == [(1, 0, 1, 10)]


def test_equal_codes_are_one(symbols: OffsetSymbols) -> None:
    symbols.code(2, "app.py", "g", 1, 4, b"")
    symbols.code(3, "app.py", "g", 1, 4, b"")
    assert define(symbols, (0, 2, 0, 1), (0, 3, 0, 2)) == [(1, 0, 2, 1)]
    symbols.code(4, "app.py", "g", 1, 4, b"")
    assert symbols.take()[0] == []


def test_unknown_codes_share_one(symbols: OffsetSymbols) -> None:
    symbols.nodes(b"".join(layouts.CODE_NODE.pack(0, code, 0, code) for code in (5, 2**32 - 1, 6)))
    codes, rows = symbols.take()
    assert [code.qualname for code in codes] == ["f", UNKNOWN_FUNCTION]
    assert rows.tolist() == [[1, 0, 2, 0]]
    assert stacks(symbols, 5, 6) == [1, 1]


def test_nodes_that_were_never_defined_have_no_stack(symbols: OffsetSymbols) -> None:
    assert define(symbols, (999_999, 1, 0, 5)) == [(1, 0, 1, 10)]
    assert stacks(symbols, 0, 4, 5, 6, 2**31 - 1) == [0, 0, 1, 0, 0]


def test_numbers_that_cannot_be_true_cost_no_memory(symbols: OffsetSymbols) -> None:
    assert define(symbols, (0, 1, 0, 2**31 - 1), (0, 1, 0, MOST_AHEAD + 1)) == []
    assert define(symbols, (0, 1, 0, MOST_AHEAD)) == [(1, 0, 1, 10)]
    assert stacks(symbols, MOST_AHEAD, MOST_AHEAD + 1, 2**31 - 1) == [1, 0, 0]
