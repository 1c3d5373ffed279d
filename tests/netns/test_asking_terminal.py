"""The prompter at a terminal and the real daemon: who presses a key lets a real program go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builders import WriteRules
from daemon_asks import nfsnitch
from nfsnitch.lab.firewall import Firewall
from nfsnitch.lab.process import Child
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT
from nfsnitch.lab.world import World
from nfsnitch.protocol import socket_path
from prompt_play import READY, prompting
from terminal_play import Terminal

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("services"),
]

RULES = "default: ask\nunanswered: deny\ntimeouts: {ask: 10m}\n"


@pytest.fixture(name="terminal")
def fixture_terminal(world: World, rules: WriteRules) -> Iterator[Terminal]:
    path = Path(socket_path(world.netns_inode("client")))
    with Firewall(world, [rules(RULES)]), prompting(path, size=(120, 40)) as terminal:
        terminal.wait("Nothing is asked")
        yield terminal


def connects(world: World) -> Child:
    """Start a program that tries one connection."""
    return world.spawn([str(build_program("one_connect")), "192.0.2.1", str(ECHO_PORT)])


def test_a_key_lets_the_very_connection_go_on_that_waited(world: World, terminal: Terminal) -> None:
    child = connects(world)
    screen = terminal.wait("one_connect wants to connect to 192.0.2.1", READY)
    terminal.press("a")
    terminal.wait("allowed by you, once", "Nothing is asked")

    assert child.finish(20).returncode == 0
    assert f"process {child.pid}" in screen
    assert "no rule matches" in screen


def test_an_answer_for_longer_is_a_rule_that_is_seen_listed_and_revoked(
    world: World, terminal: Terminal
) -> None:
    child = connects(world)
    terminal.wait(READY)
    terminal.press("tttp")
    terminal.wait("for 15m", "action: allow", "one_connect")
    terminal.press("a")
    terminal.wait("allowed by you, for 15m", "made rule")

    assert child.finish(20).returncode == 0
    assert connects(world).finish(20).returncode == 0  # nobody is asked
    listed = nfsnitch(world, "rules", "list", "--kind", "temporary")
    assert "14 min" in listed.stdout
    name = listed.stdout.splitlines()[2].split("  ")[1]
    assert nfsnitch(world, "rules", "revoke", name).stdout == f"revoked '{name}'\n"
    assert "none" in nfsnitch(world, "rules", "list", "--kind", "temporary").stdout


def test_what_a_silent_mode_let_out_is_listed_and_becomes_a_rule(
    world: World, terminal: Terminal
) -> None:
    terminal.press("m")
    terminal.wait("allow-silently: let out")
    terminal.press("2")
    terminal.wait("mode allow-silently (15 min left)")

    assert connects(world).finish(20).returncode == 0
    shown = nfsnitch(world, "mode").stdout
    assert shown.startswith("allow-silently: ")
    listed = nfsnitch(world, "rules", "silenced").stdout.splitlines()
    assert "1 time, allowed last" in listed[1]
    number = listed[1].split()[0]
    made = nfsnitch(
        world, "rules", "from-silenced", number, "--action", "deny", "--duration", "15m"
    )
    assert made.returncode == 0, made.stderr
    assert "deny, for 15m" in made.stdout
    assert nfsnitch(world, "rules", "silenced").stdout == "nothing would have been asked\n"
