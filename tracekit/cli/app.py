"""The program ``tracekit``: its commands, and the one place where an error becomes an exit status."""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn

import typer

from tracekit._version import __version__
from tracekit.cli.command import (
    CONTEXT_SETTINGS,
    Command,
    Group,
    InterruptedCommandError,
    OutputClosedError,
    register,
)
from tracekit.cli.output import put
from tracekit.errors import OutputUnwritableError, SqlError, TracekitError
from tracekit.report.text import printable

COMMANDS: Final = (
    "record",
    "info",
    "replay",
    "query",
    "shell",
    "simulate",
    "verify",
    "recover",
    "dump",
    "schema",
)
"""In the order in which they are used. Each is a module of this package with a function ``run``."""

EXIT_FAILED = 2
EXIT_INTERRUPTED = 130
EXIT_OUTPUT_CLOSED = 141

# click's base of every complaint about the command line. Newer releases of typer carry their own copy of
# click, so that it is reached through a name that typer has always exported.
_ClickError: type[Exception] = typer.BadParameter.__bases__[0].__bases__[0]


def _show_version(wanted: bool) -> None:
    if wanted:
        put(f"tracekit {__version__}\n")
        raise typer.Exit


def _tracekit(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A flight recorder for the memory of a Python program.

    Record a program once; then ask what was alive at any instant, which code made it, and what would have
    happened under other settings.

    Examples:
        tracekit record -o app.tkt app.py      run app.py and record it
        tracekit replay app.tkt --at peak      what was alive at the peak
        tracekit COMMAND --help                everything about one command

    """
    del version
    if context.invoked_subcommand is None:
        put(context.get_help() + "\n")


def command_group(names: Sequence[str] = COMMANDS) -> Any:
    """The command line with these commands, as click's object. Only their modules are imported."""
    app = typer.Typer(
        cls=Group, add_completion=False, rich_markup_mode=None, context_settings=CONTEXT_SETTINGS
    )
    app.callback(invoke_without_command=True)(_tracekit)
    for name in names:
        module = import_module(f"tracekit.cli.{name}")
        register(app, name, module.run, cls=getattr(module, "COMMAND", Command))
    return typer.main.get_command(app)


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
        # A program that is recorded waits for what is imported here.
        group = command_group(given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS)
        status = group.main(
            args=given,
            prog_name="tracekit",
            standalone_mode=False,
        )
        _flush()
    except TracekitError as error:
        return _report(error)
    except _ClickError as error:
        return _report_usage(error)
    except (OutputClosedError, BrokenPipeError):
        _discard_output()
        return EXIT_OUTPUT_CLOSED
    except (InterruptedCommandError, KeyboardInterrupt):
        return EXIT_INTERRUPTED
    return int(status or 0)


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
    """Print what went wrong: one line, and for SQL the rest of what DuckDB said."""
    _flush_quietly()
    message, rest = error.message, ""
    if isinstance(error, SqlError):
        message, _, rest = error.message.strip().partition("\n")
    text = f"{message}; {error.hint}" if error.hint else message
    lines = [f"tracekit: error[{error.code}]: {printable(' '.join(text.split()))}"]
    lines += [printable(line) for line in rest.strip("\n").splitlines()]
    print("\n".join(lines), file=sys.stderr)  # noqa: T201
    return error.exit_status


def _report_usage(error: Any) -> int:
    """Print a complaint of the option parser in the form of all other errors."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tracekit"
    text = " ".join(error.format_message().split()).rstrip(".")
    print(  # noqa: T201
        f"tracekit: error[usage]: {printable(text)}; see '{path} --help'", file=sys.stderr
    )
    return EXIT_FAILED


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
            setattr(sys, name, Path(os.devnull).open("r" if name == "stdin" else "w"))  # noqa: SIM115


def _never_fail_to_encode(stream: Any) -> None:
    """Print what the encoding lacks (a lone surrogate, or anything in the C locale) as an escape."""
    reconfigure = getattr(stream, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(errors="backslashreplace")


if __name__ == "__main__":
    program()
