"""Sockets past netfilter: who opens one is recorded, and refused where a rule and the kernel do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from attach_mode import present_mode
from builders import WriteRules
from nfsnitch.core.attach import AttachMode
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.world import SERVER, World

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]
everywhere = pytest.mark.vm_guest
by_hooks = pytest.mark.vm_guest(modes=("lsm", "kprobe"))
by_lsm = pytest.mark.vm_guest(modes=("lsm",))
not_by_lsm = pytest.mark.vm_guest(modes=("cgroup", "kprobe"))

HEAD = "default: allow\nunattributed: deny\n"
NO_RULES = HEAD + "rules: []\n"
REFUSE_ALL = HEAD + "rules:\n  - {name: no sniffing, action: deny, proto: [packet, xdp]}\n"

OPEN = """
import signal, socket, sys
families = {"packet": socket.AF_PACKET, "xdp": 44, "inet": socket.AF_INET}
try:
    sock = socket.socket(families[sys.argv[1]], socket.SOCK_RAW, int(sys.argv[2]))
except OSError as problem:
    print(problem.errno)
else:
    print("open", flush=True)
    if sys.argv[3:]:
        signal.pause()
"""
ETH_P_ALL_BE = 0x0300
EPERM = "1\n"
OPENED = "open\n"


def can_refuse() -> bool:
    return present_mode() is AttachMode.LSM


def needs_lsm() -> None:
    if not can_refuse():
        pytest.skip("it takes attach mode lsm")


def opener(kind: str = "packet", protocol: int = 0, exe: str | Path = "python3") -> list[str]:
    return [str(exe), "-I", "-S", "-c", OPEN, kind, str(protocol)]


def holding(world: World) -> Child:
    """Start a program that opens one and keeps it."""
    child = world.spawn([*opener(protocol=ETH_P_ALL_BE), "keep"])
    child.wait_for_line(child.stdout, lambda line: line == "open", 30)
    return child


@everywhere
def test_who_opens_a_packet_socket_is_recorded(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(NO_RULES)]) as firewall:
        sniffer = holding(world)
        record = firewall.wait_for_record(having(proto="packet", pid=sniffer.pid), 30)

    assert (record["verdict"], record["reason"], record["rule"]) == ("accept", "default", None)
    assert record["exe"].rpartition("/")[2].startswith("python3")
    assert record["args"][0] == "python3"
    assert (record["socket_type"], record["ethertype"]) == ("raw", 3)
    assert record["attribution"] == (
        "proc" if present_mode() is AttachMode.CGROUP else "opening-hook"
    )


@by_hooks
def test_one_that_was_closed_at_once_is_recorded_too(world: World, rules: WriteRules) -> None:
    if present_mode() is AttachMode.CGROUP:
        pytest.skip("mode cgroup looks once a second")
    with Firewall(world, [rules(NO_RULES)]) as firewall:
        done = world.run(opener())
        record = firewall.wait_for_record(having(proto="packet", pid=done.pid))

    assert done.stdout == OPENED
    assert record["verdict"] == "accept"


@by_lsm
def test_a_rule_refuses_every_program_a_packet_socket(world: World, rules: WriteRules) -> None:
    needs_lsm()
    with Firewall(world, [rules(REFUSE_ALL)]) as firewall:
        sniffer, plain = world.run(opener()), world.run(opener("inet", 1))
        record = firewall.wait_for_record(having(proto="packet", pid=sniffer.pid))
    afterwards = world.run(opener())

    assert sniffer.stdout == EPERM
    assert plain.stdout == OPENED
    assert afterwards.stdout == OPENED
    assert (record["verdict"], record["action"]) == ("reject", "deny")
    assert (record["reason"], record["rule"]) == ("rule", "no sniffing")


@by_lsm
def test_nothing_is_refused_in_another_network_namespace(world: World, rules: WriteRules) -> None:
    needs_lsm()
    with Firewall(world, [rules(REFUSE_ALL)]):
        elsewhere = world.run(opener(), netns=SERVER)

    assert elsewhere.stdout == OPENED


@by_lsm
def test_the_first_rule_that_names_the_program_decides(world: World, rules: WriteRules) -> None:
    needs_lsm()
    good = world.own_copy("/usr/bin/python3", "good")
    below = world.own_copy("/usr/bin/python3", "below")
    text = f"""
rules:
  - {{name: good, action: allow, proto: packet, exe: {good}}}
  - {{name: below, action: allow, proto: packet, exe: {below.parent}/**}}
  - {{name: rest, action: reject, proto: packet}}
"""
    with Firewall(world, [rules(HEAD + text)]) as firewall:
        said = {exe: world.run(opener(exe=exe)).stdout for exe in (good, below, "python3")}
        decided = firewall.wait_for_records(having(proto="packet"), 3)

    assert said == {good: OPENED, below: OPENED, "python3": EPERM}
    assert [record["rule"] for record in decided] == ["good", "below", "rest"]


@not_by_lsm
def test_a_rule_that_cannot_be_kept_is_told_at_the_start_and_in_the_record(
    world: World, rules: WriteRules
) -> None:
    if can_refuse():
        pytest.skip("it can be kept here")
    with Firewall(world, [rules(REFUSE_ALL)]) as firewall:
        sniffer = holding(world)
        record = firewall.wait_for_record(having(proto="packet", pid=sniffer.pid), 30)
        stopped = firewall.stop()

    assert (record["verdict"], record["action"]) == ("accept", "deny")
    assert (record["reason"], record["rule"]) == ("unrefusable", "no sniffing")
    assert "rule 'no sniffing' refuses sockets past netfilter" in stopped.stderr


@everywhere
def test_who_holds_one_since_before_the_start_is_named(world: World, rules: WriteRules) -> None:
    sniffer = holding(world)
    with Firewall(world, [rules(REFUSE_ALL)]) as firewall:
        record = firewall.wait_for_record(having(proto="packet", pid=sniffer.pid), 30)
        stopped = firewall.stop()

    assert (record["verdict"], record["reason"]) == ("accept", "older")
    assert f"({sniffer.pid})" in stopped.stderr


@by_lsm
def test_new_rules_hold_from_the_reload_on(world: World, rules: WriteRules) -> None:
    needs_lsm()
    with Firewall(world, [rules(NO_RULES)]) as firewall:
        before = world.run(opener()).stdout
        rules(REFUSE_ALL)
        firewall.child.wait_for_line(
            firewall.child.stderr, lambda line: "generation 2 in force" in line, 60
        )
        after = world.run(opener()).stdout
        record = firewall.wait_for_record(having(proto="packet", verdict="reject"))

    assert (before, after) == (OPENED, EPERM)
    assert record["generation"] == 2


@by_lsm
def test_an_xdp_socket_is_refused_by_its_own_name(world: World, rules: WriteRules) -> None:
    needs_lsm()
    first = world.run(opener("xdp")).stdout
    if first != OPENED:
        pytest.skip(f"the kernel opens no AF_XDP socket: errno {first.strip()}")
    text = "rules:\n  - {name: no xdp, action: deny, proto: xdp}\n"
    with Firewall(world, [rules(HEAD + text)]) as firewall:
        xdp, packet = world.run(opener("xdp")).stdout, world.run(opener()).stdout
        record = firewall.wait_for_record(having(proto="xdp"))

    assert (xdp, packet) == (EPERM, OPENED)
    assert (record["verdict"], record["rule"]) == ("reject", "no xdp")


@by_lsm
def test_who_asks_again_and_again_is_recorded_once_and_counted(
    world: World, rules: WriteRules
) -> None:
    needs_lsm()
    script = """
import socket
for _ in range(1000):
    try:
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    except PermissionError:
        pass
"""
    with Firewall(world, [rules(REFUSE_ALL)]) as firewall:
        world.run(["python3", "-I", "-S", "-c", script], timeout_s=60)
        firewall.wait_for_record(having(proto="packet"))
        stopped = firewall.stop()
        records = [each for each in firewall.records if each["proto"] == "packet"]

    assert len(records) == 1
    # Those that the daemon was not quick enough to hear of are counted apart.
    counted = {
        name: int(number) for name, number in re.findall(r"(openings-\w+) (\d+)", stopped.stderr)
    }
    assert counted["openings-refused"] > 0
    assert sum(counted.values()) == 1000
