"""What is used again on purpose: a pid, a port, a tuple; each time it is somebody else's."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.programs import REPORT_FD, Sent, build_program
from nfsnitch.lab.world import World
from ways.stage import PORT, Place, Stage, staged, truths_of

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.vm_guest(modes=("lsm", "kprobe")),
]

ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
ROUNDS = 10
SPORT = 40_000


@pytest.fixture(name="stage", scope="module")
def fixture_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    rules = tmp_path_factory.mktemp("reuse") / "rules.yaml"
    rules.write_text(ALLOW_ALL, encoding="utf-8")
    with staged(rules, ()) as stage:
        yield stage


def firewall_of(stage: Stage) -> Firewall:
    assert stage.firewall is not None
    return stage.firewall


def test_programs_that_have_the_same_pid_one_after_the_other_are_told_apart(stage: Stage) -> None:
    place, again = Place(200), str(build_program("again"))
    one, other = stage.copy("one"), stage.copy("other")
    argv = [again, str(ROUNDS), place.ipv4, str(PORT), str(one), str(other)]

    truths = truths_of(stage.world.spawn(argv).finish(60))
    records = firewall_of(stage).wait_for_records(
        lambda record: record["daddr"].startswith("198.18.200."), ROUNDS, timeout_s=30
    )

    assert len({truth.pid for truth in truths}) == 1
    assert [truth.exe for truth in truths] == [str(one), str(other)] * (ROUNDS // 2)
    assert sorted((each["daddr"], each["pid"], each["exe"]) for each in records) == sorted(
        (truth.daddr, truth.pid, truth.exe) for truth in truths
    )
    assert len({each["start_time"] for each in records}) == ROUNDS


@pytest.mark.parametrize("program", ["one_datagram", "one_connect"], ids=["udp", "tcp"])
def test_programs_that_have_the_same_tuple_one_after_the_other_are_told_apart(
    stage: Stage, program: str
) -> None:
    world, dport = stage.world, 6_000 if program == "one_datagram" else 6_001
    programs = [world.own_copy(build_program(program), name) for name in ("one", "other")]
    report = world.new_file("report")
    records: list[Json] = []
    for number in range(ROUNDS):
        argv = [str(programs[number % 2]), "--sport", str(SPORT), "192.0.2.1", str(dport)]
        with report.path.open("ab") as file:
            world.spawn(argv, fds={REPORT_FD: file.fileno()}).finish(60)
        records = firewall_of(stage).wait_for_records(having(dport=dport), number + 1, 30)
    sent = [Sent.read(line) for line in report.lines()]

    assert {each.sport for each in sent} == {SPORT}
    assert [each.exe for each in sent] == list(map(str, programs)) * (ROUNDS // 2)
    assert [(each["pid"], each["exe"]) for each in records] == [
        (each.pid, each.exe) for each in sent
    ]


SENDS_WHEN_TOLD = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("192.0.2.2", int(sys.argv[1])))
print("ready", flush=True)
for line in sys.stdin:
    sock.sendto(b"x", ("192.0.2.1", int(line)))
    print(f"sent {line}", end="", flush=True)
"""
IN_A_NETNS_ALIKE = (
    "ip link add eth0 type veth peer name eth1 && ip link set eth1 up"
    " && ip address add 192.0.2.2/24 dev eth0"
    ' && ip link set eth0 up && exec "$0" "$@"'
)


@contextmanager
def sender(world: World, *before: str) -> Iterator[tuple[Child, BinaryIO]]:
    """Start a program that sends from one port; yield it and what tells it to which port."""
    read_fd, write_fd = os.pipe()
    with os.fdopen(write_fd, "wb", buffering=0) as tell:
        argv = [*before, "python3", "-I", "-S", "-c", SENDS_WHEN_TOLD, str(SPORT)]
        child = world.spawn(argv, fds={0: read_fd})
        os.close(read_fd)
        child.wait_for_line(child.stdout, lambda line: line == "ready", 30)
        yield child, tell


def sends(child: Child, tell: BinaryIO, dport: int) -> None:
    """Let it send, and wait until it has."""
    before = len(child.stdout.lines())
    tell.write(f"{dport}\n".encode())
    lines = child.stdout.follow(timeout_s=30, ends_fd=child.pidfd, start=before)
    assert next(lines) == f"sent {dport}"


def test_the_same_tuple_in_another_network_namespace_is_another_program(stage: Stage) -> None:
    """Both send from the same address and port to the same, the other one before and after."""
    elsewhere = ("unshare", "--net", "sh", "-c", IN_A_NETNS_ALIKE)
    dports = range(7_000, 7_000 + ROUNDS)
    with sender(stage.world) as ours, sender(stage.world, *elsewhere) as theirs:
        for dport in dports:
            sends(*theirs, dport)
            sends(*ours, dport)
            sends(*theirs, dport)
        firewall_of(stage).wait_for_record(having(dport=dports[-1]), timeout_s=30)
    records = [each for each in firewall_of(stage).records if each["dport"] in dports]

    assert [(each["dport"], each["pid"]) for each in records] == [
        (dport, ours[0].pid) for dport in dports
    ]
    assert not [each for each in records if each.get("rivals")]
