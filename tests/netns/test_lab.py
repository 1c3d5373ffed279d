"""The lab itself: worlds apart, programs where they belong, nothing left behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nfsnitch.lab import cgroups, namespaces
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import EndedError, SpawnError
from nfsnitch.lab.programs import Sent, build_program, swarm
from nfsnitch.lab.runs import Run
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, WELCOME, Services
from nfsnitch.lab.waiting import LabError, TimeIsOverError
from nfsnitch.lab.world import CLIENT, SERVER, World

pytestmark = [pytest.mark.root, pytest.mark.netns]

# Builds a world with a program that does not end by itself, says its name, and waits for a signal.
KEEPER = """
import signal
from nfsnitch.lab.world import World
# Whoever runs the tests may have them ignored, as nohup does.
for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM):
    signal.signal(number, signal.SIG_DFL)
with World() as world:
    child = world.spawn(["sleep", "infinity"])
    print(world.run_name, child.pid, flush=True)
    while True:
        signal.pause()
"""
ADDRESSES = ("192.0.2.1", "198.51.100.1", "203.0.113.1", "2001:db8::1")


OF_THE_C_LIBRARY = 1 << 31 | 1 << 32
"""Signals 32 and 33, which no program can set by way of glibc; make leaves them ignored."""


class PlannedError(Exception):
    """Raised by a test on purpose."""


@contextmanager
def kept_world() -> Iterator[tuple[subprocess.Popen[str], Run, int]]:
    """Yield another process that has built a world, that world's name and a program's pid in it."""
    argv = [sys.executable, "-c", KEEPER]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as popen:
        try:
            assert popen.stdout is not None
            name, pid = popen.stdout.readline().split()
            run = Run.of(name)
            assert run is not None
            yield popen, run, int(pid)
        finally:
            popen.kill()


def traces(run: Run) -> list[str]:
    """Return all that there is on this machine under the name of *run*."""
    found = [name for name in namespaces.names() if Run.of(name) == run]
    found += [str(path) for path in (run.cgroup(), run.folder()) if path.exists()]
    return found


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "State:\tZ" not in status


def test_client_and_server_are_two_namespaces_and_neither_is_the_machines_own(world: World) -> None:
    own = Path("/proc/self/ns/net").stat().st_ino

    assert len({own, world.netns_inode(CLIENT), world.netns_inode(SERVER)}) == 3


def test_two_worlds_at_once_share_nothing(world: World) -> None:
    with World() as other:
        assert world.netns_inode(CLIENT) != other.netns_inode(CLIENT)
        assert world.apps != other.apps
        assert world.folder != other.folder

    assert len(traces(world.run_name)) == 4


@pytest.mark.parametrize("host", [CLIENT, SERVER])
def test_a_program_starts_in_its_namespace(world: World, host: str) -> None:
    done = world.run(["readlink", "/proc/self/ns/net"], netns=host)

    assert done.stdout == f"net:[{world.netns_inode(host)}]\n"


def test_a_program_starts_in_the_cgroup_it_was_given(world: World) -> None:
    browsers = world.cgroup("browsers")

    done = world.run(["cat", "/proc/self/cgroup"], cgroup=browsers)

    assert f"0::{cgroups.below_root(browsers)}" in done.stdout.splitlines()
    assert cgroups.below_root(browsers) == f"/{world.run_name}/apps/browsers"


def test_programs_of_the_client_are_in_the_watched_cgroup_and_the_servers_are_not(
    world: World,
) -> None:
    ours = world.run(["cat", "/proc/self/cgroup"]).stdout
    theirs = world.run(["cat", "/proc/self/cgroup"], netns=SERVER).stdout

    assert f"0::{cgroups.below_root(world.apps)}" in ours.splitlines()
    assert f"0::{cgroups.below_root(world.infra)}" in theirs.splitlines()


def test_a_program_is_a_child_of_the_caller_under_the_pid_the_caller_knows(world: World) -> None:
    done = world.run(["cat", "/proc/self/stat"])

    pid, _, _, parent = done.stdout.split()[:4]
    assert (int(pid), int(parent)) == (done.pid, os.getpid())


def test_a_started_program_is_that_program_already(world: World) -> None:
    child = world.spawn(["sleep", "infinity"])

    assert Path(f"/proc/{child.pid}/exe").readlink().name == "sleep"


def test_a_program_can_run_as_somebody_else(world: World) -> None:
    done = world.run(["cat", "/proc/self/status"], uid=65534)

    lines = done.stdout.splitlines()
    assert "Uid:\t65534\t65534\t65534\t65534" in lines
    assert "Gid:\t65534\t65534\t65534\t65534" in lines
    assert "Groups:\t " in lines


def test_a_program_gets_the_descriptors_it_was_given_and_no_others(world: World) -> None:
    file = world.new_file("given")
    with file.path.open("ab") as opened:
        child = world.spawn(["ls", "-l", "/proc/self/fd"], fds={7: opened.fileno()})
    lines = child.finish(10).stdout.splitlines()[1:]

    numbers = [line.split()[8] for line in lines]
    assert f"7 -> {file.path}" in "\n".join(lines)
    # 3 is the folder that ls reads.
    assert numbers == ["0", "1", "2", "3", "7"]


def test_a_program_inherits_neither_environment_nor_ignored_signals(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.invalid/")

    assert "proxy" not in world.run(["env"]).stdout
    status = world.run(["cat", "/proc/self/status"]).stdout
    (ignored,) = re.findall(r"SigIgn:\t([0-9a-f]+)", status)
    assert int(ignored, 16) & ~OF_THE_C_LIBRARY == 0


def test_an_own_copy_of_a_program_is_another_program(world: World) -> None:
    mystery = world.own_copy("sleep", "mystery")

    child = world.spawn([str(mystery), "infinity"])

    assert Path(f"/proc/{child.pid}/exe").readlink() == mystery


def test_a_program_that_is_not_there_is_an_error(world: World) -> None:
    with pytest.raises(SpawnError, match="no-such-program is not installed"):
        world.spawn(["no-such-program"])


def test_a_program_that_cannot_be_started_says_why(world: World) -> None:
    with pytest.raises(SpawnError, match="No such file or directory: '/no/such/program'"):
        world.spawn(["program"], exe="/no/such/program")


def test_a_program_that_ends_early_is_an_error_that_tells_what_it_said(world: World) -> None:
    child = world.spawn(["ls", "/no/such/file"])

    with pytest.raises(EndedError, match=r"ended early with status 2.*No such file"):
        child.wait_for_line(child.stdout, lambda line: line == "ready", 10)


def test_waiting_for_a_program_that_goes_on_ends_with_the_time(world: World) -> None:
    child = world.spawn(["sleep", "infinity"])

    with pytest.raises(TimeIsOverError, match="still runs after"):
        child.wait(0.01)


def test_a_signal_ends_a_program_and_its_status_says_so(world: World) -> None:
    child = world.spawn(["sleep", "infinity"])

    assert child.stop() == -signal.SIGTERM
    assert child.has_ended()


def test_an_exception_leaves_nothing_behind() -> None:
    worlds, pids = [], []

    def fail_inside() -> None:
        with World() as world:
            worlds.append(world)
            pids.append(world.spawn(["sleep", "infinity"]).pid)
            # The children of this one are nobody's business but the cgroup's.
            nest = world.spawn([str(build_program("swarm")), "2", "/bin/sleep", "infinity"])
            pids.append(nest.pid)
            assert len(traces(world.run_name)) == 4
            raise PlannedError

    with pytest.raises(PlannedError):
        fail_inside()

    assert traces(worlds[0].run_name) == []
    assert not any(map(is_running, pids))


def test_a_world_that_cannot_be_built_leaves_nothing_behind() -> None:
    crooked = namespaces.Plan(
        client=namespaces.Host("client", ("192.0.2.2/24",), gateways=("no-address",)),
        server=namespaces.Host("server", ("192.0.2.1/24",)),
    )
    world = World(crooked)

    with pytest.raises(LabError, match="no-address"):
        world.__enter__()

    assert traces(world.run_name) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_to_the_lab_leaves_nothing_behind(number: signal.Signals) -> None:
    with kept_world() as (popen, run, pid):
        popen.send_signal(number)
        popen.wait(30)

        assert popen.returncode != 0
        assert traces(run) == []
        assert not is_running(pid)


def test_the_leftovers_of_a_killed_run_are_removed_by_the_next_and_a_live_run_is_not() -> None:
    with kept_world() as (alive, alive_run, _), kept_world() as (killed, killed_run, pid):
        assert len(traces(killed_run)) == 4
        killed.kill()
        killed.wait(30)

        with World():
            assert traces(killed_run) == []
            assert not is_running(pid)
            assert len(traces(alive_run)) == 4

        alive.send_signal(signal.SIGTERM)
        alive.wait(30)


def test_a_process_that_only_got_the_pid_of_a_dead_run_is_not_taken_for_it() -> None:
    assert not Run(os.getpid(), 1, 1).is_alive()
    assert Run.new().is_alive()


def test_names_that_are_not_the_labs_are_left_alone() -> None:
    assert Run.of("nfs-server") is None
    assert Run.of("nfs-1-2-3-client") == Run.of("nfs-1-2-3") == Run(1, 2, 3)


@pytest.mark.usefixtures("all_services")
def test_http_is_served_at_every_address_of_the_server(world: World) -> None:
    urls = [f"http://[{a}]/" if ":" in a else f"http://{a}/" for a in ADDRESSES]

    done = world.run(["curl", "-sS", "--max-time", "10", *urls])

    assert done.stdout == WELCOME * len(ADDRESSES)


@pytest.mark.usefixtures("all_services")
@pytest.mark.parametrize("server", ["192.0.2.1", "2001:db8::1"])
def test_the_dns_server_knows_the_labs_names_and_no_others(world: World, server: str) -> None:
    queries = ["example.test", "A", "example.test", "AAAA", "localhost", "A", "debian.org", "A"]

    done = world.run(["dig", f"@{server}", "+short", "+tries=1", "+time=5", *queries])

    assert done.stdout == "192.0.2.1\n2001:db8::1\n"


@pytest.mark.parametrize(("port", "answer"), [(ECHO_PORT, "nfsnitch"), (SINK_PORT, "")])
def test_echo_answers_sink_does_not_and_both_tell_who_came(
    world: World, services: Services, port: int, answer: str
) -> None:
    words = world.new_file("words")
    words.path.write_text("nfsnitch", encoding="ascii")
    with words.path.open("rb") as opened:
        argv = ["nc.openbsd", "-N", "-w", "10", "2001:db8::1", str(port)]
        child = world.spawn(argv, fds={0: opened.fileno()})

    assert child.finish(20).stdout == answer
    line = services.echo.wait_for_line(services.arrivals, lambda line: "tcp" in line, 10)
    assert line.startswith("tcp 2001:db8::2 ")
    assert line.endswith(f" 2001:db8::1 {port}")


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
@pytest.mark.parametrize(
    ("program", "options", "proto"),
    [
        ("one_connect", (), "tcp"),
        ("one_datagram", (), "udp"),
        ("one_datagram", ("--connect",), "udp"),
    ],
)
def test_what_a_swarm_says_about_itself_is_what_the_server_sees(
    world: World,
    services: Services,
    address: str,
    program: str,
    options: tuple[str, ...],
    proto: str,
) -> None:
    count = 300

    done = swarm(world, count, build_program(program), *options, address, str(SINK_PORT))

    assert done.done.stdout == f"{count} run, 0 failed\n"
    assert len({sent.pid for sent in done.sent}) == len(done.sent) == count
    arrivals = services.arrivals.follow(timeout_s=20, ends_fd=services.echo.pidfd, start=1)
    seen = [next(arrivals).split() for _ in range(count)]
    assert {words[0] for words in seen} == {proto}
    assert sorted(int(words[2]) for words in seen) == sorted(sent.sport for sent in done.sent)


def test_a_swarm_can_give_each_member_a_port_of_its_own(world: World) -> None:
    program = build_program("one_datagram")

    done = swarm(world, 50, program, "--sport", "{20000}", "192.0.2.1", "{30000}", jobs=3)

    assert sorted(sent.sport for sent in done.sent) == list(range(20000, 20050))


def test_a_swarm_counts_those_that_fail(world: World) -> None:
    done = swarm(world, 3, build_program("one_connect"), "192.0.2.1", "1")

    assert done.done.stdout == "3 run, 3 failed\n"
    assert done.done.returncode == 1
    assert "Connection refused" in done.done.stderr
    assert all(isinstance(sent, Sent) for sent in done.sent)


def test_a_firewall_that_does_not_start_says_why(world: World) -> None:
    firewall = Firewall(world, [Path("no-such-rules.yaml")])

    with pytest.raises(EndedError, match="no-such-rules"):
        firewall.start()
