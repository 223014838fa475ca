"""Starts the engine inside the program under observation."""

from __future__ import annotations

import os
import sys

from tracekit.record.portable import PortableEngine
from tracekit.record.ring import RingWriter


def begin(ring_path: str) -> None:
    """Attach to the ring and start recording; when that is not possible, say why on stderr and let go."""
    try:
        ring = RingWriter(ring_path)
        engine = PortableEngine(ring)
    except (OSError, ValueError, RuntimeError) as error:
        os.write(2, f"tracekit: warning[not-recorded]: {error}; the program runs unrecorded\n".encode())
        return
    if sys.implementation.name == "cpython":
        engine.start()
