"""Shows what is longer than the screen in a pager, as it comes."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain

from tracekit.cli.output import put

LESS = "FRSX"
"""Options of less, unless $LESS has others: end when all fits, chop lines, leave the screen as it is."""


def pager_command(environment: Mapping[str, str] = os.environ) -> list[str]:
    """The program that $PAGER names, or less; empty when there is none or the user wants none."""
    try:
        command = shlex.split(environment.get("PAGER", "less"))
    except ValueError:
        return []
    if not command or command == ["cat"] or shutil.which(command[0]) is None:
        return []
    return command


def page(pieces: Iterable[str], command: list[str], size: os.terminal_size) -> None:
    """Print the pieces of a text; through the pager, once they turn out to be taller than the terminal.

    What the pager does not want to see any more is not asked for.
    """
    stream = iter(pieces)
    held, height = [], 0
    for piece in stream:
        held.append(piece)
        height += _height(piece, size.columns)
        if height >= size.lines:
            break
    else:
        _print(held)
        return
    sys.stdout.flush()
    try:
        pager = subprocess.Popen(  # noqa: S603 - the user's own
            command,
            stdin=subprocess.PIPE,
            text=True,
            encoding=sys.stdout.encoding,
            errors="backslashreplace",
            env={"LESS": LESS, **os.environ},
        )
    except OSError:
        _print(chain(held, stream))
        return
    _feed(pager, chain(held, stream))


def _feed(pager: subprocess.Popen[str], pieces: Iterator[str]) -> None:
    """Write to the pager until it or the text ends. Ctrl-C ends the text, and the pager when it wants."""
    pipe = pager.stdin
    try:
        if pipe is not None:
            pipe.writelines(pieces)
    except BrokenPipeError:
        pass
    finally:
        while True:
            with suppress(KeyboardInterrupt):
                if pipe is not None:
                    with suppress(BrokenPipeError):
                        pipe.close()
                pager.wait()
                break


def _print(pieces: Iterable[str]) -> None:
    for piece in pieces:
        put(piece)


def _height(piece: str, columns: int) -> int:
    """Lines of a terminal that a text takes, whose ends may be in the next pieces."""
    return sum(max(1, -(-len(line) // max(1, columns))) for line in piece.splitlines())
