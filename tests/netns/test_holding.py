"""A flow that waits for an answer, and all the others, which do not wait for it."""

from __future__ import annotations

import pytest

from builders import WriteRules
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.programs import build_program, swarm
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("services"),
]

OTHERS = 1_000
RULES = f"""
default: deny
unanswered: {{unanswered}}
timeouts: {{{{ask: {{ask}}}}}}
rules:
  - {{{{name: asked, action: ask, dport: {ECHO_PORT}}}}}
  - {{{{name: others, action: allow, dport: {SINK_PORT}}}}}
"""


def text(ask: str, unanswered: str = "deny") -> str:
    """Return the rules, with how long a flow is held and what happens then."""
    return RULES.format(ask=ask, unanswered=unanswered)


def test_a_thousand_flows_are_decided_while_one_is_held(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(text("10m"))]) as firewall:
        held = world.spawn([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])
        gone = swarm(world, OTHERS, build_program("one_connect"), "192.0.2.1", str(SINK_PORT))
        others = firewall.wait_for_records(having(dport=SINK_PORT), OTHERS, timeout_s=60)
        decided_meanwhile = [record["pid"] for record in firewall.records]
        still_waiting = not held.has_ended()
        counters = counted(firewall.stop())

    assert gone.done.returncode == 0, gone.done.stderr
    assert {record["rule"] for record in others} == {"others"}
    assert held.pid not in decided_meanwhile
    assert still_waiting
    # It had been in the worker's hands all that time: the stop gave it its verdict.
    assert (counters[Counter.HELD], counters[Counter.STOPPING]) == (1, 1)
    assert_one_verdict_each(counters)


@pytest.mark.parametrize(
    ("unanswered", "verdict"), [("deny", "drop"), ("reject", "reject"), ("allow", "accept")]
)
def test_a_held_flow_that_nobody_answers_gets_what_the_rules_say(
    world: World, rules: WriteRules, unanswered: str, verdict: str
) -> None:
    with Firewall(world, [rules(text("200ms", unanswered))]) as firewall:
        child = world.spawn([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])
        record = firewall.wait_for_record(having(pid=child.pid))

    assert (record["verdict"], record["action"]) == (verdict, "ask")
    assert (record["rule"], record["reason"]) == ("asked", "unanswered")
    assert record["held_ms"] >= 200


def test_a_held_connection_goes_through_without_a_retry_when_it_is_allowed(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(text("500ms", "allow"))]) as firewall:
        done = world.run([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])
        counters = counted(firewall.stop())

    assert 0.5 <= done.elapsed_s < 1.0  # TCP would send its next SYN after a second
    assert counters[Counter.PACKETS] == 1


def test_datagrams_of_a_held_flow_join_it_and_share_its_verdict(
    world: World, rules: WriteRules
) -> None:
    script = (
        "import socket\n"
        "with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:\n"
        "    for _ in range(5):\n"
        f"        sock.sendto(b'x', ('192.0.2.1', {ECHO_PORT}))\n"
        "    print(len([sock.recv(9) for _ in range(5)]))\n"
    )
    with Firewall(world, [rules(text("300ms", "allow"))]) as firewall:
        done = world.run(["python3", "-I", "-S", "-c", script])
        record = firewall.wait_for_record(having(pid=done.pid))
        counters = counted(firewall.stop())

    assert done.stdout == "5\n", done.stderr
    assert record["packets"] == 5
    assert counters[Counter.JOINED] == 4
    assert_one_verdict_each(counters)


def test_a_program_that_ends_while_held_is_still_named(world: World, rules: WriteRules) -> None:
    own = world.own_copy(build_program("one_datagram"), "short-lived")
    with Firewall(world, [rules(text("300ms"))]) as firewall:
        gone = swarm(world, 1, own, "192.0.2.1", str(ECHO_PORT))
        record = firewall.wait_for_record(having(dport=ECHO_PORT))

    assert record["pid"] == gone.sent[0].pid
    assert record["exe"] == str(own)
    assert record["args"] == [str(own), "192.0.2.1", str(ECHO_PORT)]
    assert record["reason"] == "unanswered"
