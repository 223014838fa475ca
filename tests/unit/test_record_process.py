"""How the collector behaves towards the program beside it."""

from __future__ import annotations

import os

import pytest

from tracekit.record.process import let_program_run


@pytest.mark.parametrize("before", [os.SCHED_OTHER, os.SCHED_BATCH])
def test_a_collector_gives_way_until_it_is_done(before: int) -> None:
    ours = os.sched_getscheduler(0)
    os.sched_setscheduler(0, before, os.sched_param(0))
    try:
        as_ever = let_program_run()
        assert os.sched_getscheduler(0) == os.SCHED_BATCH
        as_ever()
        assert os.sched_getscheduler(0) == before
    finally:
        os.sched_setscheduler(0, ours, os.sched_param(0))


def test_where_it_may_not_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "sched_setscheduler", refuse)
    before = os.sched_getscheduler(0)
    let_program_run()()
    assert os.sched_getscheduler(0) == before
