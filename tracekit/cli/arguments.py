"""Where the options of ``tracekit record`` end and the program begins.

Everything after SCRIPT, ``-m MODULE`` or ``-c CODE`` belongs to the program, whatever it looks like, as with
``python`` itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tracekit.errors import UsageError

FLAGS = frozenset({"--follow", "--force", "--quiet", "--help"})
VALUED = frozenset({"--output", "--engine", "--max-frames"})
SHORT_FLAGS = frozenset("qh")
SHORT_VALUED = frozenset("o")
SHORT_PROGRAM: dict[str, Literal["module", "code"]] = {"m": "module", "c": "code"}


@dataclass(frozen=True, slots=True)
class Split:
    """The arguments for us, and the program with its own. ``kind`` is None when no program was named."""

    own: list[str]
    kind: Literal["script", "module", "code"] | None
    target: str
    rest: list[str]


def split_arguments(arguments: Sequence[str]) -> Split:
    """Split what follows ``tracekit record``. Raises UsageError when -m or -c has nothing behind it.

    What is not known is left among ``own``, for the option parser to complain about.
    """
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        if argument == "--":
            own, position = list(arguments[:position]), position + 1
            if position == len(arguments):
                break
            return Split(own, "script", arguments[position], list(arguments[position + 1 :]))
        if not argument.startswith("-") or argument == "-":
            return Split(list(arguments[:position]), "script", argument, list(arguments[position + 1 :]))
        if argument.startswith("--"):
            position += 2 if argument in VALUED else 1
            continue
        found = _short(arguments, position)
        if isinstance(found, Split):
            return found
        position += found
    return Split([argument for argument in arguments if argument != "--"], None, "", [])


_PLAIN_FLAGS = {"--force": "force", "--follow": "follow", "--quiet": "quiet", "-q": "quiet"}
_PLAIN_VALUES = {
    "--output": "output",
    "-o": "output",
    "--engine": "engine",
    "--max-frames": "max_frames",
}


def plain_options(own: Sequence[str]) -> dict[str, bool | str | int | Path] | None:
    """Values of options that need no option parser, by field; None when they do.

    The parser loads a validator, which takes longer than anything else that ``tracekit record`` does before
    the program starts. It is left with what is typed rarely, or wrongly.
    """
    values: dict[str, bool | str | int | Path] = {}
    rest = iter(own)
    for argument in rest:
        option, equals, value = argument.partition("=") if argument[:2] == "--" else (argument, "", "")
        if option in _PLAIN_FLAGS and not equals:
            values[_PLAIN_FLAGS[option]] = True
            continue
        given = value if equals else next(rest, None)
        if option not in _PLAIN_VALUES or given is None:
            return None
        values[_PLAIN_VALUES[option]] = given
    if "output" in values:
        values["output"] = Path(str(values["output"]))
    if "max_frames" in values:
        frames = str(values["max_frames"])
        if not (frames.isascii() and frames.isdigit()):
            return None
        values["max_frames"] = int(frames)
    return values


def _short(arguments: Sequence[str], position: int) -> Split | int:
    """One argument of short options, like ``-qo``: the program it begins, or how many arguments it takes."""
    cluster = arguments[position]
    for index, letter in enumerate(cluster[1:], start=1):
        glued = cluster[index + 1 :]
        if letter in SHORT_VALUED:
            return 1 if glued else 2
        if letter in SHORT_PROGRAM:
            own = list(arguments[:position])
            if index > 1:
                own.append(cluster[:index])
            rest = list(arguments[position + 1 :])
            if glued:
                return Split(own, SHORT_PROGRAM[letter], glued, rest)
            if not rest:
                what = "the name of a module" if letter == "m" else "code"
                raise UsageError(f"-{letter} needs {what}", hint="see 'tracekit record --help'")
            return Split(own, SHORT_PROGRAM[letter], rest[0], rest[1:])
        if letter not in SHORT_FLAGS:
            return 1
    return 1
