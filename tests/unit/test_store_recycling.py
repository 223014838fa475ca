"""Arrays whose memory is used again."""

from __future__ import annotations

import platform
import subprocess
import sys

import numpy as np
import pytest

from tracekit.store.recycling import SMALL_BYTES, Recycler

COUNT = SMALL_BYTES


def address(array: np.ndarray[tuple[int], np.dtype[np.generic]]) -> int:
    return int(array.__array_interface__["data"][0])


def test_memory_is_given_out_again_once_nobody_has_it() -> None:
    recycler = Recycler()
    first = recycler.empty(COUNT, np.int64)
    second = recycler.full(COUNT, 7, np.int64)
    assert address(first) != address(second)
    places = {address(first), address(second)}
    del first, second
    again = [recycler.empty(COUNT - 3, np.int64), recycler.empty(COUNT, np.uint64)]
    assert {address(array) for array in again} == places
    assert [(len(array), array.dtype.kind) for array in again] == [(COUNT - 3, "i"), (COUNT, "u")]


@pytest.mark.parametrize("count", [5, COUNT])
def test_a_view_keeps_its_memory(count: int) -> None:
    recycler = Recycler()
    view = recycler.full(count, 1, np.int32)[1:4].view(np.uint8)[::4]
    others = [recycler.full(count, 2, np.int32) for _ in range(3)]
    assert view.tolist() == [1, 1, 1]
    assert all(array.tolist() == [2] * count for array in others)


def test_arrays_outlive_their_recycler() -> None:
    array = Recycler().full(COUNT, 3, np.int64)
    assert int(array.sum()) == 3 * COUNT


FAULTS = """
import resource, sys
from tracekit.store.recycling import keep_freed_memory

if sys.argv[1] == "keep":
    keep_freed_memory()
for _ in range(20):
    given = [b"x" * (30 << 20) for _ in range(3)]
    del given
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another malloc")
def test_malloc_keeps_what_it_was_given_back() -> None:
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", FAULTS, how], capture_output=True, check=True).stdout)
        for how in ("keep", "return")
    )
    assert 3 * kept < returned
