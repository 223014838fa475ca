"""How full the arenas of pymalloc are at a moment, and which blocks keep the emptiest from being returned."""

from __future__ import annotations

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from tracekit.errors import ArenasUnknownError, StoreError, UsageError
from tracekit.replay.holders import GROUPINGS, OLDER, Keys
from tracekit.replay.moment import Moment
from tracekit.replay.pins import Holds, rank
from tracekit.replay.pools import Flags, Integers, Layout, Sizes, lay_out, sizes_of, sums
from tracekit.store.database import Store
from tracekit.store.running import interruptible

NEARLY_EMPTY = 0.25
"""An arena is nearly empty when less of it than this is in use."""

MOST_RANKED = 50

_MOST_POOLS = 1 << 26
"""A TiB in pools of 16 KiB. A log may claim anything."""

_PLAIN_ALLOCATORS = ("malloc", "malloc_debug")

_ARENAS = """
SELECT r.address, coalesce(r.allocated_ns, -1) AS allocated_ns FROM arenas r
WHERE r.trace_id = $trace AND r.size = $size AND (r.alloc_seq <= $seq OR r.alloc_seq IS NULL)
  AND (r.free_seq > $seq OR r.free_seq IS NULL)
ORDER BY r.address
"""
_BLOCKS = """
SELECT h.address, h.size, h.domain IN ('mem', 'object') AS small, h.stack_id, h.type_id, h.thread_id,
       h.allocated_ns
FROM heap_at($seq, trace := $trace) h
"""
_OLDER = """
SELECT o.address, o.block_size FROM older_blocks o
WHERE o.trace_id = $trace AND (o.free_seq > $seq OR o.free_seq IS NULL)
"""
_OLDER_KNOWN = """
SELECT EXISTS (SELECT 1 FROM older_blocks WHERE trace_id = $trace)
    OR EXISTS (SELECT 1 FROM arenas WHERE trace_id = $trace AND alloc_seq IS NULL AND free_seq IS NULL)
"""


class Totals(Struct, frozen=True):
    """All arenas together.

    ``arena_bytes`` is the sum of the seven byte counts from ``requested_bytes`` to ``unaligned_bytes``: what
    the program asked for, what rounding up to size classes adds, free places in pools in use (for blocks of
    the same size class only), headers and rests of pools, pools that are free in arenas in use, those in
    arenas that are wholly free, and what no pool fits into. Of older blocks only their class is known: it
    counts as asked for.
    """

    arenas: int
    arena_bytes: int
    blocks: int
    older_blocks: int
    requested_bytes: int
    rounding_bytes: int
    free_block_bytes: int
    header_bytes: int
    free_pool_bytes: int
    free_arena_bytes: int
    unaligned_bytes: int
    free_blocks: int
    pools_in_use: int
    free_pools: int
    free_arenas: int

    @property
    def in_use_bytes(self) -> int:
        """Bytes of blocks in use, each as large as its size class."""
        return self.requested_bytes + self.rounding_bytes

    @property
    def live_share(self) -> float:
        """Share of the arenas that blocks in use take, 0 to 1; 1 without arenas."""
        return self.in_use_bytes / self.arena_bytes if self.arena_bytes else 1.0


class SizeClass(Struct, frozen=True):
    """Pools of one size class: ``free_blocks`` is what else would fit into them."""

    block_bytes: int
    pools: int
    blocks: int
    free_blocks: int
    requested_bytes: int


class Pool(Struct, frozen=True):
    """A pool: ``block_bytes`` is its size class (0: free), ``share`` that of its blocks in use, 0 to 1."""

    address: int
    block_bytes: int
    blocks: int
    capacity: int
    share: float


class Arena(Struct, frozen=True):
    """An arena: bytes of its blocks in use (as large as their size class), and their share of it, 0 to 1.

    ``age_s``: how long before the moment it was obtained; None: before the recording began. ``pools``: in
    the order of their addresses, of the emptiest arenas only.
    """

    address: int
    age_s: float | None
    blocks: int
    in_use_bytes: int
    share: float
    pools_in_use: int
    free_pools: int
    pools: list[Pool] | None = None


class Pin(Struct, frozen=True):
    """Blocks with one key in common that lie in nearly empty arenas: how many, and the bytes asked for.

    ``arenas_alone`` are nearly empty arenas with no other blocks: ``alone_bytes`` come free when these are
    freed. ``arenas_shared`` hold blocks of other groups, too. ``returned_bytes`` come free when the blocks of
    this group and of all groups before it in the list are freed; None: it is not ranked. ``mostly`` is what
    most of the blocks are: their type, or the site when they are grouped by something else than code.
    """

    key: str
    blocks: int
    bytes: int
    arenas_alone: int
    alone_bytes: int
    arenas_shared: int
    returned_bytes: int | None
    mostly: str


class Pins(Struct, frozen=True):
    """What holds the nearly empty arenas: ranked groups in the order in which to free them, then the others.

    ``arenas`` are nearly empty, ``bytes`` in all. ``arenas_older`` of them hold blocks older than the
    recording, so that nothing recorded returns them; ``arenas_spread`` are held by too many groups at once
    (over MOST_TOGETHER, or more than are ranked), so that no few changes return them. CPython keeps one
    wholly free arena for itself, so that up to one arena less is returned than ``returned_bytes`` say.
    """

    by: str
    below: float
    arenas: int
    bytes: int
    arenas_older: int
    arenas_spread: int
    groups: list[Pin]


class Outside(Struct, frozen=True):
    """Blocks of the recording that lie in no known arena: too large for one, or not of its allocator.

    ``small`` ones could be pymalloc's: they lie in arenas older than the recording that it does not know,
    or a realloc left them with malloc.
    """

    blocks: int
    bytes: int
    small_blocks: int
    small_bytes: int


class Fragmentation(Struct, frozen=True):
    """The arenas right after ``moment``, emptiest first.

    ``older_known`` is false when the recording does not say what the allocator held before it began.
    """

    moment: Moment
    arena_size: int
    pool_size: int
    threshold: int
    older_known: bool
    totals: Totals
    size_classes: list[SizeClass]
    arenas: list[Arena]
    pins: Pins
    outside: Outside


def fragmentation(
    store: Store,
    moment: Moment,
    *,
    by: str = "site",
    below: float = NEARLY_EMPTY,
    drawn: int = 3,
) -> Fragmentation:
    """Lay out the blocks that were alive at a moment in the arenas that were there.

    ``by`` is one of GROUPINGS. Arenas of which less than the share ``below`` is in use count as nearly empty;
    of the ``drawn`` emptiest ones each pool is listed. Raises UsageError, and ArenasUnknownError when the
    recording has no arenas or no real addresses.
    """
    _check(by, below)
    sizes = _check_known(store)
    found = _read(store, moment, sizes)
    if len(found.arenas) * (sizes.arena // sizes.pool) > _MOST_POOLS:
        raise ArenasUnknownError(
            f"{store.path} claims {len(found.arenas)} arenas at once, more than a process can have",
            hint="try tracekit verify",
        )
    layout = lay_out(sizes, found.arenas, found.address, found.size, found.known)
    in_use = layout.by_arena(layout.pool_blocks * layout.pool_class)
    near = (in_use > 0) & (in_use < below * sizes.arena)
    return Fragmentation(
        moment,
        sizes.arena,
        sizes.pool,
        sizes.threshold,
        found.older_known,
        _totals(layout, int((found.known > 0)[layout.inside].sum())),
        _size_classes(layout),
        _arenas(layout, found, moment, drawn),
        _pins(layout, found, near, Keys(store, moment, by), below),
        _outside(layout, found),
    )


def _check(by: str, below: float) -> None:
    if by not in GROUPINGS:
        raise UsageError(
            f"blocks in arenas are not grouped by {by!r}", hint=f"possible are {', '.join(GROUPINGS)}"
        )
    if not 0 < below <= 1:
        raise UsageError(f"a share of {below:g} makes no sense", hint="give one above 0 and up to 1")


def _check_known(store: Store) -> Sizes:
    """The sizes of the allocator. Raises ArenasUnknownError when there is nothing to lay out."""
    header, path = store.header, store.path
    if not (header.capabilities.arenas and header.capabilities.real_addresses):
        raise ArenasUnknownError(
            f"{path} has no arenas: the {header.engine} engine did not record them",
            hint="record with --engine native" if header.engine != "native" else "record the program again",
        )
    if header.allocator.name in _PLAIN_ALLOCATORS:
        raise ArenasUnknownError(
            f"{path} has no arenas: the program ran with PYTHONMALLOC={header.allocator.name}, which takes "
            "every block from the C library",
            hint="record it without",
        )
    sizes = sizes_of(header)
    if not sizes.sound:
        raise ArenasUnknownError(
            f"{path} does not say how large arenas and pools are", hint="record the program again"
        )
    return sizes


@dataclass(frozen=True, slots=True)
class _Found:
    """Arenas by address, and the blocks of a moment, the older ones last: addresses and sizes are pymalloc's.

    ``known`` is the class of an older block and 0 of the others; ``columns`` are those of the recorded ones.
    """

    arenas: Integers
    obtained_ns: Integers
    address: Integers
    size: Integers
    known: Integers
    columns: dict[str, npt.NDArray[np.generic]]
    older_known: bool
    extra: int


def _read(store: Store, moment: Moment, sizes: Sizes) -> _Found:
    at: dict[str, object] = {"trace": store.trace_id, "seq": moment.seq}
    arenas = _columns(store, _ARENAS, {**at, "size": sizes.arena})
    blocks = _columns(store, _BLOCKS, at)
    older = _columns(store, _OLDER, at)
    address = blocks.pop("address").astype(np.int64) - sizes.shift
    size = blocks.pop("size").astype(np.int64) + sizes.extra
    old_address, old_size = older["address"].astype(np.int64), older["block_size"].astype(np.int64)
    # An address has one block: a recorded one says that the older one is gone, if its free was not seen.
    there = ~np.isin(old_address, address) if len(old_address) else np.zeros(0, np.bool_)
    old_address, old_size = old_address[there], old_size[there]
    known = next(store.query(_OLDER_KNOWN, {"trace": store.trace_id}).rows())[0]
    return _Found(
        arenas["address"].astype(np.int64),
        arenas["allocated_ns"].astype(np.int64),
        np.concatenate((address, old_address)),
        np.concatenate((size, old_size)),
        np.concatenate((np.zeros(len(address), np.int64), old_size)),
        blocks,
        bool(known),
        sizes.extra,
    )


def _columns(
    store: Store, statement: str, parameters: dict[str, object]
) -> dict[str, npt.NDArray[np.generic]]:
    with store.cursor() as cursor:
        try:
            found = interruptible(cursor, lambda: cursor.execute(statement, parameters).fetchnumpy())
        except duckdb.Error as error:
            raise StoreError(f"the store of {store.path} cannot be read: {error}") from error
    return {name: np.ma.getdata(values) for name, values in found.items()}


def _totals(layout: Layout, older: int) -> Totals:
    sizes, used = layout.sizes, layout.pool_class > 0
    in_use = int((layout.pool_blocks * layout.pool_class).sum())
    requested = int(layout.pool_bytes.sum())
    free = np.maximum(layout.pool_capacity - layout.pool_blocks, 0)
    free_bytes = int((free * layout.pool_class).sum())
    pools = layout.by_arena(used.astype(np.int64))
    empty = pools == 0
    free_in_used = int((layout.pools_in - pools)[~empty].sum())
    free_in_free = int(layout.pools_in[empty].sum())
    return Totals(
        arenas=len(pools),
        arena_bytes=len(pools) * sizes.arena,
        blocks=int(layout.pool_blocks.sum()),
        older_blocks=older,
        requested_bytes=requested,
        rounding_bytes=in_use - requested,
        free_block_bytes=free_bytes,
        header_bytes=int(used.sum()) * sizes.pool - in_use - free_bytes,
        free_pool_bytes=free_in_used * sizes.pool,
        free_arena_bytes=free_in_free * sizes.pool,
        unaligned_bytes=len(pools) * sizes.arena - int(layout.pools_in.sum()) * sizes.pool,
        free_blocks=int(free.sum()),
        pools_in_use=int(used.sum()),
        free_pools=free_in_used + free_in_free,
        free_arenas=int(empty.sum()),
    )


def _size_classes(layout: Layout) -> list[SizeClass]:
    index = layout.pool_class
    free = np.maximum(layout.pool_capacity - layout.pool_blocks, 0)
    most = int(index.max(initial=0)) + 1
    columns = [
        sums(index, of_pools, most)
        for of_pools in (np.ones_like(index), layout.pool_blocks, free, layout.pool_bytes)
    ]
    return [
        SizeClass(block_bytes, *(int(column[block_bytes]) for column in columns))
        for block_bytes in np.unique(index[index > 0]).tolist()
    ]


def _arenas(layout: Layout, found: _Found, moment: Moment, drawn: int) -> list[Arena]:
    """All arenas, emptiest first; equally empty ones by address."""
    blocks = layout.by_arena(layout.pool_blocks)
    in_use = layout.by_arena(layout.pool_blocks * layout.pool_class)
    used = layout.by_arena((layout.pool_class > 0).astype(np.int64))
    order = np.argsort(in_use, kind="stable")
    drawn_now = set(order[in_use[order] > 0][:drawn].tolist())
    return [
        Arena(
            int(found.arenas[arena]),
            None if found.obtained_ns[arena] < 0 else (moment.time_ns - int(found.obtained_ns[arena])) / 1e9,
            int(blocks[arena]),
            int(in_use[arena]),
            int(in_use[arena]) / layout.sizes.arena,
            int(used[arena]),
            int(layout.pools_in[arena] - used[arena]),
            _pools(layout, int(found.arenas[arena]), arena) if arena in drawn_now else None,
        )
        for arena in order.tolist()
    ]


def _pools(layout: Layout, address: int, arena: int) -> list[Pool]:
    first = -(-address // layout.sizes.pool) * layout.sizes.pool
    begin = arena * layout.slots
    capacity = layout.pool_capacity
    return [
        Pool(
            first + place * layout.sizes.pool,
            int(layout.pool_class[begin + place]),
            int(layout.pool_blocks[begin + place]),
            int(capacity[begin + place]),
            int(layout.pool_blocks[begin + place]) / max(1, int(capacity[begin + place])),
        )
        for place in range(int(layout.pools_in[arena]))
    ]


def _outside(layout: Layout, found: _Found) -> Outside:
    recorded = len(found.columns["small"])
    outside = ~layout.inside[:recorded]
    size = found.size[:recorded] - found.extra
    small = outside & found.columns["small"].astype(np.bool_) & (size > 0)
    small &= found.size[:recorded] <= layout.sizes.threshold
    return Outside(int(outside.sum()), int(size[outside].sum()), int(small.sum()), int(size[small].sum()))


def _pins(layout: Layout, found: _Found, near: Flags, keys: Keys, below: float) -> Pins:
    """The groups whose blocks lie in the arenas that are ``near`` to empty."""
    rows = near[layout.arena_of]
    inside = np.flatnonzero(layout.inside)[rows]
    labelled = keys.of(found.columns, inside)
    arena, size = (
        layout.arena_of[rows],
        found.size[inside] - np.where(found.known[inside] > 0, 0, found.extra),
    )
    count = len(labelled.labels)
    pairs = np.unique(arena * max(count, 1) + labelled.group)
    older = labelled.labels.index(OLDER) if OLDER in labelled.labels else -1
    fixed = np.zeros(len(near), np.bool_)
    pair_arena, pair_group = np.divmod(pairs, max(count, 1))
    fixed[pair_arena[pair_group == older]] = True
    holds = Holds(pair_arena, pair_group, len(near), count, fixed)
    blocks = np.bincount(labelled.group, minlength=count)
    size_of = sums(labelled.group, size, count)
    alone, held = holds.alone(), holds.all()
    ranked = rank(holds, size_of, MOST_RANKED)
    returned = {entry.group: entry.arenas * layout.sizes.arena for entry in ranked}
    others = [group for group in range(count) if group not in returned]
    others.sort(key=lambda g: (-alone[g], -held[g], -size_of[g], labelled.labels[g]))
    groups = [
        Pin(
            labelled.labels[group],
            int(blocks[group]),
            int(size_of[group]),
            int(alone[group]),
            int(alone[group]) * layout.sizes.arena,
            int(held[group] - alone[group]),
            returned.get(group),
            labelled.mostly[group],
        )
        for group in [*returned, *others]
    ]
    arenas, older = int(near.sum()), int(fixed.sum())
    return Pins(
        keys.by,
        below,
        arenas,
        arenas * layout.sizes.arena,
        older,
        arenas - older - (ranked[-1].arenas if ranked else 0),
        groups,
    )
