"""`nfsnitch owners`: what it lists, for whom, with and without a daemon."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from builders import WriteRules
from nfsnitch.adapters.bpf import bpffs
from nfsnitch.adapters.bpf.readers import reader_file
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Child, Finished, same_modules
from nfsnitch.lab.world import World
from nfsnitch.protocol import socket_path

pytestmark = [pytest.mark.undisturbed, pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

ALLOW = "default: allow\nrules: []\n"
MEMBER, STRANGER = 65_534, 65_533
"""User and group numbers; the first is nogroup's."""

# Makes sockets, says what they are, and waits.
HOLDER = r"""
import json, signal, socket, sys
connected = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
connected.connect(("192.0.2.1", 6001))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
six.bind(("2001:db8::2", 0))
tcp = socket.socket()
closed = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
closed.connect(("192.0.2.1", 6001))
all = connected, six, tcp, closed
cookies = [int.from_bytes(each.getsockopt(1, 57, 8), sys.byteorder) for each in all]
closed.close()
print(json.dumps([cookies, connected.getsockname(), six.getsockname()[:2]]), flush=True)
signal.pause()
"""


def owners(
    world: World, *options: str, user: int = 0, group: int | None = None, netns: str = "client"
) -> Finished:
    argv = [sys.executable, "-m", "nfsnitch.cli", "owners", *options]
    gid = user if group is None else group
    env = {**same_modules(), "PYTHONUTF8": "1"}
    return world.spawn(argv, netns=netns, uid=user, gid=gid, env=env).finish(60)


def holder(world: World) -> tuple[Child, Any]:
    argv = [sys.executable, "-I", "-S", "-c", HOLDER, "an\x1b[31margument"]
    child = world.spawn(argv)
    child.wait_for_line(child.stdout, lambda line: line.startswith("["), 20)
    return child, json.loads(child.stdout.lines()[0])


def listed(done: Finished, child: Child) -> dict[int, dict[str, Any]]:
    """Return what was listed of the child's sockets, by cookie."""
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    return {each["sock_cookie"]: each for each in found if each["pid"] == child.pid}


def pins_of(world: World) -> Path:
    return bpffs.PINS / bpffs.folder_name(world.netns_inode("client"))


def assert_lists_the_holders(world: World, child: Child, said: Any, done: Finished) -> None:  # noqa: ANN401
    (connected, six, tcp, closed), saddr, saddr6 = said
    found = listed(done, child)
    exe = os.path.realpath(sys.executable)

    assert set(found) == {connected, six, tcp}, f"{closed} is closed"
    assert {(each["owner"], each["exe"], each["uid"]) for each in found.values()} == {
        ("process", exe, 0)
    }
    assert found[tcp]["args"][-1] == "an\x1b[31margument"
    assert found[tcp]["netns"] == world.netns_inode("client")
    flow = {name: found[connected][name] for name in ("proto", "saddr", "sport", "daddr", "dport")}
    assert flow == dict(zip(flow, ("udp", *saddr, "192.0.2.1", 6001), strict=True))
    assert (found[six]["saddr"], found[six]["sport"]) == tuple(saddr6)
    assert "saddr" not in found[tcp] or found[tcp]["dport"] == 0


def test_a_member_of_the_group_lists_sockets_and_owners_without_any_capability(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW)], extra=["--group", "nogroup"]):
        child, said = holder(world)
        by_file = owners(world, "--json", user=MEMBER)
        by_socket = owners(
            world, "--json", "--socket", socket_path(world.netns_inode("client")), user=MEMBER
        )

    assert_lists_the_holders(world, child, said, by_file)
    assert_lists_the_holders(world, child, said, by_socket)


def test_it_goes_on_when_the_daemon_has_been_killed(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(ALLOW)], extra=["--group", "nogroup"]) as firewall:
        firewall.child.stop(signal.SIGKILL)
    child, said = holder(world)

    assert_lists_the_holders(world, child, said, owners(world, "--json", user=MEMBER))


def test_who_is_not_in_the_group_is_told_so_and_cannot_open_the_files(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW)], extra=["--group", "nogroup"]):
        done = owners(world, user=STRANGER)
        opened = world.run(["cat", str(reader_file(pins_of(world), "owners"))], uid=STRANGER)

    assert done.returncode == 4
    assert "group" in done.stderr
    assert done.stdout == ""
    assert opened.returncode != 0
    assert "Permission denied" in opened.stderr


def test_members_cannot_write_nor_reach_the_maps(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(ALLOW)], extra=["--group", "nogroup"]):
        maps = pins_of(world) / "maps"
        argv = [sys.executable, "-I", "-c", f"open({str(maps / 'owners')!r})"]
        reached = world.spawn(argv, uid=MEMBER, gid=MEMBER).finish(20)
        modes = {
            reader_file(pins_of(world), name).stat().st_mode & 0o777
            for name in ("owners", "images")
        }

    assert "PermissionError" in reached.stderr
    assert modes == {0o440}


def test_people_get_a_line_for_each_socket_and_no_control_characters(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW)]):
        child, (_, saddr, _) = holder(world)
        done = owners(world)

    (line,) = [line for line in done.stdout.splitlines() if f"{saddr[0]}:{saddr[1]} " in line]
    assert line.split() == [
        *("udp", f"{saddr[0]}:{saddr[1]}", "→", "192.0.2.1:6001"),
        *(os.path.realpath(sys.executable), f"[{child.pid}]", "root"),
    ]
    assert "\x1b" not in done.stdout


def test_without_a_daemon_and_pins_it_says_that_there_is_none(world: World) -> None:
    done = owners(world)

    assert done.returncode == 3
    assert "no daemon" in done.stderr
