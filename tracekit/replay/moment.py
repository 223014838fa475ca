"""Instants of a recording, as people type them."""

from __future__ import annotations

import re

from msgspec import Struct

from tracekit.errors import MomentMissingError, MomentSyntaxError
from tracekit.store.database import Store

_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_GRAMMAR = re.compile(
    rf"start|end|peak|(?P<time>{_NUMBER}(?:s|ms|%))|seq:(?P<seq>[0-9]+)|gc:(?P<gc>[0-9]+)|mark:(?P<mark>.+)",
    re.DOTALL,
)
_NAMES_SHOWN = 10


class Moment(Struct, frozen=True):
    """An instant: right after event ``seq``, which happened at ``time_ns``. ``text`` is as it was typed."""

    text: str
    seq: int
    time_ns: int

    @property
    def time_s(self) -> float:
        """Time of the event in seconds since the recording began."""
        return self.time_ns / 1e9


def resolve_moment(store: Store, text: str) -> Moment:
    """The instant that ``text`` names: start, end, peak, 1.5s, 200ms, 50%, seq:N, gc:N or mark:NAME.

    ``end`` of a program that did not reach its end is the last event; ``gc:N`` is right after the collection
    with that ``gc_id`` stopped; a time or a percentage of the duration is the last event not after it; of
    several marks of one name the first counts. The SQL macro ``moment`` decides. Raises MomentSyntaxError
    for a text that is none of these and MomentMissingError, saying what there is, when the trace lacks it.
    """
    match = _GRAMMAR.fullmatch(text)
    if match is None:
        raise MomentSyntaxError(
            f"{text!r} is not a moment",
            hint="say start, end, peak, 1.5s, 200ms, 50%, seq:N, gc:N or mark:NAME",
        )
    statement = """
        WITH found AS (SELECT moment($text, trace := $trace) AS seq)
        SELECT f.seq, (SELECT arg_min(l.time_ns, l.seq) FROM timeline l
                       WHERE l.trace_id = $trace AND l.seq >= f.seq)
        FROM found f
    """
    seq, time_ns = _row(store, statement, {"text": text, "trace": store.trace_id})
    if not isinstance(seq, int) or not isinstance(time_ns, int):
        raise MomentMissingError(f"{store.path} has no moment {text!r}", hint=_what_there_is(store, match))
    return Moment(text, seq, time_ns)


def _row(store: Store, statement: str, parameters: dict[str, object]) -> tuple[object, ...]:
    return next(store.query(statement, parameters).rows())


def _what_there_is(store: Store, match: re.Match[str]) -> str:
    """What the trace has of the kind that was asked for."""
    trace: dict[str, object] = {"trace": store.trace_id}
    first, last, duration_ns = _row(
        store, "SELECT first_seq, last_seq, duration_ns FROM traces WHERE trace_id = $trace", trace
    )
    if first is None:
        return "it holds no events"
    if match["seq"]:
        return f"its events are seq:{first} to seq:{last}"
    if match["gc"]:
        statement = """SELECT min(gc_id), max(gc_id), count(gc_id) FROM gc_collections
                       WHERE trace_id = $trace AND stop_seq IS NOT NULL"""
        low, high, count = _row(store, statement, trace)
        return f"its {count} collections are gc:{low} to gc:{high}" if count else "it has no collections"
    if match["mark"]:
        statement = """SELECT name FROM marks WHERE trace_id = $trace AND name IS NOT NULL
                       GROUP BY name ORDER BY min(seq)"""
        names = [str(name) for (name,) in store.query(statement, trace).rows()]
        shown = ", ".join(f"mark:{name}" for name in names[:_NAMES_SHOWN])
        more = f" and {len(names) - _NAMES_SHOWN} more" if len(names) > _NAMES_SHOWN else ""
        return f"its marks are {shown}{more}" if names else "it has no marks"
    assert isinstance(duration_ns, int)  # noqa: S101 - a column that is never NULL
    return f"it lasts {duration_ns / 1e9:.9g}s"
