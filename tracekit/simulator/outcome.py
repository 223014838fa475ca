"""What a machine came to: plain numbers and columns, equal between the readable and the fast machine."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from tracekit.store.steps import IntArray


class OutOfMemory(msgspec.Struct, frozen=True):
    """The first allocation that would not fit the memory limit.

    ``wanted_bytes`` is the size of the block, ``stack_id`` the call path that asked for it. ``live_bytes``
    (in live blocks) and ``footprint_bytes`` (held from the kernel) are those before it; what it would have
    added is a new arena, heap or mapping.
    """

    seq: int
    time_s: float
    wanted_bytes: int
    live_bytes: int
    footprint_bytes: int
    stack_id: int = 0


@dataclass(frozen=True, slots=True)
class Peak:
    """The first instant of most live bytes, after event ``seq`` (-1: nothing was ever alive).

    ``live_bytes``: in recorded blocks. ``small_bytes``: those of them that pymalloc served, as they were
    requested. ``older_bytes``: in blocks older than the recording, as size classes. ``arenas``: held then.
    """

    live_bytes: int = 0
    seq: int = -1
    small_bytes: int = 0
    older_bytes: int = 0
    arenas: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class Collections:
    """Collections of the model, in their order, a value in each column for each of them.

    ``seq``: the event before which it ran, or within whose allocation (up to 3.11). ``examined``: live
    blocks of tracked types that it looked at. ``freed_blocks`` and ``freed_bytes``: what it freed, 0 when
    blocks go as recorded. ``asked``: the program asked for it.
    """

    seq: IntArray
    generation: IntArray
    examined: IntArray
    freed_blocks: IntArray
    freed_bytes: IntArray
    asked: npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, eq=False)
class Timeline:
    """A point for each span of ``sample_every`` numbers of events (``seq // sample_every``) that has any.

    ``seq`` and ``time_ns`` are those of the last event in the span; ``live_bytes``, ``arenas`` and
    ``footprint_bytes`` what there was when it ended, just before the first event of the next one. The peaks
    are the highest values within it, the ones at its beginning included.
    """

    seq: IntArray
    time_ns: IntArray
    live_bytes: IntArray
    peak_live_bytes: IntArray
    arenas: IntArray
    peak_arenas: IntArray
    footprint_bytes: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class ArenaSpans:
    """Arenas obtained in the run, in order of ``number``.

    ``number`` counts all arenas from 0, those older than the recording first. ``alloc_seq``: the event that
    obtained it. ``free_seq``: the event at which it went back, -1 for those that did not.
    """

    number: IntArray
    alloc_seq: IntArray
    free_seq: IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """All that a machine knows at its end, or at the event before ``out_of_memory``. Sizes are bytes.

    Blocks older than the recording are in ``arenas`` and in the footprint, with ``older_bytes`` (size
    classes of those that are left), but in no number of live bytes or blocks. ``live_bytes``: in blocks as
    they were requested, ``small_bytes`` those of them that pymalloc served.

    ``peak_arenas_seq``: the event with which there were first that many, -1 for before the first one.
    ``ntimes_arena_allocated``: arenas there ever were, older ones included; the next one has this number.
    ``footprint_bytes``: arenas, ``heap_bytes`` and ``mapped_bytes`` of malloc, and settings.base_bytes.
    ``peak_stack_bytes``: most that the frames of all threads took, after event ``peak_stack_seq`` (-1: no
    frame was ever seen). ``places``: for each allocation fed, in order, where it went: arena number *
    arena_size + pool number * pool_size + pool_overhead + block index * block bytes, -1 when malloc has it;
    empty unless settings.keep_places.
    """

    arenas: int
    peak_arenas: int
    peak_arenas_seq: int
    ntimes_arena_allocated: int
    live_bytes: int
    live_blocks: int
    small_bytes: int
    older_bytes: int
    peak: Peak
    footprint_bytes: int
    peak_footprint_bytes: int
    heap_bytes: int
    mapped_bytes: int
    peak_stack_bytes: int
    peak_stack_seq: int
    frees_of_unknown_cause: int
    out_of_memory: OutOfMemory | None
    collections: Collections
    timeline: Timeline
    arena_spans: ArenaSpans
    places: IntArray
