"""Real services on any of a network's hosts: echo and sink, HTTP, DNS."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass

from nfsnitch.lab.process import Child, same_modules
from nfsnitch.lab.scenario.model import Network
from nfsnitch.lab.scenario.standard import DNS_ANSWERS
from nfsnitch.lab.scenario.wiring import ends_of, plain_addresses
from nfsnitch.lab.services import DNS_PORT, ECHO_PORT, HTTP_PORT, SINK_PORT, WELCOME
from nfsnitch.lab.waiting import FollowedFile
from nfsnitch.lab.world import World

_READY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class _Service:
    start: Callable[[World, str], Child]
    stream: Callable[[Child], FollowedFile]
    """Where it says that it serves,"""
    ready: str
    """with a line that begins like this."""


def start_services(world: World, network: Network) -> None:
    """Start what the hosts of *network* serve, and return once all of it does.

    Raises:
        LabError: something does not start, or not in time.

    """
    started = [
        (_SERVICES[name], _SERVICES[name].start(world, host.name))
        for host in network.hosts
        for name in host.services
    ]
    for service, child in started:
        is_ready = functools.partial(_begins, service.ready)
        child.wait_for_line(service.stream(child), is_ready, _READY_TIMEOUT_S)


def _begins(beginning: str, line: str) -> bool:
    return line.startswith(beginning)


def resolver_of(network: Network) -> str | None:
    """Return an address of the first host that serves DNS; None if there is none."""
    for host in network.hosts:
        if "dns" in host.services:
            return next(iter(plain_addresses(ends_of(network, host.name))), None)
    return None


def _echo(world: World, host: str) -> Child:
    options = ("--echo", str(ECHO_PORT), "--sink", str(SINK_PORT))
    argv = (sys.executable, "-m", "nfsnitch.lab.echo", *options)
    return world.spawn(argv, netns=host, env=same_modules())


def _http(world: World, host: str) -> Child:
    root = world.folder / f"www-{host}"
    root.mkdir()
    (root / "index.html").write_text(WELCOME, encoding="ascii")
    options = ("--bind", "::", "--directory", str(root), str(HTTP_PORT))
    return world.spawn((sys.executable, "-u", "-m", "http.server", *options), netns=host)


def _dns(world: World, host: str) -> Child:
    # Nothing of this machine's: no configuration, no hosts file, no other servers, no daemon.
    argv = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    argv += [f"--port={DNS_PORT}", "--cache-size=0", "--bind-interfaces", "--except-interface=lo"]
    argv += [
        f"--address=/{name}/{address}"
        for name, addresses in DNS_ANSWERS.items()
        for address in addresses
    ]
    return world.spawn(argv, netns=host)


_SERVICES = {
    "echo": _Service(_echo, lambda child: child.stdout, "ready"),
    "http": _Service(_http, lambda child: child.stdout, "Serving HTTP on "),
    "dns": _Service(_dns, lambda child: child.stderr, "dnsmasq: started"),
}
