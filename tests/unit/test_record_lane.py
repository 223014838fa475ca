"""A lane: one process's ring and log, whatever happens between two looks at the ring."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from ring_support import allocations, frees
from test_record_collector import HELLO, mark

from tracekit.log.reader import LogReader
from tracekit.log.verify import verify
from tracekit.record.lane import Lane, Setting
from tracekit.record.outputs import Output
from tracekit.record.ring import RingWriter
from tracekit.record.ringfile import RingFile
from tracekit.record.select import select
from tracekit.record.slots import STATE_ENDED
from tracekit.record.texts import DEF_THREAD, pack_texts

ADDRESSES = list(range(0x1000, 0x1000 + 16 * 20_000, 16))


class Target:
    """A process as the collector sees it, that is told when it ends."""

    pid = 12
    running = True

    def resident_bytes(self) -> int:
        return 0

    def close(self) -> None:
        """It ran in here."""


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_what_comes_between_a_look_at_the_ring_and_settling_is_recorded(tmp_path: Path, looks: int) -> None:
    """The process writes much, and its end, at once: the ring was empty a moment ago, and now it is over."""
    file = RingFile(max_frames=0, sync_interval_ns=0)
    output = Output(tmp_path / "app.tkt", force=False)
    setting = Setting(selection=select("portable"), max_frames=0, sync_interval_ns=0, source=False)
    target = Target()
    lane = Lane(file, output, target, setting, argv=["app.py"], cwd=str(tmp_path))
    writer = RingWriter(file.path)
    writer.define(HELLO.what, HELLO.number, HELLO.payload)
    writer.define(DEF_THREAD, 1, pack_texts("MainThread"))
    assert lane.drain(gone=False)
    assert not lane.drain(gone=False)
    writer.write(allocations(ADDRESSES, 32) + frees(ADDRESSES[::2]))
    end = mark("end", 5, own=True)
    writer.define(end.what, end.number, end.payload, 1)
    writer.set_state(STATE_ENDED)
    for _ in range(looks):
        lane.settle()
        lane.drain(gone=False)
    lane.settle()
    held = os.fstat(file.descriptor).st_blocks * 512
    target.running = False
    while lane.drain(gone=True):
        pass
    writer.close()
    log = lane.finish(0)
    assert log.notices == []
    assert (log.complete, log.totals.allocations, log.totals.frees) == (True, 20_000, 10_000)
    assert verify(tmp_path / "app.tkt").problems == []
    with LogReader(tmp_path / "app.tkt") as reader:
        assert sum(len(batch) for batch in reader.events()) == log.totals.events
    assert (held < 1 << 17) is (looks == 2)  # a ring of which all was taken was given back
