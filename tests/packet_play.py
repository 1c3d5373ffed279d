"""Packets as scenarios say them: layers with fields, and datagrams made of these."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nfsnitch.adapters.rulefile.problems import Position
from nfsnitch.lab.scenario.model import Layers

HERE = Position(0, "test.yaml", 1, 1)
SERVER = "198.51.100.2"
SERVER6 = "2001:db8:1::2"
Layer = tuple[str, Mapping[str, Any]]
Stack = tuple[Layer, ...]


def layers(*stack: Layer, **shape: Any) -> Layers:  # noqa: ANN401  of the model
    """Return a packet of these layers."""
    return Layers(HERE, stack, **shape)


def datagram(load: bytes = b"hello", **shape: Any) -> Layers:  # noqa: ANN401  of the model
    """Return a datagram to the server."""
    of_udp = ("UDP", {"sport": 53, "dport": 9})
    return layers(("IP", {"dst": SERVER}), of_udp, ("Raw", {"load": load}), **shape)


def datagram6(load: bytes, *between: Layer, **shape: Any) -> Layers:  # noqa: ANN401
    """Return a datagram to the server over IPv6, with these layers before UDP."""
    of_udp = ("UDP", {"sport": 53, "dport": 9})
    return layers(("IPv6", {"dst": SERVER6}), *between, of_udp, ("Raw", {"load": load}), **shape)
