"""Ways in which the kernel itself sends: no program has such a socket."""

from __future__ import annotations

from nfsnitch.core.attach import AttachMode
from ways.stage import FEW, LackingError, Place, Sent, Stage, Way

_MOUNTS = 2
_JOINS_GROUPS = """
import socket, sys
joined = []
for number in range(int(sys.argv[2])):
    group = socket.inet_aton(f"233.252.0.{number + 1}") + socket.inet_aton("192.0.2.2")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
    joined.append(sock)
print("ready", flush=True)
sys.stdin.read(1)
"""


def _joined(stage: Stage, _place: Place) -> Sent:
    argv = ["python3", "-I", "-S", "-c", _JOINS_GROUPS, "", str(FEW)]
    stage.start_waiting("igmp", argv)  # and waiting it stays: the kernel tells of groups in a while
    return Sent((), by_kernel=[f"233.252.0.{number + 1}" for number in range(FEW)])


def _through(stage: Stage, place: Place) -> Sent:
    """Send into the tunnels; what comes out of them is the kernel's."""
    stage.run([stage.copy(), "udp-sendto", place.far(0), str(FEW), "9"])
    return Sent((), by_kernel=[place.near(number) for number in range(FEW)])


def _by_gre(stage: Stage, place: Place) -> Sent:
    commands: list[str] = []
    for number in range(FEW):
        name = f"gre-{number}"
        commands += (
            f"link add {name} type gre local 192.0.2.2 remote {place.near(number)}",
            f"link set {name} addrgenmode none up",
            f"route add {place.far(number)} dev {name} src 192.0.2.2",
        )
    stage.ip(*commands)
    return _through(stage, place)


def _by_vxlan(stage: Stage, place: Place) -> Sent:
    commands: list[str] = []
    for number in range(FEW):
        name = f"vxlan-{number}"
        ends = f"local 192.0.2.2 remote {place.near(number)}"
        commands += (
            f"link add {name} type vxlan id {number + 1} {ends} dstport 4789 dev eth0",
            f"link set {name} addrgenmode none up",
            f"route add {place.far(number)} dev {name} src 192.0.2.2",
            f"neighbour add {place.far(number)} lladdr 02:00:00:00:00:01 dev {name}",
        )
    stage.ip(*commands)
    return _through(stage, place)


def _by_wireguard(stage: Stage, place: Place) -> Sent:
    key = stage.copy().with_name("key")
    key.write_text("a" * 42 + "E=\n", encoding="ascii")
    stage.ip("link add wireguard type wireguard", "link set wireguard up")
    peers: list[str] = []
    for number in range(FEW):
        peer = ["peer", f"{'bcdefghi'[number] * 42}E=", "allowed-ips", f"{place.far(number)}/32"]
        peers += [*peer, "endpoint", f"{place.near(number)}:51820"]
    stage.tool(["wg", "set", "wireguard", "private-key", key, *peers])
    stage.ip(*(f"route add {place.far(n)} dev wireguard src 192.0.2.2" for n in range(FEW)))
    return _through(stage, place)


def _by_nfs(stage: Stage, place: Place) -> Sent:
    """Mount from servers that are none: what tries to connect, several times, is the kernel."""
    folder = stage.copy().with_name("mounted")
    folder.mkdir()
    children = []
    for number in range(_MOUNTS):
        server = place.near(number)
        options = f"vers=4.2,addr={server},clientaddr=192.0.2.2,soft,timeo=5,retrans=1"
        argv = ["mount", "-i", "-t", "nfs4", "-o", options, f"{server}:/", str(folder)]
        children.append(stage.world.spawn(argv))
    said = [child.finish(60).stderr for child in children]
    if any("unknown filesystem type" in each for each in said):
        raise LackingError(said[0].strip())
    return Sent((), by_kernel=[place.near(number) for number in range(_MOUNTS)])


_HASHED = {
    AttachMode.CGROUP: "the kernel sends from a port that no socket has (a hash of what is "
    "inside), and no hook of a cgroup is run: the owner is unknown"
}
_CLOSED_MEANWHILE = {AttachMode.CGROUP: "owner: unknown"}
"""Only an open socket is seen to be the kernel's; refused, that closes it and tries again."""

WAYS = (
    Way("igmp", "kernel: IGMP", _joined, count=FEW),
    Way("gre", "kernel: GRE tunnel", _by_gre, count=FEW, needs="GRE tunnels"),
    Way("vxlan", "kernel: VXLAN", _by_vxlan, count=FEW, needs="VXLAN", blind=_HASHED),
    Way("wireguard", "kernel: WireGuard", _by_wireguard, count=FEW, needs="WireGuard"),
    Way("nfs", "kernel: NFS", _by_nfs, count=_MOUNTS, needs="NFS", unsure=_CLOSED_MEANWHILE),
)
