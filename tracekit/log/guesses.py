"""What the next event of a batch will be, guessed from those before it: the decoder in Python.

A log stores only what was not guessed. Here are the rules of docs/log-format.md once more, for interpreters
without the compiled kernels; tracekit/_native/kernels_codec.c does the same, much faster.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

import numpy.typing as npt

from tracekit.events import Cause, EventKind

STEP_KIND, STEP_STACK, STEP_SIZE, STEP_DOMAIN, STEP_ADDRESS, STEP_LINK = 1, 2, 4, 8, 16, 32
STEP_CAUSE, STEP_TYPE, STEP_ENDS = 2, 4, 24
ENDS_FIRST, ENDS_SECOND, ENDS_DISTANCE = 0, 8, 16

STREAMS: Final = (
    "kind",
    "stack_id",
    "size",
    "domain",
    "link",
    "address",
    "cause",
    "type_id",
    "distance",
    "difference",
)

POOL_BYTES, POOL_HEADER, POOLS = 1 << 14, 48, 1 << 13
MOST_SMALL, BIN_DEPTH = 512, 32
MASK32, MASK64 = (1 << 32) - 1, (1 << 64) - 1
MIX32, MIX64, MIX_OTHER = 0x9E3779B1, 0x9E3779B97F4A7C15, 0x85EBCA77
TABLE_MASK = (1 << 16) - 1


class Contradiction(Exception):  # noqa: N818 - it never leaves the package
    """Steps and streams do not fit each other."""


def zagzig(value: int) -> int:
    """The number that a zigzag-coded 64-bit value stands for."""
    unsigned = value & MASK64
    return unsigned >> 1 if not unsigned & 1 else -(unsigned >> 1) - 1


def signed(value: int) -> int:
    """A 64-bit pattern as a signed number."""
    value &= MASK64
    return value - (1 << 64) if value >> 63 else value


@dataclass(slots=True)
class _Pool:
    number: int
    size_class: int
    listed: bool = False
    fresh: int = POOL_BYTES
    top: int = -1
    below: dict[int, int] = field(default_factory=dict)
    """For a freed cell the one that was freed before it, -1: none."""


class Addresses:
    """Guesses at addresses: freed blocks in stacks, one a pool of pymalloc, one a size for the others."""

    def __init__(self) -> None:
        self._pools: dict[int, _Pool] = {}
        self._lists: dict[int, list[_Pool]] = {}
        self._bins: dict[int, list[int]] = {}
        self._newest = 0
        self._guessed: _Pool | None = None
        self.base: dict[int, int] = {}

    @staticmethod
    def group(size: int, domain: int) -> int:
        """Size class of a small block (from 0), bin of another (below 0)."""
        if domain and size <= MOST_SMALL:
            return (size - 1) >> 4 if size else 0
        units = ((size + 23) & MASK64) >> 4
        if units < 256:
            return -1 - units
        top = units.bit_length() - 1
        return -1 - (256 + (((top - 8) << 5 | units >> (top - 5) & 31) & 511))

    def guess(self, group: int) -> int:
        """The address of the next block of a group, 0 for no idea."""
        if group < 0:
            stack = self._bins.get(group)
            return stack[-1] if stack else 0
        pools = self._lists.setdefault(group, [])
        while pools:
            pool = pools[-1]
            offset = pool.top << 4 if pool.top >= 0 else pool.fresh
            if offset + (group + 1) * 16 <= POOL_BYTES:
                self._guessed = pool
                return pool.number * POOL_BYTES + offset
            self._unlist(pool)
        self._guessed = None
        return (self._newest + POOL_BYTES + POOL_HEADER) & MASK64 if self._newest else 0

    def take(self, group: int, guess: int, address: int) -> None:
        """The address that the block had which was just guessed."""
        if group < 0:
            stack = self._bins.get(group, [])
            for at in reversed(range(len(stack))):
                if stack[at] == address:
                    del stack[at]
                    return
            return
        pool = self._pool(address, group)
        if guess != address and self._guessed is not None and self._guessed is not pool:
            self._unlist(self._guessed)
        offset = address % POOL_BYTES
        cell = offset >> 4
        if cell in pool.below:
            pool.top = pool.below.pop(cell)
        else:
            end = offset + (group + 1) * 16
            if pool.fresh == POOL_BYTES or end > pool.fresh:
                pool.fresh = end
            if offset == POOL_HEADER:
                self._newest = address - POOL_HEADER
        self._list(pool)

    def give(self, group: int, address: int) -> None:
        """A block was given back."""
        if group < 0:
            stack = self._bins.setdefault(group, [])
            if len(stack) == BIN_DEPTH:
                del stack[0]
            stack.append(address)
            return
        pool = self._pool(address, group)
        cell = (address % POOL_BYTES) >> 4
        pool.below[cell] = pool.top
        pool.top = cell
        self._list(pool)

    def _pool(self, address: int, size_class: int) -> _Pool:
        number = address // POOL_BYTES
        place = (number * MIX64 & MASK64) >> 51
        pool = self._pools.get(place)
        if pool is not None and (pool.number, pool.size_class) == (number, size_class):
            return pool
        if pool is not None:
            self._unlist(pool)
        self._pools[place] = pool = _Pool(number, size_class)
        return pool

    def _list(self, pool: _Pool) -> None:
        if not pool.listed:
            pool.listed = True
            self._lists.setdefault(pool.size_class, []).append(pool)

    def _unlist(self, pool: _Pool) -> None:
        if pool.listed:
            pool.listed = False
            pools = self._lists[pool.size_class]
            if pools[-1] is pool:
                pools.pop()
            else:
                pools.remove(pool)


class StepDecoder:
    """Rebuilds the rows of one batch, in lists named as the columns are."""

    def __init__(self, first_seq: int, steps: bytes, streams: dict[str, npt.NDArray[Any]]) -> None:
        self._first_seq = first_seq
        self._steps = steps
        self._streams = {name: iter(streams[name].tolist()) for name in STREAMS}
        count = len(steps)
        self.kind = [0] * count
        self.address = [0] * count
        self.size = [0] * count
        self.domain = [0] * count
        self.stack_id = [0] * count
        self.alloc_seq = [-1] * count
        self.cause = [0] * count
        self.type_id = [0] * count
        self._addresses = Addresses()
        self._context = 0
        self._match = self._last_born = -1
        self._last_ended = first_seq - 1
        self._difference: dict[int, int] = {}
        self._seen: dict[int, int] = {}
        self._sites: dict[int, tuple[int, int]] = {}
        self._types: dict[int, int] = {}

    def decode(self) -> None:
        """Fill in all rows. Raises Contradiction."""
        for row, step in enumerate(self._steps):
            alike = self._match
            kind = self.kind[alike] if alike >= 0 else int(EventKind.ALLOCATION)
            if step & STEP_KIND:
                kind, alike = self._next("kind", 255), -1
            self.kind[row] = kind
            went_on = alike >= 0
            if kind == EventKind.ALLOCATION:
                self._allocation(row, alike, step)
                went_on = went_on and not step & STEP_STACK
            elif kind == EventKind.FREE:
                self._free(row, alike, step)
                went_on = went_on and not step & ENDS_DISTANCE
            elif kind >= EventKind.ARENA_ALLOCATION:
                self.address[row], self.size[row] = self._next("address"), self._next("size")
            self._learn(row, went_on)
        if any(next(stream, None) is not None for stream in self._streams.values()):
            raise Contradiction

    def _next(self, name: str, top: int = (1 << 63) - 1) -> int:
        value = self._any(name)
        if not 0 <= value <= top:
            raise Contradiction
        return value

    def _any(self, name: str) -> int:
        value: int | None = next(self._streams[name], None)
        if value is None:
            raise Contradiction
        return value

    def _allocation(self, row: int, alike: int, step: int) -> None:
        stack = self.stack_id[alike if alike >= 0 else self._last_born] if row else 0
        if alike < 0 and self._last_born < 0:
            stack = 0
        if step & STEP_STACK:
            stack, alike = self._next("stack_id", (1 << 31) - 1), -1
        self.stack_id[row] = stack
        if alike >= 0:
            size, domain = self.size[alike], self.domain[alike]
        else:
            size, domain = self._sites.get(stack & TABLE_MASK, (0, 0))
        self.size[row] = size = self._next("size") if step & STEP_SIZE else size
        self.domain[row] = domain = self._next("domain", 255) if step & STEP_DOMAIN else domain
        seq = self._first_seq + row
        if step & STEP_LINK:
            distance = self._next("link", seq)
            self.alloc_seq[row] = seq - distance if distance else -1
        elif row and self.kind[row - 1] == EventKind.FREE and self.cause[row - 1] == Cause.REALLOC:
            self.alloc_seq[row] = self.alloc_seq[row - 1]
        group = Addresses.group(size, domain)
        guess = address = self._addresses.guess(group)
        if step & STEP_ADDRESS:
            address = (self._addresses.base.get(group, 0) + zagzig(self._any("address"))) & MASK64
            self._addresses.base[group] = address
        self.address[row] = signed(address)
        self._addresses.take(group, guess, address)

    def _guesses(self, row: int, alike: int) -> tuple[int, int]:
        """The two guesses at the allocation that a free ends."""
        if alike >= 0:
            ended = self.alloc_seq[alike]
            first = ended + row - alike if ended >= 0 else -1
            return first, signed(self._last_ended + self._difference[alike])
        last = self._first_seq + self._last_born if self._last_born >= 0 else -1
        near = self._last_ended - self._first_seq
        for _ in range(16):
            if not -1 <= near < row - 1:
                break
            near += 1
            if self.kind[near] == EventKind.ALLOCATION:
                break
        return last, self._first_seq + near

    def _free(self, row: int, alike: int, step: int) -> None:
        seq = self._first_seq + row
        how = step & STEP_ENDS
        if how in {ENDS_FIRST, ENDS_SECOND}:
            ended = self._guesses(row, alike)[how != ENDS_FIRST]
        elif how == ENDS_DISTANCE:
            distance = self._next("distance", seq)
            ended = seq - distance if distance else -1
        else:
            ended = signed(self._last_ended + zagzig(self._any("difference")))
        if not -1 <= ended < seq:
            raise Contradiction
        self.alloc_seq[row] = ended
        if ended < 0:
            self.address[row] = self._next("address")
        cause = self.cause[alike] if alike >= 0 else 0
        self.cause[row] = self._next("cause", 255) if step & STEP_CAUSE else cause
        born = self._row(ended, row)
        if step & STEP_TYPE:
            self.type_id[row] = self._next("type_id", (1 << 31) - 1)
        elif born >= 0:
            self.type_id[row] = self._types.get(self._type_key(born), 0)
        elif alike >= 0:
            self.type_id[row] = self.type_id[alike]

    def _row(self, seq: int, row: int) -> int:
        """Row of an allocation of this batch, -1 for one of another."""
        born = seq - self._first_seq
        return born if 0 <= born < row and self.kind[born] == EventKind.ALLOCATION else -1

    def _type_key(self, row: int) -> int:
        return (self.stack_id[row] * MIX32 & MASK32 ^ self.size[row] * MIX_OTHER & MASK32) >> 16

    def _learn(self, row: int, went_on: bool) -> None:
        kind = self.kind[row]
        if kind == EventKind.ALLOCATION:
            stack, domain = self.stack_id[row], self.domain[row]
            self._sites[stack & TABLE_MASK] = (self.size[row], domain)
            self._last_born = row
            sign = stack << 2 | domain & 3
        elif kind == EventKind.FREE:
            ended = self.alloc_seq[row]
            self._difference[row] = 0
            if ended >= 0:
                self._difference[row] = ended - self._last_ended
                self._last_ended = ended
                born = self._row(ended, row)
                if born >= 0:
                    self._types[self._type_key(born)] = self.type_id[row]
                    group = Addresses.group(self.size[born], self.domain[born])
                    self._addresses.give(group, self.address[born] & MASK64)
            sign = 0x80000000 | (self.type_id[row] << 2 & MASK32) | self.cause[row]
        else:
            sign = 0x40000000 | kind
        self._context = (self._context << 8 ^ sign * MIX32) & MASK32
        place = (self._context * MIX_OTHER & MASK32) >> 16
        if went_on:
            self._match += 1
        else:
            self._match = self._seen.get(place, 0) or -1
        self._seen[place] = row + 1
