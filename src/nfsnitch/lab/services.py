"""Real services on the server: HTTP, DNS, and TCP and UDP that echo or swallow."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from nfsnitch.lab.echo import PAGE, SETTLED
from nfsnitch.lab.process import Child, same_modules
from nfsnitch.lab.waiting import FollowedFile, TimeIsOverError
from nfsnitch.lab.world import SERVER, World

HTTP_PORT = 80
DNS_PORT = 53
ECHO_PORT = 7
SINK_PORT = 9
TELNET_PORT = 23
"""Swallows too: where a firewall says "connection refused", the server itself would not."""
WELCOME = PAGE
"""What HTTP answers for ``/``."""
DNS_NAMES: Mapping[str, tuple[str, ...]] = {
    "example.test": ("192.0.2.1", "2001:db8::1"),
    "other.test": ("203.0.113.1",),
    "tracker.example": ("192.0.2.1",),
}
"""What DNS answers; it knows nothing else and asks nobody."""
_READY_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Services:
    """Echo and sink on the server; `arrivals` has a line for each connection and datagram."""

    echo: Child

    @property
    def arrivals(self) -> FollowedFile:
        """Return what echo and sink saw: ``tcp SADDR SPORT DADDR DPORT``, ``udp SADDR SPORT …``."""
        return self.echo.stdout

    def arrived(self, proto: str = "") -> list[str]:
        """Return the lines, or those of a protocol, of all that has come to the server by now."""
        noted = len(self.arrivals.lines())
        self.echo.send(signal.SIGUSR1)
        for line in self.arrivals.follow(timeout_s=_READY_TIMEOUT_S, start=noted):
            if line == SETTLED:
                break
        else:
            raise TimeIsOverError("the server does not come to an end of what arrives")
        kinds = (proto,) if proto else ("tcp", "udp")
        return [line for line in self.arrivals.lines() if line.startswith(kinds)]


@dataclass(frozen=True, slots=True)
class AllServices(Services):
    """HTTP and DNS as well, which take longer to start."""

    http: Child
    dns: Child


def start_services(world: World) -> Services:
    """Start echo and sink in the server's namespace, and return once they serve."""
    return Services(wait_for_echo(_start_echo(world)))


def start_all_services(world: World) -> AllServices:
    """Start them all in the server's namespace, and return once all of them serve."""
    echo, http, dns = _start_echo(world), _start_http(world), _start_dns(world)
    _wait(http, http.stdout, "Serving HTTP on ")
    wait_for_dns(dns)
    return AllServices(wait_for_echo(echo), http, dns)


def _start_http(world: World) -> Child:
    root = world.folder / "www"
    root.mkdir()
    (root / "index.html").write_text(WELCOME, encoding="ascii")
    options = ("--bind", "::", "--directory", str(root), str(HTTP_PORT))
    return world.spawn((sys.executable, "-u", "-m", "http.server", *options), netns=SERVER)


def _start_dns(world: World) -> Child:
    return spawn_dns(world, SERVER, ("eth0",), DNS_NAMES)


def spawn_dns(
    world: World, host: str, interfaces: Iterable[str], names: Mapping[str, Iterable[str]]
) -> Child:
    """Start a DNS server for *names* on *host*; see `wait_for_dns`."""
    # Nothing of this machine's: no configuration, no hosts file, no other servers, no daemon.
    argv = ["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts"]
    argv += [f"--port={DNS_PORT}", "--cache-size=0", "--bind-interfaces"]
    argv += [f"--interface={interface}" for interface in interfaces]
    argv += [
        f"--address=/{name}/{address}" for name, addresses in names.items() for address in addresses
    ]
    return world.spawn(argv, netns=host)


def wait_for_dns(dns: Child) -> None:
    """Return once it serves."""
    _wait(dns, dns.stderr, "dnsmasq: started")


def _start_echo(world: World) -> Child:
    return spawn_echo(world, SERVER, echo_options())


def echo_options() -> tuple[str, ...]:
    """Return which ports of echo.py echo and swallow."""
    return ("--echo", str(ECHO_PORT), "--sink", str(SINK_PORT), "--sink", str(TELNET_PORT))


def spawn_echo(world: World, host: str, options: Iterable[str]) -> Child:
    """Start echo.py with *options* on *host*; see `wait_for_echo`."""
    return world.spawn(
        (sys.executable, "-m", "nfsnitch.lab.echo", *options), netns=host, env=same_modules()
    )


def wait_for_echo(echo: Child) -> Child:
    """Return it once it serves."""
    _wait(echo, echo.stdout, "ready")
    return echo


def _wait(service: Child, stream: FollowedFile, beginning: str) -> None:
    service.wait_for_line(stream, lambda line: line.startswith(beginning), _READY_TIMEOUT_S)
