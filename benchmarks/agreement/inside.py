"""Runs a program twice in this process and records the second run, in one of the ways that are compared.

    python inside.py memray|tracekit|profiled OUTPUT (SCRIPT | -m MODULE) [ARGS...]

The first run is there so that whatever is imported, compiled or cached once is there before a recorder
begins: both then see the same program. ``profiled`` is tracekit while a profile function in C that does
nothing is set, as memray sets one: CPython makes a frame object for every call then, which is an allocation
of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path


def run(arguments: list[str]) -> None:
    """Run a program as python would, its output going nowhere."""
    sys.argv = arguments[1:] if arguments[0] == "-m" else arguments
    with (
        Path(os.devnull).open("w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.suppress(SystemExit),
    ):
        if arguments[0] == "-m":
            runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(arguments[0], run_name="__main__")


@contextlib.contextmanager
def profile_function() -> Iterator[None]:
    """Set a profile function in C that returns 0 whatever happens (PyIndex_Check of None)."""
    api = ctypes.pythonapi
    api.PyEval_SetProfile.argtypes = [ctypes.c_void_p, ctypes.py_object]
    function = ctypes.cast(api.PyIndex_Check, ctypes.c_void_p).value
    api.PyEval_SetProfile(function, None)
    try:
        yield
    finally:
        api.PyEval_SetProfile(None, None)


def recorder(way: str, output: str) -> contextlib.AbstractContextManager[object]:
    """What records, not begun yet."""
    if way == "memray":
        import memray  # noqa: PLC0415 - only where it is the one that records

        tracker: contextlib.AbstractContextManager[object]
        tracker = memray.Tracker(output, trace_python_allocators=True)
        return tracker
    import tracekit  # noqa: PLC0415
    from tracekit.record.api import record  # noqa: PLC0415

    del tracekit
    return record(output, engine="native")


def main(way: str, output: str, *arguments: str) -> None:
    """Run the program unrecorded, then recorded."""
    run(list(arguments))
    gc.collect()
    extra = profile_function() if way == "profiled" else contextlib.nullcontext()
    recording = recorder(way, output)
    with recording, extra:
        run(list(arguments))


if __name__ == "__main__":
    main(*sys.argv[1:])
