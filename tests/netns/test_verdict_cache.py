"""What the kernel answers for by itself: what the rules say of all such flows, and all is told."""

from __future__ import annotations

import shutil
import signal
from pathlib import Path

import pytest

from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import World
from reload_play import reload

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    # In mode cgroup they run on the machine itself.
    pytest.mark.vm_guest(each=(("6.1", "kprobe"), ("6.12", "lsm"))),
]

THERE, NOBODY = "192.0.2.1", "192.0.2.77"
# Connects so often, each time by a new socket, and prints what became of each.
CONNECT = """
import socket, sys
for _ in range(int(sys.argv[3])):
    with socket.socket() as sock:
        sock.settimeout(10)
        try:
            sock.connect((sys.argv[1], int(sys.argv[2])))
            print("connected", flush=True)
        except OSError as problem:
            print(type(problem).__name__, flush=True)
"""
# Begins to connect so often, each time by a new socket, and closes that at once.
RUSH = """
import socket, sys
for number in range(int(sys.argv[3])):
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.connect_ex((sys.argv[1], int(sys.argv[2]) + number % 2))
print("done", flush=True)
"""
# Sends a datagram, waits for a signal, and sends so many more by the same socket.
STREAM = """
import signal, socket, sys
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    to = (sys.argv[1], int(sys.argv[2]))
    sock.sendto(b"first", to)
    signal.sigwait({signal.SIGUSR1})
    for _ in range(int(sys.argv[3])):
        sock.sendto(b"further", to)
    print("done", flush=True)
    signal.sigwait({signal.SIGUSR1})
"""
# Sends a datagram by each of so many sockets.
PATIENT = "timeouts: {hang: 1h}\n"
"""Who stops the daemon does not want it to end for that."""
CROWD = """
import socket, sys
for number in range(int(sys.argv[3])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(str(number).encode(), (sys.argv[1], int(sys.argv[2])))
print("done", flush=True)
"""


def python(script: str, port: int = ECHO_PORT, count: int = 1) -> list[str]:
    return ["python3", "-I", "-S", "-c", script, THERE, str(port), str(count)]


@pytest.fixture(name="program")
def fixture_program(world: World) -> Path:
    """Return a program of its own: the daemon is a Python program, too."""
    return world.own_copy("python3", "program")


def connect(
    world: World, firewall: Firewall, program: Path, uid: int | None = None
) -> tuple[str, Json]:
    """Connect once by a new process; return what it says of that, and the record of it."""
    child = world.spawn([str(program), *python(CONNECT)[1:]], uid=uid)
    outcome = child.finish(20).stdout.strip()
    return outcome, firewall.wait_for_record(having(pid=child.pid))


def sends_one(world: World, firewall: Firewall, program: Path) -> Json:
    """Send a datagram by a new process, and return the record of it."""
    child = world.spawn([str(program), *python(CROWD, SINK_PORT)[1:]])
    assert child.finish(20).stdout == "done\n"
    return firewall.wait_for_record(having(pid=child.pid))


def is_cached(record: Json) -> bool:
    return record.get("cached") is True


@pytest.mark.parametrize(
    ("action", "verdict", "outcome"),
    [("allow", "accept", "connected"), ("reject", "reject", "ConnectionRefusedError")],
)
def test_what_was_decided_once_the_kernel_repeats_for_the_next_process_of_that_program(
    world: World,
    services: Services,
    rules: WriteRules,
    program: Path,
    action: str,
    verdict: str,
    outcome: str,
) -> None:
    assert services.echo.pid
    path = rules(f"default: deny\nrules: [{{name: echo, action: {action}, dport: echo}}]\n")
    with Firewall(world, [path]) as firewall:
        first, decided = connect(world, firewall, program)
        second, repeated = connect(world, firewall, program)
        counters = counted(firewall.stop())

    assert first == second == outcome
    assert not is_cached(decided)
    assert is_cached(repeated)
    assert repeated["attribution"] == "packet-filter"
    for field in ("verdict", "action", "rule", "reason", "exe", "uid", "dport", "generation"):
        assert repeated[field] == decided[field], field
    assert repeated["verdict"] == verdict
    assert repeated["iface"] == decided["iface"]
    assert repeated["pid"] != decided["pid"]
    assert counters[Counter.PACKETS] == 1
    assert counters[Counter.CACHED] >= 1


def test_what_is_dropped_is_dropped_in_the_kernel_as_well(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    path = rules("default: deny\nrules: []\n")
    with Firewall(world, [path]) as firewall:
        impatient = CONNECT.replace("10", "0.2")
        records = []
        for _ in range(2):
            child = world.spawn([str(program), *python(impatient)[1:]])
            assert child.finish(20).stdout == "TimeoutError\n"
            records.append(firewall.wait_for_record(having(pid=child.pid)))
        counters = counted(firewall.stop())

    assert list(map(is_cached, records)) == [False, True]
    assert {(each["verdict"], each["reason"]) for each in records} == {("drop", "default")}
    assert services.arrived() == []
    assert counters[Counter.PACKETS] == 1


def test_a_datagram_that_is_denied_seems_to_be_sent_each_time(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    path = rules("default: deny\nrules: []\n")
    with Firewall(world, [path]) as firewall:
        records = [sends_one(world, firewall, program) for _ in range(2)]

    assert not any(map(is_cached, records))
    assert services.arrived() == []


@pytest.mark.parametrize(
    ("allows", "cached"),
    [
        ("uid: 0", [False, True, True]),  # the same wherever to
        ("dport: [echo, 81]", [False, False, True]),  # the same at all addresses
        ("daddr: 192.0.2.0/24", [False, False, False]),
    ],
)
def test_what_rules_say_wherever_a_program_connects_to_is_repeated_for_other_destinations(
    world: World,
    services: Services,
    rules: WriteRules,
    program: Path,
    allows: str,
    cached: list[bool],
) -> None:
    assert services.echo.pid
    path = rules(f"default: deny\nrules: [{{name: some, action: allow, {allows}}}]\n")
    records = []
    with Firewall(world, [path]) as firewall:
        for address, port in ((THERE, ECHO_PORT), (THERE, 81), (NOBODY, 81)):
            argv = ["-I", "-S", "-c", CONNECT.replace("10", "0.2"), address, str(port), "1"]
            child = world.spawn([str(program), *argv])
            child.finish(20)
            records.append(firewall.wait_for_record(having(pid=child.pid)))

    assert [is_cached(record) for record in records] == cached
    assert {(each["verdict"], each["rule"]) for each in records} == {("accept", "some")}
    assert [(each["daddr"], each["dport"]) for each in records] == [
        *((THERE, ECHO_PORT), (THERE, 81), (NOBODY, 81)),
    ]


def test_other_users_and_programs_are_decided_anew(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    assert services.echo.pid
    path = rules(
        "default: deny\nrules: [{name: root, action: allow, uid: 0}, "
        "{name: others, action: reject, uid: 1000}]\n"
    )
    with Firewall(world, [path]) as firewall:
        outcomes = [connect(world, firewall, program, uid) for uid in (None, 1000, None, 1000)]
        other = world.own_copy("python3", "other")
        child = world.spawn([str(other), *python(CONNECT)[1:]])
        child.finish(20)
        others = firewall.wait_for_record(having(pid=child.pid))

    assert [outcome for outcome, _ in outcomes] == ["connected", "ConnectionRefusedError"] * 2
    assert [is_cached(record) for _, record in outcomes] == [False, False, True, True]
    assert not is_cached(others)


def test_where_a_rule_looks_at_something_else_of_the_process_nothing_is_repeated(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    assert services.echo.pid
    path = rules(
        "default: allow\nrules:\n  - {name: odd, action: reject, args: ' 17$', dport: echo}\n"
    )
    with Firewall(world, [path]) as firewall:
        plain = [connect(world, firewall, program) for _ in range(2)]
        odd = world.spawn([str(program), *python(CONNECT)[1:], "17"])
        outcome = odd.finish(20).stdout.strip()

    assert [(outcome, is_cached(record)) for outcome, record in plain] == [("connected", False)] * 2
    assert outcome == "ConnectionRefusedError"


def test_of_those_that_are_closed_before_anybody_looks_at_them_each_is_known(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    many = 200
    assert services.echo.pid
    path = rules(
        f"{PATIENT}default: deny\nrules:\n"
        f"  - {{name: known, action: allow, exe: {program}, dport: {ECHO_PORT}}}\n"
        f"  - {{name: odd, action: allow, exe: {program}, args: rush, dport: {ECHO_PORT + 1}}}\n"
    )
    with Firewall(world, [path]) as firewall:
        connect(world, firewall, program)
        firewall.child.send(signal.SIGSTOP)
        argv = [str(program), *python(RUSH, count=many)[1:], "rush"]
        children = [world.spawn(argv) for _ in range(3)]
        for child in children:
            assert child.finish(20).stdout == "done\n"
        firewall.child.send(signal.SIGCONT)
        found = [firewall.wait_for_records(having(pid=each.pid), many, 20) for each in children]

    # By turns the kernel answers for it, and it is queued.
    for records in found:
        assert sorted((each["rule"], is_cached(each)) for each in records) == [
            *([("known", True)] * (many // 2)),
            *([("odd", False)] * (many // 2)),
        ]


def test_no_decision_outlives_the_rules_that_made_it(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    assert services.echo.pid
    path = rules("default: allow\nrules: []\n")
    with Firewall(world, [path]) as firewall:
        before = [connect(world, firewall, program) for _ in range(2)]
        path.write_text("default: reject\nrules: []\n", encoding="utf-8")
        reload(firewall)
        after = [connect(world, firewall, program) for _ in range(2)]

    assert [is_cached(record) for _, record in (*before, *after)] == [False, True, False, True]
    assert [outcome for outcome, _ in before] == ["connected"] * 2
    assert [outcome for outcome, _ in after] == ["ConnectionRefusedError"] * 2


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGUSR2])
def test_no_decision_outlives_the_daemon_whose_programs_another_one_takes_over(
    world: World, services: Services, rules: WriteRules, program: Path, number: signal.Signals
) -> None:
    assert services.echo.pid
    path = rules("default: allow\nrules: []\n")
    firewall = Firewall(world, [path])
    firewall.start()
    connect(world, firewall, program)
    firewall.stop(number)
    path.write_text("default: reject\nrules: []\n", encoding="utf-8")
    with Firewall(world, [path]) as after:
        outcome, record = connect(world, after, program)

    assert (outcome, is_cached(record)) == ("ConnectionRefusedError", False)


def test_a_program_whose_file_was_written_to_is_decided_anew(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    assert services.echo.pid
    path = rules("default: allow\nrules: []\n")
    records = []
    with Firewall(world, [path]) as firewall:
        for is_rewritten in (False, False, True):
            if is_rewritten:
                rewrite(program)
            child = world.spawn([str(program), *python(CONNECT)[1:]])
            child.finish(20)
            records.append(firewall.wait_for_record(having(pid=child.pid)))

    assert [is_cached(record) for record in records] == [False, True, False]
    assert len({record["exe_inode"] for record in records}) == 1


def test_a_program_is_the_same_still_when_somebody_has_looked_at_its_file(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    assert services.echo.pid
    path = rules("default: allow\nrules: []\n")
    change = ["sh", "-c", 'chmod 0751 "$1"; exec "$@"', "sh", str(program), *python(CONNECT)[1:]]
    with Firewall(world, [path]) as firewall:
        changes = world.spawn(change)  # nobody has asked the kernel yet when that was
        assert changes.finish(20).stdout == "connected\n"
        decided = firewall.wait_for_record(having(pid=changes.pid))
        assert program.stat().st_ctime_ns
        _, repeated = connect(world, firewall, program)

    assert [is_cached(record) for record in (decided, repeated)] == [False, True]


def rewrite(program: Path) -> None:
    """Write the same bytes once more into the same file."""
    copy = program.with_name("copy")
    shutil.copyfile(program, copy)
    shutil.copyfile(copy, program)


def test_what_a_socket_goes_on_sending_is_not_queued(
    world: World, services: Services, rules: WriteRules
) -> None:
    path = rules("default: deny\nrules: [{name: sink, action: allow, args: '.'}]\n")
    with Firewall(world, [path]) as firewall:
        sender = world.spawn(python(STREAM, SINK_PORT, 100))
        record = firewall.wait_for_record(having(pid=sender.pid))
        sender.send(signal.SIGUSR1)
        sender.wait_for_line(sender.stdout, lambda line: line == "done", 20)
        arrived = services.arrived("udp")
        counters = counted(firewall.stop())

    assert not is_cached(record)  # its arguments are no other program's
    assert len(arrived) == 101
    assert counters[Counter.PACKETS] == 1
    assert counters[Counter.CACHED] == 100


def test_of_all_that_the_kernel_answers_for_while_nobody_listens_nothing_goes_unrecorded(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    many = 8_500  # more than its ring buffer has room for
    assert services.echo.pid
    path = rules(f"{PATIENT}default: allow\nrules: []\n")
    with Firewall(world, [path]) as firewall:
        sends_one(world, firewall, program)
        firewall.child.send(signal.SIGSTOP)
        crowd = world.spawn([str(program), *python(CROWD, SINK_PORT, many)[1:]])
        crowd.wait_for_line(crowd.stdout, lambda line: line == "done", 60)
        firewall.child.send(signal.SIGCONT)
        records = firewall.wait_for_records(having(pid=crowd.pid), many, 60)
        counters = counted(firewall.stop())

    assert len({record["sport"] for record in records}) > many / 2
    assert 0 < sum(map(is_cached, records)) < many
    assert counters[Counter.CACHED_LOST] > 0
    assert counters[Counter.PACKETS] + counters[Counter.CACHED] == many + 1


def test_without_the_cache_each_flow_is_queued(
    world: World, services: Services, rules: WriteRules, program: Path
) -> None:
    assert services.echo.pid
    path = rules("default: allow\nrules: []\n")
    with Firewall(world, [path], extra=("--no-cache",)) as firewall:
        outcomes = [connect(world, firewall, program) for _ in range(3)]
        counters = counted(firewall.stop())

    assert not any(is_cached(record) for _, record in outcomes)
    assert counters[Counter.PACKETS] == 3
    assert counters[Counter.CACHED] == 0
