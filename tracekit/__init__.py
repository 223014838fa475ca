"""tracekit: a flight recorder for the memory of Python programs.

This package is light on purpose: a program under observation may ``import tracekit`` and call
:func:`mark` and :func:`record` without pulling in anything but the standard library. What looks at
recordings (:func:`open` and the types of its answers) is loaded when it is first named.
"""

from tracekit._version import __version__
from tracekit.record.active import mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from tracekit.errors import TracekitError
    from tracekit.record.api import Recording, record
    from tracekit.replay.calltree import Node, Tree
    from tracekit.replay.counts import Counts
    from tracekit.replay.cursor import Cursor, Effect, HeapHere
    from tracekit.replay.details import CursorEvent
    from tracekit.replay.difference import Change, Difference
    from tracekit.replay.fragmentation import Fragmentation, Pin, Pins
    from tracekit.replay.garbage import Collection, CollectorSummary, Garbage, Generation
    from tracekit.replay.heap import Group, Heap
    from tracekit.replay.leaks import Leak, Leaks
    from tracekit.replay.moment import Moment
    from tracekit.replay.recordings import RecordingChange, RecordingDifference
    from tracekit.replay.stacks import Frame, StackSegment
    from tracekit.replay.timeline import Step, Timeline
    from tracekit.replay.trace import Trace, open  # noqa: A004 - it is called as tracekit.open

_LATER = {
    "Change": "tracekit.replay.difference",
    "Collection": "tracekit.replay.garbage",
    "CollectorSummary": "tracekit.replay.garbage",
    "Counts": "tracekit.replay.counts",
    "Cursor": "tracekit.replay.cursor",
    "CursorEvent": "tracekit.replay.details",
    "Difference": "tracekit.replay.difference",
    "Effect": "tracekit.replay.cursor",
    "Fragmentation": "tracekit.replay.fragmentation",
    "Frame": "tracekit.replay.stacks",
    "Garbage": "tracekit.replay.garbage",
    "Generation": "tracekit.replay.garbage",
    "Group": "tracekit.replay.heap",
    "Heap": "tracekit.replay.heap",
    "HeapHere": "tracekit.replay.cursor",
    "Leak": "tracekit.replay.leaks",
    "Leaks": "tracekit.replay.leaks",
    "Moment": "tracekit.replay.moment",
    "Node": "tracekit.replay.calltree",
    "Pin": "tracekit.replay.fragmentation",
    "Pins": "tracekit.replay.fragmentation",
    "Recording": "tracekit.record.api",
    "RecordingChange": "tracekit.replay.recordings",
    "RecordingDifference": "tracekit.replay.recordings",
    "StackSegment": "tracekit.replay.stacks",
    "Step": "tracekit.replay.timeline",
    "Timeline": "tracekit.replay.timeline",
    "Trace": "tracekit.replay.trace",
    "TracekitError": "tracekit.errors",
    "Tree": "tracekit.replay.calltree",
    "open": "tracekit.replay.trace",
}
"""Names that are imported when they are asked for first, and the modules that have them."""

__all__ = [
    "Change",
    "Collection",
    "CollectorSummary",
    "Counts",
    "Cursor",
    "CursorEvent",
    "Difference",
    "Effect",
    "Fragmentation",
    "Frame",
    "Garbage",
    "Generation",
    "Group",
    "Heap",
    "HeapHere",
    "Leak",
    "Leaks",
    "Moment",
    "Node",
    "Pin",
    "Pins",
    "Recording",
    "RecordingChange",
    "RecordingDifference",
    "StackSegment",
    "Step",
    "Timeline",
    "Trace",
    "TracekitError",
    "Tree",
    "__version__",
    "mark",
    "open",
    "record",
]

if not TYPE_CHECKING:  # or every name would be right for a type checker

    def __getattr__(name: str) -> object:
        if name not in _LATER:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib import import_module  # noqa: PLC0415 - a program that only calls mark() does not need it

        value: object = getattr(import_module(_LATER[name]), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
