"""Where the shell reads from: a terminal with editing, a plain one, or something that is none."""

# ruff: noqa: PLC0415 - prompt_toolkit is only loaded for a terminal that it can serve

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tracekit.cli.completion import Catalogue, candidates
from tracekit.store.statements import is_blank, split_statements

if TYPE_CHECKING:
    from prompt_toolkit import PromptSession
    from prompt_toolkit.history import History
    from prompt_toolkit.key_binding import KeyBindings
    from prompt_toolkit.lexers import Lexer

PROMPT = "tracekit> "
CONTINUATION = "     ...> "
HISTORY_BYTES = 200_000
"""A history file that is longer loses its older half."""

Read = Callable[[bool], str]
"""(whether a statement has begun) -> lines with their newlines, empty at the end of input."""


def reader(catalogue: Callable[[], Catalogue], commands: Mapping[str, Sequence[str]]) -> Read:
    """What reads the shell's input: with editing and completion where the terminal can do that."""
    if not sys.stdin.isatty():
        return lambda begun: sys.stdin.readline()  # noqa: ARG005
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("dumb", "unknown", ""):
        with suppress(ImportError):
            return editing(catalogue, commands, history_path())
    return _plain_line


def statements(read: Read, *, interactive: bool) -> Iterator[str]:
    """Whole statements and dot commands; what is left without a semicolon at the end of input is one too."""
    pending = ""
    while True:
        try:
            text = read(bool(pending))
        except KeyboardInterrupt:
            if not interactive:
                raise
            pending = ""
            continue
        if not text:
            break
        for line in text.splitlines(keepends=True):
            if not pending and line.strip().startswith("."):
                yield line.strip()
                continue
            whole, pending = split_statements(pending + line)
            yield from whole
            if is_blank(pending):
                pending = ""
    if not is_blank(pending):
        yield pending.strip()


def is_complete(text: str) -> bool:
    """Whether Enter ends the input: nothing, a dot command, or SQL up to a semicolon."""
    if not text.strip() or text.lstrip().startswith("."):
        return True
    _, rest = split_statements(text)
    return is_blank(rest)


def history_path() -> Path:
    """Where the lines of earlier sessions are."""
    state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return state / "tracekit" / "shell_history"


def editing(
    catalogue: Callable[[], Catalogue], commands: Mapping[str, Sequence[str]], history: Path, **streams: Any
) -> Read:
    """A reader with editing, history and completion. ``streams`` are prompt_toolkit's input and output.

    Raises ImportError without prompt_toolkit.
    """
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import Completer, Completion

    class StoreCompleter(Completer):
        def get_completions(self, document: Any, _event: Any) -> Iterator[Completion]:
            before, after = document.text_before_cursor, document.text_after_cursor
            for one in candidates(before, after, catalogue(), commands):
                yield Completion(one.text, start_position=-one.typed, display_meta=one.what)

    session: PromptSession[str] = PromptSession(
        multiline=True,
        prompt_continuation=CONTINUATION,
        key_bindings=_keys(),
        history=_history(history),
        completer=StoreCompleter(),
        complete_while_typing=False,
        reserve_space_for_menu=6,
        lexer=_lexer(),
        enable_open_in_editor=True,
        **streams,
    )

    def read(begun: bool) -> str:
        try:
            return session.prompt(CONTINUATION if begun else PROMPT) + "\n"
        except EOFError:
            return ""

    return read


def _keys() -> KeyBindings:
    from prompt_toolkit.key_binding import KeyBindings

    keys = KeyBindings()

    @keys.add("enter")
    def _(event: Any) -> None:
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None  # takes the completion, as it stands there already
        elif is_complete(buffer.text):
            buffer.validate_and_handle()
        else:
            buffer.newline(copy_margin=False)

    @keys.add("escape", "enter")
    def _(event: Any) -> None:
        event.current_buffer.newline(copy_margin=False)

    return keys


def _history(path: Path) -> History:
    """The file of earlier inputs; one of this session only when there can be no such file."""
    from prompt_toolkit.history import FileHistory, InMemoryHistory

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        path.chmod(0o600)  # queries are nobody else's business
        data = path.read_bytes()
        if len(data) > HISTORY_BYTES:
            begin = data.find(b"\n# ", len(data) // 2)
            path.write_bytes(data[begin:] if begin >= 0 else b"")
    except OSError:
        return InMemoryHistory()

    class Remembered(FileHistory):
        def store_string(self, string: str) -> None:
            with suppress(OSError):  # a full disk is no reason to end the shell
                super().store_string(string)

    return Remembered(path)


def _lexer() -> Lexer | None:
    """Colours for SQL, where pygments is installed and the user wants colours."""
    if os.environ.get("NO_COLOR"):
        return None
    try:
        from prompt_toolkit.lexers import PygmentsLexer
        from pygments.lexers.sql import PostgresLexer
    except ImportError:
        return None
    return PygmentsLexer(PostgresLexer)


def _plain_line(begun: bool) -> str:
    try:
        return input(CONTINUATION if begun else PROMPT) + "\n"
    except EOFError:
        sys.stdout.write("\n")
        return ""
    except KeyboardInterrupt:
        sys.stdout.write("\n")
        raise
