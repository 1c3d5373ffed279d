"""Lists the flows that conntrack knows, a few at a time (net/netfilter/nf_conntrack_netlink.c)."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing
from struct import Struct
from typing import NamedTuple

from nfsnitch.adapters.conntrack import (
    ADDRESSES,
    CTA_LABELS,
    CTA_PROTO_DST_PORT,
    CTA_PROTO_NUM,
    CTA_PROTO_SRC_PORT,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
    CTA_TUPLE_REPLY,
    ICMP_ATTRIBUTES,
)
from nfsnitch.core.flow import NO_PORTS, Family, Flow, Icmp, Protocol

_NETLINK_NETFILTER = 12
_GET = 1 << 8 | 1
"""NFNL_SUBSYS_CTNETLINK, IPCTNL_MSG_CT_GET."""
_NLM_F_REQUEST, _NLM_F_DUMP = 0x1, 0x300
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_TYPE_MASK = 0x3FFF
"""Without NLA_F_NESTED and NLA_F_NET_BYTEORDER."""
_CTA_ZONE = 18
_RECEIVE_BYTES = 32_768
_PATIENCE_S = 1.0

_HEADER = Struct("=IHHII BBH")
"""struct nlmsghdr, struct nfgenmsg."""
_NLMSGHDR = Struct("=IHHII")
_ATTRIBUTE = Struct("=HH")
_ERROR = Struct("=i")
_FAMILIES: dict[int, Family] = {socket.AF_INET: Family.IPV4, socket.AF_INET6: Family.IPV6}
_SOME_LABEL = _ATTRIBUTE.pack(_ATTRIBUTE.size + 16, CTA_LABELS)
"""The kernel leaves the labels out where there is none."""


def _layout(family: Family, address_bytes: int) -> tuple[Struct, list[int]]:
    """Return the layout of a message up to its source port, and what its headers must be."""
    source, destination = ADDRESSES[family]
    ip_bytes = 2 * (_ATTRIBUTE.size + address_bytes)
    struct = Struct(f"=4xHHHHHH{address_bytes}xHH{address_bytes}x4xHHB3xHHH")
    tuple_bytes = _ATTRIBUTE.size + ip_bytes + _ATTRIBUTE.size + 3 * 8
    nested = 0x8000
    headers = [tuple_bytes + _ATTRIBUTE.size, CTA_TUPLE_ORIG | nested]
    headers += [ip_bytes + _ATTRIBUTE.size, CTA_TUPLE_IP | nested]
    headers += [address_bytes + _ATTRIBUTE.size, source]
    headers += [address_bytes + _ATTRIBUTE.size, destination]
    headers += [_ATTRIBUTE.size + 1, CTA_PROTO_NUM]
    return struct, headers


_LAYOUTS = (_layout(Family.IPV4, 4), _layout(Family.IPV6, 16))
_SPORT_HEADER = (_ATTRIBUTE.size + 2, CTA_PROTO_SRC_PORT)
_WITH_PORTS = frozenset({Protocol.TCP, Protocol.UDP, Protocol.UDPLITE, Protocol.SCTP})
"""Those of which `core.packet` reads them."""

Attributes = dict[int, memoryview]
"""Netlink attributes by type; of several of a type the last one."""


class ConntrackEntry(NamedTuple):
    """One flow that conntrack knows."""

    flow: Flow
    """Its original direction as our chains see it: before source, after destination translation."""
    labels: int
    """Bit n is label n."""
    handle: bytes
    """What tells `Conntrack` which entry is meant: the address family, and attributes."""
    sent: Flow | None = None
    """Its original direction as its sender named it, if its destination is translated."""


def conntrack_entries(
    is_wanted: Callable[[int, int], bool] = lambda _proto, _sport: True,
) -> Iterator[ConntrackEntry | None]:
    """Yield the entries of the present network namespace; between two, others may run.

    In the place of one that is left out there is None: one that *is_wanted* (protocol, source port)
    does not want and that has no label, or that is not a whole entry of a protocol over IP.

    Raises:
        OSError: the kernel did not answer, or refused.

    """
    with closing(socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)) as netlink:
        netlink.connect((0, 0))
        netlink.settimeout(_PATIENCE_S)
        flags = _NLM_F_REQUEST | _NLM_F_DUMP
        netlink.send(_HEADER.pack(_HEADER.size, _GET, flags, 1, 0, socket.AF_UNSPEC, 0, 0))
        for message in _messages(netlink):
            ends = _glance(message)
            if ends is None or is_wanted(*ends) or _SOME_LABEL in bytes(message):
                yield parsed(message)
            else:
                yield None


def parsed(message: memoryview) -> ConntrackEntry | None:
    """Return the entry in the payload of a message (struct nfgenmsg and attributes), if it is one.

    Never raises, whatever the bytes are.
    """
    if len(message) < 4 or (family := _FAMILIES.get(message[0])) is None:  # noqa: PLR2004
        return None
    entry = attributes(message[4:])
    try:
        original, reply = entry[CTA_TUPLE_ORIG], entry[CTA_TUPLE_REPLY]
        flow = _flow(family, attributes(original), attributes(reply))
        sent = _sent(flow, attributes(original))
    except (LookupError, ValueError):
        return None
    labels = int.from_bytes(entry.get(CTA_LABELS, b""), "little")
    handle = bytes((message[0],)) + _repacked(CTA_TUPLE_ORIG | 0x8000, original)
    if _CTA_ZONE in entry:
        handle += _repacked(_CTA_ZONE, entry[_CTA_ZONE])
    return ConntrackEntry(flow, labels, handle, None if sent == flow else sent)


def _glance(message: memoryview) -> tuple[int, int] | None:
    """Return protocol and source port of a message that is laid out as the kernel always does.

    None: it is not, or of a protocol without ports. A busy table has tens of thousands of entries
    of which nothing but this is asked.
    """
    for layout, expected in _LAYOUTS:
        if len(message) >= layout.size:
            *found, proto, length, kind, sport = layout.unpack_from(message)
            if found == expected and (length, kind) == _SPORT_HEADER and proto in _WITH_PORTS:
                return proto, socket.ntohs(sport)
    return None


def attributes(content: memoryview) -> Attributes:
    """Return the netlink attributes in *content*, up to the first that is not whole."""
    found: Attributes = {}
    at, end = 0, len(content)
    while at + _ATTRIBUTE.size <= end:
        length, kind = _ATTRIBUTE.unpack_from(content, at)
        if length < _ATTRIBUTE.size or at + length > end:
            break
        found[kind & _TYPE_MASK] = content[at + _ATTRIBUTE.size : at + length]
        at += (length + 3) & ~3
    return found


def _messages(netlink: socket.socket) -> Iterator[memoryview]:
    """Yield the payloads of a dump's messages."""
    while True:
        raw = memoryview(netlink.recv(_RECEIVE_BYTES))
        while len(raw) >= _NLMSGHDR.size:
            length, kind, _, _, _ = _NLMSGHDR.unpack_from(raw)
            payload = raw[_NLMSGHDR.size : length]
            if kind in {_NLMSG_DONE, _NLMSG_ERROR}:
                _check(payload)
                return
            yield payload
            raw = raw[(length + 3) & ~3 :]


def _check(payload: memoryview) -> None:
    (error,) = _ERROR.unpack_from(payload)
    if error:
        raise OSError(-error, f"conntrack cannot be listed: {os.strerror(-error)}")


def _flow(family: Family, original: Attributes, reply: Attributes) -> Flow:
    source, destination = ADDRESSES[family]
    here = attributes(original[CTA_TUPLE_IP])
    there = attributes(reply[CTA_TUPLE_IP])
    own, answer = attributes(original[CTA_TUPLE_PROTO]), attributes(reply[CTA_TUPLE_PROTO])
    proto = own[CTA_PROTO_NUM][0]
    # Whom the replies come from is whom we send to, whatever address the program had named.
    saddr, daddr = bytes(here[source]), bytes(there[source])
    size = 4 if family is Family.IPV4 else 16
    if (len(saddr), len(daddr), len(here[destination])) != (size, size, size):
        raise ValueError("an address of another family")
    if proto in _WITH_PORTS:
        sport, dport = _port(own[CTA_PROTO_SRC_PORT]), _port(answer[CTA_PROTO_SRC_PORT])
        return Flow(family, proto, saddr, daddr, sport, dport)
    icmp = _icmp(proto, own)
    return Flow(family, proto, saddr, daddr, NO_PORTS, NO_PORTS, icmp)


def _sent(flow: Flow, original: Attributes) -> Flow:
    daddr = bytes(attributes(original[CTA_TUPLE_IP])[ADDRESSES[flow.family][1]])
    if flow.proto not in _WITH_PORTS:
        return flow._replace(daddr=daddr)
    dport = _port(attributes(original[CTA_TUPLE_PROTO])[CTA_PROTO_DST_PORT])
    return flow._replace(daddr=daddr, dport=dport)


def _icmp(proto: int, own: Attributes) -> Icmp | None:
    if proto not in ICMP_ATTRIBUTES:
        return None
    of_id, of_type, of_code = ICMP_ATTRIBUTES[Protocol(proto)]
    return Icmp(own[of_type][0], own[of_code][0], _port(own[of_id]))


def _port(content: memoryview) -> int:
    if len(content) != 2:  # noqa: PLR2004
        raise ValueError("no port")
    return int.from_bytes(content, "big")


def _repacked(kind: int, content: memoryview) -> bytes:
    padding = -len(content) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + bytes(content) + bytes(padding)
