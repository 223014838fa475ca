"""Where output goes: data to stdout or a new file, everything else to stderr."""

from __future__ import annotations

import gc
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from tracekit.errors import OutputExistsError, OutputUnwritableError
from tracekit.report.text import printable

if TYPE_CHECKING:
    import rich.progress

    from tracekit.store.access import Access
    from tracekit.store.database import Store


def terminal_width(stream: TextIO) -> int | None:
    """Columns of the terminal behind a stream; None when it is none and nothing must be cut."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def say(text: str) -> None:
    """One line on stderr, from the tool to the person."""
    print(f"tracekit: {printable(text)}", file=sys.stderr, flush=True)  # noqa: T201


def put(text: str) -> None:
    """Text on stdout, as it is. Raises OutputUnwritableError when the disk behind stdout refuses it."""
    try:
        sys.stdout.write(text)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputUnwritableError(f"standard output cannot be written: {error.strerror}") from None


def put_lines(lines: Iterable[str]) -> None:
    """Lines on stdout, each with a newline."""
    for line in lines:
        put(line + "\n")


@contextmanager
def new_file(path: Path, *, force: bool) -> Iterator[TextIO]:
    """A text file that appears under its name when it is whole, and not at all after an exception.

    What is no regular file (a pipe, /dev/null) is written directly. Raises OutputExistsError, or
    OutputUnwritableError.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with _unwritable(path), _open_text(path) as file:
            yield file
        return
    with new_path(path, force=force) as temporary, _open_text(temporary) as file:
        yield file


@contextmanager
def new_path(path: Path, *, force: bool) -> Iterator[Path]:
    """The name of a file to write beside ``path``, which then takes its place; not after an exception.

    Raises OutputExistsError, or OutputUnwritableError.
    """
    if path.is_dir():
        raise OutputUnwritableError(f"{path} is a folder", hint="give the name of a file")
    if path.exists() and not path.is_file():
        raise OutputUnwritableError(f"{path} is no regular file", hint="give the name of one")
    if path.exists() and not force:
        raise OutputExistsError(f"{path} exists", hint="give another name, or --force to replace it")
    temporary = _temporary_beside(path)
    try:
        with _unwritable(path):
            yield temporary
            temporary.replace(path)
    finally:
        with suppress(OSError):
            temporary.unlink()


def _open_text(path: Path) -> TextIO:
    return path.open("w", encoding="utf-8", errors="backslashreplace")


@contextmanager
def _unwritable(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise OutputUnwritableError(f"{path} cannot be written: {error.strerror}") from None


def _temporary_beside(path: Path) -> Path:
    try:
        handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise OutputUnwritableError(
            f"{path} cannot be written: {error.strerror}",
            hint="give a name in a folder that you may write to",
        ) from None
    # mkstemp makes it private; a new file has the permissions that the umask leaves.
    umask = os.umask(0)
    os.umask(umask)
    os.fchmod(handle, 0o666 & ~umask)
    os.close(handle)
    return Path(name)


class Progress:
    """A bar on stderr while something takes long; nothing at all where stderr is no terminal.

    With ``of_bytes`` what is counted are bytes, and their rate is shown.
    """

    def __init__(self, what: str, *, of_bytes: bool = False) -> None:
        self._what = what
        self._of_bytes = of_bytes
        self._next = time.monotonic() + 0.5
        self._bar: rich.progress.Progress | None = None

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is, ten times a second at most, after the first half second."""
        now = time.monotonic()
        if now < self._next or not sys.stderr.isatty():
            return
        self._next = now + 0.1
        if self._bar is None:
            self._bar = self._begin()
        self._bar.update(self._bar.task_ids[0], completed=done, total=total)
        self._bar.refresh()

    def _begin(self) -> rich.progress.Progress:
        from rich import progress  # noqa: PLC0415 - most commands are done before it is needed
        from rich.console import Console  # noqa: PLC0415

        rate = [progress.TransferSpeedColumn()] if self._of_bytes else []
        bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            *rate,
            progress.TimeRemainingColumn(),
            console=Console(stderr=True),
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        bar.add_task(printable(self._what))
        bar.start()
        return bar

    def clear(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


@contextmanager
def opened(
    *logs: Path, cache: bool = True, notes_first: bool = False, access: Access | None = None
) -> Iterator[Store]:
    """The store of a log, or of several together; ``access`` is what its queries may reach.

    Its notes go to stderr, at the end unless told otherwise; an error stands alone.
    """
    # Nothing here uses numpy's linear algebra, whose threads would keep the processors busy.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    from tracekit.store.access import RECORDING_ONLY  # noqa: PLC0415 - keeps `tracekit --help` quick
    from tracekit.store.opening import open_store  # noqa: PLC0415

    what = str(logs[0]) if len(logs) == 1 else f"{len(logs)} logs"
    progress = Progress(f"tracekit: building the tables of {what}", of_bytes=True)
    try:
        store = open_store(*logs, cache=cache, progress=progress, access=access or RECORDING_ONLY)
    finally:
        progress.clear()
        gc.enable()  # see QUESTIONS in app.py
    with store:
        if notes_first:
            _say_notes(store)
        yield store
        if not notes_first:
            _say_notes(store)


def _say_notes(store: Store) -> None:
    for note in store.notes:
        say(f"note: {note}")
