"""Modes in which nobody is asked, and answers that hold for one flow of one socket."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builders import arrival, datagrams, flow, instant, process, reviewed
from engine_play import (
    NOBODY,
    RULES,
    counts,
    new_engine,
    records,
    verdicts,
)
from nfsnitch.core.answer import Answer
from nfsnitch.core.commands import (
    Command,
    CutFlow,
    EndQuestion,
    JudgeFlow,
    ShowQuestion,
    TellMode,
    TrustFlow,
    WakeAt,
)
from nfsnitch.core.conditions import SHA256_FIELD, ValueCondition, read_sha256
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Action, Reason, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import (
    Answered,
    FlowArrived,
    ModeSet,
    ProgramIdentified,
    RulesetChanged,
    SocketClosed,
    TimePassed,
)
from nfsnitch.core.flow import Flow
from nfsnitch.core.identity import Identity, Pending
from nfsnitch.core.memory import TRUST_AFTER
from nfsnitch.core.owner import Process
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.settings import Limits, Settings
from nfsnitch.core.silenced import MOST_SILENCED
from nfsnitch.core.unknown import Unknown
from nfsnitch.protocol.words import Mode, Outcome

SSH = flow(dport=22)
DNS = datagrams()
SILENT = [(Mode.ALLOW_SILENTLY, Verdict.ACCEPT), (Mode.DENY_SILENTLY, Verdict.DROP)]


def set_mode(
    engine: Engine, mode: Mode, *, until_s: float | None = None, seconds: float = 0
) -> list[Command]:
    until_ns = None if until_s is None else instant(until_s).monotonic_ns
    return engine.receive(ModeSet(instant(seconds), mode, until_ns))


def answer(engine: Engine, number: int, action: Action | None, seconds: float = 1) -> list[Command]:
    return engine.receive(Answered(instant(seconds), number, Answer(action)))


def told(commands: list[Command]) -> list[tuple[Mode, int | None]]:
    return [(each.mode, each.until_ns) for each in commands if isinstance(each, TellMode)]


def asked(commands: list[Command]) -> bool:
    return any(isinstance(each, ShowQuestion) for each in commands)


def reasons(commands: list[Command]) -> list[tuple[Action, Reason, str | None]]:
    decisions = [each.decision for each in records(commands)]
    return [(each.action, each.reason, each.rule) for each in decisions]


@pytest.mark.parametrize(("mode", "verdict"), SILENT)
def test_in_a_silent_mode_nobody_is_asked_and_the_record_says_why(
    mode: Mode, verdict: Verdict
) -> None:
    engine = new_engine()
    assert told(set_mode(engine, mode)) == [(mode, None)]

    commands = engine.receive(arrival(1, of_flow=SSH))

    action = Action.ALLOW if verdict is Verdict.ACCEPT else Action.DENY
    assert verdicts(commands) == {1: verdict}
    assert reasons(commands) == [(action, Reason.SILENT, "shell")]
    assert not asked(commands)
    assert counts(commands)[Counter.SILENCED] == 1


def test_a_silent_mode_says_nothing_where_a_rule_does() -> None:
    engine = new_engine()
    set_mode(engine, Mode.ALLOW_SILENTLY)

    sent = {port: engine.receive(arrival(port, of_flow=flow(dport=port))) for port in (80, 81, 23)}
    unknown = engine.receive(arrival(9, of_flow=SSH._replace(dport=9), owner=NOBODY))

    seen = {port: verdicts(commands)[port] for port, commands in sent.items()}
    assert seen == {80: Verdict.ACCEPT, 81: Verdict.DROP, 23: Verdict.REJECT}
    assert verdicts(unknown) == {9: Verdict.DROP}
    assert engine.silenced == []


@pytest.mark.parametrize(("mode", "verdict"), SILENT)
def test_what_waits_is_decided_by_the_mode_that_is_set_meanwhile(
    mode: Mode, verdict: Verdict
) -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=SSH))
    engine.receive(arrival(2, of_flow=SSH))
    engine.receive(arrival(3, of_flow=DNS, sock_cookie=2))

    commands = set_mode(engine, mode, seconds=1)

    assert verdicts(commands) == dict.fromkeys((1, 2, 3), verdict)
    ends = [each for each in commands if isinstance(each, EndQuestion)]
    assert [(each.number, each.outcome) for each in ends] == [
        (1, Outcome.RULES),
        (2, Outcome.RULES),
    ]
    assert (engine.held_flows, engine.questions) == (0, [])
    assert [each.flow for each in engine.silenced] == [SSH, DNS]


def test_a_mode_for_some_time_ends_when_that_is_over_and_people_are_asked_again() -> None:
    engine = new_engine()

    begun = set_mode(engine, Mode.DENY_SILENTLY, until_s=60)
    early = engine.receive(TimePassed(instant(59)))
    late = engine.receive(TimePassed(instant(60)))

    until_ns = instant(60).monotonic_ns
    assert WakeAt(until_ns) in begun
    assert WakeAt(until_ns) in early
    assert (told(begun), told(early)) == ([(Mode.DENY_SILENTLY, until_ns)], [])
    assert told(late) == [(Mode.ASK, None)]
    assert asked(engine.receive(arrival(1, of_flow=SSH, seconds=60)))


def test_the_last_mode_set_is_the_one_whose_time_counts() -> None:
    engine = new_engine()
    set_mode(engine, Mode.DENY_SILENTLY, until_s=60)
    set_mode(engine, Mode.ALLOW_SILENTLY)

    assert told(engine.receive(TimePassed(instant(60)))) == []
    assert engine.mode == (Mode.ALLOW_SILENTLY, None)
    set_mode(engine, Mode.ASK, until_s=90)
    assert engine.mode == (Mode.ASK, None)


def test_the_time_of_a_mode_and_that_of_a_question_are_both_kept() -> None:
    engine = new_engine(BY_HASH)
    engine.receive(arrival(1, of_flow=SSH, owner=identified_by(7)))
    begun = set_mode(engine, Mode.ALLOW_SILENTLY, until_s=5)

    ended = engine.receive(TimePassed(instant(5)))
    over = engine.receive(TimePassed(instant(15)))

    assert WakeAt(instant(5).monotonic_ns) in begun
    assert WakeAt(instant(15).monotonic_ns) in ended
    assert (told(ended), verdicts(over)) == ([(Mode.ASK, None)], {1: Verdict.DROP})


def identified_by(ticket: int) -> Process:
    """Return a process of which the hash is not known yet."""
    return replace(process(), identity=Identity(sha256=Pending("for the test"), ticket=ticket))


IS_BAD = ValueCondition(SHA256_FIELD, read_sha256, frozenset({"0" * 64}))
BY_HASH = Ruleset((Rule("bad", Action.DENY, (IS_BAD,), "test:9"), *RULES.rules))


def test_a_program_that_is_being_identified_waits_in_silence_too() -> None:
    engine = new_engine(BY_HASH)
    set_mode(engine, Mode.ALLOW_SILENTLY)
    for number, ticket in ((1, 7), (2, 8)):
        event = arrival(number, of_flow=SSH, owner=identified_by(ticket), sock_cookie=number)
        assert verdicts(engine.receive(event)) == {}

    refused = engine.receive(ProgramIdentified(instant(1), 7, Identity(sha256="0" * 64)))
    silenced = engine.receive(ProgramIdentified(instant(1), 8, Identity(sha256="1" * 64)))

    assert verdicts(refused) == {1: Verdict.DROP}
    assert verdicts(silenced) == {2: Verdict.ACCEPT}
    assert len(engine.silenced) == 1


def test_what_would_have_been_asked_is_listed_once_with_how_often_the_latest_last() -> None:
    engine = new_engine()
    set_mode(engine, Mode.DENY_SILENTLY)
    ports = (22, 443, 22)
    for number, port in enumerate(ports):
        engine.receive(arrival(number, of_flow=flow(dport=port), sock_cookie=number))

    listed = engine.silenced

    assert [(each.flow.dport, each.times, each.number) for each in listed] == [
        (443, 1, 2),
        (22, 2, 1),
    ]
    assert engine.question(2) == listed[0]
    assert answer(engine, 2, Action.ALLOW) == []
    assert [each.number for each in engine.silenced] == [1]


def test_the_list_of_what_was_not_asked_forgets_its_oldest_and_counts_that() -> None:
    engine = new_engine()
    set_mode(engine, Mode.ALLOW_SILENTLY)
    played = [
        engine.receive(arrival(number, of_flow=flow(dport=1_000 + number), sock_cookie=number))
        for number in range(MOST_SILENCED + 2)
    ]

    forgotten = [counts(commands).get(Counter.SILENCED_FORGOTTEN, 0) for commands in played]
    assert forgotten == [0] * MOST_SILENCED + [1, 1]
    assert len(engine.silenced) == MOST_SILENCED
    assert engine.question(1) is engine.question(2) is None
    assert engine.silenced[0].number == 3


ANSWERS = [
    (Action.ALLOW, Verdict.ACCEPT, Reason.ANSWERED),
    (Action.DENY, Verdict.DROP, Reason.ANSWERED),
    (Action.REJECT, Verdict.REJECT, Reason.ANSWERED),
    (None, Verdict.REJECT, Reason.DISMISSED),
]


@pytest.mark.parametrize(("action", "verdict", "reason"), ANSWERS)
@pytest.mark.parametrize("of_flow", [SSH, DNS], ids=["syn sent again", "next datagram"])
def test_who_was_answered_once_is_not_asked_about_with_the_next_packet(
    of_flow: Flow, action: Action | None, verdict: Verdict, reason: Reason
) -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=of_flow))

    first = answer(engine, 1, action)
    again = engine.receive(arrival(2, of_flow=of_flow, seconds=2))

    assert (verdicts(first), verdicts(again)) == ({1: verdict}, {2: verdict})
    assert not asked(again)
    assert {why for _, why, _ in reasons(first + again)} == {reason}
    assert [action for action, _, _ in reasons(first)] == [Action.ASK]


@pytest.mark.parametrize(
    "other",
    [
        arrival(2, of_flow=SSH, sock_cookie=2),
        arrival(2, of_flow=flow(dport=22, sport=40_001)),
        arrival(2, of_flow=SSH, rivals=(process("/usr/bin/wget"),)),
        arrival(2, of_flow=SSH, sock_cookie=Unknown("for the test")),
    ],
    ids=["another socket", "another flow", "perhaps another's", "nobody's socket"],
)
def test_an_answer_for_once_is_for_that_flow_of_that_socket(other: FlowArrived) -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=SSH))
    answer(engine, 1, Action.ALLOW)

    assert asked(engine.receive(other))


def test_an_answer_for_once_ends_with_the_socket() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=DNS))
    answer(engine, 1, Action.ALLOW)

    engine.receive(SocketClosed(instant(2), 1))

    assert asked(engine.receive(arrival(2, of_flow=DNS, seconds=3)))


@pytest.mark.parametrize(
    "doubtful",
    [
        arrival(1, of_flow=DNS, sock_cookie=Unknown("for the test")),
        arrival(1, of_flow=DNS, is_closed=True),
        arrival(1, of_flow=DNS, rivals=(process("/usr/bin/wget"),)),
    ],
    ids=["unknown", "closed", "of several"],
)
def test_whose_socket_is_not_known_for_sure_is_asked_about_each_time(doubtful: FlowArrived) -> None:
    engine = new_engine()
    engine.receive(doubtful)
    answer(engine, 1, Action.ALLOW)

    assert asked(engine.receive(arrival(2, of_flow=DNS)))


def test_so_many_answers_for_once_are_remembered_and_the_oldest_goes_first() -> None:
    limits = Limits(decided_flows=2)
    engine = new_engine(replace(RULES, settings=Settings(limits=limits)))
    for cookie in (1, 2, 3):
        engine.receive(arrival(cookie, of_flow=DNS, sock_cookie=cookie))
        answer(engine, cookie, Action.ALLOW)
    engine.receive(SocketClosed(instant(1), 1))

    again = [engine.receive(arrival(9, of_flow=DNS, sock_cookie=cookie)) for cookie in (3, 2, 1)]

    assert [asked(commands) for commands in again] == [False, False, True]


def test_rules_that_decide_go_before_what_was_answered_once() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=SSH))
    answer(engine, 1, Action.ALLOW)

    engine.receive(RulesetChanged(instant(2), Ruleset(default=Action.DENY), 2))

    refused = engine.receive(arrival(2, of_flow=SSH, seconds=3))
    assert verdicts(refused) == {2: Verdict.DROP}
    assert reasons(refused) == [(Action.DENY, Reason.DEFAULT, None)]


def test_what_was_answered_once_goes_before_the_mode() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=DNS))
    answer(engine, 1, Action.ALLOW)
    set_mode(engine, Mode.DENY_SILENTLY)

    assert verdicts(engine.receive(arrival(2, of_flow=DNS))) == {2: Verdict.ACCEPT}
    assert engine.silenced == []


def let_out_once(engine: Engine) -> list[Command]:
    """Have datagrams allowed for once, and so many sent that they are trusted."""
    engine.receive(arrival(0, of_flow=DNS))
    answer(engine, 1, Action.ALLOW)
    packets = range(1, TRUST_AFTER + 1)
    return [
        each for n in packets for each in engine.receive(arrival(n, of_flow=DNS, seconds=1 + n / 9))
    ]


def test_datagrams_that_were_allowed_once_come_to_be_trusted_like_others() -> None:
    engine = new_engine()

    commands = let_out_once(engine)

    assert [each for each in commands if isinstance(each, TrustFlow)] == [TrustFlow(DNS)]
    assert len(records(commands)) == 1
    assert engine.receive(reviewed(DNS, labelled=True)) == []


def test_a_flow_that_was_denied_once_is_cut_where_it_is_under_way() -> None:
    engine = new_engine()
    engine.receive(arrival(1, of_flow=DNS))
    answer(engine, 1, Action.DENY)

    commands = engine.receive(reviewed(DNS, seconds=2))

    assert [type(each) for each in commands if isinstance(each, CutFlow)] == [CutFlow]
    assert [reason for _, reason, _ in reasons(commands)] == [Reason.CUT]


@pytest.mark.parametrize(("mode", "_verdict"), SILENT)
def test_a_silent_mode_cuts_nothing_that_is_under_way(mode: Mode, _verdict: Verdict) -> None:
    engine = new_engine()
    set_mode(engine, mode)

    assert engine.receive(reviewed(SSH)) == []


def test_who_was_let_out_in_silence_is_asked_about_when_people_are_asked_again() -> None:
    engine = new_engine()
    set_mode(engine, Mode.ALLOW_SILENTLY)
    for number in range(TRUST_AFTER):
        engine.receive(arrival(number, of_flow=DNS))
    trusted = engine.receive(reviewed(DNS, labelled=True))
    set_mode(engine, Mode.ASK)

    judged = engine.receive(reviewed(DNS, labelled=True))

    assert trusted == []
    assert [type(each) for each in judged] == [JudgeFlow]
    assert asked(engine.receive(arrival(99, of_flow=DNS, seconds=1)))


def test_a_packet_sent_again_would_have_been_asked_about_once() -> None:
    engine = new_engine()
    set_mode(engine, Mode.DENY_SILENTLY)

    sent = [engine.receive(arrival(each, of_flow=SSH, seconds=each)) for each in range(3)]

    assert [question.times for question in engine.silenced] == [1]
    assert [counts(commands).get(Counter.SILENCED, 0) for commands in sent] == [1, 0, 0]


def test_the_list_says_when_it_would_have_been_asked_last() -> None:
    engine = new_engine()
    set_mode(engine, Mode.DENY_SILENTLY)

    for number in (1, 2):
        engine.receive(arrival(number, of_flow=SSH, sock_cookie=number, seconds=number))

    (question,) = engine.silenced
    assert (question.times, question.asked) == (2, instant(2))
