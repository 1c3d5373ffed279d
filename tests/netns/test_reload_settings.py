"""Settings that a reload takes over, settings that it refuses, and what who asks for it hears."""

from __future__ import annotations

import json
import os

import pytest

from builders import WriteRules
from daemon_asks import ask, nfsnitch
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.services import ECHO_PORT, Services
from nfsnitch.lab.world import CLIENT, World
from reload_play import THERE, deciding, goes_on, talker

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

# Sends datagrams, each from a socket of its own, until its input ends; says how many.
SENDS = """
import select, socket, sys
sent = 0
while not select.select([sys.stdin], [], [], 0.002)[0]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.sendto(b"x", (sys.argv[1], int(sys.argv[2])))
    sent += 1
print(sent)
"""


def ruleset(world: World) -> str:
    """Return the rules of the client as the kernel has them."""
    return world.run(["nft", "-s", "list", "ruleset"], netns=CLIENT).stdout


def lets_pass(text: str) -> bool:
    """Whether a ruleset lets pass what no worker evaluates."""
    return 'counter name "bypassed"' in text


def test_what_happens_on_failure_is_changed_by_a_reload_and_every_packet_is_judged_meanwhile(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    closed, opened = (f"fail: {fail}\n{deciding('allow')}" for fail in ("closed", "open"))
    path = rules(closed)
    with Firewall(world, [path]) as firewall:
        texts = [ruleset(world)]
        reading, writing = os.pipe()
        argv = ["python3", "-I", "-S", "-c", SENDS, THERE, str(ECHO_PORT)]
        sends = world.spawn(argv, fds={0: reading})
        os.close(reading)
        for text in (opened, closed):
            path.write_text(text, encoding="utf-8")
            done = nfsnitch(world, "reload")
            assert done.returncode == 0, done.stderr
            texts.append(ruleset(world))
            generation = ask(world).generation
            firewall.wait_for_record(having(dport=ECHO_PORT, generation=generation))
        status = ask(world)
        os.close(writing)
        sent = int(sends.finish(20).stdout)
        counters = counted(firewall.stop())

    assert [lets_pass(text) for text in texts] == [False, True, False]
    assert status.fail == "closed"
    judged = [each for each in firewall.records if each["dport"] == ECHO_PORT]
    assert len(judged) == sent
    assert {each["verdict"] for each in judged} == {"accept"}
    assert_one_verdict_each(counters)
    for name in (Counter.BYPASSED, Counter.CAUGHT, Counter.UNHEARD, Counter.RELOADS_REFUSED):
        assert counters[name] == 0, name


@pytest.mark.parametrize(
    ("head", "named"),
    [
        ("label: 99", "label"),
        ("queue_bit: 0x01000000", "queue_bit"),
        ("timeouts: {hang: 7s}", "timeouts: hang"),
    ],
)
def test_settings_that_packets_bear_are_not_changed_by_a_reload_and_nor_is_anything_else(
    world: World, services: Services, rules: WriteRules, head: str, named: str
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    with Firewall(world, [path]) as firewall:
        before = ruleset(world)
        living = talker(world, "udp", THERE, ECHO_PORT)
        path.write_text(f"fail: open\n{head}\n{deciding('deny')}", encoding="utf-8")
        done = nfsnitch(world, "reload")
        goes_on(living)
        another = talker(world, "tcp", THERE, ECHO_PORT)
        record = firewall.wait_for_record(having(pid=another.pid))
        status = ask(world)
        after = ruleset(world)

    assert done.returncode == 1
    assert f"{named}: changed, and takes a restart of the daemon" in done.stderr
    assert "generation 1 stays in force" in done.stderr
    assert after == before
    assert (status.generation, status.fail) == (1, "closed")
    assert (record["verdict"], record["generation"]) == ("accept", 1)


def test_who_asks_for_a_reload_hears_what_came_of_it_and_the_status_shows_the_generation(
    world: World, services: Services, rules: WriteRules
) -> None:
    assert services.echo.pid
    path = rules(deciding("allow"))
    with Firewall(world, [path]):
        program = talker(world, "tcp", THERE, ECHO_PORT)
        path.write_text("default: alow\nrules: [{nam: x}]\n", encoding="utf-8")
        bad = nfsnitch(world, "reload")
        unchanged = ask(world)
        goes_on(program)
        path.write_text(deciding("deny", "{name: more, action: deny}"), encoding="utf-8")
        good = nfsnitch(world, "reload")
        status = json.loads(nfsnitch(world, "status", "--json").stdout)

    assert bad.returncode == 1
    assert f"{path}:1:" in bad.stderr
    assert f"{path}:2:" in bad.stderr
    assert "not reloaded: generation 1 stays in force" in bad.stderr
    assert (unchanged.generation, unchanged.rules) == (1, 1)
    assert good.returncode == 0, good.stderr
    generation = status["generation"]  # the changed file may have been read before it was asked
    assert generation >= 2
    assert good.stdout.startswith(f"generation {generation}: 2 rules in force, ")
    assert status["rules"] == 2
    assert status["counters"]["flows-cut"] == 1
