"""Which interfaces lead to other network namespaces."""

from __future__ import annotations

from pathlib import Path
from struct import pack

from hypothesis import given
from hypothesis import strategies as st

from nfsnitch.adapters.links import Link, below, default_routes, parsed


def attribute(kind: int, content: bytes) -> bytes:
    return pack("=HH", 4 + len(content), kind) + content + bytes(-len(content) % 4)


def message(ifindex: int, *attributes: bytes) -> memoryview:
    return memoryview(pack("=BxHiII", 0, 1, ifindex, 0, 0) + b"".join(attributes))


KIND_VETH = attribute(18, attribute(1, b"veth\0"))


def test_a_veth_whose_peer_is_elsewhere_is_a_door() -> None:
    link = parsed(
        message(
            7, KIND_VETH, attribute(5, pack("=I", 2)), attribute(10, pack("=I", 3)),
            attribute(37, pack("=i", 0)),
        )
    )  # fmt: skip

    assert link == Link(7, b"veth", master=3, below=0, is_door=True)


def test_a_veth_whose_peer_is_here_is_none() -> None:
    link = parsed(message(7, KIND_VETH, attribute(5, pack("=I", 2))))

    assert link == Link(7, b"veth", master=0, below=2, is_door=False)


def test_what_comes_up_by_a_vlan_of_a_bridge_came_by_any_port_of_the_bridge() -> None:
    links = {
        each.ifindex: each
        for each in (
            Link(1, b"bridge", 0, 0, is_door=False),
            Link(2, b"veth", 1, 0, is_door=True),
            Link(3, b"bond", 1, 0, is_door=False),
            Link(4, b"", 3, 0, is_door=False),
            Link(5, b"vlan", 0, 1, is_door=False),
            Link(6, b"veth", 0, 0, is_door=True),
        )
    }

    assert sorted(below(links, 5)) == [1, 2, 3, 4, 5]
    assert below(links, 6) == [6]
    assert below(links, 99) == []


NUMBERS = st.integers(0, 5)
LINKS = st.builds(Link, NUMBERS, st.just(b""), NUMBERS, NUMBERS, st.booleans()).filter(
    lambda link: link.ifindex > 0
)


@given(st.lists(LINKS).map(lambda links: {each.ifindex: each for each in links}), NUMBERS)
def test_interfaces_that_stand_on_each_other_in_a_ring_come_to_an_end(
    links: dict[int, Link], ifindex: int
) -> None:
    found = below(links, ifindex)

    assert len(found) == len(set(found))
    assert (ifindex in links) == (ifindex in found)


@given(st.binary(max_size=120))
def test_no_bytes_are_too_odd_to_be_read(raw: bytes) -> None:
    link = parsed(memoryview(raw))

    assert link is None or not link.is_door or link.kind == b"veth"


def test_default_routes_are_those_of_no_prefix(tmp_path: Path) -> None:
    four, six = tmp_path / "route", tmp_path / "ipv6_route"
    four.write_text(
        "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
        "lo\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "gone0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n"
        "eth9\t000200C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n"
        "odd\n"
    )
    six.write_text(f"{'0' * 32} 08 {'0' * 32} 00 {'0' * 32} 00000400 1 0 00000001 lo\n")

    assert list(default_routes((four, six))) == [1]
    assert list(default_routes((tmp_path / "none", tmp_path / "none"))) == []
