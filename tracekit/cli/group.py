"""The command line as typer knows it: all commands, their options and their help."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Annotated, Any, Final

import typer

from tracekit._version import __version__
from tracekit.cli.command import CONTEXT_SETTINGS, Command, Group, register
from tracekit.cli.output import put
from tracekit.errors import UsageError

COMMANDS: Final = (
    "record",
    "info",
    "replay",
    "leaks",
    "diff",
    "gc",
    "fragmentation",
    "timeline",
    "step",
    "query",
    "shell",
    "export",
    "simulate",
    "verify",
    "recover",
    "dump",
    "schema",
)
"""In the order in which they are used. Each is a module of this package with a function ``run``."""

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


def run_group(given: Sequence[str]) -> int:
    """Run a command line and return the status of its command. Raises UsageError when it cannot be parsed.

    A command that is named first has only its own module imported, for its user waits meanwhile.
    """
    names = given[:1] if given[:1] and given[0] in COMMANDS else COMMANDS
    try:
        status = command_group(names).main(args=list(given), prog_name="tracekit", standalone_mode=False)
    except _ClickError as error:
        raise _usage_error(error) from None
    return int(status or 0)


def _usage_error(error: Any) -> UsageError:
    """A complaint of the option parser in the form of all other errors."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context is not None else "tracekit"
    text = " ".join(error.format_message().split()).rstrip(".")
    return UsageError(text, hint=f"see '{path} --help'")
