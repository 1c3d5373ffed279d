"""Sockets that are destroyed, and those that must not be, in a namespace of the test's own."""

from __future__ import annotations

import errno
import socket
import struct
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from builders import ip, own_netns
from nfsnitch.adapters.routes import Routes
from nfsnitch.adapters.sock_destroy import Destroyed, SockDestroy
from nfsnitch.adapters.sock_diag import SockDiag
from nfsnitch.core.flow import Family, Flow, Protocol, packed_address
from nfsnitch.core.unknown import Unknown

pytestmark = [pytest.mark.root, pytest.mark.netns]

SO_COOKIE = 57
"""asm-generic/socket.h"""
HOSTS = {"IPv4": "127.0.0.1", "IPv6": "::1", "IPv4 by IPv6": "::ffff:127.0.0.1"}


@pytest.fixture(autouse=True)
def _apart() -> Iterator[None]:
    with own_netns():
        ip("link set lo up")
        yield


@pytest.fixture(name="stack")
def fixture_stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture(name="sockets")
def fixture_sockets(stack: ExitStack) -> SockDestroy:
    sock_diag = stack.enter_context(closing(SockDiag()))
    return stack.enter_context(closing(SockDestroy(sock_diag)))


def cookie(sock: socket.socket) -> int:
    return int(struct.unpack("=Q", sock.getsockopt(socket.SOL_SOCKET, SO_COOKIE, 8))[0])


def made(stack: ExitStack, kind: str, of: socket.SocketKind) -> socket.socket:
    """Return a socket on the loopback."""
    domain = socket.AF_INET if kind == "IPv4" else socket.AF_INET6
    sock = stack.enter_context(socket.socket(domain, of))
    sock.bind((HOSTS[kind], 0))
    return sock


def flow_from(sock: socket.socket, dport: int, kind: str, proto: int) -> Flow:
    address = packed_address("::1" if kind == "IPv6" else "127.0.0.1")
    family = Family.IPV6 if kind == "IPv6" else Family.IPV4
    return Flow(family, proto, address, address, sock.getsockname()[1], dport)


@pytest.mark.parametrize("kind", HOSTS)
def test_a_connection_is_aborted_at_both_ends(
    sockets: SockDestroy, stack: ExitStack, kind: str
) -> None:
    listener = made(stack, kind, socket.SOCK_STREAM)
    listener.listen()
    client = made(stack, kind, socket.SOCK_STREAM)
    client.connect(listener.getsockname())
    server = stack.enter_context(listener.accept()[0])
    flow = flow_from(client, listener.getsockname()[1], kind, Protocol.TCP)

    assert sockets.destroy(flow, cookie(listener)) is Destroyed.GONE  # another socket's cookie
    client.send(b"x")
    assert sockets.destroy(flow, cookie(client)) is Destroyed.DONE

    with pytest.raises(ConnectionAbortedError):
        client.send(b"x")
    server.recv(9)
    with pytest.raises(ConnectionResetError):
        server.recv(9)
    assert sockets.destroy(flow, cookie(client)) is Destroyed.GONE


@pytest.mark.parametrize("kind", HOSTS)
def test_a_udp_socket_is_destroyed_only_if_it_is_connected_there(
    sockets: SockDestroy, stack: ExitStack, kind: str
) -> None:
    server = made(stack, kind, socket.SOCK_DGRAM)
    there = server.getsockname()[1]
    connected, other = (made(stack, kind, socket.SOCK_DGRAM) for _ in range(2))
    connected.connect(server.getsockname())
    flow = flow_from(connected, there, kind, Protocol.UDP)
    of_other = flow_from(other, there, kind, Protocol.UDP)

    assert sockets.destroy(of_other, cookie(other)) is Destroyed.SPARED
    assert sockets.destroy(flow, cookie(other)) is Destroyed.SPARED
    assert sockets.destroy(flow._replace(dport=1), cookie(connected)) is Destroyed.SPARED
    assert sockets.destroy(flow, cookie(connected)) is Destroyed.DONE

    assert other.sendto(b"x", server.getsockname()) == 1
    assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.ECONNABORTED


def test_a_listener_on_the_same_port_is_no_party_to_a_connection_that_is_gone(
    sockets: SockDestroy, stack: ExitStack
) -> None:
    listener = made(stack, "IPv4", socket.SOCK_STREAM)
    listener.listen()
    flow = flow_from(listener, 4_242, "IPv4", Protocol.TCP)

    assert sockets.destroy(flow, cookie(listener)) is Destroyed.GONE
    with socket.create_connection(listener.getsockname()) as client:
        assert client.getpeername() == listener.getsockname()


@pytest.mark.parametrize("proto", [Protocol.ICMP, Protocol.SCTP, Protocol.GRE])
def test_sockets_of_other_protocols_are_spared(sockets: SockDestroy, proto: int) -> None:
    address = packed_address("127.0.0.1")
    flow = Flow(Family.IPV4, proto, address, address, 1, 2)

    assert sockets.destroy(flow, 1) is Destroyed.SPARED
    assert sockets.destroy(flow, Unknown("for the test")) is Destroyed.SPARED


def test_this_kernel_can_destroy_sockets(sockets: SockDestroy) -> None:
    assert sockets.problem is None


def test_routes_tell_what_is_local_what_leaves_and_what_has_no_way() -> None:
    ip("link add eth0 index 11 type veth peer name eth1 index 12")
    ip("link set eth0 up")
    ip("address add 192.0.2.2/24 dev eth0")
    ip("address add 2001:db8::2/64 dev eth0 nodad")
    with closing(Routes()) as routes:
        own = [routes.to(Family.IPV4, packed_address(a)) for a in ("192.0.2.2", "127.9.9.9")]
        own += [routes.to(Family.IPV6, packed_address(a)) for a in ("2001:db8::2", "::1")]
        away = routes.to(Family.IPV4, packed_address("192.0.2.1"))
        nowhere = routes.to(Family.IPV4, packed_address("203.0.113.1"))

    assert all(route.is_local and route.is_loopback for route in own)
    assert (away.is_local, away.is_loopback, away.ifindex) == (False, False, 11)
    assert (nowhere.is_local, nowhere.is_loopback, nowhere.ifindex) == (False, False, 0)
