"""The database files beside logs: which log they were built from, how they are built and opened.

A store lives in an attached database of its own in-memory DuckDB instance. (Opening the file itself would go
through DuckDB's cache of instances, which answers from the old file after the new one took its place.)
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb
import msgspec

from tracekit._version import __version__
from tracekit.log.reader import LogReader
from tracekit.store.access import quoted
from tracekit.store.schema import STORE_SCHEMA_VERSION, simulated_names, union_schema

STORE_SUFFIX = ".duckdb"
SIMULATED_SUFFIX = ".simulated.duckdb"
ABANDONED_AFTER_S = 60
"""Age at which a half-built store that nobody has locked is taken for what a killed process left behind."""

BLOCK_BYTES = 1 << 16
"""Block of a store's file. DuckDB's own 256 KiB make the least store 3 MB; below 64 KiB large ones grow."""

BUILDING_BYTES = 384 << 20
"""Memory that DuckDB may take while it writes a store to a file. It would keep all that it has written."""

NO_ASYNC_WRITES = {"async_threads": "0"} if int(duckdb.__version__.partition(".")[0]) >= 2 else {}
"""DuckDB 2.0 writes Parquet files with threads of their own. One of them and the thread of the query can wait
for each other when that is interrupted, and Ctrl-C would never end an export. Nothing else here uses them."""

Fill = Callable[["Database", bytes | None], bytes | None]
"""Makes the tables and writes the rows of a log, or what is new since what it returned the last time.

What it returns is kept in the store; None when nothing can be new any more.
"""


class ForeignDatabaseError(Exception):
    """The file where the cache belongs is a database, and not one of tracekit's."""


class NotResumableError(Exception):
    """The store is not one that can be brought up to date: it has to be built from the beginning."""


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

    def precedes(self, other: Self) -> bool:
        """Whether this may be an earlier state of the same log, as far as can be told from here."""
        same = msgspec.structs.replace(other, log_bytes=self.log_bytes, log_mtime_ns=self.log_mtime_ns)
        return same == self and self.log_bytes <= other.log_bytes


class Database:
    """One DuckDB instance with a folder of its own to spill to, which exists only while DuckDB needs it."""

    def __init__(self) -> None:
        spill = f"tracekit-{os.getpid()}-{secrets.token_hex(6)}"
        self._spill = Path(tempfile.gettempdir(), spill)
        self._catalog = "memory"
        self._beside: dict[str, str] = {}
        self.connection = duckdb.connect(
            ":memory:",
            config={
                "temp_directory": str(self._spill),
                "autoload_known_extensions": "false",
                "autoinstall_known_extensions": "false",
                "allow_community_extensions": "false",
                "python_enable_replacements": "false",
                **NO_ASYNC_WRITES,
            },
        )

    def attach(self, path: Path | None, *, read_only: bool, name: str = "store") -> None:
        """Make the database in a file, or a new one in memory, the one that names refer to.

        Raises duckdb.Error.
        """
        options = "(READ_ONLY)" if read_only else f"(BLOCK_SIZE {BLOCK_BYTES})" if path else ""
        self.connection.execute(f"ATTACH {quoted(path or ':memory:')} AS {name} {options}")
        self._use(name)

    def detach(self) -> None:
        """Let go of the file that was attached, with all that was written in it."""
        self._use("memory")
        self.connection.execute("DETACH store")

    def _use(self, catalog: str) -> None:
        self.connection.execute(f"USE {catalog}")
        self._catalog = catalog

    def source(self, name: str) -> tuple[Path | None, Identity | None]:
        """The file of an attached store and its identity; None, None for one in memory."""
        paths = "SELECT path FROM duckdb_databases() WHERE database_name = ? AND path IS NOT NULL"
        with self.writer() as cursor:
            found = cursor.execute(paths, [name]).fetchall()
        return (Path(found[0][0]), self._identity_in(name)) if found else (None, None)

    def reopened(self, name: str, memory_limit: int) -> Database | None:
        """Another instance for the file of a store that is attached here, with a memory limit of its own.

        None when the store is in memory, or another one has taken the place of its file.
        """
        path, identity = self.source(name)
        if path is None:
            return None
        database = Database()
        try:
            database.connection.execute(f"SET memory_limit = '{memory_limit}B'")
            database.attach(path, read_only=True)
            if database.identity() == identity:
                return database
        except (duckdb.Error, ForeignDatabaseError):
            pass  # it was replaced just now
        except BaseException:
            database.close()
            raise
        database.close()
        return None

    def attach_simulated(self, path: Path, identity: Identity, name: str = "store") -> None:
        """Have the tables of simulations of an attached store answered by the file beside it, if it fits."""
        beside = f"{name}_simulated"
        if not path.exists():
            return
        # A broken file is as good as none: it can be made again. One of somebody else is left alone.
        with contextlib.suppress(duckdb.Error, ForeignDatabaseError):
            self.connection.execute(f"ATTACH {quoted(path)} AS {beside} (READ_ONLY)")
            if self._identity_in(beside) == identity:
                self._beside[name] = beside

    def unite(self, catalogs: Sequence[str]) -> None:
        """Make one store of several that are attached: names refer to the rows of all."""
        self._use("memory")
        self.connection.execute(union_schema(catalogs, self._beside))

    def create(self, identity: Identity, fill: Fill) -> None:
        """Have the tables made and filled."""
        self._fill(identity, fill, None)

    def catch_up(self, identity: Identity, fill: Fill, resume: bytes) -> None:
        """Add what is new, to a copy that nobody reads: it is not sound until this returns."""
        self.connection.execute("DELETE FROM store_identity")
        self._fill(identity, fill, resume)

    def _fill(self, identity: Identity, fill: Fill, resume: bytes | None) -> None:
        # The threads that fill it keep the processors busy; those of DuckDB would only be in their way.
        # What is in a file need not be kept in memory as well.
        self.connection.execute("SET threads = 1")
        if self._catalog == "store":
            self.connection.execute(f"SET memory_limit = '{BUILDING_BYTES}B'")
        resume = fill(self, resume)
        self.connection.execute("RESET threads")
        self.connection.execute("RESET memory_limit")
        values = [*msgspec.structs.astuple(identity), resume]
        self.connection.execute("INSERT INTO store_identity VALUES (?, ?, ?, ?, ?, ?)", values)

    def identity(self) -> Identity | None:
        """The identity in the store, None when it is of a shape not known here.

        Raises ForeignDatabaseError when there is none at all.
        """
        return self._identity_in(self._catalog)

    def _identity_in(self, name: str) -> Identity | None:
        names = ", ".join(Identity.__struct_fields__)
        try:
            with self.connection.cursor() as cursor:
                rows = cursor.execute(f"SELECT {names} FROM {name}.main.store_identity").fetchall()  # noqa: S608
        except duckdb.CatalogException:
            raise ForeignDatabaseError from None
        except duckdb.BinderException:
            return None
        try:
            return msgspec.convert(dict(zip(Identity.__struct_fields__, rows[0], strict=True)), Identity)
        except (ValueError, IndexError, msgspec.ValidationError):
            return None

    def resume(self) -> bytes | None:
        """What the last fill returned, in a store whose :meth:`identity` is known."""
        row = self.connection.execute("SELECT resume FROM store_identity").fetchone()
        return row[0] if row else None

    def cursor(self) -> duckdb.DuckDBPyConnection:
        """A connection for one query, in a transaction that cannot write."""
        cursor = self.writer()
        try:
            cursor.execute("BEGIN TRANSACTION READ ONLY")
        except BaseException:
            cursor.close()
            raise
        return cursor

    def writer(self) -> duckdb.DuckDBPyConnection:
        """A further connection; a transaction of its own."""
        cursor = self.connection.cursor()
        try:
            cursor.execute(f"USE {self._catalog}")
            if self._catalog in self._beside:  # a temporary view goes before the table of that name
                tables = ((name, self._beside[self._catalog]) for name in simulated_names())
                cursor.execute("".join(f"CREATE TEMP VIEW {n} AS FROM {of}.main.{n};" for n, of in tables))
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


def simulated_path(log: Path) -> Path:
    """Where the tables of simulations of a log are kept."""
    return log.with_name(log.name + SIMULATED_SUFFIX)


@dataclass(frozen=True, slots=True)
class Found:
    """What is in the file where the cache belongs.

    ``database`` is the store that was wanted, if it is that. Otherwise ``older`` says that it is one of the
    same log from when that was not closed yet, and ``reason``, in words, why it is no use; both are empty
    when there is no file.
    """

    database: Database | None = None
    older: bool = False
    reason: str = ""


def open_cached(path: Path, identity: Identity) -> Found:
    """Look for the store of ``identity``. Raises ForeignDatabaseError when the file must not be replaced."""
    if not path.exists():
        return Found()
    database = Database()
    try:
        database.attach(path, read_only=True)
        found = database.identity()
        if found == identity:
            return Found(database)
        older = found is not None and found.precedes(identity) and database.resume() is not None
        result = Found(older=older, reason="was built from another state of the log, or by another tracekit")
    except duckdb.Error:
        result = Found(reason="cannot be read")
    except BaseException:
        database.close()
        raise
    database.close()
    return result


def build_file(path: Path, identity: Identity, fill: Fill, *, older: bool = False) -> Database:
    """Build a store under a temporary name in the same folder, move it into place and open it.

    With ``older`` it begins as a copy of the one that is there. Others who have the old file open keep it.
    Raises OSError or duckdb.Error when the file cannot be made, and what ``fill`` raises; nothing is left
    behind then.
    """
    with new_file(path) as temporary:
        if older:
            shutil.copyfile(path, temporary)
        database = Database()
        try:
            database.attach(temporary, read_only=False)
            if older:
                _catch_up(database, identity, fill)
            else:
                database.create(identity, fill)
            database.detach()
            temporary.replace(path)
            database.attach(path, read_only=True)
        except BaseException:
            database.close()
            raise
    return database


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """A name in the same folder for a database that is to take the place of ``path``; nothing is left of it.

    Raises OSError when there can be no file.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    temporary.touch(exist_ok=False)  # DuckDB says less about why it cannot create a file
    _sweep(path)
    try:
        temporary.unlink()
        yield temporary
    finally:
        for leftover in (temporary, temporary.with_name(temporary.name + ".wal")):
            with contextlib.suppress(OSError):
                leftover.unlink()


def _catch_up(database: Database, identity: Identity, fill: Fill) -> None:
    """The copy may be of a newer file than the one that was looked at: look again."""
    found, resume = database.identity(), database.resume()
    if found is None or not found.precedes(identity) or resume is None:
        raise NotResumableError
    database.catch_up(identity, fill, resume)


def _sweep(path: Path) -> None:
    """Remove what builders of this store that were killed left behind."""
    ours = f".{path.name}.{os.getpid()}-"
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp*"):
        if leftover.name.startswith(ours):
            continue  # closing a file gives up all the locks that this process has on it
        with contextlib.suppress(OSError):
            if time.time() - leftover.stat().st_mtime > ABANDONED_AFTER_S and not _is_locked(leftover):
                leftover.unlink()


def _is_locked(path: Path) -> bool:
    """Whether another process has the database in a file open: DuckDB locks it as fcntl(2) does."""
    with path.open("r+b") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
        fcntl.lockf(file, fcntl.LOCK_UN)
    return False
