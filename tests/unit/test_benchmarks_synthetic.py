"""Synthetic logs are valid, and alike to the log that they are drawn from."""

from __future__ import annotations

import random
from pathlib import Path

import numpy as np
import pytest

from benchmarks.synthetic.__main__ import main, number
from benchmarks.synthetic.addresses import SMALL_CLASSES, Memory, addresses, size_classes
from benchmarks.synthetic.generate import generate
from benchmarks.synthetic.lifetimes import Tail, plan
from benchmarks.synthetic.model import Model, read_model
from tracekit.events import Cause
from tracekit.log.columns import NOTHING
from tracekit.log.live import LiveBlocks
from tracekit.log.reader import LogReader
from tracekit.log.summary import summarize
from tracekit.log.verify import verify

SAMPLES = Path(__file__).parents[2] / "sample_traces" / "v2"
RECORDED = SAMPLES / "cyclic_garbage.native.tkt"
EVENTS, ALIVE = 300_000, 2_000


@pytest.fixture(scope="module")
def model() -> Model:
    return read_model(RECORDED)


@pytest.fixture(scope="module")
def log(model: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "made.tkt"
    generate(model, path, EVENTS, alive=ALIVE, seed=3)
    return path


def test_it_is_valid(log: Path) -> None:
    found = verify(log)
    assert found.problems == []
    assert found.complete
    assert found.closed
    assert found.events == EVENTS


def test_collections_and_marks(log: Path, model: Model) -> None:
    summary = summarize(log)
    assert [mark.name for mark in summary.marks][::5] == ["start", "phase 5", "end"]
    assert len(summary.marks) == 11
    assert [summary.marks[0].seq, summary.marks[-1].seq] == [0, EVENTS - 1]
    assert summary.gc_collections == pytest.approx(EVENTS / model.collect_every, abs=2)
    recorded = summarize(RECORDED)
    pace = recorded.duration_s / recorded.events
    assert summary.duration_s / summary.events == pytest.approx(pace, rel=0.6)


def test_sites_are_those_of_the_model(log: Path, model: Model) -> None:
    with LogReader(log) as reader:
        stacks = np.concatenate([batch.stack_id[batch.allocations] for batch in reader.events()])
    bins = int(max(stacks.max(), model.blocks["stack"].max())) + 1
    made = np.bincount(stacks, minlength=bins) / len(stacks)
    recorded = np.bincount(model.blocks["stack"], minlength=bins) / len(model.blocks["stack"])
    assert np.abs(made - recorded).sum() < 0.3
    assert np.all(recorded[made > 0] > 0)


def test_as_many_are_alive_as_were_asked_for_and_none_overlap(log: Path) -> None:
    live = LiveBlocks()
    counts = []
    with LogReader(log) as reader:
        for batch in reader.events():
            for start in range(0, len(batch), 10_000):
                assert live.apply(batch.rows(start, min(start + 10_000, len(batch)))).matched.all()
                counts.append(len(live))
                order = np.argsort(live.columns["address"])
                address, size = live.columns["address"][order], live.columns["size"][order]
                assert np.all(address[1:] >= address[:-1] + np.maximum(size[:-1], 1))
    assert min(counts) > ALIVE * 0.5
    assert max(counts) < ALIVE * 2


def test_lifetimes(log: Path, model: Model) -> None:
    drawn = plan(model, EVENTS, ALIVE)
    with LogReader(log) as reader:
        batches = list(reader.events())
    lives = np.concatenate([(b.seq - b.alloc_seq)[b.frees] for b in batches])
    allocations = sum(int(np.count_nonzero(b.allocations)) for b in batches)
    assert 0.9 < np.count_nonzero(lives < drawn.young) / allocations < 0.99
    assert lives.max() > EVENTS / 4
    recorded = model.blocks["life"][(model.blocks["life"] > 0) & (model.blocks["life"] <= drawn.young)]
    assert np.median(lives) == pytest.approx(np.median(recorded), rel=0.5, abs=5)
    causes = np.concatenate([b.cause[b.frees] for b in batches])
    wanted = np.mean(model.blocks["cause"][model.blocks["life"] > 0] == Cause.GC)
    assert np.mean(causes == Cause.GC) == pytest.approx(wanted, abs=0.15)


def test_what_the_collector_frees_is_freed_while_it_runs(log: Path) -> None:
    with LogReader(log) as reader:
        for batch in reader.events():
            running = np.cumsum((batch.kind == 2).astype(int) - (batch.kind == 3).astype(int))
            assert np.all(running[batch.frees & (batch.cause == Cause.GC)] == 1)


def test_the_seed_decides(model: Model, tmp_path: Path) -> None:
    made = []
    for number_, seed in enumerate((1, 1, 2)):
        path = tmp_path / f"{number_}.tkt"
        generate(model, path, 20_000, alive=1_000, seed=seed)
        made.append(path.read_bytes())
    assert made[0] == made[1]
    assert made[0] != made[2]


def test_reallocs_are_linked(tmp_path: Path) -> None:
    path = tmp_path / "made.tkt"
    generate(read_model(SAMPLES / "batch_peak.native.tkt"), path, 50_000, alive=4_000)
    assert verify(path).problems == []
    with LogReader(path) as reader:
        linked = sum(int(np.count_nonzero(b.allocations & (b.alloc_seq != NOTHING))) for b in reader.events())
    assert linked > 10


def test_places_are_recycled_last_in_first_out() -> None:
    draw = random.Random(5)
    memory = Memory()
    naive: dict[int, list[int]] = {}
    used: dict[int, int] = {}
    alive: list[tuple[int, int]] = []
    for _ in range(30):
        steps: list[tuple[int, bool, int, int]] = []
        wanted: list[int] = []
        here: list[tuple[int, int, int]] = [(c, -1, place) for c, place in alive]
        for _ in range(draw.randrange(1, 80)):
            if here and draw.random() < 0.5:
                size_class, block, place = here.pop(draw.randrange(len(here)))
                steps.append((size_class, True, block, place if block < 0 else -1))
                naive.setdefault(size_class, []).append(place)
            else:
                size_class = draw.randrange(3)
                free = naive.setdefault(size_class, [])
                place = free.pop() if free else used.get(size_class, 0)
                used[size_class] = max(used.get(size_class, 0), place + 1)
                steps.append((size_class, False, len(wanted), -1))
                here.append((size_class, len(wanted), place))
                wanted.append(place)
        classes, free_, block_, place_ = zip(*steps, strict=True)
        found = memory.take(
            np.array(classes, np.uint8), np.array(free_), np.array(block_), np.array(place_, np.int64)
        )
        assert found.tolist() == wanted
        alive = [(size_class, place) for size_class, _, place in here]


def test_size_classes_hold_their_sizes() -> None:
    sizes = np.array([0, 1, 16, 17, 512, 513, 1024, 1025, 1 << 30])
    classes = size_classes(sizes)
    room = addresses(classes, np.ones(len(sizes), np.int64)) - addresses(
        classes, np.zeros(len(sizes), np.int64)
    )
    assert np.all(room >= sizes)
    assert classes[:5].tolist() == [0, 1, 1, 2, 32]
    assert np.all(classes[5:] > SMALL_CLASSES)


def test_the_tail_has_its_mean() -> None:
    tail = Tail(1e3, 1e7, 5e4)
    draw = np.random.default_rng(1)
    assert tail.lifetimes(draw, 400_000).mean() == pytest.approx(5e4, rel=0.1)
    assert tail.remaining(draw, 10_000).mean() > 5e4


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert [number(text) for text in ("300", "3k", "1.5M", "1G")] == [300, 3000, 1_500_000, 10**9]
    output = tmp_path / "made.tkt"
    assert main([str(RECORDED), "--events", "20k", "--alive", "1k", "-o", str(output)]) == 0
    assert "20,000 events" in capsys.readouterr().out
    assert main([str(RECORDED), "--events", "20k", "--alive", "1M", "-o", str(output)]) == 1
    assert "too few" in capsys.readouterr().err
