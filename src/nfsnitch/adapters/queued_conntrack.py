"""What conntrack says of a packet that waits in the queue (linux/netfilter/nfnetlink_queue.h).

The conntrack entry of a flow's first packet cannot be asked for: it is not in the table before the
packet has left. But the queue hands it over with the packet, if that was asked for.
"""

from __future__ import annotations

import struct
from struct import Struct

from nfsnitch.adapters.conntrack import (
    ADDRESSES,
    CTA_PROTO_DST_PORT,
    CTA_TUPLE_IP,
    CTA_TUPLE_ORIG,
    CTA_TUPLE_PROTO,
)
from nfsnitch.adapters.conntrack_table import attributes
from nfsnitch.core.flow import Flow
from nfsnitch.core.unknown import Unknown

_HEADERS_BYTES = 20
"""struct nlmsghdr, struct nfgenmsg."""
_NFQA_CT, _NFQA_CT_INFO = 11, 12
_CTA_STATUS = 3
_IPS_DST_NAT = 1 << 5
"""linux/netfilter/nf_conntrack_common.h"""
_IP_CT_IS_REPLY = 3
"""From here on the numbers of NFQA_CT_INFO are those of the other direction."""
_NUMBER = Struct(">I")


def before_translation(message: bytes, flow: Flow) -> Flow | None:
    """Return *flow*, of the packet in *message*, as it was before destination translation.

    None: its destination was not translated, it is an answer, or conntrack does not say. Never
    raises, whatever the bytes are.
    """
    packet = attributes(memoryview(message)[_HEADERS_BYTES:])
    try:
        entry = attributes(packet[_NFQA_CT])
        if not _NUMBER.unpack(entry[_CTA_STATUS])[0] & _IPS_DST_NAT:
            return None
        if _NUMBER.unpack(packet[_NFQA_CT_INFO])[0] >= _IP_CT_IS_REPLY:
            return None
        original = attributes(entry[CTA_TUPLE_ORIG])
        daddr = bytes(attributes(original[CTA_TUPLE_IP])[ADDRESSES[flow.family][1]])
        ports = attributes(original[CTA_TUPLE_PROTO])
    except (LookupError, struct.error):
        return None
    if len(daddr) != len(flow.daddr):
        return None
    dport = ports.get(CTA_PROTO_DST_PORT)
    if isinstance(flow.dport, Unknown) or dport is None or len(dport) != 2:  # noqa: PLR2004
        return flow._replace(daddr=daddr)
    return flow._replace(daddr=daddr, dport=int.from_bytes(dport, "big"))
