"""What the real things need: a cgroup and a network namespace of the test's own."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from nftables import Nftables

from builders import own_netns
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.lab import cgroups
from nfsnitch.lab.runs import Run
from queue_play import PORT, QUEUE_NUM, REFUSED, SO_SNDBUFFORCE, Kernel, queue_datagrams


@pytest.fixture(scope="module")
def own_cgroup() -> Iterator[Path]:
    """Yield an empty cgroup; without root there is none, and the real thing is not tried."""
    if os.geteuid() != 0:
        yield Path("/nonexistent")
        return
    path = cgroups.make(Run.new().cgroup())
    yield path
    cgroups.remove(path)


@pytest.fixture(name="kernel")
def fixture_kernel() -> Iterator[Kernel]:
    with (
        own_netns(),
        closing(PacketQueue(QUEUE_NUM)) as queue,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind(("127.0.0.1", PORT))
        sender.setsockopt(socket.SOL_SOCKET, SO_SNDBUFFORCE, 16 << 20)  # what waits counts as sent
        code, _, problem = Nftables().cmd(REFUSED)
        assert code == 0, problem
        queue_datagrams()
        yield Kernel(queue, receiver, sender)
