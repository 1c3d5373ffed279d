"""What keeps a service manager from taking us for dead. Hanging itself: tests/netns."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.adapters.watchdog import Watchdog

LONG_NS = 3_600_000_000_000


@pytest.fixture(name="manager")
def fixture_manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)  # noqa: FBT003  the method has no other way
        yield manager


@pytest.mark.parametrize(
    ("usec", "pid", "heard"),
    [
        ("10000000", None, True),
        ("10000000", str(os.getpid()), True),
        ("10000000", "1", False),
        (None, None, False),
    ],
    ids=["wanted", "of-us", "of-another-process", "not-wanted"],
)
def test_a_watchdog_hears_that_we_live_if_it_is_ours(
    manager: socket.socket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    usec: str | None,
    pid: str | None,
    heard: bool,  # noqa: FBT001
) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
    for name, value in (("WATCHDOG_USEC", usec), ("WATCHDOG_PID", pid)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)

    watchdog = Watchdog(timeout_ns=LONG_NS)
    watchdog.alive()
    watchdog.stop()

    if heard:
        assert manager.recv(100) == b"WATCHDOG=1"
    else:
        with pytest.raises(BlockingIOError):
            manager.recv(100)
