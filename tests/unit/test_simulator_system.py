"""The plain malloc path, and what the process holds from the kernel."""

from __future__ import annotations

import pytest

from tracekit.simulator.system import AddressSpace, LimitReachedError, Malloc, chunk_bytes

KIB = 1024


@pytest.mark.parametrize(
    ("size", "chunk"), [(0, 32), (1, 32), (24, 32), (25, 48), (40, 48), (41, 64), (600, 608), (4096, 4112)]
)
def test_chunks(size: int, chunk: int) -> None:
    assert chunk_bytes(size) == chunk


def test_the_heap_grows_by_pages_and_keeps_its_high_water_mark() -> None:
    memory = AddressSpace()
    malloc = Malloc(memory, 4096)
    malloc.allocate(600)
    assert (malloc.heap_bytes, memory.footprint_bytes) == (4096, 4096)
    for _ in range(9):
        malloc.allocate(600)
    assert malloc.heap_used_bytes == 6080
    assert malloc.heap_bytes == 8192
    for _ in range(10):
        malloc.free(600)
    assert (malloc.heap_used_bytes, malloc.heap_bytes, memory.footprint_bytes) == (0, 8192, 8192)
    for _ in range(10):
        malloc.allocate(600)
    assert memory.footprint_bytes == 8192


def test_large_chunks_are_mapped_and_returned_at_once() -> None:
    memory = AddressSpace()
    malloc = Malloc(memory, 4096)
    malloc.allocate(128 * KIB - 24)
    assert malloc.mapped_bytes == 0
    malloc.allocate(128 * KIB - 23)
    assert malloc.mapped_bytes == 132 * KIB
    assert memory.footprint_bytes == 260 * KIB
    malloc.free(128 * KIB - 23)
    assert malloc.mapped_bytes == 0
    assert (memory.footprint_bytes, memory.peak_footprint_bytes) == (128 * KIB, 260 * KIB)


@pytest.mark.parametrize("size", [5000, 200 * KIB])
def test_a_request_that_does_not_fit_changes_nothing(size: int) -> None:
    memory = AddressSpace(limit=4096)
    malloc = Malloc(memory, 4096)
    malloc.allocate(100)
    with pytest.raises(LimitReachedError):
        malloc.allocate(size)
    assert (malloc.heap_used_bytes, malloc.heap_bytes, malloc.mapped_bytes) == (112, 4096, 0)
    assert memory.footprint_bytes == memory.peak_footprint_bytes == 4096
    malloc.allocate(3000)
    assert memory.footprint_bytes == 4096


def test_a_realloc_takes_its_new_chunk_before_the_old_one_goes() -> None:
    memory = AddressSpace(held=1000)
    malloc = Malloc(memory, 4096)
    malloc.allocate(600)
    malloc.reallocate(600, 5000)
    assert (malloc.heap_used_bytes, malloc.heap_bytes) == (5008, 8192), "it grows in its place"
    malloc.reallocate(5000, 200 * KIB)
    assert (malloc.heap_used_bytes, malloc.mapped_bytes) == (0, 204 * KIB)
    malloc.reallocate(200 * KIB, 300 * KIB)
    assert (malloc.mapped_bytes, memory.peak_footprint_bytes) == (304 * KIB, 1000 + 312 * KIB)
    malloc.reallocate(300 * KIB, 200 * KIB)
    malloc.reallocate(200 * KIB, 100 * KIB)
    assert (malloc.heap_used_bytes, malloc.heap_bytes, malloc.mapped_bytes) == (100 * KIB + 16, 104 * KIB, 0)
    assert memory.peak_footprint_bytes == 1000 + 312 * KIB


@pytest.mark.parametrize(("old", "new"), [(200 * KIB, 300 * KIB), (200 * KIB, 100 * KIB), (600, 5000)])
def test_a_realloc_that_does_not_fit_changes_nothing(old: int, new: int) -> None:
    memory = AddressSpace()
    malloc = Malloc(memory, 4096)
    malloc.allocate(old)
    memory.limit = memory.footprint_bytes
    before = (malloc.heap_used_bytes, malloc.heap_bytes, malloc.mapped_bytes)
    with pytest.raises(LimitReachedError):
        malloc.reallocate(old, new)
    assert (malloc.heap_used_bytes, malloc.heap_bytes, malloc.mapped_bytes) == before
    assert memory.peak_footprint_bytes == memory.footprint_bytes == memory.limit
    malloc.reallocate(old, old - 100)
