"""Asks the daemon of a world: by commands, and at its control socket."""

from __future__ import annotations

import sys
from pathlib import Path

from nfsnitch.control_client import Client
from nfsnitch.lab.process import Finished, same_modules
from nfsnitch.lab.world import World
from nfsnitch.protocol import Status, StatusRequest, socket_path

NFSNITCH = (sys.executable, "-m", "nfsnitch.cli")


def nfsnitch(world: World, *argv: str) -> Finished:
    """Run a command beside the daemon, as root."""
    child = world.spawn([*NFSNITCH, *argv], cgroup=world.infra, env=same_modules())
    return child.finish(20)


def client_of(world: World) -> Client:
    """Return a connection to the daemon of the client's namespace."""
    return Client(Path(socket_path(world.netns_inode("client"))))


def ask(world: World) -> Status:
    """Return the daemon's status."""
    with client_of(world) as client:
        return client.ask(StatusRequest(), Status)
