"""What comes up in front of the screen: the help, and the question where to go."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from tracekit.errors import TracekitError
from tracekit.replay.moment import Moment, resolve_moment
from tracekit.report.text import printable
from tracekit.store.database import Store

HELP = """\
right left  l h   one event on, one back
shift       L H   10 events
ctrl        . ,   100 events
ctrl+shift  > <   1000 events
home end          the first event, the last
c C               to where the next collection ends, the previous
m M               to the next mark, the previous
n N               to the next allocation of the selected group (in the
                  call tree: with all that it calls), the previous
f                 to the free of this event's block
a                 to the allocation of this event's block
p                 to the peak
g :               to a moment: 1.5s, 50%, seq:N, gc:N, mark:NAME

1 2 3 4 5 6       heap by site, function, file, type, thread, domain
7                 heap as a call tree; space opens and closes a node
b                 the next of these
up down           select a group
e                 select the group of this event
tab               between the heap and the event, to scroll it
click             on the timeline: go there
z Z               show less of the time around here, or more
q ctrl+c          leave
"""


class HelpScreen(ModalScreen[None]):
    """The keys. Any key closes it, except those that scroll."""

    def compose(self) -> ComposeResult:
        """One text."""
        with VerticalScroll(id="help"):
            yield Static(Text(HELP))

    def on_key(self, event: events.Key) -> None:
        """Close."""
        if event.key not in ("up", "down", "pageup", "pagedown"):
            event.stop()
            self.dismiss()

    def on_click(self) -> None:
        """Close."""
        self.dismiss()


class GotoScreen(ModalScreen[Moment | None]):
    """Asks for a moment until there is one, or Escape."""

    BINDINGS: ClassVar[list[Any]] = [Binding("escape", "cancel", "Back")]

    def __init__(self, store: Store) -> None:
        super().__init__()
        self._store = store

    def compose(self) -> ComposeResult:
        """The question and the place for complaints."""
        with Vertical(id="goto"):
            yield Static("Go to (start, end, peak, 1.5s, 50%, seq:N, gc:N, mark:NAME)", markup=False)
            yield Input(id="moment", select_on_focus=False)
            yield Static("", id="complaint", markup=False)

    async def on_input_submitted(self, event: Input.Submitted) -> None:
        """Look the moment up; it stays open when there is none."""
        typed = event.value.strip()
        if not typed:
            self.dismiss(None)
            return
        try:
            moment = await asyncio.to_thread(resolve_moment, self._store, typed)
        except TracekitError as error:
            self.query_one("#complaint", Static).update(Text(printable(str(error))))
        else:
            self.dismiss(moment)

    def action_cancel(self) -> None:
        """Go nowhere."""
        self.dismiss(None)
