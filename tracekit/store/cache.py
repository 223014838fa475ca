"""The database files beside logs: which log they were built from, how they are built and opened.

A store lives in an attached database of its own in-memory DuckDB instance. (Opening the file itself would go
through DuckDB's cache of instances, which answers from the old file after the new one took its place.)
"""

from __future__ import annotations

import contextlib
import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Self

import duckdb
import msgspec

from tracekit._version import __version__
from tracekit.log.reader import LogReader
from tracekit.store.schema import STORE_SCHEMA_VERSION, store_schema

STORE_SUFFIX = ".duckdb"
ABANDONED_AFTER_S = 24 * 3600
"""Age at which a half-built store is taken for what a killed process left behind."""

Fill = Callable[[duckdb.DuckDBPyConnection], None]
"""Writes the rows of a log into tables that exist."""


class ForeignDatabaseError(Exception):
    """The file where the cache belongs is a database, and not one of tracekit's."""


class Identity(msgspec.Struct, frozen=True):
    """What a store was built from; equal identities give equal stores. The table ``store_identity``."""

    trace_uuid: str
    log_bytes: int
    log_mtime_ns: int
    schema_version: int = STORE_SCHEMA_VERSION
    tool_version: str = __version__

    @classmethod
    def of(cls, reader: LogReader, mtime_ns: int) -> Self:
        """The identity of an open log; ``mtime_ns`` is its modification time before it was opened."""
        return cls(reader.header.trace_uuid, reader.size, mtime_ns)


class Database:
    """One DuckDB instance with a folder of its own to spill to, which exists only while DuckDB needs it."""

    def __init__(self) -> None:
        spill = f"tracekit-{os.getpid()}-{secrets.token_hex(6)}"
        self._spill = Path(tempfile.gettempdir(), spill)
        self._catalog = "memory"
        self.connection = duckdb.connect(
            ":memory:",
            config={
                "temp_directory": str(self._spill),
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
            },
        )

    def attach(self, path: Path, *, read_only: bool) -> None:
        """Make the database in a file the one that names refer to. Raises duckdb.Error."""
        quoted = str(path).replace("'", "''")
        self.connection.execute(f"ATTACH '{quoted}' AS store{' (READ_ONLY)' if read_only else ''}")
        self.connection.execute("USE store")
        self._catalog = "store"

    def create(self, identity: Identity, fill: Fill) -> None:
        """Make the tables and fill them, in one transaction."""
        self.connection.execute("BEGIN TRANSACTION")
        self.connection.execute(store_schema())
        fill(self.connection)
        values = list(msgspec.structs.astuple(identity))
        self.connection.execute("INSERT INTO store_identity VALUES (?, ?, ?, ?, ?)", values)
        self.connection.execute("COMMIT")

    def identity(self) -> Identity | None:
        """The identity in the store, None when it is of a shape not known here.

        Raises ForeignDatabaseError when there is none at all.
        """
        try:
            rows = self.connection.execute("SELECT * FROM store_identity").fetchall()
        except duckdb.CatalogException:
            raise ForeignDatabaseError from None
        try:
            return msgspec.convert(dict(zip(Identity.__struct_fields__, rows[0], strict=True)), Identity)
        except (ValueError, IndexError, msgspec.ValidationError):
            return None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one query, in a transaction that cannot write."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(f"USE {self._catalog}")
            cursor.execute("BEGIN TRANSACTION READ ONLY")
        except BaseException:
            cursor.close()
            raise
        return cursor

    def close(self) -> None:
        """Close it and remove what it spilled."""
        self.connection.close()
        shutil.rmtree(self._spill, ignore_errors=True)


def cache_path(log: Path) -> Path:
    """Where the store of a log is kept: ``app.tkt`` has ``app.tkt.duckdb``."""
    return log.with_name(log.name + STORE_SUFFIX)


def open_cached(path: Path, identity: Identity) -> tuple[Database | None, str]:
    """The store in a file if it is that of ``identity``; otherwise None and, in words, why not.

    The reason is empty when there is no file. Raises ForeignDatabaseError when the file must not be replaced.
    """
    if not path.exists():
        return None, ""
    database = Database()
    try:
        database.attach(path, read_only=True)
        found = database.identity()
        if found == identity:
            return database, ""
        reason = "was built from another state of the log, or by another tracekit"
    except duckdb.Error:
        reason = "cannot be read"
    except BaseException:
        database.close()
        raise
    database.close()
    return None, reason


def build_file(path: Path, identity: Identity, fill: Fill) -> Database:
    """Build a store under a temporary name in the same folder, move it into place and open it.

    Others who have the old file open keep it. Raises OSError or duckdb.Error when the file cannot be made;
    nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)  # DuckDB says less about why it cannot create a file
    temporary.unlink()
    _sweep(path)
    try:
        database = Database()
        try:
            database.attach(temporary, read_only=False)
            database.create(identity, fill)
            database.connection.execute("USE memory")
            database.connection.execute("DETACH store")
        finally:
            database.close()
        temporary.replace(path)
    finally:
        for leftover in (temporary, temporary.with_name(temporary.name + ".wal")):
            with contextlib.suppress(OSError):
                leftover.unlink()
    opened = Database()
    try:
        opened.attach(path, read_only=True)
    except BaseException:
        opened.close()
        raise
    return opened


def build_in_memory(identity: Identity, fill: Fill) -> Database:
    """Build a store that lives as long as the process."""
    database = Database()
    try:
        database.create(identity, fill)
    except BaseException:
        database.close()
        raise
    return database


def _sweep(path: Path) -> None:
    """Remove what builders of this store that were killed left behind."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > ABANDONED_AFTER_S:
                leftover.unlink()
