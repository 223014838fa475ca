"""Empty stores that are copied: running all SQL that makes one takes a tenth of a second each time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import duckdb

from tracekit.store.access import quoted
from tracekit.store.schema import make_tables

Make = Callable[[duckdb.DuckDBPyConnection], None]


def copies(path: Path) -> Make:
    """What does as ``make_tables`` does, by copying out of a database that is made at ``path`` once.

    The tables, views, macros and comments are the same (test_store_schema.py).
    """
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH {quoted(path)} AS made")
        connection.execute("USE made")
        make_tables(connection)

    def copy(connection: duckdb.DuckDBPyConnection) -> None:
        row = connection.execute("SELECT current_database()").fetchone()
        assert row is not None
        # As many are attached at the same time as logs are read into one database.
        made = f"made_for_{row[0]}"
        connection.execute(f"ATTACH {quoted(path)} AS {made} (READ_ONLY)")
        connection.execute(f"COPY FROM DATABASE {made} TO {row[0]}")
        connection.execute(f"DETACH {made}")

    return copy
