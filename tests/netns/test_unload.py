"""`nfsnitch unload`: what it removes, and when it does not."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pytest

from builders import WriteRules
from nfsnitch.adapters.bpf import bpffs
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Finished, same_modules
from nfsnitch.lab.world import World

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]

ALLOW = "default: allow\nrules: []\n"


def pins_of(world: World) -> Path:
    return bpffs.PINS / bpffs.folder_name(world.netns_inode("client"))


def unload(world: World, *options: str, uid: int | None = None) -> Finished:
    argv = [sys.executable, "-m", "nfsnitch.cli", "unload", *options]
    return world.spawn(argv, env=same_modules(), uid=uid, gid=uid).finish(60)


def left_by_a_killed_daemon(world: World, path: Path) -> None:
    with Firewall(world, [path]) as firewall:
        firewall.child.stop(signal.SIGKILL)
    assert (pins_of(world) / "links").exists()


def test_what_a_killed_daemon_left_is_removed_and_so_it_is_said(
    world: World, rules: WriteRules
) -> None:
    left_by_a_killed_daemon(world, rules(ALLOW))

    first, second = unload(world), unload(world)

    namespace = f"net:[{world.netns_inode('client')}]"
    assert not pins_of(world).exists()
    assert (first.returncode, second.returncode) == (0, 0)
    assert first.stdout == f"removed what was pinned for network namespace {namespace}\n"
    assert second.stdout == f"nothing is pinned for network namespace {namespace}\n"


def test_it_names_the_namespace_from_elsewhere(world: World, rules: WriteRules) -> None:
    left_by_a_killed_daemon(world, rules(ALLOW))
    argv = [sys.executable, "-m", "nfsnitch.cli", "unload"]
    argv += ["--netns", f"net:[{world.netns_inode('client')}]"]

    done = world.spawn(argv, netns="server", env=same_modules()).finish(60)

    assert done.returncode == 0, done.stderr
    assert not pins_of(world).exists()


def test_while_a_daemon_runs_it_is_refused_with_what_to_say_instead(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(ALLOW)]) as firewall:
        done = unload(world)
        still_there = (pins_of(world) / "links").exists()

        assert done.returncode == 1
        assert f"already runs in network namespace net:[{world.netns_inode('client')}]" in (
            done.stderr
        )
        assert f"process {firewall.child.pid} " in done.stderr
        assert "--stop" in done.stderr
        assert still_there
        assert not firewall.child.has_ended()


def test_asked_to_it_stops_the_daemon_first(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(ALLOW)]) as firewall:
        done = unload(world, "--stop")
        status = firewall.child.wait(20)

    assert (done.returncode, status) == (0, 0), done.stderr
    assert not pins_of(world).exists()


def test_a_plain_user_is_refused(world: World, rules: WriteRules) -> None:
    left_by_a_killed_daemon(world, rules(ALLOW))

    done = unload(world, uid=65_534)

    assert done.returncode == 4
    assert "only root" in done.stderr
    assert (pins_of(world) / "links").exists()
