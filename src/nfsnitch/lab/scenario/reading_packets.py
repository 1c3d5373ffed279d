"""Packets in scenario files: layers and their fields, to send and to look for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar, Sequence
from nfsnitch.adapters.rulefile.problems import Refused, closest, quoted
from nfsnitch.lab.scenario import reading_values as values
from nfsnitch.lab.scenario.field_values import field_value, hexadecimal
from nfsnitch.lab.scenario.layers import LAYERS, QUOTED, Kind, field_type, layer_class
from nfsnitch.lab.scenario.model import Layers
from nfsnitch.lab.scenario.packets import PacketError, build
from nfsnitch.lab.scenario.reading_nodes import Nodes, plain

MOST_FRAGMENTS: Final = 1_000
_SHAPE = ("hex", "fragment", "order", "truncate")
_IN_FRAMES = ("ARP", "Dot1Q")
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


def read_packet(node: Node, nodes: Nodes, around: Shape, *, framed: bool) -> Layers:
    """Return the packet that is written at *node*, which has been built once to see that it can be.

    It is a mapping of layers, or a list of such mappings where a layer comes more than once. With
    *framed*, or where only frames have its first layer, it gets an Ethernet header if it has none.
    """
    noted = nodes.problems.count
    pairs = _pairs(node, nodes)
    beside = {key.text: each for key, each in pairs if key.text in _SHAPE}
    shape = read_shape(beside, nodes, around)
    typed = _layers(pairs, nodes, _SHAPE)
    prefix = nodes.value(beside.get("hex"), "hex", hexadecimal, b"")
    if typed and typed[0][0] != "Ether" and not prefix and (framed or typed[0][0] in _IN_FRAMES):
        typed = (("Ether", {}), *typed)
    layers = Layers(
        node.position, typed, shape.fragment_bytes, shape.order, shape.truncate_bytes, prefix
    )
    if not pairs or (nodes.problems.count == noted and not typed and "hex" not in beside):
        nodes.refuse(node, "packet", Refused("it has neither layers nor bytes", _A_LAYER))
    if nodes.problems.count == noted:
        _try(layers, node, nodes)
    return layers


def _pairs(node: Node, nodes: Nodes) -> list[tuple[Scalar, Node]]:
    """Return the layers of a mapping, or of a list of mappings where some come twice."""
    found = []
    for each in node.items if isinstance(node, Sequence) else (node,):
        pairs = nodes.pairs(each, "packet", _A_LAYER) or {}
        found += [(key.scalar, value) for key, value in pairs.items()]
    return found


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
            found[key.text] = field_value(layer, key.text, plain(each), wanted=wanted)
        except Refused as refused:
            said = f" {quoted(each.text)}" if isinstance(each, Scalar) else ""
            nodes.refuse(each, f"{what}{said}", refused)
    if layer in QUOTED and not wanted:
        _check_quoted(layer, found, node, nodes)
    return found


def _check_quoted(layer: str, fields: Mapping[str, Any], node: Node, nodes: Nodes) -> None:
    for missing in sorted({"src", "dst"} - fields.keys()):
        refused = Refused(f"it has no {missing}", "write both addresses of the quoted packet")
        nodes.refuse(node, f"layer {layer}", refused)


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
