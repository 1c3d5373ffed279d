"""A stage to play on by hand: the network and the firewall of a scenario, without its steps."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nfsnitch.core.attach import AttachMode
from nfsnitch.lab.process import Child, same_modules
from nfsnitch.lab.scenario.model import Scenario
from nfsnitch.lab.scenario.network import addresses
from nfsnitch.lab.scenario.scene import Scene
from nfsnitch.lab.scenario.stage import Stage
from nfsnitch.lab.scenario.standard import STANDARD
from nfsnitch.lab.world import CLIENT
from nfsnitch.protocol import socket_path

USUAL = Scenario(
    file="",
    shows="What is typed.",
    network=STANDARD,
    rules="version: 1\ndefault: allow\nunattributed: allow\nrules: []\n",
    programs=(),
    files={},
    steps=(),
)
"""Where no file says otherwise: everything may, and is recorded."""
_PROGRAM = "nfsnitch.lab.scenario.shell_program"
_KEPT = ("TERM", "HOME", "COLORTERM")
"""Variables of whoever types that an interactive program needs."""


@contextmanager
def played_by_hand(scenario: Scenario, attach: AttachMode | None) -> Iterator[Scene]:
    """Build the network of *scenario* with the firewall in it, its programs and files.

    Raises:
        LabError: something cannot be built, or the rules cannot be used.

    """
    with Stage(scenario.network, attach) as stage:
        scene = Scene(stage, scenario, stage.new_folder("shell"))
        try:
            stage.begin(scenario, scene.text(scenario.rules))
            yield scene
        finally:
            scene.close()


def what_is_there(scene: Scene) -> Iterator[str]:
    """Yield what there is to play with, line by line."""
    stage = scene.stage
    for host in stage.network.hosts:
        serves = f"  serves {', '.join(host.services)}" if host.services else ""
        yield f"{host.name:<9} {' '.join(addresses(stage.network, host.name))}{serves}"
    for name, path in scene.programs.items():
        yield f"${name:<8} {path}"
    yield f"rules     {stage.daemon.rules_file} (save it, and they are in force)"
    yield f"records   {stage.daemon.firewall.records_file}"
    socket = socket_path(stage.world.netns_inode(CLIENT))
    yield f"elsewhere nfsnitch watch --socket {socket}"
    yield f"          ip netns exec {stage.world.run_name.netns(CLIENT)} bash"


def start_scapy(scene: Scene, script: Path | None) -> Child:
    """Start scapy in the client, at this terminal, or *script* with all of scapy in it."""
    world = scene.stage.world
    argv = [sys.executable, "-m", _PROGRAM]
    argv += [] if script is None else [str(script.absolute())]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    stdin = os.dup(sys.stdin.fileno())  # the standard ones are not inherited by their numbers
    try:
        child = world.spawn(
            argv,
            env=kept | same_modules(),
            stdout=sys.stdout.fileno(),
            stderr=sys.stderr.fileno(),
            fds={0: stdin},
            mntns=scene.stage.mntns,
        )
    finally:
        os.close(stdin)
    scene.keep("scapy", child)
    return child


@contextmanager
def terminal_lent() -> Iterator[None]:
    """Take the terminal back that a program was given, whatever happens to that."""
    if not sys.stdin.isatty():
        yield
        return
    before = signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    interrupt = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        with suppress(OSError):  # it may have been closed
            os.tcsetpgrp(sys.stdin.fileno(), os.getpgrp())
        signal.signal(signal.SIGINT, interrupt)
        signal.signal(signal.SIGTTOU, before)
