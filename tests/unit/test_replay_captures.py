"""Captures replayed: which packets are put to the rules, and what is known of them."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6
from scapy.packet import Packet, Raw

from builders import flow, process
from first_data_play import DCID, crypto, hello_message, initial, tls_hello
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.flow import packed_address
from nfsnitch.core.owner import Attribution
from nfsnitch.core.packet import Malformed, parse
from nfsnitch.core.record import Record
from nfsnitch.lab.replay.notes import Notes
from nfsnitch.lab.replay.tracking import Tracker
from replay_play import (
    ALLOW,
    CLIENT,
    CLIENT_6,
    OTHER,
    RESOLVER,
    SERVER,
    SERVER_6,
    START_S,
    WEB,
    Play,
    answer_to,
    at_s,
    connection,
    datagram,
    question,
    resolution,
    said,
    segment,
)

BY_NAME = """\
unattributed: ask
rules:
- {name: dns, action: allow, proto: udp, dport: 53}
- {name: example, action: allow, host: shop.example, on_unknown_name: deny}
- {name: rest, action: reject, dport: 443}
"""


@pytest.fixture(name="replay")
def fixture_replay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Play:
    return Play(tmp_path, capsys)


def told(replay: Play, rules: str, *packets: Packet, client: str | None = CLIENT) -> Any:  # noqa: ANN401  tuples
    options = ["--client", client] if client else []
    path = replay.capture(packets)
    return replay.told(path, "--rules", replay.rules(rules), *options)


def flows(replay: Play, *packets: Packet, client: str = CLIENT) -> int:
    path = replay.capture(packets)
    document = replay.document(path, "--rules", replay.rules(ALLOW), "--client", client)
    number: int = document["flows"]
    return number


def test_both_directions_are_one_flow_and_its_syn_sent_again_is_no_other(replay: Play) -> None:
    syn = segment("S")
    again = [at_s(segment("S"), 1), at_s(segment("S"), 3)]
    answered = [at_s(answer_to(syn), 3.1), at_s(segment("A", seq=1), 3.2)]
    assert told(replay, ALLOW, at_s(syn, 0), *again, *answered) == [WEB]
    assert flows(replay, at_s(segment("S"), 0), at_s(segment("S"), 1)) == 1


def test_ports_used_again_are_another_flow(replay: Play) -> None:
    assert flows(replay, *connection(80), segment("S", seq=77_000)) == 2


def test_what_comes_in_from_outside_and_its_answers_are_no_flow_of_ours(replay: Play) -> None:
    syn = IP(src=SERVER, dst=CLIENT) / TCP(sport=50_000, dport=22, flags="S", seq=5)
    accept = IP(src=CLIENT, dst=SERVER) / TCP(sport=22, dport=50_000, flags="SA", seq=9, ack=6)
    asks = IP(src=SERVER, dst=CLIENT) / UDP(sport=5, dport=6)
    says = IP(src=CLIENT, dst=SERVER) / UDP(sport=6, dport=5)
    assert flows(replay, syn, accept, asks, says) == 0


def test_datagrams_one_way_are_one_flow_until_conntrack_has_forgotten_it(replay: Play) -> None:
    quick = [at_s(datagram(), each) for each in range(0, 100, 25)]
    assert flows(replay, *quick) == 1
    assert flows(replay, *quick, at_s(datagram(), 75 + 31)) == 2


def test_an_answered_flow_of_datagrams_is_remembered_for_longer(replay: Play) -> None:
    answer = IP(src=SERVER, dst=CLIENT) / UDP(sport=9, dport=50_000)
    packets = [at_s(datagram(), 0), at_s(answer, 1), at_s(datagram(), 120)]
    assert flows(replay, *packets) == 1
    assert flows(replay, *packets, at_s(datagram(), 241)) == 2


@pytest.mark.parametrize(("flags", "silent_s", "number"), [("A", 100_000, 1), ("RA", 11, 2)])
def test_connections_are_remembered_by_their_state(
    replay: Play, flags: str, silent_s: int, number: int
) -> None:
    begun = [at_s(each, 0) for each in connection(80)[:3]]
    later = [at_s(segment(flags, seq=1), 1), at_s(segment("A", seq=1), 1 + silent_s)]
    assert flows(replay, *begun, *later) == number


def test_a_connection_without_a_syn_is_judged_and_counted(replay: Play) -> None:
    path = replay.capture([segment("A"), segment("A", seq=9)])
    document = replay.document(path, "--rules", replay.rules(ALLOW), "--client", CLIENT)
    assert document["flows"] == 1
    assert document["read"]["connections under way when they were first seen"] == 1


def test_a_ping_and_its_answer_are_one_flow_and_each_identifier_another(replay: Play) -> None:
    ping, pong = IP(src=CLIENT, dst=SERVER), IP(src=SERVER, dst=CLIENT)
    packets = [ping / ICMP(id=5, seq=1), pong / ICMP(type=0, id=5), ping / ICMP(id=5, seq=2)]
    assert flows(replay, *packets, ping / ICMP(id=6)) == 2


def test_an_error_about_a_known_flow_is_not_judged_and_any_other_is(replay: Play) -> None:
    came = IP(src=SERVER, dst=CLIENT) / UDP(sport=7, dport=8) / Raw(b"hello")
    error = IP(src=CLIENT, dst=SERVER) / ICMP(type=3, code=3)
    assert told(replay, ALLOW, came, error / came) == []
    about_nothing = error / IP(src=SERVER, dst=CLIENT) / UDP(sport=1, dport=2)
    assert told(replay, ALLOW, came, about_nothing) == [
        ("icmp 198.51.100.2 type 3", "allow unattributed")
    ]


def test_neighbour_discovery_is_not_judged_and_ipv6_is(replay: Play) -> None:
    solicit = IPv6(src=CLIENT_6, dst="ff02::1:ff00:2") / ICMPv6ND_NS(tgt=SERVER_6)
    syn = IPv6(src=CLIENT_6, dst=SERVER_6) / TCP(sport=5, dport=22, flags="S")
    assert told(replay, ALLOW, solicit, syn, client=CLIENT_6) == [
        ("tcp 2001:db8:1::2 22", "allow unattributed")
    ]


def test_of_fragments_the_first_is_judged_and_the_others_belong_to_it(replay: Play) -> None:
    whole = IP(src=CLIENT, dst=SERVER) / UDP(sport=5, dport=9) / Raw(bytes(3_000))
    pieces: list[Packet] = whole.fragment(1_000)  # type: ignore[no-untyped-call]
    path = replay.capture(pieces)
    document = replay.document(path, "--rules", replay.rules(ALLOW), "--client", CLIENT)
    assert document["flows"] == 1
    assert document["read"]["later fragments"] == len(pieces) - 1 > 0


def test_a_malformed_packet_of_ours_is_refused_and_one_of_others_is_nothing(replay: Play) -> None:
    cut = IP(src=CLIENT, dst=SERVER, proto=6) / Raw(b"\0\1")
    foreign = IP(src=SERVER, dst=CLIENT, proto=6) / Raw(b"\0\1")
    path = replay.capture([cut, foreign])
    rows = replay.rows(path, "--rules", replay.rules(ALLOW), "--client", CLIENT)
    assert [(row["proto"], row["rules"]["reason"], row["times"]) for row in rows] == [
        ({"unknown": "the TCP header is cut short: 18 of 20 bytes missing"}, "malformed", 1)
    ]


def test_what_stays_on_the_machine_is_skipped_unless_the_rules_judge_it(replay: Play) -> None:
    inside = IP(src="127.0.0.1", dst="127.0.0.1") / TCP(sport=5, dport=80, flags="S")
    between = IP(src=CLIENT, dst=CLIENT) / TCP(sport=6, dport=81, flags="S")
    skipped = [("tcp 127.0.0.1 80", "skip loopback"), ("tcp 192.0.2.2 81", "skip loopback")]
    assert told(replay, ALLOW, inside, between) == skipped
    judged = told(replay, f"loopback: judge\n{ALLOW}", inside, between)
    assert [each for _, each in judged] == ["allow unattributed"] * 2


def test_a_name_of_an_answer_counts_for_the_connection_after_it(replay: Play) -> None:
    packets = [*resolution("shop.example", SERVER), segment("S", dport=443)]
    assert told(replay, BY_NAME, *packets) == [
        ("udp 192.0.2.53 53", "allow dns"),
        ("tcp 198.51.100.2 443", "allow example"),
    ]


def test_a_name_asked_for_over_ipv4_counts_for_ipv6(replay: Play) -> None:
    asked = question("shop.example")
    asked.qd.qtype = 28
    found = asked.copy()
    found[IP].src, found[IP].dst = RESOLVER, CLIENT
    found[UDP].sport, found[UDP].dport = 53, 50_053
    found.qr = 1
    found.an = type(resolution("x", SERVER)[1].an[0])(
        rrname="shop.example", type="AAAA", ttl=300, rdata=SERVER_6
    )
    syn = IPv6(src=CLIENT_6, dst=SERVER_6) / TCP(sport=5, dport=443, flags="S")
    path = replay.capture([asked, found, syn])
    rules = replay.rules(BY_NAME)
    told = replay.told(path, "--rules", rules, "--client", CLIENT, CLIENT_6)
    assert told[1:] == [("tcp 2001:db8:1::2 443", "allow example")]


def test_an_answer_that_nobody_asked_for_names_nothing(replay: Play) -> None:
    _, forged = resolution("shop.example", SERVER)
    assert told(replay, BY_NAME, forged, segment("S", dport=443))[-1][1] == "allow example"
    row = replay.rows(
        replay.capture([forged, *connection(443, data=b"no hello")]),
        *("--rules", replay.rules(BY_NAME), "--client", CLIENT),
    )[0]
    assert (row["names"], row["rules"]["reason"]) == ([], "unnamed")


@pytest.mark.parametrize("pieces", [1, 3])
def test_the_first_data_of_a_connection_says_its_name_whole_or_in_pieces(
    replay: Play, pieces: int
) -> None:
    good = connection(443, data=tls_hello("shop.example"), pieces=pieces)
    bad = connection(443, OTHER, 40_001, tls_hello("else.example"), pieces)
    assert told(replay, BY_NAME, *good, *bad) == [
        ("tcp 198.51.100.2 443", "allow example"),
        ("tcp 203.0.113.1 443", "reject rest"),
    ]


def test_quic_says_its_name_in_its_first_datagram(replay: Play) -> None:
    first = initial(crypto(hello_message("shop.example")), dcid=DCID)
    packet = IP(src=CLIENT, dst=SERVER) / UDP(sport=5, dport=443) / Raw(first)
    assert told(replay, BY_NAME, packet) == [("udp 198.51.100.2 443", "allow example")]


def test_a_connection_that_never_says_anything_was_let_out_for_that(replay: Play) -> None:
    path = replay.capture([segment("S", dport=443)])
    (row,) = replay.rows(path, "--rules", replay.rules(BY_NAME), "--client", CLIENT)
    assert row["rules"] == {"action": "allow", "reason": "name-awaited", "rule": "example"}


def test_first_data_that_goes_on_otherwise_than_it_began_says_no_name(replay: Play) -> None:
    hello = tls_hello("shop.example")
    begun = connection(443, data=hello[:100] + b"\xff" * 600, pieces=7)
    path = replay.capture(begun)
    (row,) = replay.rows(path, "--rules", replay.rules(BY_NAME), "--client", CLIENT)
    assert row["rules"] == {"action": "deny", "reason": "unnamed", "rule": "example"}


def test_each_question_that_rules_refuse_is_told_with_its_name(replay: Play) -> None:
    rules = f"{ALLOW[:-2]}\n- {{name: no, action: deny, host: '*.test', dns: refuse}}"
    asked = [question("a.test"), question("shop.example"), question("a.test"), question("b.test")]
    path = replay.capture(asked)
    rows = replay.rows(path, "--rules", replay.rules(rules), "--client", CLIENT)
    found = [(row["names"], row["rules"]["action"], row["times"]) for row in rows]
    assert found == [(["a.test"], "deny", 2), ([], "allow", 1), (["b.test"], "deny", 1)]


def test_a_question_on_a_connection_that_was_let_out_is_a_row_of_its_own(replay: Play) -> None:
    rules = f"{ALLOW[:-2]}\n- {{name: no, action: deny, host: '*.test', dns: refuse}}"
    messages = [bytes(question(name)[UDP].payload) for name in ("shop.example", "a.test")]
    data = b"".join(len(each).to_bytes(2, "big") + each for each in messages)
    path = replay.capture(connection(53, RESOLVER, data=data))
    arguments = ("--rules", replay.rules(rules), "--client", CLIENT)
    rows = replay.rows(path, *arguments, "--against", replay.rules(ALLOW, "others.yaml"))
    found = [(each["names"], said(each["rules"]), said(each["against"])) for each in rows]
    assert found == [(["a.test"], "deny no", "allow unattributed")]


def test_the_senders_of_most_first_packets_are_taken_for_this_machine(replay: Play) -> None:
    ours = [segment("S", sport) for sport in (1, 2, 3)]
    foreign = [IP(src=SERVER, dst=CLIENT) / TCP(sport=7, dport=each, flags="S") for each in (1, 2)]
    six = IPv6(src=CLIENT_6, dst=SERVER_6) / UDP(sport=5, dport=6)
    path = replay.capture([*foreign, *ours, six])
    document = replay.document(path, "--rules", replay.rules(ALLOW))
    assert document["addresses_of_this_machine"] == f"{CLIENT}, {CLIENT_6}"
    assert document["flows"] == 4


def test_times_that_go_back_are_counted_and_undo_nothing(replay: Play) -> None:
    packets = [at_s(segment("S"), 100), at_s(segment("A", seq=1), 50), at_s(datagram(), 10)]
    path = replay.capture(packets)
    document = replay.document(path, "--rules", replay.rules(ALLOW), "--client", CLIENT)
    assert document["flows"] == 2
    assert document["read"]["packets before the time of the one before"] == 2
    assert document["rows"][0]["first"].startswith("2027-01-15T08:00:10")


def test_rules_that_hold_at_certain_hours_go_by_the_time_of_the_capture(
    replay: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "UTC")
    rules = 'unattributed: deny\nrules: [{name: early, action: allow, schedule: "08:00-09:00"}]'
    packets = [at_s(segment("S", 1), 0), at_s(segment("S", 2), 3_600)]
    assert [each for _, each in told(replay, rules, *packets)] == [
        "allow early",
        "deny unattributed",
    ]


def a_record(syn: Packet, wall_s: float) -> str:
    of_flow = flow(dport=syn[TCP].dport, sport=syn[TCP].sport)
    of_flow = of_flow._replace(saddr=packed_address(CLIENT), daddr=packed_address(SERVER))
    decision = Decision(Verdict.ACCEPT, Action.ALLOW, Reason.RULE, "web")
    who = (process("/usr/bin/curl"), Attribution.FLOW_MAP, 1, "eth0")
    return Record(int(wall_s * 1e9), decision, 0, 1, of_flow, *who).as_line()


def test_owners_come_from_records_of_the_same_time(replay: Play) -> None:
    rules = "unattributed: deny\nrules: [{name: curl, action: allow, exe: /usr/bin/curl}]"
    syns = [at_s(segment("S", 1), 0), at_s(segment("S", 2), 0)]
    records = [a_record(syns[0], START_S + 2), a_record(syns[1], START_S + 200)]
    arguments = ("--rules", replay.rules(rules), "--client", CLIENT)
    path, owners = replay.capture(syns), replay.records(records)

    assert [each for _, each in replay.told(path, *arguments)] == ["deny unattributed"]
    rows = replay.rows(path, *arguments, "--owners", owners)
    assert [(row["program"], row["rules"]["rule"]) for row in rows] == [
        ("/usr/bin/curl", "curl"),
        ({"unknown": "no decision on this flow was recorded at that time"}, None),
    ]


@given(
    packet=st.sampled_from(
        [
            bytes(segment("S")),
            bytes(IP(src=CLIENT, dst=SERVER) / ICMP(type=3) / datagram()),
            bytes(IPv6(src=CLIENT_6, dst=SERVER_6) / TCP()),
            bytes(IP(src=CLIENT, dst=SERVER, proto=51) / Raw(b"\x06\x04" + bytes(22)) / TCP()),
        ]
    ),
    changes=st.lists(st.tuples(st.integers(0, 79), st.integers(0, 255)), max_size=6),
    size=st.integers(0, 100),
)
def test_no_packet_is_too_odd_to_be_followed(
    packet: bytes, changes: list[tuple[int, int]], size: int
) -> None:
    raw = bytearray(packet)
    for at, value in changes:
        raw[at % len(raw)] = value
    odd = bytes(raw[:size])
    found, tracker = parse(odd), Tracker(lambda _: True, Notes())
    if isinstance(found, Malformed):
        return
    first, second = (tracker.take(odd, found, 0) for _ in range(2))
    assert second is None or (first is not None and second.number >= first.number == 1)


def test_a_connection_behind_an_authentication_header_is_one_flow(replay: Play) -> None:
    header = Raw(struct.pack("!BBHII", 6, 4, 0, 1, 1) + bytes(12))
    outside = IP(src=CLIENT, dst=SERVER, proto=51) / header
    begins, goes_on = TCP(sport=9, dport=80, flags="S"), TCP(sport=9, dport=80, flags="A", seq=1)
    assert flows(replay, outside / begins, outside / goes_on) == 1
