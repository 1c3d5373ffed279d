"""The kernel's socket tables, asked about real sockets and compared with SO_COOKIE."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from nfsnitch.adapters.sock_diag import SockDiag, SocketEntry
from nfsnitch.core.flow import LATER_FRAGMENT, NO_PORTS, Family, Flow, Protocol, packed_address

SO_COOKIE = 57
"""asm-generic/socket.h"""
KINDS = ["IPv4", "IPv6", "IPv4 by IPv6"]


@pytest.fixture(name="sock_diag")
def fixture_sock_diag() -> Iterator[SockDiag]:
    with closing(SockDiag()) as sock_diag:
        yield sock_diag


class Net:
    """Sockets on the loopback of one kind, and the flows that their packets would be of."""

    def __init__(self, kind: str, stack: ExitStack) -> None:
        self._stack = stack
        self.domain = socket.AF_INET if kind == "IPv4" else socket.AF_INET6
        self.family = Family.IPV6 if kind == "IPv6" else Family.IPV4
        self.host = {"IPv4": "127.0.0.1", "IPv6": "::1"}.get(kind, "::ffff:127.0.0.1")
        self.any = "0.0.0.0" if kind == "IPv4" else "::"  # noqa: S104  that is what is tried
        self.packed = packed_address("::1" if kind == "IPv6" else "127.0.0.1")

    def bound(self, kind: socket.SocketKind, host: str = "") -> socket.socket:
        """Return a socket bound to *host*, or to the loopback."""
        made = self._stack.enter_context(socket.socket(self.domain, kind))
        made.bind((host or self.host, 0))
        return made

    def sharing(self, port: int = 0) -> socket.socket:
        """Return a UDP socket whose port others may have, too."""
        made = self._stack.enter_context(socket.socket(self.domain, socket.SOCK_DGRAM))
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((self.host, port))
        return made

    def connected_pair(self) -> tuple[socket.socket, socket.socket]:
        """Return both ends of a TCP connection."""
        listener = self.bound(socket.SOCK_STREAM)
        listener.listen()
        client = self.bound(socket.SOCK_STREAM)
        client.connect(listener.getsockname())
        server = self._stack.enter_context(listener.accept()[0])
        return client, server

    def flow(self, sport: int, dport: int, proto: int = Protocol.UDP) -> Flow:
        """Return the flow from one port to another."""
        return Flow(self.family, proto, self.packed, self.packed, sport, dport)


@pytest.fixture(name="net", params=KINDS)
def fixture_net(request: pytest.FixtureRequest) -> Iterator[Net]:
    with ExitStack() as stack:
        net = Net(request.param, stack)
        try:
            net.bound(socket.SOCK_DGRAM)
        except OSError as problem:
            pytest.skip(f"no {request.param} on the loopback: {problem}")
        yield net


def port_of(sock: socket.socket) -> int:
    port: int = sock.getsockname()[1]
    return port


def known(sock: socket.socket) -> SocketEntry:
    """Return what a socket says of itself."""
    (cookie,) = struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))
    return SocketEntry(cookie, os.fstat(sock.fileno()).st_ino, os.geteuid())


def test_each_end_of_a_tcp_connection_is_found_by_its_own_flow(
    sock_diag: SockDiag, net: Net
) -> None:
    client, server = net.connected_pair()
    there, back = port_of(client), port_of(server)

    assert sock_diag.find(net.flow(there, back, Protocol.TCP)) == known(client)
    assert sock_diag.find(net.flow(back, there, Protocol.TCP)) == known(server)


def test_connected_udp_sockets_are_found_each_by_its_own_flow(
    sock_diag: SockDiag, net: Net
) -> None:
    one, other = (net.bound(socket.SOCK_DGRAM) for _ in range(2))
    one.connect(other.getsockname())
    other.connect(one.getsockname())

    assert sock_diag.find(net.flow(port_of(one), port_of(other))) == known(one)
    assert sock_diag.find(net.flow(port_of(other), port_of(one))) == known(other)


@pytest.mark.parametrize("bound_to", ["host", "any"])
def test_an_unconnected_udp_socket_is_found_whomever_it_sends_to(
    sock_diag: SockDiag, net: Net, bound_to: str
) -> None:
    sock = net.bound(socket.SOCK_DGRAM, getattr(net, bound_to))

    assert sock_diag.find(net.flow(port_of(sock), 53)) == known(sock)
    assert sock_diag.find(net.flow(port_of(sock), 123)) == known(sock)


def test_of_two_udp_sockets_with_one_port_the_connected_one_has_its_own_flow(
    sock_diag: SockDiag, net: Net
) -> None:
    loose = net.sharing()
    connected = net.sharing(port_of(loose))
    connected.connect((net.host, 53))

    assert sock_diag.find(net.flow(port_of(loose), 53)) == known(connected)
    assert sock_diag.find(net.flow(port_of(loose), 54)) == known(loose)


def test_a_tcp_flow_to_another_port_is_not_the_connections(sock_diag: SockDiag, net: Net) -> None:
    client, server = net.connected_pair()

    assert sock_diag.find(net.flow(port_of(client), port_of(server) ^ 1, Protocol.TCP)) is None


def test_a_closed_udp_socket_is_not_found(sock_diag: SockDiag, net: Net) -> None:
    sock = net.bound(socket.SOCK_DGRAM)
    flow = net.flow(port_of(sock), 53)
    assert sock_diag.find(flow) == known(sock)

    sock.close()

    assert sock_diag.find(flow) is None


def test_a_tcp_socket_that_is_closed_with_a_reset_is_not_found(
    sock_diag: SockDiag, net: Net
) -> None:
    client, server = net.connected_pair()
    flow = net.flow(port_of(client), port_of(server), Protocol.TCP)
    assert sock_diag.find(flow) == known(client)

    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("=ii", 1, 0))
    client.close()

    assert sock_diag.find(flow) is None


def test_a_tcp_socket_that_is_closed_while_the_other_end_is_not_belongs_to_no_file(
    sock_diag: SockDiag, net: Net
) -> None:
    client, server = net.connected_pair()
    flow = net.flow(port_of(client), port_of(server), Protocol.TCP)
    cookie = known(client).cookie

    client.close()

    found = sock_diag.find(flow)
    assert found is not None
    assert (found.cookie, found.inode) == (cookie, 0)


def test_a_udp_socket_is_not_taken_for_a_tcp_one_with_the_same_port(
    sock_diag: SockDiag, net: Net
) -> None:
    sock = net.bound(socket.SOCK_DGRAM)

    assert sock_diag.find(net.flow(port_of(sock), 53, Protocol.TCP)) is None


@pytest.mark.parametrize("proto", [Protocol.ICMP, Protocol.SCTP, 255])
def test_a_protocol_without_a_table_is_not_asked_about(
    sock_diag: SockDiag, net: Net, proto: int
) -> None:
    sock = net.bound(socket.SOCK_DGRAM)

    assert sock_diag.find(net.flow(port_of(sock), 53, proto)) is None


def test_a_flow_whose_ports_are_not_known_is_not_asked_about(sock_diag: SockDiag, net: Net) -> None:
    sock = net.bound(socket.SOCK_DGRAM)

    flow = net.flow(port_of(sock), 53)
    assert sock_diag.find(flow._replace(sport=NO_PORTS)) is None
    assert sock_diag.find(flow._replace(dport=LATER_FRAGMENT)) is None


def test_many_questions_get_their_own_answers(sock_diag: SockDiag, net: Net) -> None:
    sockets = [net.bound(socket.SOCK_DGRAM) for _ in range(50)]

    found = [sock_diag.find(net.flow(port_of(sock), 53)) for sock in sockets]

    assert found == [known(sock) for sock in sockets]


def test_a_closed_netlink_socket_is_an_error_and_not_an_answer(net: Net) -> None:
    sock = net.bound(socket.SOCK_DGRAM)
    sock_diag = SockDiag()
    sock_diag.close()

    with pytest.raises(OSError, match="Bad file descriptor"):
        sock_diag.find(net.flow(port_of(sock), 53))


def test_listing_gives_every_socket_a_cookie_and_counts_them(sock_diag: SockDiag, net: Net) -> None:
    listener = net.bound(socket.SOCK_STREAM)
    listener.listen()
    net.bound(socket.SOCK_DGRAM)
    before = sock_diag.give_cookies()
    net.bound(socket.SOCK_DGRAM)

    assert before >= 2
    assert sock_diag.give_cookies() >= 3


def test_after_listing_single_look_ups_go_on_as_before(sock_diag: SockDiag, net: Net) -> None:
    client, server = net.connected_pair()

    sock_diag.give_cookies()

    found = sock_diag.find(net.flow(port_of(client), port_of(server), Protocol.TCP))
    assert found is not None
    assert found.cookie == known(client).cookie
