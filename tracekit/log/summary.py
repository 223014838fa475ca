"""`tracekit info`: what a log holds, in one value."""

from __future__ import annotations

import os
from datetime import UTC, datetime

from msgspec import Struct

from tracekit.events import (
    UNKNOWN_THREAD,
    Capabilities,
    Definitions,
    LogRecord,
    Mark,
    MemorySample,
    Notice,
    Totals,
)
from tracekit.log.columns import EventColumns
from tracekit.log.reader import LogReader
from tracekit.log.totals import TotalsFold


class MarkSummary(Struct, frozen=True):
    """A named instant; ``time_s`` seconds since the recording began."""

    name: str
    seq: int
    time_s: float


class NoticeSummary(Struct, frozen=True):
    """Something that a reader of the recording must know (docs/errors.md)."""

    code: str
    text: str
    time_s: float


class Summary(Struct, frozen=True, kw_only=True):
    """What a log holds. Sizes are bytes, times seconds.

    ``complete``: the program reached its own end. ``closed``: the log has its footer; without it the totals
    come from the events, up to the last whole record, and ``torn_bytes`` were left over after it.
    ``unmatched_frees`` ended blocks that are not known, mostly older than the recording. ``exit_status`` is
    negative for a signal and None when not known, ``max_rss_bytes`` None when never measured.
    """

    path: str
    trace_uuid: str
    format_version: int
    engine: str
    engine_reason: str
    capabilities: Capabilities
    python: str
    platform: str
    argv: list[str]
    pid: int
    started_at: str
    complete: bool
    closed: bool
    torn_bytes: int
    exit_status: int | None
    events: int
    allocations: int
    frees: int
    unmatched_frees: int
    allocated_bytes: int
    gc_collections: int
    duration_s: float
    peak_bytes: int
    peak_blocks: int
    peak_seq: int
    end_bytes: int
    end_blocks: int
    max_rss_bytes: int | None
    log_bytes: int
    bytes_per_event: float
    threads: int
    codes: int
    stacks: int
    types: int
    marks: list[MarkSummary]
    notices: list[NoticeSummary]


class _Tally:
    """Counts what stands in the log besides its events."""

    def __init__(self) -> None:
        self.codes = self.stacks = self.types = 0
        self.threads: set[int] = set()
        self.marks: list[MarkSummary] = []
        self.notices: list[NoticeSummary] = []
        self.max_rss_bytes: int | None = None
        self.ended = False

    def add(self, record: LogRecord) -> None:
        match record:
            case Definitions():
                # A thread is defined again when its name becomes known.
                self.threads.update(thread.thread_id for thread in record.threads)
                self.codes += len(record.codes)
                self.stacks += len(record.stacks)
                self.types += len(record.types)
            case Mark():
                self.marks.append(MarkSummary(record.name, record.seq, record.time_ns / 1e9))
                self.ended |= record.own and record.name == "end"
            case Notice():
                self.notices.append(NoticeSummary(record.code, record.text, record.time_ns / 1e9))
            case MemorySample():
                self.max_rss_bytes = max(self.max_rss_bytes or 0, record.rss_bytes)
            case _:
                pass


def summarize(path: str | os.PathLike[str]) -> Summary:
    """Summarize a log: by its footer, or by counting its events when it has none.

    Every record's checksum is tested in both cases. Raises what
    :class:`~tracekit.log.reader.LogReader` raises.
    """
    with LogReader(path) as log:
        tally = _Tally()
        totals = _read_closed(log, tally) if log.footer else _read_open(log, tally)
        return _summary(log, tally, totals)


def _read_closed(log: LogReader, tally: _Tally) -> Totals:
    for _, record in log.records(batches=False):
        tally.add(record)
    return log.footer.totals if log.footer else Totals()


def _read_open(log: LogReader, tally: _Tally) -> Totals:
    fold = TotalsFold()
    for _, record in log.decoded():
        if isinstance(record, EventColumns):
            fold.apply(record)
        else:
            tally.add(record)
    return fold.totals


def _summary(log: LogReader, tally: _Tally, totals: Totals) -> Summary:
    header, footer = log.header, log.footer
    return Summary(
        path=str(log.path),
        trace_uuid=header.trace_uuid,
        format_version=log.version,
        engine=header.engine,
        engine_reason=header.engine_reason,
        capabilities=header.capabilities,
        python=header.python.version,
        platform=header.platform,
        argv=list(header.argv),
        pid=header.pid,
        started_at=datetime.fromtimestamp(header.started_at_ns / 1e9, UTC).isoformat(timespec="milliseconds"),
        complete=footer.complete if footer else tally.ended,
        closed=footer is not None,
        torn_bytes=log.torn_bytes,
        exit_status=footer.exit_status if footer else None,
        events=totals.events,
        allocations=totals.allocations,
        frees=totals.frees,
        unmatched_frees=totals.unmatched_frees,
        allocated_bytes=totals.allocated_bytes,
        gc_collections=totals.gc_collections,
        duration_s=totals.duration_ns / 1e9,
        peak_bytes=totals.peak_bytes,
        peak_blocks=totals.peak_blocks,
        peak_seq=totals.peak_seq,
        end_bytes=totals.end_bytes,
        end_blocks=totals.end_blocks,
        max_rss_bytes=tally.max_rss_bytes,
        log_bytes=log.size,
        bytes_per_event=log.size / totals.events if totals.events else 0.0,
        threads=len(tally.threads - {UNKNOWN_THREAD}),
        codes=tally.codes,
        stacks=tally.stacks,
        types=tally.types,
        marks=tally.marks,
        notices=tally.notices,
    )
