"""Functions for (file, line) frames: what the heuristic promises, on code that was really compiled."""

from __future__ import annotations

from types import CodeType

from tracekit.record.slots import TRUNCATED_NODE
from tracekit.record.symbols import LineSymbols


def symbols(text: str, filename: str = "app.py") -> LineSymbols:
    """Symbols that have seen a module with this text, and file 1 being it."""
    found = LineSymbols()
    found.file(1, filename)
    waiting = [compile(text, filename, "exec")]
    while waiting:
        code = waiting.pop()
        found.code(filename, code.co_qualname, code.co_firstlineno, code.co_stacksize, code.co_linetable)
        waiting += [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    return found


def path(found: LineSymbols, *lines: int) -> list[str]:
    """The functions' names of a call path of file 1, outermost first."""
    parent = 0
    nodes: list[int] = []
    for line in lines:
        number = 1000 + len(found.stacks) + len(nodes)
        found.line_node(number, parent, 1, line)
        nodes.append(number)
        parent = number
    codes, stacks = found.take()
    names = {code.code_id: code.qualname for code in codes}
    by_number = {stack.stack_id: stack for stack in stacks}
    assert [by_number[number].line for number in nodes] == list(lines)
    return [names[by_number[number].code_id] for number in nodes]


def test_functions_by_their_lines() -> None:
    text = "def f():\n    return g()\nclass A:\n    def m(self):\n        return f()\nA().m()\n"
    assert path(symbols(text), 6, 5, 2) == ["<module>", "A.m", "f"]


def test_a_lambda_and_the_function_around_it() -> None:
    assert path(symbols("def f(g):\n    return g(lambda: f(1))\nf(f)\n"), 3, 2, 2) == [
        "<module>",
        "f",
        "f.<locals>.<lambda>",
    ]


def test_one_liner_module_code_is_taken_once() -> None:
    """`def f(): ...` is on the line of its own definition, which belongs to the module too."""
    assert path(symbols("def f(): return f()\nf()\n"), 2, 1, 1) == ["<module>", "f", "f"]


def test_recursion_stays_in_its_function() -> None:
    assert path(symbols("def f(n):\n    return f(n + 1)\nf(0)\n"), 3, 2, 2, 2) == ["<module>", "f", "f", "f"]


def test_class_bodies_and_imports_have_their_names() -> None:
    assert path(symbols("class A:\n    x = [1,\n      2]\n    class B:\n        y = 3\n"), 4, 5) == [
        "A",
        "A.B",
    ]


def test_unknown_files_and_lines() -> None:
    assert path(symbols("x = 1\n"), 900) == ["<unknown>"]
    nothing = LineSymbols()
    nothing.file(1, "never seen")
    assert path(nothing, 5, 6) == ["<unknown>", "<unknown>"]
    assert path(LineSymbols(), 5) == ["<unknown>"]


def test_the_same_code_again_is_no_new_one() -> None:
    found = symbols("def f(): pass\n")
    first, _ = found.take()
    code = compile("def f(): pass\n", "app.py", "exec")
    found.code("app.py", code.co_qualname, code.co_firstlineno, code.co_stacksize, code.co_linetable)
    assert len(first) == 2
    assert found.take() == ([], [])


def test_frame_size_is_in_bytes_of_words() -> None:
    found = LineSymbols()
    found.code("a.py", "f", 1, 11, b"")
    ((code,), _) = found.take()
    assert (code.code_id, code.filename, code.qualname, code.first_line) == (1, "a.py", "f", 1)
    assert code.frame_bytes == (11 + 9) * 8


def test_cut_paths_hang_below_a_node_that_says_so() -> None:
    found = symbols("x = 1\n")
    found.line_node(2, TRUNCATED_NODE, 1, 1)
    codes, stacks = found.take()
    assert [(stack.stack_id, stack.parent_id) for stack in stacks] == [(1, 0), (2, 1)]
    names = {code.code_id: code.qualname for code in codes}
    assert [names[stack.code_id] for stack in stacks] == ["<frames not recorded>", "<module>"]
