"""Keeps what simulations came to, as tables that queries answer: ``sim_timeline`` and the like (docs/sql.md).

A store is read by other processes at any time, so nothing is written into it. The rows are in a small file
beside it, ``app.tkt.simulated.duckdb``, which is made anew under another name and moved into place: whoever
has the old one open keeps it, and a process that is killed leaves it as it was. It says of which state of
which log it is, as a store does, and goes unread when that is not the one of the store.
"""

from __future__ import annotations

import contextlib
import fcntl
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb
import msgspec

from tracekit.store.access import quoted
from tracekit.store.cache import Database, ForeignDatabaseError, Identity, new_file, simulated_path
from tracekit.store.database import Store
from tracekit.store.rows import Columns, insert_rows
from tracekit.store.schema import simulated_names, simulated_schema

Tables = Mapping[str, Columns]
"""Columns of ``sim_timeline``, ``sim_collections`` and ``sim_arenas``, without trace_id, scenario and bound.

-1 in ``free_seq`` of ``sim_arenas`` is NULL.
"""

Bounds = Mapping[str, Tables]
"""The tables of one scenario: of its courses ``low``, ``likely`` and ``high``, or ``only`` of one."""


def save(store: Store, scenarios: Mapping[str, Bounds], trace_id: int | None = None) -> str | None:
    """Keep the tables of scenarios, by name; what was there by the same names is replaced, all at once.

    Returns None, or in words why they cannot be kept: there is no file of the store, or none can be written.
    The store goes on answering what it did; one that is opened from now on has the new rows.
    """
    trace = store.trace_id if trace_id is None else trace_id
    log = store.paths[trace - 1]
    cached, identity = store.source(trace)
    if cached is None or identity is None:
        return "what was simulated is not kept for queries, because the store is in memory only"
    path = simulated_path(log)
    try:
        with _alone(log):
            return _write(path, identity, scenarios)
    except (OSError, duckdb.Error) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"what was simulated is not kept for queries: {path} cannot be written ({reason})"


def _write(path: Path, identity: Identity, scenarios: Mapping[str, Bounds]) -> str | None:
    with new_file(path) as temporary, contextlib.closing(Database()) as database:
        try:
            found = _identity_of(path)
        except ForeignDatabaseError:
            return f"what was simulated is not kept for queries: {path} is a database of somebody else"
        if found is not None and found != identity and identity.precedes(found):
            return "what was simulated is not kept for queries: the log has grown meanwhile"
        database.attach(temporary, read_only=False)
        execute = database.connection.execute
        execute(simulated_schema())
        values = [*msgspec.structs.astuple(identity), None]
        execute(f"INSERT INTO store_identity VALUES ({', '.join('?' * len(values))})", values)  # noqa: S608
        if found == identity:
            execute(f"ATTACH {quoted(path)} AS before (READ_ONLY)")
            for table in simulated_names():
                kept = f"SELECT * FROM before.main.{table} WHERE NOT list_contains(?, scenario)"  # noqa: S608
                execute(f"INSERT INTO {table} {kept}", [list(scenarios)])
            execute("DETACH before")
        for scenario, bounds in scenarios.items():
            for bound, tables in bounds.items():
                for table, columns in tables.items():
                    insert_rows(database.connection, table, 1, columns, scenario=scenario, bound=bound)
        database.detach()
        temporary.replace(path)
    return None


def _identity_of(path: Path) -> Identity | None:
    """Of which log the file holds simulations, None when it cannot be read. Raises ForeignDatabaseError."""
    if not path.exists():
        return None
    with contextlib.closing(Database()) as database:
        try:
            database.attach(path, read_only=True)
            return database.identity()
        except duckdb.Error:
            return None


@contextlib.contextmanager
def _alone(log: Path) -> Iterator[None]:
    """One process after the other writes the simulations of a log: each keeps what the ones before wrote."""
    with log.open("rb") as file:
        with contextlib.suppress(OSError):  # a file system without locks: the last one wins
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
