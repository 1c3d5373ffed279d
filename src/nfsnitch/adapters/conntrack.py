"""Gives and takes the labels by which conntrack entries pass our ruleset, or never do.

Speaks ctnetlink (net/netfilter/nf_conntrack_netlink.c). Trust is given by setting the label on the
flow's entry. It is withdrawn with the socket by deleting the entry: the next packet then starts a
new one. Where the flow goes on, the label alone is taken off, so that address translation stays.
"""

from __future__ import annotations

import socket
from struct import Struct

from nfsnitch.core.flow import Family, Flow, Protocol
from nfsnitch.core.unknown import Unknown

_NETLINK_NETFILTER = 12
_NFNL_SUBSYS_CTNETLINK = 1
_IPCTNL_MSG_CT_NEW, _IPCTNL_MSG_CT_DELETE = 0, 2
_NLM_F_REQUEST, _NLM_F_ACK = 1, 4
_NLMSG_ERROR = 2
_NLA_F_NESTED = 0x8000

# linux/netfilter/nfnetlink_conntrack.h
CTA_TUPLE_ORIG, CTA_TUPLE_REPLY, CTA_LABELS, _CTA_LABELS_MASK = 1, 2, 22, 23
CTA_TUPLE_IP, CTA_TUPLE_PROTO = 1, 2
ADDRESSES = {Family.IPV4: (1, 2), Family.IPV6: (3, 4)}
"""CTA_IP_V4_SRC, _DST; CTA_IP_V6_SRC, _DST."""
CTA_PROTO_NUM, CTA_PROTO_SRC_PORT, CTA_PROTO_DST_PORT = 1, 2, 3
ICMP_ATTRIBUTES = {Protocol.ICMP: (4, 5, 6), Protocol.ICMPV6: (7, 8, 9)}
"""CTA_PROTO_ICMP_ID, _TYPE, _CODE; the same for ICMPv6."""

_ICMP_ANSWERS = {
    (Protocol.ICMP.value, 8): 0,
    (Protocol.ICMP.value, 13): 14,
    (Protocol.ICMP.value, 15): 16,
    (Protocol.ICMP.value, 17): 18,
    (Protocol.ICMPV6.value, 128): 129,
}
"""Protocol and type of a request → the type of its answer (nf_conntrack_proto_icmp.c)."""

_HEADER = Struct("=IHHII BBH")
"""struct nlmsghdr, struct nfgenmsg."""
_ATTRIBUTE = Struct("=HH")
_ERROR = Struct("=IHHII i")
_FAMILIES = {Family.IPV4: socket.AF_INET, Family.IPV6: socket.AF_INET6}
_LABEL_BYTES = 16


class Conntrack:
    """A netlink socket to the conntrack of the network namespace in which it was made."""

    def __init__(self, label: int, refused_label: int, name_label: int) -> None:
        """Use these conntrack labels (0-127): of flows trusted, cut, and whose name is awaited."""
        self._trusted = _label_bits(label)
        self._refused = _label_bits(refused_label)
        self._awaited = _label_bits(name_label)
        self._all = _label_bits(label, refused_label, name_label)
        self._netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_NETFILTER)
        self._netlink.connect((0, 0))
        self._netlink.settimeout(1)
        self._sequence = 0

    def close(self) -> None:
        """Close the netlink socket."""
        self._netlink.close()

    def trust(self, flow: Flow) -> bool:
        """Label the entry of *flow*; False if there is none, or the kernel would not."""
        return self._apply(_IPCTNL_MSG_CT_NEW, flow, self._labels(self._trusted))

    def release(self, flow: Flow) -> bool:
        """Let the packets of *flow* pass, whose name was awaited; False if that failed."""
        nothing = self._labels(bytes(_LABEL_BYTES), self._awaited)
        return self._apply(_IPCTNL_MSG_CT_NEW, flow, nothing)

    def distrust(self, flow: Flow) -> bool:
        """Delete the entry of *flow*; False if there was none, or the kernel would not."""
        return self._apply(_IPCTNL_MSG_CT_DELETE, flow, b"")

    def judge(self, entry: bytes) -> bool:
        """Take every label of ours off an entry (`ConntrackEntry.handle`); False if that failed."""
        return self._change(_IPCTNL_MSG_CT_NEW, entry, self._labels(bytes(_LABEL_BYTES)))

    def refuse(self, entry: bytes) -> bool:
        """Label an entry as one that was cut; one that has no room for labels is deleted."""
        labels = self._labels(self._refused)
        return self._change(_IPCTNL_MSG_CT_NEW, entry, labels) or self.delete(entry)

    def delete(self, entry: bytes) -> bool:
        """Delete an entry; False if it was gone, or the kernel would not."""
        return self._change(_IPCTNL_MSG_CT_DELETE, entry, b"")

    def _labels(self, wanted: bytes, changed: bytes | None = None) -> bytes:
        mask = self._all if changed is None else changed
        return _attribute(CTA_LABELS, wanted) + _attribute(_CTA_LABELS_MASK, mask)

    def _change(self, message: int, entry: bytes, attributes: bytes) -> bool:
        return self._answer(message, entry[0], entry[1:] + attributes)

    def _apply(self, message: int, flow: Flow, attributes: bytes) -> bool:
        # Where the destination was translated, the entry's own tuple has the address from before;
        # the tuple of its replies has the one that our chains, and so the flow, show.
        return any(
            self._answer(message, _FAMILIES[flow.family], tuple_attribute + attributes)
            for tuple_attribute in (
                _tuple_attribute(CTA_TUPLE_ORIG, flow),
                _tuple_attribute(CTA_TUPLE_REPLY, _reply(flow)),
            )
        )

    def _answer(self, message: int, family: int, attributes: bytes) -> bool:
        self._sequence = (self._sequence + 1) & 0xFFFFFFFF
        header = _HEADER.pack(
            _HEADER.size + len(attributes),
            _NFNL_SUBSYS_CTNETLINK << 8 | message,
            _NLM_F_REQUEST | _NLM_F_ACK,
            self._sequence,
            0,
            family,
            0,
            0,
        )
        try:
            self._netlink.send(header + attributes)
            return self._error() == 0
        except OSError:
            return False

    def _error(self) -> int:
        while True:
            _, kind, _, sequence, _, error = _ERROR.unpack_from(self._netlink.recv(4096))
            if kind == _NLMSG_ERROR and sequence == self._sequence:
                return int(error)


def _label_bits(*labels: int) -> bytes:
    return sum(1 << label for label in labels).to_bytes(_LABEL_BYTES, "little")


def _reply(flow: Flow) -> Flow:
    icmp = flow.icmp
    if icmp is not None:
        icmp = icmp._replace(type=_ICMP_ANSWERS.get((flow.proto, icmp.type), icmp.type))
    return flow._replace(
        saddr=flow.daddr, daddr=flow.saddr, sport=flow.dport, dport=flow.sport, icmp=icmp
    )


def _tuple_attribute(kind: int, flow: Flow) -> bytes:
    source, destination = ADDRESSES[flow.family]
    addresses = _attribute(source, flow.saddr) + _attribute(destination, flow.daddr)
    return _nested(
        kind,
        _nested(CTA_TUPLE_IP, addresses) + _nested(CTA_TUPLE_PROTO, _proto_attributes(flow)),
    )


def _proto_attributes(flow: Flow) -> bytes:
    number = _attribute(CTA_PROTO_NUM, bytes((flow.proto,)))
    if flow.icmp is not None and not isinstance(flow.icmp.identifier, Unknown):
        of_id, of_type, of_code = ICMP_ATTRIBUTES[Protocol(flow.proto)]
        return (
            number
            + _attribute(of_id, flow.icmp.identifier.to_bytes(2, "big"))
            + _attribute(of_type, bytes((flow.icmp.type,)))
            + _attribute(of_code, bytes((flow.icmp.code,)))
        )
    if isinstance(flow.sport, Unknown) or isinstance(flow.dport, Unknown):
        return number
    return (
        number
        + _attribute(CTA_PROTO_SRC_PORT, flow.sport.to_bytes(2, "big"))
        + _attribute(CTA_PROTO_DST_PORT, flow.dport.to_bytes(2, "big"))
    )


def _nested(kind: int, content: bytes) -> bytes:
    return _attribute(kind | _NLA_F_NESTED, content)


def _attribute(kind: int, content: bytes) -> bytes:
    padding = -len(content) % 4
    return _ATTRIBUTE.pack(_ATTRIBUTE.size + len(content), kind) + content + bytes(padding)
