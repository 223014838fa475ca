"""The arenas and pools that were there when the recording began, as a machine starts with them."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tracekit.simulator.parameters import PyMallocParameters
from tracekit.simulator.settings import Older
from tracekit.store.steps import IntArray


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Older arenas and live blocks in order of address, and the pools in use in the order of their lists.

    ``ntotalpools``: pools of each arena. ``pool_arena``, ``pool_number`` (counted from the first pool of
    the arena) and ``pool_szidx``: of each pool that has live blocks. ``address``: of each live block, rising;
    ``block_pool``: the position of its pool in the columns before, ``block_index``: its place in the pool.
    ``later_ntotalpools``: pools of the arenas that are obtained next, in their order; all behind them have
    ``pools_per_arena``.
    """

    ntotalpools: IntArray
    pool_arena: IntArray
    pool_number: IntArray
    pool_szidx: IntArray
    address: IntArray
    block_pool: IntArray
    block_index: IntArray
    later_ntotalpools: IntArray

    @classmethod
    def of(cls, older: Older, parameters: PyMallocParameters) -> Layout:
        """Where the older blocks are: at their places, or placed anew for arenas or pools of other sizes.

        What a log says twice, or what cannot be, is left out.
        """
        blocks, at = np.unique(older.blocks, return_index=True)
        block_bytes = older.block_bytes[at]
        szidx = (block_bytes >> parameters.alignment_shift) - 1
        whole = (szidx + 1) << parameters.alignment_shift == block_bytes
        older = replace(
            older, arenas=np.unique(older.arenas), blocks=blocks[whole], block_bytes=block_bytes[whole]
        )
        if (older.arena_size, older.pool_size) == (parameters.arena_size, parameters.pool_size):
            return _as_recorded(older, parameters)
        return _placed_anew(older, parameters)

    @classmethod
    def empty(cls) -> Layout:
        """A start without arenas."""
        return cls(*(np.empty(0, np.int64) for _ in range(8)))


def aligned_as_recorded(parameters: PyMallocParameters, older: Older) -> PyMallocParameters:
    """The parameters, ``arena_aligned`` as most of the recorded arenas are; unchanged when there is none."""
    addresses = np.concatenate([older.arenas, older.later_arenas])
    if not len(addresses):
        return parameters
    aligned = np.count_nonzero(addresses % parameters.pool_size == 0)
    return replace(parameters, arena_aligned=bool(2 * aligned > len(addresses)))


def _as_recorded(older: Older, parameters: PyMallocParameters) -> Layout:
    """``POOL_ADDR`` of each block. Those that cannot be where they are said to be are left out."""
    pool_size, arena_size = parameters.pool_size, parameters.arena_size
    first = older.arenas + -older.arenas % pool_size
    ntotalpools, later = (_pools(arenas, parameters) for arenas in (older.arenas, older.later_arenas))
    if not len(older.arenas):
        return replace(Layout.empty(), later_ntotalpools=later)
    arena = np.searchsorted(older.arenas, older.blocks, side="right") - 1
    number = (older.blocks - first[arena]) // pool_size
    inner = (older.blocks - first[arena]) % pool_size - parameters.pool_overhead
    szidx = (older.block_bytes >> parameters.alignment_shift) - 1
    known = np.isin(szidx, np.arange(parameters.size_classes))
    known &= (arena >= 0) & (number >= 0) & (number < ntotalpools[arena]) & (inner >= 0)
    known &= inner % np.maximum(older.block_bytes, 1) == 0
    known &= inner + older.block_bytes <= pool_size - parameters.pool_overhead
    pools, pool_first, block_pool = np.unique(
        (arena * (arena_size // pool_size) + number)[known], return_index=True, return_inverse=True
    )
    pool_szidx = szidx[known][pool_first]
    fits = pool_szidx[block_pool] == szidx[known]
    pool_arena, pool_number = np.divmod(pools, arena_size // pool_size)
    order = _order(first[pool_arena] + pool_number * pool_size, older.used_pools)
    position = np.empty(len(order), np.int64)
    position[order] = np.arange(len(order))
    return Layout(
        ntotalpools=ntotalpools,
        pool_arena=pool_arena[order],
        pool_number=pool_number[order],
        pool_szidx=pool_szidx[order],
        address=older.blocks[known][fits],
        block_pool=position[block_pool[fits]],
        block_index=(inner // np.maximum(older.block_bytes, 1))[known][fits],
        later_ntotalpools=later,
    )


def _order(pools: IntArray, used: IntArray) -> IntArray:
    """Positions of pools, given by address, in the order of their first use; the others after them."""
    known, first = np.unique(used, return_index=True)
    first_use = np.full(len(pools), len(used), np.int64)
    there = np.isin(pools, known)
    first_use[there] = first[np.searchsorted(known, pools[there])]
    return np.lexsort((pools, first_use))


def _pools(arenas: IntArray, parameters: PyMallocParameters) -> IntArray:
    """``new_arena``: pools begin at multiples of their size; an arena that does not loses one of them."""
    lost: IntArray = (arenas % parameters.pool_size != 0).astype(np.int64)
    return parameters.arena_size // parameters.pool_size - lost


def _placed_anew(older: Older, parameters: PyMallocParameters) -> Layout:
    """As if all older blocks were allocated in the order of their addresses, and nothing else before."""
    szidx = (older.block_bytes >> parameters.alignment_shift) - 1
    known = np.isin(szidx, np.arange(parameters.size_classes))
    address, szidx = older.blocks[known], szidx[known]
    # The nth block of its size class, counted from 0: a stable sort by class keeps the order within one.
    order = np.argsort(szidx, kind="stable")
    of_class = np.bincount(szidx, minlength=parameters.size_classes)
    nth = np.empty(len(szidx), np.int64)
    nth[order] = np.arange(len(szidx)) - np.repeat(np.cumsum(of_class) - of_class, of_class)
    capacities = [max(1, parameters.pool_capacity(one)) for one in range(parameters.size_classes)]
    capacity = np.array(capacities, np.int64)
    in_class = nth // capacity[szidx]
    # Pools are taken in the order in which their first blocks come.
    _, pool_first, inverse = np.unique(
        szidx * (len(szidx) + 1) + in_class, return_index=True, return_inverse=True
    )
    by_first = np.argsort(pool_first, kind="stable")
    position = np.empty(len(by_first), np.int64)
    position[by_first] = np.arange(len(by_first))
    pools_per_arena = parameters.pools_per_arena
    pools = np.arange(len(by_first), dtype=np.int64)
    arenas = -(-len(pools) // pools_per_arena)
    return Layout(
        ntotalpools=np.full(arenas, pools_per_arena, np.int64),
        pool_arena=pools // pools_per_arena,
        pool_number=pools % pools_per_arena,
        pool_szidx=szidx[pool_first[by_first]],
        address=address,
        block_pool=position[inverse],
        block_index=nth % capacity[szidx],
        later_ntotalpools=np.empty(0, np.int64),
    )
