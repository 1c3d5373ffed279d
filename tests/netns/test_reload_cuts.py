"""Flows under way that new rules refuse are cut, and the rest live on."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from builders import WriteRules
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import CLIENT, SERVER, World
from reload_play import (
    AT_MOST_S,
    STREAM_PORT,
    TALKER,
    THERE,
    deciding,
    goes_on,
    moment,
    reload,
    said,
    talker,
)

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

STREAMER = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("192.0.2.1", int(sys.argv[1])))
print("ready", flush=True)
_, peer = sock.recvfrom(99)
sock.settimeout(0.005)
got = 1
while True:
    try:
        sock.recvfrom(99)
        got += 1
        print("got", got, flush=True)
    except TimeoutError:
        pass
    sock.sendto(b"y", peer)
"""
"""A server that goes on sending whether or not anything comes."""


@pytest.mark.parametrize("action", ["deny", "reject"])
@pytest.mark.parametrize("host", [THERE, "2001:db8::1"])
def test_a_denied_connection_is_cut_within_a_second_and_its_peer_hears_of_it(
    world: World, services: Services, rules: WriteRules, action: str, host: str
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    with Firewall(world, [path]) as firewall:
        program = talker(world, "tcp", host, ECHO_PORT)
        goes_on(program)
        path.write_text(deciding(action), encoding="utf-8")
        asked = reload(firewall)
        ended = said(program, "ended")
        record = firewall.wait_for_record(having(pid=program.pid, reason="cut"))
        listed = world.run(["ss", "-Htn", "dport", "=", str(ECHO_PORT)], netns=CLIENT).stdout
        there = world.run(["ss", "-Htn", "sport", "=", str(ECHO_PORT)], netns=SERVER).stdout
        counters = counted(firewall.stop())

    assert float(ended[1]) - asked < AT_MOST_S
    assert moment(record) - asked < AT_MOST_S
    assert ended[2] == "ConnectionAbortedError"
    assert (record["verdict"], record["action"], record["rule"]) == ("drop", action, "echo")
    assert (record["generation"], record["packets"], record["daddr"]) == (2, 0, host)
    assert listed == there == ""  # the reset has reached the other end
    assert counters[Counter.FLOWS_CUT] == 1
    assert counters[Counter.CUT_ERRORS] == counters[Counter.SOCKETS_SPARED] == 0


@pytest.mark.parametrize("how", ["connect", "sendto"])
def test_denied_datagrams_stop_within_a_second_though_the_other_end_goes_on_sending(
    world: World, rules: WriteRules, how: str
) -> None:
    server = world.spawn(["python3", "-I", "-S", "-c", STREAMER, str(STREAM_PORT)], netns=SERVER)
    said(server, "ready")
    path = rules(deciding("allow"))
    with Firewall(world, [path]) as firewall:
        program = talker(world, "udp", THERE, STREAM_PORT, how)
        goes_on(program)
        path.write_text(deciding("deny"), encoding="utf-8")
        asked = reload(firewall)
        record = firewall.wait_for_record(having(pid=program.pid, reason="cut"))
        if how == "connect":
            assert said(program, "ended")[2] == "ConnectionAbortedError"
        else:
            denied = firewall.wait_for_record(having(pid=program.pid, reason="rule", generation=2))
            assert denied["verdict"] == "drop"
            got = server.stdout.lines()[-1]
            goes_on(program)
            assert server.stdout.lines()[-1] == got
        counters = counted(firewall.stop())

    assert moment(record) - asked < AT_MOST_S
    assert counters[Counter.FLOWS_CUT] == 1
    assert counters[Counter.CUT_ERRORS] == counters[Counter.TRUST_ERRORS] == 0
    assert_one_verdict_each(counters)


def test_datagrams_that_were_cut_flow_again_when_the_rules_allow_them_again(
    world: World, services: Services, rules: WriteRules
) -> None:
    path = rules(deciding("allow"))
    with Firewall(world, [path], extra=("--no-cache",)) as firewall:
        program = talker(world, "udp", THERE, ECHO_PORT, "sendto")
        path.write_text(deciding("deny"), encoding="utf-8")
        reload(firewall)
        firewall.wait_for_record(having(pid=program.pid, reason="rule", generation=2))
        path.write_text(deciding("allow"), encoding="utf-8")
        reload(firewall)
        again = firewall.wait_for_record(having(pid=program.pid, reason="rule", generation=3))
        arrived = len(services.arrived())
        goes_on(program)
        counters = counted(firewall.stop())

    assert again["verdict"] == "accept"
    assert len(services.arrived()) >= arrived + 10
    assert counters[Counter.TRUSTED] == 2  # trusted anew
    assert counters[Counter.TRUST_ERRORS] == 0


def test_what_the_new_rules_allow_lives_on_and_so_does_what_is_none_of_ours(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    other = world.own_copy("/usr/bin/python3", "other-python")
    path = rules(deciding("allow"))
    inbound = "import socket\ns = socket.create_server(('', 6000))\nprint('ready', flush=True)\n"
    inbound += "c, _ = s.accept()\nwhile d := c.recv(9): c.send(d)\n"
    with Firewall(world, [path]) as firewall:
        server = world.spawn(["python3", "-I", "-S", "-c", inbound])
        said(server, "ready")
        argv = [str(other), "-I", "-S", "-c", TALKER, "tcp", THERE, str(ECHO_PORT), "connect"]
        allowed = world.spawn(argv)
        denied = talker(world, "tcp", THERE, ECHO_PORT)
        script = ["python3", "-I", "-S", "-c", TALKER, "tcp", "192.0.2.2", "6000", "connect"]
        from_outside = world.spawn(script, netns=SERVER)
        for each in (allowed, from_outside):
            goes_on(each)

        path.write_text(
            deciding("deny", f"{{name: other, action: allow, exe: {other}}}"), encoding="utf-8"
        )
        reload(firewall)

        said(denied, "ended")
        goes_on(allowed)
        goes_on(from_outside)
        counters = counted(firewall.stop())

    assert counters[Counter.FLOWS_CUT] == 1


WITHOUT_DESTROY = """
import sys
from nfsnitch.adapters.sock_destroy import SockDestroy
SockDestroy._tried = lambda self: "for the test"
from nfsnitch.cli import main
sys.exit(main())
"""


def test_where_sockets_cannot_be_destroyed_a_denied_connection_is_refused_packet_by_packet(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    firewall = Firewall(world, [path])
    firewall.argv = (sys.executable, "-c", WITHOUT_DESTROY, *firewall.argv[3:])
    with firewall:
        program = talker(world, "tcp", THERE, ECHO_PORT)
        path.write_text(deciding("reject"), encoding="utf-8")
        reload(firewall)
        cut = firewall.wait_for_record(having(pid=program.pid, reason="cut"))
        refused = firewall.wait_for_record(having(pid=program.pid, verdict="reject"))
        ended = said(program, "ended")
        stopped = firewall.stop()

    assert (cut["generation"], refused["generation"], refused["reason"]) == (2, 2, "rule")
    assert ended[2] in {"ConnectionRefusedError", "ConnectionResetError"}
    assert counted(stopped)[Counter.SOCKETS_SPARED] == 1
    assert "cut without a reset: for the test" in stopped.stderr


MANY = 10_000
TRIES = 3
OPENER = """
import resource, socket, sys
count = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_NOFILE, (count + 99, count + 99))
socks = []
for _ in range(count):
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.connect(("192.0.2.1", int(sys.argv[1])))
    sock.send(b"x")
    socks.append(sock)
print("open", flush=True)
sys.stdin.read()
"""


def cut_after_s(world: World, firewall: Firewall, path: Path, text: str, generation: int) -> float:
    """Return how long a connection lives after the reload of *text*, which denies it."""
    program = talker(world, "tcp", THERE, ECHO_PORT)
    path.write_text(text, encoding="utf-8")
    asked = reload(firewall)
    ended = said(program, "ended")
    wait_in_force(firewall, generation)
    return float(ended[1]) - asked


def wait_in_force(firewall: Firewall, generation: int) -> None:
    """Wait until the daemon says that these rules are in force."""
    words = f"generation {generation} in force"
    firewall.child.wait_for_line(firewall.child.stderr, lambda line: words in line, 20)


def test_among_ten_thousand_flows_under_way_the_denied_one_is_cut_within_a_second(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    both = f"{{name: sink, action: allow, dport: {SINK_PORT}}}"
    path = rules(deciding("allow", both))
    with Firewall(world, [path]) as firewall:
        reading, writing = os.pipe()
        many = world.spawn(
            ["python3", "-I", "-S", "-c", OPENER, str(SINK_PORT), str(MANY)], fds={0: reading}
        )
        said(many, "open", 60)
        took_s: list[float] = []
        for generation in range(2, 2 + 2 * TRIES, 2):
            took_s.append(cut_after_s(world, firewall, path, deciding("deny", both), generation))
            path.write_text(deciding("allow", both), encoding="utf-8")
            reload(firewall)
            wait_in_force(firewall, generation + 1)
        counters = counted(firewall.stop())
    os.close(reading)
    os.close(writing)

    # Other programs may have the processor, so that on an idle machine this is the time it takes.
    assert min(took_s) < AT_MOST_S, took_s
    assert counters[Counter.FLOWS_CUT] == TRIES
    assert counters[Counter.PACKETS] + counters[Counter.CACHED] >= MANY
