"""The modes with a probe on the queue: the packet itself says which socket it came from."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pytest

from attach_mode import refusals
from builders import WriteRules
from nfsnitch.core.attach import AttachMode
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.programs import Sent, build_program, swarm
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    # Each gives its firewall a mode of its own, so once is enough.
    pytest.mark.vm_guest(modes=("lsm",)),
]

ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
NOBODY = 65534
QUEUED = ("--no-cache",)
"""What is not queued, no probe on the queue sees."""


@pytest.fixture(name="mode", params=[AttachMode.LSM, AttachMode.KPROBE])
def fixture_mode(request: pytest.FixtureRequest) -> AttachMode:
    mode = AttachMode(request.param)
    why_not = refusals()[mode]
    if why_not is not None:
        pytest.skip(f"attach mode {mode}: {why_not}")
    return mode


def python(script: str, *args: str | int) -> list[str]:
    return ["python3", "-I", "-S", "-c", script, *map(str, args)]


@contextmanager
def pipe() -> Iterator[tuple[int, BinaryIO]]:
    """Yield the end to read from and the end to write to."""
    read_fd, write_fd = os.pipe()
    try:
        with os.fdopen(write_fd, "wb", buffering=0) as writer:
            yield read_fd, writer
    finally:
        os.close(read_fd)


def said(child: Child, word: str) -> Child:
    """Wait until a program has said a word."""
    child.wait_for_line(child.stdout, lambda line: line == word, 30)
    return child


def test_auto_takes_the_best_mode_and_says_which_and_why(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(ALLOW_ALL)], attach=AttachMode.AUTO) as firewall:
        stderr = firewall.stop().stderr

    best = next(mode for mode, why_not in refusals().items() if why_not is None)
    assert f"attach mode {best}: " in stderr
    for mode, why_not in refusals().items():
        if why_not is None:
            break
        assert f"{mode} cannot be had ({why_not})" in stderr


KEEPS_SENDING = """
import socket, sys
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
if sys.argv[2] == "shared":
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("192.0.2.2", 5353))
sock.connect(("192.0.2.1", int(sys.argv[1])))
print("ready", flush=True)
for _ in sys.stdin:
    sock.send(b"x" * int(sys.argv[3]))
    print("sent", flush=True)
"""


def test_two_programs_that_share_a_port_are_told_apart(
    world: World, services: Services, rules: WriteRules, mode: AttachMode
) -> None:
    good = world.own_copy("python3", "good")
    only_good = f"default: deny\nrules: [{{name: good, action: allow, exe: {good}}}]\n"
    with (
        pipe() as (ours, tell_good),
        pipe() as (theirs, tell_other),
        Firewall(world, [rules(only_good)], attach=mode, extra=QUEUED) as firewall,
    ):
        argv = python(KEEPS_SENDING, ECHO_PORT, "shared", 4)
        child = said(world.spawn([str(good), *argv[1:]], fds={0: ours}), "ready")
        argv = python(KEEPS_SENDING, ECHO_PORT, "shared", 14)
        other = said(world.spawn(argv, fds={0: theirs}), "ready")
        verdicts: list[Json] = []
        for number in range(3):
            for tell, sender in ((tell_other, other), (tell_good, child)):
                tell.write(b"now\n")
                pid_and_count = having(pid=sender.pid)
                if number == 0:
                    verdicts.append(firewall.wait_for_record(pid_and_count, timeout_s=30))
                    services.arrived()
        firewall.stop()

    by_pid = {(each["pid"], each["verdict"]) for each in verdicts}
    assert by_pid == {(other.pid, "drop"), (child.pid, "accept")}
    sizes = [int(line.split()[-1]) for line in services.arrived() if "udp" in line]
    assert set(sizes) == {4}


@pytest.mark.usefixtures("services")
def test_short_lived_senders_that_connect_are_all_known_by_their_packets(
    world: World, rules: WriteRules, mode: AttachMode
) -> None:
    own = world.own_copy(build_program("one_datagram"), "short-lived")
    with Firewall(world, [rules(ALLOW_ALL)], attach=mode, extra=QUEUED) as firewall:
        gone = swarm(world, 300, own, "--connect", "192.0.2.1", str(SINK_PORT))
        found = firewall.wait_for_records(having(exe=str(own)), 300, timeout_s=60)

    assert {Sent(each["pid"], each["sport"]) for each in found} == set(gone.sent)
    assert {each["attribution"] for each in found} == {"queue-probe"}
