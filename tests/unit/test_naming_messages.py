"""DNS messages: what they ask and answer, against dnslib's opinion, and hostile ones."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable
from ipaddress import ip_address

import dnslib
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nfsnitch.core.packet import Malformed
from nfsnitch.naming.messages import (
    AAAA,
    CNAME,
    HTTPS,
    A,
    Answer,
    Found,
    Question,
    read_answer,
    read_question,
)

DNAME = 39

MOST_NS = 5_000_000
"""That long may the worst message take to read."""

LABEL = st.text("abcdefghijklmnopqrstuvwxyz0123456789-_", min_size=1, max_size=20)
NAME = st.lists(LABEL, min_size=1, max_size=6).map(".".join)


def asked(name: str, qtype: str = "A") -> dnslib.DNSRecord:
    return dnslib.DNSRecord.question(name, qtype)


def answered(question: dnslib.DNSRecord, *zone: str) -> bytes:
    """Return an answer to *question* with the records of *zone*."""
    reply = question.reply()
    for record in zone:
        reply.add_answer(*dnslib.RR.fromZone(record))
    return bytes(reply.pack())


def found(payload: bytes) -> dict[str, Found]:
    answer = read_answer(payload)
    assert isinstance(answer, Answer), answer
    return {str(ip_address(each.address)): each for each in answer.found}


def problem(payload: bytes) -> str:
    answer = read_answer(payload)
    assert isinstance(answer, Malformed)
    return answer.problem


def wire_name(*labels: bytes) -> bytes:
    return b"".join(bytes([len(each)]) + each for each in labels) + b"\0"


def wire_answer(question: bytes, records: bytes, count: int, qtype: int = A) -> bytes:
    """Return an answer of hand-made parts; *question* is a name on the wire."""
    header = struct.pack("!6H", 7, 0x8180, 1, count, 0, 0)
    return header + question + struct.pack("!2H", qtype, 1) + records


def wire_record(owner: bytes, kind: int, data: bytes, ttl_s: int = 60) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, ttl_s, len(data)) + data


def test_a_question_is_read_in_lower_case_with_its_id() -> None:
    record = asked("WWW.Example.ORG", "AAAA")
    question = read_question(bytes(record.pack()))
    assert question == Question(record.header.id, "www.example.org", AAAA, 1)


def test_addresses_are_found_through_a_chain_of_aliases_with_the_least_ttl() -> None:
    payload = answered(
        asked("www.example.org"),
        "www.example.org 300 CNAME a.cdn.example",
        "a.cdn.example 20 CNAME b.cdn.example",
        "b.cdn.example 60 A 192.0.2.1",
        "b.cdn.example 10 A 192.0.2.2",
    )
    through = ("a.cdn.example", "b.cdn.example")
    assert found(payload) == {
        "192.0.2.1": Found(ip_address("192.0.2.1").packed, 20, through),
        "192.0.2.2": Found(ip_address("192.0.2.2").packed, 10, through),
    }


def test_the_alias_that_a_server_has_made_of_a_dname_is_followed() -> None:
    new = wire_name(b"www", b"new", b"example")
    records = wire_record(wire_name(b"old", b"example"), DNAME, wire_name(b"new", b"example"))
    records += wire_record(b"\xc0\x0c", CNAME, new) + wire_record(new, A, bytes([192, 0, 2, 1]))
    payload = wire_answer(wire_name(b"www", b"old", b"example"), records, 3)
    assert found(payload)["192.0.2.1"].aliases == ("www.new.example",)


def test_records_that_the_question_does_not_lead_to_put_no_name_to_an_address() -> None:
    payload = answered(
        asked("www.example.org"),
        "www.example.org 60 A 192.0.2.1",
        "bank.example 60 A 192.0.2.66",
        "www.example.org 60 AAAA 2001:db8::66",
    )
    assert set(found(payload)) == {"192.0.2.1"}


def test_the_additional_section_puts_no_name_to_an_address() -> None:
    reply = asked("www.example.org").reply()
    reply.add_ar(*dnslib.RR.fromZone("www.example.org 60 A 192.0.2.66"))
    reply.add_auth(*dnslib.RR.fromZone("www.example.org 60 A 192.0.2.67"))
    assert found(bytes(reply.pack())) == {}


def test_aliases_that_go_in_a_circle_lead_nowhere() -> None:
    payload = answered(
        asked("a.example"),
        "a.example 60 CNAME b.example",
        "b.example 60 CNAME a.example",
        "a.example 60 A 192.0.2.1",
    )
    assert found(payload) == {}


def test_an_answer_with_edns_is_read_as_any_other() -> None:
    reply = asked("www.example.org").reply()
    reply.add_answer(*dnslib.RR.fromZone("www.example.org 60 A 192.0.2.1"))
    reply.add_ar(dnslib.EDNS0(udp_len=1_232))
    assert set(found(bytes(reply.pack()))) == {"192.0.2.1"}


def test_hints_of_a_service_belong_to_the_name_in_question() -> None:
    payload = answered(
        asked("_8443._https.example.org", "HTTPS"),
        "_8443._https.example.org 60 HTTPS 1 svc.example.org. alpn=h3 ipv4hint=192.0.2.1,192.0.2.2"
        " ipv6hint=2001:db8::1",
    )
    answer = read_answer(payload)
    assert isinstance(answer, Answer)
    assert answer.question.host == "example.org"
    assert set(found(payload)) == {"192.0.2.1", "192.0.2.2", "2001:db8::1"}
    assert found(payload)["192.0.2.1"].aliases == ("svc.example.org",)


def test_a_service_that_is_an_alias_leads_to_the_hints_of_its_target() -> None:
    target = wire_name(b"pool", b"example")
    hints = struct.pack("!H", 1) + b"\0" + struct.pack("!HH", 4, 4) + bytes([192, 0, 2, 9])
    records = wire_record(b"\xc0\x0c", HTTPS, struct.pack("!H", 0) + target)
    records += wire_record(target, HTTPS, hints, ttl_s=5)
    payload = wire_answer(wire_name(b"example", b"org"), records, 2, HTTPS)
    assert found(payload) == {"192.0.2.9": Found(bytes([192, 0, 2, 9]), 5, ("pool.example",))}


def test_an_ipv4_address_written_as_ipv6_is_that_ipv4_address() -> None:
    payload = answered(asked("a.example", "AAAA"), "a.example 60 AAAA ::ffff:c000:201")
    assert set(found(payload)) == {"192.0.2.1"}


def test_an_answer_that_was_truncated_says_so() -> None:
    reply = asked("a.example").reply()
    reply.header.tc = 1
    answer = read_answer(bytes(reply.pack()))
    assert isinstance(answer, Answer)
    assert answer.is_truncated


def test_of_an_answer_of_which_the_end_was_not_copied_the_beginning_counts() -> None:
    payload = answered(asked("a.example"), "a.example 60 A 192.0.2.1", "a.example 60 A 192.0.2.2")
    assert isinstance(read_answer(payload[:-3]), Malformed)
    answer = read_answer(payload[:-3], is_cut=True)
    assert isinstance(answer, Answer)
    assert [each.address[-1] for each in answer.found] == [1]


@pytest.mark.parametrize(
    ("label", "text"),
    [
        (b"a.example", "a\\046example"),
        (b"a\\046example", "a\\092046example"),
        (b"a\0b", "a\\000b"),
        (b"\x1b[31m", "\\027[31m"),
        ("ä".encode(), "\\195\\164"),
        (b"A b", "a\\032b"),
    ],
)
def test_a_label_with_odd_bytes_is_never_another_name(label: bytes, text: str) -> None:
    payload = struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + wire_name(label) + b"\0\1\0\1"
    question = read_question(payload)
    assert isinstance(question, Question)
    assert question.name == text


def test_a_pointer_that_does_not_lead_back_is_refused() -> None:
    for pointer in (b"\xc0\x0c", b"\xc0\x0d", b"\xff\xff"):
        payload = struct.pack("!6H", 7, 0x8180, 1, 0, 0, 0) + pointer + b"\0\1\0\1"
        assert problem(payload) == "a pointer in a name does not lead back"


def test_a_loop_through_labels_is_refused() -> None:
    looping = b"\1a\xc0\x0c"
    payload = struct.pack("!6H", 7, 0x8180, 1, 0, 0, 0) + looping + b"\0\1\0\1"
    assert problem(payload) == "a pointer in a name does not lead back"


def test_a_name_of_more_than_255_bytes_is_refused() -> None:
    payload = wire_answer(wire_name(*[b"a" * 63] * 4), b"", 0)
    assert problem(payload) == "a name has more than 255 bytes"
    assert found(wire_answer(wire_name(*[b"a" * 62] * 4), b"", 0)) == {}


def _chain_of_pointers() -> bytes:
    chain = b"\0" + b"".join(
        struct.pack("!H", 0xC000 | (28 + max(0, 2 * at - 1))) for at in range(8_000)
    )
    owner = struct.pack("!H", 0xC000 | 0x3F00)
    filler = wire_record(b"\0", 16, chain)
    return wire_answer(b"\0", filler + wire_record(owner, A, bytes(4)) * 3_000, 3_001)


def _records_without_end() -> bytes:
    return wire_answer(wire_name(b"a"), wire_record(b"\xc0\x0c", A, bytes(4)) * 4_000, 0xFFFF)


def _long_odd_names() -> bytes:
    """Return an answer with as many names as are read, all different, as dear as can be."""
    name = wire_name(*[b"\xff" * 30] * 8)
    records = b"".join(
        wire_record(bytes([30]) + at.to_bytes(30) + name[31:-125] + b"\0", A, bytes(4))
        for at in range(256)
    )
    return wire_answer(b"\0", records, 0xFFFF)


def _parameters_without_end() -> bytes:
    data = b"\0\1\0" + b"".join(struct.pack("!HH", key, 0) for key in range(16_000))
    return wire_answer(wire_name(b"a"), wire_record(b"\xc0\x0c", HTTPS, data), 1, HTTPS)


def _names_that_overlap() -> bytes:
    many = b"".join(bytes([1, 0x61 + at % 26]) for at in range(8_000)) + b"\0"
    filler = wire_record(b"\0", 16, many)
    owners = (struct.pack("!H", 0xC000 | (40 + 2 * at)) for at in range(3_000))
    return wire_answer(
        b"\0", filler + b"".join(wire_record(each, A, bytes(4)) for each in owners), 3_001
    )


@pytest.mark.parametrize(
    "bomb",
    [
        _chain_of_pointers,
        _records_without_end,
        _long_odd_names,
        _parameters_without_end,
        _names_that_overlap,
    ],
)
def test_a_bomb_is_read_or_refused_in_no_time(bomb: Callable[[], bytes]) -> None:
    payload = bomb()
    assert len(payload) <= 1 << 17
    took_ns = []
    for _ in range(5):
        began_ns = time.perf_counter_ns()
        read_answer(payload[: 1 << 16], is_cut=True)
        took_ns.append(time.perf_counter_ns() - began_ns)
    assert min(took_ns) < MOST_NS


@given(NAME, st.lists(st.ip_addresses(v=4).map(str), max_size=8), st.integers(0, 2**31 - 1))
def test_what_dnslib_packs_is_read_as_it_was_meant(
    name: str, addresses: list[str], ttl_s: int
) -> None:
    reply = asked(name).reply()
    for address in addresses:
        reply.add_answer(dnslib.RR(name, dnslib.QTYPE.A, ttl=ttl_s, rdata=dnslib.A(address)))
    payload = bytes(reply.pack())
    answer = read_answer(payload)
    assert isinstance(answer, Answer)
    assert answer.question == Question(reply.header.id, name, A, 1)
    assert set(found(payload)) == set(addresses)
    assert {each.ttl_s for each in answer.found} <= {ttl_s}


@settings(max_examples=500)
@given(st.binary(max_size=600))
def test_no_bytes_make_the_reader_fail(payload: bytes) -> None:
    for flags in (b"\x01\x00", b"\x81\x80"):
        message = payload[:2] + flags + b"\0\1" + payload[6:]
        for read in (read_question(message), read_answer(message)):
            assert isinstance(read, Question | Answer | Malformed)


VALID = answered(
    asked("www.example.org"),
    "www.example.org 300 CNAME a.cdn.example",
    "a.cdn.example 20 A 192.0.2.1",
) + answered(asked("example.org", "HTTPS"), "example.org 60 HTTPS 1 . alpn=h3 ipv4hint=192.0.2.1")


@settings(max_examples=500)
@given(st.lists(st.tuples(st.integers(2, len(VALID) - 1), st.integers(0, 255)), max_size=8))
def test_no_damage_to_a_message_makes_the_reader_fail(damage: list[tuple[int, int]]) -> None:
    damaged = bytearray(VALID)
    for at, byte in damage:
        damaged[at] = byte
    for is_cut in (False, True):
        read = read_answer(bytes(damaged), is_cut=is_cut)
        assert isinstance(read, Answer | Malformed)


def test_whatever_is_found_lies_on_the_way_from_the_question() -> None:
    """Each record alone is one that an attacker may add: none of them adds an address."""
    for record in (
        "evil.example 60 A 192.0.2.66",
        "evil.example 60 CNAME www.example.org",
        "example.org 60 A 192.0.2.66",
        "www.example.org 60 TXT 192.0.2.66",
        "www.example.org 60 NS evil.example",
        "www.example.org.evil.example 60 A 192.0.2.66",
    ):
        payload = answered(asked("www.example.org"), record, "www.example.org 60 A 192.0.2.1")
        assert set(found(payload)) == {"192.0.2.1"}
