"""Runs a program in an address space that may grow by so many bytes, and says which loop ran out of memory.

    python limited.py record OUTPUT PROGRAM    records it without a limit
    python limited.py BYTES PROGRAM            prints the first line of the loop and its turns, or "end"

When memory is out there may be none for a traceback. So the program is a row of loops, and the variable that
was bound last tells which of them it was in.
"""

import ast
import resource
import sys
from pathlib import Path


def address_space() -> int:
    """Bytes of address space that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def main(arguments: list[str]) -> None:
    """Record the program, or run it under the limit."""
    program = Path(arguments[-1])
    tree = ast.parse(program.read_text(encoding="utf-8"))
    code = compile(tree, str(program), "exec")
    loops = {one.target.id: one.lineno for one in tree.body if isinstance(one, ast.For)}  # type: ignore[attr-defined]
    space: dict[str, object] = {"__name__": "__main__"}
    if arguments[0] == "record":
        from tracekit.record.api import record  # noqa: PLC0415 - the limited program must not have it

        with record(arguments[1], engine="native"):
            exec(code, space)
        return
    del tree
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    address_space()
    reserve: bytearray | None = bytearray(8 << 20)  # given back to have memory to say what happened
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + int(arguments[0]), hard))
    try:
        exec(code, space)
    except MemoryError:
        reserve = None
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        name = [name for name in space if name in loops][-1]
        print(loops[name], space[name])
    else:
        print("end" if reserve else "")


if __name__ == "__main__":
    main(sys.argv[1:])
