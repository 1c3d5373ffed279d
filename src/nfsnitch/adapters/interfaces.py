"""Names of network interfaces."""

from __future__ import annotations

import socket

from nfsnitch.core.unknown import Unknown

_NONE = Unknown("the packet has no interface yet")


class Interfaces:
    """Names by index, remembered until somebody says that they may have changed."""

    def __init__(self) -> None:
        self._names: dict[int, str | Unknown] = {}

    def forget(self) -> None:
        """Ask the kernel again from here on: interfaces come, go and are renamed."""
        self._names.clear()

    def name_of(self, ifindex: int) -> str | Unknown:
        """Return the name of an interface by its index."""
        if ifindex not in self._names:
            self._names[ifindex] = _name_of(ifindex)
        return self._names[ifindex]


def _name_of(ifindex: int) -> str | Unknown:
    if not ifindex:
        return _NONE
    try:
        return socket.if_indextoname(ifindex)
    except OSError:
        return Unknown(f"interface {ifindex} is gone")
