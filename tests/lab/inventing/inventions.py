"""What is invented: rules, programs and what they send."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

IPV4 = ("198.51.100.2", "203.0.113.1")
IPV6 = ("2001:db8:1::2",)
PROGRAMS = ("alpha", "beta")
"""They have sockets of their own, as most programs do."""
RAW = "odd"
"""It sends packets as they are invented. Of two such programs nobody could tell which it was."""
PORTS = (7, 9)
"""Of the server: echo and sink, TCP and UDP."""
ASKED = ("allow", "deny", "reject", "dismiss")


@dataclass(frozen=True, slots=True)
class RuleFile:
    """A small rule file."""

    default: str
    unattributed: str
    unanswered: str
    rules: tuple[tuple[str, tuple[tuple[str, Any], ...]], ...]
    """Action and conditions of each."""

    def text(self) -> str:
        """Return it as scenarios have it, with ``$NAME`` for programs."""
        lines = [
            f"default: {self.default}",
            f"unattributed: {self.unattributed}",
            f"unanswered: {self.unanswered}",
            "timeouts: {ask: 10m}",
            "rules:" if self.rules else "rules: []",
        ]
        for number, (action, conditions) in enumerate(self.rules):
            said = [f"name: rule {number}", f"action: {action}"]
            said += [f"{field}: {value}" for field, value in conditions]
            lines.append(f"  - {{{', '.join(said)}}}")
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class Sent:
    """What one program sends by one socket, or one packet that it makes up."""

    program: str
    kind: str
    """``udp`` and ``tcp`` are a socket's where `program` is one of `PROGRAMS`, else of `MADE_UP`"""
    daddr: str
    dport: int
    times: int = 1

    @property
    def is_ipv6(self) -> bool:
        """Whether it is IPv6."""
        return ":" in self.daddr

    @property
    def is_raw(self) -> bool:
        """Whether it is made up, and not a socket's."""
        return self.program == RAW


MADE_UP = (
    *("udp", "syn", "ack", "rst", "fin", "null", "xmas", "syn-fin", "data"),
    *("fragments", "fragments-backwards", "options"),
    *("bad-offset", "cut-short", "echo", "timestamp", "unknown", "gre"),
)
"""Kinds of packets; those that are no TCP of their own name say what they are."""
_IPV4_ONLY = {"timestamp", "options", "gre", "unknown"}
PORTLESS = {"echo", "timestamp", "unknown", "gre"}
"""Kinds without ports: by which flow a record speaks of them, their addresses alone say."""
UNKNOWN_TO_CONNTRACK = {"fin", "rst", "null", "xmas", "syn-fin"}
"""Kinds that begin no connection, in the eyes of conntrack."""
MALFORMED = {"bad-offset", "cut-short"}
"""Kinds that are refused, whatever the rules say."""


@dataclass(frozen=True, slots=True)
class Invention:
    """One example: what is sent under one rule file, and what under the next."""

    rules: RuleFile
    sent: tuple[Sent, ...]
    answers: tuple[str, ...]
    """Taken in turn by the questions that come."""
    more_rules: RuleFile | None = None
    """Put in force while flows are held by `rules`."""
    more_sent: tuple[Sent, ...] = ()


_ACTIONS = ("allow", "deny", "reject", "ask")


def _conditions() -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
    fields = {
        "exe": st.sampled_from([f"${name}" for name in (*PROGRAMS, RAW)]),
        "proto": st.sampled_from(["tcp", "udp", "icmp", "[tcp, udp]"]),
        "dport": st.sampled_from(["7", "9", "[7, 9]", "1-8"]),
        "daddr": st.sampled_from([*IPV4, "198.51.100.0/24", '"2001:db8:1::/64"']),
        "family": st.sampled_from(["ipv4", "ipv6"]),
        "uid": st.sampled_from(["0", "1000"]),
        "iface": st.sampled_from(["eth0", "lo"]),
    }

    def of(names: list[str]) -> st.SearchStrategy[tuple[tuple[str, Any], ...]]:
        return st.tuples(*(st.tuples(st.just(name), fields[name]) for name in names))

    return (
        st.lists(st.sampled_from(sorted(fields)), max_size=3, unique=True)
        .flatmap(of)
        .filter(_can_match)
    )


def _can_match(conditions: tuple[tuple[str, Any], ...]) -> bool:
    """Whether a rule may have these: one that cannot match anything is refused."""
    said = dict(conditions)
    return not {"family", "daddr"} <= said.keys() and (
        "dport" not in said or said.get("proto") != "icmp"
    )


def rule_files() -> st.SearchStrategy[RuleFile]:
    """Return the strategy for rule files."""
    return st.builds(
        RuleFile,
        default=st.sampled_from(_ACTIONS),
        unattributed=st.sampled_from(["deny", "allow", "reject"]),
        unanswered=st.sampled_from(["deny", "allow", "reject"]),
        rules=st.lists(st.tuples(st.sampled_from(_ACTIONS), _conditions()), max_size=4).map(tuple),
    )


def _of_sockets() -> st.SearchStrategy[Sent]:
    udp = st.builds(
        Sent,
        st.sampled_from(PROGRAMS),
        st.just("udp"),
        st.sampled_from([*IPV4, *IPV6]),
        st.sampled_from(PORTS),
        st.integers(1, 12),
    )
    tcp = st.builds(
        Sent,
        st.sampled_from(PROGRAMS),
        st.just("tcp"),
        st.sampled_from([*IPV4, *IPV6]),
        st.sampled_from(PORTS),
    )
    return udp | tcp


def _made_up() -> st.SearchStrategy[Sent]:
    def of(kind: str) -> st.SearchStrategy[Sent]:
        addresses = IPV4 if kind in _IPV4_ONLY else (*IPV4, *IPV6)
        times = st.integers(1, 3)
        port = st.just(0) if kind in PORTLESS else st.sampled_from(PORTS)
        return st.builds(Sent, st.just(RAW), st.just(kind), st.sampled_from(addresses), port, times)

    return st.sampled_from(MADE_UP).flatmap(of)


def sendings(most: int) -> st.SearchStrategy[tuple[Sent, ...]]:
    """Return the strategy for what is sent; what could not be told apart is not twice in it."""

    def key(sent: Sent) -> object:
        return (sent.kind, sent.daddr) if sent.kind in PORTLESS else object()

    return st.lists(_of_sockets() | _made_up(), min_size=1, max_size=most, unique_by=key).map(tuple)


def inventions() -> st.SearchStrategy[Invention]:
    """Return the strategy for examples."""
    answers = st.lists(st.sampled_from(ASKED), min_size=1, max_size=3).map(tuple)
    alone = st.builds(Invention, rule_files(), sendings(6), answers)
    with_others = st.builds(
        Invention, rule_files(), sendings(4), answers, rule_files(), sendings(3)
    )
    return alone | with_others
