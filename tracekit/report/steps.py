"""One event of a recording in words, as lines: what it did, to what, and where it came from.

Every line has a role, so that a screen can tell them apart: ``title``, ``fact``, ``heading``, ``frame``,
``source`` and ``note``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from tracekit.report.text import columns_of, cut, printable, wrapped
from tracekit.report.units import human_bytes, human_change, human_count, human_seconds, plural, signed_count

Role = Literal["title", "fact", "heading", "frame", "source", "note"]

_LABEL = 8
_UNKNOWN = "<unknown>"
_PRECISION_NS = 1_000_000
"""The time of an event is right to a millisecond."""
_CAUSES = {
    "refcount": "its last reference went away",
    "gc": "the garbage collector found it in a cycle",
    "realloc": "a realloc replaced it",
    "unknown": "not known",
}


class Line(NamedTuple):
    """A line of text and what it is."""

    role: Role
    text: str


def step_lines(document: Mapping[str, Any], *, width: int) -> Iterator[Line]:
    """Lines about the event of a position, at most ``width`` columns each where texts can be cut.

    ``document``: position {seq, live_bytes, live_blocks}; event, as :class:`CursorEvent` has it, with a
    ``from_disk`` in frames whose source is not the recording's; effect, as :class:`Effect` has it; engine,
    and unknown: the capabilities that the engine does not have.
    """
    event = document["event"]
    if event is None:
        number = human_count(document["position"]["seq"])
        yield Line("title", f"event {number} is missing")
        yield from _wrap(
            "note", "it was lost with a damaged part of the log; the next step leads over the gap", width
        )
        return
    yield Line("title", cut(title(event), width))
    for label, text in _facts(document):
        lines = wrapped(printable(text), max(width - _LABEL, 20))
        for name, line in zip([label, *[""] * len(lines)], lines, strict=False):
            yield Line("fact", f"{name:<{_LABEL}}{cut(line, width - _LABEL)}")
    yield from _path(event, width)


def title(event: Mapping[str, Any]) -> str:
    """The event in a few words: ``allocation of 1.0 KiB, builtins.bytes``."""
    size = "" if event["size"] is None else human_bytes(event["size"])
    number = (event["collection"] or {}).get("gc_id")
    collection = "a collection" if number is None else f"the collection gc:{number}"
    if event["kind"] == "free" and event["block"] is None:
        lost = event["lost_seq"] is not None
        return (
            f"free of a block {'whose allocation the log has lost' if lost else 'older than the recording'}"
        )
    kind = event["type"] or _UNKNOWN
    of = size if kind == _UNKNOWN else f"{size}, {printable(kind)}"
    titles = {
        "allocation": f"allocation of {of}",
        "free": f"free of {of}",
        "gc-start": f"{collection} begins",
        "gc-stop": f"{collection} ends",
        "mark": printable(f"mark {event['mark'] or 'without a name'}"),
        "arena-allocation": f"an arena of {size} is obtained",
        "arena-free": f"an arena of {size} is returned",
    }
    return titles[event["kind"]]


def short_site(site: str, width: int) -> str:
    """``FILE:LINE (FUNCTION)`` in at most so many columns: the folders go first, then the function's end."""
    if columns_of(site) <= width:
        return site
    place, bracket, function = site.rpartition(" (")
    folders, slash, name = place.rpartition("/")
    tail = f"{slash}{name}{bracket}{function}"
    if folders and columns_of(tail) <= width:
        return cut(site, width, "start")
    return cut(f"{name}{bracket}{function}", width)


def short_function(key: str, width: int) -> str:
    """``FUNCTION (FILE)`` in at most so many columns: the folders go first, then the end."""
    function, bracket, file = key.partition(" (")
    if columns_of(key) <= width:
        return key
    return cut(f"{function}{bracket}{file.rpartition('/')[2]}", width)


Fact = tuple[str, str]


def _facts(document: Mapping[str, Any]) -> Iterator[Fact]:
    event, effect, position = document["event"], document["effect"], document["position"]
    yield from _block_facts(event, "real_times" in document["unknown"])
    yield from _collection_facts(event)
    now = f"{human_bytes(position['live_bytes'])} in {plural(position['live_blocks'], 'block')}"
    if effect["key"] is None:
        yield ("heap", f"unchanged: {now}")
    else:
        blocks = "block" if abs(effect["blocks"]) == 1 else "blocks"
        change = f"{human_change(effect['bytes'])}, {signed_count(effect['blocks'])} {blocks}"
        yield ("heap", f"{change}: {now}")
        group = f"{human_bytes(effect['group_bytes'])} in {plural(effect['group_blocks'], 'block')}"
        yield ("group", f"{group} of this {'call path' if effect['by'] == 'stack' else effect['by']}")
    yield ("what", ", ".join(_properties(event, document["unknown"], document["engine"])))


def _properties(event: Mapping[str, Any], unknown: Collection[str], engine: str) -> Iterator[str]:
    """Thread, domain, address and type, as far as they are known; and what is not recorded."""
    missing = []
    if event["thread"] != _UNKNOWN:
        yield f"thread {event['thread']}"
    else:
        missing.append("thread")
    if event["domain"] is not None:
        if "domains" in unknown:
            missing.append("domain")
        else:
            yield f"domain {event['domain']}"
    if event["address"] is not None:
        yield f"0x{event['address']:x}"
    elif event["block"] is not None and "real_addresses" in unknown:
        missing.append("address")
    if event["type"] == _UNKNOWN:
        missing.append("type")
    if missing:
        recorded = {"thread": "threads", "domain": "domains", "address": "real_addresses", "type": "types"}
        never = all(recorded[name] in unknown for name in missing)
        names = " and ".join(filter(None, (", ".join(missing[:-1]), missing[-1])))
        yield f"{names} not recorded by the {engine} engine" if never else f"{names} not known"


def _block_facts(event: Mapping[str, Any], sync_points: bool) -> Iterator[Fact]:
    block = event["block"]
    if event["kind"] == "free":
        cause = _CAUSES.get(event["cause"], event["cause"] or "not known")
        by = (
            ""
            if block is None or block["replaced_by"] is None
            else f": event {human_count(block['replaced_by'])}"
        )
        yield ("cause", cause + by)
    if event["older_size"] is not None:
        yield ("size", f"{human_bytes(event['older_size'])} at most (its size class)")
    if event["lost_seq"] is not None:
        yield ("block", f"of event {human_count(event['lost_seq'])}")
    if block is None:
        return
    if event["kind"] == "allocation" and block["realloc_of"] is not None:
        yield ("realloc", f"of the block of event {human_count(block['realloc_of'])}")
    if block["free_seq"] is None:
        yield ("lives", "on: it is never freed while recorded")
        return
    age_ns = block["freed_ns"] - block["allocated_ns"]
    age = human_seconds(age_ns / 1e9) if age_ns >= _PRECISION_NS else "less than 1 ms"
    if sync_points:
        age = f"{human_seconds(age_ns / 1e9)} by the sync points"
    events = plural(block["free_seq"] - block["alloc_seq"], "event")
    if event["kind"] == "allocation":
        yield ("lives", f"for {age} ({events}), until event {human_count(block['free_seq'])}")
        return
    yield ("lived", f"{age} ({events}), since event {human_count(block['alloc_seq'])}")
    if block["allocating_thread"] != block["freeing_thread"]:
        yield ("made by", f"thread {block['allocating_thread']}")


def _collection_facts(event: Mapping[str, Any]) -> Iterator[Fact]:
    found = event["collection"]
    if found is None:
        return
    generation = (
        "a generation not known" if found["generation"] is None else f"generation {found['generation']}"
    )
    if event["kind"] == "free":
        number = "a collection" if found["gc_id"] is None else f"gc:{found['gc_id']}"
        yield ("by", f"{number} ({generation})")
        return
    yield ("of", generation)
    for label, what in (("counts", found["counts"]), ("limits", found["thresholds"])):
        if None not in what:
            yield (label, ", ".join(map(human_count, what)))
    if found["pause_ns"] is not None:
        yield ("pause", human_seconds(found["pause_ns"] / 1e9))
    if found["collected"] is not None:
        left = found["uncollectable"]
        more = f", {human_count(left)} uncollectable" if left else ""
        yield ("found", f"{plural(found['collected'], 'object')} to collect{more}")
    freed = plural(found["freed_blocks"], "block")
    yield ("freed", f"{human_bytes(found['freed_bytes'])} in {freed} of the recording")


def _path(event: Mapping[str, Any], width: int) -> Iterator[Line]:
    frames = event["frames"]
    if frames:
        yield Line(
            "heading", "set by (innermost first)" if event["mark"] else "allocated by (innermost first)"
        )
    elif event["block"] is not None:
        yield from _wrap(
            "note", "no Python code was running when it was allocated, or its path is not known", width
        )
    disk = False
    for frame in frames:
        place = printable(f"{frame['file']}:{frame['line']} ({frame['function']})")
        yield Line("frame", short_site(place, width))
        if frame["source"]:
            disk = disk or frame["from_disk"]
            mark = "*" if frame["from_disk"] else " "
            yield Line("source", cut(f"  {mark} {printable(frame['source'].strip())}", width))
    if disk:
        yield from _wrap("note", "* from the file on disk", width)


def _wrap(role: Role, text: str, width: int) -> Iterator[Line]:
    for line in wrapped(text, width):
        yield Line(role, line)


__all__ = ["Line", "Role", "short_function", "short_site", "step_lines", "title"]
