"""Names that a connection says itself: what waits, for how long, and what becomes of it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import instant, process, reviewed
from engine_play import counts, records, verdicts
from first_data_engine import (
    BAD,
    FINE,
    NO_NAMES,
    OPENING,
    REQUEST,
    RULES,
    SEQ,
    WEB,
    engine,
    host_rule,
    hosts,
    opened,
    segment,
    tcp,
)
from first_data_play import tls_hello
from nfsnitch.core.commands import (
    Command,
    CutFlow,
    JudgeFlow,
    ReleaseFlow,
    ResetPeer,
    ShowQuestion,
    WakeAt,
)
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.events import (
    FlowReviewed,
    RulesetChanged,
    SocketClosed,
    Stopping,
    TimePassed,
)
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.segment import ACK, FIN, SYN, URG, Segment


def test_a_connection_is_let_out_without_a_record_for_as_long_as_it_has_no_data() -> None:
    started = engine()
    commands = started.receive(tcp(1, OPENING))
    again = started.receive(tcp(2, OPENING, seconds=1)) + started.receive(tcp(3, segment()))

    assert verdicts(commands + again) == dict.fromkeys((1, 2, 3), Verdict.PEEK)
    assert records(commands + again) == []
    assert counts(commands) == {Counter.ACCEPTED: 1, Counter.NAMES_AWAITED: 1}
    assert Counter.NAMES_AWAITED not in counts(again)


@pytest.mark.parametrize("data", [tls_hello(FINE), REQUEST % FINE.encode()], ids=["TLS", "HTTP"])
def test_data_with_a_name_that_is_allowed_lets_the_flow_go(data: bytes) -> None:
    commands = opened().receive(tcp(3, segment(data)))

    assert verdicts(commands) == {3: Verdict.ACCEPT}
    assert ReleaseFlow(WEB) in commands
    assert hosts(commands) == [(FINE, Reason.RULE)]
    assert counts(commands)[Counter.NAMES_READ] == 1


def test_data_with_a_name_that_is_rejected_resets_both_ends_and_all_that_follows() -> None:
    connected = opened()
    commands = connected.receive(tcp(3, segment(tls_hello(BAD))))
    further = connected.receive(tcp(4, segment(flags=ACK | FIN)))

    assert verdicts(commands + further) == {3: Verdict.REJECT, 4: Verdict.REJECT}
    assert ResetPeer(WEB, (SEQ + 1) % 2**32) in commands
    assert hosts(commands + further) == [(BAD, Reason.RULE)]
    assert not any(isinstance(each, ReleaseFlow) for each in commands + further)


def test_data_in_pieces_is_held_and_let_go_together() -> None:
    connected, hello = opened(), tls_hello(FINE)
    first = connected.receive(tcp(3, segment(hello[:100]), seconds=1))
    again = connected.receive(tcp(4, segment(hello[50:100], seq=SEQ + 51), seconds=1.01))
    commands = connected.receive(tcp(5, segment(hello[100:], seq=SEQ + 101), seconds=1.02))

    assert verdicts(first + again) == {}
    assert WakeAt(instant(1.03).monotonic_ns) in first
    assert not any(isinstance(each, ShowQuestion) for each in first), "nobody is asked"
    assert verdicts(commands) == dict.fromkeys((3, 4, 5), Verdict.ACCEPT)
    (record,) = records(commands)
    assert (record.packets, record.held_ns) == (3, 20_000_000)


def test_data_that_is_sent_again_as_other_data_says_no_name() -> None:
    connected, request = opened(), REQUEST % FINE.encode()
    connected.receive(tcp(3, segment(request[:30])))
    commands = connected.receive(tcp(4, segment(b"GET /x" + request[6:])))

    assert verdicts(commands) == {3: Verdict.DROP, 4: Verdict.DROP}
    assert hosts(commands) == [(None, Reason.DEFAULT)]


def test_the_midst_of_data_is_not_its_beginning_when_others_have_pushed_that_out() -> None:
    few = replace(RULES.settings, limits=replace(RULES.settings.limits, decided_flows=2))
    connected, request = opened(replace(RULES, settings=few)), REQUEST % FINE.encode()
    before = REQUEST.removesuffix(b"\r\n") % BAD.encode() + b"A: "
    connected.receive(tcp(3, segment(before)))
    for number in (4, 5):
        connected.receive(tcp(number, OPENING, sock_cookie=number))
    commands = connected.receive(tcp(6, segment(request, seq=SEQ + 1 + len(before))))

    assert verdicts(commands) == {3: Verdict.DROP, 6: Verdict.DROP}
    assert (None, Reason.DEFAULT) in hosts(commands)


def test_nor_is_it_when_that_had_been_dropped_already() -> None:
    few = replace(RULES.settings, limits=replace(RULES.settings.limits, decided_flows=2))
    connected, request = opened(replace(RULES, settings=few)), REQUEST % FINE.encode()
    before = REQUEST.removesuffix(b"\r\n") % BAD.encode() + b"A: "
    connected.receive(tcp(3, segment(before)))
    dropped = connected.receive(TimePassed(instant(1)))
    for number in (4, 5):
        connected.receive(tcp(number, OPENING, sock_cookie=number, seconds=1))
    midst = segment(request, seq=SEQ + 1 + len(before))
    commands = connected.receive(tcp(6, midst, seconds=2))

    assert verdicts(dropped) == {3: Verdict.DROP}
    assert verdicts(commands) == {6: Verdict.DROP}
    assert not any(isinstance(each, ReleaseFlow) for each in commands)


def test_half_requests_of_one_user_do_not_keep_those_of_another_from_being_read() -> None:
    started = engine()
    mallory = replace(process(), uid=1_001)
    for number, size in enumerate([60_000] * 69 + [54_300], 2):
        opening = tcp(number, OPENING, sock_cookie=number)
        by_other = opening._replace(found=opening.found._replace(owner=mallory))
        started.receive(by_other)
        half = segment(b"GET / HTTP/1.1\r\nA: ".ljust(size, b"a"))
        started.receive(by_other._replace(packet_id=number + 100, segment=half))
    request = REQUEST % FINE.encode()
    started.receive(tcp(300, OPENING))
    started.receive(tcp(301, segment(request[:20])))
    commands = started.receive(tcp(302, segment(request[20:], seq=SEQ + 21)))

    assert verdicts(commands) == {301: Verdict.ACCEPT, 302: Verdict.ACCEPT}


def test_what_does_not_come_in_time_is_decided_without_a_name() -> None:
    connected, half = opened(), segment(tls_hello(FINE)[:100])
    connected.receive(tcp(3, half))
    connected.receive(TimePassed(instant(0.03)))
    in_time = connected.receive(tcp(4, half, seconds=2.9))
    connected.receive(TimePassed(instant(2.93)))
    late = connected.receive(tcp(5, half, seconds=3))
    further = connected.receive(tcp(6, half, seconds=6))

    assert verdicts(in_time) == {}
    assert verdicts(late + further) == {5: Verdict.DROP, 6: Verdict.DROP}
    assert hosts(late + further) == [(None, Reason.DEFAULT)]
    assert counts(late)[Counter.NAMES_NOT_READ] == 1


def test_a_piece_that_keeps_the_next_one_back_is_dropped_and_remembered() -> None:
    connected, hello = opened(), tls_hello(FINE)
    connected.receive(tcp(3, segment(hello[:100])))
    dropped = connected.receive(TimePassed(instant(0.03)))
    rest = connected.receive(tcp(4, segment(hello[100:], seq=SEQ + 101), seconds=0.04))
    again = connected.receive(tcp(5, segment(hello[:100]), seconds=0.2))

    assert verdicts(dropped) == {3: Verdict.DROP}
    assert (records(dropped), counts(dropped)) == (
        [],
        {Counter.DROPPED: 1, Counter.NAMES_IN_PIECES: 1},
    )
    assert verdicts(rest + again) == {4: Verdict.ACCEPT, 5: Verdict.ACCEPT}
    assert hosts(rest + again) == [(FINE, Reason.RULE)]


@pytest.mark.parametrize(
    "carries",
    [
        segment(b"SSH-2.0-x\r\n"),
        segment(tls_hello(FINE)[:100], ACK | FIN),
        segment(tls_hello(FINE)[:100], is_cut=True),
        segment(tls_hello(FINE)[100:], seq=SEQ + 101),
        segment(is_cut=True),
        segment(REQUEST % FINE.encode(), ACK | URG),
    ],
    ids=[
        "another protocol",
        "its end",
        "more than was copied",
        "a gap before it",
        "behind what was copied",
        "a byte of it is urgent, and no part of the stream",
    ],
)
def test_data_that_will_never_tell_is_decided_at_once(carries: Segment) -> None:
    rules = replace(RULES, rules=(host_rule(FINE, Action.ALLOW, Action.REJECT),))
    commands = opened(rules).receive(tcp(3, carries))

    assert verdicts(commands) == {3: Verdict.REJECT}
    assert hosts(commands) == [(FINE, Reason.UNNAMED)]


@pytest.mark.parametrize(
    ("data", "verdict"),
    [(tls_hello(FINE), Verdict.ACCEPT), (tls_hello(FINE)[:100], Verdict.DROP)],
    ids=["whole", "half"],
)
def test_data_that_comes_with_the_syn_is_decided_at_once_by_what_there_is(
    data: bytes, verdict: Verdict
) -> None:
    commands = engine().receive(tcp(1, segment(data, SYN, SEQ)))

    assert verdicts(commands) == {1: verdict}
    assert not any(isinstance(each, ReleaseFlow) for each in commands), "its entry is not there yet"


def test_a_name_of_one_connection_is_none_of_the_next_one() -> None:
    connected = opened()
    connected.receive(tcp(3, segment(tls_hello(FINE))))

    of_another_socket = connected.receive(tcp(4, OPENING, sock_cookie=2))
    of_the_same = connected.receive(tcp(5, segment(flags=SYN, seq=77)))
    assert verdicts(of_another_socket + of_the_same) == {4: Verdict.PEEK, 5: Verdict.PEEK}


def test_several_names_by_dns_are_made_one_by_the_first_data() -> None:
    names = Names(tuple(Name(each, NameSource.DNS, True, 1) for each in (FINE, BAD)))  # noqa: FBT003
    started = engine()
    opening, data = (
        event._replace(found=event.found._replace(names=names))
        for event in (tcp(1, OPENING), tcp(2, segment(tls_hello(BAD))))
    )

    assert verdicts(started.receive(opening)) == {1: Verdict.PEEK}
    assert verdicts(started.receive(data)) == {2: Verdict.REJECT}


def test_a_name_that_dns_gave_is_not_waited_for() -> None:
    event = tcp(1, OPENING)
    names = Names((Name(FINE, NameSource.DNS, True, 1),))  # noqa: FBT003
    commands = engine().receive(event._replace(found=event.found._replace(names=names)))

    assert verdicts(commands) == {1: Verdict.ACCEPT}


def test_where_several_may_send_the_name_counts_for_all_of_them() -> None:
    rivals, started = (process("/usr/bin/wget"),), engine()
    opening, data = (
        event._replace(found=event.found._replace(rivals=rivals, names_of_rivals=(Names(),)))
        for event in (tcp(1, OPENING), tcp(2, segment(tls_hello(FINE))))
    )

    assert verdicts(started.receive(opening)) == {1: Verdict.PEEK}
    assert verdicts(started.receive(data)) == {2: Verdict.ACCEPT}


def test_a_connection_that_ends_without_data_is_recorded_all_the_same() -> None:
    connected = opened()
    closing = connected.receive(SocketClosed(instant(1), 1))
    commands = connected.receive(TimePassed(instant(2)))

    assert records(closing) == []
    assert WakeAt(instant(2).monotonic_ns) in closing
    (record,) = records(commands)
    assert (record.decision.verdict, record.decision.reason, record.packets) == (
        Verdict.ACCEPT,
        Reason.NAME_AWAITED,
        2,
    )


def test_data_that_was_queued_before_the_close_is_decided_after_it() -> None:
    connected = opened()
    connected.receive(SocketClosed(instant(1), 1))
    commands = connected.receive(tcp(3, segment(tls_hello(FINE)), seconds=1.1))
    later = connected.receive(TimePassed(instant(2)))

    assert verdicts(commands) == {3: Verdict.ACCEPT}
    assert records(later) == []


def test_half_a_request_of_a_program_that_has_closed_is_decided_then() -> None:
    connected = opened()
    connected.receive(tcp(3, segment(tls_hello(FINE)[:100])))
    commands = connected.receive(SocketClosed(instant(1), 1))

    assert verdicts(commands) == {3: Verdict.DROP}
    assert hosts(commands) == [(None, Reason.DEFAULT)]


def test_a_stop_drops_what_waits_and_records_what_was_let_out() -> None:
    connected = opened()
    connected.receive(tcp(3, OPENING, sock_cookie=2))
    connected.receive(tcp(4, segment(tls_hello(FINE)[:100])))
    commands = connected.receive(Stopping(instant(1)))

    assert verdicts(commands) == {4: Verdict.DROP}
    reasons = {each.decision.reason for each in records(commands)}
    assert reasons == {Reason.STOPPING, Reason.NAME_AWAITED}


def test_a_new_daemon_reads_the_data_of_connections_that_the_last_one_let_out() -> None:
    commands = engine().receive(tcp(1, segment(tls_hello(FINE), seq=12_345)))

    assert verdicts(commands) == {1: Verdict.ACCEPT}
    assert ReleaseFlow(WEB) in commands


def test_rules_that_need_no_name_any_more_decide_what_waits() -> None:
    connected = opened()
    connected.receive(tcp(3, segment(tls_hello(FINE)[:100])))
    commands = connected.receive(RulesetChanged(instant(1), NO_NAMES, 2))
    further = connected.receive(tcp(4, segment(b"more")))

    assert verdicts(commands + further) == {3: Verdict.DROP, 4: Verdict.DROP}


def test_a_connection_that_is_held_for_an_answer_is_let_out_if_new_rules_need_its_name() -> None:
    asking = replace(RULES, rules=(Rule("ask", Action.ASK, (), "test:1"),))
    held = engine(asking)
    assert verdicts(held.receive(tcp(1, OPENING))) == {}
    commands = held.receive(RulesetChanged(instant(1), RULES, 2))

    assert verdicts(commands) == {1: Verdict.PEEK}
    assert held.questions == []


def test_a_name_that_is_told_may_have_to_be_asked_about() -> None:
    rules = replace(RULES, rules=(host_rule(BAD, Action.REJECT),), default=Action.ASK)
    connected = opened(rules)
    commands = connected.receive(tcp(3, segment(tls_hello(FINE))))

    assert verdicts(commands) == {}
    assert [each.question.flow for each in commands if isinstance(each, ShowQuestion)] == [WEB]


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (RULES, []),
        (replace(NO_NAMES, default=Action.ASK), []),
        (replace(NO_NAMES, default=Action.ALLOW), [JudgeFlow]),
        (NO_NAMES, [CutFlow]),
    ],
    ids=["needs its name", "asks", "allows", "denies"],
)
def test_a_connection_without_data_meets_new_rules(
    rules: Ruleset, expected: list[type[Command]]
) -> None:
    connected = opened()
    connected.receive(RulesetChanged(instant(1), rules, 2))
    live = reviewed(WEB).live._replace(awaits_name=True)
    commands = connected.receive(FlowReviewed(instant(1), live))

    kinds = [type(each) for each in commands if isinstance(each, JudgeFlow | CutFlow)]
    assert kinds == expected


def test_a_flow_under_way_is_reviewed_by_the_name_that_it_said() -> None:
    connected = opened()
    connected.receive(tcp(3, segment(tls_hello(FINE))))
    rules = replace(RULES, rules=(host_rule(FINE, Action.DENY),), default=Action.ALLOW)
    connected.receive(RulesetChanged(instant(1), rules, 2))

    assert next(type(each) for each in connected.receive(reviewed(WEB))) is CutFlow
