"""`tracekit fragmentation`: what it prints for people and for programs, and where it cannot answer."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from cli_support import HOSTILE, Cli, make_log, on_terminal, start
from effort import some
from traces import TraceBuilder, sample_capabilities, sample_header, write_log

from tracekit.events import AllocatorInfo, ArenaEvent
from tracekit.report.shades import Shades, map_lines, shades_for

BASE = 0x7F00_0000_0000
MIB = 1 << 20
POOL = 1 << 14


def block(arena: int, pool: int, index: int, size: int = 64) -> int:
    """The address of a block of a class."""
    return BASE + arena * MIB + pool * POOL + 48 + index * size


def make_pinned(path: Path, *, file: str = "app.py", older: bool = False) -> Path:
    """Four arenas: 0 is full of `load`, 1 holds `keep` alone, 2 `keep` and `note`, 3 nothing; and 5000 bytes.

    At the mark ``full`` arena 1 is full, too. ``older``: arena 2 also holds an older block.
    """
    build = TraceBuilder()
    load, keep, note = (
        build.stack((file, name, line)) for name, line in (("load", 3), ("keep", 9), ("note", 12))
    )
    row = build.type("app.Row")
    if older:
        build.older_arena(BASE + 2 * MIB)
        build.older_pool(BASE + 2 * MIB + 48, 32, 0b100)
    for arena in range(4):
        if arena != 2 or not older:
            build._add(ArenaEvent(build.next_seq, build.now, BASE + arena * MIB, MIB))
    build.advance(1_000_000_000)
    gone = []
    for arena in (0, 1):
        for pool in range(64):
            for index in range(31 if pool < 60 else 12):
                made = build.allocate(500, address=block(arena, pool, index, 512), stack=load)
                gone += [made] if arena else []
    build.mark("full")
    for made in gone:
        build.free(made)
    kept = [build.allocate(64, address=block(1, pool, 3), stack=keep) for pool in (0, 20, 40)]
    kept.append(build.allocate(64, address=block(2, 9, 0), stack=keep))
    build.allocate(400, address=block(2, 11, 1, 400), stack=note)
    build.allocate(5000, address=BASE - MIB, stack=load)
    build.allocate(40, address=BASE - MIB + 8192, stack=load)
    build.advance(1_000_000_000)
    build.mark("end", own=True)
    for made in kept:
        build.free(made, type_id=row)
    build.trace.exit_status = 0
    return write_log(path, build.trace, seed=None)


@pytest.fixture(scope="module")
def pinned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pinned(tmp_path_factory.mktemp("pinned") / "app.tkt")


TEXT = """\
fragmentation at end (event 5,737, 2.00 s)

Python takes memory for objects of up to 512 bytes from the system in pieces of 1.0 MiB (arenas), and \
gives a piece back only when no object in it is alive: a single one that stays keeps the whole piece.

4.0 MiB held in 4 arenas; objects take 932.3 KiB of it (22.8%)
2.0 MiB held in 2 arenas that are nearly empty: under 25% in use

what the rest is:
  116.7 KiB   2.8%  free places among objects of one size, in pools; kept for objects of that size
    1.9 MiB  48.0%  free pools in arenas that are in use; kept for small objects of any size
    1.0 MiB  25.0%  arenas without any object, which Python keeps at hand or is about to return
   55.0 KiB   1.3%  the allocator's own, and sizes rounded up

one character is an arena, emptiest first:
  ·░░█
  (· empty, ░ under 25%, ▒ under 50%, ▓ under 75%, █ 75% and more in use)

inside the emptiest arena: one character is a part of 16.0 KiB (pool), which holds objects of one size:
   0.0%  ░···················░···················░·······················  3 blocks, 2.00 s old

What keeps the nearly empty arenas. "returned" is the memory that goes back to the system when the \
blocks of this line and of all lines above it are freed (up to one arena less: Python keeps one at \
hand). "alone" are arenas that hold nothing else, "shared" hold blocks of other lines, too.

returned  alone  shared  blocks  bytes  site              mostly (type)
--------  -----  ------  ------  -----  ----------------  -------------
 1.0 MiB      1       1       4  256 B  app.py:9 (keep)   app.Row
 2.0 MiB      0       1       1  400 B  app.py:12 (note)  <unknown>

What helps: make what stays before what goes (fill caches and import first); or rebuild it when the \
work is done, which packs it together (x = pickle.loads(pickle.dumps(x))); or do the work in a process \
that ends.

not in these arenas: 4.9 KiB in 2 blocks that are larger, or of other allocators; 40 B in 1 small \
block among these lie in arenas older than the recording

note: an approximation: the recording does not know what was allocated before it began, so that arenas \
older than it are missing, or fuller than shown
"""


def test_text(pinned: Path) -> None:
    assert start("fragmentation", pinned, "--pools", "1", PYTHONIOENCODING="utf-8").out == TEXT


def test_json(cli: Cli, pinned: Path) -> None:
    document = cli("fragmentation", pinned, "--json", "--pools", "1").document
    assert document["moment"] == {"text": "end", "seq": 5737, "time_s": 2.0}
    assert (document["arena_size"], document["pool_size"], document["threshold"]) == (MIB, POOL, 512)
    assert document["older_known"] is False
    pins = document["pins"]
    groups = pins.pop("groups")
    assert pins == {
        "by": "site",
        "below": 0.25,
        "arenas": 2,
        "bytes": 2 * MIB,
        "arenas_older": 0,
        "arenas_spread": 0,
        "together": 5,
        "groups_omitted": 0,
    }
    assert groups[0] == {
        "key": "app.py:9 (keep)",
        "blocks": 4,
        "bytes": 256,
        "arenas_alone": 1,
        "alone_bytes": MIB,
        "arenas_shared": 1,
        "returned_bytes": MIB,
        "mostly": "app.Row",
    }
    assert document["size_classes"][1] == {
        "block_bytes": 400,
        "pools": 1,
        "blocks": 1,
        "free_blocks": 39,
        "requested_bytes": 400,
    }
    empty, emptiest, *_ = document["arenas"]
    assert (empty["blocks"], empty["pools"]) == (0, None)
    assert [pool["address"] for pool in emptiest["pools"] if pool["blocks"]] == [
        BASE + MIB + pool * POOL for pool in (0, 20, 40)
    ]
    assert document["outside"] == {"blocks": 2, "bytes": 5040, "small_blocks": 1, "small_bytes": 40}


def test_moments_groupings_and_limits(cli: Cli, pinned: Path) -> None:
    full = cli("fragmentation", pinned, "--at", "mark:full")
    assert "no arena is nearly empty" in full.out
    assert "What keeps" not in full.out
    at = {by: cli("fragmentation", pinned, "--by", by, "--json").document["pins"] for by in GROUPS}
    assert {by: [group["key"] for group in found["groups"]] for by, found in at.items()} == GROUPS
    assert at["thread"]["groups"][0]["mostly"] == "app.py:9 (keep)"
    one = cli("fragmentation", pinned, "--limit", "1")
    assert "... and 1 more group (--limit 0 shows all)" in one.out
    assert "more group" not in cli("fragmentation", pinned, "--limit", "0").out
    below = cli("fragmentation", pinned, "--below", "100", "--json").document["pins"]
    assert (below["arenas"], below["below"], below["groups"][0]["key"]) == (3, 1.0, "app.py:9 (keep)")
    assert cli("fragmentation", pinned, "--pools", "0").out.count("inside the") == 0
    assert "inside the 3 emptiest arenas" in cli("fragmentation", pinned).out


GROUPS = {
    "site": ["app.py:9 (keep)", "app.py:12 (note)"],
    "function": ["keep (app.py)", "note (app.py)"],
    "file": ["app.py"],
    "type": ["app.Row", "<unknown>"],
    "stack": ["keep (app.py:9)", "note (app.py:12)"],
    "thread": ["MainThread"],
    "age": ["1 s to 10 s old"],
}


def test_blocks_from_before_the_recording(cli: Cli, tmp_path: Path) -> None:
    log = make_pinned(tmp_path / "app.tkt", older=True)
    answer = cli("fragmentation", log)
    assert "       -      0       1       1   32 B  <before the recording>  <unknown>\n" in answer.out
    assert "1 nearly empty arena holds blocks from before the recording" in answer.out
    assert "40 B in 1 small block among these were made smaller" in answer.out
    assert "an approximation" not in answer.out
    document = cli("fragmentation", log, "--json").document
    assert document["totals"]["older_blocks"] == 1
    assert [group["returned_bytes"] for group in document["pins"]["groups"]] == [MIB, None, None]
    assert [arena["age_s"] for arena in document["arenas"]][2] is None


def test_no_arenas_at_a_moment(cli: Cli, tmp_path: Path) -> None:
    log = make_log(tmp_path / "app.tkt")
    answer = cli("fragmentation", log)
    assert answer.status == 0
    assert "no arenas are known at this moment\n" in answer.out
    document = cli("fragmentation", log, "--json").document
    assert (document["arenas"], document["totals"]["arenas"], document["pins"]["groups"]) == ([], 0, [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"engine": "portable", "capabilities": sample_capabilities(real_addresses=False, arenas=False)},
            "the portable engine did not record them; record with --engine native",
        ),
        (
            {"capabilities": sample_capabilities(arenas=False)},
            "the native engine did not record them; record the program again",
        ),
        (
            {"allocator": AllocatorInfo(4096, 1 << 20, 1 << 14, 16, 512, "malloc")},
            "the program ran with PYTHONMALLOC=malloc",
        ),
        ({"allocator": AllocatorInfo(0, 0, 0, 0, 0)}, "does not say how large arenas and pools are"),
        ({"allocator": AllocatorInfo(4096, 1 << 62, 1, 1, 1)}, "does not say how large arenas and pools are"),
    ],
)
def test_where_there_are_no_arenas(cli: Cli, tmp_path: Path, changes: dict[str, object], said: str) -> None:
    log = write_log(tmp_path / "app.tkt", TraceBuilder(sample_header(**changes)).finish())
    answer = cli("fragmentation", log)
    assert (answer.status, answer.out) == (2, "")
    assert answer.err.startswith("tracekit: error[arenas-unknown]: ")
    assert said in answer.err
    assert answer.err.count("\n") == 1


def test_a_trace_without_events(cli: Cli, tmp_path: Path) -> None:
    build = TraceBuilder()
    build.trace.events.clear()
    log = write_log(tmp_path / "app.tkt", build.trace, closed=False)
    answer = cli("fragmentation", log)
    assert answer.status == 2
    assert "has no moment 'end'; it holds no events" in answer.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--below", "0"], "--below cannot be '0'; give a percentage above 0"),
        (["--below", "101%"], "--below cannot be '101%'"),
        (["--below", "a few"], "--below cannot be 'a few'"),
        (["--by", "domain"], "choose one of site, function, file, type, stack, thread, age"),
        (["--pools", "-1"], "--pools cannot be -1"),
        (["--limit", "-1"], "--limit cannot be -1"),
        (["--at", "noon"], "'noon' is not a moment"),
    ],
)
def test_options_that_make_no_sense(cli: Cli, pinned: Path, arguments: list[str], said: str) -> None:
    answer = cli("fragmentation", pinned, *arguments)
    assert (answer.status, answer.out) == (2, "")
    assert said in answer.err


def test_names_are_harmless(cli: Cli, tmp_path: Path) -> None:
    out = cli("fragmentation", make_pinned(tmp_path / "app.tkt", file=HOSTILE), "--by", "file").out
    assert out.replace("\n", "").isprintable()


@pytest.mark.parametrize("columns", some([80, 120]))
def test_on_a_terminal(tmp_path: Path, columns: int) -> None:
    log = make_pinned(tmp_path / "app.tkt", file="deeply/" * 20 + "nested.py")
    plain = on_terminal(columns, "fragmentation", log, NO_COLOR="1", PYTHONIOENCODING="utf-8", TERM="xterm")
    assert max(map(len, plain.splitlines())) <= columns
    assert "  ·░░█\n" in plain
    assert "nested.py:9 (keep)" in plain
    assert ("app.Row" in plain) == (columns == 120)
    coloured = on_terminal(columns, "fragmentation", log, NO_COLOR="", PYTHONIOENCODING="utf-8", TERM="xterm")
    assert "  \x1b[2m·\x1b[0m\x1b[31m░░\x1b[0m\x1b[32m█\x1b[0m\n" in coloured
    ascii_only = on_terminal(
        columns, "fragmentation", log, NO_COLOR="1", PYTHONIOENCODING="ascii", TERM="xterm"
    )
    assert ascii_only.isascii()
    assert "  .--@\n" in ascii_only
    assert "\x1b" not in on_terminal(columns, "fragmentation", log, NO_COLOR="", TERM="dumb")


def test_a_map_of_many_arenas() -> None:
    shares = [0.0] * 1000 + [0.3] * 40_000
    _, *rows, legend = map_lines(shares, Shades(), 80)
    assert len(rows) <= 12
    assert max(map(len, rows)) == 80
    assert set("".join(rows)) == {" ", ".", "-", "+"}  # one character is part empty, part 0.3
    assert legend.startswith("  (. empty, - under 25%, + under 50%")
    first, *_ = map_lines(shares, Shades(), 80)
    assert first == "one character is 44 arenas (their mean), emptiest first:"


def test_shades() -> None:
    assert Shades().draw([0, 0.001, 0.249, 0.25, 0.5, 0.749, 0.75, 1]) == ".--+##@@"
    assert shades_for(io.StringIO()).colour is False


def test_a_log_that_claims_too_much(cli: Cli, tmp_path: Path) -> None:
    """Arenas of as many pools as may be, more of them than fit into any memory."""
    build = TraceBuilder(sample_header(allocator=AllocatorInfo(4096, 1 << 24, 1 << 12, 16, 512)))
    for number in range(1 << 14):
        build.older_arena(number << 24, 1 << 24)
    build.older_arena((1 << 63) - (1 << 24), 1 << 24)
    build.allocate(100, address=(1 << 63) - 4096)
    answer = cli("fragmentation", write_log(tmp_path / "app.tkt", build.finish()))
    assert (answer.status, answer.out) == (2, "")
    assert "claims 16385 arenas at once, more than a process can have" in answer.err
