"""The model against the interpreter that runs the tests, and against the C library's malloc."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import replace

import pytest
import simulator_reality
from effort import some

from tracekit.simulator.parameters import VERSIONS, PyMallocParameters
from tracekit.simulator.pymalloc import PyMalloc
from tracekit.simulator.system import DEFAULT_MMAP_THRESHOLD, AddressSpace, chunk_bytes, round_up

CHECKPOINTS, PHASES, OPERATIONS = 24, 4, 240_000


def run_fresh(*arguments: str) -> list[str]:
    command = [sys.executable, "-I", "-S", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    return done.stdout.splitlines()


Told = dict[str, int]


def arenas_lose_a_pool(start: Told, real: list[Told]) -> set[bool]:
    """Whether the arenas of the program begin between two pool boundaries: {True}, {False}, or both."""
    most = max(real, key=lambda told: told["arenas"])
    arenas, lost = most["arenas"] - start["arenas"], (most["lost"] - start["lost"]) // 16384
    found = {True} if lost == arenas else {False} if lost == 0 else {True, False}
    same = all(told["lost"] - start["lost"] == (told["arenas"] - start["arenas"]) * 16384 for told in real)
    return found if found == {False} or same else {True, False}


@pytest.mark.parametrize("seed", some([7, 11]))
def test_arenas_and_pools_are_those_of_this_interpreter(seed: int) -> None:
    """Pools of every size class used, and arenas, at 24 instants of two rises and falls.

    The program has filled every hole of the interpreter before the first statistics, so differences from
    these are its own and the tolerance is 0 pools. It is 0 arenas as well, unless the kernel gave arenas
    of both alignments: one that begins at a pool boundary holds a pool more, which can shift the instant
    at which an arena comes or goes. That is one arena at most: there are eight, of 63 or 64 pools.
    """
    arguments = [str(number) for number in (seed, OPERATIONS, CHECKPOINTS, PHASES)]
    start, *real = map(json.loads, run_fresh(simulator_reality.__file__, *arguments))
    assert start["free pools"] == 0
    assert not any(start.get(f"holes {size}", 0) for size in simulator_reality.CLASS_BYTES)
    losing = arenas_lose_a_pool(start, real)
    parameters = VERSIONS.get(sys.version_info[:2], PyMallocParameters())
    pymalloc = PyMalloc(replace(parameters, arena_aligned=losing == {False}), AddressSpace())
    steps, _ = simulator_reality.operations(seed, OPERATIONS, PHASES)
    places: dict[int, int] = {}
    every = OPERATIONS // CHECKPOINTS
    arenas = []
    for checkpoint, told in enumerate(real):
        for slot, size in steps[checkpoint * every : (checkpoint + 1) * every]:
            if size:
                places[slot] = pymalloc.allocate((size - 1) >> 4)
            else:
                pymalloc.free(places.pop(slot))
        in_use = {pymalloc.pool_of(place) for place in places.values()}
        modelled = Counter(16 * (pool.szidx + 1) for pool in in_use)
        for size in simulator_reality.CLASS_BYTES:
            name = f"pools {size}"
            assert told.get(name, 0) - start.get(name, 0) == modelled[size], (checkpoint, size)
        arenas.append(told["arenas"] - start["arenas"])
        difference = abs(arenas[-1] - pymalloc.narenas_currently_allocated)
        assert difference <= (0 if len(losing) == 1 else 1), checkpoint
    assert max(arenas) >= 7
    assert arenas[-1] < max(arenas)


MALLOC_PROGRAM = """
import ctypes
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
libc.malloc_usable_size.restype = ctypes.c_size_t
libc.malloc_usable_size.argtypes = [ctypes.c_void_p]
for size in {sizes}:
    blocks = []
    for _ in range(8):
        block = libc.malloc(ctypes.c_size_t(size))
        mapped = ctypes.c_size_t.from_address(block - 8).value >> 1 & 1
        blocks.append((mapped, -libc.malloc_usable_size(block)))
    mapped, usable = max(blocks)
    print(size, -usable, mapped)
"""


def test_chunks_and_mappings_are_those_of_the_c_library() -> None:
    """Sizes of chunks, and which of them get a mapping, for a fresh malloc.

    ``malloc_usable_size`` is a chunk without 8 bytes of header, a mapping without 16; the IS_MMAPPED bit is
    in the size field before the block. Of eight: the heap may have room for a large block by chance, which
    then needs no mapping, and malloc does not split off a rest that is too small for a chunk.
    """
    limit = DEFAULT_MMAP_THRESHOLD
    sizes = [0, 1, 24, 25, 40, 41, 513, 600, 4096, 100_000, limit - 25, limit - 24, limit - 23]
    sizes += [limit, 200_000, 1_000_000, 3 << 20]
    for line in run_fresh("-c", MALLOC_PROGRAM.format(sizes=sizes)):
        size, usable, mapped = map(int, line.split())
        chunk = chunk_bytes(size)
        assert mapped == int(chunk >= limit), size
        assert usable == (round_up(chunk + 8, 4096) - 16 if mapped else chunk - 8), size
