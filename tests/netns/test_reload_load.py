"""Rules that change over and over under load."""

from __future__ import annotations

import os

import pytest

from builders import WriteRules
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import World
from reload_play import (
    THERE,
    goes_on,
    reload,
    said,
    talker,
)

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

RELOADS = 200

LOAD = """
import socket, sys
stop = False
failed = sent = slowest = 0
import select, time
while not select.select([sys.stdin], [], [], 0.004)[0]:
    began = time.monotonic()
    with socket.socket() as sock:
        sock.settimeout(5)
        try:
            sock.connect(("192.0.2.1", int(sys.argv[1])))
        except OSError:
            failed += 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", ("192.0.2.1", int(sys.argv[1])))
    slowest = max(slowest, time.monotonic() - began)
    sent += 1
print("done", sent, failed, round(slowest * 1000), flush=True)
"""
"""Connects and sends datagrams from ever new sockets until its standard input ends."""


def numbered(version: int) -> str:
    """Return rules by which records can be told apart: who decided, and what it said."""
    action = "allow" if version % 2 else "reject"
    return (
        "default: deny\nrules:\n"
        f"  - {{name: sink {version}, action: {action}, dport: {SINK_PORT}}}\n"
        f"  - {{name: echo {version}, action: allow, dport: {ECHO_PORT}}}\n"
    )


def in_force(firewall: Firewall) -> list[str]:
    """Return what the daemon has said of the generations that it has put in force."""
    return [line for line in firewall.child.stderr.lines() if " in force: " in line]


def reloaded(firewall: Firewall) -> None:
    """Have the rules read again, and wait until they are in force and all is reviewed."""
    before = in_force(firewall)
    reload(firewall)
    child = firewall.child
    child.wait_for_line(child.stderr, lambda line: " in force: " in line and line not in before, 20)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_two_hundred_reloads_under_load_leave_no_packet_without_its_generations_decision(
    world: World, services: Services, rules: WriteRules
) -> None:
    path = rules(numbered(1))
    with Firewall(world, [path]) as firewall:
        living = talker(world, "tcp", THERE, ECHO_PORT)
        loads = [Load(world, port) for port in (ECHO_PORT, SINK_PORT)]
        for version in range(2, RELOADS + 2):
            replacement = path.with_name("new")
            replacement.write_text(numbered(version), encoding="utf-8")
            replacement.rename(path)
            reloaded(firewall)
        echo, sink = [load.end() for load in loads]
        goes_on(living)
        stopped = firewall.stop()
        counters = counted(stopped)

    by_rules = [record for record in firewall.records if record["reason"] == "rule"]
    versions: dict[int, set[int]] = {}
    for record in by_rules:
        name, _, version = record["rule"].partition(" ")
        versions.setdefault(record["generation"], set()).add(int(version))
        allowed = name == "echo" or int(version) % 2
        assert record["verdict"] == ("accept" if allowed else "reject")
    # One generation, one set of rules; the file may be read once more by its change alone.
    assert {len(each) for each in versions.values()} == {1}
    by_generation = [version for _, (version,) in sorted(versions.items())]
    assert by_generation == sorted(by_generation)
    assert len(set(by_generation)) > RELOADS // 2
    assert {record["reason"] for record in firewall.records} <= {"rule", "cut"}
    came = [line.split() for line in services.arrived()]
    arrived = {tuple(words[:3]) for words in came if words[0] in {"tcp", "udp"}}
    accepted = {
        (record["proto"], record["saddr"], str(record["sport"]))
        for record in by_rules
        if record["verdict"] == "accept"
    }
    assert arrived <= accepted
    assert echo.failed == 0
    assert min(echo.sent, sink.sent) >= RELOADS
    # No stall; a busy machine may well make one SYN in tens of thousands late.
    assert max(echo.slowest_ms, sink.slowest_ms) < 3_000
    assert_one_verdict_each(counters)
    assert counters[Counter.RELOADS] >= RELOADS
    for name in (Counter.RELOADS_REFUSED, Counter.CUT_ERRORS, Counter.REVIEW_ERRORS):
        assert counters[name] == 0, name


class Load:
    """A program that opens new flows without end, and what it says in the end."""

    def __init__(self, world: World, port: int) -> None:
        reading, self._writing = os.pipe()
        argv = ["python3", "-I", "-S", "-c", LOAD, str(port)]
        self._child = world.spawn(argv, fds={0: reading})
        os.close(reading)
        self.sent = self.failed = self.slowest_ms = 0

    def end(self) -> Load:
        """End it."""
        os.close(self._writing)
        words = said(self._child, "done")
        self.sent, self.failed, self.slowest_ms = map(int, words[1:])
        return self
