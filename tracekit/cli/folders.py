"""A folder of output that appears when it is whole."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tracekit.errors import OutputExistsError, OutputUnwritableError

_OURS = re.compile(r"(?:trace_id=\d+|all)/data_\d+\.parquet")


@contextmanager
def new_folder(path: Path, *, force: bool) -> Iterator[Path]:
    """A folder to write into, whose content then moves to ``path``; nothing does after an exception.

    ``path`` must not exist or be empty. With ``force`` the tables of an earlier export in it are replaced;
    whatever else is there stays. Raises OutputExistsError and OutputUnwritableError.
    """
    if path.exists() and not path.is_dir():
        raise OutputUnwritableError(f"{path} is no folder", hint="give the name of a new one")
    with _unwritable(path, hint="give a name in a folder that you may write to"):
        exists = path.exists()
        if exists and not force and any(path.iterdir()):
            raise OutputExistsError(
                f"{path} is not empty", hint="give another name, or --force to replace the tables in it"
            )
        # Beside a folder that is to come, within one that is there: either way on the same file system.
        prefix = ".tracekit-" if exists else f".{path.name}."
        temporary = Path(tempfile.mkdtemp(prefix=prefix, dir=path if exists else path.parent)).resolve()
    try:
        with _unwritable(path):
            umask = os.umask(0)
            os.umask(umask)
            temporary.chmod(0o777 & ~umask)
            yield temporary
            if exists:
                _replace_tables(temporary, path)
            else:
                temporary.rename(path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _replace_tables(new: Path, folder: Path) -> None:
    """Move the tables of the new folder into the other one, in the place of all that an export left there."""
    tables = sorted(new.iterdir())
    for table in tables:
        foreign = _foreign_file(folder / table.name)
        if foreign is not None:
            raise OutputExistsError(
                f"{foreign} is not of an export of tracekit", hint="move it away, or give another folder"
            )
    earlier = [one for one in folder.iterdir() if one != new and one.is_dir() and _is_table(one)]
    old = new / ".old"
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for source, target in [
            *((one, old / one.name) for one in earlier),
            *((t, folder / t.name) for t in tables),
        ]:
            source.rename(target)
            moved.append((source, target))
    except BaseException:
        for source, target in reversed(moved):
            with suppress(OSError):
                target.rename(source)
        raise


def _is_table(folder: Path) -> bool:
    return any(folder.glob("*/data_*.parquet")) and _foreign_file(folder) is None


def _foreign_file(table: Path) -> Path | None:
    """A file that no export of ours wrote, if there is one."""
    if not table.exists():
        return None
    files = [file for file in table.rglob("*") if not file.is_dir()] if table.is_dir() else [table]
    return next((file for file in files if not _OURS.fullmatch(file.relative_to(table).as_posix())), None)


@contextmanager
def _unwritable(path: Path, *, hint: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputUnwritableError(f"{path} cannot be written: {error.strerror}", hint=hint) from None
