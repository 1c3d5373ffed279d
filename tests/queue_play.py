"""A packet queue and the packets in it, for tests: the fake one, or the kernel's."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, Protocol

from nftables import Nftables

from fakes import FakePacket, FakeQueue
from nfsnitch.adapters.nfqueue import PacketQueue, QueuedPacket
from nfsnitch.adapters.nft import REJECT_MARK, NftRuleset
from nfsnitch.adapters.queue_target import queue_by_target
from nfsnitch.core.decision import Verdict

QUEUE_NUM = 17
PORT = 4_242
SO_SNDBUFFORCE, SO_RCVBUFFORCE = 32, 33
"""asm-generic/socket.h"""
REFUSED = f"""
table inet after {{
    counter refused {{ }}
    chain output {{
        type filter hook output priority 200; policy accept;
        meta mark {REJECT_MARK:#x} counter name refused drop
        meta mark != 0 drop
    }}
}}
"""


class SomeQueue(Protocol):
    """What both have."""

    @property
    def waiting(self) -> int: ...
    def drain(self, on_packet: Callable[[Any], None]) -> int: ...
    def give_verdict(self, packet_id: int, verdict: Verdict) -> None: ...
    def drop_all(self) -> int: ...


class Fake:
    """The fake queue, and what becomes of its packets."""

    def __init__(self) -> None:
        self.fake = FakeQueue()
        self.queue: SomeQueue = self.fake
        self._texts: dict[int, bytes] = {}

    def send(self, text: bytes) -> None:
        """Send a packet."""
        self.fake.send(text)

    def drain(self) -> list[FakePacket | QueuedPacket]:
        """Drain the queue once."""
        got: list[FakePacket | QueuedPacket] = []
        self.queue.drain(got.append)
        self._texts |= {packet.packet_id: packet.payload for packet in got}
        return got

    def arrived(self) -> list[bytes]:
        """Return what was accepted, in that order."""
        verdicts = self.fake.verdicts.items()
        return [self._texts[number] for number, given in verdicts if given is Verdict.ACCEPT]

    def refused(self) -> int:
        """Return how many were rejected."""
        return list(self.fake.verdicts.values()).count(Verdict.REJECT)


class Kernel(Fake):
    """The kernel's queue, with datagrams to ourselves in a namespace of our own."""

    def __init__(self, queue: PacketQueue, receiver: socket.socket, sender: socket.socket) -> None:
        self.queue = queue
        self._receiver, self._sender = receiver, sender

    def send(self, text: bytes) -> None:
        """Send a datagram; it has been queued when this returns."""
        self._sender.sendto(text, self._receiver.getsockname())

    def drain(self) -> list[FakePacket | QueuedPacket]:
        """Drain the queue once."""
        got: list[FakePacket | QueuedPacket] = []
        self.queue.drain(got.append)
        return got

    def arrived(self) -> list[bytes]:
        """Return what came through."""
        texts: list[bytes] = []
        while True:
            try:
                texts.append(self._receiver.recv(65_536, socket.MSG_DONTWAIT))
            except BlockingIOError:
                return texts

    def refused(self) -> int:
        """Return how many carried the mark."""
        _, listed, _ = Nftables().cmd("list counter inet after refused")
        return int(listed.split("packets ")[1].split()[0])


def queue_datagrams() -> None:
    """Queue what goes to `PORT`, and nothing else, in the present network namespace."""
    by_nft = NftRuleset().can_queue()
    rule = f"udp dport {PORT} {f'queue num {QUEUE_NUM}' if by_nft else 'goto worker'}"
    chains = (
        "chain worker { }; "
        f"chain output {{ type filter hook output priority 0; policy accept; {rule}; }}"
    )
    code, _, problem = Nftables().cmd(f"table inet queueing {{ {chains}; }}")
    assert code == 0, problem
    if not by_nft:
        queue_by_target("queueing", "worker", QUEUE_NUM)
