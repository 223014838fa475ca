"""Data flows one way: who may import whom, read from the source of every module, and checked by running."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import tracekit
import tracekit.errors
from tracekit.record import TARGET_MODULES
from tracekit.record.select import native_trouble

ROOT = Path(tracekit.errors.__file__).parent

# What the modules of each part may import of the others. `tracekit` is the package's own __init__ with the
# public names, `_version` a constant; both may be imported by anybody.
ALLOWED: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "events": set(),
    "_native": set(),
    "log": {"events", "errors", "_native"},
    "record": {"events", "errors", "log", "_native"},
    "store": {"events", "errors", "log", "_native"},
    "replay": {"events", "errors", "store"},
    "simulator": {"events", "errors", "store", "_native"},
    "report": {"events", "errors"},
    "cli": {"events", "errors", "log", "record", "store", "replay", "simulator", "report"},
}
LATER = ("replay", "errors")
"""What the package's own __init__ may name besides, to be imported when it is asked for."""
HEAVY = ("msgspec", "numpy", "duckdb", "typer", "rich", "backports.zstd", "prompt_toolkit", "textual")


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(ROOT.rglob("*.py")) if "_site" not in path.parts}


def is_type_checking(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id == "TYPE_CHECKING") or (
        isinstance(node, ast.Attribute) and node.attr == "TYPE_CHECKING"
    )


def imports(name: str, *, typing: bool) -> Iterator[str]:
    """Dotted names that a module imports, in functions too; those for the type checker only if wanted."""
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    package = name if MODULES[name].name == "__init__.py" else name.rpartition(".")[0]
    pending: list[ast.AST] = [tree]
    while pending:
        node = pending.pop()
        if isinstance(node, ast.If) and is_type_checking(node.test) and not typing:
            pending.extend(node.orelse)
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = ".".join(package.split(".")[: len(package.split(".")) - node.level + 1])
                base = f"{above}.{base}".rstrip(".")
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in MODULES else base
        pending.extend(ast.iter_child_nodes(node))


def check_what_programs_import() -> None:
    """The package's own __init__ reaches only what runs in programs; it names the rest for type checkers and
    in its table of what is imported when it is asked for.
    """
    now = {part_of(imported) for imported in imports("tracekit", typing=False)}
    assert now - {"importlib"} <= {"", "record", "_version"}
    assert {part_of(module) for module in tracekit._LATER.values()} <= {*LATER, "record"}
    assert all(module in MODULES for module in tracekit._LATER.values())


def part_of(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else ""


@pytest.mark.parametrize("name", MODULES)
def test_imports_go_one_way(name: str) -> None:
    part = part_of(name)
    allowed = {"cli"} if part == "__main__" else ALLOWED.get(part, set()) | {part, "_version"}
    if part == "":
        allowed = {"record", "_version", *LATER}
        check_what_programs_import()
    for imported in imports(name, typing=True):
        if imported.split(".")[0] == "tracekit" and imported != "tracekit":
            assert part_of(imported) in allowed, f"{name} imports {imported}"


def test_every_part_of_the_package_has_a_rule() -> None:
    parts = {part_of(name) for name in MODULES} - {"", "__main__"}
    assert parts == set(ALLOWED)


@pytest.mark.parametrize("name", TARGET_MODULES)
def test_what_runs_in_the_target_imports_the_standard_library_only(name: str) -> None:
    for imported in imports(name, typing=False):
        top = imported.split(".")[0]
        if top == "tracekit":
            assert imported in TARGET_MODULES, f"{name} imports {imported}"
        else:
            assert top in sys.stdlib_module_names, f"{name} imports {imported}"


@pytest.mark.parametrize("name", TARGET_MODULES)
def test_what_runs_in_the_target_exists(name: str) -> None:
    assert name in MODULES


def loaded_by(statement: str) -> set[str]:
    code = f"import sys\n{statement}\nprint(*sys.modules, sep='\\n')"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=240, check=True
    )
    return set(done.stdout.split())


def test_import_of_the_package_is_light() -> None:
    loaded = loaded_by("import tracekit")
    assert "tracekit" in loaded
    assert not loaded.intersection(HEAVY)


@pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))
def test_the_native_engine_loads_little_into_the_program() -> None:
    loaded = loaded_by("import tracekit.record.bootstrap, tracekit.record.native") - loaded_by("pass")
    assert {name for name in loaded if name.split(".")[0] != "tracekit"} <= {"atexit", "gc"}
    assert "tracekit.record.texts" in loaded
    assert "tracekit.record.slots" not in loaded


def test_a_program_does_not_wait_for_what_the_recorder_can_load_later() -> None:
    statement = "import tracekit.cli.app, tracekit.cli.recording, tracekit.record.session"
    slow = {"dataclasses", "inspect", "pathlib", "re", "shutil", "tempfile", "threading", "typing", "urllib"}
    loaded = loaded_by(statement) - loaded_by("pass")
    assert "tracekit.record.process" in loaded
    assert not loaded.intersection((*HEAVY, *slow))


@pytest.mark.parametrize("name", sorted(tracekit._LATER))
def test_names_that_are_imported_when_they_are_asked_for(name: str) -> None:
    assert name in tracekit.__all__
    assert name in dir(tracekit)
    value = getattr(tracekit, name)
    assert (value.__module__, value.__name__) == (tracekit._LATER[name], name)


def test_type_checkers_are_told_the_same_names() -> None:
    """What is imported for type checkers only is what the table gives at run time."""
    tree = ast.parse(MODULES["tracekit"].read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If) and is_type_checking(node.test))
    told = {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert told.pop("record") == "tracekit.record.api"
    assert told == tracekit._LATER
    assert sorted([*told, "__version__", "mark", "record"]) == sorted(tracekit.__all__)


def test_what_a_recorded_program_calls_stays_light() -> None:
    for statement in (
        "import tracekit; tracekit.mark('x')",
        "import tracekit; dir(tracekit); hasattr(tracekit, 'nothing')",
        "import tracekit; tracekit.record('x.tkt')",
    ):
        loaded = loaded_by(statement)
        assert not loaded.intersection(HEAVY), statement
        assert "tracekit.replay" not in loaded
    assert "duckdb" in loaded_by("import tracekit; tracekit.open")


def test_the_package_has_no_other_names() -> None:
    with pytest.raises(AttributeError, match="module 'tracekit' has no attribute 'opne'"):
        tracekit.opne  # type: ignore[attr-defined]  # noqa: B018


def test_help_needs_neither_database_nor_arrays() -> None:
    loaded = loaded_by(
        "import contextlib, io\nfrom tracekit.cli.app import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n    assert main(['--help']) == 0"
    )
    assert "tracekit.cli.app" in loaded
    assert not loaded.intersection({"duckdb", "numpy", "msgspec", "prompt_toolkit", "textual"})
