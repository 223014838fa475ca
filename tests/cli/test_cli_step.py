"""`tracekit step`: its screen, driven by keys in terminals of several sizes."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import traces
from cli_support import HOSTILE, Stored
from effort import examples, some
from screen_support import MAIN, SIZES, Screen, drive, example
from textual.widgets import Input

from tracekit.cli.stepping.dialogs import GotoScreen, HelpScreen
from tracekit.cli.stepping.model import Timeline
from tracekit.cli.stepping.panes import EventView, TimelineView, mark_line
from tracekit.cli.stepping.screen import KEYS

SAMPLES = Path(__file__).parents[2] / "sample_traces" / "v2"


@pytest.fixture
def log(stored: Stored, tmp_path: Path) -> Path:
    return stored(example, tmp_path / "app.tkt")


@pytest.mark.parametrize("size", SIZES)
def test_what_is_on_the_screen(log: Path, size: tuple[int, int]) -> None:
    async def script(screen: Screen) -> None:
        lines = screen.lines
        assert len(lines) == size[1]
        assert all(len(line) == size[0] for line in lines)
        assert lines[0].startswith("event 4 of 10")
        assert "1.5 KiB" in lines[0]
        assert "▲" in screen.text
        assert "load.py:33 (Loader.read)" in screen.text
        assert "allocation of 500 B" in screen.text
        if size[1] >= 24:
            for text in ("◆start", "◆warm", "lives", "group", "allocated by", "1 site", "? help", "q quit"):
                assert text in screen.text
        await screen.press("right", "right")
        assert screen.lines[0].startswith("event 6 of 10")
        assert "free of 70 B" in screen.text

    drive(log, script, size=size, at="seq:4")


def test_steps_and_both_ends(log: Path) -> None:
    async def script(screen: Screen) -> None:
        for keys, seq in [
            (["left"], 0),
            (["right"], 1),
            (["l"], 2),
            (["h"], 1),
            (["shift+right"], 10),
            (["H"], 0),
            (["ctrl+right"], 10),
            ([","], 0),
            ([">"], 10),
            (["ctrl+shift+left"], 0),
            (["end"], 10),
            (["home"], 0),
            (["right"] * 5, 5),
            (["p"], 4),
        ]:
            await screen.press(*keys)
            assert screen.seq == seq, keys
            assert screen.lines[0].startswith(f"event {seq} of 10")
        await screen.press("end", "right")
        assert screen.status == "this is the last event"
        await screen.press("left")
        assert screen.status == ""
        await screen.press("home", "left")
        assert screen.status == "this is the first event"

    drive(log, script)


def test_jumps(log: Path) -> None:
    async def script(screen: Screen) -> None:
        for key, seq, said in [
            ("c", 7, ""),
            ("c", 7, "there is no later collection"),
            ("C", 7, "there is no earlier collection"),
            ("M", 2, ""),
            ("M", 0, ""),
            ("M", 0, "there is no earlier mark"),
            ("m", 2, ""),
            ("f", 2, "this event has no block of the recording"),
            ("right", 3, ""),
            ("a", 3, "this is the allocation"),
            ("f", 6, ""),
            ("f", 6, "this is the free"),
            ("a", 3, ""),
            ("right", 4, ""),
            ("f", 4, "the block is never freed while recorded"),
            ("end", 10, ""),
            ("m", 10, "there is no later mark"),
        ]:
            await screen.press(key)
            assert (screen.seq, screen.status) == (seq, said), key

    drive(log, script)


def test_allocations_of_the_selected_group(log: Path) -> None:
    async def script(screen: Screen) -> None:
        assert screen.table.selected == "/srv/lib/load.py:33 (Loader.read)"
        await screen.press("N")
        assert screen.seq == 1
        await screen.press("n")
        assert screen.seq == 4
        await screen.press("n")
        assert (screen.seq, screen.status) == (4, "there is no later allocation of the selected group")
        await screen.press("down")
        assert screen.table.selected == "/srv/app.py:10 (main)"
        await screen.press("N")
        assert (screen.seq, screen.table.selected) == (3, "/srv/app.py:10 (main)")
        await screen.press("right", "e")
        assert screen.table.selected == "/srv/lib/load.py:33 (Loader.read)"
        await screen.press("m", "e")
        assert screen.status == "this event did not change the heap"
        await screen.press("C", "left", "e")
        assert screen.status == "nothing is left of the group of this event"

    drive(log, script, at="seq:4")


def test_groupings(log: Path) -> None:
    async def script(screen: Screen) -> None:
        for number, by in enumerate(KEYS, 1):
            await screen.press(str(number))
            assert screen.by == by
            await screen.press("right", "left")
            assert (screen.by, screen.seq) == (by, 4)
            assert (screen.step.query_one("#heap").current == "tree") == (by == "stack")  # type: ignore[attr-defined]
        await screen.press("b")
        assert screen.by == "site"
        await screen.press("4")
        assert screen.table.keys == ["<unknown>", "app.Row"]
        assert screen.table.selected == "<unknown>"

    drive(log, script, at="seq:4")


def names(screen: Screen) -> list[str]:
    tree = screen.tree
    return [str(tree.get_node_at_line(line).label).split()[3] for line in range(tree.last_line + 1)]  # type: ignore[union-attr]


def test_the_call_tree_opens_and_closes(log: Path) -> None:
    async def script(screen: Screen) -> None:
        assert names(screen) == ["main", "Loader.read"]
        assert screen.tree.selected == 1
        await screen.press("space")
        assert names(screen) == ["main"]
        await screen.press("left")
        assert (screen.seq, names(screen)) == (3, ["main"])
        await screen.press("n")
        assert screen.seq == 4
        await screen.press("space", "down")
        assert (names(screen), screen.tree.selected) == (["main", "Loader.read"], 2)
        await screen.press("N")
        assert (screen.seq, screen.tree.selected) == (1, 2)
        await screen.press("c", "right", "right")
        assert (screen.seq, names(screen)) == (9, ["main", "Loader.read", "<unknown>"])
        await screen.press("up", "space", "C", "N", "N", "e")
        assert (screen.seq, screen.tree.selected) == (3, 1)

    drive(log, script, at="seq:4", by="stack")


def test_the_node_of_an_event_is_opened_and_scrolled_to(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    for number in range(20):
        path = [(f"f{number}.py", f"f{number}_{depth}", depth) for depth in range(8)]
        build.allocate(1000 - number, stack=build.stack(*path))

    async def script(screen: Screen) -> None:
        assert "f19_7 " not in "\n".join(screen.lines[:13])
        await screen.press("e")
        assert "f19_7 " in "\n".join(screen.lines[:13])
        assert screen.tree.cursor_node is not None
        assert screen.tree.cursor_node.data is not None
        assert screen.tree.cursor_node.data.function == "f19_7"

    drive(traces.write_log(tmp_path / "a.tkt", build.finish()), script, at="seq:20", by="stack")


def test_a_typed_moment(log: Path) -> None:
    async def script(screen: Screen) -> None:
        await screen.press("g", *"soon", "enter")
        assert isinstance(screen.front(), GotoScreen)
        assert "'soon' is not a moment" in screen.text
        screen.app.screen.query_one(Input).value = "mark:cold"
        await screen.press("enter")
        assert "its marks are mark:start, mark:warm" in " ".join(screen.text.split())
        await screen.press("escape")
        assert (screen.front(), screen.seq) == (screen.step, 4)
        await screen.press("g", *"mark:warm", "enter")
        assert (screen.front(), screen.seq) == (screen.step, 2)
        await screen.press(":", "enter")
        assert (screen.front(), screen.seq) == (screen.step, 2)

    drive(log, script, at="seq:4")


@pytest.mark.parametrize("size", SIZES)
def test_help(log: Path, size: tuple[int, int]) -> None:
    async def script(screen: Screen) -> None:
        await screen.press("?")
        assert isinstance(screen.front(), HelpScreen)
        assert "one event on" in screen.text
        assert ("q ctrl+c" in screen.text) == (size[1] >= 24)
        await screen.press("down")
        assert isinstance(screen.front(), HelpScreen)
        await screen.press("x")
        assert screen.front() is screen.step

    drive(log, script, size=size)


def test_a_click_on_the_timeline(log: Path) -> None:
    async def script(screen: Screen) -> None:
        timeline = screen.step.query_one(TimelineView)
        last = timeline.size.width - 1
        for x, seq in [(last, 10), (timeline.axis, 0), (timeline.axis + timeline.columns // 2, 2), (0, 2)]:
            await screen.pilot.click(TimelineView, offset=(x, 1))
            await screen.settle()
            assert screen.seq == seq

    drive(log, script, at="seq:4")


def test_the_timeline_can_be_zoomed(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    for _ in range(100):
        build.allocate(1000)
        build.advance(10_000_000)
    build.mark("late")

    async def script(screen: Screen) -> None:
        def timeline() -> Timeline:
            assert screen.step.shown is not None
            return screen.step.shown.timeline

        assert (timeline().start_ns, timeline().span_ns) == (0, 1_000_000_000)
        await screen.press("z")
        assert (timeline().start_ns, timeline().span_ns) == (375_000_000, 250_000_000)
        assert screen.status == "the timeline shows 375.0 ms to 625.0 ms"
        assert "late" not in screen.text
        assert (min(timeline().values), max(timeline().values)) == (38_000, 63_000)
        await screen.press("right")
        assert timeline().start_ns == 375_000_000  # it stays where it is while the position is in it
        await screen.press("end")
        assert timeline().start_ns == 750_000_000
        assert "late" in screen.text
        for _ in range(4):
            await screen.press("z")
        assert (timeline().span_ns, screen.status) == (10_000_000, "times are not known more precisely")
        for _ in range(5):
            await screen.press("Z")
        assert (timeline().start_ns, timeline().span_ns) == (0, 1_000_000_000)

    drive(traces.write_log(tmp_path / "a.tkt", build.finish()), script, at="seq:51")


def test_another_size_of_the_terminal(log: Path) -> None:
    async def script(screen: Screen) -> None:
        for size in [(120, 40), (40, 10), (200, 60), (20, 4)]:
            await screen.pilot.resize_terminal(*size)
            await screen.settle()
            assert [len(line) for line in screen.lines] == [size[0]] * size[1]
            timeline = screen.step.query_one(TimelineView)
            assert screen.step.shown is not None
            assert len(screen.step.shown.timeline.values) == timeline.columns
            await screen.press("right", "left")
        assert screen.seq == 4

    drive(log, script, at="seq:4")


def test_a_recording_that_knows_little(tmp_path: Path) -> None:
    lacks = dict.fromkeys(("real_addresses", "real_times", "domains", "types", "threads"), False)
    header = traces.sample_header(engine="portable", capabilities=traces.sample_capabilities(**lacks))
    build = traces.TraceBuilder(header)
    block = build.allocate(100, stack=build.stack(MAIN), thread=0)
    build.advance(20_000_000)
    build.free(block)

    async def script(screen: Screen) -> None:
        text = " ".join(screen.event.split())
        assert "thread, domain, address and type not recorded by the portable engine" in text
        assert "lives for 20.0 ms by the sync points (1 event)" in text
        for key in "1234567":
            await screen.press(key, "right", "left")
        assert screen.seq == 1

    drive(traces.write_log(tmp_path / "a.tkt", build.finish()), script, at="seq:1")


@pytest.mark.parametrize("size", [(80, 24), (40, 10)])
def test_hostile_names_are_harmless(tmp_path: Path, size: tuple[int, int]) -> None:
    build = traces.TraceBuilder()
    stack = build.stack((HOSTILE, HOSTILE, 1), (f"{HOSTILE}.py", HOSTILE, 2))
    block = build.allocate(100, stack=stack)
    build.mark(HOSTILE)
    build.free(block, type_id=build.type(HOSTILE))

    async def script(screen: Screen) -> None:
        for key in "147":
            await screen.press(key, "right", "m", "left", "e")
            assert all(line.isprintable() for line in screen.lines)
            assert "\x1b" not in screen.text
        if size[0] >= 80:
            assert "[bold]" in screen.text

    drive(traces.write_log(tmp_path / "a.tkt", build.finish()), script, size=size, at="seq:1")


def test_a_recording_of_its_first_mark_only(tmp_path: Path) -> None:
    async def script(screen: Screen) -> None:
        assert screen.lines[0].startswith("event 0 of 0")
        for key in ("right", "left", "n", "N", "e", "7", "n", "e", "space", "c", "f", "a", "p"):
            await screen.press(key)
        assert screen.seq == 0

    log = traces.write_log(tmp_path / "a.tkt", traces.TraceBuilder().finish(complete=False))
    drive(log, script)


def test_the_event_can_be_scrolled(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    build.allocate(10, stack=build.stack(*((f"f{n}.py", f"f{n}", n) for n in range(50))))

    async def script(screen: Screen) -> None:
        await screen.press("tab", *["pagedown"] * 20)
        pane = screen.step.query_one(EventView)
        assert screen.app.focused is pane
        assert "f0.py:0 (f0)" in screen.text
        await screen.press("left")
        assert pane.scroll_offset.y == 0

    drive(traces.write_log(tmp_path / "a.tkt", build.finish()), script, at="seq:1")


def test_names_of_marks_take_the_room_that_there_is() -> None:
    assert mark_line({0: "start", 8: "warm"}, 20) == "◆start  ◆warm"
    assert mark_line({0: "a-longer-name", 3: "b", 5: "c"}, 6) == "◆  ◆ ◆"
    assert mark_line({0: "a-longer-name", 12: "x"}, 13) == "◆a-longe... ◆"
    assert mark_line({0: "start", 12: "end"}, 13) == "◆start   end◆"
    assert mark_line({0: "start", 9: "end"}, 10) == "◆start   ◆"
    assert mark_line({}, 10) == ""


@pytest.mark.parametrize("sample", some(["cyclic_garbage.native", "batch_peak.portable"]))
def test_any_keys_in_any_order(sample: str) -> None:
    source = random.Random(sample)
    keys = [*"hlHL,.<>cCmMnNfapb1234567ezZ ", "up", "down", "home", "end", "tab", "pagedown"]

    async def script(screen: Screen) -> None:
        for _ in range(examples(40)):
            await screen.press(source.choice(keys))
            view = screen.step.shown
            assert view is not None
            assert view.timeline.shows(view.moment.time_ns)
            assert view.document["position"]["live_bytes"] == view.heap.total_bytes
        await screen.press("g", *f"seq:{screen.seq}", "enter")

    drive(SAMPLES / f"{sample}.tkt", script, at="50%")
