"""A heap as a call tree in text. It takes the document of ``--json``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tracekit.report.heaps import heading, note_lines
from tracekit.report.stacks import short_frame_text, stack_lines
from tracekit.report.tables import Column, table
from tracekit.report.units import human_bytes, human_count, human_share

STEP = "  "
MOST_IN_LINE = 3
"""Names of a chain of calls that stand in one line; of longer ones all but the ends are counted."""


def tree_lines(
    document: Mapping[str, Any], *, whole_stacks: bool = False, width: int | None = None
) -> Iterator[str]:
    """Lines of a call tree: moment, totals, nodes, what was left out, the stack segment, notes.

    ``document``: moment {text, seq, time_s}, total_bytes, total_blocks, min_bytes, depth, nodes [{id,
    parent, depth, function, file, line, bytes, blocks, total_bytes, total_blocks}] with parents before
    children, those of :func:`stack_lines`, notes.
    """
    total = document["total_bytes"]
    yield from heading(document, "as a call tree")
    columns = (
        Column("total", "right"),
        Column("share", "right"),
        Column("self", "right"),
        Column("blocks", "right"),
        Column("call path", cut="middle"),
    )
    rows = (
        (
            human_bytes(chain[0]["total_bytes"]),
            human_share(chain[0]["total_bytes"], total),
            human_bytes(chain[-1]["bytes"]),
            human_count(chain[0]["total_blocks"]),
            STEP * indent + _chain_text(chain),
        )
        for indent, chain in _chains(document["nodes"], document["min_bytes"])
    )
    yield from table(columns, rows, width=width)
    left_out = []
    if document["min_bytes"]:
        left_out.append(
            f"what holds less than {human_bytes(document['min_bytes'])} (--min-bytes 0 shows all)"
        )
    if document["depth"] is not None:
        left_out.append(f"calls deeper than {document['depth']}")
    if left_out:
        yield f"left out: {', '.join(left_out)}"
    yield from stack_lines(document, whole=whole_stacks, width=width)
    yield from note_lines(document["notes"], width=width)


Nodes = Sequence[Mapping[str, Any]]


def _chains(nodes: Nodes, min_bytes: int) -> Iterator[tuple[int, Nodes]]:
    """(indent, nodes that stand in one line): each but the last has one child, which holds all that it does.

    Less than ``min_bytes`` may be missing, for that is left out everywhere else, too.
    """
    children: dict[int, int] = {}
    for node in nodes:
        if node["parent"] is not None:
            children[node["parent"]] = children.get(node["parent"], 0) + 1
    indents: dict[int, int] = {}
    chain: list[Mapping[str, Any]] = []
    for index, node in enumerate(nodes):
        chain.append(node)
        if children.get(node["id"]) == 1 and _holds_all(nodes[index + 1], chain[0], min_bytes):
            continue
        parent = chain[0]["parent"]
        indents[node["id"]] = indent = 0 if parent is None else indents[parent] + 1
        yield indent, chain
        chain = []


def _holds_all(below: Mapping[str, Any], above: Mapping[str, Any], min_bytes: int) -> bool:
    missing: int = above["total_bytes"] - below["total_bytes"]
    return missing < min_bytes or (missing == 0 and above["total_blocks"] == below["total_blocks"])


def _chain_text(chain: Nodes) -> str:
    names = [node["function"] for node in chain[:-1]]
    if len(chain) > MOST_IN_LINE:
        names = [names[0], f"({len(names) - 1} more)"]
    return " > ".join([*names, short_frame_text(chain[-1])])
