"""The rules that records obey among each other; docs/log-format.md states them.

:class:`Rules` takes the records of a log in order and says what contradicts what came before. The reader
refuses a log at the first contradiction, ``verify`` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
from msgspec import Struct, field

from tracekit.errors import LogCorruptError
from tracekit.events import CollectionStart, CollectionStop, Definitions, EventKind, LiveTypes, Mark, Stack
from tracekit.log.columns import EventColumns
from tracekit.log.livetypes import decode_live_types

Detail = CollectionStart | CollectionStop | Mark
"""A record that describes an event of a batch that follows it."""

_KIND_OF: dict[type[Detail], EventKind] = {
    CollectionStart: EventKind.GC_START,
    CollectionStop: EventKind.GC_STOP,
    Mark: EventKind.MARK,
}


class Numbers(Struct):
    """A set of defined numbers. Numbers given out from 1 without gaps cost no memory."""

    _top: int = 0
    _others: set[int] = field(default_factory=set)

    def __contains__(self, number: int) -> bool:
        return 0 < number <= self._top or number in self._others

    def __len__(self) -> int:
        return self._top + len(self._others)

    def add(self, number: int) -> None:
        """Define a number."""
        if number in self:
            return
        self._others.add(number)
        while self._top + 1 in self._others:
            self._top += 1
            self._others.remove(self._top)

    def extend(self, numbers: list[int]) -> bool:
        """Define numbers if they go on from those that there are without a gap; whether they did."""
        if self._others or numbers != list(range(self._top + 1, self._top + 1 + len(numbers))):
            return False
        self._top += len(numbers)
        return True

    def holds(self, numbers: list[int]) -> bool:
        """Whether all are defined and given out without a gap; quick, and no more than that."""
        return not numbers or (min(numbers) > 0 and max(numbers) <= self._top)

    def missing(self, numbers: npt.NDArray[np.integer]) -> list[int]:
        """Those of ``numbers`` that are not defined, ascending; 0 (none, not known) needs no definition."""
        if not len(numbers) or int(numbers.max()) <= self._top:
            return []
        high = np.unique(numbers[numbers > self._top])
        return [number for number in high.tolist() if number not in self._others]


class Rules(Struct):
    """What is known after the records so far, and the test of each next one; it can be stored.

    ``lost`` is set by whoever knows that records are missing (a notice ``records-lost``, or damage just met):
    from then on events and details may be missing, but what is there must still not contradict itself.
    ``definitions_lost`` (damage just met; a recovered log has stand-ins) tolerates undefined numbers too.
    ``missing`` are ranges of events (first, after last) that are not in the log.
    """

    next_seq: int = 0
    lost: bool = False
    definitions_lost: bool = False
    missing: list[tuple[int, int]] = field(default_factory=list)
    threads: Numbers = field(default_factory=Numbers)
    codes: Numbers = field(default_factory=Numbers)
    stacks: Numbers = field(default_factory=Numbers)
    types: Numbers = field(default_factory=Numbers)
    _collections: Numbers = field(default_factory=Numbers)
    _collecting: set[int] = field(default_factory=set)
    _pending: dict[int, Detail] = field(default_factory=dict)

    @property
    def pending(self) -> int:
        """Details whose event has not come (a log that was cut off between the two)."""
        return len(self._pending)

    def definitions(self, record: Definitions) -> list[str]:
        """Take definitions; what is wrong with them."""
        problems: list[str] = []
        for thread in record.threads:
            problems += self._define(self.threads, "thread", thread.thread_id)
        for code in record.codes:
            problems += self._define(self.codes, "code", code.code_id)
        for stack in [] if self._all_in_order(record.stacks) else record.stacks:
            problems += self._define(self.stacks, "stack", stack.stack_id)
            if stack.parent_id >= stack.stack_id:
                problems.append(
                    f"stack {stack.stack_id} has the parent {stack.parent_id}, which is not before it"
                )
            elif stack.parent_id:
                problems += self._refer(self.stacks, stack.parent_id, f"stack {stack.stack_id}", "parent")
            problems += self._refer(self.codes, stack.code_id, f"stack {stack.stack_id}", "code")
        for kind in record.types:
            problems += self._define(self.types, "type", kind.type_id)
        for text in [] if self.codes.holds([line.code_id for line in record.lines]) else record.lines:
            problems += self._refer(self.codes, text.code_id, f"the text of line {text.line}", "code")
        return problems

    def _all_in_order(self, stacks: list[Stack]) -> bool:
        """Take stacks if nothing is wrong with any and they are numbered as usual: a log has very many."""
        return (
            all(stack.parent_id < stack.stack_id for stack in stacks)
            and self.codes.holds([stack.code_id for stack in stacks])
            and self.stacks.extend([stack.stack_id for stack in stacks])
        )

    def live_types(self, record: LiveTypes) -> list[str]:
        """Take types of live blocks; what is wrong with them."""
        try:
            alloc_seq, type_id = decode_live_types(record)
        except LogCorruptError as error:
            return [error.message]
        if int(alloc_seq[-1]) >= self.next_seq and not self.lost:
            return [f"the type of event {alloc_seq[-1]} is told, which has not come"]
        missing = [] if self.definitions_lost else self.types.missing(type_id)
        return [f"a live block has type {missing[0]}, which is not defined before it"] if missing else []

    def detail(self, record: Detail) -> list[str]:
        """Take a detail, which waits for its event; what is wrong with it."""
        name = record.__struct_config__.tag
        if record.seq < self.next_seq:
            return [] if self.lost else [f"a {name} describes event {record.seq}, which has passed"]
        if record.seq in self._pending:
            return [f"a second detail ({name}) describes event {record.seq}"]
        self._pending[record.seq] = record
        who = f"the {name} of event {record.seq}"
        problems: list[str] = []
        if not isinstance(record, CollectionStop) and record.thread_id:
            problems += self._refer(self.threads, record.thread_id, who, "thread")
        for own in (record.stacks or []) if isinstance(record, Mark) else []:
            problems += self._refer(self.threads, own.thread_id, who, "thread") if own.thread_id else []
            problems += self._refer(self.stacks, own.stack_id, who, "stack") if own.stack_id else []
        return problems

    def batch(self, columns: EventColumns) -> tuple[list[Detail], list[str]]:
        """Take a batch: the details of its events in order of ``seq``, and what is wrong."""
        first, after = columns.first_seq, columns.first_seq + len(columns)
        problems: list[str] = []
        if first < self.next_seq:
            return [], [f"the batch begins with event {first}, but {self.next_seq} belongs there"]
        if first > self.next_seq:
            self.missing.append((self.next_seq, first))
            if not self.lost:
                problems.append(f"the batch begins with event {first}, but {self.next_seq} belongs there")
        self.next_seq = after
        problems += self._undefined(columns)
        details: list[Detail] = []
        for row in columns.others.tolist():
            if columns.kind[row] > EventKind.MARK:  # arenas have no record of their own
                continue
            detail = self._pending.pop(first + row, None)
            kind = EventKind(int(columns.kind[row]))
            if detail is not None and _KIND_OF[type(detail)] == kind:
                wrong = list(self._collection(detail))
                problems += wrong
                details += [] if wrong else [detail]
            elif detail is not None or not self.lost:
                problems.append(
                    f"event {first + row} ({_name(kind)}) has no detail of its kind before the batch"
                )
        problems += self._left_over(after)
        return details, problems

    def _left_over(self, after: int) -> list[str]:
        """Drop details of events that did not come, and say so unless events are known to be missing."""
        passed = [seq for seq in self._pending if seq < after]
        for seq in passed:
            del self._pending[seq]
        known = [seq for seq in passed if any(start <= seq < stop for start, stop in self.missing)]
        return [
            f"a detail describes event {seq}, which is of another kind" for seq in passed if seq not in known
        ]

    def _undefined(self, columns: EventColumns) -> Iterable[str]:
        if self.definitions_lost:
            return
        used = (
            ("thread", self.threads, columns.thread_id),
            ("stack", self.stacks, columns.stack_id),
            ("type", self.types, columns.type_id),
        )
        for name, defined, numbers in used:
            missing = defined.missing(numbers)
            if missing:
                yield f"the batch refers to {name} {missing[0]}, which is not defined before it"

    def _collection(self, detail: Detail) -> Iterable[str]:
        if isinstance(detail, CollectionStart):
            if detail.gc_id + 1 in self._collections:
                yield f"collection {detail.gc_id} starts a second time at event {detail.seq}"
            self._collections.add(detail.gc_id + 1)
            self._collecting.add(detail.gc_id)
        elif isinstance(detail, CollectionStop):
            if detail.gc_id not in self._collecting and not self.lost:
                yield f"collection {detail.gc_id} stops at event {detail.seq} but was not running"
            self._collecting.discard(detail.gc_id)

    @staticmethod
    def _define(defined: Numbers, name: str, number: int) -> Iterable[str]:
        if number == 0 and name != "thread":  # thread 0 may be given a name: "not known"
            yield f"{name} 0 is defined, which is reserved"
        elif number in defined and name != "thread":  # a thread is often known before its name is
            yield f"{name} {number} is defined twice"
        else:
            defined.add(number)

    def _refer(self, defined: Numbers, number: int, who: str, name: str) -> list[str]:
        if number in defined or self.definitions_lost:
            return []
        return [f"{who} refers to {name} {number}, which is not defined before it"]


def _name(kind: EventKind) -> str:
    return kind.name.lower().replace("_", " ")
