"""The heap of the replay at many marks of a real program against tracemalloc's statistics, line by line.

The program reads modules of the standard library, parses them with ``ast``, takes them through ``json``,
``re`` and ``email``, keeps some of it for a while, and sets a mark after each. The witness of
``test_exact.py`` runs tracemalloc (1 frame) below the recorder and asks it for all traces right behind each
mark. Here they become what a user would look at: ``Snapshot.statistics("lineno")``. On our side the same
comes from the public way to it, ``resolve_moment`` and ``heap_at(by="site")``.

At every mark each line must have the same bytes in the same number of blocks, except by what **moved**:

- *Free lists.* tracemalloc moves a block of a type with a free list to the line that took it from there; for
  the allocator, and for the recording, nothing happened.
- *Instructions without a line.* tracemalloc books their blocks under line 0 of the file, the recording under
  the line of the ``def``.

Which blocks moved is found block by block (file, line, size), and ``assert_same`` of ``test_exact.py`` proves
for each that it is one of these: nothing but such sizes and types, and every block that left a line has
come to another. A line that has moved blocks must differ by exactly these, and few blocks move. The program
collects before each mark, which empties the free lists, or the witness's own answer would be made from them.

Blocks older than the recording are on neither side: the witness makes tracemalloc forget them when the hooks
are in place. Blocks of the witness's own lines are left out on both. Domains of tracemalloc's own do not
occur, because the program uses no numpy.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import pytest
from effort import examples
from test_exact import WITNESS, Block, assert_same, recorded_heaps

from tracekit.record.select import native_trouble
from tracekit.replay.heap import heap_at
from tracekit.replay.moment import resolve_moment
from tracekit.store.opening import open_store

pytestmark = pytest.mark.skipif(native_trouble() is not None, reason=str(native_trouble()))

MARKS = examples(100)

PROGRAM = f"""
import ast, email, gc, json, pathlib, re, textwrap, tracekit

folder = pathlib.Path(json.__file__).parent.parent
sources = [path for part in ("json", "email", "collections") for path in sorted((folder / part).glob("*.py"))]
kept = {{}}

def functions(tree):
    return {{node.name: " ".join([str(node.lineno), *(one.arg for one in node.args.args)])
            for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}}

def letter(name, text):
    head = f"From: {{name}}\\nSubject: {{len(text)}} characters\\nTo: nobody\\n\\n"
    return email.message_from_string(head + textwrap.indent(text[:2000], "> "))

for turn in range({MARKS}):
    path = sources[turn % len(sources)]
    text = path.read_text(encoding="utf-8")
    found = functions(ast.parse(text))
    words = sorted(set(re.findall(r"\\w+", text)))[:50]
    words = json.loads(json.dumps({{"file": path.name, "words": words}}))
    kept[turn] = [found, words, letter(path.name, text), text[: 100 * turn]]
    if turn % 4 == 3:
        del kept[turn - 3]
    kept.pop(turn - 12, None)
    gc.collect()
    tracekit.mark(f"turn {{turn}}")
"""

IMPORTS = "import ast, email.parser, email.policy, json, pathlib, re, textwrap, tracemalloc\n"
"""Made before the recording, so that its heap is the program's own work and not 25,000 blocks of modules."""

STATISTICS = """
def statistics(answer):
    from tracemalloc import Snapshot
    first = [trace for trace in answer if trace[0] == 0]
    return [(s.traceback[0].filename, s.traceback[0].lineno, s.size, s.count)
            for s in Snapshot(first, 1).statistics("lineno")]
"""
"""What the witness adds to its testimony: tracemalloc's own sums of what it answered."""

Line = tuple[str, int]


def record(folder: Path) -> tuple[Path, Path, Path]:
    """Record the program with the witness: the log, its testimony, and its own file."""
    site = folder / "site"
    site.mkdir()
    witness = WITNESS.replace(
        'file.write(json.dumps(rows) + "\\n")', 'file.write(json.dumps([rows, statistics(answer)]) + "\\n")'
    )
    assert witness != WITNESS
    (site / "sitecustomize.py").write_text(IMPORTS + witness + STATISTICS)
    (folder / "program.py").write_text(PROGRAM)
    log, testimony = folder / "truth.tkt", folder / "testimony.jsonl"
    command = [sys.executable, "-m", "tracekit", "record", "-q", "--engine", "native", "-o", str(log)]
    subprocess.run(
        [*command, "program.py"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(site), "WITNESS": str(testimony)},
        timeout=240,
        check=True,
    )
    return log, testimony, site / "sitecustomize.py"


def replayed(log: Path, names: list[str]) -> list[dict[Line, tuple[int, int]]]:
    """(bytes, blocks) of each line at each of these marks, in the words of ``tracekit replay``."""
    heaps = []
    with open_store(log, cache=False) as store:
        for name in names:
            heap = heap_at(store, resolve_moment(store, name))
            lines: defaultdict[Line, tuple[int, int]] = defaultdict(lambda: (0, 0))
            for group in heap.by("site"):
                match = re.fullmatch(r"(.*):(-?\d+) \(.*\)", group.key)
                line = (match[1], int(match[2])) if match else (group.key, 0)
                lines[line] = (lines[line][0] + group.bytes, lines[line][1] + group.blocks)
            assert heap.total_bytes == sum(size for size, _ in lines.values())
            heaps.append(dict(lines))
    return heaps


def test_replay_is_tracemalloc_line_by_line(tmp_path: Path) -> None:
    log, testimony, witness = record(tmp_path)
    answers = [json.loads(line) for line in testimony.read_text().splitlines()]
    names = [f"mark:turn {turn}" for turn in range(MARKS)]
    heaps = replayed(log, [*names, "end"])
    blocks = recorded_heaps(log)
    assert len(heaps) == len(answers) == len(blocks) == MARKS + 1

    lines = blocks_compared = blocks_moved = 0
    for ours, our_blocks, (rows, statistics) in zip(heaps, blocks, answers, strict=True):
        assert all(domain == 0 for domain, *_ in rows)
        their_blocks = Counter((file, line, size) for _, size, file, line in rows)
        assert_same(our_blocks, their_blocks, Counter(), str(witness))
        theirs = {(file, line): (size, count) for file, line, size, count in statistics}
        moved = moved_blocks(our_blocks, their_blocks)
        for line in ours.keys() | theirs.keys():
            if line[0] == str(witness):
                continue
            lines += 1
            size, count = theirs.get(line, (0, 0))
            more = moved.get(line, (0, 0))
            blocks_compared += count
            blocks_moved += max(0, more[1])
            assert ours.get(line, (0, 0)) == (size + more[0], count + more[1]), line
    assert lines > 30 * MARKS
    assert blocks_moved < blocks_compared / 10


def moved_blocks(ours: dict[Block, Counter[str]], theirs: Counter[Block]) -> dict[Line, tuple[int, int]]:
    """(bytes, blocks) that each line has more in the recording than in tracemalloc's answer."""
    mine = Counter({block: kinds.total() for block, kinds in ours.items()})
    mine.subtract(theirs)
    moved: defaultdict[Line, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for (file, line, size), count in mine.items():
        if count:
            moved[file, line] = (moved[file, line][0] + size * count, moved[file, line][1] + count)
    return dict(moved)
