"""Instants spread over a stretch of a recording, by time and by events alike."""

from __future__ import annotations

from msgspec import Struct

from tracekit.replay.moment import Moment, resolve_moment
from tracekit.store.database import Store

STEPS = 16
"""Steps between the instants of a stretch, when enough happens in it."""

_LEAST_SHARE = 0.1
_INSTANTS = """
WITH wanted AS (
    SELECT unnest($seqs::BIGINT[]) AS seq
    UNION ALL
    SELECT max(l.seq) FROM timeline l, (SELECT unnest($times::BIGINT[]) AS time_ns) t
    WHERE l.trace_id = $trace AND l.time_ns <= t.time_ns GROUP BY t.time_ns
), exact AS (
    SELECT DISTINCT CASE WHEN $exact THEN w.seq ELSE (
        SELECT max(l.seq) FROM timeline l WHERE l.trace_id = $trace AND l.seq <= w.seq) END AS seq
    FROM wanted w
)
SELECT e.seq, (SELECT arg_min(l.time_ns, l.seq) FROM timeline l WHERE l.trace_id = $trace AND l.seq >= e.seq)
FROM exact e WHERE e.seq > $since AND e.seq < $until ORDER BY e.seq
"""


class Instant(Struct, frozen=True):
    """Right after event ``seq``, which happened at ``time_ns``."""

    seq: int
    time_ns: int


def half_of(store: Store, until: Moment) -> Moment:
    """The moment in the middle of the time until ``until``.

    When the program did little after that (less than a tenth of the events until then), it is the middle of
    the events: a program that waits for its end has done its work long before.
    """
    last = resolve_moment(store, "end").seq
    middle = resolve_moment(store, "50%" if until.seq == last else f"{until.time_ns / 2e6:.6f}ms")
    first = resolve_moment(store, "start").seq
    if until.seq - middle.seq < _LEAST_SHARE * (until.seq - first):
        return resolve_moment(store, f"seq:{(first + until.seq) // 2}")
    return middle


def instants_between(store: Store, since: Moment, until: Moment) -> list[Instant]:
    """``since``, ``until`` and up to STEPS - 1 instants between them, in order.

    Half of them stand at equal distances of events and half at equal distances of time, so that neither idle
    time nor a burst of work takes all of them. Where an engine does not know the order of events, they
    are its sync points. Fewer are left when little happened.
    """
    half = STEPS // 2
    events, time_ns = until.seq - since.seq, until.time_ns - since.time_ns
    rows = store.query(
        _INSTANTS,
        {
            "seqs": [since.seq + events * step // half for step in range(1, half)],
            "times": [since.time_ns + time_ns * (2 * step - 1) // STEPS for step in range(1, half + 1)],
            "exact": store.header.capabilities.exact_order,
            "since": since.seq,
            "until": until.seq,
            "trace": store.trace_id,
        },
    ).rows()
    between = [Instant(int(str(seq)), int(str(at))) for seq, at in rows]
    return [Instant(since.seq, since.time_ns), *between, Instant(until.seq, until.time_ns)]
