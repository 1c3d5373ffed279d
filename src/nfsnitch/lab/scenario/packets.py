"""Packets as scenarios write them: built into bytes, the same ones each time.

Nothing is looked up for them: neither routes nor neighbours nor names of this machine.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.core.text import shown
from nfsnitch.lab.scenario.fragments import PacketError, fragments
from nfsnitch.lab.scenario.layers import LINK, QUOTED, Kind, field_type, layer_class
from nfsnitch.lab.scenario.matching import matches
from nfsnitch.lab.scenario.model import Layers

__all__ = ["Defaults", "PacketError", "build", "is_frame", "matches"]

BROADCAST: Final = "ff:ff:ff:ff:ff:ff"
_NOT_IP = ("ARP", *LINK)


@dataclass(frozen=True, slots=True)
class Defaults:
    """Addresses of packets that say none."""

    ipv4: str = "192.0.2.2"
    """Source of IPv4, and the sender's address in ARP."""
    ipv6: str = "2001:db8::2"
    link_local: str = "fe80::2"
    """Source of IPv6 where the destination is link-local, or multicast of the link."""
    mac: str = "02:00:00:00:00:01"
    """The sender's."""
    to_mac: str = BROADCAST
    """Where frames go."""


def is_frame(layers: Layers) -> bool:
    """Tell whether the packet begins with a layer that only frames have."""
    return bool(layers.layers) and layers.layers[0][0] in _NOT_IP


def build(layers: Layers, defaults: Defaults | None = None) -> list[bytes]:
    """Return the packet, or its fragments, as bytes: frames if it begins as one, else IP packets.

    Raises:
        PacketError: it cannot be built as it is written.

    """
    try:
        packets = list(_whole_or_fragments(layers, defaults or Defaults()))
    except PacketError:
        raise
    except Refused as refused:
        raise PacketError(str(refused)) from None
    except Exception as error:  # scapy raises what it happens to meet
        reason = shown(str(error)) or type(error).__name__
        raise PacketError(f"scapy cannot build it: {reason}") from error
    ordered = _ordered(packets, layers.order)
    return [(layers.prefix + each)[: layers.truncate_bytes] for each in ordered]


def _ordered(packets: list[bytes], order: tuple[int, ...]) -> list[bytes]:
    if order and max(order) >= len(packets):
        raise PacketError(f"there is no fragment {max(order)}: they are 0 to {len(packets) - 1}")
    return [packets[at] for at in order] if order else packets


def _whole_or_fragments(layers: Layers, defaults: Defaults) -> Iterator[bytes]:
    if not layers.layers:
        yield b""
        return
    logging.getLogger("scapy").setLevel(logging.ERROR)
    packet = _stacked(layers.layers, defaults)
    whole = bytes(packet)
    if layers.fragment_bytes is None:
        yield whole
        return
    names = [name for name, _ in layers.layers]
    of_ip = next((name for name in names if name in {"IP", "IPv6"}), None)
    if of_ip is None:
        raise PacketError("only IP packets have fragments")
    link_bytes = len(whole) - len(bytes(packet[layer_class(of_ip)]))
    for each in fragments(whole[link_bytes:], layers.fragment_bytes):
        yield whole[:link_bytes] + each


def _stacked(layers: tuple[tuple[str, Mapping[str, Any]], ...], defaults: Defaults) -> Any:  # noqa: ANN401  of scapy
    packet = None
    for name, fields in layers:
        layer = _layer(name, fields, defaults)
        packet = layer if packet is None else packet / layer
    return packet


def _layer(name: str, fields: Mapping[str, Any], defaults: Defaults) -> Any:  # noqa: ANN401  of scapy
    filled = _addresses(name, fields, defaults) | dict(fields)
    made = {field: _made(name, field, value, defaults) for field, value in filled.items()}
    return layer_class(name)(**made)


def _made(layer: str, field: str, value: Any, defaults: Defaults) -> Any:  # noqa: ANN401  of any field
    """Return what scapy wants for a value."""
    kind = field_type(layer, field).kind
    if kind is Kind.LAYERS:
        return [_layer(name, fields, defaults) for name, fields in value]
    if kind is Kind.BYTES and isinstance(value, str):
        return value.encode()
    return list(value) if isinstance(value, tuple) else value


def _addresses(name: str, fields: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    """Return the addresses of a layer for which scapy would ask this machine."""
    if name == "Ether":
        return {"src": defaults.mac, "dst": defaults.to_mac}
    if name == "ARP":
        return {"hwsrc": defaults.mac, "psrc": defaults.ipv4}
    if name in {"ICMPv6NDOptSrcLLAddr", "ICMPv6NDOptDstLLAddr"}:
        return {"lladdr": defaults.mac}
    if name in {"IP", "IPv6", *QUOTED}:
        return _sources(name, fields, defaults)
    return {}


def _sources(name: str, fields: Mapping[str, Any], defaults: Defaults) -> dict[str, Any]:
    missing = {"src", "dst"} - fields.keys() if name in QUOTED else {"dst"} - fields.keys()
    if missing:
        raise PacketError(f"{name} says nothing of its {' and '.join(sorted(missing))}")
    if name == "IP":
        return {"src": defaults.ipv4}
    if name == "IPv6":
        is_near = fields["dst"].startswith(("fe80:", "ff02:"))
        return {"src": defaults.link_local if is_near else defaults.ipv6}
    return {}
