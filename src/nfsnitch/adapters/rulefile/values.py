"""Parsers: the text of one value → what it means.

Each takes the text as it stands in the file and what is `Known`, and returns what the text stands
for (a group of addresses stands for several); each raises `Refused` for a text that it cannot take.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Network, IPv6Address, IPv6Network
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Absent, Refused, closest, listed, quoted
from nfsnitch.core.conditions import OwnerKind
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import BYPASS_NAMES, PROTOCOL_NAMES, Family, Protocol, packed_address
from nfsnitch.core.listing import NamedList
from nfsnitch.core.pattern import PatternError, paths, regexes
from nfsnitch.core.ranges import ADDRESS_BYTES, AddressRange, PortRange

T = TypeVar("T")

MAX_UID = 2**32 - 2
"""2³² - 1 is the uid of nobody at all (`chown(2)`)."""
MAX_PORT = 65_535
MAX_PROTO = 255
MIN_DURATION_NS = 100_000_000
MAX_DURATION_NS = 3_600_000_000_000

_NUMBER = re.compile(r"(0|[1-9][0-9]{0,9})", re.ASCII)
_DURATION = re.compile(r"([1-9][0-9]{0,8})(ms|s|m|h)", re.ASCII)
_PREFIX_LENGTHS = {str(length): length for length in range(129)}
_UNIT_NS = {"ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_GROUP_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}", re.ASCII)
_PROTOCOLS = {name: number for number, name in (PROTOCOL_NAMES | BYPASS_NAMES).items()}
_FAMILIES = {family.name.lower(): family for family in Family}
_ACTIONS = {action.value: action for action in Action}
_ANSWERS = {name: action for name, action in _ACTIONS.items() if action is not Action.ASK}
OWNERS = (OwnerKind.UNKNOWN, OwnerKind.KERNEL, OwnerKind.FORWARDED)
_OWNERS = {kind.value: kind for kind in OWNERS}
_NEVER_IN_PATHS = re.compile(r"/(?=/)|/\.\.?(?=/|$)")


class GroupKind(StrEnum):
    """What a named group of a rule file holds; the values are the words of the file."""

    ADDRESSES = "addresses"
    PORTS = "ports"
    PROGRAMS = "programs"
    USERS = "users"
    USERGROUPS = "usergroups"
    HOSTS = "hosts"


class Group(NamedTuple):
    """A named group, with the groups in it."""

    kind: GroupKind
    members: Sequence[Any]
    """What parsing its values gave."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a value may refer to."""

    names: Names
    groups: Mapping[str, Group]
    lists: Mapping[str, NamedList] = field(default_factory=dict)

    def group(self, text: str, kind: GroupKind) -> Sequence[Any] | None:
        """Return what is in the group that *text* names; None if it names none.

        Raises:
            Refused: it names a group of another kind.

        """
        group = self.groups.get(text)
        if group is None:
            return None
        if group.kind is not kind:
            raise Refused(f"this is a group of {group.kind}", f"write one of {kind}")
        return group.members

    def names_of_groups(self, kind: GroupKind) -> list[str]:
        """Return the names of all groups of a kind."""
        return [name for name, group in self.groups.items() if group.kind is kind]


def noting(known: Known, note: Callable[[str], None]) -> Known:
    """Return the same, where *note* is told each text that is not its own meaning.

    That is the name of a group, of a list, or of something of this machine.
    """

    def noted(ask: Callable[[str], T]) -> Callable[[str], T]:
        def asked(text: str) -> T:
            note(text)
            return ask(text)

        return asked

    of = known.names
    asking = (noted(of.uid_of), noted(of.ports_of), noted(of.gid_of), noted(of.netns_of))
    groups = _Noted(known.groups, note) if known.groups else known.groups
    return Known(Names(*asking), groups, _Noted(known.lists, note))


class _Noted(dict[str, T]):
    """Tells of each look-up that finds something."""

    def __init__(self, known: Mapping[str, T], note: Callable[[str], None]) -> None:
        super().__init__(known)
        self._note = note

    def get(self, key: str, default: Any = None) -> Any:  # noqa: ANN401
        """Return what is known by a name."""
        if key in self:
            self._note(key)
        return super().get(key, default)


def parse_action(text: str) -> Action:
    """Return an action."""
    return _word(text, _ACTIONS)


def parse_answer(text: str) -> Action:
    """Return an action that ends the waiting: any but ask."""
    if text == Action.ASK:
        raise Refused("it is asked already", f"write {listed(_ANSWERS)}")
    return _word(text, _ANSWERS)


def parse_duration_ns(text: str) -> int:
    """Return a duration in nanoseconds, from 100 ms to an hour."""
    duration_ns = duration_in_ns(text)
    if not MIN_DURATION_NS <= duration_ns <= MAX_DURATION_NS:
        raise Refused("it must be from 100ms to 1h", "write 30s")
    return duration_ns


def duration_in_ns(text: str) -> int:
    """Return a duration in nanoseconds, however long."""
    match = _DURATION.fullmatch(text)
    if match is None:
        raise Refused("a duration is a number with its unit", "write 500ms, 30s or 2m")
    return int(match[1]) * _UNIT_NS[match[2]]


def parse_path(text: str, known: Known) -> Sequence[str]:
    """Return an absolute path or glob, as it is, or those of a group."""
    if (programs := known.group(text, GroupKind.PROGRAMS)) is not None:
        return programs
    if not text.startswith("/"):
        name = text.rsplit("/", 1)[-1] or "program"
        example = quoted(f"/usr/bin/{name}")
        names = known.names_of_groups(GroupKind.PROGRAMS)
        instead = closest(text, names, f"write its whole path, as in {example}")
        raise Refused("a program's path begins with /", instead)
    if text.endswith("/"):
        raise Refused("this names a directory", f"write {quoted(f'{text}**')} for all below it")
    if _NEVER_IN_PATHS.search(text):
        why = "the kernel's paths never have //, /./ or /../ in them"
        raise Refused(why, "write the path with symlinks resolved (realpath)")
    check_pattern(paths, text)
    return (text,)


def parse_regex(text: str, known: Known) -> tuple[str]:
    """Return a regular expression, as it is."""
    del known
    if not text:
        raise Refused("an empty expression matches everything", "leave the field away")
    check_pattern(regexes, text)
    return (text,)


def parse_uid(text: str, known: Known) -> Sequence[int]:
    """Return a uid, or those of a group."""
    if (users := known.group(text, GroupKind.USERS)) is not None:
        return users
    if not text.isdecimal():
        raise Refused("a uid is a number", f"write user: {quoted(text)} for a name")
    return (number(text, MAX_UID, "uids"),)


def parse_user(text: str, known: Known) -> Sequence[int]:
    """Return the uid of a user, or those of a group; `Absent` if there is none."""
    if (users := known.group(text, GroupKind.USERS)) is not None:
        return users
    uid = known.names.uid_of(text)
    if uid is None:
        if text.isdecimal():
            raise Refused("this machine has no such user", "write uid: for a number")
        raise Absent("this machine has no such user", "check the name (getent passwd)")
    return (uid,)


def parse_gid(text: str, known: Known) -> Sequence[int]:
    """Return a gid, or those of a group of user groups."""
    if (usergroups := known.group(text, GroupKind.USERGROUPS)) is not None:
        return usergroups
    if not text.isdecimal():
        raise Refused("a gid is a number", f"write group: {quoted(text)} for a name")
    return (number(text, MAX_UID, "gids"),)


def parse_group(text: str, known: Known) -> Sequence[int]:
    """Return the gid of a group of users, or those of a group of them."""
    if (usergroups := known.group(text, GroupKind.USERGROUPS)) is not None:
        return usergroups
    gid = known.names.gid_of(text)
    if gid is None:
        if text.isdecimal():
            raise Refused("this machine has no such group of users", "write gid: for a number")
        raise Absent("this machine has no such group of users", "check the name (getent group)")
    return (gid,)


def parse_user_or_uid(text: str, known: Known) -> Sequence[int]:
    """Return the uid of a user who is named, or the number itself."""
    return (parse_uid if text.isdecimal() else parse_user)(text, known)


def parse_group_or_gid(text: str, known: Known) -> Sequence[int]:
    """Return the gid of a group of users that is named, or the number itself."""
    return (parse_gid if text.isdecimal() else parse_group)(text, known)


def parse_proto(text: str, known: Known) -> tuple[int]:
    """Return the number of a protocol, or what stands for one of sockets past netfilter."""
    del known
    if text[:1].isdigit():
        return (number(text, MAX_PROTO, "protocol numbers"),)
    if text not in _PROTOCOLS:
        hint = f"write {listed(_PROTOCOLS)} or a number"
        raise Refused("there is no such protocol here", closest(text, _PROTOCOLS, hint))
    return (_PROTOCOLS[text],)


def parse_family(text: str, known: Known) -> tuple[Family]:
    """Return an address family."""
    del known
    return (_word(text, _FAMILIES),)


def parse_owner(text: str, known: Known) -> tuple[OwnerKind]:
    """Return a kind of owner."""
    del known
    return (_word(text, _OWNERS),)


def parse_dport(text: str, known: Known) -> Iterable[PortRange]:
    """Return the ports of a number, a range, a group or a service."""
    if (group := known.group(text, GroupKind.PORTS)) is not None:
        return group
    first, dash, last = text.partition("-")
    if first[:1].isdigit() and (not dash or last[:1].isdigit()):
        low = number(first, MAX_PORT, "ports")
        high = number(last, MAX_PORT, "ports") if dash else low
        if high < low:
            raise Refused("the range is reversed", f"write {high}-{low}")
        return (PortRange(low, high),)
    if not (ports := known.names.ports_of(text)):
        why = "it is no port, range of ports or service of this machine, nor a group of ports"
        raise Refused(why, "write a number, as in 443 or 8000-8080 (services: getent services)")
    return [PortRange(port, port) for port in sorted(ports)]


def parse_daddr(text: str, known: Known) -> Sequence[AddressRange]:
    """Return the addresses of an address, a CIDR block, a range or a group."""
    if _GROUP_NAME.fullmatch(text) is None:
        return (parse_addresses(text),)
    group = known.group(text, GroupKind.ADDRESSES)
    if group is None:
        hint = "write an address, as in 192.0.2.1, or define the group under groups:"
        names = known.names_of_groups(GroupKind.ADDRESSES)
        raise Refused("there is no such group", closest(text, names, hint))
    return group


def is_group_name(text: str) -> bool:
    """Whether *text* can name a group; no address can be such a text."""
    return _GROUP_NAME.fullmatch(text) is not None


def parse_addresses(text: str) -> AddressRange:
    """Return the addresses of an address, a CIDR block or a range."""
    if "/" in text:
        return _cidr(text)
    ends = [_address(part.strip(" ")) for part in text.split("-", 1)]
    for (family, first), (last_family, last) in pairwise(ends):
        if family is not last_family:
            raise Refused("it goes from one family to the other", "write a range for each")
        if last < first:
            raise Refused("the range is reversed", "write the lower address first")
    return AddressRange(ends[0][0], ends[0][1], ends[-1][1])


def _address(text: str) -> tuple[Family, int]:
    with suppress(OSError, ValueError):
        # Ten times as fast as what says below why it is none; takes the same (inet_pton(3)).
        return Family.IPV4, int.from_bytes(socket.inet_pton(socket.AF_INET, text), "big")
    if "%" in text:
        raise Refused("a packet's address has no zone", "write it without %")
    try:
        packed = packed_address(text)
    except ValueError:
        why = f"{quoted(text)} is no IPv4 or IPv6 address and no group's name"
        instead = "write an address (192.0.2.1), a block (192.0.2.0/24), a range (a-b) or a group"
        raise Refused(why, instead) from None
    if len(packed) == ADDRESS_BYTES[Family.IPV4]:
        return Family.IPV4, int.from_bytes(packed, "big")
    if (mapped := IPv6Address(packed).ipv4_mapped) is not None:
        raise Refused("on the wire such a connection is IPv4", f"write {mapped}")
    return Family.IPV6, int.from_bytes(packed, "big")


def _cidr(text: str) -> AddressRange:
    address, _, length = text.partition("/")
    family, first = _address(address)
    bits = ADDRESS_BYTES[family] * 8
    known_bits = _PREFIX_LENGTHS.get(length, -1)
    if not 0 <= known_bits <= bits:
        known_bits = number(length, bits, "prefix lengths")
    host_bits = bits - known_bits
    network = first >> host_bits << host_bits
    if network != first:
        network_type = IPv4Network if family is Family.IPV4 else IPv6Network
        block = network_type((network, bits - host_bits))
        raise Refused(f"{address} is an address inside the block", f"write {block}")
    return AddressRange(family, first, first | ((1 << host_bits) - 1))


def number(text: str, maximum: int, what: str) -> int:
    """Return a whole number from 0 to *maximum*; *what* names such numbers in messages."""
    if _NUMBER.fullmatch(text) is None:
        raise Refused(f"{what} are written in decimal digits", "write it as in 80")
    if int(text) > maximum:
        raise Refused(f"{what} go from 0 to {maximum}", "write a lower one")
    return int(text)


def _word(text: str, words: Mapping[str, T]) -> T:
    if text not in words:
        hint = f"write {listed(words)}"
        raise Refused(f"it is one of {', '.join(words)}", closest(text, words, hint))
    return words[text]


def check_pattern(compiler: Callable[[Iterable[str]], object], text: str) -> None:
    """Refuse a *text* that *compiler* cannot take."""
    try:
        compiler([text])
    except PatternError as error:
        raise Refused(error.why, error.instead) from None


def has_ports(proto: int) -> bool:
    """Whether the protocol's packets have ports."""
    return proto in {Protocol.TCP, Protocol.UDP, Protocol.UDPLITE, Protocol.SCTP}
