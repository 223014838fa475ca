"""Runs a program in an address space that may grow by so many bytes, and says which line ran out of memory.

    python limited.py record OUTPUT PROGRAM    records it without a limit
    python limited.py BYTES PROGRAM            prints the line that raised MemoryError, or "end"

When memory is out there may be none for a traceback. So the frame of the program is asked for beforehand: the
line that it was at stays in it when it is left.
"""

import ast
import resource
import sys
from pathlib import Path
from types import CodeType, FrameType

FRAME = "frame_of_the_program"


def address_space() -> int:
    """Bytes of address space that this process has now."""
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0]) * resource.getpagesize()


def compiled(program: Path) -> CodeType:
    """The program, which first notes its frame. Its lines are those of the file."""
    tree = ast.parse(program.read_text(encoding="utf-8"))
    noting = ast.parse(f"{FRAME} = __import__('sys')._getframe()").body
    docstring = int(ast.get_docstring(tree) is not None)
    tree.body[docstring:docstring] = noting
    return compile(tree, str(program), "exec")


def main(arguments: list[str]) -> None:
    """Record the program, or run it under the limit."""
    code = compiled(Path(arguments[-1]))
    space: dict[str, object] = {"__name__": "__main__"}
    if arguments[0] == "record":
        from tracekit.record.api import record  # noqa: PLC0415 - the limited program must not have it

        with record(arguments[1], engine="native"):
            exec(code, space)
        return
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    address_space()
    reserve: bytearray | None = bytearray(8 << 20)  # given back to have memory to say what happened
    resource.setrlimit(resource.RLIMIT_AS, (address_space() + int(arguments[0]), hard))
    try:
        exec(code, space)
    except MemoryError:
        reserve = None
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))
        frame = space[FRAME]
        assert isinstance(frame, FrameType)
        print(frame.f_lineno)
    else:
        print("end" if reserve else "")


if __name__ == "__main__":
    main(sys.argv[1:])
