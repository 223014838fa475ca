"""The program ``tracekit``: the one place where an error becomes an exit status.

What a recorded program waits for is here; what the other commands need besides is in ``group.py``.
"""

# ruff: noqa: PLC0415 - a program that is recorded waits for what is imported before it

from __future__ import annotations

import atexit
import gc
import os
import sys
from contextlib import suppress

from tracekit.cli.arguments import plain_recording
from tracekit.cli.endings import (
    InterruptedCommandError,
    OutputClosedError,
    error_lines,
    interrupts_kept,
    run_command,
)
from tracekit.errors import OutputUnwritableError, TracekitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, NoReturn

QUESTIONS = frozenset(
    (
        *("query", "shell", "export", "replay", "leaks", "diff", "gc", "fragmentation", "timeline"),
        *("step", "simulate"),
    )
)
"""Commands that open the store of a log."""

EXIT_INTERRUPTED = 130
EXIT_OUTPUT_CLOSED = 141


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (without the program's name) and return the exit status.

    0: done; 1: the answer is bad news; 2: it could not be done, and one line on stderr says why; 130:
    interrupted; 141: the reader of stdout went away. `record` returns the status of the program it ran.
    """
    _have_streams()
    for stream in (sys.stdout, sys.stderr):
        _never_fail_to_encode(stream)
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        status = _run(given)
        _flush()
    except TracekitError as error:
        return _report(error)
    except (OutputClosedError, BrokenPipeError):
        _discard_output()
        return EXIT_OUTPUT_CLOSED
    except (InterruptedCommandError, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return status


def _run(given: Sequence[str]) -> int:
    """Do what was asked. Loading the option parser takes 40 ms, so `record` has it only where it needs it."""
    asked = plain_recording(given[1:]) if given[:1] == ["record"] else None
    if asked is not None:
        from tracekit.cli.recording import record_program

        return run_command(record_program, asked)
    if given[:1] and given[0] in QUESTIONS:
        gc.disable()  # until the store is open: some 400 modules, and no cycles worth the search

    from tracekit.cli.group import run_group

    try:
        with interrupts_kept():
            return run_group(given)
    finally:
        gc.enable()


def program() -> NoReturn:
    """Run the command line of this process, and end it.

    Taking an interpreter with numpy down module by module takes 25 ms, which `record` would add to the time
    of every program. So what has to be done at the exit is done, and the rest is left to the kernel.
    """
    status = main()
    atexit._run_exitfuncs()  # noqa: SLF001 - there is no public name for it
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(status)


def _report(error: TracekitError) -> int:
    _flush_quietly()
    print("tracekit: " + "\n".join(error_lines(error)), file=sys.stderr)  # noqa: T201
    return error.exit_status


def _flush() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise OutputUnwritableError(f"standard output cannot be written: {error.strerror}") from None


def _flush_quietly() -> None:
    """What was printed before an error comes before it, if anybody still reads."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()


def _discard_output() -> None:
    """Let what is still buffered go nowhere, so that the interpreter does not stumble over it at its exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.close(nowhere)


def _have_streams() -> None:
    """Python has None for a stream that was closed when it started. What we print then goes nowhere.

    The program that `record` runs gets the closed stream, because these files are not inherited.
    """
    for name in ("stdin", "stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))  # noqa: PTH123, SIM115


def _never_fail_to_encode(stream: Any) -> None:
    """Print what the encoding lacks (a lone surrogate, or anything in the C locale) as an escape."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    program()
