"""Tells a service manager about our state, ``sd_notify(3)``."""

from __future__ import annotations

import os
import socket
from contextlib import suppress


def notify(state: str, *, wait_s: float = 1.0) -> None:
    """Send *state* (such as ``READY=1``) to the service manager, if there is one.

    One that does not read is waited for, *wait_s* at most, and then goes without.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    # A manager that has gone away is no reason to stop enforcing.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(wait_s)
        manager.sendto(state.encode(), address)
