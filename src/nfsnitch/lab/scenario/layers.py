"""Which of scapy's layers scenarios may have, and what kind of value each of their fields takes.

scapy is imported by the module that a layer is in, and only when it is asked for: it takes seconds
where the machine is emulated.
"""

from __future__ import annotations

import importlib
import importlib.util
import struct
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from functools import cache
from types import ModuleType
from typing import Any, Final

from nfsnitch.adapters.rulefile.problems import Refused, closest, quoted

_INET6_MESSAGES = (
    "DestUnreach PacketTooBig TimeExceeded ParamProblem EchoRequest EchoReply MLQuery MLReport "
    "MLDone MLQuery2 MLReport2 MLDMultAddrRec ND_RS ND_RA ND_NS ND_NA ND_Redirect NDOptSrcLLAddr "
    "NDOptDstLLAddr NDOptPrefixInfo NDOptMTU NDOptRDNSS NDOptUnknown Unknown"
)
_CHUNKS = (
    "Init InitAck Data SACK HeartbeatReq HeartbeatAck Abort Shutdown ShutdownAck Error CookieEcho "
    "CookieAck ShutdownComplete"
)
_MODULES: Final[Mapping[str, str]] = {
    "scapy.packet": "Raw Padding",
    "scapy.layers.l2": "Ether Dot1Q ARP GRE",
    "scapy.layers.inet": (
        "IP TCP UDP ICMP IPerror TCPerror UDPerror ICMPerror IPOption IPOption_EOL IPOption_NOP "
        "IPOption_Security IPOption_RR IPOption_LSRR IPOption_SSRR IPOption_Stream_Id "
        "IPOption_Timestamp IPOption_Traceroute IPOption_Router_Alert"
    ),
    "scapy.layers.inet6": " ".join(
        (
            "IPv6 IPerror6 IPv6ExtHdrHopByHop IPv6ExtHdrDestOpt IPv6ExtHdrRouting",
            "IPv6ExtHdrSegmentRouting IPv6ExtHdrFragment Pad1 PadN RouterAlert Jumbo HAO",
            "HBHOptUnknown",
            *(f"ICMPv6{each}" for each in _INET6_MESSAGES.split()),
        )
    ),
    "scapy.layers.sctp": " ".join(
        (
            "SCTP SCTPChunkParamStateCookie SCTPChunkParamHeartbeatInfo",
            *(f"SCTPChunk{each}" for each in _CHUNKS.split()),
        )
    ),
    "scapy.layers.ipsec": "AH ESP",
    "scapy.layers.dns": "DNS DNSQR DNSRR DNSRROPT",
    "scapy.layers.dhcp": "BOOTP DHCP",
    "scapy.layers.vxlan": "VXLAN",
    "scapy.layers.igmp": "IGMP",
}
LAYERS: Final[Mapping[str, str]] = {
    name: module for module, names in _MODULES.items() for name in names.split()
}
"""Name of each layer → the module of scapy that has it."""
_BEFORE: Final = {"scapy.layers.igmp": "scapy.contrib.igmp"}
"""Where older versions of scapy have a module."""
LINK: Final = ("Ether", "Dot1Q")
"""Layers that only frames begin with."""
QUOTED: Final = ("IPerror", "IPerror6")
"""The packet that an ICMP error speaks of: it says both addresses itself."""


class Kind(Enum):
    """What a field's value is."""

    NUMBER = auto()
    FLAGS = auto()
    MAC = auto()
    IPV4 = auto()
    IPV6 = auto()
    BYTES = auto()
    TEXT_OR_BYTES = auto()
    LAYERS = auto()
    LIST = auto()
    TCP_OPTIONS = auto()
    DHCP_OPTIONS = auto()


@dataclass(frozen=True, slots=True)
class FieldType:
    """The kind of a field, and what its values may be."""

    kind: Kind
    bits: int = 0
    """Of a number."""
    words: Mapping[str, int] = field(default_factory=dict)
    """Names that numbers have; of flags, the bit of each."""
    of: FieldType | None = None
    """What is in a list."""


_MAC = FieldType(Kind.MAC)
_IPV4 = FieldType(Kind.IPV4)
_BYTES = FieldType(Kind.BYTES)
_ODD_FIELDS: Final[Mapping[tuple[str, str], FieldType]] = {
    ("ARP", "hwsrc"): _MAC,
    ("ARP", "hwdst"): _MAC,
    ("ARP", "psrc"): _IPV4,
    ("ARP", "pdst"): _IPV4,
    ("BOOTP", "chaddr"): _BYTES,
    ("BOOTP", "options"): _BYTES,
    ("DNSRR", "rdata"): FieldType(Kind.TEXT_OR_BYTES),
    ("SCTPChunkData", "data"): _BYTES,
}
"""Those whose kind hangs on other fields, or whose class in scapy says little."""


def ready(names: Iterable[str]) -> bool:
    """Import what *names* of layers need; whether there was anything to import.

    What has been dissected before knows nothing of the layers that came with it.
    """
    before = len(sys.modules)
    for module in {LAYERS[name] for name in names}:
        _module(module)
    return len(sys.modules) > before


@cache
def _module(name: str) -> ModuleType:
    """Import a module of scapy, or the one that was in its place."""
    is_there = importlib.util.find_spec(name) is not None
    return importlib.import_module(name if is_there else _BEFORE[name])


@cache
def layer_class(name: str) -> Any:  # noqa: ANN401  of scapy, which makes its fields at run time
    """Return scapy's class of the layer.

    Raises:
        Refused: scenarios cannot have it.

    """
    if name not in LAYERS:
        otherwise = "write one that docs/lab.md names, or its bytes as Raw"
        raise Refused("there is no such layer", closest(name, LAYERS, otherwise))
    return getattr(_module(LAYERS[name]), name)


@cache
def field_type(layer: str, name: str) -> FieldType:
    """Return what kind of value the field *name* of *layer* takes.

    Raises:
        Refused: it has no such field, or one that cannot be written.

    """
    fields = {each.name: each for each in layer_class(layer).fields_desc}
    if name not in fields:
        otherwise = f"write {', '.join(fields)}" if fields else "remove it"
        raise Refused(f"{layer} has no such field", closest(name, fields, otherwise))
    odd = _ODD_FIELDS.get((layer, name))
    found = odd if odd is not None else _type_of(fields[name])
    if found is None:
        raise Refused("scenarios cannot say what is in it", "write the bytes of the layer as Raw")
    return found


def flag_bits(layer: str, name: str, text: str) -> int:
    """Return the bits of flags, as in ``SA`` or ``MF+DF``.

    Raises:
        Refused: there is no such flag.

    """
    words = field_type(layer, name).words
    is_letters = all(len(word) == 1 for word in words)
    bits = 0
    for flag in text if is_letters else filter(None, text.split("+")):
        if flag not in words:
            instead = f"write {''.join(words) if is_letters else '+'.join(words)} or some of them"
            raise Refused(f"there is no flag {quoted(flag)}", instead)
        bits |= words[flag]
    return bits


def _type_of(plain: Any) -> FieldType | None:  # noqa: ANN401  a field of scapy
    from scapy import fields as of_scapy  # noqa: PLC0415  it takes long to import

    if isinstance(plain, of_scapy.PacketField | of_scapy.PacketListField):
        return FieldType(Kind.LAYERS)
    if isinstance(plain, of_scapy.MultipleTypeField):
        return _type_of(plain.dflt)
    if isinstance(plain, of_scapy._FieldContainer):  # noqa: SLF001  it has no other name
        return _type_of(plain.fld)
    if isinstance(plain, of_scapy.FieldListField):
        inner = _type_of(plain.field)
        return None if inner is None else FieldType(Kind.LIST, of=inner)
    return _single(plain, of_scapy)


def _single(plain: Any, of_scapy: Any) -> FieldType | None:  # noqa: ANN401  of scapy
    if isinstance(plain, of_scapy.FlagsField):
        names = list(plain.names)
        return FieldType(Kind.FLAGS, plain.size, {each: 1 << at for at, each in enumerate(names)})
    by_name = {
        "TCPOptionsField": Kind.TCP_OPTIONS,
        "DHCPOptionsField": Kind.DHCP_OPTIONS,
        "IP6ListField": Kind.LIST,
    }
    for each in type(plain).__mro__:
        if each.__name__ in by_name:
            return FieldType(by_name[each.__name__], of=FieldType(Kind.IPV6))
    kinds = {
        of_scapy.MACField: Kind.MAC,
        of_scapy.IPField: Kind.IPV4,
        of_scapy.IP6Field: Kind.IPV6,
        of_scapy.StrField: Kind.BYTES,
    }
    for scapy_class, kind in kinds.items():
        if isinstance(plain, scapy_class):
            return FieldType(kind)
    return _number(plain, of_scapy)


def _number(plain: Any, of_scapy: Any) -> FieldType | None:  # noqa: ANN401  of scapy
    if isinstance(plain, of_scapy.BitField):
        return FieldType(Kind.NUMBER, abs(int(plain.size)), _words(plain))
    try:
        whole = isinstance(struct.unpack(plain.fmt, bytes(struct.calcsize(plain.fmt)))[0], int)
    except (struct.error, TypeError, IndexError):
        return None
    return FieldType(Kind.NUMBER, int(plain.sz * 8), _words(plain)) if whole else None


def _words(plain: Any) -> Mapping[str, int]:  # noqa: ANN401  a field of scapy
    """Return the names of numbers; ports have none, since those are the machine's."""
    words = getattr(plain, "s2i", None)
    if plain.name in {"sport", "dport"} or not isinstance(words, dict):
        return {}
    return {word: number for word, number in words.items() if isinstance(word, str)}
