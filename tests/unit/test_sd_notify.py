"""What a service manager hears."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from nfsnitch.adapters.sd_notify import notify


@pytest.fixture(name="manager")
def fixture_manager() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.setblocking(False)  # noqa: FBT003  the method has no other way
        yield manager


def test_the_manager_hears_the_state_at_its_path(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    notify("READY=1")

    assert manager.recv(100) == b"READY=1"


def test_an_at_sign_stands_for_an_address_without_a_file(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = f"nfsnitch-test-{os.getpid()}"
    manager.bind(f"\0{name}")
    monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")

    notify("STOPPING=1")

    assert manager.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize("address", [None, "", "relative"])
def test_without_a_manager_nobody_is_told(
    manager: socket.socket,
    address: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    manager.bind("relative")
    if address is None:
        monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    else:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    notify("READY=1")

    with pytest.raises(BlockingIOError):
        manager.recv(100)


def test_a_manager_that_has_gone_away_is_no_reason_to_fail_and_its_successor_is_told(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as predecessor:
        predecessor.bind(str(place))
    monkeypatch.setenv("NOTIFY_SOCKET", str(place))
    notify("READY=1")
    place.unlink()
    manager.bind(str(place))

    notify("STOPPING=1")

    assert manager.recv(100) == b"STOPPING=1"


def test_a_manager_that_does_not_read_is_waited_for_no_longer_than_wanted(
    manager: socket.socket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manager.bind(str(tmp_path / "notify"))
    monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))

    for _ in range(5_000):  # more than any queue of datagrams takes
        notify("WATCHDOG=1", wait_s=0)

    assert manager.recv(100) == b"WATCHDOG=1"
