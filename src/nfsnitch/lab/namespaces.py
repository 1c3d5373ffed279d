"""Network namespaces by name, and a plan of hosts and links turned into them."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from nfsnitch.lab.waiting import PATIENCE, LabError

FOLDER = Path("/run/netns")
"""Where `ip netns` keeps them."""
_IP_TIMEOUT_S = 20
_IFINDEXES = (11, 12)
"""Of the two ends; they must differ. Left alone both get 2, and by that the kernel mistakes a veth
for a device without a peer, whose link changes may wait: IPv6 would be dead for up to a second."""


@dataclass(frozen=True, slots=True)
class Host:
    """One network namespace: addresses on its interface `eth0`, and gateways."""

    name: str
    addresses: tuple[str, ...]
    """In CIDR notation, either family."""
    gateways: tuple[str, ...] = ()
    """Default routes, one a family."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Two hosts and the wire between them."""

    client: Host
    server: Host

    @property
    def hosts(self) -> tuple[Host, Host]:
        """Return both hosts."""
        return (self.client, self.server)

    def build(self, netns: Callable[[str], str]) -> None:
        """Make the namespaces; *netns* gives each host's namespace its name."""
        build(self, netns)


CLIENT_AND_SERVER = Plan(
    client=Host(
        "client",
        ("192.0.2.2/24", "2001:db8::2/64", "fe80::2/64"),
        ("192.0.2.1", "2001:db8::1"),
    ),
    server=Host(
        "server",
        ("192.0.2.1/24", "2001:db8::1/64", "fe80::1/64", "198.51.100.1/32", "203.0.113.1/32"),
    ),
)
"""What the lab builds unless told otherwise; all addresses are the documentation's own."""


def names() -> list[str]:
    """Return the names of all named network namespaces of this machine."""
    return sorted(entry.name for entry in FOLDER.iterdir()) if FOLDER.is_dir() else []


def path(name: str) -> Path:
    """Return the file that stands for the namespace *name*."""
    return FOLDER / name


def inode(name: str) -> int:
    """Return its inode number, as in ``net:[4026531840]``."""
    return path(name).stat().st_ino


def remove(name: str) -> None:
    """Remove the namespace *name*; absent is fine."""
    try:
        ip("netns", "del", name)
    except LabError:
        # Another run may clean the same leftovers at the same time.
        if path(name).exists():
            raise


def build(plan: Plan, netns: Callable[[str], str]) -> None:
    """Make the namespaces of *plan*; *netns* gives each host's namespace its name.

    Nothing is ever made in the namespace of the caller: the veth pair comes into being inside the
    client's, its other end inside the server's.
    """
    client, server = (netns(host.name) for host in plan.hosts)
    for name in (client, server):
        ip("netns", "add", name)
    ours, theirs = _IFINDEXES
    ip_batch(
        client,
        [f"link add eth0 index {ours} type veth peer name eth0 index {theirs} netns {server}"],
    )
    for host, name in zip(plan.hosts, (client, server), strict=True):
        ip_batch(name, _host_lines(host))
    for host, name in zip(plan.hosts, (client, server), strict=True):
        # Only now are both ends up: a route over a wire without carrier would be dead.
        ip_batch(name, [f"route add default via {gateway}" for gateway in host.gateways])


def _host_lines(host: Host) -> Iterable[str]:
    yield "link set lo up"
    # The link-local addresses are in the plan: fixed, and usable at once (nodad).
    yield "link set eth0 addrgenmode none"
    for address in host.addresses:
        yield f"address add {address} dev eth0{' nodad' if ':' in address else ''}"
    yield "link set eth0 up"


def ip_batch(name: str, lines: Iterable[str]) -> None:
    """Have ip(8) do *lines* in the namespace *name*, all in one process.

    Raises:
        LabError: one of them failed; those before it are done.

    """
    ip("-n", name, "-batch", "-", stdin="".join(f"{line}\n" for line in lines))


def ip(*arguments: str, stdin: str = "") -> None:
    """Run the command ``ip``; that it fails is a `LabError` with its words."""
    done = subprocess.run(  # the only way to netns names that `ip netns` itself also knows
        ["ip", *arguments],  # noqa: S607  found by PATH as a person would
        input=stdin,
        text=True,
        capture_output=True,
        timeout=_IP_TIMEOUT_S * PATIENCE,
        check=False,
    )
    if done.returncode:
        command = " ".join(("ip", *arguments))
        raise LabError(f"{command}: {done.stderr.strip()}{f' (given: {stdin})' if stdin else ''}")
