"""Faults in what is told to the kernel: rules of nft, labels of conntrack, packets of our own."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from lab.mutants.mutant import Function, around, mutant, nft_text, passes
from nfsnitch.adapters import nft
from nfsnitch.adapters.bpf.verdict_cache import VerdictCache
from nfsnitch.adapters.conntrack import Conntrack
from nfsnitch.adapters.own_packets import OwnPackets
from nfsnitch.cached_flows import _Kinds
from nfsnitch.core.commands import CacheVerdict, PassFlow
from nfsnitch.core.standing import Reach


class _Passes(NamedTuple):
    """What passes unjudged."""

    match: str
    """As nft has it."""
    fault: str
    scenarios: Sequence[str]


_PASSING = {
    "invalid-passes": _Passes(
        "ct state invalid", "what conntrack calls invalid passes", ("tcp/no-flags", "tcp/xmas")
    ),
    "untracked-passes": _Passes(
        "ct state untracked", "what conntrack does not track passes", ("icmp/other-types",)
    ),
    "new-only": _Passes("ct state != new", "only what is new is judged", ("tcp/no-flags",)),
    "established-passes": _Passes(
        "ct state established",
        "what conntrack calls established passes",
        ("rules/datagram-on-a-known-tuple",),
    ),
    "not-syn-passes": _Passes(
        "tcp flags & syn == 0", "TCP without SYN passes", ("tcp/ack-without-syn",)
    ),
    "port-53-passes": _Passes("udp sport 53", "UDP from port 53 passes", ("udp/source-port-53",)),
    "tcp-port-53-passes": _Passes(
        "tcp sport 53", "TCP from port 53 passes", ("tcp/source-port-53",)
    ),
    "tcp-and-udp-only": _Passes(
        "meta l4proto != { tcp, udp }", "no other protocol is judged", ("protocols/gre",)
    ),
    "icmp-passes": _Passes(
        "meta l4proto { icmp, icmpv6 }", "ICMP passes", ("icmp/ping-denied", "icmp/other-types")
    ),
    "ipv6-passes": _Passes("meta nfproto ipv6", "IPv6 passes", ("ipv6/destination-options",)),
    "multicast-passes": _Passes(
        "ip daddr 224.0.0.0/4", "multicast passes", ("protocols/multicast",)
    ),
    "broadcast-passes": _Passes(
        "fib daddr type broadcast", "broadcast passes", ("protocols/broadcast",)
    ),
    "link-local-passes": _Passes(
        "ip6 daddr fe80::/10", "link-local addresses pass", ("ipv6/link-local",)
    ),
}

for _name, _each in _PASSING.items():
    mutant(_name, _each.fault, *_each.scenarios)(partial(passes, _each.match))

_CONNECTIONS = "ct state established tcp flags & (syn | ack) != syn accept"
_REPLIES = "ct direction reply ct state established,related accept"
_FORWARDED = "type filter hook forward priority 149; policy accept;"


class _Other(NamedTuple):
    """Other rules of nft."""

    before: str
    after: str
    fault: str
    scenarios: Sequence[str]


_OTHERS = {
    "established-with-syn-passes": _Other(
        _CONNECTIONS,
        "ct state established meta l4proto tcp accept",
        "a SYN passes where conntrack knows the tuple",
        ("rules/syn-on-a-known-tuple",),
    ),
    "connections-judged": _Other(
        _CONNECTIONS, "", "each segment of a connection is judged", ("local/loopback-judged",)
    ),
    "replies-judged": _Other(
        _REPLIES, "", "answers to what came in are judged", ("local/inbound-datagram",)
    ),
    "neighbours-judged": _Other(
        "nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert",
        "nd-router-solicit",
        "neighbour discovery is judged",
        ("ipv6/neighbours",),
    ),
    "listening-judged": _Other(
        "icmpv6 type { mld-listener-query, mld-listener-report, mld-listener-done, "
        "mld2-listener-report } accept",
        "",
        "what tells routers of multicast groups is judged",
        ("ipv6/multicast-listening",),
    ),
    "loopback-always-skipped": _Other(
        'oif "lo" jump local',
        'oif "lo" accept',
        "loopback passes though it is to be judged",
        ("local/loopback-judged",),
    ),
    "loopback-always-judged": _Other(
        'oif "lo" jump local',
        "",
        "loopback is judged though it is not to be",
        ("local/loopback-skipped",),
    ),
    "made-up-source-passes": _Other(
        "fib saddr type local fib daddr type",
        "fib daddr type",
        "what goes to loopback passes, whoever it is said to be from",
        ("local/loopback-made-up-source",),
    ),
    "forwarded-passes": _Other(
        _FORWARDED,
        f"{_FORWARDED} accept",
        "what is forwarded passes though it is to be judged",
        ("local/forwarded-and-judged",),
    ),
}

for _name, _other in _OTHERS.items():
    mutant(_name, _other.fault, *_other.scenarios)(partial(nft_text, _other.before, _other.after))


@mutant("fragments-pass", "fragments are not put together, and pass", "ip/fragments")
def _fragments_pass() -> None:
    # Before conntrack puts them together, which is at -400.
    chain = "type filter hook output priority -450; ip frag-off & 0x3fff != 0 notrack"
    nft_text("chain settle {", f"chain apart {{ {chain}; }}\n\tchain settle {{")
    nft_text('oif "lo" jump local', 'oif "lo" jump local\n\t\tip frag-off & 0x1fff != 0 accept')


@mutant("related-judged", "ICMP about known flows is judged", "icmp/error-of-allowed-flow")
def _related_judged() -> None:
    nft_text(_REPLIES, "ct direction reply ct state established accept")
    nft_text("\t\tct state related accept\n", "")


@mutant("fails-open", "without a daemon packets leave", "failing/kill-fails-closed")
def _fails_open() -> None:
    nft_text("queue num $queue_num", "queue num $queue_num bypass")
    nft_text("counter name caught drop", "counter name caught")
    _bypass(is_had=True)


@mutant(
    "fails-closed",
    "without a daemon packets stay though they may leave",
    "failing/kill-fails-open",
)
def _fails_closed() -> None:
    nft_text("queue num $queue_num bypass", "queue num $queue_num")
    _bypass(is_had=False)


def _bypass(*, is_had: bool) -> None:
    """Have iptables' target, where that queues, let packets by without a daemon, or not."""

    def queue(real: Function, *args: object, bypass: bool) -> None:
        del bypass
        real(*args, bypass=is_had)

    around(nft, "queue_by_target", queue)


@mutant("no-label", "no flow is ever trusted", "udp/one-way-trusted")
def _no_label() -> None:
    around(Conntrack, "trust", lambda _real, _conntrack, _flow: True)


@mutant("label-stays", "trust does not end with the socket", "udp/port-reuse")
def _label_stays() -> None:
    around(Conntrack, "distrust", lambda _real, _conntrack, _flow: True)


@mutant("cut-flow-goes-on", "the packets of a cut flow pass", "rules/cut-datagrams")
def _cut_flow_goes_on() -> None:
    around(Conntrack, "refuse", lambda _real, _conntrack, _entry: True)
    around(Conntrack, "judge", lambda _real, _conntrack, _entry: True)


@mutant("refusal-unsaid", "who asks for a refused name hears nothing", "names/refused-question")
def _refusal_unsaid() -> None:
    around(OwnPackets, "deny_name", lambda _real, _own, _flow, _question: True)


@mutant("reset-unsaid", "a server does not hear of a refusal", "names/refused-over-tcp")
def _reset_unsaid() -> None:
    around(OwnPackets, "reset_peer", lambda _real, _own, _flow, _seq: True)


@mutant("cache-outlives-rules", "decisions are repeated by other rules", "tcp/cached-again")
def _cache_outlives_rules() -> None:
    begun: list[VerdictCache] = []

    def withdraw(real: Function, cache: VerdictCache) -> None:
        if cache not in begun:
            begun.append(cache)
            real(cache)

    around(VerdictCache, "withdraw", withdraw)


@mutant(
    "cache-reaches-too-far",
    "what is said of one port is repeated for all",
    "tcp/cached-elsewhere",
)
def _cache_reaches_too_far() -> None:
    def add(real: Function, cache: VerdictCache, command: CacheVerdict | PassFlow) -> None:
        if isinstance(command, CacheVerdict):
            command = command._replace(reach=Reach.ANYWHERE)
        real(cache, command)

    around(VerdictCache, "add", add)


@mutant("cached-unrecorded", "what the kernel repeats is not recorded", "tcp/cached-again")
def _cached_unrecorded() -> None:
    def record(_real: Function, _kinds: _Kinds, *_of_what: object) -> None:
        pass

    around(_Kinds, "_record", record)
