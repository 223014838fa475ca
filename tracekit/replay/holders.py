"""Names for the blocks that hold arenas: by site, function, file, type, stack, thread or age."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from tracekit.replay.moment import Moment
from tracekit.replay.pools import Integers
from tracekit.replay.rows import UNKNOWN
from tracekit.store.database import Store

GROUPINGS = ("site", "function", "file", "type", "stack", "thread", "age")
"""How the blocks in nearly empty arenas can be grouped."""

OLDER = "<before the recording>"
"""The key of blocks that were there when the recording began."""


_CODE = frozenset(("site", "function", "file", "stack"))
"""Groupings by where a block was made."""

_SITE = """
SELECT s.stack_id, s.site FROM stack_sites s
WHERE s.trace_id = $trace AND s.stack_id IN (SELECT unnest($ids::INTEGER[]))
"""
_NAMES: Final = {
    "site": _SITE,
    "function": _SITE.replace("s.site", "format('{} ({})', s.function, s.file)"),
    "file": _SITE.replace("s.site", "s.file"),
    "stack": "SELECT i.id, call_path(i.id, trace := $trace) FROM (SELECT unnest($ids::INTEGER[]) AS id) i",
    "type": """SELECT y.type_id, y.name FROM types y
               WHERE y.trace_id = $trace AND y.type_id IN (SELECT unnest($ids::INTEGER[]))""",
    "thread": """SELECT r.thread_id, r.name FROM threads r
                 WHERE r.trace_id = $trace AND r.thread_id IN (SELECT unnest($ids::INTEGER[]))""",
}
_COLUMNS = {"type": "type_id", "thread": "thread_id", "age": "allocated_ns"}

_AGES = (0.01, 0.1, 1, 10, 60, 600, 3600)
_AGE_NAMES = (
    "younger than 10 ms",
    "10 ms to 100 ms old",
    "100 ms to 1 s old",
    "1 s to 10 s old",
    "10 s to 1 min old",
    "1 min to 10 min old",
    "10 min to 1 h old",
    "1 h old and more",
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Blocks with their group; ``labels`` and ``mostly`` are of the groups."""

    group: Integers
    labels: list[str]
    mostly: list[str]


class Keys:
    """Groups the blocks of a moment ``by`` one of GROUPINGS."""

    def __init__(self, store: Store, moment: Moment, by: str) -> None:
        self.by = by
        self._store = store
        self._moment = moment

    def of(self, columns: Mapping[str, npt.NDArray[np.generic]], rows: Integers) -> Labelled:
        """The groups of ``rows`` of the columns; rows that these do not have are blocks that are older."""
        recorded = rows[rows < len(columns["stack_id"])]
        group, labels = self._named(self.by, columns, recorded)
        other, names = self._named("type" if self.by in _CODE else "site", columns, recorded)
        mostly = _most_frequent(group, other, names, len(labels))
        older = len(rows) - len(recorded)
        if older:
            labels, mostly = [*labels, OLDER], [*mostly, UNKNOWN]
        # Older blocks are the last rows.
        return Labelled(np.concatenate((group, np.full(older, len(labels) - 1, np.int64))), labels, mostly)

    def _named(
        self, by: str, columns: Mapping[str, npt.NDArray[np.generic]], rows: Integers
    ) -> tuple[Integers, list[str]]:
        """The group of each row, and the names of the groups, each once."""
        values = columns[_COLUMNS.get(by, "stack_id")][rows].astype(np.int64)
        if by == "age":
            values = np.searchsorted(np.array(_AGES) * 1e9, self._moment.time_ns - values, side="right")
        distinct, index = np.unique(values, return_inverse=True)
        if by == "age":
            return index.astype(np.int64), [_AGE_NAMES[bucket] for bucket in distinct.tolist()]
        parameters: dict[str, object] = {"trace": self._store.trace_id, "ids": distinct.tolist()}
        named = self._store.query(_NAMES[by], parameters).rows()
        found = {key: str(name) for key, name in named if name is not None}
        names = [found.get(value, UNKNOWN) for value in distinct.tolist()]
        labels = sorted(set(names))
        number = {label: place for place, label in enumerate(labels)}
        return np.array([number[name] for name in names], np.int64)[index], labels


def _most_frequent(group: Integers, other: Integers, names: list[str], groups: int) -> list[str]:
    """Of each group, the name that most of its rows have; of equal ones the first, and a known one first."""
    pair, count = np.unique(group * max(1, len(names)) + other, return_counts=True)
    of_group, name = np.divmod(pair, max(1, len(names)))
    unknown = np.array([entry == UNKNOWN for entry in names], np.bool_)
    order = np.lexsort((-name, count, ~unknown[name], of_group)) if len(names) else of_group
    found = [UNKNOWN] * groups
    for place in order.tolist():
        found[of_group[place]] = names[name[place]]
    return found
