"""Where the options of ``tracekit record`` end and the program begins.

Everything after SCRIPT, ``-m MODULE`` or ``-c CODE`` belongs to the program, whatever it looks like, as with
``python`` itself.
"""

from __future__ import annotations

from tracekit.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from tracekit.record.session import Kind

FLAGS = frozenset({"--follow", "--force", "--no-source", "--quiet", "--help"})
VALUED = frozenset({"--output", "--engine", "--max-frames"})
SHORT_FLAGS = frozenset("qh")
SHORT_VALUED = frozenset("o")
SHORT_PROGRAM: dict[str, Kind] = {"m": "module", "c": "code"}


class Split:
    """The arguments for us, and the program with its own. ``kind`` is None when no program was named."""

    def __init__(self, own: list[str], kind: Kind | None, target: str, rest: list[str]) -> None:
        self.own = own
        self.kind = kind
        self.target = target
        self.rest = rest


class Asked:
    """What `tracekit record` was asked: a program as python's command line knows it, and how to record it."""

    def __init__(  # noqa: PLR0913 - the options
        self,
        kind: Kind,
        target: str,
        args: list[str],
        *,
        output: str | None = None,
        force: bool = False,
        engine: str = "auto",
        follow: bool = False,
        max_frames: int = 64,
        no_source: bool = False,
        quiet: bool = False,
    ) -> None:
        if max_frames < 1:
            raise UsageError(f"--max-frames cannot be {max_frames}", hint="give 1 or more")
        self.kind = kind
        self.target = target
        self.args = args
        self.output = output
        self.force = force
        self.engine = engine
        self.follow = follow
        self.max_frames = max_frames
        self.no_source = no_source
        self.quiet = quiet


def plain_recording(arguments: Sequence[str]) -> Asked | None:
    """What follows ``tracekit record``, if it can be understood without an option parser; None otherwise.

    Raises UsageError when -m or -c has nothing behind it.
    """
    split = split_arguments(arguments)
    values = None if split.kind is None else _plain_options(split.own)
    if split.kind is None or values is None:
        return None
    return Asked(split.kind, split.target, split.rest, **values)


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


_PLAIN_FLAGS = {
    "--force": "force",
    "--follow": "follow",
    "--no-source": "no_source",
    "--quiet": "quiet",
    "-q": "quiet",
}
_PLAIN_VALUES = {
    "--output": "output",
    "-o": "output",
    "--engine": "engine",
    "--max-frames": "max_frames",
}


def _plain_options(own: Sequence[str]) -> dict[str, Any] | None:
    """Values of options that are spelled as most people do, by field; None when there are others."""
    values: dict[str, Any] = {}
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
    if "max_frames" in values:
        frames = values["max_frames"]
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
