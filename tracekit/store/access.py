"""What a query may reach besides the tables of its store, and how much memory it may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import duckdb

from tracekit.errors import MemoryLimitError

_READING = frozenset({"SELECT", "EXPLAIN", "PRAGMA", "MULTI"})
"""Kinds of statements that are let through (MULTI is a PIVOT); the transaction is read-only besides."""
_REACHING_OUT = frozenset({"ATTACH", "COPY", "DETACH", "LOAD", "SET"})
"""Kinds that are let through as well where a query may leave the store (LOAD is INSTALL too)."""


@dataclass(frozen=True, slots=True)
class Access:
    """The rights of the queries of one open store.

    ``allow_external`` lets them read and write files, attach databases, load extensions and change settings;
    the recording stays read-only. ``memory_limit`` is in bytes, None for DuckDB's own (80% of the memory).
    ``file`` and ``folder`` are what an export of ours may write, and nothing else.
    """

    allow_external: bool = False
    memory_limit: int | None = None
    file: Path | None = None
    folder: Path | None = None

    @property
    def statements(self) -> frozenset[str]:
        """Kinds of statements that may run, by DuckDB's names."""
        return _READING | _REACHING_OUT if self.allow_external else _READING

    def apply(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Set the limits; from here on they cannot be changed by SQL, unless all is allowed.

        Raises MemoryLimitError when the store itself takes more than the limit.
        """
        if self.memory_limit is not None:
            try:
                connection.execute(f"SET memory_limit = '{self.memory_limit}B'")
            except duckdb.Error:
                raise MemoryLimitError(
                    f"the tables alone take more than the memory limit of {self.memory_limit:,} bytes",
                    hint="raise --memory-limit, or leave out --no-cache, so that they stay in a file",
                ) from None
        if self.allow_external:
            return
        if self.file is not None:
            connection.execute(f"SET allowed_paths = [{quoted(self.file)}]")
        if self.folder is not None:
            connection.execute(f"SET allowed_directories = [{quoted(self.folder)}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")


RECORDING_ONLY = Access()
"""No files, no network, no settings: what queries have unless the user says otherwise."""


def quoted(text: str | Path) -> str:
    """Text as a literal of SQL."""
    return "'" + str(text).replace("'", "''") + "'"


def identifier(name: str) -> str:
    """A name as an identifier of SQL."""
    return '"' + name.replace('"', '""') + '"'
