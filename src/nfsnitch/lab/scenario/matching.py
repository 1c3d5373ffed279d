"""Whether a packet that was captured is like one that a scenario speaks of."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from nfsnitch.lab.scenario.layers import Kind, field_type, flag_bits, layer_class, ready
from nfsnitch.lab.scenario.model import Range

SOME_OF = "~"
"""Before flags: these are set, whatever else is."""
_ETHERNET_BYTES = 14
_FAMILIES = ("IGMP",)
"""Layers of which scapy has a class for each kind. Others' classes stand for other layers, as
IPerror is an IP."""
_PAYLOAD = ("Raw", "Padding")


def matches(packet: Any, wanted: Mapping[str, Mapping[str, Any]]) -> bool:  # noqa: ANN401  of scapy
    """Tell whether *packet* has all layers of *wanted*, each with its fields.

    *packet* is one of scapy's, or the bytes of an Ethernet frame. A number is equal, or lies in a
    `Range`; flags are exactly those, or with ``~`` before them, these and perhaps more; an address
    is equal, or in a network; bytes are contained. What ``Raw`` contains is looked for in all that
    follows the layer named before it, whatever scapy takes it for.
    """
    came_late = ready([*wanted, "Ether"])
    if isinstance(packet, bytes):
        if len(packet) < _ETHERNET_BYTES:
            return False
        packet = layer_class("Ether")(packet)
    elif came_late:
        packet = type(packet)(bytes(packet))
    return _has(packet, list(wanted.items()))


def _has(packet: Any, wanted: list[tuple[str, Mapping[str, Any]]]) -> bool:  # noqa: ANN401  of scapy
    innermost = packet
    for name, fields in wanted:
        if name in _PAYLOAD:
            if not _follows(packet, innermost, name, fields):
                return False
            continue
        found = next((each for each in _layers(packet) if _is_like(each, name, fields)), None)
        if found is None:
            return False
        innermost = found
    return True


def _follows(packet: Any, layer: Any, name: str, fields: Mapping[str, Any]) -> bool:  # noqa: ANN401  of scapy
    content = bytes(layer.payload) if layer is not packet or len(fields) == 0 else bytes(packet)
    if name == "Padding":
        content = b"".join(bytes(each) for each in _layers(packet) if type(each).__name__ == name)
    part = _as_bytes(fields.get("load", b""))
    return bool(content) and part in content


def _layers(packet: Any) -> Iterator[Any]:  # noqa: ANN401  of scapy
    """Yield the layers of a packet, and those in their fields, the outermost first."""
    layer = packet
    while layer and type(layer).__name__ != "NoPayload":
        yield layer
        for field in layer.packetfields:
            inside = layer.getfieldval(field.name)
            for each in inside if isinstance(inside, list) else [inside]:
                if hasattr(each, "packetfields"):
                    yield from _layers(each)
        layer = layer.payload


def _is_like(layer: Any, name: str, fields: Mapping[str, Any]) -> bool:  # noqa: ANN401  of scapy
    wanted_class = layer_class(name)
    is_one = type(layer) is wanted_class or (name in _FAMILIES and isinstance(layer, wanted_class))
    return is_one and all(
        _fits(name, field, layer.getfieldval(field), wanted) for field, wanted in fields.items()
    )


def _fits(layer: str, field: str, actual: Any, wanted: Any) -> bool:  # noqa: ANN401  of any field
    if actual is None:
        return False
    kind = field_type(layer, field).kind
    if kind is Kind.FLAGS and isinstance(wanted, str):
        bits = flag_bits(layer, field, wanted.removeprefix(SOME_OF))
        return int(actual) & bits == bits if wanted.startswith(SOME_OF) else int(actual) == bits
    if isinstance(wanted, Range):
        return float(actual) in wanted
    if isinstance(wanted, int):
        return bool(int(actual) == wanted)
    return _COMPARED.get(kind, _contains)(actual, wanted)


def _lies_in(actual: Any, wanted: Any) -> bool:  # noqa: ANN401  of any field
    return ip_address(actual) in ip_network(wanted)


def _has_options(actual: Any, wanted: Any) -> bool:  # noqa: ANN401  of any field
    there = list(map(_plain, actual))
    return all(_plain(each) in there for each in wanted)


def _is_equal(actual: Any, wanted: Any) -> bool:  # noqa: ANN401  of any field
    return bool(_plain(actual) == _plain(wanted))


def _is_address(actual: Any, wanted: Any) -> bool:  # noqa: ANN401  of any field
    return str(actual).lower() == str(wanted).lower()


def _contains(actual: Any, wanted: Any) -> bool:  # noqa: ANN401  of any field
    return _as_bytes(wanted) in _as_bytes(actual)


_COMPARED = {
    Kind.IPV4: _lies_in,
    Kind.IPV6: _lies_in,
    Kind.TCP_OPTIONS: _has_options,
    Kind.DHCP_OPTIONS: _has_options,
    Kind.LIST: _is_equal,
    Kind.MAC: _is_address,
}


def _plain(value: Any) -> Any:  # noqa: ANN401  of an option
    """Return the value in the one form that scapy and scenarios are compared in."""
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return value.encode() if isinstance(value, str) else value


def _as_bytes(value: Any) -> bytes:  # noqa: ANN401  of any field
    if isinstance(value, list):
        return b"".join(map(_as_bytes, value))
    return value if isinstance(value, bytes) else str(value).encode()
