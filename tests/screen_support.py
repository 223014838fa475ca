"""Drives the screen of `tracekit step` with keys, in terminals of any size."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import traces
from textual import events
from textual.app import App
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import Static

from tracekit.cli.stepping.model import Recording
from tracekit.cli.stepping.panes import HeapTable, HeapTree
from tracekit.cli.stepping.screen import StepApp, StepScreen
from tracekit.events import Cause
from tracekit.replay.moment import resolve_moment
from tracekit.store.cache import cache_path
from tracekit.store.opening import open_store

SIZES = [(80, 24), (120, 40), (40, 10)]
MAIN = ("/srv/app.py", "main", 10)
READ = ("/srv/lib/load.py", "Loader.read", 33)


def example(path: Path) -> Path:
    """13 events: 2 blocks of one call path and 1 of another, a mark, a collection; see the comments."""
    build = traces.TraceBuilder()
    row = build.type("app.Row")
    load = build.stack(MAIN, READ)
    build.advance(1_000_000)
    build.allocate(1000, stack=load)  # seq 1
    build.mark("warm")  # seq 2
    build.advance(5_000_000)
    block = build.allocate(70, stack=build.stack(MAIN))  # seq 3
    build.allocate(500, stack=load)  # seq 4
    build.advance(2_000_000)
    build.gc_start()  # seq 5
    build.free(block, type_id=row, cause=Cause.GC)  # seq 6
    build.advance(2_000_000)
    build.gc_stop(collected=1)  # seq 7
    build.free_unknown(0x1000)  # seq 8
    build.allocate(8)  # seq 9
    return traces.write_log(path, build.finish())  # seq 10: end


class Screen:
    """The screen under test."""

    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot
        self.app: App[None] = pilot.app
        first = self.app.screen_stack[1]
        assert isinstance(first, StepScreen)
        self.step = first

    async def settle(self) -> None:
        """Wait until everything that was asked for is shown.

        A message makes others, so that the queues are seen through several times. (The pilot's own way is to
        watch how busy the process is, which takes a tenth of a second a key.)
        """
        await self._messages()
        while self.step.waiting:
            await asyncio.sleep(0.001)
            await self._messages()
        for _ in range(3):  # a layout may ask for another
            if self.app.screen._layout_required:  # by a timer, which a busy machine lets wait
                self.app.screen._on_timer_update()
                await self._messages()

    async def _messages(self) -> None:
        for _ in range(4):
            await self.pilot.pause(0)

    async def press(self, *keys: str) -> None:
        """Press keys, by their names or as characters, each once the one before is done with."""
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 else key
            self.app.post_message(events.Key(name, key if len(key) == 1 else None))
            await self.settle()

    @property
    def seq(self) -> int:
        assert self.step.shown is not None
        return self.step.shown.moment.seq

    def front(self) -> object:
        """The screen that has the keys: the one under test, or a dialog."""
        return self.app.screen

    @property
    def by(self) -> str:
        assert self.step.shown is not None
        return self.step.shown.heap.by

    @property
    def table(self) -> HeapTable:
        return self.step.query_one(HeapTable)

    @property
    def tree(self) -> HeapTree:
        return self.step.query_one(HeapTree)

    @property
    def status(self) -> str:
        return str(self.step.query_one("#status", Static).render())

    @property
    def event(self) -> str:
        return str(self.step.query_one("#event-text", Static).render())

    @property
    def lines(self) -> list[str]:
        """What stands on the terminal."""
        return [strip.text for strip in self.app.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def drive(
    log: Path,
    script: Callable[[Screen], Awaitable[None]],
    *,
    size: tuple[int, int] = (80, 24),
    at: str = "start",
    by: str = "site",
) -> None:
    """Run the application on a log and let a script press its keys."""

    async def run() -> None:
        with open_store(log, cache=cache_path(log).exists()) as store:
            app = StepApp(Recording(store, resolve_moment(store, at), by))
            async with app.run_test(size=size) as pilot:
                screen = Screen(pilot)
                await screen.settle()
                await script(screen)

    asyncio.run(run())
