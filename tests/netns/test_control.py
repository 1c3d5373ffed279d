"""The control socket of the real daemon: commands, rights, and clients that mean no good."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from builders import WriteRules
from daemon_asks import NFSNITCH, ask, client_of, nfsnitch
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child, same_modules
from nfsnitch.lab.programs import build_program, swarm
from nfsnitch.lab.services import SINK_PORT
from nfsnitch.lab.world import World
from nfsnitch.protocol import Refused, Status, Watching, WatchRequest, socket_path

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

RULES = "default: deny\nrules: [{name: everything, action: allow}]\n"
DENY = "default: deny\n"
GROUP = "games"
GROUP_GID = 60
"""Of base-files on Debian, as everywhere."""
SOMEBODY = 54_321
FLOWS = """
import socket, sys
sent = 0
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    for port in range(10_000, 10_000 + int(sys.argv[1])):
        sock.sendto(b'x', ('192.0.2.1', port))
        sent += 1
print(sent)
"""
CROWD = """
import resource, socket, sys
_, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
clients = []
for number in range(int(sys.argv[2])):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.connect(sys.argv[1])
    try:
        client.send([b'', b'{', b'\\0' * 999, b'{"v":1,"type":"status"}\\n' * 30][number % 4])
    except (BrokenPipeError, ConnectionResetError):
        pass
    clients.append(client)
print(len(clients), flush=True)
sys.stdin.read()
"""


def as_somebody(
    world: World, *argv: str, groups: Sequence[int] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command as a user who is no root, from another network namespace."""
    return subprocess.run(
        [*NFSNITCH, *argv, "--netns", str(world.netns_inode("client"))],
        user=SOMEBODY,
        group=SOMEBODY,
        extra_groups=groups,
        env={"PATH": os.defpath, **same_modules()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def watcher(world: World, *argv: str) -> Child:
    """Start a watch and return once the daemon has it."""
    before = ask(world).watchers
    child = world.spawn([*NFSNITCH, "watch", *argv], cgroup=world.infra, env=same_modules())
    while ask(world).watchers == before:
        assert not child.has_ended()
    return child


def wait_for_pid(watching: Child, pid: int) -> None:
    """Wait until a watcher has printed a record of that process."""
    watching.wait_for_line(watching.stdout, lambda line: json.loads(line)["pid"] == pid, 10)


@pytest.fixture(name="firewall")
def fixture_firewall(world: World, rules: WriteRules) -> Iterator[Firewall]:
    with Firewall(world, [rules(RULES)], extra=["--group", GROUP]) as firewall:
        yield firewall


def test_status_says_what_runs_and_what_it_has_counted(world: World, firewall: Firewall) -> None:
    gone = swarm(world, 3, build_program("one_datagram"), "192.0.2.1", str(SINK_PORT))
    firewall.wait_for_records(having(dport=SINK_PORT), 3)
    status = nfsnitch(world, "status", "--json")
    content = json.loads(status.stdout)

    assert gone.done.returncode == status.returncode == 0, status.stderr
    assert content["running"] is True
    assert content["pid"] == firewall.child.pid
    assert content["netns"] == world.netns_inode("client")
    assert (content["rules"], content["generation"], content["fail"]) == (1, 1, "closed")
    assert 0 < content["uptime_s"] < 60
    assert 10e6 < content["memory_bytes"] < 100e6
    assert content["counters"].keys() == {counter.value for counter in Counter}
    assert content["counters"]["accepted"] == content["counters"]["packets"] >= 1
    assert content["counters"]["packets"] + content["counters"]["cached"] >= 3
    assert content["counters"]["errors"] == 0


def test_asking_for_the_status_again_counts_nothing_twice(world: World, firewall: Firewall) -> None:
    assert firewall.child.pid
    first, second = ask(world), ask(world)

    assert first.counters == second.counters


def test_stop_returns_when_the_daemon_is_gone_and_its_rules_with_it(
    world: World, firewall: Firewall
) -> None:
    stopped = nfsnitch(world, "stop")

    assert firewall.child.has_ended()
    assert stopped.returncode == 0, stopped.stderr
    assert firewall.child.finish(1).returncode == 0
    assert world.run(["nft", "list", "ruleset"]).stdout == ""
    assert nfsnitch(world, "status").returncode == 3


def test_watch_shows_what_is_recorded_and_ends_with_the_daemon(
    world: World, firewall: Firewall
) -> None:
    people, programs = watcher(world), watcher(world, "--json")
    swarm(world, 5, build_program("one_datagram"), "192.0.2.1", str(SINK_PORT))
    firewall.wait_for_records(having(dport=SINK_PORT), 5)
    firewall.stop()
    lines, records = people.finish(10), programs.finish(10)

    assert [json.loads(line) for line in records.stdout.splitlines()] == firewall.records
    assert len(lines.stdout.splitlines()) == len(firewall.records)
    assert f"udp → 192.0.2.1:{SINK_PORT}  rule 'everything'" in lines.stdout
    assert (lines.returncode, records.returncode) == (0, 0)
    assert lines.stderr == "nfsnitch: the daemon has stopped\n"


def test_watch_shows_only_what_was_asked_for(world: World, firewall: Firewall) -> None:
    dropped = watcher(world, "--json", "--verdict", "drop")
    datagrams = watcher(world, "--json", "--exe", "*/one_datagram")
    swarm(world, 2, build_program("one_datagram"), "192.0.2.1", str(SINK_PORT))
    firewall.wait_for_records(having(dport=SINK_PORT), 2)
    firewall.stop()

    assert dropped.finish(10).stdout == ""
    assert len(datagrams.finish(10).stdout.splitlines()) == 2


def test_watch_ends_quietly_when_nobody_reads_it_any_more(world: World, firewall: Firewall) -> None:
    assert firewall.child.pid
    reading, writing = os.pipe()
    child = world.spawn(
        [*NFSNITCH, "watch"], cgroup=world.infra, env=same_modules(), stdout=writing
    )
    os.close(writing)
    while not ask(world).watchers:
        assert not child.has_ended()
    os.close(reading)

    assert child.wait(10) == 0
    assert child.stderr.text() == ""


def test_watch_follows_from_one_daemon_to_the_next(world: World, rules: WriteRules) -> None:
    follower = world.spawn(
        [*NFSNITCH, "watch", "--json", "--follow"], cgroup=world.infra, env=same_modules()
    )
    follower.wait_for_line(follower.stderr, lambda line: line.endswith("waiting for one"), 10)
    for _ in range(2):
        with Firewall(world, [rules(RULES)]) as firewall:
            while not ask(world).watchers:
                assert not follower.has_ended()
            done = world.run([str(build_program("one_datagram")), "192.0.2.1", str(SINK_PORT)])
            wait_for_pid(follower, done.pid)
            firewall.stop()
    assert follower.stop(signal.SIGINT) == 130


def test_a_member_of_the_group_may_look_but_not_touch(world: World, firewall: Firewall) -> None:
    status = as_somebody(world, "status", groups=[7, GROUP_GID])
    stop = as_somebody(world, "stop", groups=[7, GROUP_GID])
    reload = as_somebody(world, "reload", groups=[7, GROUP_GID])

    assert (status.returncode, status.stderr) == (0, "")
    assert f"process {firewall.child.pid}" in status.stdout
    assert (stop.returncode, reload.returncode) == (4, 4)
    assert "nfsnitch: stop is for root" in stop.stderr
    assert not firewall.child.has_ended()


def test_who_is_no_member_is_told_who_may(world: World, firewall: Firewall) -> None:
    path = socket_path(world.netns_inode("client"))
    for command in ("status", "watch", "stop"):
        refused = as_somebody(world, command, groups=[7])
        assert refused.returncode == 4
        assert refused.stderr == (
            f"nfsnitch: only root and members of the group {GROUP} may use {path}\n"
        )
    assert not firewall.child.has_ended()


def test_an_open_socket_file_does_not_open_the_daemon(world: World, firewall: Firewall) -> None:
    assert firewall.child.pid
    Path(socket_path(world.netns_inode("client"))).chmod(0o666)

    refused = as_somebody(world, "status", groups=[7])

    assert refused.returncode == 4
    assert f"user {SOMEBODY} is neither root nor a member" in refused.stderr


def test_a_crash_is_told_loudly_and_the_next_start_replaces_the_socket(
    world: World, rules: WriteRules
) -> None:
    crashed = Firewall(world, [rules(RULES)])
    crashed.start()
    watching = watcher(world)
    crashed.child.stop(signal.SIGKILL)
    seen, status = watching.finish(10), nfsnitch(world, "status")
    as_json = json.loads(nfsnitch(world, "status", "--json").stdout)
    with Firewall(world, [rules(RULES)]) as firewall:
        again = ask(world)

    assert (seen.returncode, status.returncode) == (3, 3)
    assert "without a word" in seen.stderr
    assert "WARNING: the ruleset is in force all the same" in status.stderr
    assert as_json["ruleset_in_force"] is True
    assert again.pid == firewall.child.pid


def test_the_socket_can_be_elsewhere(world: World, rules: WriteRules) -> None:
    path = str(world.folder / "control.sock")
    with Firewall(world, [rules(RULES)], extra=["--socket", path]) as firewall:
        status = nfsnitch(world, "status", "--json", "--socket", path)
        by_default = nfsnitch(world, "status")

    assert json.loads(status.stdout)["pid"] == firewall.child.pid
    assert by_default.returncode == 3


def test_a_group_that_is_not_there_stops_the_start_and_leaves_no_rule(
    world: World, rules: WriteRules
) -> None:
    firewall = Firewall(world, [rules(RULES)], extra=["--group", "no-such-group"])
    with pytest.raises(Exception, match="there is no group 'no-such-group'"):
        firewall.start()

    assert world.run(["nft", "list", "ruleset"]).stdout == ""


def test_a_watcher_that_never_reads_costs_no_packet_and_no_record(
    world: World, firewall: Firewall
) -> None:
    count = 2_000
    with client_of(world) as asleep:
        asleep.ask(WatchRequest(), Watching)
        done = world.run(["python3", "-I", "-S", "-c", FLOWS, str(count)], timeout_s=60)
        firewall.wait_for_records(having(pid=done.pid), count, timeout_s=60)
        counters = counted(firewall.stop())

    assert counters[Counter.WATCH_DROPPED] > 0
    assert_one_verdict_each(counters)


def test_a_thousand_connections_full_of_nonsense_leave_root_served_and_packets_judged(
    world: World, firewall: Firewall
) -> None:
    path = socket_path(world.netns_inode("client"))
    descriptors = Path(f"/proc/{firewall.child.pid}/fd")
    before = len(list(descriptors.iterdir()))
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", CROWD, path, "1000"],
        user=SOMEBODY,
        group=GROUP_GID,
        extra_groups=[],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == "1000\n"
        began = time.monotonic()
        status = ask(world)
        took_s = time.monotonic() - began
        open_meanwhile = len(list(descriptors.iterdir()))
        done = world.run([str(build_program("one_datagram")), "192.0.2.1", str(SINK_PORT)])
        firewall.wait_for_record(having(pid=done.pid))
        crowd.kill()
    counters = counted(firewall.stop())

    assert took_s < 1
    assert open_meanwhile <= before + 20
    assert status.counters["control-refused"] >= 1_000 - 16
    assert counters[Counter.CONTROL_ERRORS] == 0
    assert_one_verdict_each(counters)


def test_a_daemon_without_descriptors_serves_packets_and_later_clients_again(
    world: World, firewall: Firewall
) -> None:
    pid = firewall.child.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    ask(world)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (3, hard))
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as waiting:
        waiting.connect(socket_path(world.netns_inode("client")))
        done = world.run([str(build_program("one_datagram")), "192.0.2.1", str(SINK_PORT)])
        firewall.wait_for_record(having(pid=done.pid))
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))
        status = ask(world)

    assert 1 <= status.counters["control-accept-errors"] < 20
    assert not firewall.child.has_ended()


def test_status_is_answered_within_a_second_throughout_a_flood(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(DENY)]) as firewall, client_of(world) as watching:
        watching.ask(WatchRequest(), Watching)
        flood = world.spawn(["python3", "-I", "-S", "-c", FLOWS, "50000"])
        answers: list[Status] = []
        took_s: list[float] = []
        while not flood.has_ended() or len(answers) < 5:
            began = time.monotonic()
            answers.append(ask(world))
            took_s.append(time.monotonic() - began)
        firewall.stop()

    packets = [answer.counters["packets"] for answer in answers]
    assert packets[-1] > packets[0]
    assert max(took_s) < 1


def test_a_refusal_names_its_reason_for_programs(world: World, firewall: Firewall) -> None:
    assert firewall.child.pid
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(socket_path(world.netns_inode("client")))
        client.sendall(b"hello\n")
        answer = json.loads(client.makefile("rb").readline())

    assert (answer["type"], answer["why"]) == (Refused.type, "bad-message")
