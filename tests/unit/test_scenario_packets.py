"""Packets of scenarios: the bytes that layers, fields and their values become."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from scapy.layers.inet import ICMP, IP, UDP, IPerror, UDPerror
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.packet import Raw

from nfsnitch.adapters.rulefile.problems import Refused
from nfsnitch.lab.scenario.field_values import field_value
from nfsnitch.lab.scenario.layers import LAYERS, Kind, field_type, flag_bits, layer_class
from nfsnitch.lab.scenario.packets import Defaults, PacketError, build, is_frame
from packet_play import SERVER, SERVER6, Stack, datagram, layers


def test_a_packet_has_the_fields_of_its_layers_and_whole_checksums() -> None:
    [raw] = build(datagram())

    read = IP(raw)
    assert (read.src, read.dst, read[UDP].sport, read[UDP].dport) == ("192.0.2.2", SERVER, 53, 9)
    assert read[Raw].load == b"hello"
    assert raw == bytes(IP(src="192.0.2.2", dst=SERVER) / UDP(sport=53, dport=9) / b"hello")


def test_what_a_packet_does_not_say_comes_from_the_defaults() -> None:
    defaults = Defaults(
        "192.0.2.9", "2001:db8::9", "fe80::9", "02:00:00:00:00:09", "02:00:00:00:00:08"
    )

    [of_arp] = build(layers(("Ether", {}), ("ARP", {"pdst": "192.0.2.1"})), defaults)
    [near] = build(layers(("IPv6", {"dst": "ff02::1"}), ("ICMPv6EchoRequest", {})), defaults)
    [far] = build(layers(("IPv6", {"dst": SERVER6}), ("ICMPv6EchoRequest", {})), defaults)
    ours: Stack = (("IP", {"dst": SERVER, "src": "203.0.113.7"}), ("ICMP", {}))

    read = Ether(of_arp)
    assert (read.src, read.dst) == ("02:00:00:00:00:09", "02:00:00:00:00:08")
    assert (read[ARP].hwsrc, read[ARP].psrc) == ("02:00:00:00:00:09", "192.0.2.9")
    assert (IPv6(near).src, IPv6(far).src) == ("fe80::9", "2001:db8::9")
    assert IP(build(layers(*ours), defaults)[0]).src == "203.0.113.7"


@pytest.mark.parametrize(
    ("stack", "why"),
    [
        ((("IP", {}), ("UDP", {})), "IP says nothing of its dst"),
        ((("IPv6", {"src": "::1"}),), "IPv6 says nothing of its dst"),
        ((("IP", {"dst": SERVER}), ("ICMP", {}), ("IPerror", {})), "its dst and src"),
        ((("Ehter", {}),), "there is no such layer"),
        ((("IP", {"dst": SERVER, "colour": 1}),), "IP has no such field"),
        ((("IP", {"dst": SERVER, "ttl": 1 << 20}),), "scapy cannot build it"),
        ((("UDP", {}), ("Raw", {"load": bytes(70_000)})), "scapy cannot build it"),
    ],
)
def test_a_packet_that_cannot_be_built_says_why(stack: Stack, why: str) -> None:
    with pytest.raises(PacketError, match=why):
        build(layers(*stack))


def test_nothing_of_the_machine_is_asked_for_while_a_packet_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build(layers(("Ether", {}), ("IP", {"dst": SERVER}), ("UDP", {})))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the machine was asked")

    monkeypatch.setattr(socket, "socket", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr("scapy.route.Route.route", refuse)
    monkeypatch.setattr("scapy.route6.Route6.route", refuse)
    monkeypatch.setattr("scapy.layers.l2.getmacbyip", refuse)
    monkeypatch.setattr("scapy.layers.inet6.getmacbyip6", refuse)
    quoted = ("IPerror", {"src": "192.0.2.2", "dst": SERVER})
    stacks: tuple[Stack, ...] = (
        (("Ether", {}), ("IP", {"dst": SERVER}), ("ICMP", {"type": 3}), quoted, ("UDPerror", {})),
        (("Ether", {}), ("IPv6", {"dst": "ff02::1"}), ("ICMPv6ND_NS", {"tgt": SERVER6})),
        (("IPv6", {"dst": SERVER6}), ("ICMPv6ND_NS", {}), ("ICMPv6NDOptSrcLLAddr", {})),
        (("Ether", {}), ("ARP", {})),
        (("IP", {"dst": SERVER}), ("GRE", {}), ("IP", {"dst": "203.0.113.1"}), ("UDP", {})),
    )
    for stack in stacks:
        assert build(layers(*stack)) == build(layers(*stack))


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_each_layer_is_there_and_is_built_alike_each_time(name: str) -> None:
    fields = {"dst": "192.0.2.1"} if name in {"IP", "IPerror"} else {}
    fields |= {"dst": "2001:db8::1"} if name in {"IPv6", "IPerror6"} else {}
    fields |= {"src": fields["dst"]} if name in {"IPerror", "IPerror6"} else {}

    once, again = (build(layers((name, fields))) for _ in range(2))

    assert once == again
    assert len(once) == 1
    assert layer_class(name).__name__ == name


@pytest.mark.parametrize("name", sorted(LAYERS))
def test_each_field_of_each_layer_has_a_kind_or_says_that_it_cannot_be_written(name: str) -> None:
    unknown = []
    for field in layer_class(name).fields_desc:
        try:
            found = field_type(name, field.name)
        except Refused:
            unknown.append(field.name)
        else:
            assert found.kind is not Kind.NUMBER or 0 < found.bits <= 64
    assert unknown == (["gap_ack_list"] if name == "SCTPChunkSACK" else [])


def test_an_icmp_error_quotes_the_packet_that_it_is_about() -> None:
    quoted = ("IPerror", {"src": "192.0.2.2", "dst": SERVER})
    of_udp = ("UDPerror", {"sport": 40_000, "dport": 9})
    [raw] = build(layers(("IP", {"dst": "192.0.2.2"}), ("ICMP", {"type": 3}), quoted, of_udp))

    read = IP(raw)
    assert read[ICMP].type == 3
    assert (read[IPerror].dst, read[UDPerror].sport) == (SERVER, 40_000)


def test_a_packet_with_a_tag_of_a_vlan_is_a_frame() -> None:
    tagged = layers(("Ether", {}), ("Dot1Q", {"vlan": 7}), ("IP", {"dst": SERVER}), ("UDP", {}))

    assert is_frame(tagged)
    assert not is_frame(datagram())
    assert Ether(build(tagged)[0])[Dot1Q].vlan == 7


def test_layers_in_fields_are_built_as_well() -> None:
    asked = ("DNSQR", {"qname": b"example.test", "qtype": 28})
    routed = ("IPOption_RR", {"routers": ("192.0.2.1",)})
    [raw] = build(
        layers(
            ("IP", {"dst": SERVER, "options": (routed,)}),
            ("UDP", {"sport": 4000, "dport": 53}),
            ("DNS", {"id": 7, "qd": (asked,)}),
        )
    )

    assert IP(raw).options[0].routers == ["192.0.2.1"]
    assert b"\x07example\x04test\x00\x00\x1c" in raw


def test_a_prefix_stands_in_the_place_of_layers_or_before_them() -> None:
    assert build(layers(prefix=b"\x45\x00")) == [b"\x45\x00"]
    [whole] = build(datagram())
    assert build(datagram(prefix=b"\x00\x01")) == [b"\x00\x01" + whole]


def test_a_truncated_packet_has_the_first_bytes_of_the_whole_one() -> None:
    [whole] = build(datagram())
    assert build(datagram(truncate_bytes=22)) == [whole[:22]]


def test_flags_are_letters_or_words_with_a_plus_between_them() -> None:
    assert flag_bits("TCP", "flags", "SA") == 0x12
    assert flag_bits("TCP", "flags", "") == 0
    assert flag_bits("IP", "flags", "MF+DF") == 3
    with pytest.raises(Refused, match="no flag 'x'; write FSRPAUEC"):
        flag_bits("TCP", "flags", "Sx")
    with pytest.raises(Refused, match=r"no flag 'FM'; write MF\+DF"):
        flag_bits("IP", "flags", "FM")


@pytest.mark.parametrize(
    ("layer", "name", "given_text", "value"),
    [
        ("UDP", "dport", "53", 53),
        ("UDP", "dport", "0x35", 53),
        ("IP", "proto", "udp", 17),
        ("ICMP", "type", "echo-request", 8),
        ("DNSQR", "qtype", "AAAA", 28),
        ("TCP", "flags", "SA", 0x12),
        ("TCP", "flags", "0", 0),
        ("IP", "dst", "192.0.2.1", "192.0.2.1"),
        ("IPv6", "dst", "2001:DB8:0::1", "2001:db8::1"),
        ("Ether", "dst", "02:00:00:00:00:AA", "02:00:00:00:00:aa"),
        ("Raw", "load", "hello", b"hello"),
        ("Raw", "load", "hex:00ff", b"\x00\xff"),
        ("DNSRR", "rdata", "192.0.2.1", "192.0.2.1"),
        ("DNSRR", "rdata", "hex:00", b"\x00"),
        ("IPv6ExtHdrRouting", "addresses", ["2001:db8::1"], ("2001:db8::1",)),
        ("TCP", "options", [{"MSS": "1460"}, "NOP"], (("MSS", 1460), ("NOP", None))),
        ("TCP", "options", {"SAckOK": "", "Timestamp": ["1", "0"]}, None),
        ("TCP", "options", [["WScale", "7"], {"34": "hex:0102"}], (("WScale", 7), (34, b"\1\2"))),
        ("DHCP", "options", [["message-type", "ack"], "end"], (("message-type", "ack"), "end")),
        ("DHCP", "options", [{"lease_time": "60"}], (("lease_time", 60),)),
    ],
)
def test_text_becomes_the_value_that_scapy_takes(
    layer: str,
    name: str,
    given_text: Any,  # noqa: ANN401  of YAML
    value: Any,  # noqa: ANN401  of any field
) -> None:
    expected = (("SAckOK", b""), ("Timestamp", (1, 0))) if value is None else value
    found = field_value(layer, name, given_text, wanted=False)

    assert found == expected
    others: dict[str, dict[str, Any]] = {
        "IP": {"dst": "192.0.2.1"},
        "IPv6": {"dst": "::1"},
        "DNSRR": {"type": 16},
    }
    assert len(build(layers((layer, others.get(layer, {}) | {name: found})))) == 1


@pytest.mark.parametrize(
    ("layer", "name", "wrong", "why"),
    [
        ("UDP", "dport", "65536", "a whole number from 0 to 65535"),
        ("UDP", "dport", "-1", "a whole number"),
        ("UDP", "dport", "http", "a whole number"),
        ("Dot1Q", "vlan", "4096", "from 0 to 4095"),
        ("IP", "dst", "example.test", "an IPv4 address"),
        ("IP", "dst", "192.0.2.0/24", "an IPv4 address"),
        ("IPv6", "dst", "fe80::1%eth0", "an IPv6 address"),
        ("Ether", "src", "2:0:0:0:0:1", "an Ethernet address"),
        ("Raw", "load", "hex:0", "no hexadecimal"),
        ("Raw", "load", ["a"], "a single value"),
        ("Raw", "lod", "a", "did you mean 'load'"),
        ("ICMP", "type", "echo-requst", "did you mean 'echo-request'"),
        ("TCP", "options", [["MSS"], []], "an option is a name"),
        ("TCP", "options", ["MMS"], "did you mean"),
        ("TCP", "options", [{"MSS": {}}], "an option's value"),
        ("DHCP", "options", ["message-typ"], "did you mean 'message-type'"),
        ("IPv6ExtHdrRouting", "addresses", "::1", "it is a list"),
        ("SCTPChunkSACK", "gap_ack_list", "1", "write the bytes of the layer as Raw"),
    ],
)
def test_a_value_that_a_field_does_not_take_is_refused(
    layer: str,
    name: str,
    wrong: Any,  # noqa: ANN401  of YAML
    why: str,
) -> None:
    with pytest.raises(Refused, match=why):
        field_value(layer, name, wrong, wanted=False)
