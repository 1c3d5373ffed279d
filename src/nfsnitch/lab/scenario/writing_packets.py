"""Packets as scenario files have them, from which `reading_packets` makes the same ones again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nfsnitch.lab.scenario.field_values import HEX
from nfsnitch.lab.scenario.layers import Kind, field_type
from nfsnitch.lab.scenario.model import Layers, Range

_Written = dict[str, Any]


def packet_written(packet: Layers) -> _Written | list[_Written]:
    """Return a packet that is to be sent; a list where it has a layer twice."""
    parts: list[_Written] = [
        {name: _fields(name, fields, wanted=False)} for name, fields in packet.layers
    ]
    shape: _Written = {"hex": packet.prefix.hex()} if packet.prefix or not parts else {}
    if packet.fragment_bytes is not None:
        shape["fragment"] = str(packet.fragment_bytes)
    if packet.order:
        shape["order"] = [str(each) for each in packet.order]
    if packet.truncate_bytes is not None:
        shape["truncate"] = str(packet.truncate_bytes)
    names = [name for name, _ in packet.layers]
    if len(set(names)) < len(names):
        return [*parts, shape] if shape else parts
    whole: _Written = {}
    for each in parts:
        whole |= each
    return whole | shape


def wanted_written(packet: Mapping[str, Mapping[str, Any]]) -> _Written:
    """Return the layers and fields that a packet is to have."""
    return {name: _fields(name, fields, wanted=True) for name, fields in packet.items()}


def _fields(layer: str, fields: Mapping[str, Any], *, wanted: bool) -> _Written:
    return {
        name: _field(field_type(layer, name).kind, value, wanted=wanted)
        for name, value in fields.items()
    }


def _field(kind: Kind, value: Any, *, wanted: bool) -> Any:  # noqa: ANN401  of any field
    if kind is Kind.LAYERS:
        return [{name: _fields(name, fields, wanted=wanted)} for name, fields in value]
    if kind is Kind.LIST:
        return [_single(each) for each in value]
    if kind is Kind.TCP_OPTIONS:
        return [_option(name, each) for name, each in value]
    if kind is Kind.DHCP_OPTIONS:
        return [each if isinstance(each, str) else [each[0], _several(each[1:])] for each in value]
    return _single(value)


def _option(name: str | int, value: Any) -> Any:  # noqa: ANN401  of any option
    if value is None or value == b"":
        return str(name)
    return [str(name), _several(value) if isinstance(value, tuple) else _single(value)]


def _several(values: tuple[Any, ...]) -> list[str]:
    return [_single(each) for each in values]


def _single(value: Any) -> str:  # noqa: ANN401  of any field
    if isinstance(value, Range):
        return value.text
    if isinstance(value, bytes):
        return f"{HEX}{value.hex()}"
    return str(value)
