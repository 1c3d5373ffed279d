"""Very many sockets, of one process or on few ports, and what that does to the others: nothing."""

from __future__ import annotations

import collections
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from builders import WriteRules
from daemon_counters import counted
from nfsnitch.core.counters import Counter
from nfsnitch.core.record import Json
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.programs import build_program, swarm
from nfsnitch.lab.services import SINK_PORT
from nfsnitch.lab.world import World
from ways.sockets import words
from ways.stage import COUNT, Place, Stage, Truth, staged

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.slow,
]

ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"
MANY = 100_000
SENDERS, PORTS = 600, 400
BEFORE, AFTER, OWN = Place(210), Place(211), Place(212)


@pytest.fixture(name="stage")
def fixture_stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    rules = tmp_path_factory.mktemp("crowd") / "rules.yaml"
    rules.write_text(ALLOW_ALL, encoding="utf-8")
    with staged(rules, ()) as stage:
        yield stage


@contextmanager
def hoard(world: World, count: int) -> Iterator[int]:
    """Let a process hold so many sockets, each of which has sent; yield how many it has got."""
    read_fd, write_fd = os.pipe()
    child = world.spawn([str(build_program("hoard")), str(count)], fds={0: read_fd})
    os.close(read_fd)
    try:
        yield int(child.wait_for_line(child.stdout, str.isdigit, 120))
    finally:
        os.close(write_fd)
        child.wait(60)


def records_of(firewall: Firewall, truths: list[Truth]) -> list[Json]:
    wanted = {truth.daddr for truth in truths}
    return firewall.wait_for_records(lambda each: each["daddr"] in wanted, len(wanted), 60)


def test_100000_sockets_of_one_process_take_no_other_socket_from_its_owner(stage: Stage) -> None:
    """Not from one that was there before, be it used or not, nor from one that comes after."""
    assert stage.firewall is not None
    for how in ("udp-sendto", "tcp"):
        place = BEFORE if how == "tcp" else OWN
        stage.start_waiting(how, [stage.copy(how), *words(how, place, "--wait", "--stay")])

    with hoard(stage.world, MANY) as held:
        truths = [each for how in ("udp-sendto", "tcp") for each in stage.let_go(how, COUNT)]
        truths += stage.run([stage.copy("newcomer"), *words("udp-connected", AFTER)])
        records = records_of(stage.firewall, truths)
    counters = counted(stage.firewall.stop())

    assert held == MANY
    assert sorted((each["daddr"], each["pid"], each["exe"]) for each in records) == sorted(
        (truth.daddr, truth.pid, truth.exe) for truth in truths
    )
    assert len(truths) == 3 * COUNT
    assert not [each for each in records if each["attribution"] in {"proc", "none"}]
    assert not [each for each in records if "opener" in each or "rivals" in each]
    assert counters[Counter.OWNERS_FULL] == 0


def test_what_waited_while_its_port_went_round_is_its_senders_or_nobodys(
    world: World, rules: WriteRules
) -> None:
    """With a worker that is stopped meanwhile: six and more sockets may have had one port."""
    world.run(["sh", "-c", f"echo 30000 {30_000 + PORTS} >/proc/sys/net/ipv4/ip_local_port_range"])
    own = world.own_copy(build_program("one_datagram"), "short-lived")
    # Who stops the daemon does not want it to end for that.
    with Firewall(world, [rules(f"timeouts: {{hang: 1h}}\n{ALLOW_ALL}")]) as firewall:
        firewall.child.send(signal.SIGSTOP)
        gone = swarm(world, SENDERS, own, "192.0.2.1", str(SINK_PORT))
        firewall.child.send(signal.SIGCONT)
        records = firewall.wait_for_records(lambda each: each["dport"] == SINK_PORT, SENDERS, 30)

    known = collections.Counter(
        (each["pid"], each["sport"]) for each in records if each["owner"] != "unknown"
    )
    assert known <= collections.Counter((sent.pid, sent.sport) for sent in gone.sent)
    assert known.total() > SENDERS * 0.9
