"""Names that only a flow's first data tells, end to end: TLS, HTTP and QUIC by real programs."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from builders import WriteRules
from daemon_counters import counted
from first_data_play import crypto, extension, hello_message, initial
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child, Finished
from nfsnitch.lab.services import ECHO_PORT, WELCOME, AllServices, Services
from nfsnitch.lab.waiting import PATIENCE, FollowedFile
from nfsnitch.lab.world import SERVER, World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
]

ADDRESS = "192.0.2.1"
TLS_PORT = 443
FINE, BAD, OTHER = "fine.example", "bad.example", "other.example"
BY_NAME = f"""
default: deny
unattributed: deny
rules:
  - {{name: bad, action: reject, host: {BAD}}}
  - {{name: fine, action: allow, host: {FINE}}}
"""
PYTHON = ("/usr/bin/python3", "-I", "-c")

# Reads what its server says before it says anything itself.
SERVER_FIRST = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as sock:
    print(sock.recv(100).decode(), end="", flush=True)
    sys.stdin.readline()
"""
# Sends its arguments one by one, each in a segment of its own, and prints what comes back.
IN_PIECES = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 60) as sock:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for piece in sys.argv[3:]:
        sock.sendall(bytes.fromhex(piece))
    print(sock.recv(4096), flush=True)
"""
# Sends a request with an urgent byte in the midst of it, which servers leave out (tcp(7)).
URGENT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), 10) as sock:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
    sock.sendall(b"GET / HTTP/1.1\\r\\nHost: ")
    sock.send(b"x", socket.MSG_OOB)
    sock.sendall(sys.argv[3].encode() + b"\\r\\n\\r\\n")
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
    print(sock.recv(4096), flush=True)
"""
MARKED = """
import socket, sys
with socket.socket() as sock:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_MARK, int(sys.argv[3]))
    sock.settimeout(60)
    sock.connect((sys.argv[1], int(sys.argv[2])))
    sock.sendall(bytes.fromhex(sys.argv[4]))
    sock.recv(100)
"""
# Sends one datagram after the other, once the one before is answered; the last one is not.
ONE_BY_ONE = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((sys.argv[1], int(sys.argv[2])))
    sock.settimeout(60)
    for datagram in sys.argv[3:]:
        sock.send(bytes.fromhex(datagram))
        if datagram is not sys.argv[-1]:
            sock.recv(65_535)
    sys.stdin.readline()
"""
SEND_DATAGRAMS = """
import socket, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((sys.argv[1], int(sys.argv[2])))
    sock.settimeout(float(sys.argv[3]))
    for datagram in sys.argv[4:]:
        sock.send(bytes.fromhex(datagram))
    try:
        for datagram in sys.argv[4:]:
            print(len(sock.recv(65_535)), flush=True)
    except TimeoutError:
        sys.exit(2)
"""


@pytest.fixture(name="tls")
def fixture_tls(world: World, tmp_path: Path) -> Child:
    """Start a web server with TLS, of whose certificate nobody asks anything."""
    key, certificate = tmp_path / "key.pem", tmp_path / "certificate.pem"
    request = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256")
    files = ("-nodes", "-keyout", str(key), "-out", str(certificate), "-subj", "/CN=test")
    subprocess.run([*request, *files], check=True, capture_output=True)
    server = ("openssl", "s_server", "-accept", str(TLS_PORT), "-www")
    child = world.spawn((*server, "-cert", str(certificate), "-key", str(key)), netns=SERVER)
    assert isinstance(child.stdout, FollowedFile)
    child.wait_for_line(child.stdout, lambda line: line == "ACCEPT", 20.0)
    return child


def curl(world: World, url: str, *options: str) -> Finished:
    """Fetch from a host whose address nobody has to ask for."""
    to_server = ("--connect-to", f"::{ADDRESS}:")
    at_most = ("--max-time", f"{8 * PATIENCE:g}")
    return world.run(("curl", "--silent", "--insecure", *at_most, *to_server, *options, url))


@pytest.mark.vm_guest
@pytest.mark.usefixtures("tls")
def test_tls_to_one_address_is_decided_by_the_name_in_the_client_hello(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        fine, bad = (curl(world, f"https://{name}/") for name in (FINE, BAD))

        assert (fine.returncode, "s_server" in fine.stdout) == (0, True), fine.stderr
        assert bad.returncode == 35, "the connection is reset in the TLS handshake"
        assert bad.elapsed_s < 4 * PATIENCE
        accepted = firewall.wait_for_record(having(pid=fine.pid))
        refused = firewall.wait_for_record(having(pid=bad.pid))
        assert (accepted["verdict"], accepted["rule"]) == ("accept", "fine")
        assert (refused["verdict"], refused["rule"]) == ("reject", "bad")
        assert len(firewall.records) == 2
        stopped = firewall.stop()
    assert "names-awaited 2" in stopped.stderr
    assert "names-read 2" in stopped.stderr
    assert "trust-errors" not in stopped.stderr


@pytest.mark.usefixtures("all_services")
def test_http_is_decided_by_the_host_of_its_request(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        fine, bad = (curl(world, f"http://{name}/") for name in (FINE, BAD))

        assert (fine.returncode, fine.stdout) == (0, WELCOME), fine.stderr
        assert bad.returncode == 56, "the connection is reset"
        assert firewall.wait_for_record(having(pid=bad.pid))["rule"] == "bad"


def test_what_is_denied_never_reaches_the_server(
    world: World, rules: WriteRules, all_services: AllServices
) -> None:
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        denied = curl(world, f"http://{OTHER}/", "--max-time", "2")

        assert denied.returncode == 28, "it waits for an answer"
        record = firewall.wait_for_record(having(pid=denied.pid))
        assert (record["verdict"], record["reason"]) == ("drop", "default")
        assert all_services.http.stderr.text() == ""


@pytest.mark.vm_guest(modes=("lsm",))
@pytest.mark.usefixtures("all_services")
def test_a_long_transfer_passes_in_the_kernel_once_the_name_is_known(
    world: World, rules: WriteRules, tmp_path: Path
) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(4_000_000))
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        # The web server refuses a POST, but not before it has been sent.
        done = curl(world, f"http://{FINE}/", "--data-binary", f"@{large}", "-H", "Expect:")
        assert done.returncode in {0, 55, 56}, done.stderr
        firewall.wait_for_record(having(pid=done.pid))
        counted = firewall.stop().stderr
    assert int(counted.partition("packets ")[2].split(",")[0]) < 30, counted


@pytest.mark.usefixtures("services")
def test_a_request_in_pieces_is_decided_when_it_is_whole(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        request = f"GET / HTTP/1.1\r\nHost: {FINE}\r\n\r\n".encode()
        done = _in_pieces(world, [request[:10], request[10:30], request[30:]])

        assert done.returncode == 0, done.stderr
        assert done.stdout.startswith("b'GET"), "the echo of the request"
        record = firewall.wait_for_record(having(pid=done.pid))
        assert (record["rule"], record["verdict"]) == ("fine", "accept")


@pytest.mark.usefixtures("services")
def test_data_that_says_no_name_is_decided_as_the_rule_wants_it(
    world: World, rules: WriteRules
) -> None:
    path = rules(
        "default: allow\nrules:\n"
        f"  - {{name: bad, action: reject, host: {BAD}, on_unknown_name: reject}}\n"
    )
    with Firewall(world, [path]) as firewall:
        done = _in_pieces(world, [b"SSH-2.0-test\r\n"])

        assert "ConnectionResetError" in done.stderr
        record = firewall.wait_for_record(having(pid=done.pid))
        assert (record["rule"], record["reason"]) == ("bad", "unnamed")


@pytest.mark.usefixtures("services")
def test_a_name_with_an_urgent_byte_in_it_is_none(world: World, rules: WriteRules) -> None:
    path = rules(
        f"default: deny\nrules:\n  - {{name: fine, action: allow, host: {FINE}}}\n"
        f"  - {{name: seeming, action: allow, host: x{BAD}}}\n"
        f"  - {{name: unknown, action: reject, host: {BAD}, on_unknown_name: reject}}\n"
    )
    with Firewall(world, [path]) as firewall:
        done = world.run((*PYTHON, URGENT, ADDRESS, str(ECHO_PORT), BAD))

        assert "ConnectionResetError" in done.stderr, done.stdout
        assert firewall.wait_for_record(having(pid=done.pid))["rule"] == "unknown"


@pytest.mark.usefixtures("services")
def test_half_a_request_waits_three_seconds_and_no_longer(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(BY_NAME.replace("deny", "reject"))]) as firewall:
        done = _in_pieces(world, [b"GET / HTTP/1.1\r\n"])

        assert "ConnectionResetError" in done.stderr
        record = firewall.wait_for_record(having(pid=done.pid))
        assert (record["verdict"], record["reason"]) == ("reject", "default")
        assert done.elapsed_s >= 3


def test_a_server_that_speaks_first_is_heard_and_the_connection_recorded_when_it_ends(
    world: World, rules: WriteRules
) -> None:
    listen = (
        "import socket; s = socket.create_server(('', 25)); print('ready', flush=True)\n"
        "c, _ = s.accept(); c.send(b'220 hello'); c.recv(1)"
    )
    server = world.spawn((*PYTHON, listen), netns=SERVER)
    server.wait_for_line(server.stdout, lambda line: line == "ready", 20.0)
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        done = world.run((*PYTHON, SERVER_FIRST, ADDRESS, "25"))

        assert done.stdout == "220 hello", done.stderr
        record = firewall.wait_for_record(having(pid=done.pid))
        assert (record["verdict"], record["reason"]) == ("accept", "name-awaited")


@pytest.mark.vm_guest(modes=("lsm",))
@pytest.mark.parametrize("name", [FINE, BAD])
def test_quic_is_decided_by_the_name_in_its_initial_packets(
    world: World, rules: WriteRules, services: Services, name: str
) -> None:
    hello = hello_message(name, extension(0x4A4A, bytes(1_300)))
    datagrams = [initial(crypto(hello, 0, 1_000), 0), initial(crypto(hello, 1_000), 1)]
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        done = _send(world, datagrams)

        record = firewall.wait_for_record(having(pid=done.pid))
        assert record["packets"] == 2
        assert record["rule"] == ("fine" if name == FINE else "bad")
        expected = 2 if name == FINE else 0
        assert len(services.arrived("udp")) == expected
        assert done.stdout.split() == ["1200"] * expected


@pytest.mark.vm_guest(modes=("lsm",))
def test_a_trusted_flow_of_datagrams_does_not_hide_another_name(
    world: World, rules: WriteRules, services: Services
) -> None:
    first, second = b"12345678", b"abcdefgh"
    begin = initial(crypto(hello_message(FINE)), dcid=first)
    other = initial(crypto(hello_message(BAD)), dcid=second)
    sent = [each.hex() for each in (begin, *([b"\x40 of the first one"] * 30), other)]
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        program = world.spawn((*PYTHON, ONE_BY_ONE, ADDRESS, str(ECHO_PORT), *sent))

        firewall.wait_for_record(having(pid=program.pid, rule="bad"))
        assert len(services.arrived("udp")) == 31
        assert counted(firewall.stop())[Counter.CACHED] > 0  # so the flow passed in the kernel


def test_half_of_a_quic_client_hello_waits_a_fifth_of_a_second(
    world: World, rules: WriteRules, services: Services
) -> None:
    hello = hello_message(FINE, extension(0x4A4A, bytes(1_300)))
    with Firewall(world, [rules(BY_NAME)]) as firewall:
        done = _send(world, [initial(crypto(hello, 0, 1_000), 0)])

        record = firewall.wait_for_record(having(pid=done.pid))
        assert (record["verdict"], record["reason"]) == ("drop", "default")
        assert 200 <= record["held_ms"] < 2_000 * PATIENCE
        assert services.arrived("udp") == []


@pytest.mark.vm_guest(modes=("lsm",))
@pytest.mark.usefixtures("services")
@pytest.mark.parametrize("mark", [0, 0x42])
def test_packets_leave_with_the_mark_that_they_came_with(
    world: World, rules: WriteRules, mark: int
) -> None:
    counting = (
        "add table inet seen; add chain inet seen c { type filter hook output priority 400; };"
        f" add rule inet seen c tcp dport {ECHO_PORT} meta mark {mark} counter;"
        f' add rule inet seen c tcp dport {ECHO_PORT} meta mark != {mark} counter comment "others"'
    )
    assert world.run(("nft", counting)).returncode == 0
    with Firewall(world, [rules(BY_NAME)]):
        request = f"GET / HTTP/1.1\r\nHost: {FINE}\r\n\r\n".encode()
        arguments = (ADDRESS, str(ECHO_PORT), str(mark), request.hex())
        assert world.run((*PYTHON, MARKED, *arguments)).returncode == 0
        listed = world.run(("nft", "list", "table", "inet", "seen")).stdout
    assert 'packets 0 bytes 0 comment "others"' in listed
    assert "counter packets 0" not in listed.replace('packets 0 bytes 0 comment "others"', "")


def _in_pieces(world: World, pieces: Sequence[bytes]) -> Finished:
    arguments = [piece.hex() for piece in pieces]
    return world.run((*PYTHON, IN_PIECES, ADDRESS, str(ECHO_PORT), *arguments))


def _send(world: World, datagrams: Sequence[bytes], timeout_s: float = 1.0) -> Finished:
    arguments = [each.hex() for each in datagrams]
    command = (
        *PYTHON,
        SEND_DATAGRAMS,
        ADDRESS,
        str(ECHO_PORT),
        str(timeout_s * PATIENCE),
        *arguments,
    )
    return world.run(command)
