"""Whose packet it was: counted against what the senders say of themselves."""

from __future__ import annotations

import pytest

from builders import WriteRules
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.programs import Sent, build_program, swarm
from nfsnitch.lab.services import SINK_PORT, Services
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

COUNT = 5_000
ALLOW_ALL = "default: allow\nunattributed: deny\nrules: []\n"


def assert_all_attributed(
    world: World, firewall: Firewall, program: str, *args: str, proto: str, daddr: str
) -> None:
    """Let `COUNT` processes send and exit; compare each record with what the sender reported."""
    own = world.own_copy(build_program(program), "short-lived")

    gone = swarm(world, COUNT, own, *args)
    found = firewall.wait_for_records(having(proto=proto, daddr=daddr), COUNT, timeout_s=60)

    assert gone.done.returncode == 0, gone.done.stderr
    assert len(gone.sent) == COUNT
    attributed = {
        Sent(record["pid"], record["sport"]) for record in found if record["exe"] == str(own)
    }
    assert attributed == set(gone.sent)
    assert {record["owner"] for record in found} == {"process"}
    assert {tuple(record["args"]) for record in found} == {(str(own), *args)}


@pytest.mark.slow
@pytest.mark.usefixtures("services")
def test_every_one_of_5000_short_lived_tcp_connects_is_attributed(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        assert_all_attributed(
            world,
            firewall,
            "one_connect",
            "192.0.2.1",
            str(SINK_PORT),
            proto="tcp",
            daddr="192.0.2.1",
        )


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), ("--connect",)], ids=["sendto", "connected"])
@pytest.mark.parametrize("daddr", ["192.0.2.1", "2001:db8::1"])
def test_every_one_of_5000_datagrams_of_short_lived_processes_is_attributed(
    world: World, rules: WriteRules, services: Services, how: tuple[str, ...], daddr: str
) -> None:
    assert services
    with Firewall(world, [rules(ALLOW_ALL)]) as firewall:
        assert_all_attributed(
            world,
            firewall,
            "one_datagram",
            *how,
            daddr,
            str(SINK_PORT),
            proto="udp",
            daddr=daddr,
        )
