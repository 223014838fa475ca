"""The parts of following: names, the door, what a process inherits; and the package that is a function."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

import pytest

import tracekit
from tracekit.errors import PlatformError
from tracekit.record import session
from tracekit.record.door import Door
from tracekit.record.followed import Followers
from tracekit.record.lane import Setting
from tracekit.record.outputs import followed_path
from tracekit.record.ring import process_gone
from tracekit.record.select import Selection, select

SITE = str(Path(session.__file__).parent / "_site")


@pytest.mark.parametrize(
    ("path", "number", "expected"),
    [
        ("app.tkt", 1, "app.7.tkt"),
        ("app.tkt", 2, "app.7.2.tkt"),
        ("a/b.c.tkt", 1, "a/b.c.7.tkt"),
        ("trace", 3, "trace.7.3"),
    ],
)
def test_names_of_logs(path: str, number: int, expected: str) -> None:
    assert followed_path(path, 7, number) == expected


def test_package_is_the_function() -> None:
    with pytest.raises(TypeError):
        tracekit.record()  # type: ignore[call-arg]
    recording = tracekit.record("x.tkt")
    assert recording.output == str(Path.cwd() / "x.tkt")
    assert recording.engine == ""
    assert sys.modules["tracekit.record"] is tracekit.record  # type: ignore[comparison-overlap]


def test_program_inherits_what_it_takes_to_be_followed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "lib")
    monkeypatch.delenv("TRACEKIT_FOLLOW", raising=False)
    plain = session._environment("/ring", "native")
    assert (plain["PYTHONPATH"], plain["TRACEKIT_PYTHONPATH"]) == (f"{SITE}{os.pathsep}lib", "lib")
    assert "TRACEKIT_FOLLOW" not in plain
    followed = session._environment("/ring", "native", "address")
    assert (followed["PYTHONPATH"], followed["TRACEKIT_FOLLOW"]) == (plain["PYTHONPATH"], "address")
    assert "TRACEKIT_PYTHONPATH" not in followed


@pytest.mark.parametrize(("inherited", "own"), [(SITE, None), (f"{SITE}{os.pathsep}lib", "lib")])
def test_recorder_that_is_followed_itself_hands_nothing_on(
    monkeypatch: pytest.MonkeyPatch, inherited: str, own: str | None
) -> None:
    monkeypatch.setenv("PYTHONPATH", inherited)
    monkeypatch.setenv("TRACEKIT_FOLLOW", "another")
    found = session._environment("/ring", "native")
    assert found.get("TRACEKIT_PYTHONPATH") == own
    assert "TRACEKIT_FOLLOW" not in found


def test_free_threaded_build_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "abiflags", "t")
    for engine in ("auto", "native", "portable"):
        with pytest.raises(PlatformError, match="free-threaded"):
            select(engine)


def connected(door: Door) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(10)
    connection.connect("\0" + door.address.partition("/")[0])
    return connection


def test_door_opens_to_the_token_only(tmp_path: Path) -> None:
    door = Door("portable")
    setting = Setting(selection=Selection("portable", ""), max_frames=3, sync_interval_ns=5)
    followers = Followers(door, setting, str(tmp_path / "app.tkt"), force=False)
    with connected(door) as stranger, connected(door) as silent, connected(door) as friend:
        stranger.sendall(b"x" * 4096)
        friend.sendall(f"{door.token}\n".encode())
        (lane,) = followers.welcome()
        assert stranger.recv(1) == b""
        _, descriptors, _, _ = socket.recv_fds(friend, 1, 1)
        assert os.fstat(descriptors[0]).st_size > 1 << 20
        os.close(descriptors[0])
        assert lane.process.pid == os.getpid()
        assert len(followers.descriptors()) == 3
        friend.sendall(b"no engine here")
        friend.close()
        assert followers.welcome() + followers.welcome() == []  # it tells, and it ends
        assert followers.refused == [f"process {os.getpid()}: no engine here"]
        assert lane.gone
        log = lane.finish(None)
        assert (log.output, list(tmp_path.iterdir())) == (None, [])
        assert not followers.on_their_way()
        followers.close()
        assert silent.recv(1) == b""
    assert followers.descriptors() == []


def test_process_gone() -> None:
    assert not process_gone(os.getpid())
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
    assert process_gone(child)  # a zombie
    os.waitpid(child, 0)
    assert process_gone(child)
