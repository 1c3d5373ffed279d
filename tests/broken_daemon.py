"""The real daemon with one thing in it that goes wrong, on a sign from the test.

The patches stand in front of the real command line, in the daemon's own process; all the rest is as
it is. A test chooses one and gives it to `broken`.
"""

from __future__ import annotations

import sys

from nfsnitch.lab.firewall import Firewall

SIGN = 666
"""Destination port of the packet that sets it off."""

_AT_SIGN = f"""
from nfsnitch.worker import Worker
arrived = Worker.packet_arrived
def packet_arrived(self, packet):
    if packet.payload[22:24] == ({SIGN}).to_bytes(2, "big"):
        go_wrong(self, packet)
    arrived(self, packet)
Worker.packet_arrived = packet_arrived
"""
HANGS = f"""
def go_wrong(worker, packet):
    while True:
        pass
{_AT_SIGN}
"""
RAISES_IN_THE_LOOP = f"""
import asyncio
def failed():
    raise RuntimeError("nobody has foreseen this")
def go_wrong(worker, packet):
    loop.call_soon(failed)
from nfsnitch.daemon import Daemon
enforce = Daemon.enforce
def daemon_enforces(self):
    global loop
    loop = self._loop
    enforce(self)
Daemon.enforce = daemon_enforces
{_AT_SIGN}
"""
MAP_FULL = """
from nfsnitch.daemon import Daemon
enforce = Daemon.enforce
def daemon_enforces(self):
    owners = self._ground.owners._programs.owners
    number, (key_bytes, value_bytes) = 1 << 60, (owners._key_bytes, owners._value_bytes)
    try:
        while True:
            owners.put(number.to_bytes(key_bytes, "little"), bytes(value_bytes))
            number += 1
    except OSError:
        pass
    enforce(self)
Daemon.enforce = daemon_enforces
"""
NO_MEMORY = """
import nfsnitch.worker
parse = nfsnitch.worker.parse
def parse_without_memory(payload):
    if payload[22:24] == (666).to_bytes(2, "big"):
        raise MemoryError
    return parse(payload)
nfsnitch.worker.parse = parse_without_memory
"""
CLOCK_JUMPS = f"""
from nfsnitch.adapters.clock import Clock
real, ahead_ns = Clock.now, 0
def jumping_clock(self):
    now = real(self)
    return now._replace(wall_ns=now.wall_ns + ahead_ns)
def go_wrong(worker, packet):
    global ahead_ns
    ahead_ns = 7_200_000_000_000
Clock.now = jumping_clock
{_AT_SIGN}
"""
SLOW = """
import time
from nfsnitch.worker import Worker
arrived = Worker.packet_arrived
def packet_arrived(self, packet):
    ends = time.monotonic_ns() + 200_000
    arrived(self, packet)
    while time.monotonic_ns() < ends:
        pass
Worker.packet_arrived = packet_arrived
"""
"""A worker that takes 200 us for each packet."""


def broken(firewall: Firewall, patch: str) -> Firewall:
    """Return *firewall*, which is not started yet, with *patch* in it."""
    program = f"{patch}\nimport sys\nfrom nfsnitch.cli import main\nsys.exit(main())"
    firewall.argv = (sys.executable, "-c", program, *firewall.argv[3:])
    return firewall
