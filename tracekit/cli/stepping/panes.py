"""The parts of the screen: the timeline, the heap as a table and as a tree, the event.

Names come from strangers: they are made printable and stand in Text, whose content nothing interprets.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rich.text import Text
from textual import events
from textual.app import RenderResult
from textual.containers import VerticalScroll
from textual.coordinate import Coordinate
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Static, Tree
from textual.widgets.tree import TreeNode

from tracekit.cli.stepping.model import NO_STACK, Branch, View
from tracekit.report.graphs import bar_graph
from tracekit.report.steps import short_function, short_site, step_lines
from tracekit.report.text import Where, columns_of, cut, printable
from tracekit.report.units import human_bytes, human_change, human_count, human_seconds, human_share, plural

AXIS = 10
"""Columns left of the timeline for what its lines mean; none on a narrow screen."""
NARROW = 60
_LEAST_NAME = 8

_CUT: dict[str, Where] = {"file": "start"}
_SHORT = {"site": short_site, "function": short_function}
_STYLES = {"title": "bold", "heading": "dim", "source": "italic", "note": "dim italic"}


def position_text(view: View, width: int) -> Text:
    """Where the cursor is, in one line that fits."""
    position = view.document["position"]
    here = f"event {human_count(view.moment.seq)} of {human_count(view.last_seq)}"
    time = human_seconds(view.moment.time_s)
    whole = human_seconds(view.duration_ns / 1e9)
    live = human_bytes(position["live_bytes"])
    blocks = plural(position["live_blocks"], "block")
    name = printable(view.path.rpartition("/")[2])
    lines = (
        "   ".join((here, f"{time} of {whole}", f"{live} in {blocks}", name)),
        "   ".join((here, f"{time} of {whole}", f"{live} in {blocks}")),
        "  ".join((here, time, live)),
    )
    line = next((line for line in lines if len(line) <= width), lines[-1])
    return Text(cut(line, width), style="bold", no_wrap=True)


class TimelineView(Widget):
    """Live bytes over time with the cursor, marks and collections. A click goes there."""

    class Clicked(Message):
        """A column of the graph was clicked."""

        def __init__(self, column: int) -> None:
            self.column = column
            super().__init__()

    view: View | None = None

    @property
    def axis(self) -> int:
        """Columns that the labels take."""
        return AXIS if self.size.width >= NARROW else 0

    @property
    def columns(self) -> int:
        """Columns that are left for the graph."""
        return max(1, self.size.width - self.axis)

    def show(self, view: View) -> None:
        """Show a position."""
        self.view = view
        self.refresh()

    def on_click(self, event: events.Click) -> None:
        """Go to the time that was clicked."""
        if event.x >= self.axis:
            self.post_message(self.Clicked(event.x - self.axis))

    def render(self) -> RenderResult:
        """The lines of the graph, those of the marks and of the cursor."""
        view = self.view
        if view is None or self.size.height < 2:
            return Text("")
        found = view.timeline
        here = found.column(view.moment.time_ns)
        with_marks = self.size.height >= 5
        least = min(found.values) if found.zoomed else 0
        graph = bar_graph(found.values, self.size.height - (2 if with_marks else 1), least=least)
        labels = [""] * len(graph)
        labels[0] = human_bytes(max(found.values))
        if len(graph) > 1:
            labels[-1] = human_bytes(least)
        text = Text(no_wrap=True, overflow="crop", end="")
        for label, line in zip(labels, graph, strict=True):
            self._label(text, label)
            text.append(line[:here], "cyan")
            text.append("│" if line[here : here + 1] == " " else line[here : here + 1], "bold reverse")
            text.append(line[here + 1 :] + "\n", "cyan")
        if with_marks:
            self._label(text, "marks")
            text.append(mark_line(found.marks, len(found.values)) + "\n", "yellow")
        self._label(text, "here, gc")
        ticks = "".join(_tick(found.collections.get(column, 0)) for column in range(len(found.values)))
        text.append(ticks[:here], "magenta")
        text.append("▲", "bold")
        text.append(ticks[here + 1 :], "magenta")
        return text

    def _label(self, text: Text, label: str) -> None:
        if self.axis:
            text.append(f"{label:>{self.axis - 1}} ", "dim")


def _tick(collections: int) -> str:
    return " " if not collections else "·" if collections == 1 else ":"


def mark_line(marks: dict[int, str], width: int) -> str:
    """Each mark as a diamond at its column, with its name (or enough of it) where there is room."""
    line = ""
    columns = sorted(marks)
    for column, following in zip(columns, [*columns[1:], width + 1], strict=False):
        room = min(following - 1, width) - column - 1
        name = printable(marks[column])
        size = columns_of(name)
        if size > room and column == columns[-1] and columns_of(line) + size < column:
            return line + " " * (column - size - columns_of(line)) + name + "◆"  # at the edge, the other way
        if size > room:
            name = cut(name, room) if room >= _LEAST_NAME else ""
        line += " " * (column - columns_of(line)) + "◆" + name
    return line


class HeapTable(DataTable[Text]):
    """The groups of the heap, largest first; the selected one stays selected while the heap changes."""

    def __init__(self) -> None:
        super().__init__(id="groups", cursor_type="row", zebra_stripes=False, cell_padding=0)
        self.keys: list[str] = []
        self._cells: list[list[Text]] = []
        self._shape: tuple[str, int] = ("", 0)

    @property
    def selected(self) -> str | None:
        """The key of the selected group."""
        return self.keys[self.cursor_row] if 0 <= self.cursor_row < len(self.keys) else None

    def select(self, key: str) -> bool:
        """Select a group, if it is there."""
        if key not in self.keys:
            return False
        self.move_cursor(row=self.keys.index(key))
        return True

    def show(self, view: View, width: int) -> None:
        """Show the groups at a position in so many columns."""
        keys = [group.key for group in view.heap.groups]
        cells = [self._row(view, number, width) for number in range(len(keys))]
        shape = (view.heap.by, width)
        if keys == self.keys and shape == self._shape:
            for row, (old, new) in enumerate(zip(self._cells, cells, strict=True)):
                for column, (before, after) in enumerate(zip(old, new, strict=True)):
                    if before != after or before.style != after.style:
                        self.update_cell_at(Coordinate(row, column), after)
        else:
            self._rebuild(view, keys, cells, width)
        self.keys, self._cells, self._shape = keys, cells, shape

    def _rebuild(self, view: View, keys: list[str], cells: list[list[Text]], width: int) -> None:
        selected = self.selected if view.heap.by == self._shape[0] else None
        row, scrolled = self.cursor_row, self.scroll_offset.y
        self.clear(columns=True)
        for title, size in _columns(width):
            self.add_column(Text(f"{title:>{size}}" if title else f"  {view.heap.by}"), width=size)
        for line in cells:
            self.add_row(*line)
        if selected in keys:
            row = keys.index(selected)
        elif selected is None:
            row, scrolled = 0, 0
        self.scroll_to(y=scrolled, animate=False)
        self.move_cursor(row=max(0, min(row, len(keys) - 1)))

    def _row(self, view: View, number: int, width: int) -> list[Text]:
        group = view.heap.groups[number]
        effect = view.document["effect"]
        here = group.key == effect["key"]
        numbers = {
            "bytes": human_bytes(group.bytes),
            "share": human_share(group.bytes, view.heap.total_bytes),
            "blocks": human_count(group.blocks),
            "change": human_change(effect["bytes"]) if here else "",
        }
        style = "bold" if here else ""
        cells = []
        for title, size in _columns(width):
            if title:
                cells.append(Text(f"{numbers[title]:>{size}}", style))
            else:
                key = printable(group.key)
                if view.heap.by in _SHORT:
                    key = _SHORT[view.heap.by](key, size - 2)
                key = cut(key, size - 2, _CUT.get(view.heap.by, "end"))
                cells.append(Text(f"  {key}", style, no_wrap=True))
        return cells


def _columns(width: int) -> list[tuple[str, int]]:
    """Titles and widths of the columns of a table; the last one is the key."""
    sizes = [("bytes", 10)]
    if width >= NARROW:
        sizes += [("share", 7), ("blocks", 11), ("change", 12)]
    left = width - sum(size for _, size in sizes) - 1  # the scroll bar
    return [*sizes, ("", max(10, left))]


class HeapTree(Tree[Branch]):
    """The heap as a call tree. What is open stays open while the heap changes."""

    BINDINGS: ClassVar[list[Any]] = []

    def __init__(self) -> None:
        super().__init__(Text("heap"), id="tree")
        self.show_root = False
        self.guide_depth = 2
        self._branches: dict[int, list[Branch]] = {}
        self._parents: dict[int, int] = {}
        self._opened: set[int] | None = None
        self._total = 0
        self._filling = False

    @property
    def selected(self) -> int | None:
        """The number of the selected node of the call tree."""
        node = self.cursor_node
        return None if node is None or node.data is None else node.data.stack_id

    def show(self, view: View, width: int) -> None:
        """Show the tree at a position."""
        del width
        selected, scrolled = self.selected, self.scroll_offset.y
        self._branches = view.tree or {}
        self._parents = {
            branch.stack_id: number for number, below in self._branches.items() for branch in below
        }
        self._total = view.heap.total_bytes
        if self._opened is None:
            self._opened = self._heavy_path()
        self._rebuild(selected)
        self.scroll_to(y=scrolled, animate=False)

    def select(self, stack_id: int) -> bool:
        """Select a node, with all above it open; False when it is not there."""
        number = self._parents.get(stack_id)
        if number is None:
            return False
        while number:
            self._opened = {*(self._opened or ()), number}
            number = self._parents.get(number)
        node = self._rebuild(stack_id)
        if node is not None:
            self.call_after_refresh(self.scroll_to_node, node, animate=False)
        return True

    def _rebuild(self, selected: int | None) -> TreeNode[Branch] | None:
        """Make all lines anew; the node that is selected, if it is there."""
        self._filling = True
        self.clear()
        self.root.expand()
        found = self._fill(self.root, 0, selected)
        self._filling = False
        if self.last_line >= 0:  # asking for it lays the lines out
            self.move_cursor(found or self.root.children[0])
        return found

    def on_tree_node_expanded(self, event: Tree.NodeExpanded[Branch]) -> None:
        """Add what is below a node when it is opened for the first time."""
        node = event.node
        if not self._filling and node.data is not None and self._opened is not None:
            self._opened.add(node.data.stack_id)
            if not node.children:
                self._fill(node, node.data.stack_id, None)

    def on_tree_node_collapsed(self, event: Tree.NodeCollapsed[Branch]) -> None:
        """Remember that a node is closed."""
        if not self._filling and event.node.data is not None and self._opened is not None:
            self._opened.discard(event.node.data.stack_id)

    def _fill(self, parent: TreeNode[Branch], stack_id: int, selected: int | None) -> TreeNode[Branch] | None:
        """Add the branches below a node, those that are open with their own; the node that is selected."""
        found = None
        pending = [(parent, stack_id)]
        while pending:
            above, number = pending.pop()
            for branch in self._branches.get(number, ()):
                leaf = branch.stack_id == NO_STACK or branch.stack_id not in self._branches
                opened = not leaf and branch.stack_id in (self._opened or ())
                node = above.add(self._label(branch), branch, expand=opened, allow_expand=not leaf)
                if branch.stack_id == selected:
                    found = node
                if opened:
                    pending.append((node, branch.stack_id))
        return found

    def _heavy_path(self) -> set[int]:
        """The nodes from the root on that hold more than half of the heap: they are open at first."""
        opened: set[int] = set()
        number = 0
        while branches := self._branches.get(number):
            number = branches[0].stack_id
            if number == NO_STACK or branches[0].total_bytes * 2 <= self._total:
                break
            opened.add(number)
        return opened

    def _label(self, branch: Branch) -> Text:
        share = human_share(branch.total_bytes, self._total)
        text = Text(f"{human_bytes(branch.total_bytes):>9} {share:>6}  ", no_wrap=True)
        text.append(printable(branch.function), "bold")
        if branch.stack_id != NO_STACK:
            text.append(f"  {printable(branch.file.rpartition('/')[2])}:{branch.line}", "dim")
        return text


class EventView(VerticalScroll):
    """What happened at the position."""

    def __init__(self) -> None:
        super().__init__(Static(id="event-text"), id="event")
        self._shown: tuple[int, int] = (-1, 0)

    def show(self, view: View) -> None:
        """Show an event, from its beginning if it is another one than before."""
        width = max(20, self.size.width - 2)
        text = Text(no_wrap=True, overflow="crop")
        for line in step_lines(view.document, width=width):
            text.append(line.text + "\n", _STYLES.get(line.role, ""))
        text.rstrip()
        self.query_one("#event-text", Static).update(text)
        if self._shown[0] != view.moment.seq:
            self.scroll_home(animate=False)
        self._shown = (view.moment.seq, width)
