"""Finds out what the running kernel can do by doing it, where nobody is disturbed.

Run as a program of its own (``python -m``): it moves to a fresh network namespace before anything
else, so that neither rules nor packets of the machine are touched, and prints each answer as a line
of JSON as soon as it has it. Whoever started it may end it at any time: the kernel takes the
namespace away with it, and `asking.ask` removes its cgroup.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import os
import socket
import struct
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path

from nftables import Nftables

from nfsnitch.adapters import cgroups, mounts, netns, raw_diag
from nfsnitch.adapters.answer import Answer, State
from nfsnitch.adapters.asking import own_cgroup
from nfsnitch.adapters.bpf.core_loader import LoadedPrograms
from nfsnitch.adapters.bpf.layout import COOKIE
from nfsnitch.adapters.bpf.modes import attached
from nfsnitch.adapters.bpf.name_samples import NameSamples
from nfsnitch.adapters.bpf.openings import OpeningHooks
from nfsnitch.adapters.cached_rules import CachedRules, CachedRulesError
from nfsnitch.adapters.conntrack import Conntrack
from nfsnitch.adapters.nfqueue import PacketQueue
from nfsnitch.adapters.nft import (
    ACCEPTED_LABEL,
    CACHED,
    NAME_LABEL,
    REFUSE,
    REFUSED_LABEL,
    TABLE,
    NftRuleset,
    Queueing,
    RulesetOptions,
)
from nfsnitch.adapters.sock_diag import SockDiag
from nfsnitch.core.attach import BEST_FIRST, AttachMode
from nfsnitch.core.flow import Bypass, Family, Flow, Protocol
from nfsnitch.core.name_sample import DnsPacket, LibcAnswer
from nfsnitch.core.opening import OpeningRule
from nfsnitch.core.unknown import Unknown
from nfsnitch.resources import bpf_object

_CLONE_NEWNET = 0x40000000
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_IFREQ = struct.Struct("=16sH14x")
_SO_COOKIE = 57
_QUEUE_NUM = 7301
_LOCALHOST = "127.0.0.1"
_DNS_PORT = 53
_QUESTION = struct.pack(">6H", 1, 0x0100, 1, 0, 0, 0) + b"\7invalid\0\0\1\0\1"
"""For the addresses of ``invalid`` (RFC 1035, 4.1; RFC 6761, 6.4)."""
_LABELLED = f"""
add table inet nfsnitch_probe {{
    chain c {{ type filter hook output priority 0; ct mark 1 ct label set {ACCEPTED_LABEL}; }}
}}
"""
"""Makes the kernel follow connections, and keep room for labels, without taking any packet."""
_AS_ROOT = "run it as root"


class ProbeError(Exception):
    """The kernel did not do what it was asked for; the message says what it did."""


def main() -> None:
    """Answer all probes on standard output."""
    if ctypes.CDLL(None, use_errno=True).unshare(_CLONE_NEWNET):
        why = f"a network namespace to try it in: {os.strerror(ctypes.get_errno())}"
        for name in PROBES:
            _print(name, Answer(State.UNKNOWN, why, _AS_ROOT))
        return
    with suppress(OSError):  # what needs it says so itself
        _set_loopback_up()
    for name, probe in PROBES.items():
        _print(name, _answer(probe))


def _print(name: str, answer: Answer) -> None:
    sys.stdout.write(json.dumps([name, *answer]) + "\n")
    sys.stdout.flush()


def _answer(probe: Callable[[], str]) -> Answer:
    try:
        return Answer(State.OK, probe())
    except PermissionError as problem:
        return Answer(State.MISSING, str(problem), f"{_AS_ROOT}, with the capabilities it lacks")
    except Exception as problem:  # noqa: BLE001  whatever goes wrong is the answer
        return Answer(
            State.MISSING, str(problem).splitlines()[0] if str(problem) else repr(problem)
        )


def _set_loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        raw = fcntl.ioctl(any_socket, _SIOCGIFFLAGS, _IFREQ.pack(b"lo", 0))
        flags = _IFREQ.unpack(raw)[1] | _IFF_UP
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, _IFREQ.pack(b"lo", flags))


def _netns_cookie() -> str:
    return f"this namespace has number {netns.cookie()}"


def _nft_queue() -> str:
    return _installed(Queueing.NFT)


def _xtables_queue() -> str:
    return _installed(Queueing.XTABLES)


def _installed(queueing: Queueing) -> str:
    ruleset = NftRuleset()
    ruleset.install(RulesetOptions(_QUEUE_NUM, queueing))
    ruleset.remove()
    return "the whole ruleset was put in force, in a namespace of its own"


def _packet_match() -> str:
    problem = CachedRules(TABLE.split()[1], CACHED, CACHED, REFUSE).problem()
    if problem is not None:
        raise CachedRulesError(problem)
    return "netfilter can ask eBPF about a packet (xt_bpf)"


def _packet_queue() -> str:
    PacketQueue(_QUEUE_NUM).close()
    return "a queue was opened"


def _conntrack_label() -> str:
    code, _, problem = Nftables().cmd(_LABELLED)
    if code:
        raise ProbeError(f"nft refuses labels: {problem.strip()}")
    labels = (ACCEPTED_LABEL, REFUSED_LABEL, NAME_LABEL)
    with _udp_flow() as (_, flow), closing(Conntrack(*labels)) as conntrack:
        if not conntrack.trust(flow):
            raise ProbeError("the entry of a flow could not be labelled")
        if not conntrack.distrust(flow):
            raise ProbeError("the entry of a flow could not be deleted")
    return "the entry of a flow was labelled, and deleted"


def _sock_diag() -> str:
    with _udp_flow() as (sender, flow), closing(SockDiag()) as diag:
        entry = diag.find(flow)
        if entry is None or entry.cookie != _cookie(sender):
            raise ProbeError("the kernel did not find the socket of a flow")
    return "the socket of a flow was found"


def _raw_sock_diag() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, Protocol.ICMP) as raw:
        try:
            listed = raw_diag.raw_sockets(Protocol.ICMP)
        except FileNotFoundError as problem:
            raise ProbeError("the kernel does not list raw sockets") from problem
        if os.fstat(raw.fileno()).st_ino not in listed:
            raise ProbeError("the kernel did not list a raw socket")
    return "a raw socket was listed; ping sockets are in /proc/net/icmp alone"


def _sock_destroy() -> str:
    with (
        socket.create_server((_LOCALHOST, 0)) as server,
        socket.create_connection(server.getsockname(), 5) as client,
    ):
        problem = raw_diag.destroy(client)
        if problem:
            raise ProbeError(os.strerror(problem))
        if client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.ECONNABORTED:
            raise ProbeError("the connection lived on")
    return "a connection was cut"


def _attach(mode: AttachMode) -> str:
    with (
        _cgroup() as cgroup,
        attached(bpf_object(), cgroup, mode) as programs,
        _udp_flow() as (sender, _),
    ):
        if programs.owners.get(COOKIE.pack(_cookie(sender))) is None:
            raise ProbeError("the programs run, but did not record a socket")
    return "the programs were attached, and recorded the owner of a socket"


def _names_dns() -> str:
    with _listening() as (programs, samples), socket.socket(type=socket.SOCK_DGRAM) as asker:
        if programs.dns_problem is not None:
            raise ProbeError(programs.dns_problem)
        asker.sendto(_QUESTION, (_LOCALHOST, _DNS_PORT))
        if not any(isinstance(each, DnsPacket) for each in samples.drain()):
            raise ProbeError("the programs run, but did not see a question")
    return "a question to a name server was seen"


def _names_libc() -> str:
    with _listening() as (programs, samples):
        if programs.libc_problem is not None:
            raise ProbeError(programs.libc_problem)
        socket.getaddrinfo(_LOCALHOST, _DNS_PORT)
        if not any(isinstance(each, LibcAnswer) for each in samples.drain()):
            raise ProbeError("the programs run, but did not see what the C library was asked")
    return "what the C library was asked was seen"


@contextmanager
def _listening() -> Iterator[tuple[LoadedPrograms, NameSamples]]:
    with (
        _cgroup() as cgroup,
        attached(bpf_object(), cgroup) as programs,
        closing(NameSamples(programs, lambda _entry: Unknown("nobody looked"))) as samples,
    ):
        yield programs, samples


def _packet_refusal() -> str:
    everything = OpeningRule("doctor", refuses=True, bypasses=frozenset(Bypass), tests=())
    with (
        attached(bpf_object(), None, AttachMode.LSM) as programs,
        closing(OpeningHooks(programs, lambda _opened: None)) as hooks,
    ):
        hooks.use([everything], 1, refuse_unattributed=True)
        # Of this namespace alone, in which there is nobody else.
        hooks.begin(netns.cookie(), mounts.of_the_rules().namespace)
        try:
            socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0).close()
        except PermissionError:
            return "a rule refused a packet socket"
    raise ProbeError("the programs run, and refused no packet socket")


@contextmanager
def _cgroup() -> Iterator[Path]:
    """Move to a cgroup of our own and yield it; where none can be made, yield the root."""
    root = cgroups.v2_root()
    own = own_cgroup(os.getpid())
    try:
        own.mkdir()
    except OSError:
        yield root
        return
    (line,) = (
        line for line in Path("/proc/self/cgroup").read_text().splitlines() if line[:3] == "0::"
    )
    home = root / line[3:].lstrip("/") / "cgroup.procs"
    (own / "cgroup.procs").write_text("0", "ascii")
    try:
        yield own
    finally:
        home.write_text("0", "ascii")
        own.rmdir()


@contextmanager
def _udp_flow() -> Iterator[tuple[socket.socket, Flow]]:
    """Send a datagram over the loopback interface; yield its socket and flow."""
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender,
    ):
        receiver.bind((_LOCALHOST, 0))
        sender.connect(receiver.getsockname())
        sender.send(b"nfsnitch doctor")
        here = socket.inet_aton(_LOCALHOST)
        sport, dport = sender.getsockname()[1], receiver.getsockname()[1]
        yield sender, Flow(Family.IPV4, Protocol.UDP, here, here, sport, dport, None)


def _cookie(any_socket: socket.socket) -> int:
    (number,) = struct.unpack("=Q", any_socket.getsockopt(socket.SOL_SOCKET, _SO_COOKIE, 8))
    return int(number)


PROBES: dict[str, Callable[[], str]] = {
    "netns-cookie": _netns_cookie,
    **{f"attach-{mode}": partial(_attach, mode) for mode in BEST_FIRST},
    "packet-refusal": _packet_refusal,
    "names-dns": _names_dns,
    "names-libc": _names_libc,
    "nft-queue": _nft_queue,
    "xtables-queue": _xtables_queue,
    "packet-match": _packet_match,
    "nfqueue": _packet_queue,
    "conntrack-label": _conntrack_label,
    "sock-diag": _sock_diag,
    "raw-sock-diag": _raw_sock_diag,
    "sock-destroy": _sock_destroy,
}
"""Name → what tries it: it returns what was seen, and raises what the kernel had against it."""


if __name__ == "__main__":
    main()
