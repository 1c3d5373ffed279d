"""What happens when something fails: in each case what was chosen, and it is counted."""

from __future__ import annotations

import resource
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from broken_daemon import CLOCK_JUMPS, HANGS, MAP_FULL, NO_MEMORY, RAISES_IN_THE_LOOP, SIGN, broken
from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import EndedError
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

RULES = """
fail: {fail}
default: allow
unattributed: allow
timeouts: {{ask: 1h, hang: 1h}}
queue_length: 64
rules: [{{name: asked, action: ask, dport: 22}}]
"""
# Sends datagrams, each from a socket of its own, to one port; says how many the kernel took.
SEND = """
import socket, sys
taken = 0
for _ in range(int(sys.argv[3])):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        try:
            one.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
            taken += 1
        except OSError:
            pass
print(taken)
"""
CONNECT = """
import socket, sys
with socket.create_connection((sys.argv[1], int(sys.argv[2])), float(sys.argv[3])) as sock:
    sock.sendall(b"x")
    print(sock.recv(1).decode())
"""
BOTH = pytest.mark.parametrize("fail", ["closed", "open"])


def python(script: str, *args: str | int) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", script, *map(str, args)]


def sends(world: World, dport: int, times: int = 1) -> None:
    """Send datagrams; returns when they have been sent, or dropped."""
    done = world.run(python(SEND, "192.0.2.1", dport, times))
    assert done.returncode == 0, done.stderr


def connects(world: World, timeout_s: float = 0.5) -> bool:
    """Whether a new connection to the echo service comes about."""
    done = world.run(python(CONNECT, "192.0.2.1", ECHO_PORT, str(timeout_s)))
    return done.stdout == "x\n"


def arrived(services: Services) -> int:
    """Return how many datagrams the sink got."""
    return len(services.arrived("udp"))


def table(world: World) -> str:
    return world.run(["nft", "list", "table", "inet", "nfsnitch"]).stdout


@BOTH
@pytest.mark.parametrize(
    ("patch", "status", "said"),
    [
        pytest.param(RAISES_IN_THE_LOOP, 1, "nobody has foreseen this", id="crash"),
        pytest.param(HANGS, 1, "in go_wrong", id="hang"),
    ],
)
def test_a_daemon_that_crashes_or_hangs_ends_with_a_traceback_and_the_ruleset_stays(
    world: World,
    services: Services,
    rules: WriteRules,
    patch: str,
    status: int,
    said: str,
    fail: str,
) -> None:
    text = RULES.format(fail=fail).replace("hang: 1h", "hang: 3s")
    firewall = broken(Firewall(world, [rules(text)]), patch)
    firewall.start()
    before = connects(world, 10)
    sends(world, SIGN)
    ended = firewall.child.finish(20)

    assert before
    assert ended.returncode == status
    assert said in ended.stderr
    assert "table inet nfsnitch" in table(world)
    assert connects(world) == (fail == "open")
    with Firewall(world, [rules(RULES.format(fail=fail))]) as again:
        assert connects(world, 10)
        counters = counted(again.stop())
    # The SYN and its repetition, or what else was sent meanwhile.
    name = Counter.BYPASSED if fail == "open" else Counter.UNHEARD
    assert counters[name] >= 1
    assert services.echo.pid


@BOTH
def test_while_the_daemon_is_stopped_flows_wait_until_its_queue_is_full(
    world: World, services: Services, rules: WriteRules, fail: str
) -> None:
    lost = 100 - 64
    bypassed = lost if fail == "open" else 0
    with Firewall(world, [rules(RULES.format(fail=fail))]) as firewall:
        firewall.child.send(signal.SIGSTOP)
        sends(world, SINK_PORT, 100)
        meanwhile = arrived(services)
        firewall.child.send(signal.SIGCONT)
        firewall.wait_for_records(having(dport=SINK_PORT), 64)
        counters = counted(firewall.stop())

    assert meanwhile == bypassed
    assert counters[Counter.PACKETS] == counters[Counter.ACCEPTED] == 64
    assert counters[Counter.BYPASSED] == bypassed
    assert counters[Counter.QUEUE_DROPPED] == lost - bypassed


def test_what_is_held_leaves_room_for_what_is_not(
    world: World, services: Services, rules: WriteRules
) -> None:
    with Firewall(world, [rules(RULES.format(fail="closed"))]) as firewall:
        sends(world, 22, 60)
        goes_through = connects(world, 10)
        firewall.wait_for_records(having(reason="held-limit"), 60 - 48)
        counters = counted(firewall.stop())

    assert services.echo.pid
    assert goes_through
    assert counters[Counter.HELD] == 48
    assert counters[Counter.QUEUE_DROPPED] == 0


@BOTH
def test_a_packet_for_which_there_is_no_memory_is_dropped_and_the_next_one_is_not(
    world: World, services: Services, rules: WriteRules, fail: str
) -> None:
    with broken(Firewall(world, [rules(RULES.format(fail=fail))]), NO_MEMORY) as firewall:
        sends(world, SIGN)
        record = firewall.wait_for_record(having(reason="error"))
        goes_through = connects(world, 10)
        counters = counted(firewall.stop())

    assert services.echo.pid
    assert (record["verdict"], goes_through) == ("drop", True)
    assert counters[Counter.ERRORS] == 1


def test_a_daemon_that_gets_no_more_memory_gives_every_packet_a_verdict(
    world: World, rules: WriteRules
) -> None:
    path = rules(RULES.format(fail="closed"))
    with Firewall(world, [path], extra=("--no-cache",)) as firewall:
        sends(world, SINK_PORT)
        firewall.wait_for_record(having(dport=SINK_PORT))
        # Not even what it has now: whatever asks the kernel for more is refused.
        resource.prlimit(firewall.child.pid, resource.RLIMIT_AS, (1 << 20, -1))
        sends(world, SINK_PORT, 500)
        resource.prlimit(firewall.child.pid, resource.RLIMIT_AS, (-1, -1))
        sends(world, 4_711)
        firewall.wait_for_record(having(dport=4_711))
        counters = counted(firewall.stop())

    verdicts = (Counter.ACCEPTED, Counter.DROPPED, Counter.REJECTED)
    assert sum(counters[name] for name in verdicts) == counters[Counter.PACKETS]
    lost = (Counter.QUEUE_DROPPED, Counter.QUEUE_USER_DROPPED, Counter.UNHEARD)
    assert counters[Counter.PACKETS] + sum(counters[name] for name in lost) == 502


def test_a_daemon_out_of_descriptors_goes_on_judging_and_stops_cleanly(
    world: World, services: Services, rules: WriteRules
) -> None:
    with Firewall(world, [rules(RULES.format(fail="closed"))]) as firewall:
        pid = firewall.child.pid
        in_use = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (in_use, in_use))
        goes_through = connects(world, 10)
        sends(world, SINK_PORT, 20)
        firewall.wait_for_records(having(dport=SINK_PORT), 20)
        stopped = firewall.stop()

    assert goes_through
    assert arrived(services) == 20
    assert stopped.returncode == 0, stopped.stderr
    assert table(world) == ""


def test_with_the_map_of_owners_full_new_flows_are_judged_all_the_same(
    world: World, services: Services, rules: WriteRules
) -> None:
    with broken(Firewall(world, [rules(RULES.format(fail="closed"))]), MAP_FULL) as firewall:
        goes_through = connects(world, 20)
        record = firewall.wait_for_record(having(dport=ECHO_PORT))
        counters = counted(firewall.stop())

    assert services.echo.pid
    assert goes_through
    assert record["verdict"] == "accept"
    assert record["attribution"] in {"proc", "none"}
    assert counters[Counter.OWNERS_FULL] >= 1


def test_sockets_that_close_while_nobody_reads_of_it_are_counted_beyond_what_has_room(
    world: World, services: Services, rules: WriteRules
) -> None:
    script = """
import socket
for _ in range(70_000):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.sendto(b"x", ("127.0.0.1", 9))
"""
    with Firewall(world, [rules(RULES.format(fail="closed"))]) as firewall:
        firewall.child.send(signal.SIGSTOP)
        done = world.run(python(script), timeout_s=60)
        firewall.child.send(signal.SIGCONT)
        goes_through = connects(world, 20)
        counters = counted(firewall.stop())

    assert services.echo.pid
    assert done.returncode == 0, done.stderr
    assert goes_through
    assert counters[Counter.RELEASES_LOST] >= 70_000 - 16_384
    assert counters[Counter.ACCEPTED] == counters[Counter.PACKETS]


def test_a_wall_clock_that_jumps_is_noticed_and_moves_no_deadline(
    world: World, rules: WriteRules
) -> None:
    with broken(Firewall(world, [rules(RULES.format(fail="closed"))]), CLOCK_JUMPS) as firewall:
        sends(world, 22)
        sends(world, SIGN)
        child = firewall.child
        line = child.wait_for_line(child.stderr, lambda text: "clock jumped" in text, 10)
        counters = counted(firewall.stop())

    assert line == "nfsnitch: the wall clock jumped by +7200.0 s"
    assert counters[Counter.CLOCK_JUMPS] == 1
    # Held for an hour, and let go by the stop: not by two hours on the wall.
    assert (counters[Counter.UNANSWERED], counters[Counter.STOPPING]) == (0, 1)


def test_a_service_manager_hears_that_the_daemon_comes_round(
    world: World, rules: WriteRules, tmp_path: Path
) -> None:
    address = tmp_path / "notify"
    path = rules(RULES.format(fail="closed"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(address))
        manager.settimeout(20)
        env = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "3000000"}
        child = world.spawn(
            [
                sys.executable,
                "-m",
                "nfsnitch.cli",
                "run",
                "--rules",
                str(path),
                "--cgroup",
                str(world.apps),
            ],
            cgroup=world.infra,
            env={**env, "PYTHONPATH": ":".join(filter(None, sys.path))},
        )
        heard = [manager.recv(100) for _ in range(4)]
        child.stop()

    assert sorted(heard) == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]


@contextmanager
def early(world: World, rules_file: Path) -> Iterator[None]:
    """Have the ruleset loaded as at boot, without a daemon."""
    done = ruleset(world, "load", rules_file)
    assert done == (0, "")
    yield
    ruleset(world, "remove", rules_file)


def ruleset(world: World, wish: str, rules_file: Path) -> tuple[int, str]:
    """Run ``nfsnitch ruleset``; return its exit status and what it said on standard error."""
    argv = [sys.executable, "-m", "nfsnitch.cli", "ruleset", wish, "--rules", str(rules_file)]
    env = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    done = world.spawn(argv, cgroup=world.infra, env=env).finish(20)
    return done.returncode, done.stderr


@BOTH
def test_before_the_daemon_runs_the_early_ruleset_holds_and_it_takes_over_from_it(
    world: World, services: Services, rules: WriteRules, fail: str
) -> None:
    path = rules(RULES.format(fail=fail))
    with early(world, path):
        sends(world, SINK_PORT, 7)
        before = arrived(services)
        assert ruleset(world, "load", path) == (0, "")
        with Firewall(world, [path]) as firewall:
            sends(world, SINK_PORT, 3)
            firewall.wait_for_records(having(dport=SINK_PORT), 3)
            counters = counted(firewall.stop())

    assert before == (7 if fail == "open" else 0)
    assert counters[Counter.PACKETS] + counters[Counter.CACHED] == 3
    name = Counter.BYPASSED if fail == "open" else Counter.UNHEARD
    assert counters[name] == 7
    assert table(world) == ""


def test_while_a_daemon_runs_only_its_own_ruleset_may_be_loaded(
    world: World, rules: WriteRules, tmp_path: Path
) -> None:
    path = rules(RULES.format(fail="closed"))
    other = tmp_path / "other.yaml"
    other.write_text("fail: open\nrules: []\n", "ascii")
    with Firewall(world, [path]) as firewall:
        before = table(world)
        same = ruleset(world, "load", path)
        different, said = ruleset(world, "load", other)
        removed, _ = ruleset(world, "remove", path)
        after = table(world)

    assert same == (0, "")
    assert (different, removed) == (1, 1)
    assert f"already runs in network namespace net:[{world.netns_inode('client')}]" in said
    assert str(firewall.child.pid) in said
    assert before == after


@pytest.mark.parametrize("text", [None, "fail: opne\nrules: []\n"])
def test_a_bad_rule_file_at_boot_does_not_leave_the_machine_open(
    world: World, services: Services, tmp_path: Path, text: str | None
) -> None:
    path = tmp_path / "bad.yaml"
    if text is not None:
        path.write_text(text, "ascii")
    status, said = ruleset(world, "load", path)
    sends(world, SINK_PORT, 3)
    with pytest.raises(EndedError, match="cannot run"):
        Firewall(world, [path]).start()
    sends(world, SINK_PORT, 3)

    assert (status, "bad.yaml:1:" in said) == (3, True)
    assert "default settings are used instead (fail: closed)" in said
    assert arrived(services) == 0
    assert ruleset(world, "remove", path) == (0, "")
    assert table(world) == ""
