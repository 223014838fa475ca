"""What the modules that read answers of the store have in common."""

from __future__ import annotations

from typing import Final

from tracekit.store.database import Store

UNKNOWN: Final = "<unknown>"
"""The key of what a recording does not tell, in SQL as here."""

_LIVE: Final = "SELECT coalesce(sum(size), 0)::BIGINT, count(*) FROM heap_at($seq, trace := $trace)"


def integer(value: object) -> int:
    """A value of a column of integers that is never NULL."""
    assert isinstance(value, int)  # noqa: S101 - the type of the column
    return value


def live_at(store: Store, seq: int) -> tuple[int, int]:
    """Bytes and blocks that are alive after this event."""
    ((size, blocks),) = store.query(_LIVE, {"seq": seq, "trace": store.trace_id}).rows()
    return integer(size), integer(blocks)
