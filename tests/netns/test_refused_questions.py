"""Questions of DNS that rules refuse, end to end: dnsmasq, dig, getent, over UDP and TCP."""

from __future__ import annotations

import statistics
import sys

import pytest

from builders import WriteRules
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Finished
from nfsnitch.lab.resolving import resolving
from nfsnitch.lab.waiting import PATIENCE
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("all_services"),
]

SERVER4, SERVER6 = "192.0.2.1", "2001:db8::1"
RULES = """
default: allow
rules:
  - {name: no a, action: reject, host: a.example.test, dns: refuse}
  - {name: no b, action: reject, host: b.example.test, dns: drop}
"""
PYTHON = ("/usr/bin/python3", "-I", "-c")
# Asks by one socket for one name after the other, and prints of each whether it was answered.
ONE_SOCKET = """
import socket, struct, sys
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((sys.argv[1], 53))
    sock.settimeout(60)
    for number, name in enumerate(sys.argv[2:]):
        labels = b"".join(bytes((len(x),)) + x for x in name.encode().split(b"."))
        sock.send(struct.pack("!6H", number, 256, 1, 0, 0, 0) + labels + b"\\0\\0\\1\\0\\1")
        answer = sock.recv(4096)
        print(answer[3] & 15, int.from_bytes(answer[6:8], "big"), flush=True)
"""
# Sends one thing, and prints what comes back within half a second.
SEND_ODD = f"""
import socket, sys
kind = socket.SOCK_DGRAM if sys.argv[2] == "udp" else socket.SOCK_STREAM
with socket.socket(socket.AF_INET, kind) as sock:
    sock.settimeout({PATIENCE / 2})
    sock.connect((sys.argv[1], 53))
    sock.send(bytes.fromhex(sys.argv[3]))
    try:
        print(len(sock.recv(4096)))
    except OSError as problem:
        print(type(problem).__name__)
"""

# Asks for all names at once, in datagrams that the kernel cuts out of one (udp(7), UDP_SEGMENT),
# and prints the numbers of the questions that are answered.
TRAIN = """
import socket, struct, sys
asked = [
    struct.pack("!6H", number, 256, 1, 0, 0, 0)
    + b"".join(bytes((len(x),)) + x for x in name.encode().split(b"."))
    + b"\\0\\0\\1\\0\\1"
    for number, name in enumerate(sys.argv[3:])
]
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.connect((sys.argv[1], 53))
    sock.setsockopt(socket.IPPROTO_UDP, 103, len(asked[0]))
    sock.settimeout(float(sys.argv[2]))
    sock.send(b"".join(asked))
    try:
        while True:
            print(int.from_bytes(sock.recv(4096)[:2], "big"), flush=True)
    except TimeoutError:
        pass
"""


def dig(world: World, *arguments: str, server: str = SERVER4) -> Finished:
    """Ask with dig, once and for two seconds."""
    return world.run(("dig", f"+time={2 * PATIENCE:.0f}", "+tries=1", f"@{server}", *arguments))


@pytest.mark.vm_guest
@pytest.mark.parametrize("server", [SERVER4, SERVER6])
def test_a_refused_question_is_answered_that_there_is_no_such_name(
    world: World, rules: WriteRules, server: str
) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        refused = dig(world, "a.example.test", server=server)
        asked = dig(world, "+short", "c.example.test", server=server)

        assert "status: NXDOMAIN" in refused.stdout, refused.stdout
        assert "EDE: 15 (Blocked)" in refused.stdout
        assert "WARNING" not in refused.stdout
        assert refused.elapsed_s < 2 * PATIENCE
        assert asked.stdout.split() == [SERVER4]
        record = firewall.wait_for_record(having(pid=refused.pid))
        assert (record["reason"], record["rule"]) == ("question", "no a")
        assert (record["verdict"], record["action"]) == ("drop", "reject")
        counted = firewall.stop().stderr
    assert "questions-refused 1" in counted
    assert "answers-sent 1" in counted
    assert "answers-lost" not in counted


@pytest.mark.vm_guest(modes=("lsm",))
def test_the_c_library_believes_it_and_says_so_at_once(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        refused = world.run(resolving(world, ("getent", "ahosts", "a.example.test")))
        fine = world.run(resolving(world, ("getent", "ahosts", "fine.example.test")))

        assert (refused.returncode, refused.stdout) == (2, "")
        assert refused.elapsed_s < 3 * PATIENCE
        assert SERVER4 in fine.stdout
        record = firewall.wait_for_record(having(pid=refused.pid))
        assert (record["reason"], record["rule"]) == ("question", "no a")


def test_a_dropped_question_is_never_answered(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        dropped = dig(world, "b.example.test")

        assert "timed out" in dropped.stdout + dropped.stderr
        assert firewall.wait_for_record(having(pid=dropped.pid))["rule"] == "no b"


@pytest.mark.vm_guest(modes=("lsm",))
def test_over_tcp_the_connection_is_reset(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        refused = dig(world, "+tcp", "a.example.test")
        fine = dig(world, "+tcp", "+short", "fine.example.test")

        assert "connection reset" in refused.stdout
        # The server, which serves one at a time, has heard of the reset as well.
        assert fine.stdout.split() == [SERVER4], fine.stdout
        record = firewall.wait_for_record(having(pid=refused.pid, reason="question"))
        assert (record["verdict"], record["proto"]) == ("reject", "tcp")


@pytest.mark.vm_guest(modes=("lsm",))
def test_the_next_question_of_the_same_socket_is_judged_although_it_looks_like_an_answer(
    world: World, rules: WriteRules
) -> None:
    names = ("a.example.test", "b2.example.test", "a.example.test", "b2.example.test")
    with Firewall(world, [rules(RULES)]) as firewall:
        done = world.run((*PYTHON, ONE_SOCKET, SERVER4, *names))

        assert done.returncode == 0, done.stderr
        codes = [line.split()[0] for line in done.stdout.splitlines()]
        assert codes[0] == codes[2] == "3"
        counted = firewall.stop().stderr
    assert "questions-refused 2" in counted


@pytest.mark.vm_guest(modes=("lsm",))
def test_a_trusted_flow_of_questions_has_each_of_them_judged(
    world: World, rules: WriteRules
) -> None:
    names = ["fine.example.test"] * 12 + ["a.example.test"]
    with Firewall(world, [rules(RULES)]) as firewall:
        done = world.run((*PYTHON, ONE_SOCKET, SERVER4, *names))

        assert done.returncode == 0, done.stderr
        counted = firewall.stop().stderr
    assert "trusted 1" in counted
    assert "questions-refused 1" in counted


@pytest.mark.parametrize("loopback", ["skip", "judge"])
def test_questions_to_a_server_of_this_machine_are_refused_as_well(
    world: World, rules: WriteRules, loopback: str
) -> None:
    server = ("dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts")
    options = ("--port=53", "--listen-address=127.0.0.53", "--bind-interfaces")
    stub = world.spawn((*server, *options, "--address=/example.test/192.0.2.9"), cgroup=world.infra)
    stub.wait_for_line(stub.stderr, lambda line: line.startswith("dnsmasq: started"), 20.0)
    with Firewall(world, [rules(f"loopback: {loopback}\n{RULES}")]) as firewall:
        refused = dig(world, "a.example.test", server="127.0.0.53")
        fine = dig(world, "+short", "fine.example.test", server="127.0.0.53")

        assert "status: NXDOMAIN" in refused.stdout, refused.stdout
        assert "EDE: 15 (Blocked)" in refused.stdout
        assert fine.stdout.split() == ["192.0.2.9"]
        counted = firewall.stop().stderr
    assert "questions-refused 1" in counted
    if loopback == "skip":
        assert "questions-local 1" in counted
        assert len(firewall.records) == 1


@pytest.mark.parametrize(
    ("proto", "message"),
    [
        ("udp", "00010100000100000000" + "0000" + "0161c00c"),
        ("udp", "00010100000200000000" + "0000" + "0000010001" * 2),
        ("udp", "00"),
        ("tcp", "ffff" + "00" * 40),
        ("tcp", b"GET / HTTP/1.1\r\n\r\n".hex()),
    ],
)
def test_what_cannot_be_read_as_a_question_is_refused(
    world: World, rules: WriteRules, proto: str, message: str
) -> None:
    with Firewall(world, [rules(RULES)]) as firewall:
        done = world.run((*PYTHON, SEND_ODD, SERVER4, proto, message))

        expected = "TimeoutError" if proto == "udp" else "ConnectionResetError"
        assert done.stdout.split() == [expected]
        record = firewall.wait_for_record(having(pid=done.pid, reason="question"))
        assert record["rule"] is None
        assert "questions-malformed 1" in firewall.stop().stderr


@pytest.mark.vm_guest(modes=("lsm",))
def test_a_refused_question_does_not_leave_behind_another_one_in_a_train_of_datagrams(
    world: World, rules: WriteRules
) -> None:
    fine = ("w.example.test", "x.example.test", "y.example.test")
    with Firewall(world, [rules(RULES)]) as firewall:
        asked = world.run((*PYTHON, TRAIN, SERVER4, str(PATIENCE), *fine))
        refused = world.run((*PYTHON, TRAIN, SERVER4, str(PATIENCE), *fine, "b.example.test"))

        assert sorted(asked.stdout.split()) == ["0", "1", "2"], asked.stderr
        assert refused.stdout == ""
        assert (
            firewall.wait_for_record(having(pid=refused.pid, reason="question"))["rule"] == "no b"
        )


def test_without_rules_that_refuse_questions_none_is_looked_at(
    world: World, rules: WriteRules
) -> None:
    path = rules(RULES.replace(", dns: refuse", "").replace(", dns: drop", ""))
    with Firewall(world, [path]) as firewall:
        assert world.run((*PYTHON, SEND_ODD, SERVER4, "tcp", "ffff0000")).returncode == 0
        path.write_text(RULES, "utf-8")
        reloaded = (sys.executable, "-m", "nfsnitch.cli", "reload")
        assert world.run(reloaded).returncode == 0
        assert "NXDOMAIN" in dig(world, "a.example.test").stdout
        counted = firewall.stop().stderr
    assert "questions-malformed" not in counted
    assert "questions-refused 1" in counted


@pytest.mark.undisturbed
def test_a_question_that_is_not_refused_costs_no_more_than_one_queued_packet(
    world: World, rules: WriteRules, capsys: pytest.CaptureFixture[str]
) -> None:
    allowed = "default: allow\nnames: {first_data: false}\nrules: []\n"
    took_us: dict[str, list[float]] = {"none": [], "queued": [], "read": []}
    for _ in range(ROUNDS):
        took_us["none"] += asked_many(world)
        for kind, text in (("queued", allowed), ("read", RULES)):
            with Firewall(world, [rules(text)], extra=("--no-cache",)):
                took_us[kind] += asked_many(world)
    none, queued, read = (undisturbed_us(took_us[each]) for each in ("none", "queued", "read"))
    with capsys.disabled():
        sys.stdout.write(
            f"\n  question and answer: {none:.0f} µs without us, {queued:.0f} µs queued,"
            f" {read:.0f} µs where rules refuse others\n"
        )
    # That is a packet more to look into, in Python, beside all that is done for any packet.
    assert read - none <= 2 * (queued - none)


ROUNDS = 3
# Asks with a socket of its own each time, and prints how many microseconds that took.
ASK_MANY = """
import socket, sys, time
message = bytes.fromhex("000101000001000000000000") + b"\\4fine\\7example\\4test\\0\\0\\1\\0\\1"
for _ in range(300):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.settimeout(60)
        began = time.perf_counter()
        sock.connect((sys.argv[1], 53))
        sock.send(message)
        sock.recv(4096)
        print((time.perf_counter() - began) * 1e6)
"""


def undisturbed_us(times_us: list[float]) -> float:
    """Return how long one takes that need not wait for a processor: a tenth is faster.

    The median grows with whatever else runs on the machine, and not alike for all kinds.
    """
    return statistics.quantiles(times_us, n=10)[0]


def asked_many(world: World) -> list[float]:
    """Return how long each of many questions took."""
    done = world.run((*PYTHON, ASK_MANY, SERVER4))
    assert done.returncode == 0, done.stderr
    return [float(line) for line in done.stdout.splitlines()]
