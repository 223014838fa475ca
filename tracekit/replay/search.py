"""Finds the next allocation of a kind, on either side of an event."""

from __future__ import annotations

from typing import Any

from tracekit.errors import UsageError
from tracekit.replay.callpaths import CallPaths
from tracekit.replay.rows import UNKNOWN
from tracekit.store.database import Store

NEAR = 1 << 20
"""Events that are searched first, in some milliseconds; all the others of 10**8 take up to 0.2 s."""

_WITHIN = "FROM allocations WHERE trace_id = $trace AND alloc_seq > $low AND alloc_seq <= $high"
_NEAREST = {True: f"SELECT min(alloc_seq) {_WITHIN}", False: f"SELECT max(alloc_seq) {_WITHIN}"}

# What a key of a grouping stands for: numbers of call paths, types, threads.
_NUMBERS = {
    "site": "SELECT stack_id FROM stack_sites WHERE trace_id = $trace AND site = $key",
    "function": """SELECT stack_id FROM stack_sites
                   WHERE trace_id = $trace AND format('{} ({})', function, file) = $key""",
    "file": "SELECT stack_id FROM stack_sites WHERE trace_id = $trace AND file = $key",
    "module": """SELECT s.stack_id FROM stack_sites s JOIN traces t USING (trace_id)
                 WHERE s.trace_id = $trace AND module_name(s.file, t.cwd) = $key""",
    "stack": """SELECT stack_id FROM stack_sites WHERE trace_id = $trace
                AND ends_with($key, format('{} ({}:{})', function, regexp_extract(file, '[^/]*$'), line))""",
    "type": "SELECT type_id FROM types WHERE trace_id = $trace AND name = $key",
    "thread": "SELECT thread_id FROM threads WHERE trace_id = $trace AND name = $key",
}
_BELOW = """SELECT s.stack_id FROM stacks s JOIN stacks top ON top.trace_id = $trace AND top.stack_id = $key
            WHERE s.trace_id = $trace AND s.position BETWEEN top.position AND top.last_position"""
_IN_STACKS = "stack_id IN (SELECT unnest($stacks::INTEGER[]))"
_CONDITIONS = {
    "stack_id": _IN_STACKS,
    "type_id": "type_id IN (SELECT unnest($types::INTEGER[]))",
    "thread_id": "thread_id IN (SELECT unnest($threads::INTEGER[]))",
}
_UNKNOWN = {
    "stack_id": "stack_id NOT IN (SELECT stack_id FROM stacks WHERE trace_id = $trace)",
    "type_id": "type_id NOT IN (SELECT type_id FROM types WHERE trace_id = $trace)",
    "thread_id": "thread_id NOT IN (SELECT thread_id FROM threads WHERE trace_id = $trace)",
}
_COLUMNS = {"type": "type_id", "thread": "thread_id"}
_PARAMETERS = {"stack_id": "stacks", "type_id": "types", "thread_id": "threads"}


def find_allocation(
    store: Store, paths: CallPaths, seq: int, wanted: dict[str, str | int | None], *, forward: bool
) -> int | None:
    """The nearest allocation after (or before) event ``seq`` that is all that is ``wanted``; None if none is.

    ``wanted`` are keys by grouping as :func:`heap_at` forms them, or ``below``: a node of the call tree,
    which stands for itself and all that it called. Of site, function, file, module, stack and below only one
    can be asked for. Raises UsageError.
    """
    asked = {by: key for by, key in wanted.items() if key is not None}
    for by in asked:
        if by not in (*_NUMBERS, "domain", "below"):
            raise UsageError(
                f"allocations are not told apart by {by!r}",
                hint=f"possible are {', '.join((*_NUMBERS, 'domain'))}",
            )
    if len(asked.keys() - {"type", "thread", "domain"}) > 1:
        raise UsageError(
            f"an allocation has one call path: {' and '.join(asked)} exclude each other",
            hint="give one of them",
        )
    given: dict[str, object] = {"trace": store.trace_id}
    sql = _NEAREST[forward]
    for by, key in asked.items():
        sql += " AND " + _condition(store, paths, by, key, given)
    return _nearest(store, sql, given, seq, forward=forward)


def _nearest(store: Store, sql: str, given: dict[str, object], seq: int, *, forward: bool) -> int | None:
    """Look nearby first, then at all that is left on that side."""
    limit = 2**63 - 1
    nearby = (seq, seq + NEAR) if forward else (seq - NEAR - 1, seq - 1)
    beyond = (seq + NEAR, limit) if forward else (-1, seq - NEAR - 1)
    for low, high in (nearby, beyond):
        for (found,) in store.query(sql, {**given, "low": low, "high": high}).rows():
            if isinstance(found, int):
                return found
    return None


def _condition(store: Store, paths: CallPaths, by: str, key: Any, given: dict[str, object]) -> str:
    """SQL for one thing that is wanted; its parameters are added to ``given``."""
    if by == "domain":
        given["domain"] = key
        return "domain::VARCHAR = $domain"
    column = _COLUMNS.get(by, "stack_id")
    found = store.query(
        _BELOW if by == "below" else _NUMBERS[by], {"trace": store.trace_id, "key": key}
    ).rows()
    numbers = [int(str(number)) for (number,) in found]
    if by == "stack":
        paths.load(numbers)
        numbers = [number for number in numbers if paths.key("stack", number) == key]
    given[_PARAMETERS[column]] = numbers
    if key == UNKNOWN:
        return f"({_CONDITIONS[column]} OR {_UNKNOWN[column]})"
    return _CONDITIONS[column]
