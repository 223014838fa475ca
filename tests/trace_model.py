"""A synthetic recording: the plain list of what happened, which knows the answers by the most naive way.

See traces.py, which makes and writes them.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tracekit.events import (
    Allocation,
    ArenaEvent,
    Cause,
    Code,
    CollectionStart,
    CollectionStop,
    CollectorSetting,
    Domain,
    Event,
    EventKind,
    Free,
    Header,
    Mark,
    MemorySample,
    Notice,
    OlderArena,
    OlderPool,
    SourceLine,
    Stack,
    Thread,
    Totals,
    TypeDefinition,
)
from tracekit.log.columns import NOTHING, EventColumns, empty_columns

Definition = Thread | Code | Stack | TypeDefinition | SourceLine | OlderArena | OlderPool | CollectorSetting
Frame = tuple[str, str, int]
"""(file name, qualified name, line)."""


@dataclass(slots=True)
class Trace:
    """One recording: events in order of ``seq`` from 0, and what they refer to.

    ``definitions`` are (number of events at that time, definition), in order.
    """

    header: Header
    events: list[Event]
    definitions: list[tuple[int, Definition]]
    samples: list[MemorySample] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    exit_status: int | None = 0

    @property
    def complete(self) -> bool:
        return any(isinstance(event, Mark) and event.own and event.name == "end" for event in self.events)

    @property
    def threads(self) -> list[Thread]:
        return [item for _, item in self.definitions if isinstance(item, Thread)]

    @property
    def codes(self) -> list[Code]:
        return [item for _, item in self.definitions if isinstance(item, Code)]

    @property
    def stacks(self) -> list[Stack]:
        return [item for _, item in self.definitions if isinstance(item, Stack)]

    @property
    def types(self) -> list[TypeDefinition]:
        return [item for _, item in self.definitions if isinstance(item, TypeDefinition)]

    @property
    def marks(self) -> list[Mark]:
        return [event for event in self.events if isinstance(event, Mark)]

    @property
    def settings(self) -> list[CollectorSetting]:
        return [item for _, item in self.definitions if isinstance(item, CollectorSetting)]

    def frames(self, stack_id: int) -> list[Frame]:
        """The call path of a stack, outermost frame first."""
        stacks = {stack.stack_id: stack for stack in self.stacks}
        codes = {code.code_id: code for code in self.codes}
        path: list[Frame] = []
        while stack_id:
            node = stacks[stack_id]
            code = codes[node.code_id]
            path.append((code.filename, code.qualname, node.line))
            stack_id = node.parent_id
        return path[::-1]

    def live_at(self, seq: int) -> dict[int, Allocation]:
        """What is alive after event ``seq``, by allocation: a naive fold over all events up to it."""
        live: dict[int, Allocation] = {}
        for event in self.events[: seq + 1]:
            if isinstance(event, Allocation):
                live[event.seq] = event
            elif isinstance(event, Free) and event.alloc_seq is not None:
                live.pop(event.alloc_seq, None)
        return live

    def free_of(self, alloc_seq: int) -> Free | None:
        """The event that ended an allocation."""
        frees = (e for e in self.events if isinstance(e, Free) and e.alloc_seq == alloc_seq)
        return next(frees, None)

    def totals(self) -> Totals:
        """What the recording adds up to, by a naive fold."""
        live: dict[int, int] = {}
        now, peak = 0, (-1, 0, -1)
        for event in self.events:
            if isinstance(event, Allocation):
                live[event.seq] = event.size
                now += event.size
            elif isinstance(event, Free) and event.alloc_seq is not None:
                now -= live.pop(event.alloc_seq, 0)
            if now > peak[0]:
                peak = (now, len(live), event.seq)
        allocations = [event for event in self.events if isinstance(event, Allocation)]
        frees = [event for event in self.events if isinstance(event, Free)]
        return Totals(
            events=len(self.events),
            allocations=len(allocations),
            frees=len(frees),
            unmatched_frees=sum(free.alloc_seq is None for free in frees),
            gc_collections=sum(isinstance(event, CollectionStart) for event in self.events),
            allocated_bytes=sum(event.size for event in allocations),
            peak_bytes=max(peak[0], 0),
            peak_blocks=peak[1],
            peak_seq=peak[2],
            end_bytes=sum(live.values()),
            end_blocks=len(live),
            duration_ns=self.events[-1].time_ns if self.events else 0,
        )

    def columns(self, start: int = 0, stop: int | None = None) -> EventColumns:
        """The events ``start:stop`` as a batch."""
        events = self.events[start:stop]
        columns = empty_columns(start, len(events))
        for row, event in enumerate(events):
            columns.time_ns[row] = event.time_ns
            _fill(columns, row, event)
        return columns


def _fill(columns: EventColumns, row: int, event: Event) -> None:
    if not isinstance(event, ArenaEvent | CollectionStop):
        columns.thread_id[row] = event.thread_id
    match event:
        case Allocation():
            columns.kind[row] = EventKind.ALLOCATION
            columns.domain[row] = Domain[event.domain.upper()]
            columns.address[row], columns.size[row] = event.address, event.size
            columns.stack_id[row] = event.stack_id
            columns.alloc_seq[row] = NOTHING if event.realloc_of is None else event.realloc_of
        case Free():
            columns.kind[row] = EventKind.FREE
            columns.cause[row], columns.type_id[row] = Cause[event.cause.upper()], event.type_id
            columns.alloc_seq[row] = NOTHING if event.alloc_seq is None else event.alloc_seq
            columns.address[row] = event.address or 0
        case ArenaEvent():
            columns.kind[row] = EventKind.ARENA_FREE if event.freed else EventKind.ARENA_ALLOCATION
            columns.address[row], columns.size[row] = event.address, event.size
        case CollectionStart():
            columns.kind[row] = EventKind.GC_START
        case CollectionStop():
            columns.kind[row] = EventKind.GC_STOP
        case Mark():
            columns.kind[row] = EventKind.MARK
