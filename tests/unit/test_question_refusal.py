"""Rules at the question: what is refused, what is let pass, and what cannot be read."""

from __future__ import annotations

import struct
import timeit
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import arrival, datagrams, flow, process
from engine_play import ByProgram, counts, records, verdicts
from nfsnitch.core.commands import DenyName, ResetPeer
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import packed_address
from nfsnitch.core.name_conditions import HOST_FIELD, HostCondition, HostNames
from nfsnitch.core.name_sample import TcpPlace
from nfsnitch.core.packet import Malformed
from nfsnitch.core.question_refusal import Readers
from nfsnitch.core.rule import AtQuestion, Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.segment import ACK, SYN, URG, Segment
from nfsnitch.core.settings import Loopback, NameSettings, Settings
from nfsnitch.wiring import readers

ASKED = datagrams()
STREAM = flow(dport=53)


def read_question(message: bytes) -> str | Malformed:
    """Return the name that a message of these tests has: it is nothing else."""
    return Malformed("it is odd") if b"?" in message else message.decode("latin-1")


def rule(name: str, dns: AtQuestion, *, by: str | None = None) -> Rule:
    """Return a rule that refuses a host and its questions."""
    wanted = HostCondition(HOST_FIELD, HostNames(frozenset({name}), frozenset()))
    program = () if by is None else (ByProgram(by),)
    return Rule(f"no {name}", Action.REJECT, (*program, wanted), "test:1", dns=dns)


RULES = Ruleset(
    rules=(
        rule("bad.test", AtQuestion.REFUSE),
        rule("gone.test", AtQuestion.DROP),
        rule("wget.test", AtQuestion.REFUSE, by="/usr/bin/wget"),
    ),
    default=Action.ALLOW,
    settings=Settings(names=NameSettings(first_data=False)),
)


def engine(rules: Ruleset = RULES) -> Engine:
    """Return an engine that can read questions."""
    return Engine(rules, 1, Readers(read_question=read_question))


def udp(packet_id: int, message: bytes, *, seconds: float = 0) -> FlowArrived:
    """Return a question."""
    event = arrival(packet_id, seconds=seconds, of_flow=ASKED)
    return event._replace(segment=Segment(message))


def tcp(packet_id: int, data: bytes, seq: int = 1, flags: int = ACK) -> FlowArrived:
    """Return a segment to a DNS server."""
    return arrival(packet_id, of_flow=STREAM)._replace(
        segment=Segment(data, tcp=TcpPlace(seq % 2**32, 1, flags))
    )


def connected(start: int = 1) -> Engine:
    """Return an engine that has seen a connection begin, whose data has numbers from *start* on."""
    started = engine()
    started.receive(tcp(0, b"", start - 1, SYN))
    return started


def framed(*messages: bytes) -> bytes:
    """Return messages as TCP carries them."""
    return b"".join(len(each).to_bytes(2, "big") + each for each in messages)


def test_a_refused_question_is_dropped_answered_and_recorded() -> None:
    commands = engine().receive(udp(1, b"bad.test"))

    assert verdicts(commands) == {1: Verdict.DROP}
    assert DenyName(ASKED, b"bad.test") in commands
    (record,) = records(commands)
    assert (record.decision.rule, record.decision.reason) == ("no bad.test", Reason.QUESTION)
    assert record.decision.action is Action.REJECT
    assert counts(commands) == {Counter.QUESTIONS_REFUSED: 1, Counter.DROPPED: 1}


def test_a_dropped_question_has_no_answer() -> None:
    commands = engine().receive(udp(1, b"gone.test"))

    assert verdicts(commands) == {1: Verdict.DROP}
    assert not any(isinstance(each, DenyName) for each in commands)


def test_any_other_question_is_judged_as_the_flow_that_it_is() -> None:
    commands = engine().receive(udp(1, b"fine.test"))

    assert verdicts(commands) == {1: Verdict.ACCEPT}
    assert records(commands)[0].decision.reason is Reason.DEFAULT


def test_a_question_is_refused_to_the_program_that_the_rule_names_or_that_it_may_be() -> None:
    asked, started = udp(1, b"wget.test"), engine()
    rivals = asked.found._replace(rivals=(process("/usr/bin/wget"),))

    assert verdicts(started.receive(asked)) == {1: Verdict.ACCEPT}
    assert verdicts(started.receive(asked._replace(found=rivals))) == {1: Verdict.DROP}


def asked_for(name: str, number: int = 7) -> bytes:
    """Return a question as it is."""
    labels = b"".join(bytes((len(each),)) + each.encode() for each in name.split("."))
    return struct.pack("!6H", number, 256, 1, 0, 0, 0) + labels + bytes((0, 0, 1, 0, 1))


@pytest.mark.parametrize("number", [0, 1, 0x00010001])
def test_each_question_in_a_train_of_datagrams_is_read(number: int) -> None:
    started = Engine(RULES, 1, readers())
    fine, bad = (asked_for(name, number % 0x10000) for name in ("fine.test", "gone.test"))
    for packet_id, (message, verdict) in enumerate(
        [
            (fine * 3, Verdict.ACCEPT),
            (fine + b"padding" + bytes(40), Verdict.ACCEPT),
            (fine + bad, Verdict.DROP),
            (fine * 3 + bad, Verdict.DROP),
            (fine + b"\0\0\x29\x10\0\0\0\0\0\x21" + bad, Verdict.DROP),
        ]
    ):
        assert verdicts(started.receive(udp(packet_id, message))) == {packet_id: verdict}


def test_a_train_of_very_many_questions_is_refused_and_takes_no_time() -> None:
    started = Engine(RULES, 1, readers())
    long = asked_for("fine.test") + bytes((0, 1)) * 1_900

    assert counts(started.receive(udp(1, long)))[Counter.QUESTIONS_MALFORMED] == 1
    each = udp(2, asked_for("fine.test") * 16)
    assert min(timeit.repeat(lambda: started.receive(each), number=1, repeat=20)) < 0.005


def test_a_datagram_that_is_not_shown_whole_is_refused() -> None:
    cut = udp(1, b"fine.test")._replace(segment=Segment(b"fine.test", is_cut=True))

    assert counts(engine().receive(cut))[Counter.QUESTIONS_MALFORMED] == 1


def test_a_question_that_is_repeated_is_recorded_once_a_minute_and_answered_each_time() -> None:
    started = engine()
    commands = [
        started.receive(udp(number, b"bad.test", seconds=seconds))
        for number, seconds in enumerate((0, 1, 59, 60))
    ]

    assert [len(records(each)) for each in commands] == [1, 0, 0, 1]
    assert all(any(isinstance(one, DenyName) for one in each) for each in commands)


def test_a_question_that_cannot_be_read_is_refused_whatever_else_the_rules_say() -> None:
    commands = engine().receive(udp(1, b"bad?"))

    assert verdicts(commands) == {1: Verdict.DROP}
    (record,) = records(commands)
    assert (record.decision.rule, record.decision.reason) == (None, Reason.QUESTION)
    assert counts(commands)[Counter.QUESTIONS_MALFORMED] == 1


def test_without_rules_that_refuse_questions_nothing_is_read() -> None:
    rules = replace(RULES, rules=tuple(replace(each, dns=None) for each in RULES.rules))

    assert verdicts(engine(rules).receive(udp(1, b"bad?"))) == {1: Verdict.ACCEPT}


@pytest.mark.parametrize(
    ("saddr", "daddr", "stays"),
    [
        ("127.0.0.1", "127.0.0.53", True),
        ("::1", "::1", True),
        ("192.0.2.2", "192.0.2.2", True),
        ("8.8.8.8", "127.0.0.1", False),
        ("192.0.2.2", "192.0.2.1", False),
    ],
)
@pytest.mark.parametrize("loopback", list(Loopback))
def test_what_stays_on_this_machine_passes_where_loopback_is_skipped(
    saddr: str, daddr: str, *, stays: bool, loopback: Loopback
) -> None:
    rules = replace(RULES, default=Action.DENY, settings=replace(RULES.settings, loopback=loopback))
    local = ASKED._replace(saddr=packed_address(saddr), daddr=packed_address(daddr))
    started = engine(rules)
    fine, bad = (
        started.receive(udp(1, name)._replace(flow=local)) for name in (b"fine.test", b"bad.test")
    )

    passes = stays and loopback is Loopback.SKIP
    assert verdicts(fine) == {1: Verdict.ACCEPT if passes else Verdict.DROP}
    assert (Counter.QUESTIONS_LOCAL in counts(fine)) is passes
    assert verdicts(bad) == {1: Verdict.DROP}
    assert records(bad)


def test_over_tcp_all_messages_of_a_segment_are_read_and_both_ends_reset() -> None:
    commands = connected(100).receive(tcp(1, framed(b"fine.test", b"bad.test"), 100))

    assert verdicts(commands) == {1: Verdict.REJECT}
    assert ResetPeer(STREAM, 100) in commands


def test_a_message_may_come_in_pieces_and_only_its_last_one_is_stopped() -> None:
    start = 2**32 - 5
    started, data = connected(start), framed(b"fine.test", b"bad.test")
    pieces = [tcp(number, data[number : number + 1], start + number) for number in range(len(data))]
    given_verdicts = [verdicts(started.receive(each))[number] for number, each in enumerate(pieces)]

    assert given_verdicts == [Verdict.ACCEPT] * (len(data) - 1) + [Verdict.REJECT]


def test_what_was_refused_is_refused_again_when_it_is_repeated() -> None:
    started, data = connected(), framed(b"gone.test")
    started.receive(tcp(1, data[:4]))
    for number in (2, 3):
        assert verdicts(started.receive(tcp(number, data[4:], 5))) == {number: Verdict.DROP}
        assert verdicts(started.receive(tcp(number, data))) == {number: Verdict.DROP}


@pytest.mark.parametrize(
    "carries",
    [
        tcp(2, framed(b"fine.test"), 1_000),
        tcp(2, b"\xff\xff", 4),
        tcp(2, framed(b"odd?"), 4),
        tcp(2, framed(b"fine.test"), 4, ACK | URG),
        tcp(2, b"", 4)._replace(segment=Segment(b"", is_cut=True, tcp=TcpPlace(4, 1, ACK))),
    ],
    ids=["a gap before it", "too long", "unreadable", "urgent", "behind what was copied"],
)
def test_what_cannot_be_followed_is_reset(carries: FlowArrived) -> None:
    started = connected()
    started.receive(tcp(1, framed(b"a")))
    commands = started.receive(carries)

    assert verdicts(commands) == {2: Verdict.REJECT}
    assert counts(commands)[Counter.QUESTIONS_MALFORMED] == 1


def test_the_midst_of_a_message_is_not_its_beginning_when_others_have_pushed_that_out() -> None:
    started, message = connected(), b"\0\x09gone.test"
    started.receive(tcp(1, framed(message)[:2]))
    for number in range(2, 600):
        started.receive(from_port(number, 1_000))
    commands = started.receive(tcp(600, framed(message)[2:], 3))

    assert verdicts(commands) == {600: Verdict.REJECT}
    assert counts(commands)[Counter.QUESTIONS_MALFORMED] == 1


def test_a_connection_that_was_there_before_the_rules_begins_anew() -> None:
    commands = engine().receive(tcp(1, framed(b"fine.test")))

    assert verdicts(commands) == {1: Verdict.REJECT}


def test_nobody_pushes_out_the_connections_of_another_user() -> None:
    started = engine()
    started.receive(from_port(1, 1_001))
    for number in range(2, 600):
        started.receive(from_port(number, 1_000))

    asked = from_port(1, 1_001)._replace(segment=tcp(1, framed(b"fine.test")).segment)
    assert verdicts(started.receive(asked)) == {1: Verdict.ACCEPT}


def from_port(number: int, uid: int) -> FlowArrived:
    """Return the SYN of a connection of some user to a DNS server."""
    event = arrival(number, of_flow=STREAM._replace(sport=number), sock_cookie=1_000 + number)
    owner = replace(process(), uid=uid)
    return event._replace(
        found=event.found._replace(owner=owner), segment=tcp(number, b"", 0, SYN).segment
    )


def test_segments_without_data_pass_to_the_rules() -> None:
    started = engine()
    for number, flags in enumerate((SYN, ACK, ACK | 1)):
        assert verdicts(started.receive(tcp(number, b"", flags=flags))) == {number: Verdict.ACCEPT}


@given(st.lists(st.sampled_from([b"fine.test", b"other.test"]), max_size=6), st.data())
def test_however_a_stream_is_cut_and_repeated_the_refused_name_never_leaves_whole(
    names: list[bytes], data: st.DataObject
) -> None:
    stream, started = framed(*names, b"gone.test"), connected()
    at, passed = 0, 0
    for number in range(60):
        size = data.draw(st.integers(1, 30))
        back = data.draw(st.integers(0, 3))
        start = max(0, at - back)
        piece = stream[start : at + size]
        verdict = verdicts(started.receive(tcp(number, piece, 1 + start)))[number]
        if verdict is Verdict.ACCEPT:
            at = passed = max(passed, start + len(piece))
    assert passed < len(stream)
