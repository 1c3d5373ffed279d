"""Names of network interfaces."""

from __future__ import annotations

import socket

from nfsnitch.core.unknown import Unknown

_NONE = Unknown("the packet has no interface yet")


def name_of(ifindex: int) -> str | Unknown:
    """Return the name of an interface by its index; asked each time, since names change."""
    if not ifindex:
        return _NONE
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return Unknown(f"interface {ifindex} is gone")
