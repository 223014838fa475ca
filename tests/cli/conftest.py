"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_support import Cli, make_log


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Cli:
    """Runs a command line in this process."""
    return Cli(capsys, monkeypatch)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log of a small recording."""
    return make_log(tmp_path / "app.tkt")
