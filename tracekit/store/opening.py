"""Opens the store of a log, building it first where that is needed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import duckdb
import msgspec

from tracekit.errors import LogCorruptError, StoreError
from tracekit.events import Header
from tracekit.log.reader import LogReader
from tracekit.store.access import RECORDING_ONLY, Access
from tracekit.store.cache import (
    Database,
    Fill,
    ForeignDatabaseError,
    Identity,
    NotResumableError,
    build_file,
    cache_path,
    open_cached,
    simulated_path,
)
from tracekit.store.database import Store
from tracekit.store.ingest import Progress, Resume, ingest


def open_store(
    log: str | os.PathLike[str],
    *more: str | os.PathLike[str],
    cache: bool = True,
    progress: Progress | None = None,
    access: Access = RECORDING_ONLY,
) -> Store:
    """Open the store of a log, building it when there is none, or adding what is new in a log that has grown.

    With ``cache`` it is kept in ``<log>.duckdb`` beside the log; without, or when that file cannot be
    written, in memory (which ``Store.notes`` says). Of several logs each has its own store, and what is
    opened is all of them as one, told apart by ``trace_id``: 1, 2 and so on in the order of the logs.
    ``progress(bytes_done, bytes_total)`` is called while building; ``access`` is what queries may reach.
    Raises what :class:`LogReader` raises, and StoreError when DuckDB cannot build it anywhere.
    """
    paths = [Path(log), *(Path(path) for path in more)]
    opener = _Opener(cache, progress)
    database = Database() if more else None
    try:
        if database is None:
            database = opener.open(paths[0])
        else:
            names = [f"trace{number}" for number in range(1, len(paths) + 1)]
            for name, path in zip(names, paths, strict=True):
                opener.add(path, database, name)
            database.unite(names)
        return Store(paths, opener.headers, database, opener.notes, access)
    except BaseException:
        if database is not None:
            database.close()
        raise


class _Opener:
    """Opens stores one after the other; ``headers`` are those of their logs."""

    def __init__(self, cache: bool, progress: Progress | None) -> None:
        self._cache = cache
        self._progress = progress
        self.headers: list[Header] = []
        self.notes: list[str] = []

    def open(self, path: Path) -> Database:
        """The store of one log, in a database of its own."""
        with _reader(path) as (reader, identity):
            self.headers.append(reader.header)
            database = self._from_cache(reader, identity)
            if database is not None:
                database.attach_simulated(simulated_path(path), identity)
            else:
                database = Database()
                try:
                    self._build_in_memory(database, reader, identity)
                except BaseException:
                    database.close()
                    raise
            return database

    def add(self, path: Path, database: Database, name: str) -> None:
        """The store of one log, attached to a database under a name."""
        with _reader(path) as (reader, identity):
            self.headers.append(reader.header)
            found = self._from_cache(reader, identity)
            if found is not None:
                found.close()
                database.attach(cache_path(path), read_only=True, name=name)
                database.attach_simulated(simulated_path(path), identity, name)
            else:
                database.attach(None, read_only=False, name=name)
                self._build_in_memory(database, reader, identity)

    def _from_cache(self, reader: LogReader, identity: Identity) -> Database | None:
        if not self._cache:
            return None
        return _from_cache(cache_path(reader.path), identity, _filler(reader, self._progress), self.notes)

    def _build_in_memory(self, database: Database, reader: LogReader, identity: Identity) -> None:
        try:
            database.create(identity, _filler(reader, self._progress))
        except duckdb.Error as error:
            raise StoreError(f"the store of {reader.path} cannot be built: {error}") from error


@contextmanager
def _reader(path: Path) -> Iterator[tuple[LogReader, Identity]]:
    try:
        mtime_ns = path.stat().st_mtime_ns
    except OSError:
        mtime_ns = 0  # the reader says what is wrong, in its own words
    with LogReader(path) as reader:
        yield reader, Identity.of(reader, mtime_ns)


def _filler(reader: LogReader, progress: Progress | None) -> Fill:
    def fill(database: Database, resume: bytes | None) -> bytes | None:
        known = None if resume is None else _resumed(resume, reader)
        left = ingest(database.writer, reader, 1, progress, known)
        return None if left is None else msgspec.msgpack.encode(left)

    return fill


def _resumed(resume: bytes, reader: LogReader) -> Resume:
    """Where to go on. Raises NotResumableError when that is not in this log."""
    try:
        known = msgspec.msgpack.decode(resume, type=Resume)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise NotResumableError from None
    if not reader.continues(known.position):
        raise NotResumableError
    return known


def _from_cache(path: Path, identity: Identity, fill: Fill, notes: list[str]) -> Database | None:
    """The store in the file, built anew if needed; None (and a note) when there can be no such file."""
    try:
        found = open_cached(path, identity)
        if found.database is not None:
            return found.database
        if found.older:
            # A saved state that cannot be makes a sound log look damaged: a damaged one says so once more.
            with suppress(NotResumableError, LogCorruptError, OverflowError, ValueError):
                return build_file(path, identity, fill, older=True)
        database = build_file(path, identity, fill)
        if found.reason:
            notes.append(f"{path} {found.reason}: it was built anew")
        return database
    except ForeignDatabaseError:
        notes.append(f"{path} is a database of somebody else: the store is kept in memory instead")
    except (OSError, duckdb.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        notes.append(f"{path} cannot be written ({reason}): the store is kept in memory instead")
    return None
