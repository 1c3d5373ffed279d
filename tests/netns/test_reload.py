"""Rules that change under way: by signal and by file, under load, with flows that must end."""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import datetime

import pytest

from builders import WriteRules
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

THERE = "192.0.2.1"
STREAM_PORT = 5_555
AT_MOST_S = 1.0
"""How long it may take until a flow that the new rules refuse is cut."""

TALKER = """
import socket, sys, time
kind, host, port, connect = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4] == "connect"
sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET,
                     socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
if connect:
    sock.connect((host, port))
else:
    sock.bind(("::" if ":" in host else "0.0.0.0", 0))
sock.settimeout(0.02)
print("port", sock.getsockname()[1], flush=True)
sent = 0
while True:
    try:
        sock.send(b"x") if connect else sock.sendto(b"x", (host, port))
        sent += 1
        print("sent", sent, flush=True)
        time.sleep(0.01)
        if not sock.recv(99):
            raise ConnectionError("end of file")
    except TimeoutError:
        continue
    except PermissionError:
        print("refused", flush=True)
    except OSError as problem:
        print("ended", time.time(), type(problem).__name__, flush=True)
        break
sys.stdin.read()
"""
"""Sends a byte every hundredth of a second, takes what comes back, and says how it goes."""

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


def talker(world: World, kind: str, host: str, port: int, how: str = "connect") -> Child:
    """Start a program that talks without end, and return once it has been answered."""
    argv = ["python3", "-I", "-S", "-c", TALKER, kind, host, str(port), how]
    child = world.spawn(argv)
    child.wait_for_line(child.stdout, lambda line: line.startswith("sent 12"), 10)
    return child


def said(child: Child, beginning: str, timeout_s: float = 10) -> list[str]:
    """Return the words of the program's first line that begins so."""
    line = child.wait_for_line(child.stdout, lambda text: text.startswith(beginning), timeout_s)
    return line.split()


def goes_on(child: Child) -> None:
    """Wait until the program has sent some more."""
    sent = sum(line.startswith("sent ") for line in child.stdout.lines())
    assert said(child, f"sent {sent + 20}")


def moment(record: Json) -> float:
    """Return when a record was made, in seconds since 1970."""
    return datetime.fromisoformat(record["time"]).timestamp()


def deciding(action: str, *more: str, default: str = "deny") -> str:
    """Return rules that give everything to the echo port this action."""
    rules = [*more, f"{{name: echo, action: {action}, dport: [{ECHO_PORT}, {STREAM_PORT}]}}"]
    return f"default: {default}\nrules:\n" + "".join(f"  - {rule}\n" for rule in rules)


def reload(firewall: Firewall) -> float:
    """Have the rules read again; returns the time at which that was asked for."""
    now = time.time()
    firewall.child.send(signal.SIGHUP)
    return now


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
    with Firewall(world, [path]) as firewall:
        program = talker(world, "udp", THERE, ECHO_PORT, "sendto")
        path.write_text(deciding("deny"), encoding="utf-8")
        reload(firewall)
        firewall.wait_for_record(having(pid=program.pid, reason="rule", generation=2))
        path.write_text(deciding("allow"), encoding="utf-8")
        reload(firewall)
        again = firewall.wait_for_record(having(pid=program.pid, reason="rule", generation=3))
        arrived = len(services.arrivals.lines())
        goes_on(program)
        counters = counted(firewall.stop())

    assert again["verdict"] == "accept"
    assert len(services.arrivals.lines()) >= arrived + 10
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


RELOADS = 200
BAD = "rules: [{name: echo, action: alow}]\n"

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
    came = [line.split() for line in services.arrivals.lines()]
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


def test_a_bad_file_changes_nothing_and_all_that_is_wrong_is_told(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    with Firewall(world, [path]) as firewall:
        living = talker(world, "tcp", THERE, ECHO_PORT)
        path.write_text(BAD, encoding="utf-8")
        reload(firewall)
        child = firewall.child
        child.wait_for_line(child.stderr, lambda line: "did you mean 'allow'" in line, 10)
        another = talker(world, "tcp", THERE, ECHO_PORT)
        record = firewall.wait_for_record(having(pid=another.pid))
        goes_on(living)
        stopped = firewall.stop()

    assert (record["verdict"], record["generation"]) == ("accept", 1)
    assert "reload refused; generation 1 stays in force" in stopped.stderr
    assert f"nfsnitch:   {path}:1:" in stopped.stderr
    counters = counted(stopped)
    assert counters[Counter.RELOADS_REFUSED] >= 1  # by signal, and by the change of the file
    assert counters[Counter.RELOADS] == counters[Counter.FLOWS_CUT] == 0


def test_a_changed_file_is_read_without_being_asked_to(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    with Firewall(world, [path.parent]) as firewall:
        program = talker(world, "tcp", THERE, ECHO_PORT)
        path.with_name("00-first.yaml").write_text(
            "rules: [{name: first, action: deny, dport: echo}]\n", encoding="utf-8"
        )
        cut = firewall.wait_for_record(having(pid=program.pid, reason="cut"))

    assert cut["rule"] == "first"


def test_a_flow_that_is_held_is_decided_at_once_by_the_new_rules(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("ask"))
    with Firewall(world, [path]) as firewall:
        held = world.spawn(["python3", "-I", "-S", "-c", TALKER, "udp", THERE, str(ECHO_PORT), ""])
        said(held, "sent 3")
        path.write_text(deciding("allow"), encoding="utf-8")
        asked = reload(firewall)
        record = firewall.wait_for_record(having(pid=held.pid))

    assert (record["verdict"], record["rule"], record["generation"]) == ("accept", "echo", 2)
    assert record["held_ms"] > 0
    assert moment(record) - asked < AT_MOST_S


MANY = 10_000
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
        program = talker(world, "tcp", THERE, ECHO_PORT)
        path.write_text(deciding("deny", both), encoding="utf-8")
        asked = reload(firewall)
        ended = said(program, "ended")
        firewall.child.wait_for_line(
            firewall.child.stderr, lambda line: "generation 2 in force" in line, 20
        )
        counters = counted(firewall.stop())
    os.close(reading)
    os.close(writing)

    assert float(ended[1]) - asked < AT_MOST_S
    assert counters[Counter.FLOWS_CUT] == 1
    assert counters[Counter.PACKETS] >= MANY
