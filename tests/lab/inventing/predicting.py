"""What the rules say of what is sent, without the firewall: by the rules alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lab.inventing.inventions import MALFORMED, Sent
from nfsnitch.adapters import rulefile
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.loader import load_text
from nfsnitch.core.case import Case
from nfsnitch.core.decision import VERDICTS, Action, Reason
from nfsnitch.core.flow import (
    NO_PORTS,
    Family,
    Flow,
    Icmp,
    Protocol,
    packed_address,
)
from nfsnitch.core.instant import Instant
from nfsnitch.core.owner import Executable, Process
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.moments import Moments
from nfsnitch.lab.scenario.reading_values import substituted

_CLIENT = {4: packed_address("192.0.2.2"), 6: packed_address("2001:db8::2")}
_UNKNOWN = Unknown("nobody asks for it")
_ICMP = {("echo", 4): 8, ("timestamp", 4): 13, ("echo", 6): 128}
UNKNOWN_PROTOCOL = 254
"""For experiments (RFC 3692); the other one of these two is the lab's own."""
_PROTOCOLS = {"udp": 17, "fragments": 17, "fragments-backwards": 17, "options": 17, "gre": 47}


class Told(NamedTuple):
    """What is to become of something that is sent."""

    sent: Sent
    sport: int
    ruling: Ruling

    @property
    def is_asked(self) -> bool:
        """Whether somebody has to answer first."""
        return self.ruling.action is Action.ASK and self.sent.kind not in MALFORMED

    @property
    def verdict(self) -> str:
        """What a record of it says, if nobody has to be asked."""
        return VERDICTS[self.ruling.action].value


def ruleset_of(text: str, programs: Mapping[str, str]) -> Ruleset:
    """Return the rules of a scenario, *programs* saying what is in the place of ``$NAME``."""
    return load_text(Source(0, "rules", substituted(text, programs)), rulefile.system_names())


def ruling(ruleset: Ruleset, sent: Sent, sport: int) -> Ruling:
    """Return what the rules say of something that root's program of that name sends."""
    case = Case(flow_of(sent, sport), _process(sent.program), "eth0", _now())
    return ruleset.rule_on(case)


def flow_of(sent: Sent, sport: int) -> Flow:
    """Return the flow that it is."""
    family = Family.IPV6 if sent.is_ipv6 else Family.IPV4
    ends = (_CLIENT[family], packed_address(sent.daddr))
    icmp = _ICMP.get((sent.kind, int(family)))
    if icmp is not None:
        proto = Protocol.ICMPV6 if sent.is_ipv6 else Protocol.ICMP
        return Flow(family, proto, *ends, NO_PORTS, NO_PORTS, Icmp(icmp, 0, sport))
    if sent.kind == "unknown":
        return Flow(family, UNKNOWN_PROTOCOL, *ends, NO_PORTS, NO_PORTS)
    proto_number = _PROTOCOLS.get(sent.kind, Protocol.TCP.value)
    if proto_number == Protocol.GRE:
        return Flow(family, proto_number, *ends, NO_PORTS, NO_PORTS)
    return Flow(family, proto_number, *ends, sport, sent.dport)


def path_of(program: str) -> str:
    """Return a path for a program, since it has none yet."""
    return f"/invented/{program}"


def is_decided_by_rules(reason: Reason) -> bool:
    """Whether it is the rules that have decided, and not something that happened."""
    return reason in {Reason.RULE, Reason.DEFAULT, Reason.UNATTRIBUTED}


def _process(program: str) -> Process:
    return Process(
        pid=1,
        tid=1,
        start_time_ns=0,
        uid=0,
        gid=0,
        exe=Executable(path_of(program), _UNKNOWN, _UNKNOWN),
        args=_UNKNOWN,
        comm=program,
        parents=(),
        cgroup_id=_UNKNOWN,
        cgroup=_UNKNOWN,
        netns=_UNKNOWN,
    )


def _now() -> Instant:
    return Moments().at(0)
