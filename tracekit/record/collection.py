"""Collects what the program and the processes that follow it write, until all of them are done."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tracekit.record import slots
from tracekit.record.lane import Lane, Setting
from tracekit.record.recorded import Recorded, RecordedLog
from tracekit.record.ringfile import RingFile
from tracekit.record.select import Selection

if TYPE_CHECKING:
    from tracekit.record.door import Door
    from tracekit.record.outputs import Output
    from tracekit.record.process import Child
    from tracekit.record.session import RecordOptions

IDLE_SECONDS: Final = 0.002
IDLE_MOST_SECONDS: Final = 0.008
"""The fastest engine (25 million slots a second were measured) fills a fifth of a ring in this time."""
IDLE_FILL: Final = 1 / 16
"""The part of a ring that may fill during a sleep without making the next one shorter."""
TELL_SECONDS: Final = 2.0
ARRIVAL_SECONDS: Final = 1.0
"""How long after the program's end to wait for a Python that is still starting."""
LOOK_SECONDS: Final = 0.02


class Collection:
    """All lanes of one recording. The program is the first."""

    def __init__(  # noqa: PLR0913, PLR0917 - what a recording is made of
        self,
        options: RecordOptions,
        selection: Selection,
        ring: RingFile,
        output: Output,
        child: Child,
        door: Door | None,
    ) -> None:
        self._setting = Setting(
            selection=selection,
            max_frames=options.max_frames,
            sync_interval_ns=int(ring.words[slots.WORD_SYNC_INTERVAL]),
            source=options.source,
        )
        self._child = child
        self._tell = options.tell
        self._main = Lane(
            ring, output, child, self._setting, argv=options.program.arguments, cwd=str(Path.cwd())
        )
        self._lanes = [self._main]
        self._main_log: RecordedLog | None = None
        self._followed: list[RecordedLog] = []
        self._ended_at = 0.0
        self._told = False
        self._idle_seconds = IDLE_SECONDS
        self._followers = None
        if door is not None:
            from tracekit.record.followed import Followers  # noqa: PLC0415 - for those that need it

            self._followers = Followers(door, self._setting, output.path, force=options.force)

    def run(self) -> None:
        """Collect until there is nothing more to come."""
        while self._lanes or self._on_their_way():
            busy = False
            for lane in list(self._lanes):
                # Before the drain: what is in the ring then is all there is. The program has yet a status.
                done = lane.gone or (lane.over and lane.process.pid != self._child.pid)
                if lane.drain(gone=done):
                    busy = True
                elif done:
                    self._finish(lane)
                    busy = True  # that may have been all
            self._welcome()
            self._mind_the_user()
            if not self._read_sources() and not busy:
                for lane in self._lanes:
                    lane.settle()
                self._wait()
            self._child.pass_on_signals()
        if self._followers is not None:
            self._followers.close()

    def recorded(self) -> Recorded:
        """What came of it."""
        if self._main_log is None:
            raise RuntimeError("the program was not collected to its end")
        return Recorded(
            log=self._main_log,
            exit_status=self._child.status,
            engine=self._setting.selection.engine,
            engine_reason=self._setting.selection.reason,
            followed=self._followed,
            unfollowed=[] if self._followers is None else self._followers.refused,
        )

    def _finish(self, lane: Lane) -> None:
        self._lanes.remove(lane)
        mine = lane.process.pid == self._child.pid and not self._child.running
        log = lane.finish(self._child.status if mine else None)
        if lane is self._main:
            self._main_log = log
            self._ended_at = time.monotonic()
        elif log.output is not None:
            self._followed.append(log)

    def _welcome(self) -> None:
        if self._followers is None:
            return
        try:
            welcomed = self._followers.welcome()
        except Exception as error:  # noqa: BLE001 - whatever it is, the program must not die of it
            self._followers.refused.append(f"processes from here on: {error!r}")
            self._followers.close()
            return
        for lane in welcomed:
            for other in self._lanes:
                if other is not self._main and other.process.pid == lane.process.pid:
                    other.leave("exec")
            self._lanes.append(lane)

    def _on_their_way(self) -> bool:
        now = time.monotonic()
        if self._followers is None or now > self._ended_at + ARRIVAL_SECONDS or self._child.interrupted:
            return False
        return self._followers.on_their_way()

    def _mind_the_user(self) -> None:
        if self._main_log is None:
            return
        if self._child.interrupted:
            for lane in self._lanes:
                lane.leave("interrupted")
        elif self._lanes and not self._told and time.monotonic() > self._ended_at + TELL_SECONDS:
            self._told = True
            pids = [str(lane.process.pid) for lane in self._lanes]
            self._tell(
                f"the program has ended; waiting for what it left running: {', '.join(pids[:8])}"
                f"{', ...' * (len(pids) > 8)} (Ctrl-C ends the recording, not the processes)"
            )

    def _read_sources(self) -> bool:
        """Read source text for a moment, unless a ring fills. Whether there is more to read."""
        if any(lane.fill > IDLE_FILL for lane in self._lanes):
            return False
        until = time.monotonic() + IDLE_SECONDS
        more = [lane.read_sources(until) for lane in self._lanes]
        return any(more)

    def _wait(self) -> None:
        others = [] if self._followers is None else self._followers.descriptors()
        self._child.wait(self._idle_seconds if self._lanes else LOOK_SECONDS, others)
        busiest = max((lane.fill for lane in self._lanes), default=0.0)
        longer = min(2 * self._idle_seconds, IDLE_MOST_SECONDS)
        self._idle_seconds = longer if busiest < IDLE_FILL else IDLE_SECONDS
