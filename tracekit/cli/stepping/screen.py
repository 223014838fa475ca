"""The screen itself: keys become moves of the cursor, which are made beside it, one after the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.screen import Screen
from textual.widgets import ContentSwitcher, Footer, Static

from tracekit.cli.stepping.dialogs import GotoScreen, HelpScreen
from tracekit.cli.stepping.model import NO_STACK, TREE, Recording, View
from tracekit.cli.stepping.panes import EventView, HeapTable, HeapTree, TimelineView, position_text
from tracekit.errors import TracekitError
from tracekit.replay.cursor import Cursor
from tracekit.replay.details import CursorEvent
from tracekit.replay.moment import Moment
from tracekit.report.text import printable

KEYS = ("site", "function", "file", "type", "thread", "domain", TREE)
"""What the heap can be grouped by, in the order of the number keys."""

SLOW_S = 0.2
"""A move that takes longer says so."""

Move = Callable[[Cursor], object]
"""A move of the cursor; what is false means that there was nowhere to go."""

Otherwise = str | Callable[[CursorEvent | None], str]
"""What is said then; it may depend on the event."""


def _key(keys: str, action: str, description: str, *, show: str = "") -> Binding:
    # These keys come before those of the lists, which would take the arrows for themselves.
    return Binding(keys, action, description, show=bool(show), key_display=show or None, priority=True)


class StepScreen(Screen[None]):
    """Timeline, heap and event at the position of a cursor."""

    BINDINGS: ClassVar[list[Any]] = [
        _key("question_mark", "help", "help", show="?"),
        _key("right,l", "step(1)", "step", show="← →"),
        _key("left,h", "step(-1)", "back"),
        _key("shift+right,L", "step(10)", "10 on"),
        _key("shift+left,H", "step(-10)", "10 back"),
        _key("ctrl+right,full_stop", "step(100)", "100 on"),
        _key("ctrl+left,comma", "step(-100)", "100 back"),
        _key("ctrl+shift+right,greater_than_sign", "step(1000)", "1000 on"),
        _key("ctrl+shift+left,less_than_sign", "step(-1000)", "1000 back"),
        _key("home", "go('first')", "first"),
        _key("end", "go('last')", "last"),
        _key("c", "go('next_collection')", "gc", show="c/C"),
        _key("C", "go('previous_collection')", "previous gc"),
        _key("m", "go('next_mark')", "mark", show="m/M"),
        _key("M", "go('previous_mark')", "previous mark"),
        _key("n", "allocation(1)", "alloc", show="n/N"),
        _key("N", "allocation(-1)", "previous alloc"),
        _key("f", "go('free_of')", "free", show="f"),
        _key("a", "go('allocation_of')", "its alloc", show="a"),
        _key("p", "go('peak')", "peak"),
        _key("z", "zoom(1)", "zoom in"),
        _key("Z", "zoom(-1)", "zoom out"),
        _key("g,colon", "ask", "go to", show="g"),
        *(_key(str(number), f"by('{by}')", by) for number, by in enumerate(KEYS, 1)),
        _key("b", "next_by", "by"),
        _key("e", "select_group", "this group"),
        _key("q", "leave", "quit", show="q"),
        _key("ctrl+c", "app.quit", "quit"),
    ]

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording
        self.shown: View | None = None
        self.waiting = 0
        self._moves: asyncio.Queue[Callable[[], str]] = asyncio.Queue()

    def compose(self) -> ComposeResult:
        """From the top to the bottom."""
        yield Static(id="position")
        yield TimelineView(id="timeline")
        yield Static(id="by")
        with Container(id="body"):
            with ContentSwitcher(initial="groups", id="heap"):
                yield HeapTable()
                yield HeapTree()
            yield EventView()
        yield Static(id="status")
        yield Footer(show_command_palette=False, compact=True)

    def on_mount(self) -> None:
        """Begin to serve moves."""
        self.run_worker(self._serve(), name="moves")

    def on_resize(self, event: events.Resize) -> None:
        """Everything is cut to the width."""
        del event
        self.call_after_refresh(self._measure)

    def _measure(self) -> None:
        width = self.query_one(TimelineView).columns

        def measure() -> str:
            self.recording.width = width
            return ""

        self._put(measure)

    # Moves, which wait for each other.

    def _put(self, move: Callable[[], str]) -> None:
        self.waiting += 1
        self._moves.put_nowait(move)

    def move(self, move: Move, otherwise: Otherwise) -> None:
        """Move the cursor, once those before are done; ``otherwise`` is said when there is nowhere to go."""
        cursor = self.recording.cursor

        def moved() -> str:
            try:
                if move(cursor):
                    return ""
                return otherwise if isinstance(otherwise, str) else otherwise(cursor.event)
            except TracekitError as error:
                return str(error)

        self._put(moved)

    async def _serve(self) -> None:
        """Make the moves in a thread; show where they led, unless there are more to make."""
        while True:
            message = await self._beside(await self._moves.get())
            if self._moves.empty():
                view = await self._beside(self.recording.view)
                self._show(view, message)
            self.waiting -= 1

    async def _beside(self, action: Callable[[], Any]) -> Any:
        task = asyncio.ensure_future(asyncio.to_thread(action))
        done, _ = await asyncio.wait({task}, timeout=SLOW_S)
        if not done:
            self._say("looking ...")
        return await task

    def _say(self, message: str) -> None:
        text = Text(printable(message), no_wrap=True, overflow="ellipsis")
        self.query_one("#status", Static).update(text, layout=False)

    def _show(self, view: View, message: str) -> None:
        self.shown = view
        self.query_one("#position", Static).update(position_text(view, self.size.width), layout=False)
        self.query_one(TimelineView).show(view)
        self.query_one("#by", Static).update(_by_text(view, self.size.width), layout=False)
        heap: HeapTable | HeapTree = self.query_one(HeapTable)
        if view.tree is not None:
            heap = self.query_one(HeapTree)
        switcher = self.query_one("#heap", ContentSwitcher)
        if switcher.current != heap.id:
            with_focus = self.focused is not self.query_one(EventView)
            switcher.current = heap.id
            if with_focus:
                heap.focus()
        heap.show(view, switcher.size.width)
        self.query_one(EventView).show(view)
        self._say(message)

    def action_step(self, events: int) -> None:
        """So many events on, or back."""
        where = "this is the last event" if events > 0 else "this is the first event"
        self.move(lambda cursor: cursor.forward(events), where)

    def action_go(self, where: str) -> None:
        """To somewhere that has a name."""
        moves: dict[str, tuple[Move, Otherwise]] = {
            "first": (lambda cursor: cursor.backward(cursor.last_seq), "this is the first event"),
            "last": (lambda cursor: cursor.forward(cursor.last_seq), "this is the last event"),
            "peak": (_to_peak, ""),
            "next_collection": (Cursor.next_collection, "there is no later collection"),
            "previous_collection": (Cursor.previous_collection, "there is no earlier collection"),
            "next_mark": (Cursor.next_mark, "there is no later mark"),
            "previous_mark": (Cursor.previous_mark, "there is no earlier mark"),
            "free_of": (Cursor.free_of, _without_free),
            "allocation_of": (Cursor.allocation_of, _without_allocation),
        }
        self.move(*moves[where])

    def action_allocation(self, direction: int) -> None:
        """To the next allocation of the selected group, or the one before."""
        view = self.shown
        if view is None:
            return
        wanted: dict[str, str | int | None]
        if view.tree is not None:
            node = self.query_one(HeapTree).selected
            wanted = {TREE: "<unknown>"} if node == NO_STACK else {"below": node}
        else:
            wanted = {view.heap.by: self.query_one(HeapTable).selected}
        search = Cursor.next_allocation if direction > 0 else Cursor.previous_allocation
        side = "later" if direction > 0 else "earlier"
        self.move(
            lambda cursor: search(cursor, **wanted), f"there is no {side} allocation of the selected group"
        )

    def action_by(self, by: str) -> None:
        """Group the heap by something else."""

        def group() -> str:
            self.recording.cursor.by = by
            return ""

        self._put(group)

    def action_next_by(self) -> None:
        """Group the heap by what comes next."""

        def group() -> str:
            cursor = self.recording.cursor
            cursor.by = KEYS[(KEYS.index(cursor.by) + 1) % len(KEYS)]
            return ""

        self._put(group)

    def action_select_group(self) -> None:
        """Select the group that the event changed."""
        view = self.shown
        if view is None or view.document["effect"]["key"] is None:
            self._say("this event did not change the heap")
            return
        if view.tree is not None:
            selected = self.query_one(HeapTree).select(view.document["event"]["stack_id"])
        else:
            selected = self.query_one(HeapTable).select(view.document["effect"]["key"])
        self._say("" if selected else "nothing is left of the group of this event")

    def action_zoom(self, steps: int) -> None:
        """Show less time around the position, or more."""
        self._put(lambda: self.recording.zoom(steps))

    def action_ask(self) -> None:
        """Ask for a moment and go there."""

        def go(moment: Moment | None) -> None:
            if moment is not None:
                self.move(lambda cursor: _seek(cursor, moment), "")

        self.app.push_screen(GotoScreen(self.recording.store), go)

    def action_leave(self) -> None:
        """End the program."""
        self.app.exit()

    def action_help(self) -> None:
        """Show the keys."""
        self.app.push_screen(HelpScreen())

    def on_timeline_view_clicked(self, event: TimelineView.Clicked) -> None:
        """To the time that was clicked."""
        column = event.column

        def seek() -> str:
            self.recording.seek_column(column)
            return ""

        self._put(seek)


def _seek(cursor: Cursor, moment: Moment) -> bool:
    cursor.seek(moment)
    return True


def _to_peak(cursor: Cursor) -> bool:
    cursor.jump("peak")
    return True


def _without_free(event: CursorEvent | None) -> str:
    """Why there is no free to go to."""
    if event is None or event.block is None:
        return "this event has no block of the recording"
    return "this is the free" if event.kind == "free" else "the block is never freed while recorded"


def _without_allocation(event: CursorEvent | None) -> str:
    """Why there is no allocation to go to."""
    if event is None or event.block is None:
        return "this event has no block of the recording"
    return "this is the allocation"


def _by_text(view: View, width: int) -> Text:
    """What the heap is grouped by, with the keys that change it."""
    text = Text(no_wrap=True, overflow="crop")
    names = ["call tree" if by == TREE else by for by in KEYS]
    if sum(len(name) + 4 for name in names) > width:
        names = [name if by == view.heap.by else "" for by, name in zip(KEYS, names, strict=True)]
    for number, (by, name) in enumerate(zip(KEYS, names, strict=True), 1):
        text.append(f"{number} ", "dim")
        text.append(name, "bold reverse" if by == view.heap.by else "")
        text.append("  " if name else "")
    if view.more_groups and view.tree is None:
        text.append(f"largest {len(view.heap.groups)} of {len(view.heap.groups) + view.more_groups:,}", "dim")
    return text


class StepApp(App[None]):
    """``tracekit step`` on a terminal."""

    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (110, "-wide")]  # noqa: RUF012 - as Textual has it
    VERTICAL_BREAKPOINTS = [(0, "-short"), (18, "-usual"), (32, "-tall")]  # noqa: RUF012
    CSS = """
    #position { height: 1; background: $panel; }
    #timeline { height: 5; }
    #by { height: 1; }
    #heap { height: 40%; min-height: 3; }
    #event { height: 1fr; padding: 0 1; border-top: solid $panel; }
    #status { height: 1; color: $warning; }
    DataTable { height: 100%; background: $background; scrollbar-size: 1 1; }
    Tree { height: 100%; background: $background; scrollbar-size: 1 1; }
    .-tall #timeline { height: 8; }
    .-short #timeline { height: 2; }
    .-short #event { border-top: none; }
    .-wide #body { layout: horizontal; }
    .-wide #heap { width: 58%; height: 100%; }
    .-wide #event { width: 1fr; height: 100%; border-top: none; border-left: solid $panel; }
    ModalScreen { align: center middle; }
    #help { width: 76; max-width: 100%; height: auto; max-height: 100%; padding: 0 1; background: $panel; }
    #goto { width: 70; max-width: 100%; height: auto; padding: 0 1; background: $panel; }
    #complaint { color: $warning; height: auto; }
    """

    def __init__(self, recording: Recording) -> None:
        super().__init__()
        self.recording = recording

    def on_mount(self) -> None:
        """Show the one screen."""
        self.push_screen(StepScreen(self.recording))
