"""What only the program under observation knows about itself, for the log's header. Runs in the target."""

import gc
import os
import sys
import time

from tracekit.record.texts import pack_texts


def hello(engine: str, frames: str, monotonic_ns: int, max_frames: int) -> tuple[int, bytes]:
    """Number of facts and payload of the definition that opens a recording.

    ``frames`` says what call paths are made of: ``lines`` or ``offsets`` (of instructions in code objects).
    ``monotonic_ns`` is CLOCK_MONOTONIC at time 0 of the recording; ``max_frames`` 0 stands for "no limit".
    """
    facts = {
        "engine": engine,
        "frames": frames,
        "pid": str(os.getpid()),
        "started_at_ns": str(time.time_ns()),
        "monotonic_ns": str(monotonic_ns),
        "version": ".".join(map(str, sys.version_info[:3])),
        "hexversion": str(sys.hexversion),
        "implementation": sys.implementation.name,
        "build": sys.version,
        "executable": sys.executable,
        "thresholds": ",".join(map(str, gc.get_threshold())),
        "gc_enabled": str(int(gc.isenabled())),
        "max_frames": str(max_frames),
        "malloc": os.environ.get("PYTHONMALLOC", ""),
        "argv": "\0".join(sys.orig_argv[1:]),
        "cwd": _folder(),
    }
    facts["gc_counts"] = ",".join(map(str, gc.get_count()))  # last: what is made here is counted, too
    return len(facts), pack_texts(*(text for pair in facts.items() for text in pair))


def _folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed
        return ""


def in_sub_interpreter() -> bool:
    """Whether this is not the process's main interpreter."""
    try:
        interpreters = __import__("_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters")
    except ImportError:
        return False
    return bool(interpreters.get_current() != interpreters.get_main())
