"""Rule files of any length, whose last rule is the one that decides what is measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

SERVER_ADDRESS = "192.0.2.1"
OTHER_ADDRESSES = "198.18.0.0/15"
"""The server's, too (RFC 2544)."""
FOR_ONE, FOR_CROWD, HOW_MANY = "198.18.0.0", "198.19.0.0", 1 << 16
"""The first ones of so many: enough for each connection to go to an address of its own."""
PORT, STREAM_PORT, HELD_PORT, IPERF_PORT = 9, 5001, 10, 5201
_PROGRAMS = 500
"""So many are named by the other rules: as many as a machine may well have."""
_HEAD = "version: 1\ndefault: {default}\ntimeouts: {{ask: 1h}}\n{settings}rules:\n"


def rules_text(
    count: int,
    programs: Sequence[Path],
    *,
    default: str = "deny",
    settings: str = "",
    anywhere: bool = False,
) -> str:
    """Return *count* rules: the last allows *programs* the server's ports, but for `HELD_PORT`.

    Of the server alone, or *anywhere*.

    The others are about other programs and other destinations: by program and port, by program and
    network, by network and port. *settings* are further lines of the file.
    """
    paths = ", ".join(str(path) for path in programs)
    ports = f"[{PORT}, {STREAM_PORT}, {IPERF_PORT}]"
    where = "" if anywhere else f"daddr: {SERVER_ADDRESS}, "
    last = f"name: bench, action: allow, exe: [{paths}], {where}dport: {ports}"
    rules = [*_others(count - 1), last]
    head = _HEAD.format(default=default, settings=settings)
    return head + "".join(f"  - {{{rule}}}\n" for rule in rules)


def _others(count: int) -> Iterator[str]:
    for number in range(count):
        action = ("allow", "deny", "reject")[number % 3]
        rule = f"name: rule {number}, action: {action}"
        exe = f"exe: /usr/bin/app-{number % _PROGRAMS}"
        network = f"daddr: 10.{number >> 8 & 255}.{number & 255}.0/24"
        port = f"dport: {1024 + number % 50_000}"
        yield f"{rule}, " + ", ".join(((exe, port), (exe, network), (network, port))[number % 3])
