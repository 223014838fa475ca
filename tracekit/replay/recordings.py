"""What is alive in one recording and what in another: of the same program, before and after a change."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from tracekit.replay.difference import Status, StatusTotal, status_of, status_totals
from tracekit.replay.heap import check_grouping
from tracekit.replay.matching import Line, have_text, match_files, match_lines
from tracekit.replay.moment import Moment
from tracekit.replay.rows import UNKNOWN, integer
from tracekit.store.database import Store


class Place(Struct, frozen=True):
    """Where blocks of a group were allocated; what the grouping or the recording does not tell is None."""

    file: str
    function: str | None = None
    line: int | None = None
    text: str | None = None


class RecordingChange(Struct, frozen=True):
    """How one group changed from the old recording to the new one; ``bytes`` and ``blocks`` are the growth.

    ``key`` is that of the new recording, of the old one when the group is gone. ``old`` and ``new`` say where
    a file, function or site is in each, if it holds something there. ``edited``: the line is taken for the
    same although its text is another one, or not known.
    """

    key: str
    bytes: int
    blocks: int
    bytes_before: int
    bytes_after: int
    blocks_before: int
    blocks_after: int
    status: Status
    old: Place | None
    new: Place | None
    edited: bool


class Side(Struct, frozen=True):
    """One of the two heaps, and what its recording says of itself. ``duration_ns`` is in nanoseconds."""

    path: str
    moment: Moment
    total_bytes: int
    total_blocks: int
    peak_bytes: int
    end_bytes: int
    end_blocks: int
    allocations: int
    gc_collections: int
    duration_ns: int


class RecordingDifference(Struct, frozen=True):
    """The growth from one recording to another, most growth first; totals are of the whole heaps.

    ``statuses`` has all four, and ``unchanged`` is the number of groups that are in none. ``untold_bytes`` of
    the two heaps are in functions whose source text is not known on both sides, and whose lines were matched
    by their distance to the first one, and did not all stay where they were.
    """

    old: Side
    new: Side
    by: str
    total_bytes: int
    total_blocks: int
    groups: list[RecordingChange]
    statuses: dict[Status, StatusTotal]
    unchanged: int
    untold_bytes: int


class _Row(Struct):
    """Blocks with one key in common."""

    key: str
    bytes: int = 0
    blocks: int = 0
    place: Place | None = None


_Pair = tuple[_Row | None, _Row | None, bool]
"""A group in the old and in the new recording, and whether its line was edited."""
_Function = tuple[str, str]
"""Its file and its name."""


def recordings_difference(  # noqa: PLR0913 - a question with its options
    old: Store,
    new: Store,
    old_moment: Moment,
    new_moment: Moment,
    *,
    by: str = "site",
    limit: int | None = None,
) -> RecordingDifference:
    """Compare the heap at a moment of one recording with that at a moment of another.

    Groups are matched by their keys; files, functions and sites also when the program's folder is another one
    (:func:`match_files`), and sites when their line has moved within the function (:func:`match_lines`). When
    of a function exactly one line has no counterpart on either side, it was edited, and is one group. Only
    groups that changed are there; ``limit`` cuts their list. Raises UsageError for a grouping or a limit that
    does not exist.
    """
    check_grouping(by, limit)
    untold_bytes = 0
    if by == "site":
        pairs, untold_bytes = _site_pairs(old, old_moment, new, new_moment)
    elif by in {"function", "file"}:
        files = _matched_files(old, new)
        rows = _by_place(old, old_moment, by, files), _by_place(new, new_moment, by, {})
        pairs = _joined(*rows)
    else:
        pairs = _joined(_by_key(old, old_moment, by), _by_key(new, new_moment, by))
    changes = [_change(*pair) for pair in pairs]
    changed = [change for change in changes if change.bytes or change.blocks]
    changed.sort(key=lambda change: (-change.bytes, -change.blocks, change.key))
    before = _side(old, old_moment, [row for row, _, _ in pairs if row is not None])
    after = _side(new, new_moment, [row for _, row, _ in pairs if row is not None])
    return RecordingDifference(
        before,
        after,
        by,
        after.total_bytes - before.total_bytes,
        after.total_blocks - before.total_blocks,
        changed[:limit],
        status_totals((change.status, change.bytes, change.blocks) for change in changed),
        len(changes) - len(changed),
        untold_bytes,
    )


def _change(old: _Row | None, new: _Row | None, edited: bool) -> RecordingChange:
    before, after = (row or _Row("") for row in (old, new))
    return RecordingChange(
        after.key if new is not None else before.key,
        after.bytes - before.bytes,
        after.blocks - before.blocks,
        before.bytes,
        after.bytes,
        before.blocks,
        after.blocks,
        status_of((before.bytes, before.blocks), (after.bytes, after.blocks)),
        before.place,
        after.place,
        edited,
    )


def _side(store: Store, moment: Moment, rows: list[_Row]) -> Side:
    totals = store.totals
    return Side(
        str(store.path),
        moment,
        sum(row.bytes for row in rows),
        sum(row.blocks for row in rows),
        totals.peak_bytes,
        totals.end_bytes,
        totals.end_blocks,
        totals.allocations,
        totals.gc_collections,
        totals.duration_ns,
    )


# -- groups with a key of their own -------------------------------------------------------------------------


def _joined(old: dict[str, _Row], new: dict[str, _Row]) -> list[_Pair]:
    pairs: list[_Pair] = [(row, new.get(key), False) for key, row in old.items()]
    return pairs + [(None, row, False) for key, row in new.items() if key not in old]


def _by_key(store: Store, moment: Moment, by: str) -> dict[str, _Row]:
    parameters = {"seq": moment.seq, "by": by, "trace": store.trace_id}
    found = store.query("SELECT key, bytes, blocks FROM heap_by($seq, $by, trace := $trace)", parameters)
    return {str(key): _Row(str(key), integer(size), integer(blocks)) for key, size, blocks in found.rows()}


def _by_place(store: Store, moment: Moment, by: str, files: dict[str, str]) -> dict[str, _Row]:
    """Functions or files, by the key that they have, or would have if their file had its new name."""
    found: dict[str, _Row] = {}
    for (file, function), rows in _by_function(store, moment).items():
        for row in rows.values():
            own, key = (
                name if by == "file" else _function_key(name, function)
                for name in (file, files.get(file, file))
            )
            place = Place(file, None if by == "file" else function)
            total = found.setdefault(key, _Row(own, place=place))
            total.bytes += row.bytes
            total.blocks += row.blocks
    return found


# -- sites --------------------------------------------------------------------------------------------------

_ROWS: Final = """
WITH heap AS (
    SELECT stack_id, sum(size) AS bytes, count(*) AS blocks FROM heap_at($seq, trace := $trace) GROUP BY ALL
), source AS (
    SELECT code_id, line, min(text) AS text FROM source_lines WHERE trace_id = $trace GROUP BY ALL
)
SELECT coalesce(c.filename, '<unknown>') AS file, coalesce(c.qualname, '<unknown>') AS function,
       coalesce(s.line, 0) AS line, min(t.text) AS text,
       sum(h.bytes) AS bytes, sum(h.blocks)::BIGINT AS blocks
FROM heap h
LEFT JOIN stacks s ON s.trace_id = $trace AND s.stack_id = h.stack_id
LEFT JOIN codes c ON c.trace_id = $trace AND c.code_id = s.code_id
LEFT JOIN source t ON t.code_id = s.code_id AND t.line = s.line
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
# All known lines of functions that hold memory: which of several equal ones holds it must not matter.
_LINES: Final = """
WITH holding AS (
    SELECT DISTINCT c.filename, c.qualname
    FROM (SELECT DISTINCT stack_id FROM heap_at($seq, trace := $trace)) h
    JOIN stacks s ON s.trace_id = $trace AND s.stack_id = h.stack_id
    JOIN codes c ON c.trace_id = $trace AND c.code_id = s.code_id
)
SELECT c.filename, c.qualname, s.line, min(s.line - c.first_line) AS distance, min(t.text) AS text
FROM (SELECT DISTINCT code_id, line FROM stacks WHERE trace_id = $trace) s
JOIN codes c ON c.trace_id = $trace AND c.code_id = s.code_id
SEMI JOIN holding o ON o.filename = c.filename AND o.qualname = c.qualname
LEFT JOIN source_lines t ON t.trace_id = $trace AND t.code_id = s.code_id AND t.line = s.line
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""


def _site_pairs(old: Store, old_moment: Moment, new: Store, new_moment: Moment) -> tuple[list[_Pair], int]:
    """The sites, and the bytes of which it is not told how well they were matched."""
    files = _matched_files(old, new)
    old_rows, new_rows = _by_function(old, old_moment), _by_function(new, new_moment)
    old_lines, new_lines = _lines(old, old_moment), _lines(new, new_moment)
    pairs: list[_Pair] = []
    untold_bytes = 0
    for function, rows in old_rows.items():
        there_is = (files.get(function[0], function[0]), function[1])
        others = new_rows.pop(there_is, {})
        before = old_lines.get(function) or [Line(number, number) for number in rows]
        after = new_lines.get(there_is) or [Line(number, number) for number in others]
        pairs += _line_pairs(rows, others, match_lines(before, after))
        if others and rows.keys() != others.keys() and not (have_text(before) and have_text(after)):
            untold_bytes += sum(row.bytes for row in (*rows.values(), *others.values()))
    pairs += [(None, row, False) for rows in new_rows.values() for row in rows.values()]
    return pairs, untold_bytes


def _line_pairs(old: dict[int, _Row], new: dict[int, _Row], numbers: dict[int, int]) -> list[_Pair]:
    """The lines of one function, when ``numbers`` says which is which."""
    pairs: list[_Pair] = []
    kept = set(numbers.values())
    lost = [row for line, row in old.items() if line not in numbers]
    made = [row for line, row in new.items() if line not in kept]
    if len(lost) == len(made) == 1:
        before, after = (row.place.text if row.place else None for row in (lost[0], made[0]))
        pairs.append((lost[0], made[0], before is None or before != after))
    else:
        pairs += [(row, None, False) for row in lost]
        pairs += [(None, row, False) for row in made]
    pairs += [(row, new.get(numbers[line]), False) for line, row in old.items() if line in numbers]
    held = {numbers[line] for line in old if line in numbers}
    return pairs + [(None, row, False) for line, row in new.items() if line in kept and line not in held]


def _by_function(store: Store, moment: Moment) -> dict[_Function, dict[int, _Row]]:
    """Sites by function and line; line 0 is where none is known."""
    found: defaultdict[_Function, dict[int, _Row]] = defaultdict(dict)
    parameters = {"seq": moment.seq, "trace": store.trace_id}
    for file, function, line, text, size, blocks in store.query(_ROWS, parameters).rows():
        place = Place(str(file), str(function), integer(line), None if text is None else str(text))
        key = f"{file}:{line} ({function})" if line or file != UNKNOWN else UNKNOWN
        found[str(file), str(function)][integer(line)] = _Row(key, integer(size), integer(blocks), place)
    return dict(found)


def _lines(store: Store, moment: Moment) -> dict[_Function, list[Line]]:
    found: defaultdict[_Function, list[Line]] = defaultdict(list)
    parameters = {"seq": moment.seq, "trace": store.trace_id}
    for file, function, line, distance, text in store.query(_LINES, parameters).rows():
        known = None if text is None else str(text)
        found[str(file), str(function)].append(Line(integer(line), integer(distance), known))
    return dict(found)


def _matched_files(old: Store, new: Store) -> dict[str, str]:
    return match_files(_files(old), _files(new), old_folder=old.header.cwd, new_folder=new.header.cwd)


def _files(store: Store) -> Iterable[str]:
    statement = "SELECT DISTINCT filename FROM codes WHERE trace_id = $trace ORDER BY 1"
    return [str(name) for (name,) in store.query(statement, {"trace": store.trace_id}).rows()]


def _function_key(file: str, function: str) -> str:
    return f"{function} ({file})" if file != UNKNOWN else UNKNOWN
