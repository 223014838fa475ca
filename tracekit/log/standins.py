"""What `tracekit recover` writes in the place of definitions and headers that were lost."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from tracekit._version import __version__
from tracekit.events import (
    AllocatorInfo,
    Capabilities,
    Code,
    CollectorInfo,
    Definitions,
    Header,
    PythonInfo,
    Stack,
    Thread,
    TypeDefinition,
)
from tracekit.log.checks import Numbers, Rules

LOST_NAME = "<lost>"
"""Name of threads, codes and types, and file name of codes, whose definition was lost."""

LOST_CODE = 2**31 - 1
"""``code_id`` of the frames whose stack definition was lost."""


def stand_ins(
    rules: Rules, *, threads: Iterable[int], codes: Iterable[int], stacks: Iterable[int], types: Iterable[int]
) -> Definitions:
    """Definitions, by name only, of those numbers that ``rules`` does not know; it knows them afterwards."""
    new_stacks = _unknown(stacks, rules.stacks)
    new_codes = _unknown([*codes, LOST_CODE] if new_stacks else codes, rules.codes)
    return Definitions(
        threads=[Thread(number, LOST_NAME) for number in _unknown(threads, rules.threads)],
        codes=[Code(number, LOST_NAME, LOST_NAME, 0, 0) for number in new_codes],
        stacks=[Stack(number, 0, LOST_CODE, 0) for number in new_stacks],
        types=[TypeDefinition(number, LOST_NAME, 0, False) for number in _unknown(types, rules.types)],
    )


def _unknown(numbers: Iterable[int], defined: Numbers) -> list[int]:
    unknown = [number for number in sorted(set(numbers)) if number and number not in defined]
    for number in unknown:
        defined.add(number)
    return unknown


def is_empty(record: Definitions) -> bool:
    """Whether a Definitions record defines nothing."""
    return record == Definitions()


def unknown_header() -> Header:
    """Stands in for a header that was lost: an engine of which nothing is known.

    The allocator's sizes are CPython's defaults for 64 bits (Include/internal/pycore_obmalloc.h).
    """
    return Header(
        trace_uuid=str(uuid.uuid4()),
        tool_version=__version__,
        engine="unknown",
        engine_reason="the header of the recording was damaged",
        capabilities=Capabilities(**dict.fromkeys(Capabilities.__struct_fields__, False)),
        python=PythonInfo("unknown", 0, "unknown", "unknown", "unknown"),
        platform="unknown",
        pid=0,
        argv=[],
        cwd="",
        started_at_ns=0,
        max_frames=0,
        allocator=AllocatorInfo(4096, 1 << 20, 1 << 14, 16, 512, name="unknown"),
        collector=CollectorInfo((0, 0, 0), False),
    )
