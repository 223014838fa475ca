"""Batches as steps: what the compiled kernels write, they and Python read back equal; and hostile ones."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from effort import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from traces import Trace, traces

from tracekit.errors import LogCorruptError
from tracekit.events import Column, EventBatch, EventKind
from tracekit.log import columns as columns_module
from tracekit.log.columns import (
    COLUMN_TYPES,
    BatchEncoder,
    BatchMemory,
    EventColumns,
    decode_batch,
    decode_runs,
    empty_columns,
    encode_batch,
    encode_plainly,
    encode_runs,
)
from tracekit.log.guesses import STREAMS

kernels = columns_module.__dict__["kernels"]

native = pytest.mark.skipif(kernels is None, reason="the kernels were not built")


def assert_equal(found: EventColumns, wanted: EventColumns) -> None:
    assert found.first_seq == wanted.first_seq
    for name in COLUMN_TYPES:
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)
        assert getattr(found, name).dtype == COLUMN_TYPES[name]


def decode_in_python(batch: EventBatch, monkeypatch: pytest.MonkeyPatch) -> EventColumns:
    with monkeypatch.context() as without:
        without.setattr(columns_module, "kernels", None)
        return decode_batch(batch)


def like_pymalloc(seed: int, count: int, first_seq: int) -> EventColumns:
    """A program with habits: sites with sizes of their own, blocks that are used again, some surprises."""
    chance = random.Random(seed)
    rows = empty_columns(first_seq, count)
    sites = [(number, chance.choice([16, 48, 64, 500, 512, 513, 4000, 1 << 33])) for number in range(1, 9)]
    spare: dict[int, list[int]] = {}
    live: list[tuple[int, int, int]] = []
    fresh = 1 << 40
    for row in range(count):
        rows.time_ns[row] = row // 7
        rows.thread_id[row] = row // 50 % 3
        where = chance.random()
        if where < 0.02:
            rows.kind[row] = chance.choice([EventKind.MARK, EventKind.GC_START, EventKind.ARENA_FREE])
            if rows.kind[row] == EventKind.ARENA_FREE:
                rows.address[row], rows.size[row] = 1 << 20, 1 << 20
        elif live and (where < 0.3 or row % 16 >= 8):
            seq, address, size = live.pop(chance.choice([0, -1, -1]))
            rows.kind[row], rows.cause[row] = EventKind.FREE, chance.choice([0, 0, 0, 2])
            rows.type_id[row] = size % 5
            rows.alloc_seq[row] = seq
            if where < 0.03:
                rows.alloc_seq[row], rows.address[row] = -1, address
            spare.setdefault((size + 15) // 16, []).append(address)
        else:
            stack, size = sites[row % len(sites)]
            free = spare.get((size + 15) // 16)
            fresh += size + 15 & ~15
            address = free.pop() if free else fresh
            rows.address[row], rows.size[row] = address, size
            rows.stack_id[row], rows.domain[row] = stack, 1 + (stack & 1)
            if row and rows.cause[row - 1] == 2:
                rows.alloc_seq[row] = rows.alloc_seq[row - 1]
            live.append((first_seq + row, address, size))
    return rows


FIRST = st.one_of(st.just(0), st.integers(0, 2**62))


@native
@settings(max_examples=examples(60))
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 400), first_seq=FIRST)
def test_steps_come_back_equal(seed: int, count: int, first_seq: int) -> None:
    rows = like_pymalloc(seed, count, first_seq)
    batch = encode_batch(rows)
    assert "steps" in batch.columns
    assert_equal(decode_batch(batch), rows)
    with pytest.MonkeyPatch.context() as monkeypatch:
        assert_equal(decode_in_python(batch, monkeypatch), rows)


@settings(max_examples=examples(60))
@given(
    seeds=st.lists(st.tuples(st.integers(0, 1 << 30), st.integers(1, 200)), max_size=4), plainly=st.booleans()
)
def test_memory_that_is_used_again(seeds: list[tuple[int, int]], plainly: bool) -> None:
    """Nothing of a batch is seen in the next one."""
    memory = BatchMemory()
    for seed, count in seeds:
        rows = like_pymalloc(seed, count, 5)
        batch = encode_plainly(rows) if plainly else encode_batch(rows)
        assert_equal(decode_batch(batch, memory), rows)


@settings(max_examples=examples(60))
@given(trace=traces(max_events=60))
def test_any_recording_comes_back_equal_by_every_way(trace: Trace) -> None:
    rows = trace.columns()
    for batch in (encode_batch(rows), encode_plainly(rows)):
        assert_equal(decode_batch(batch), rows)
        with pytest.MonkeyPatch.context() as monkeypatch:
            assert_equal(decode_in_python(batch, monkeypatch), rows)


@native
def test_batches_stand_for_themselves() -> None:
    """What one batch taught the codec does not change the next."""
    first, second = like_pymalloc(1, 300, 0), like_pymalloc(2, 300, 300)
    alone = encode_batch(second)
    encode_batch(first)
    assert encode_batch(second) == alone
    decode_batch(encode_batch(first))
    assert_equal(decode_batch(alone), second)


def fill(memory: EventColumns, rows: EventColumns, start: int, stop: int) -> None:
    for name in COLUMN_TYPES:
        getattr(memory, name)[start:stop] = getattr(rows, name)[start:stop]


@settings(max_examples=examples(60))
@given(
    batches=st.lists(
        st.tuples(st.integers(0, 1 << 30), st.lists(st.integers(1, 90), min_size=1, max_size=6)), max_size=4
    )
)
def test_a_batch_in_pieces_is_the_batch(batches: list[tuple[int, list[int]]]) -> None:
    memory = empty_columns(0, 600)
    encoder = BatchEncoder(memory)
    first_seq = 7
    for seed, pieces in batches:
        rows = like_pymalloc(seed, sum(pieces), first_seq)
        done = 0
        for piece in pieces:
            fill(memory, rows, done, done + piece)
            done += piece
            if piece % 5:  # else these are encoded with the next, or at the end
                encoder.more(first_seq, done)
        assert encoder.finish(rows) == encode_batch(rows)
        first_seq += done


def test_a_batch_whose_rows_are_nowhere_before_its_end() -> None:
    rows = like_pymalloc(3, 50, 0)
    encoder = BatchEncoder(None)
    encoder.more(0, 50)
    assert encoder.finish(rows) == encode_batch(rows)


@native
def test_a_batch_that_is_not_there_or_has_no_such_rows() -> None:
    codec = kernels.Codec()
    columns = tuple(getattr(like_pymalloc(3, 50, 0), name) for name in COLUMN_TYPES)
    with pytest.raises(ValueError, match="no batch was begun"):
        codec.more(1)
    with pytest.raises(ValueError, match="no batch was begun"):
        codec.finish()
    codec.begin(0, columns)
    with pytest.raises(ValueError, match="without events"):
        codec.finish()
    codec.begin(0, columns)
    codec.more(20)
    for rows in (19, 51, -1):
        with pytest.raises(ValueError, match="no such rows"):
            codec.more(rows)
    codec.begin(0, columns)  # forgets the twenty
    codec.more(50)
    assert codec.finish() == kernel_piles(columns)
    with pytest.raises(ValueError, match="no batch was begun"):
        codec.finish()


def kernel_piles(columns: tuple[npt.NDArray[Any], ...]) -> tuple[bytes, ...]:
    codec = kernels.Codec()
    codec.begin(0, columns)
    codec.more(len(columns[0]))
    found: tuple[bytes, ...] = codec.finish()
    return found


@native
def test_columns_that_are_no_batch() -> None:
    rows = like_pymalloc(3, 50, 0)
    columns = tuple(getattr(rows, name) for name in COLUMN_TYPES)
    codec = kernels.Codec()
    for wrong in ((), columns[:-1], (*columns[:-1], columns[-1][:-1]), (columns[1], *columns[1:])):
        with pytest.raises(ValueError, match="unequal length"):
            codec.begin(0, wrong)
        with pytest.raises(ValueError, match="no batch was begun"):
            codec.more(1)


@native
def test_habits_cost_little() -> None:
    rows = like_pymalloc(5, 4000, 0)
    coded, plain = (
        sum(len(column.data) for column in encode(rows).columns.values())
        for encode in (encode_batch, encode_plainly)
    )
    assert coded < plain / 2


def test_without_the_kernels_batches_are_written_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = like_pymalloc(3, 50, 0)
    monkeypatch.setattr(columns_module, "kernels", None)
    assert encode_batch(rows) == encode_plainly(rows)


def damaged(batch: EventBatch, chance: random.Random) -> EventBatch:
    """The same with some values changed, streams cut, or steps that say something else."""
    coded = dict(batch.columns)
    for _ in range(chance.randint(1, 3)):
        name = chance.choice(["steps", *STREAMS])
        column = coded.get(name, Column("plain", 1, b""))
        data = bytearray(column.data)
        how = chance.randrange(4)
        if how == 0 and data:
            data[chance.randrange(len(data))] = chance.randrange(256)
        elif how == 1:
            data = data[: len(data) // 2 // max(1, column.width) * column.width]
        elif how == 2:
            data += bytes(chance.randrange(256) for _ in range(column.width * chance.randint(1, 3)))
        elif data:
            data = bytearray(chance.randrange(256) for _ in data)
        width = chance.choice([column.width, column.width, 8])
        coded[name] = Column("plain", width, bytes(data))
    return msgspec.structs.replace(batch, columns=coded)


def outcome(batch: EventBatch) -> EventColumns | None:
    try:
        return decode_batch(batch)
    except LogCorruptError:
        return None


@native
@settings(max_examples=examples(150))
@given(seed=st.integers(0, 1 << 30), count=st.integers(1, 120), first_seq=FIRST)
def test_damaged_batches_are_refused_or_read_alike(seed: int, count: int, first_seq: int) -> None:
    chance = random.Random(seed)
    batch = damaged(encode_batch(like_pymalloc(seed, count, first_seq)), chance)
    found = outcome(batch)
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(columns_module, "kernels", None)
        also = outcome(batch)
    assert (found is None) == (also is None)
    if found is not None and also is not None:
        assert_equal(found, also)


RUNS = st.lists(st.tuples(st.integers(-(2**62), 2**62), st.integers(1, 2000)), min_size=1, max_size=30)


@given(runs=RUNS)
def test_runs_come_back_equal(runs: list[tuple[int, int]]) -> None:
    values, lengths = (np.array(column, np.int64) for column in zip(*runs, strict=True))
    column = encode_runs(values, lengths)
    found = decode_runs("x", column, int(lengths.sum()))
    np.testing.assert_array_equal(np.repeat(*found), np.repeat(values, lengths))


@pytest.mark.parametrize(
    ("column", "count"),
    [
        (Column("runs", 1, b""), 1),
        (Column("runs", 3, bytes(7)), 1),
        (Column("runs", 1, b"\2\1\0\0\0" + b"\0"), 1),
        (Column("runs", 1, b"\2\0\0\0\0"), 1),
        (Column("runs", 1, b"\2\2\0\0\0"), 1),
        (Column("runs", 1, b"\2\1\0\0\0"), 2),
        (Column("runs", 1, b"\2\2" + b"\1\1" + bytes(6)), 1),
        (Column("runs", 1, b"\2\xff\xff\xff\xff"), 1 << 20),
    ],
)
def test_runs_that_cannot_be(column: Column, count: int) -> None:
    with pytest.raises(LogCorruptError, match="runs that do not add up"):
        decode_runs("x", column, count)


def changed(**columns: Column | None) -> EventBatch:
    """A batch of six events as steps; ``columns`` replaces columns (None: leaves one out)."""
    batch = encode_batch(like_pymalloc(11, 6, 0))
    coded = {**batch.columns, **columns}
    return msgspec.structs.replace(
        batch, columns={name: column for name, column in coded.items() if column is not None}
    )


@native
@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"steps": Column("plain", 1, bytes(5))}, "6 values"),
        ({"steps": Column("plain", 1, b"\xff" * 6)}, "do not fit each other"),
        ({"address": None}, "do not fit each other"),
        ({"cause": Column("plain", 1, b"\1")}, "do not fit each other"),
        ({"address": Column("plain", 1, bytes(7))}, "more values than there are events"),
        ({"address": Column("plain", 0, bytes(3))}, "'address' holds"),
        ({"size": Column("delta", 1, b"\2")}, "more values than there are events"),
        ({"time_ns": None}, "without the column 'time_ns'"),
        (
            {"thread_id": Column("runs", 8, b"\0" * 7 + b"\1" + b"\6\0\0\0")},
            "'thread_id' holds a value outside",
        ),
    ],
)
def test_steps_that_no_program_can_have_made(
    columns: dict[str, Column | None], message: str, built: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = changed(**columns)
    if not built:
        monkeypatch.setattr(columns_module, "kernels", None)
    with pytest.raises(LogCorruptError, match=message):
        decode_batch(batch)
