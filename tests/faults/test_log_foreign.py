"""Files that are no logs, and logs of versions that this tracekit does not read."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from traces import sample_header

from tracekit.errors import FileMissingError, LogVersionError, NotALogError, TracekitError
from tracekit.events import LOG_FORMAT_VERSION
from tracekit.log.dump import dump
from tracekit.log.format import pack_prelude, pack_record
from tracekit.log.reader import LogReader
from tracekit.log.recovery import recover
from tracekit.log.summary import summarize
from tracekit.log.verify import verify


def reads(path: Path, copy: Path) -> list[Callable[[], object]]:
    """All that opens a log."""
    return [
        lambda: list(dump(path)),
        partial(summarize, path),
        partial(LogReader, path),
        partial(verify, path),
        partial(recover, path, copy),
    ]


@pytest.mark.parametrize("version", [LOG_FORMAT_VERSION + 1, 77, 65535])
def test_a_newer_version_says_found_supported_and_what_to_do(tmp_path: Path, version: int) -> None:
    path = tmp_path / "new.tkt"
    path.write_bytes(pack_prelude(version) + b"whatever the future brings")
    for read in reads(path, tmp_path / "copy.tkt"):
        with pytest.raises(LogVersionError) as caught:
            read()
        text = str(caught.value)
        assert f"log format {version}" in text
        assert f"reads 1 to {LOG_FORMAT_VERSION}" in text
        assert "newer tracekit" in text
    assert list(tmp_path.iterdir()) == [path]


def test_version_zero(tmp_path: Path) -> None:
    path = tmp_path / "old.tkt"
    path.write_bytes(pack_prelude(0) + pack_record(sample_header()))
    with pytest.raises(LogVersionError):
        LogReader(path)


def _not_logs(folder: Path) -> dict[str, tuple[Path, type[TracekitError], str]]:
    (folder / "empty").touch()
    (folder / "text").write_text("hello, I am a text\n" * 100)
    (folder / "short").write_bytes(pack_prelude()[:9])
    (folder / "magic").write_bytes(b"\x89TKT\n\x1a\n" + bytes(100))  # as a transfer in text mode leaves it
    os.mkfifo(folder / "pipe")
    return {
        "empty": (folder / "empty", NotALogError, "is empty"),
        "text": (folder / "text", NotALogError, "is not a tracekit log"),
        "short": (folder / "short", NotALogError, "ends within the first 16 bytes"),
        "magic": (folder / "magic", NotALogError, "is not a tracekit log"),
        "folder": (folder, NotALogError, "is a folder"),
        "pipe": (folder / "pipe", NotALogError, "is not a regular file"),
        "device": (Path("/dev/null"), NotALogError, "is not a regular file"),
        "missing": (folder / "nothing.tkt", FileMissingError, "does not exist"),
        "in a file": (folder / "text" / "x.tkt", FileMissingError, "cannot be read"),
        "NUL": (folder / "a\0b", FileMissingError, "cannot be read"),
        "long": (folder / ("x" * 300), FileMissingError, "cannot be read"),
    }


def test_files_that_are_no_logs(tmp_path: Path) -> None:
    folder = tmp_path / "files"
    folder.mkdir()
    for path, kind, expected in _not_logs(folder).values():
        for read in reads(path, tmp_path / "c"):
            with pytest.raises(kind) as caught:
                read()
            assert expected in str(caught.value)
            assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == [folder]
