"""The collector process of ``with tracekit.record(...)``: started by the program, but not its child."""

from __future__ import annotations

import os
import select as waiting
import time
from typing import Final

from tracekit.errors import TracekitError
from tracekit.record import slots
from tracekit.record.loading import load_numpy
from tracekit.record.outputs import Output
from tracekit.record.process import Other, let_program_run
from tracekit.record.ringfile import RingFile
from tracekit.record.select import Selection, select
from tracekit.record.session import IDLE_SECONDS, MAX_FRAMES, SYNC_INTERVAL_NS

ATTACH_SECONDS: Final = 0.01


def serve(report: int, path: str, force: str, engine: str, pid: str) -> None:
    """Make a ring, tell the program about it on the descriptor ``report``, and write what it records."""
    try:
        selection = select(engine)
        output = Output(path, force=bool(int(force)))
    except TracekitError as error:
        os.write(report, _line("error", error.code, error.message, error.hint))
        return
    try:
        ring = RingFile(max_frames=MAX_FRAMES, sync_interval_ns=SYNC_INTERVAL_NS)
        if selection.engine == "native":
            ring.start_stamps()
        process = Other(int(pid))
        os.chdir("/")  # the folder is the program's, who may want to remove it
        os.write(report, _line("ready", ring.path, selection.engine, str(os.getpid())))
        if _attached(ring, report, process):
            os.close(report)
            _collect(ring, output, process, selection)
    finally:
        output.discard()


def _line(*texts: str) -> bytes:
    return os.fsencode("\0".join(text.replace("\n", " ") for text in texts) + "\n")


def _attached(ring: RingFile, report: int, process: Other) -> bool:
    """Wait until the program has the ring. False when it has given up, or is gone."""
    poll = waiting.poll()
    poll.register(report, 0)  # which tells of the other end's closing
    while ring.state == slots.STATE_EMPTY:
        if poll.poll(ATTACH_SECONDS * 1000) or not process.running:
            return ring.state != slots.STATE_EMPTY
    return True


def _collect(ring: RingFile, output: Output, process: Other, selection: Selection) -> None:
    # Loaded while the program runs.
    let_program_run()
    load_numpy()
    from tracekit.record.lane import Lane, Setting  # noqa: PLC0415

    setting = Setting(selection=selection, max_frames=MAX_FRAMES, sync_interval_ns=SYNC_INTERVAL_NS)
    lane = Lane(ring, output, process, setting)
    while True:
        over = lane.gone or lane.over
        if not lane.drain(gone=over):
            if over or lane.over:
                break
            if not lane.read_sources(time.monotonic() + IDLE_SECONDS):
                process.wait(IDLE_SECONDS)
    lane.finish(None)
