"""`tracekit dump`: a log as JSON lines, one logical record a line, nothing resolved and nothing left out."""

from __future__ import annotations

import os
from collections.abc import Iterator

import msgspec
from msgspec import Struct

from tracekit.events import (
    Allocation,
    ArenaEvent,
    Cause,
    CollectionStart,
    CollectionStop,
    Definitions,
    Domain,
    Event,
    EventKind,
    Footer,
    Free,
    Header,
    LiveTypes,
    Mark,
    MemorySample,
    Notice,
)
from tracekit.log.checks import Detail
from tracekit.log.columns import NOTHING, EventColumns
from tracekit.log.livetypes import decode_live_types
from tracekit.log.reader import LogReader

_DOMAINS = {int(domain): domain.name.lower() for domain in Domain}
_CAUSES = {int(cause): cause.name.lower() for cause in Cause}


class BareEvent(Struct, frozen=True, tag="event"):
    """A collection or mark whose detail was lost: ``kind`` (gc-start, gc-stop, mark) and when it happened."""

    seq: int
    time_ns: int
    thread_id: int
    kind: str


class BlockTypes(Struct, frozen=True, tag="live-types"):
    """Types of blocks that are alive just before event ``seq``, by their allocations."""

    seq: int
    alloc_seq: list[int]
    type_id: list[int]


DumpRecord = Header | Definitions | Event | BareEvent | BlockTypes | MemorySample | Notice | Footer
"""What the lines of a dump are: ``msgspec.json.decode(line, type=DumpRecord)``."""


def dump(path: str | os.PathLike[str]) -> Iterator[str]:
    """The records of a log in order, each as one line of JSON without its line end.

    Batches appear as their single events in order of ``seq``, each collection and mark with its details.
    Raises what :class:`~tracekit.log.reader.LogReader` raises, after the lines before the damage.
    """
    encode = msgspec.json.Encoder().encode
    with LogReader(path) as log:
        details: dict[int, Detail] = {}
        for _, record in log.decoded():
            match record:
                case CollectionStart() | CollectionStop() | Mark():
                    details[record.seq] = record
                case EventColumns():
                    for event in single_events(record, details):
                        yield encode(event).decode()
                    details.clear()
                case LiveTypes():
                    alloc_seq, type_id = decode_live_types(record)
                    yield encode(BlockTypes(record.seq, alloc_seq.tolist(), type_id.tolist())).decode()
                case _:
                    yield encode(record).decode()


def single_events(columns: EventColumns, details: dict[int, Detail]) -> Iterator[Event | BareEvent]:
    """The events of a batch one by one; ``details`` (by ``seq``) stand in for collections and marks."""
    rows = zip(
        columns.seq.tolist(),
        columns.kind.tolist(),
        columns.time_ns.tolist(),
        columns.thread_id.tolist(),
        columns.address.tolist(),
        columns.size.tolist(),
        columns.domain.tolist(),
        columns.stack_id.tolist(),
        columns.alloc_seq.tolist(),
        columns.cause.tolist(),
        columns.type_id.tolist(),
        strict=True,
    )
    for seq, kind, time, thread, address, size, domain, stack, linked, cause, type_id in rows:
        other = None if linked == NOTHING else linked
        if kind == EventKind.ALLOCATION:
            yield Allocation(seq, time, thread, _DOMAINS[domain], address, size, stack, other)
        elif kind == EventKind.FREE:
            yield Free(seq, time, thread, _CAUSES[cause], other, address if other is None else None, type_id)
        elif kind in (EventKind.ARENA_ALLOCATION, EventKind.ARENA_FREE):
            yield ArenaEvent(seq, time, address, size, kind == EventKind.ARENA_FREE)
        elif seq in details:
            yield details[seq]
        else:
            yield BareEvent(seq, time, thread, EventKind(kind).name.lower().replace("_", "-"))
