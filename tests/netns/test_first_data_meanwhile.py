"""Names that are awaited while something else happens: crashes, new rules, containers."""

from __future__ import annotations

import secrets
import signal
import sys
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.adapters.cgroups import v2_root
from nfsnitch.lab.containers import ContainerNetwork
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.services import ECHO_PORT, WELCOME
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

ADDRESS = "192.0.2.1"
FINE, BAD = "fine.example", "bad.example"
BY_NAME = f"""
default: deny
unattributed: deny
rules:
  - {{name: bad, action: reject, host: {BAD}}}
  - {{name: fine, action: allow, host: {FINE}}}
"""
# Connects, and sends a request when it is told to; prints what has come of it.
PATIENT = """
import signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as sock:
    sock.settimeout(20)
    print("connected", flush=True)
    signal.sigwait({signal.SIGUSR1})
    try:
        sock.sendall(f"GET / HTTP/1.1\\r\\nHost: {sys.argv[3]}\\r\\n\\r\\n".encode())
        print("sent", flush=True)
        print("answered" if sock.recv(100).startswith(b"GET") else "odd", flush=True)
    except OSError as problem:
        print(type(problem).__name__, flush=True)
"""


def connected(world: World, name: str) -> Child:
    """Start a program that has connected, and will send a request for *name*."""
    argv = ("/usr/bin/python3", "-I", "-c", PATIENT, ADDRESS, str(ECHO_PORT), name)
    child = world.spawn(argv)
    child.wait_for_line(child.stdout, lambda line: line == "connected", 10)
    return child


def reload(world: World, path: Path, text: str) -> None:
    """Put other rules in force, and return when all flows have met them."""
    path.write_text(text, "utf-8")
    assert world.run((sys.executable, "-m", "nfsnitch.cli", "reload")).returncode == 0


def told_to_send(child: Child) -> str:
    """Have it send, and return what came of it."""
    child.send(signal.SIGUSR1)
    return child.finish(20).stdout.splitlines()[-1]


@pytest.mark.vm_guest(modes=("lsm",))
@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(("name", "outcome"), [(FINE, "answered"), (BAD, "ConnectionResetError")])
def test_data_that_is_sent_while_nobody_judges_waits_for_the_next_daemon(
    world: World, rules: WriteRules, name: str, outcome: str
) -> None:
    path = rules(BY_NAME)
    killed = Firewall(world, [path])
    killed.start()
    client = connected(world, name)
    killed.child.stop(signal.SIGKILL)
    client.send(signal.SIGUSR1)
    client.wait_for_line(client.stdout, lambda line: line == "sent", 10)
    with Firewall(world, [path]) as firewall:
        # The kernel sends it again; nobody else has let it out.
        assert client.finish(20).stdout.splitlines()[-1] == outcome
        record = firewall.wait_for_record(having(pid=client.pid))
        assert record["rule"] == ("fine" if name == FINE else "bad")
        counted = firewall.stop().stderr
    assert "unheard" in counted


@pytest.mark.usefixtures("services")
@pytest.mark.parametrize(
    ("text", "outcome"),
    [
        ("default: deny\nrules: []\n", "ConnectionAbortedError"),
        ("default: allow\nrules: []\n", "answered"),
        (BY_NAME.replace("action: allow", "action: reject"), "ConnectionResetError"),
    ],
    ids=["denies all", "allows all", "refuses the name now"],
)
def test_a_connection_without_data_meets_the_rules_of_its_moment(
    world: World, rules: WriteRules, text: str, outcome: str
) -> None:
    path = rules(BY_NAME)
    with Firewall(world, [path]) as firewall:
        client = connected(world, FINE)
        reload(world, path, text)

        assert told_to_send(client) == outcome
        assert firewall.wait_for_record(having(pid=client.pid))


@pytest.mark.usefixtures("services")
def test_an_open_connection_is_cut_by_the_name_that_it_said(
    world: World, rules: WriteRules
) -> None:
    path = rules(BY_NAME)
    with Firewall(world, [path]) as firewall:
        client = world.spawn(("/usr/bin/python3", "-I", "-c", STAYING, ADDRESS, str(ECHO_PORT)))
        client.wait_for_line(client.stdout, lambda line: line == "answered", 10)
        reload(world, path, f"default: allow\nrules:\n  - {{name: x, action: deny, host: {FINE}}}")

        assert client.finish(20).stdout.splitlines()[-1] == "ConnectionAbortedError"
        assert firewall.wait_for_record(having(pid=client.pid, reason="cut"))["rule"] == "x"


STAYING = f"""
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as sock:
    sock.sendall(b"GET / HTTP/1.1\\r\\nHost: {FINE}\\r\\n\\r\\n")
    sock.recv(100)
    print("answered", flush=True)
    try:
        sock.settimeout(10)
        print(len(sock.recv(100)), flush=True)
    except OSError as problem:
        print(type(problem).__name__, flush=True)
"""


def test_the_connection_ends_for_the_server_too_when_its_name_is_rejected(
    world: World, rules: WriteRules
) -> None:
    serve = (
        "import socket; s = socket.create_server(('', 8088)); print('ready', flush=True)\n"
        "c, _ = s.accept()\n"
        "try: print(c.recv(10))\n"
        "except OSError as problem: print(type(problem).__name__)"
    )
    server = world.spawn(("/usr/bin/python3", "-I", "-c", serve), netns="server")
    server.wait_for_line(server.stdout, lambda line: line == "ready", 10)
    with Firewall(world, [rules(BY_NAME)]):
        url = f"http://{BAD}:8088/"
        done = world.run(("curl", "-sS", "--connect-to", f"::{ADDRESS}:", url))

        assert done.returncode == 56
        assert server.finish(5).stdout.splitlines()[-1] == "ConnectionResetError"


@pytest.mark.usefixtures("all_services")
def test_a_container_s_request_is_decided_by_its_host(world: World, rules: WriteRules) -> None:
    with ContainerNetwork(world) as net:
        box = net.add("one", v2_root() / "docker" / secrets.token_hex(32), 2)
        with _forwarding(world, rules(BY_NAME)) as firewall:
            for name, status, rule in ((FINE, 0, "fine"), (BAD, 56, "bad")):
                curl = ["curl", "-sS", "--connect-to", f"::{ADDRESS}:", f"http://{name}/"]
                client = net.start(box, curl)
                done = client.finish(10)

                assert done.returncode == status, done.stderr
                assert done.stdout == (WELCOME if name == FINE else "")
                assert firewall.wait_for_record(having(pid=client.pid))["rule"] == rule


def _forwarding(world: World, path: Path) -> Firewall:
    return Firewall(world, [path], cgroup=v2_root(), extra=["--forward"])
