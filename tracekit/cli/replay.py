"""``tracekit replay``."""

# ruff: noqa: PLC0415 - the library is imported when a command needs it, so that `--help` is quick

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tracekit.cli.notes import heap_notes, stack_notes
from tracekit.cli.options import AsJson, Log, NoCache, check_limit, choice, most_shown, size
from tracekit.cli.output import opened, put, put_lines, terminal_width
from tracekit.errors import UsageError
from tracekit.report.heaps import difference_lines, heap_lines
from tracekit.report.json import json_document
from tracekit.report.trees import tree_lines

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tracekit.replay.heap import Heap
    from tracekit.replay.moment import Moment
    from tracekit.replay.stacks import StackSegment
    from tracekit.store.database import Store

DEFAULT_GROUPS = 20


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """What `replay` was asked."""

    log: Log
    at: Annotated[
        str | None, typer.Option("--at", metavar="MOMENT", help="The instant to look at. [default: peak]")
    ] = None
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="MOMENT", help="Show what changed since this. [default: start]"),
    ] = None
    end: Annotated[
        str | None,
        typer.Option("--to", metavar="MOMENT", help="Show what changed until this. [default: end]"),
    ] = None
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="GROUPING",
            help="Add up by site (file and line), function, file, module, type, stack, thread, domain, "
            "size_class or age. [default: site]",
        ),
    ] = None
    limit: Annotated[
        int | None,
        typer.Option(
            "--limit",
            metavar="N",
            help="Groups to show, 0 for all. [default: 20 in the table, all in JSON]",
        ),
    ] = None
    tree: Annotated[bool, typer.Option("--tree", help="Show a call tree instead of groups.")] = False
    depth: Annotated[
        int | None,
        typer.Option("--depth", metavar="N", min=1, help="Levels of the call tree. [default: all]"),
    ] = None
    min_bytes: Annotated[
        str | None,
        typer.Option(
            "--min-bytes",
            metavar="SIZE",
            help="Leave out of the call tree what holds less. [default: 1% of the heap, 0 in JSON]",
        ),
    ] = None
    stacks: Annotated[
        bool, typer.Option("--stacks", help="Show the whole call path of every thread at the moment.")
    ] = False
    status: Annotated[
        str | None,
        typer.Option(
            "--status",
            metavar="NAMES",
            help="Of a difference, show only groups that are new, grown, shrunk or gone: new,grown say.",
        ),
    ] = None
    as_json: AsJson = False
    no_cache: NoCache = False

    def __post_init__(self) -> None:
        self._check_tree()
        if self.at is not None and (self.start is not None or self.end is not None):
            raise UsageError(
                "--at and --from/--to exclude each other", hint="one shows a moment, the others a difference"
            )
        check_limit(self.limit)
        if self.status is not None and self.start is None and self.end is None:
            raise UsageError("--status is of a difference", hint="give --from or --to, too")

    @property
    def statuses(self) -> tuple[str, ...]:
        """Of which status the groups of a difference are. Raises UsageError."""
        from tracekit.replay.difference import STATUSES

        if self.status is None:
            return STATUSES
        return tuple(choice("--status", name.strip(), STATUSES) for name in self.status.split(","))

    def _check_tree(self) -> None:
        for given, name in ((self.tree, "--tree"), (self.stacks, "--stacks")):
            if given and (self.start is not None or self.end is not None):
                raise UsageError(
                    f"{name} and --from/--to exclude each other", hint=f"{name} is of one moment"
                )
        if self.tree and (self.by is not None or self.limit is not None):
            raise UsageError(
                "--tree and --by/--limit exclude each other", hint="--depth and --min-bytes cut a call tree"
            )
        if not self.tree and (self.depth is not None or self.min_bytes is not None):
            raise UsageError("--depth and --min-bytes cut a call tree", hint="give --tree, too")

    def check(self) -> None:
        """Raise UsageError for what takes the library to be found wrong, before a store is built."""
        _ = self.grouping, self.least

    @property
    def grouping(self) -> str:
        """What to add up by. Raises UsageError."""
        from tracekit.replay.heap import GROUPINGS

        return choice("--by", self.by or "site", GROUPINGS)

    @property
    def least(self) -> int | None:
        """Bytes that a node of the call tree has at least; None when not given. Raises UsageError."""
        if self.min_bytes is None:
            return 0 if self.as_json else None
        return 0 if self.min_bytes.strip() == "0" else size("--min-bytes", self.min_bytes)

    @property
    def most(self) -> int | None:
        """Groups to show; None for all."""
        return most_shown(self.limit, None if self.as_json else DEFAULT_GROUPS)


def run(options: ReplayOptions) -> int:
    """Show what was alive at any moment, grouped, largest first; or what changed between two moments.

    A MOMENT is start, end, peak, a time (1.5s, 200ms), a share of the time (50%), an event (seq:N), a
    collection (gc:N), or a mark that the program set with tracekit.mark("NAME") (mark:NAME). The heap "at" an
    event is the heap after it. With --from or --to the groups are those that changed, most growth first: new,
    grown, shrunk or gone. "made" is what was allocated between the moments and is still there: more than the
    growth where it replaces what was freed.

    Below the heap stands the stack segment: where each thread was, and the bytes of its frames. That is exact
    at a mark; at another moment it is where the thread allocated last.

    Examples:
        tracekit replay app.tkt
        tracekit replay app.tkt --at 1.5s --by function
        tracekit replay app.tkt --at mark:warm --tree --depth 8
        tracekit replay app.tkt --from mark:warm --to end --by stack
        tracekit replay app.tkt --from start --to peak --status new,grown
        tracekit replay app.tkt --at end --by file --json

    """
    options.check()
    assert options.statuses  # noqa: S101 - raises for one that is none, before a store is built
    with opened(options.log, cache=not options.no_cache) as store:
        if options.start is None and options.end is None:
            document = _heap(store, options)
        else:
            document = _difference(store, options)
    if options.as_json:
        put(json_document(document))
    else:
        put_lines(_lines(document, options))
    return 0


def _lines(document: dict[str, Any], options: ReplayOptions) -> Iterator[str]:
    width = terminal_width(sys.stdout)
    if options.tree:
        return tree_lines(document, whole_stacks=options.stacks, width=width)
    if "moment" in document:
        return heap_lines(document, whole_stacks=options.stacks, width=width)
    return difference_lines(document, width=width)


def moment_document(moment: Moment) -> dict[str, Any]:
    """A moment as it stands in JSON."""
    return {"text": moment.text, "seq": moment.seq, "time_s": moment.time_s}


def _heap(store: Store, options: ReplayOptions) -> dict[str, Any]:
    from tracekit.replay.heap import heap_at

    heap = heap_at(store, "peak" if options.at is None else options.at)
    document = {
        "moment": moment_document(heap.moment),
        "total_bytes": heap.total_bytes,
        "total_blocks": heap.total_blocks,
        **(_tree(heap, options) if options.tree else _groups(heap.by(options.grouping), options)),
    }
    stacks = heap.stacks()
    by = "stack" if options.tree else options.grouping
    notes = heap_notes(store.header, by, complete=store.complete) + stack_notes(store.header, stacks)
    return document | _stacks(stacks, options) | {"notes": notes}


def _tree(heap: Heap, options: ReplayOptions) -> dict[str, Any]:
    """The nodes of the call tree in a row, parents before children: a path may be too long to be nested."""
    least = heap.total_bytes // 100 if options.least is None else options.least
    numbers: list[int] = []  # of the nodes from the root to the last one
    nodes: list[dict[str, Any]] = []
    for depth, node in heap.tree(least, options.depth).walk():
        numbers = [*numbers[: depth - 1], len(nodes) + 1]
        nodes.append(
            {
                "id": numbers[-1],
                "parent": numbers[-2] if depth > 1 else None,
                "depth": depth,
                **{name: getattr(node, name) for name in node.__struct_fields__ if name != "children"},
            }
        )
    return {"min_bytes": least, "depth": options.depth, "nodes": nodes}


def _stacks(stacks: list[StackSegment], options: ReplayOptions) -> dict[str, Any]:
    import msgspec

    shown = stacks if options.as_json or options.stacks else stacks[:DEFAULT_GROUPS]
    return {
        "stack_bytes": sum(stack.bytes for stack in stacks),
        "stacks": msgspec.to_builtins(shown),
        "stacks_omitted": len(stacks) - len(shown),
    }


def _difference(store: Store, options: ReplayOptions) -> dict[str, Any]:
    import msgspec

    from tracekit.replay.difference import difference
    from tracekit.replay.moment import resolve_moment

    start = resolve_moment(store, "start" if options.start is None else options.start)
    end = resolve_moment(store, "end" if options.end is None else options.end)
    result = difference(store, start, end, by=options.grouping, status=options.statuses)
    return {
        "from": moment_document(result.start),
        "to": moment_document(result.end),
        "total_bytes": result.total_bytes,
        "total_blocks": result.total_blocks,
        "bytes_before": result.bytes_before,
        "bytes_after": result.bytes_after,
        "made_bytes": result.made_bytes,
        "made_blocks": result.made_blocks,
        "statuses": {name: msgspec.to_builtins(total) for name, total in result.statuses.items()},
        "status": list(options.statuses),
        **_groups(result.groups, options),
        "notes": heap_notes(store.header, options.grouping, complete=store.complete),
    }


def _groups(groups: list[Any], options: ReplayOptions) -> dict[str, Any]:
    import msgspec

    shown = groups[: options.most]
    return {
        "by": options.grouping,
        "groups": msgspec.to_builtins(shown),
        "groups_omitted": len(groups) - len(shown),
    }
