"""Names of hosts as programs write them."""

from __future__ import annotations

import re
from ipaddress import ip_address

from nfsnitch.core.packet import Malformed

MAX_CHARACTERS = 253
"""Of a name without its final dot (RFC 1035, 2.3.4)."""

_NUMBERS = re.compile(r"(?:0x[0-9a-f]*|[0-9]+)(?:\.(?:0x[0-9a-f]*|[0-9]+)){0,3}", re.ASCII)
"""What inet_aton(3) takes for an address, among others ``127.1``."""
_NAME = re.compile(r"[0-9a-z_-]{1,63}(?:\.[0-9a-z_-]{1,63})*", re.ASCII)


def host_name(text: str) -> str | Malformed | None:
    """Return a name as `core.name.Name.text` has it; None: it is an address. Never raises."""
    if len(text) > MAX_CHARACTERS + 1:
        return Malformed(f"it has more than {MAX_CHARACTERS} characters")
    name = text.removesuffix(".")
    try:
        # By IDNA 2003, which Python has: of few names the C library (2008) thinks otherwise.
        name = (name if name.isascii() else name.encode("idna").decode("ascii")).lower()
    except UnicodeError:
        return Malformed("it is no name of a host")
    if _is_address(name):
        return None
    if len(name) > MAX_CHARACTERS or _NAME.fullmatch(name) is None:
        return Malformed("it is no name of a host")
    return name


def _is_address(name: str) -> bool:
    if _NUMBERS.fullmatch(name) is not None:
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
