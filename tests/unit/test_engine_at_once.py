"""What is known already gets its verdict at once: the same one, and the same is done afterwards."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import random_rules
from builders import arrival, flow, instant, process
from engine_play import counts, new_engine, records
from first_data_engine import NO_NAMES, OPENING, REQUEST, segment, tcp
from first_data_engine import RULES as BY_NAME
from nfsnitch.core.answer import Answer
from nfsnitch.core.case import Case
from nfsnitch.core.commands import Command, Count, GiveVerdict, WriteRecord
from nfsnitch.core.conditions import ValueCondition, read_dport, read_sha256
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import VERDICTS, Action, Verdict
from nfsnitch.core.engine import Engine
from nfsnitch.core.events import (
    Answered,
    Event,
    FlowArrived,
    ModeSet,
    RulesetChanged,
    SocketClosed,
    Stopping,
    TimePassed,
)
from nfsnitch.core.flow import Flow
from nfsnitch.core.identity import Identity, Pending
from nfsnitch.core.own import Fetching
from nfsnitch.core.owner import Attribution, Finding, Process
from nfsnitch.core.rule import AtQuestion, Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.protocol.words import Mode

WEB = Ruleset(
    (
        Rule("web", Action.ALLOW, (ValueCondition("dport", read_dport, frozenset({80})),), "t:1"),
        Rule("telnet", Action.REJECT, (ValueCondition("dport", read_dport, frozenset({23})),), "t"),
    ),
    default=Action.ASK,
)
CURL = process()
"""One and the same: what is remembered, is of that very process."""


_ANSWERS = (Action.ALLOW, Action.DENY, Action.REJECT, None)


def web(packet_id: int = 1, sport: int = 1_000, dport: int = 80, cookie: int = 1) -> FlowArrived:
    of_flow = flow(sport=sport, dport=dport)
    return arrival(packet_id, of_flow=of_flow, owner=CURL, sock_cookie=cookie)


def replace_owner(event: FlowArrived) -> FlowArrived:
    """Return the same of the one program."""
    return event._replace(found=event.found._replace(owner=CURL))


def received(engine: Engine, event: Event) -> list[Command]:
    """Do as the worker does: what is known already first."""
    ruling = engine.at_once(event) if isinstance(event, FlowArrived) else None
    if ruling is None or not isinstance(event, FlowArrived):
        return engine.receive(event)
    verdict = GiveVerdict(event.packet_id, VERDICTS[ruling.action])
    return [verdict, *engine.after(event, ruling)]


class Plot:
    """Things that happen, made by chance from few flows, programs and rules."""

    def __init__(self, seed: int) -> None:
        self.chance = chance = random_rules.chance_by(seed)
        self.cases = [self._plain(chance) for _ in range(3)]
        self.cases += [random_rules.case(chance) for _ in range(2)]
        self.seconds, self.packets, self.generation = 0.0, 0, 1

    @staticmethod
    def _plain(chance: Random) -> Case:
        """Return a case of a known program, as most are."""
        while True:
            case = random_rules.case(chance)
            if isinstance(case.owner, Process) and isinstance(case.flow, Flow):
                return case._replace(names=case.names._replace(may_come=False))

    def ruleset(self) -> Ruleset:
        """Return some rules, often simple ones."""
        if self.chance.random() < 0.3:
            return WEB
        made = random_rules.rules(self.chance, 3)
        default = self.chance.choice([*Action])
        return Ruleset(made, default=default, ask_timeout_ns=2 * 10**9)

    def event(self) -> Event:
        """Return the next thing that happens."""
        chance, now = self.chance, instant(self.seconds)
        kind = chance.random()
        if kind < 0.8:
            return self._arrival()
        if kind < 0.86:
            self.seconds += chance.choice((0.1, 1, 61))
            return TimePassed(instant(self.seconds))
        if kind < 0.9:
            return SocketClosed(now, chance.randrange(3))
        if kind < 0.93:
            return Answered(now, chance.randrange(4), Answer(chance.choice(_ANSWERS)))
        if kind < 0.96:
            return ModeSet(now, chance.choice([*Mode]), None)
        self.generation += 1
        return RulesetChanged(now, self.ruleset(), self.generation)

    def _arrival(self) -> FlowArrived:
        chance, case = self.chance, self.chance.choice(self.cases)
        self.packets += 1
        of_flow = case.flow
        assert isinstance(of_flow, Flow)
        of_flow = of_flow._replace(sport=chance.choice((1, 2, 3)))
        rivals = (process("/rival"),) if chance.random() < 0.1 else ()
        cookie = chance.randrange(3)
        found = Finding(case.owner, Attribution.FLOW_MAP, cookie, rivals, names=case.names)
        return FlowArrived(instant(self.seconds), self.packets, of_flow, found, case.iface)


@given(st.integers(0, 2**32))
def test_what_is_done_is_the_same_as_if_nothing_had_been_known(seed: int) -> None:
    plot = Plot(seed)
    first = plot.ruleset()
    usual, quick = Engine(first, 1), Engine(first, 1)
    usual.kernel_answers = quick.kernel_answers = plot.chance.random() < 0.5

    for _ in range(60):
        event = plot.event()
        assert received(quick, event) == usual.receive(event)

    assert received(quick, Stopping(instant())) == usual.receive(Stopping(instant()))


def test_what_the_rules_have_said_of_a_program_and_a_destination_is_known() -> None:
    engine = new_engine(WEB)
    assert engine.at_once(web()) is None
    engine.receive(web())

    next_one = web(2, sport=2_000, cookie=2)
    ruling = engine.at_once(next_one)

    assert ruling is not None
    assert (ruling.action, ruling.rule) == (Action.ALLOW, "web")
    done = engine.after(next_one, ruling)
    assert [type(each) for each in done] == [Count, WriteRecord]
    assert counts(done) == {Counter.ACCEPTED: 1}
    assert [each.decision.verdict for each in records(done)] == [Verdict.ACCEPT]


def test_of_another_program_or_destination_it_is_not_known() -> None:
    engine = new_engine(WEB)
    engine.receive(web())
    others = [
        web(2, dport=443),
        web(2)._replace(iface="wg0"),
        arrival(2, of_flow=flow(sport=1_000), owner=process()),
        arrival(2, of_flow=flow("192.0.2.77", sport=1_000), owner=CURL),
    ]

    assert [engine.at_once(each) for each in others] == [None] * len(others)


def test_when_the_rules_have_changed_nothing_is_known() -> None:
    engine = new_engine(WEB)
    engine.receive(web())
    engine.receive(RulesetChanged(instant(), replace(WEB, rules=()), 2))

    assert engine.at_once(web(2)) is None


def test_packets_of_a_flow_that_is_held_wait_with_it() -> None:
    condition = ValueCondition("sha256", read_sha256, frozenset({"00"}))
    engine = new_engine(Ruleset((Rule("curl", Action.ALLOW, (condition,), "t:1"),)))
    pending = replace(CURL, identity=Identity(sha256=Pending("being read"), ticket=1))
    known = replace(CURL, identity=Identity(sha256="00"))
    engine.receive(web()._replace(found=web().found._replace(owner=pending)))
    as_known = web().found._replace(owner=known)
    other = web(2, cookie=2)
    assert not counts(engine.receive(other._replace(found=as_known._replace(sock_cookie=2)))).get(
        Counter.HELD
    )
    again = web(3)._replace(found=as_known)

    assert engine.at_once(again) is None

    assert counts(engine.receive(again)) == {Counter.JOINED: 1}


def test_what_a_flow_has_said_of_its_name_stays_true_by_rules_that_do_not_ask() -> None:
    engine = new_engine(BY_NAME)
    first = replace_owner(tcp(1, OPENING))
    engine.receive(first)
    told = segment(REQUEST % b"fine.example")
    engine.receive(replace_owner(tcp(2, told)))
    engine.receive(RulesetChanged(instant(), NO_NAMES, 2))
    engine.receive(first._replace(packet_id=3, flow=first.flow._replace(sport=9), segment=None))
    later = first._replace(packet_id=4, segment=None)

    assert engine.at_once(later) is None

    (record,) = records(engine.receive(later))
    assert [each.text for each in record.names.names] == ["fine.example"]


@pytest.mark.parametrize(
    ("rules", "event"),
    [
        (BY_NAME, web()._replace(segment=OPENING)),
        (
            Ruleset((Rule("q", Action.DENY, (), "t:1", dns=AtQuestion.REFUSE),)),
            web(dport=53),
        ),
        (WEB, web()._replace(found=web().found._replace(rivals=(process("/other"),)))),
    ],
    ids=["name in the first data", "question of DNS", "several who may have sent it"],
)
def test_what_a_packet_carries_and_who_else_may_have_sent_it_is_always_looked_at(
    rules: Ruleset, event: FlowArrived
) -> None:
    engine = new_engine(rules)
    engine.receive(event)

    assert engine.at_once(event._replace(packet_id=2)) is None


def test_while_a_list_is_fetched_who_fetches_it_is_looked_for() -> None:
    engine = new_engine(NO_NAMES)
    engine.receive(web())
    assert engine.at_once(web(2)) is not None

    engine.own.fetching = Fetching(CURL.pid, CURL.start_time_ns, 80)

    assert engine.at_once(web(3)) is None
