"""Packets in scenario files: layers and their fields, to send and to look for."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_network
from typing import Any, Final

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar
from nfsnitch.adapters.rulefile.problems import Refused, closest, quoted
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.layers import (
    LAYERS,
    QUOTED,
    FieldType,
    Kind,
    field_type,
    flag_bits,
    layer_class,
)
from nfsnitch.lab.scenario.matching import SOME_OF
from nfsnitch.lab.scenario.model import Layers, Range
from nfsnitch.lab.scenario.packets import PacketError, build
from nfsnitch.lab.scenario.reading_nodes import Nodes, plain

HEX: Final = "hex:"
MOST_FRAGMENTS: Final = 1_000
_SHAPE = ("hex", "fragment", "order", "truncate")
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII | re.IGNORECASE)
_NUMBER = re.compile(r"0[xX][0-9a-fA-F]+|[0-9]+", re.ASCII)
_A_LAYER = "write as in {UDP: {dport: 53}}"

Typed = tuple[tuple[str, Mapping[str, Any]], ...]


@dataclass(frozen=True, slots=True)
class Shape:
    """What becomes of the bytes of a packet."""

    fragment_bytes: int | None = None
    order: tuple[int, ...] = ()
    truncate_bytes: int | None = None


def read_shape(fields: Mapping[str, Node], nodes: Nodes, otherwise: Shape) -> Shape:
    """Return what *fields* says of a packet's bytes; what it does not say is as *otherwise*."""
    number = values.whole(0, MOST_FRAGMENTS)
    order = nodes.values(fields.get("order"), "order", number)
    return Shape(
        nodes.value(
            fields.get("fragment"), "fragment", values.whole(8, 65535), otherwise.fragment_bytes
        ),
        order if "order" in fields else otherwise.order,
        nodes.value(
            fields.get("truncate"), "truncate", values.whole(1, 65535), otherwise.truncate_bytes
        ),
    )


def read_packet(node: Node, nodes: Nodes, around: Shape, *, framed: bool) -> Layers | None:
    """Return the packet that is written at *node*, which has been built once to see that it can be.

    With *framed* a packet that begins with no layer of frames gets an Ethernet header.
    """
    pairs = nodes.pairs(node, "packet", _A_LAYER)
    if pairs is None:
        return None
    noted = nodes.problems.count
    beside = {key.text: each for key, each in pairs.items() if key.text in _SHAPE}
    shape = read_shape(beside, nodes, around)
    typed = _layers([(key.scalar, each) for key, each in pairs.items()], nodes, _SHAPE)
    prefix = nodes.value(beside.get("hex"), "hex", _hex, b"")
    if framed and typed and typed[0][0] not in {"Ether", "ARP"}:
        typed = (("Ether", {}), *typed)
    if framed and typed and typed[0][0] == "ARP":
        typed = (("Ether", {}), *typed)
    layers = Layers(
        node.position, typed, shape.fragment_bytes, shape.order, shape.truncate_bytes, prefix
    )
    if not typed and "hex" not in beside:
        nodes.refuse(node, "packet", Refused("it has neither layers nor bytes", _A_LAYER))
    if nodes.problems.count == noted:
        _try(layers, node, nodes)
    return layers


def read_wanted(node: Node, nodes: Nodes) -> Mapping[str, Mapping[str, Any]]:
    """Return the layers and fields that a packet is to have: numbers are ranges."""
    pairs = nodes.pairs(node, "packet", _A_LAYER) or {}
    if not pairs and isinstance(node, MappingNode):
        nodes.refuse(node, "packet", Refused("any packet is like it", _A_LAYER))
    return dict(_layers([(key.scalar, each) for key, each in pairs.items()], nodes, wanted=True))


def _try(layers: Layers, node: Node, nodes: Nodes) -> None:
    try:
        build(layers)
    except PacketError as error:
        nodes.refuse(node, "packet", Refused(str(error), "write it otherwise"))


def _layers(
    pairs: list[tuple[Scalar, Node]],
    nodes: Nodes,
    beside: tuple[str, ...] = (),
    *,
    wanted: bool = False,
) -> Typed:
    found = []
    for key, node in pairs:
        if key.text in beside:
            continue
        words = {*LAYERS, *beside}
        what = f"layer {quoted(key.text)}"
        if key.text not in LAYERS and closest(key.text, beside, ""):
            refused = Refused("there is no such layer", closest(key.text, words, _A_LAYER))
            nodes.refuse(key, what, refused)
            continue
        name = nodes.parsed(key, what, _layer, None)
        fields = None if name is None else _fields(name, node, nodes, wanted=wanted)
        if name is not None and fields is not None:
            found.append((name, fields))
    return tuple(found)


def _layer(name: str) -> str:
    """Return the name of a layer that scenarios may have, with scapy's module of it imported."""
    layer_class(name)
    return name


def _fields(layer: str, node: Node, nodes: Nodes, *, wanted: bool) -> Mapping[str, Any] | None:
    if isinstance(node, Scalar) and not node.text:
        return {}
    pairs = nodes.pairs(node, f"layer {layer}", "write {} where there is nothing to say")
    if pairs is None:
        return None
    found = {}
    for key, each in pairs.items():
        try:
            of_field = field_type(layer, key.text)
        except Refused as refused:
            nodes.refuse(key.scalar, f"field {quoted(key.text)} of {layer}", refused)
            continue
        what = f"{layer}.{key.text}"
        if of_field.kind is Kind.LAYERS:
            found[key.text] = _nested(each, what, nodes, wanted=wanted)
            continue
        try:
            found[key.text] = _value(of_field, (layer, key.text), plain(each), wanted)
        except Refused as refused:
            said = f" {quoted(each.text)}" if isinstance(each, Scalar) else ""
            nodes.refuse(each, f"{what}{said}", refused)
    if layer in QUOTED and not wanted:
        for missing in sorted({"src", "dst"} - found.keys()):
            refused = Refused(f"it has no {missing}", "write both addresses of the quoted packet")
            nodes.refuse(node, f"layer {layer}", refused)
    return found


def _nested(node: Node, what: str, nodes: Nodes, *, wanted: bool) -> Typed:
    """Return the layers in a field: a mapping of them, or a list of such mappings."""
    if wanted:
        instead = "write the layer that is in it beside this one"
        nodes.refuse(node, what, Refused("it is a list of layers", instead))
        return ()
    found: list[tuple[str, Mapping[str, Any]]] = []
    for each in (node,) if isinstance(node, MappingNode) else nodes.items(node, what):
        pairs = nodes.pairs(each, what, "write as in [{DNSQR: {qname: example.test}}]") or {}
        found += _layers([(key.scalar, value) for key, value in pairs.items()], nodes)
    return tuple(found)


def _value(of_field: FieldType, place: tuple[str, str], given: Any, wanted: bool) -> Any:  # noqa: ANN401, FBT001
    """Return the value of a field as scapy takes it, or as it is looked for."""
    if of_field.kind is Kind.TCP_OPTIONS:
        return tuple(_tcp_option(name, each) for name, each in _options(given))
    if of_field.kind is Kind.DHCP_OPTIONS:
        return tuple(_dhcp_option(name, each) for name, each in _options(given))
    if of_field.kind is Kind.LIST and of_field.of is not None:
        if not isinstance(given, list):
            raise Refused("it is a list", "write it between [ and ]")
        return tuple(_value(of_field.of, place, each, False) for each in given)  # noqa: FBT003
    if not isinstance(given, str):
        raise Refused("it is a single value", "write one value")
    if of_field.kind is Kind.NUMBER:
        return _number(of_field, given, wanted)
    if of_field.kind is Kind.FLAGS:
        return _flags(of_field, place, given, wanted)
    return _TEXTS[of_field.kind, wanted](given)


def _number(of_field: FieldType, text: str, wanted: bool) -> int | Range:  # noqa: FBT001
    most = (1 << of_field.bits) - 1
    if text in of_field.words:
        number = of_field.words[text]
    elif wanted and _NUMBER.fullmatch(text) is None and not text[:1].isalpha():
        return values.range_of(text)
    elif of_field.words and text[:1].isalpha():
        otherwise = f"write a number from 0 to {most}"
        raise Refused("no number has that name", closest(text, of_field.words, otherwise))
    else:
        number = values.whole(0, most)(text)
    return Range(number, number, text) if wanted else number


def _flags(of_field: FieldType, place: tuple[str, str], text: str, wanted: bool) -> int | str:  # noqa: FBT001
    if _NUMBER.fullmatch(text) is not None and not wanted:
        return values.whole(0, (1 << of_field.bits) - 1)(text)
    bits = flag_bits(*place, text.removeprefix(SOME_OF) if wanted else text)
    return text if wanted else bits


def _mac(text: str) -> str:
    if _MAC.fullmatch(text) is None:
        raise Refused("it is an Ethernet address", "write as in 02:00:00:00:00:01")
    return text.lower()


def _ipv4(text: str) -> str:
    try:
        return str(IPv4Address(text))
    except ValueError:
        raise Refused("it is an IPv4 address", "write as in 192.0.2.1") from None


def _ipv6(text: str) -> str:
    try:
        if "%" not in text:
            return str(IPv6Address(text))
    except ValueError:
        pass
    raise Refused("it is an IPv6 address", "write as in 2001:db8::1")


def _network(text: str) -> str:
    try:
        network = ip_network(text)
    except ValueError:
        instead = "write as in 192.0.2.1 or 192.0.2.0/24"
        raise Refused("it is an address or a network", instead) from None
    return str(network.network_address) if "/" not in text else str(network)


def _bytes(text: str) -> bytes:
    return _hex(text.removeprefix(HEX)) if text.startswith(HEX) else text.encode()


def _text_or_bytes(text: str) -> str | bytes:
    return _bytes(text) if text.startswith(HEX) else text


def _hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise Refused("it is no hexadecimal", "write two digits a byte, as in 45000014") from None


_TEXTS: Final[Mapping[tuple[Kind, bool], Callable[[str], str | bytes]]] = {
    (Kind.MAC, False): _mac,
    (Kind.MAC, True): _mac,
    (Kind.IPV4, False): _ipv4,
    (Kind.IPV4, True): _network,
    (Kind.IPV6, False): _ipv6,
    (Kind.IPV6, True): _network,
    (Kind.BYTES, False): _bytes,
    (Kind.BYTES, True): _bytes,
    (Kind.TEXT_OR_BYTES, False): _text_or_bytes,
    (Kind.TEXT_OR_BYTES, True): _bytes,
}


def _options(given: Any) -> list[tuple[str, Any]]:  # noqa: ANN401  it is a value of YAML
    """Return names and values of options: ``[{MSS: 1460}, NOP]`` or ``{MSS: 1460}``."""
    found: list[tuple[str, Any]] = []
    for each in given if isinstance(given, list) else [given]:
        if isinstance(each, str) and each:
            found.append((each, None))
        elif isinstance(each, dict):
            found += each.items()
        else:
            raise Refused("an option is a name, or a name and its value", "write as in {MSS: 1460}")
    return found


def _tcp_option(name: str, value: Any) -> tuple[str | int, Any]:  # noqa: ANN401  it is a value of YAML
    from scapy.layers.inet import TCPOptions  # noqa: PLC0415  it takes long to import

    if _NUMBER.fullmatch(name) is not None:
        return values.whole(0, 255)(name), b"" if value is None else _bytes(_single(value))
    if name not in TCPOptions[1]:
        raise Refused(
            f"there is no option {quoted(name)}", closest(name, TCPOptions[1], "write its number")
        )
    if name == "SAckOK":
        return name, b""
    return name, None if value in {None, ""} else _numbers(value)


def _dhcp_option(name: str, value: Any) -> Any:  # noqa: ANN401  it is a value of YAML
    from scapy.layers.dhcp import DHCPRevOptions  # noqa: PLC0415  it takes long to import

    if name in {"end", "pad"}:
        return name
    if name not in DHCPRevOptions:
        instead = closest(name, DHCPRevOptions, "write one that DHCP has (RFC 2132)")
        raise Refused(f"there is no option {quoted(name)}", instead)
    return (name, *(_of_dhcp(_single(each)) for each in _list(value)))


def _of_dhcp(text: str) -> int | str | bytes:
    return int(text, 0) if re.fullmatch("0|[1-9][0-9]{0,9}", text) else _text_or_bytes(text)


def _numbers(value: Any) -> Any:  # noqa: ANN401  it is a value of YAML
    if isinstance(value, list):
        return tuple(values.whole(0, (1 << 32) - 1)(_single(each)) for each in value)
    text = _single(value)
    return _bytes(text) if text.startswith(HEX) else values.whole(0, (1 << 32) - 1)(text)


def _list(value: Any) -> list[Any]:  # noqa: ANN401  it is a value of YAML
    return [] if value is None else value if isinstance(value, list) else [value]


def _single(value: Any) -> str:  # noqa: ANN401  it is a value of YAML
    if not isinstance(value, str):
        raise Refused("an option's value is a text, a number or a list of them", "write one")
    return value
