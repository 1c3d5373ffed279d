"""A network of a scenario, built in namespaces: hosts, wires, addresses, routes, bad wires, NAT.

Nothing is ever made in the namespace of the caller, and everything is in namespaces that bear the
run's name: it goes with them.
"""

from __future__ import annotations

import fcntl
import functools
import socket
import struct
import subprocess
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path

from nfsnitch.lab import namespaces
from nfsnitch.lab.inside import inside, inside_a_new_one
from nfsnitch.lab.scenario.model import Host, Network
from nfsnitch.lab.scenario.wiring import (
    MARKER_ADDRESS,
    End,
    ends,
    ends_of,
    is_link_local,
    needs_of,
    peer_of,
    plain_addresses,
)
from nfsnitch.lab.waiting import PATIENCE, LabError, TimeIsOverError
from nfsnitch.lab.world import CLIENT

_SYSCTLS = Path("/proc/sys")
_FIRST_SYSCTLS: Mapping[str, str] = {
    # Link-local addresses are in the network's description, or there are none.
    "net.ipv6.conf.default.addr_gen_mode": "1",
    # What comes from a wrong place is the firewall's to judge. (New namespaces have the machine's.)
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
}
_OTHER_HOSTS_SYSCTLS: Mapping[str, str] = {
    # Each packet gets its ICMP error, however many there were before it. The client is as it is.
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv6.icmp.ratelimit": "0",
}
_FORWARDING_SYSCTLS: Mapping[str, str] = {
    "net.ipv4.ip_forward": "1",
    "net.ipv6.conf.all.forwarding": "1",
}
_MASQUERADE = """
table inet lab_masquerade {{
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "{interface}" masquerade
    }}
}}
"""
_WAITING_PACKETS = 10_000
"""How many a slow wire holds before it loses some (netem's `limit`)."""
_COMMAND_TIMEOUT_S = 20
_SIOCGIFFLAGS, _SIOCSIFFLAGS = 0x8913, 0x8914
_IFREQ = struct.Struct("16sh22x")
_IFF_UP = 0x1


class Layout:
    """A scenario's network as a `World` takes it: ``World(Layout(network))``."""

    def __init__(self, network: Network) -> None:
        """Take *network*, whose hosts and wires go by consistent names.

        Raises:
            LabError: there is no host `client`, or a wire ends at a host that there is not.

        """
        names = {host.name for host in network.hosts}
        wanted = {CLIENT} | {end.host for wire in network.wires for end in wire.ends}
        if missing := sorted(wanted - names):
            raise LabError(f"the network has no host {', '.join(missing)}")
        self.network = network

    def build(self, netns: Callable[[str], str]) -> None:
        """Make it; *netns* gives each host's namespace its name.

        Raises:
            LabError: something of it cannot be made, in the words of who refused.

        """
        for need in needs_of(self.network):
            if why := lacking(need):
                raise LabError(why)
        hosts = self.network.hosts
        namespaces.ip("-batch", "-", stdin="".join(f"netns add {netns(h.name)}\n" for h in hosts))
        places = {host.name: namespaces.path(netns(host.name)) for host in hosts}
        for host in hosts:
            inside(places[host.name], functools.partial(_write_sysctls, _sysctls_before(host)))
        namespaces.ip_batch(netns(CLIENT), _link_lines(self.network, netns))
        for host in hosts:
            having = ends_of(self.network, host.name)
            inside(places[host.name], functools.partial(_set_up, ["lo", *(e.name for e in having)]))
        # Only now are both ends up: a route over a wire without carrier would be dead.
        for host in hosts:
            namespaces.ip_batch(netns(host.name), _host_lines(self.network, host))
            inside(places[host.name], functools.partial(_finish, self.network, host))


@functools.cache
def lacking(need: str) -> str | None:
    """Return why the kernel cannot do what *need* (of `wiring.needs_of`) names; None: it can.

    It is tried in a namespace that is gone at once.
    """
    try:
        inside_a_new_one(_TRIALS[need])
    except TimeIsOverError:
        raise  # that says nothing about the kernel
    except LabError as problem:
        return f"{_WORDS[need]}: {problem}"
    return None


def interfaces(network: Network, host: str) -> list[str]:
    """Return the interfaces of *host* that have its addresses, in the order of the wires."""
    return [end.carrier for end in ends_of(network, host)]


def addresses(network: Network, host: str) -> list[str]:
    """Return the addresses of *host* without prefix lengths, link-local ones as ``ADDR%DEV``."""
    return plain_addresses(ends_of(network, host))


def _sysctls_before(host: Host) -> dict[str, str]:
    return {
        **_FIRST_SYSCTLS,
        **({} if host.name == CLIENT else _OTHER_HOSTS_SYSCTLS),
        **(_FORWARDING_SYSCTLS if host.forwards else {}),
    }


def _link_lines(network: Network, netns: Callable[[str], str]) -> Iterator[str]:
    found = ends(network)
    for first, second in zip(found[::2], found[1::2], strict=True):
        halves = (
            f"{end.name} index {end.index} address {end.mac} mtu {end.wire.mtu}"
            f" netns {netns(end.host)}"
            for end in (first, second)
        )
        yield "link add " + " type veth peer name ".join(halves)


def _host_lines(network: Network, host: Host) -> Iterator[str]:
    having = ends_of(network, host.name)
    for end in having:
        yield from _end_lines(end)
        peer = peer_of(network, end)
        for address in plain_addresses([peer]):
            # Nobody waits until somebody has said where that is.
            plain = address.partition("%")[0]
            yield f"neigh replace {plain} lladdr {peer.mac} dev {end.carrier} nud permanent"
    for route in host.routes:
        line = f"route add {route.to} via {route.via}"
        is_scoped = having and is_link_local(route.via)
        yield f"{line} dev {having[0].carrier}" if is_scoped else line


def _end_lines(end: End) -> Iterator[str]:
    if end.wire.vlan is not None:
        yield (
            f"link add link {end.name} name {end.carrier} index {end.carrier_index}"
            f" type vlan id {end.wire.vlan}"
        )
        yield f"link set {end.carrier} up"
    for address in end.addresses:
        yield f"address add {address} dev {end.carrier}{' nodad' if ':' in address else ''}"
    if end.host == CLIENT and end.answers_at == MARKER_ADDRESS:
        yield f"address add {MARKER_ADDRESS}/32 dev {end.carrier} scope host"


def _finish(network: Network, host: Host) -> None:
    """Do the rest, inside its namespace."""
    having = ends_of(network, host.name)
    lines = [line for end in having for line in _netem_lines(end)]
    if lines:
        _command(["tc", "-batch", "-"], "".join(f"{line}\n" for line in lines))
    if host.masquerades:
        carriers = {end.name: end.carrier for end in having}
        interface = carriers.get(host.masquerades, host.masquerades)
        _command(["nft", "-f", "-"], _MASQUERADE.format(interface=interface))
    _write_sysctls(host.sysctls)


def _netem_lines(end: End) -> Iterator[str]:
    wire = end.wire
    if wire.delay_ns or wire.loss:
        yield (
            f"qdisc add dev {end.name} root netem limit {_WAITING_PACKETS}"
            f" delay {wire.delay_ns // 1000}us loss {wire.loss:f}%"
        )


def _write_sysctls(values: Mapping[str, str]) -> None:
    """Write those that namespaces have of their own; runs inside one."""
    for name, value in values.items():
        # As sysctl(8) reads names: a slash is a dot, as in net.ipv4.conf.eth0/7.rp_filter.
        parts = [part.replace("/", ".") for part in name.split(".")]
        if parts[0] != "net" or {"", ".", ".."} & set(parts):
            raise LabError(f"sysctl {name}: hosts have only those below net. of their own")
        try:
            _SYSCTLS.joinpath(*parts).write_text(value, encoding="utf-8")
        except OSError as problem:
            raise LabError(f"sysctl {name}={value}: {problem.strerror}") from problem


def _set_up(names: Iterable[str]) -> None:
    """Set interfaces up; runs inside their namespace, and takes no other process."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for name in names:
            asked = _IFREQ.pack(name.encode(), 0)
            _, flags = _IFREQ.unpack(fcntl.ioctl(sock, _SIOCGIFFLAGS, asked))
            fcntl.ioctl(sock, _SIOCSIFFLAGS, _IFREQ.pack(name.encode(), flags | _IFF_UP))


def _command(argv: list[str], stdin: str) -> None:
    timeout_s = _COMMAND_TIMEOUT_S * PATIENCE  # the first of its kind may have modules loaded
    try:
        done = subprocess.run(
            argv, input=stdin, text=True, capture_output=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as problem:
        raise TimeIsOverError(f"{' '.join(argv)} takes longer than {timeout_s:g} s") from problem
    if done.returncode:
        raise LabError(f"{' '.join(argv)}: {done.stderr.strip()} (given: {stdin.strip()})")


def _try_netem() -> None:
    _command(["tc", "-batch", "-"], "qdisc add dev lo root netem delay 1us\n")


def _try_vlan() -> None:
    _command(
        ["ip", "-batch", "-"],
        "link add eth0 type veth peer name eth1\nlink add link eth0 name eth0.7 type vlan id 7\n",
    )


def _try_masquerade() -> None:
    _command(["nft", "-f", "-"], _MASQUERADE.format(interface="lo"))


_TRIALS: Mapping[str, Callable[[], None]] = {
    "netem": _try_netem,
    "vlan": _try_vlan,
    "masquerade": _try_masquerade,
}
_WORDS: Mapping[str, str] = {
    "netem": "wires with delay or loss need the kernel's netem (sch_netem)",
    "vlan": "wires with a VLAN need the kernel's 802.1Q (8021q)",
    "masquerade": "hosts that masquerade need NAT by nftables (nft_masq)",
}
