"""What programs see, what the server gets, and what the record says: the three must agree."""

from __future__ import annotations

import signal
import sys

import pytest

from builders import WriteRules
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.core.memory import TRUST_AFTER
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, TELNET_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

RULES = f"""
default: deny
unattributed: deny
rules:
  - {{name: no sink, action: deny, dport: {SINK_PORT}}}
  - {{name: no telnet, action: reject, dport: telnet}}
  - {{name: echo, action: allow, dport: {ECHO_PORT}}}
  - {{name: kernel, action: allow, owner: kernel}}
"""
BOTH_FAMILIES = pytest.mark.parametrize("daddr", ["192.0.2.1", "2001:db8::1"])

# Sends a datagram, waits for the answer, as often as it is told to.
ASK_ECHO = """
import socket, sys
daddr, dport, times = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
with socket.socket(socket.AF_INET6 if ":" in daddr else socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.settimeout(5)
    sock.connect((daddr, dport))
    for _ in range(times):
        sock.send(b"x")
        assert sock.recv(10) == b"x"
"""
# Sends datagrams that nobody answers, all from one port.
STREAM = """
import socket, sys
daddr, dport, times, sport, room = sys.argv[1], *map(int, sys.argv[2:6])
family = socket.AF_INET6 if ":" in daddr else socket.AF_INET
with socket.socket(family, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
    sock.bind(("", sport))
    for _ in range(times):
        sock.sendto(b"x", (daddr, dport))
"""
NARROW, ROOMY = 1 << 14, 1 << 20
"""What is queued stays in the sender's buffer: it waits when some forty datagrams are, or never."""


def python(script: str, *args: str | int) -> list[str]:
    """Return the command line of a Python script."""
    return [sys.executable, "-I", "-S", "-c", script, *map(str, args)]


@BOTH_FAMILIES
def test_an_allowed_connection_goes_through(
    world: World, services: Services, rules: WriteRules, daddr: str
) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        done = world.run([str(build_program("one_connect")), daddr, str(ECHO_PORT)])
        record = firewall.wait_for_record(having(pid=done.pid))

    assert done.returncode == 0, done.stderr
    assert (record["verdict"], record["rule"]) == ("accept", "echo")
    assert f"tcp {record['saddr']} {record['sport']} {daddr} {ECHO_PORT}" in (services.arrived())


@BOTH_FAMILIES
def test_a_rejected_connection_is_refused_at_once_and_never_reaches_the_server(
    world: World, services: Services, rules: WriteRules, daddr: str
) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        done = world.run([str(build_program("one_connect")), daddr, str(TELNET_PORT)])
        record = firewall.wait_for_record(having(pid=done.pid))

    assert "Connection refused" in done.stderr
    assert (record["verdict"], record["rule"]) == ("reject", "no telnet")
    assert services.arrived("tcp") == []


@BOTH_FAMILIES
def test_a_rejected_datagram_never_reaches_the_server_and_its_sender_is_told(
    world: World, services: Services, rules: WriteRules, daddr: str
) -> None:
    text = RULES.replace("action: deny, dport", "action: reject, dport")
    script = ASK_ECHO.replace("sock.recv(10)", "sock.recv(10) and None")
    with Firewall(world, [rules(text)]) as firewall:
        done = world.run(python(script, daddr, SINK_PORT, 1))
        record = firewall.wait_for_record(having(pid=done.pid))

    assert "timed out" not in done.stderr
    assert "PermissionError" in done.stderr or "No route to host" in done.stderr, done.stderr
    assert (record["verdict"], record["rule"]) == ("reject", "no sink")
    assert not services.arrived("udp")


@BOTH_FAMILIES
def test_a_denied_datagram_vanishes_without_a_word(
    world: World, services: Services, rules: WriteRules, daddr: str
) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        done = world.run(python(STREAM, daddr, SINK_PORT, 1, 5555, ROOMY))
        record = firewall.wait_for_record(having(pid=done.pid))

    assert done.returncode == 0, done.stderr
    assert (record["verdict"], record["rule"]) == ("drop", "no sink")
    assert not services.arrived("udp")


@pytest.mark.usefixtures("services")
def test_of_a_thousand_datagrams_one_way_only_the_first_ones_reach_the_worker(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(RULES.replace("deny, dport", "allow, dport"))]) as firewall:
        done = world.run(python(STREAM, "192.0.2.1", SINK_PORT, 1000, 5555, NARROW))
        firewall.wait_for_record(having(pid=done.pid))
        counters = counted(firewall.stop())

    assert_one_verdict_each(counters)
    # What was queued before the worker had seen enough comes on top, and may make the flow trusted
    # once more.
    assert TRUST_AFTER <= counters[Counter.PACKETS] < 300
    assert 1 <= counters[Counter.TRUSTED] <= counters[Counter.PACKETS] // TRUST_AFTER


@pytest.mark.vm_guest(modes=("lsm", "kprobe"))
@pytest.mark.parametrize(("worker", "sent"), [("quick", 100), ("late", 400)], ids=["quick", "late"])
def test_a_port_that_a_trusted_program_gave_back_is_not_trusted_for_the_next_one(
    world: World, services: Services, rules: WriteRules, worker: str, sent: int
) -> None:
    stranger = world.own_copy(sys.executable, "stranger")
    text = f"""
        default: allow
        rules: [{{name: no stranger, action: deny, exe: {stranger}}}]
        """
    with Firewall(world, [rules(text)]) as firewall:
        if worker == "late":  # it comes to judge what is in the queue when the program has ended
            firewall.child.send(signal.SIGSTOP)
        trusted = world.run(python(STREAM, "192.0.2.1", SINK_PORT, sent, 5555, ROOMY))
        firewall.child.send(signal.SIGCONT)
        firewall.wait_for_record(having(pid=trusted.pid))
        before = len(services.arrived())
        argv = python(STREAM, "192.0.2.1", SINK_PORT, 1, 5555, ROOMY)
        denied = world.spawn(argv, exe=str(stranger)).finish(10)
        record = firewall.wait_for_record(having(pid=denied.pid))

    assert before > 0
    assert denied.returncode == 0, denied.stderr
    assert record["sport"] == 5555
    assert (record["verdict"], record["rule"]) == ("drop", "no stranger")
    last = services.arrived()
    assert last.count(f"udp 192.0.2.2 5555 {SINK_PORT} 1") <= sent


@pytest.mark.usefixtures("services")
@pytest.mark.vm_guest(modes=("lsm",))
def test_a_conversation_over_udp_goes_on_in_the_kernel(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)], extra=("--no-cache",)) as firewall:
        done = world.run(python(ASK_ECHO, "192.0.2.1", ECHO_PORT, 50))
        counters = counted(firewall.stop())

    assert done.returncode == 0, done.stderr
    # Perhaps one more: the next request may be quicker than the label.
    assert TRUST_AFTER <= counters[Counter.PACKETS] <= TRUST_AFTER + 1
    assert counters[Counter.TRUSTED] == 1


@pytest.mark.usefixtures("services")
def test_answers_to_what_comes_in_are_not_asked_about(world: World, rules: WriteRules) -> None:
    listen = (
        "import socket\n"
        "with socket.create_server(('192.0.2.2', 7777)) as server:\n"
        "    print('ready', flush=True)\n"
        "    peer, _ = server.accept()\n"
        "    peer.sendall(b'welcome')\n"
        "    peer.close()\n"
    )
    visit = (
        "import socket\n"
        "with socket.create_connection(('192.0.2.2', 7777), 5) as sock:\n"
        "    print(sock.recv(100).decode())\n"
    )
    with Firewall(world, [rules("default: deny\n")]) as firewall:
        server = world.spawn(python(listen))
        server.wait_for_line(server.stdout, lambda line: line == "ready", 10)
        visitor = world.run(python(visit), netns="server")
        counters = counted(firewall.stop())

    assert visitor.stdout == "welcome\n", visitor.stderr
    assert counters[Counter.PACKETS] == 0


def test_what_stays_on_this_machine_is_not_asked_about(world: World, rules: WriteRules) -> None:
    script = (
        "import socket\n"
        "with socket.create_server(('127.0.0.1', 0)) as server:\n"
        "    with socket.create_connection(server.getsockname(), 5):\n"
        "        print('connected')\n"
    )
    with Firewall(world, [rules("default: deny\n")]) as firewall:
        done = world.run(python(script))
        counters = counted(firewall.stop())

    assert done.stdout == "connected\n", done.stderr
    assert counters[Counter.PACKETS] == 0
