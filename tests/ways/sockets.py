"""Ways that differ in the kind of socket, and in the call that sends by it."""

from __future__ import annotations

from collections.abc import Callable

from nfsnitch.core.attach import AttachMode
from ways.stage import COUNT, FEW, OLDER, PORT, Place, Sent, Stage, Way


def words(
    how: str, place: Place, *options: str, ipv6: bool = False, count: int = COUNT
) -> list[str]:
    """Return the arguments for the program ``way``."""
    return [*options, how, place.ipv6 if ipv6 else place.ipv4, str(count), str(PORT)]


def by(how: str, *options: str, ipv6: bool = False) -> Callable[[Stage, Place], Sent]:
    """Return what sends in that manner, by a program that opens its sockets itself."""

    def send(stage: Stage, place: Place) -> Sent:
        return Sent(stage.run([stage.copy(), *words(how, place, *options, ipv6=ipv6)]))

    return send


def _kind(title: str, how: str, *, ipv6: bool = False, needs: str = "") -> Way:
    name = f"{how}-ipv6" if ipv6 else how
    unsure = _ANOTHER_WAS_CLOSED if how.startswith("raw") else {}
    return Way(name, title, by(how, ipv6=ipv6), needs=needs, unsure=unsure)


def _older(title: str, how: str) -> Way:
    name = f"older-{how}"

    def open_them(stage: Stage, place: Place) -> None:
        stage.start_waiting(name, [stage.copy(), *words(how, place, "--wait", "--stay", count=FEW)])

    def send(stage: Stage, _place: Place) -> Sent:
        return Sent(stage.let_go(name, FEW), opener=OLDER)

    # Each of them may take a look into /proc, and there are only so many in a second.
    return Way(name, title, send, before=open_them, count=FEW)


_URING = "io_uring"
_ANOTHER_WAS_CLOSED = {
    AttachMode.CGROUP: "a raw socket that may have sent it was closed a moment ago"
}
"""Of raw sockets this mode knows how many there are of a protocol, and which was made last."""

WAYS = (
    _kind("UDP, `sendto()`", "udp-sendto"),
    _kind("UDP over IPv6, `sendto()`", "udp-sendto", ipv6=True),
    _kind("UDP, `sendmsg()`", "udp-sendmsg"),
    _kind("UDP, `sendmmsg()`", "udp-sendmmsg"),
    _kind("UDP, `connect()` and `send()`", "udp-connected"),
    _kind("UDP over IPv6, `connect()` and `send()`", "udp-connected", ipv6=True),
    _kind("UDP, `connect()` and `writev()`", "udp-writev"),
    _kind("UDP, `connect()` and `splice()` from a pipe", "udp-splice"),
    _kind("UDP-Lite", "udplite", needs="UDP-Lite"),
    _kind("TCP, `connect()`", "tcp"),
    _kind("TCP over IPv6, `connect()`", "tcp", ipv6=True),
    _kind("TCP, `connect()` that does not wait", "tcp-later"),
    _kind("TCP Fast Open, `MSG_FASTOPEN`", "tcp-fastopen"),
    _kind("TCP Fast Open, `TCP_FASTOPEN_CONNECT`", "tcp-fastopen-connect"),
    _kind("MPTCP", "mptcp", needs="MPTCP"),
    _kind("SCTP, one to one", "sctp", needs="SCTP"),
    _kind("SCTP, one to many", "sctp-message", needs="SCTP"),
    _kind("io_uring, TCP connect", "uring-connect", needs=_URING),
    _kind("io_uring, UDP send", "uring-send", needs=_URING),
    _kind("io_uring, UDP sendmsg", "uring-sendmsg", needs=_URING),
    _kind("io_uring, sendmsg by a worker thread", "uring-worker", needs=_URING),
    _kind("io_uring, sendmsg by the polling thread", "uring-polled", needs=_URING),
    _kind("ping socket", "ping"),
    _kind("ping socket, IPv6", "ping", ipv6=True),
    _kind("raw socket of a protocol", "raw"),
    _kind("raw socket of a protocol, IPv6", "raw", ipv6=True),
    _kind("raw socket of ICMP", "raw-icmp"),
    _kind("raw socket of ICMPv6", "raw-icmp", ipv6=True),
    _kind("raw socket of `IPPROTO_RAW`", "raw-header"),
    _kind("raw socket of `IPPROTO_RAW`, IPv6", "raw-header", ipv6=True),
    _older("UDP socket older than the daemon", "udp-sendto"),
    _older("connected UDP socket older than the daemon", "udp-early"),
    _older("TCP socket older than the daemon", "tcp"),
)
