"""Opens the store of a log, building it first where that is needed."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb

from tracekit.errors import StoreError
from tracekit.log.reader import LogReader
from tracekit.store.access import RECORDING_ONLY, Access
from tracekit.store.cache import (
    Database,
    Fill,
    ForeignDatabaseError,
    Identity,
    build_file,
    build_in_memory,
    cache_path,
    open_cached,
)
from tracekit.store.database import Store
from tracekit.store.ingest import Progress, ingest


def open_store(
    log: str | os.PathLike[str],
    *,
    cache: bool = True,
    progress: Progress | None = None,
    access: Access = RECORDING_ONLY,
) -> Store:
    """Open the store of a log, building it when there is none or the log has changed since.

    With ``cache`` it is kept in ``<log>.duckdb`` beside the log; without, or when that file cannot be
    written, in memory (which ``Store.notes`` says). ``progress(bytes_done, bytes_total)`` is called while
    building; ``access`` is what its queries may reach. Raises what :class:`LogReader` raises, and StoreError
    when DuckDB cannot build it anywhere.
    """
    path = Path(log)
    try:
        mtime_ns = path.stat().st_mtime_ns
    except OSError:
        mtime_ns = 0  # the reader says what is wrong, in its own words
    with LogReader(path) as reader:

        def fill(connection: duckdb.DuckDBPyConnection) -> None:
            ingest(connection, reader, 1, progress)

        identity = Identity.of(reader, mtime_ns)
        notes: list[str] = []
        database = _from_cache(cache_path(path), identity, fill, notes) if cache else None
        if database is None:
            try:
                database = build_in_memory(identity, fill)
            except duckdb.Error as error:
                raise StoreError(f"the store of {path} cannot be built: {error}") from error
        try:
            return Store(path, reader.header, database, notes, access)
        except BaseException:
            database.close()
            raise


def _from_cache(path: Path, identity: Identity, fill: Fill, notes: list[str]) -> Database | None:
    """The store in the file, built anew if needed; None (and a note) when there can be no such file."""
    try:
        database, reason = open_cached(path, identity)
        if database is not None:
            return database
        database = build_file(path, identity, fill)
        if reason:
            notes.append(f"{path} {reason}: it was built anew")
        return database
    except ForeignDatabaseError:
        notes.append(f"{path} is a database of somebody else: the store is kept in memory instead")
    except (OSError, duckdb.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        notes.append(f"{path} cannot be written ({reason}): the store is kept in memory instead")
    return None
