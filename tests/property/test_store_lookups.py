"""What the simulator looks up in a store, against naive folds."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
import numpy as np
import pytest
import traces
from effort import examples
from hypothesis import HealthCheck, given, settings

from tracekit.errors import StoreError
from tracekit.events import Code, Stack
from tracekit.store.opening import open_store

slow = settings(max_examples=examples(15), deadline=None, suppress_health_check=list(HealthCheck))


def with_frame_bytes(code: Code) -> Code:
    return msgspec.structs.replace(code, frame_bytes=code.code_id * 1000 + 7)


@slow
@given(traces.traces())
def test_bytes_of_call_paths(trace: traces.Trace) -> None:
    trace.definitions = [
        (born, with_frame_bytes(item) if isinstance(item, Code) else item) for born, item in trace.definitions
    ]
    codes = {code.code_id: code for code in trace.codes}
    nodes = {stack.stack_id: stack for stack in trace.stacks}
    wanted = [0] * (max(nodes, default=0) + 1)
    for number in nodes:
        node = number
        while node:
            wanted[number] += codes[nodes[node].code_id].frame_bytes
            node = nodes[node].parent_id
    with tempfile.TemporaryDirectory() as folder:
        log = traces.write_log(Path(folder, "a.tkt"), trace)
        with open_store(log, cache=False) as store:
            found = store.path_bytes()
    assert found.dtype == np.int64
    assert found.tolist() == wanted


def test_pools_in_the_order_of_their_first_blocks(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    pools = [0x30000, 0x10000, 0x20000, 0x10000, 0x50000, 0x0]
    for number, pool in enumerate(pools):
        build.allocate(512, address=pool + 48 + 512 * number)
    build.allocate(513, address=0x40000)
    build.allocate(0, address=0x44000)
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish())) as store:
        assert store.used_pools(range(0x10000, 0x50000), 0x4000, 512).tolist() == [0x30000, 0x10000, 0x20000]
        assert store.used_pools(range(0x40000, 0x50000), 0x4000, 513).tolist() == [0x40000]


def test_blocks_that_garbage_may_share(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    mixed, other = (build.stack(("a.py", name, 1)) for name in "fg")
    gone, kept, young = (build.allocate(32, stack=mixed) for _ in range(3))
    apart = build.allocate(32, stack=other)
    build.free(young)
    build.gc_start()
    build.free(gone)
    build.gc_stop(collected=1)
    last = build.allocate(32, stack=mixed)
    build.gc_start()
    build.gc_stop()
    end, *_ = (build.free(block) for block in (kept, apart, last))
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        assert [column.tolist() for column in store.shared_blocks(4)] == [[kept], [end]]
        assert [column.tolist() for column in store.shared_blocks(3)] == [[], []]


def test_blocks_that_pymalloc_held(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    build.older_pool(0x7F00_0002_0030, 32, 0b101)
    build.older_pool(0x7F00_0001_0030, 512, 0b11)
    build.free_unknown(0x7F00_0001_0030)
    with open_store(traces.write_log(tmp_path / "a.tkt", build.finish()), cache=False) as store:
        addresses, block_bytes = store.older_blocks()
        assert store.path_bytes().tolist() == [0]
    assert addresses.tolist() == [0x7F00_0001_0030, 0x7F00_0001_0230, 0x7F00_0002_0030, 0x7F00_0002_0070]
    assert block_bytes.tolist() == [512, 512, 32, 32]


def test_call_paths_numbered_like_nothing_recorded(tmp_path: Path) -> None:
    build = traces.TraceBuilder()
    code = build.code("a.py", "f")
    build.trace.definitions.append((build.next_seq, Stack(2**31 - 2, 0, code, 1)))
    log = traces.write_log(tmp_path / "a.tkt", build.finish())
    with open_store(log, cache=False) as store, pytest.raises(StoreError, match="2,147,483,646"):
        store.path_bytes()
