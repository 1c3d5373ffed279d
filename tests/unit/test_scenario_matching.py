"""Which packets are like what a scenario wants: those with all its layers and fields."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Raw

from nfsnitch.lab.scenario.model import Range
from nfsnitch.lab.scenario.packets import build, matches
from packet_play import SERVER, layers

FRAME = bytes(
    Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
    / IP(src="192.0.2.2", dst=SERVER)
    / TCP(sport=40_000, dport=80, flags="SA", options=[("MSS", 1460), ("NOP", None)])
    / Raw(b"GET / HTTP/1.1")
)


@pytest.mark.parametrize(
    ("wanted", "is_like"),
    [
        ({}, True),
        ({"TCP": {}}, True),
        ({"UDP": {}}, False),
        ({"IP": {"src": "192.0.2.2"}, "TCP": {"dport": 80}}, True),
        ({"IP": {"src": "192.0.2.3"}, "TCP": {"dport": 80}}, False),
        ({"IP": {"src": "192.0.2.0/24"}}, True),
        ({"IP": {"src": "198.51.100.0/24"}}, False),
        ({"TCP": {"dport": Range(80, 80, "80")}}, True),
        ({"TCP": {"dport": Range(81, 90, "81..90")}}, False),
        ({"TCP": {"flags": "SA"}}, True),
        ({"TCP": {"flags": "AS"}}, True),
        ({"TCP": {"flags": "S"}}, False),
        ({"TCP": {"flags": "~S"}}, True),
        ({"TCP": {"flags": "~SR"}}, False),
        ({"TCP": {"flags": ""}}, False),
        ({"TCP": {"flags": 0x12}}, True),
        ({"TCP": {"options": (("MSS", 1460),)}}, True),
        ({"TCP": {"options": [["NOP", None]]}}, True),
        ({"TCP": {"options": (("MSS", 536),)}}, False),
        ({"Ether": {"dst": "02:00:00:00:00:02"}}, True),
        ({"Ether": {"dst": "02:00:00:00:00:03"}}, False),
        ({"TCP": {}, "Raw": {"load": b"GET /"}}, True),
        ({"TCP": {}, "Raw": {"load": "HTTP/1.1"}}, True),
        ({"TCP": {}, "Raw": {"load": b"POST"}}, False),
        ({"Raw": {"load": b"GET /"}}, True),
        ({"Padding": {}}, False),
    ],
)
def test_a_packet_is_like_what_it_has_all_layers_and_fields_of(
    wanted: dict[str, dict[str, Any]],
    is_like: bool,  # noqa: FBT001  a parameter of the test
) -> None:
    assert matches(FRAME, wanted) is is_like
    assert matches(Ether(FRAME), wanted) is is_like


def test_bytes_are_found_behind_a_layer_whatever_scapy_takes_them_for() -> None:
    odd = Ether() / IP(src="192.0.2.2", dst=SERVER) / UDP(sport=53, dport=9) / Raw(b"hello, there")
    frame = bytes(odd)

    assert matches(frame, {"UDP": {"sport": 53}, "Raw": {"load": b"hello"}})
    assert not matches(frame, {"UDP": {"sport": 53}, "Raw": {"load": b"bye"}})
    assert not matches(bytes(Ether() / IP(dst=SERVER) / UDP()), {"UDP": {}, "Raw": {}})


def test_layers_in_fields_are_looked_for_as_well() -> None:
    answer = ("DNSRR", {"rrname": b"example.test", "type": 1, "rdata": "192.0.2.9"})
    asked = ("DNSQR", {"qname": b"example.test"})
    [raw] = build(
        layers(
            ("Ether", {}),
            ("IP", {"dst": SERVER}),
            ("UDP", {"sport": 53, "dport": 53}),
            ("DNS", {"qr": 1, "qd": (asked,), "an": (answer,)}),
        )
    )

    assert matches(raw, {"DNS": {"qr": 1}, "DNSRR": {"rdata": b"192.0.2.9"}})
    assert matches(raw, {"DNSQR": {"qname": "example.test"}})
    assert not matches(raw, {"DNSRR": {"rdata": b"192.0.2.8"}})


def test_the_quoted_packet_is_not_taken_for_the_packet_itself() -> None:
    quoted = ("IPerror", {"src": "192.0.2.2", "dst": SERVER})
    [raw] = build(
        layers(
            ("Ether", {}),
            ("IP", {"dst": "192.0.2.2", "src": "192.0.2.1"}),
            ("ICMP", {"type": 11}),
            quoted,
            ("UDPerror", {"dport": 33434}),
        )
    )

    assert matches(raw, {"ICMP": {"type": 11}, "UDPerror": {"dport": Range(33434, 33500, "")}})
    assert matches(raw, {"IPerror": {"dst": SERVER}})
    assert not matches(raw, {"UDP": {}})
    assert not matches(raw, {"IP": {"dst": SERVER}})


def test_what_hosts_say_of_groups_is_igmp_whichever_kind_it_is() -> None:
    to_group = ("IP", {"dst": "224.0.0.251", "ttl": 1})
    report = ("IGMP", {"type": 0x16, "gaddr": "224.0.0.251"})
    once, again = (build(layers(("Ether", {}), to_group, report)) for _ in range(2))

    assert once == again
    assert matches(once[0], {"IGMP": {"type": 0x16, "gaddr": "224.0.0.0/4"}})
    assert not matches(once[0], {"IGMP": {"type": 0x17}})


@given(st.binary(max_size=120))
def test_any_bytes_are_like_something_or_not(raw: bytes) -> None:
    assert matches(raw, {"UDP": {"sport": 53}, "Raw": {}}) in {True, False}
    assert matches(raw, {"IPv6": {"dst": "::/0"}, "TCP": {"flags": "~S"}}) in {True, False}
