"""Leaks planted in programs that also do what programs do: each engine's recording must give them away.

The programs are in programs_leaks.txt; the line that is planted ends with a comment that says so. It is the
line of the program that allocates most of what stays: not the one that keeps it (``CACHE[key]``, ``append``),
and for a traceback, which keeps frames alive, the one that made the largest of their locals.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_support import Cli
from effort import THOROUGH, some
from record_support import Stage, one_engine, programs

from tracekit.record.select import select

PROGRAMS = programs(Path(__file__).with_name("programs_leaks.txt"))
PLANTED = ("growing_cache", "callback_list", "resurrection", "thread_local", "tracebacks")
CASES = dict.fromkeys([*((select("auto").engine, name) for name in some(PLANTED)), ("portable", "marked")])
"""All on the best engine. The slow one looks at the heap when it has the time, or when a program names the
instant: by itself it would look more or less often, as busy as the machine is."""
REQUESTS = {"native": 4000, "portable": 400} if THOROUGH else {"native": 2500, "portable": 200}


def planted_line(name: str) -> int:
    lines = PROGRAMS[f"{name}.py"].splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.endswith("# planted"))


Search = Callable[..., Any]


@pytest.fixture(scope="module")
def logs() -> dict[tuple[str, str], Path]:
    """The logs of the programs that were recorded so far, by engine and name."""
    return {}


@pytest.fixture
def search(
    cli: Cli, logs: dict[tuple[str, str], Path], tmp_path_factory: pytest.TempPathFactory, engine: str
) -> Search:
    """Records a program, once, and looks for its leaks."""

    def run(name: str, *options: str) -> Any:
        log = logs.get((engine, name))
        if log is None:
            folder = tmp_path_factory.mktemp(name)
            stage = Stage(folder, engine, folder / "app.tkt")
            stage.write(PROGRAMS)
            stage.record([f"{name}.py", str(REQUESTS[engine])], frames=8)
            log = logs[engine, name] = stage.log
        answer = cli("leaks", log, "--json", *options)
        assert (answer.status, answer.err) == (0, "")
        return answer.document

    return run


@pytest.mark.parametrize(("engine", "name"), CASES, indirect=["engine"])
def test_a_planted_leak_comes_first(search: Search, engine: str, name: str) -> None:
    document = search(name)
    first = document["leaks"][0]
    found = (Path(first["file"]).name, first["line"])
    leaking = "growing_cache" if name == "marked" else name
    assert found == (f"{leaking}.py", planted_line(leaking)), [leak["key"] for leak in document["leaks"]]
    assert first["growth_bytes"] > 10_000
    table = [leak for leak in document["leaks"] if "one_big_table" in leak["key"]]
    assert all(leak["evidence"] == "weak" for leak in table)
    assert max(leak["growth_bytes"] for leak in table) > first["growth_bytes"]
    assert first["evidence"] != "weak"  # how strong it is depends on what else the machine does meanwhile
    if engine == "native":
        noise = [leak for leak in document["leaks"] if "noise.py" in leak["key"] and leak not in table]
        assert all(leak["growth_bytes"] < first["growth_bytes"] / 4 for leak in noise)


@one_engine
def test_what_the_library_allocated_is_charged_to_the_program(search: Search) -> None:
    (leak,) = search("tracebacks", "--limit", "1")["leaks"]
    assert leak["key"].endswith(f"tracebacks.py:{planted_line('tracebacks')} (parse)")
    assert "json" in leak["allocated_at"][0]["key"]
    assert [frame["function"] for frame in leak["path"]][:3] == ["<module>", "main", "parse"]
    (innermost,) = search("tracebacks", "--by", "innermost", "--limit", "1")["leaks"]
    assert innermost["key"] == leak["allocated_at"][0]["key"]
    (function,) = search("tracebacks", "--by", "function", "--limit", "1")["leaks"]
    assert function["key"].startswith("parse (")


@one_engine
def test_a_killed_program(search: Search) -> None:
    document = search("thread_local")
    assert document["to"]["text"] == "end"
    assert any("'end' is the last event" in note for note in document["notes"])


@one_engine
def test_a_loop_at_the_top_level_of_the_script(cli: Cli, stage: Stage) -> None:
    stage.write(
        {
            "plugin.py": "TABLE = {number: str(number) * 10 for number in range(3000)}\n"
            "class Plugin:\n    def run(self):\n        return TABLE\n",
            "main.py": "kept = []\nfor number in range(100_000):\n    kept.append(bytearray(200))\n"
            "    if number == 75_000:\n        import plugin\n"
            "    if number % 7 == 0:\n        str(number) * 99\n",
        }
    )
    assert stage.record(["main.py"]).status == 0
    document = cli("leaks", stage.log, "--json").document
    first = document["leaks"][0]
    assert (Path(first["file"]).name, first["line"], first["function"]) == ("main.py", 3, "<module>")
    assert first["evidence"] != "weak"
    assert not any("plugin.py" in leak["key"] for leak in document["leaks"])
    assert document["imported_bytes"] > 100_000
    counted = cli("leaks", stage.log, "--json", "--imports").document
    assert counted["imported_blocks"] == 0
    assert any("plugin.py" in leak["key"] for leak in counted["leaks"])


@one_engine
@pytest.mark.parametrize(
    "text",
    [
        "import ast, pathlib, os\n"
        "for path in sorted(pathlib.Path(os.__file__).parent.glob('*.py'))[:25]:\n"
        "    ast.dump(ast.parse(path.read_text(errors='replace')))\n",
        "import json, logging, os\n"
        "logging.basicConfig(filename=os.devnull, level=logging.INFO)\n"
        "def serve(number):\n"
        "    text = json.dumps({'number': number, 'items': list(range(number % 50, 60))})\n"
        "    logging.info('%d: %d', number, len(json.loads(text)['items']))\n"
        "for number in range(2000):\n    serve(number)\n",
    ],
    ids=["ast", "json and logging"],
)
def test_no_false_alarm(cli: Cli, stage: Stage, text: str) -> None:
    assert stage.code(text).same().status == 0
    document = cli("leaks", stage.log, "--json").document
    assert [leak["key"] for leak in document["leaks"] if leak["evidence"] == "strong"] == []
