"""Fixtures that every test may use."""

from __future__ import annotations

from pathlib import Path

import pytest
from record_support import Stage

from tracekit.record.select import CAPABILITIES


@pytest.fixture(params=sorted(CAPABILITIES))
def engine(request: pytest.FixtureRequest) -> str:
    """Each engine that exists here."""
    name: str = request.param
    return name


@pytest.fixture
def stage(tmp_path: Path, engine: str) -> Stage:
    """An empty folder to run programs in, plainly and recorded by each engine."""
    folder = tmp_path / "stage"
    folder.mkdir()
    return Stage(folder, engine, tmp_path / "app.tkt")
