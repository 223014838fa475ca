"""Runs a program under the native engine and throws away what comes out of the ring.

``python -m benchmarks.null_sink SCRIPT``. What is left of the cost of recording is the engine's own, in the
program; the difference to ``tracekit record`` is what decoding, pairing, compressing and writing take.
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

from tracekit.record import session, slots
from tracekit.record.decode import RingReader
from tracekit.record.process import Child


def main() -> int:
    """Run the program, and return its exit status."""
    ring = RingReader(max_frames=session.MAX_FRAMES, sync_interval_ns=session.SYNC_INTERVAL_NS)
    with contextlib.closing(ring), Child(sys.argv[1:], session._environment(ring.path, "native")) as child:
        while child.running:
            ring._words[slots.WORD_DRAINED] = ring._words[slots.WORD_WRITTEN]
            child.wait(session.IDLE_SECONDS)
        if not ring._words[slots.WORD_WRITTEN]:
            print(f"{Path(sys.argv[1]).name} never reached the recorder", file=sys.stderr)
            return 1
        return child.status


if __name__ == "__main__":
    sys.exit(main())
