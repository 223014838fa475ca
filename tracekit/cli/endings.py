"""How a command ends when it does not return a status or raise an error of tracekit's."""

from __future__ import annotations

from tracekit.errors import SqlError, TracekitError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    Options = TypeVar("Options")


class OutputClosedError(Exception):
    """Nobody reads our output any more (``| head``)."""


class InterruptedCommandError(Exception):
    """Ctrl-C in a command."""


def run_command(run: Callable[[Options], int], options: Options) -> int:
    """What the command returns. Raises OutputClosedError and InterruptedCommandError for what they mean."""
    try:
        return run(options)
    except BrokenPipeError:
        raise OutputClosedError from None
    except (KeyboardInterrupt, RuntimeError) as error:
        if is_interrupt(error):
            raise InterruptedCommandError from None
        raise


def is_interrupt(error: BaseException) -> bool:
    """Whether it is Ctrl-C; while a query runs, DuckDB takes the signal and raises RuntimeError instead."""
    return isinstance(error, KeyboardInterrupt) or str(error) == "Query interrupted"


def error_lines(error: TracekitError) -> list[str]:
    """What went wrong: one line, and for SQL those that show the place."""
    from tracekit.report.text import printable  # noqa: PLC0415 - a program that is recorded does not wait for it

    if not isinstance(error, SqlError):
        return [f"error[{error.code}]: {printable(' '.join(str(error).split()))}"]
    first, _, rest = str(error).strip().partition("\n")
    lines = [f"error[{error.code}]: {printable(' '.join(first.split()))}"]
    return lines + [printable(line) for line in rest.strip("\n").splitlines()]
