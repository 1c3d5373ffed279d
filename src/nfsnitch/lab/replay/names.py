"""Names that a capture tells: DNS as `naming` hears it, for a machine whose programs nobody knows.

All questions of this machine are taken for those of its resolver, which asks for everybody; so the
names count for whatever it sends.
"""

from __future__ import annotations

import collections
from collections.abc import Callable
from dataclasses import replace

from nfsnitch.core.counters import Counter
from nfsnitch.core.flow import Flow
from nfsnitch.core.name import Names
from nfsnitch.core.name_sample import Direction, DnsPacket
from nfsnitch.core.owner import Executable, Process
from nfsnitch.core.question_refusal import DNS_PORT
from nfsnitch.core.segment import read_segment
from nfsnitch.core.settings import Settings
from nfsnitch.core.unknown import Unknown
from nfsnitch.naming.names import HostNames

_NOT_SAID = Unknown("a capture does not say it")
_NOBODYS = Executable(_NOT_SAID, _NOT_SAID, _NOT_SAID)
_HERE = 1
"""Stands for the network namespace of this machine."""
_ASKER = Process(
    pid=1,
    tid=1,
    start_time_ns=0,
    uid=0,
    gid=0,
    exe=_NOBODYS,
    args=_NOT_SAID,
    comm="",
    parents=(),
    cgroup_id=_NOT_SAID,
    cgroup=_NOT_SAID,
    netns=_HERE,
)
_SENDER = replace(_ASKER, pid=2)


class HeardNames:
    """The names that the addresses of this machine have asked for, by the rules' settings."""

    def __init__(self, settings: Settings) -> None:
        self.counters = collections.Counter[Counter]()
        self._names = HostNames(lambda _cookie: _ASKER, _HERE, settings, self.counters)

    def take(self, sample: DnsPacket) -> None:
        """Hear a packet from or to a DNS server."""
        self._names.take(sample)

    def of(self, flow: Flow, now_ns: int) -> Names:
        """Return the names of the destination that count for what this machine sends."""
        return self._names.names_of(_SENDER, flow.daddr, now_ns)


def dns_sample(
    packet: bytes, flow: Flow, now_ns: int, is_ours: Callable[[bytes], bool]
) -> DnsPacket | None:
    """Return what this machine says to a DNS server, or is told by one; None: neither."""
    is_sent = flow.dport == DNS_PORT and is_ours(flow.saddr)
    if not is_sent and not (flow.sport == DNS_PORT and is_ours(flow.daddr)):
        return None
    segment = read_segment(packet, flow)
    port = flow.sport if is_sent else flow.dport
    if segment is None or isinstance(port, Unknown):
        return None
    local, remote = (flow.saddr, flow.daddr) if is_sent else (flow.daddr, flow.saddr)
    return DnsPacket(
        Direction.SENT if is_sent else Direction.RECEIVED,
        _cookie(local, port, flow.proto),
        0,
        flow.proto,
        local,
        port,
        remote,
        segment.data,
        segment.is_cut,
        now_ns,
        segment.tcp,
    )


def _cookie(address: bytes, port: int, proto: int) -> int:
    """Return a number that no other socket has."""
    return int.from_bytes(
        b"\1" + address + port.to_bytes(2, "big") + proto.to_bytes(1, "big"), "big"
    )
