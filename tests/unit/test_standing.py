"""A decision stands only where the rules say the same of all that a program sends somewhere."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

import random_rules
from builders import arrival, case, datagrams, executable, flow, instant, process
from nfsnitch.core import conditions as of
from nfsnitch.core.case import Case
from nfsnitch.core.commands import CacheVerdict, PassFlow
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.events import FlowArrived
from nfsnitch.core.flow import packed_address
from nfsnitch.core.kernel_verdicts import kernel_verdicts
from nfsnitch.core.listing import ListDefinition, NamedList
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.name_conditions import HostCondition, HostNames, ListCondition
from nfsnitch.core.owner import Ancestor, Attribution, Process
from nfsnitch.core.pattern import paths, regexes
from nfsnitch.core.rule import AtQuestion, Condition, Rule
from nfsnitch.core.ruleset import Ruleset, Ruling
from nfsnitch.core.schedule import Span, weekly
from nfsnitch.core.standing import Reach, standing
from nfsnitch.core.timed import DeadlineCondition, ExpiryCondition, ScheduleCondition
from nfsnitch.core.unknown import Unknown

HOUR_NS = 3_600_000_000_000


@settings(max_examples=1_000)
@given(st.integers(0, 2**32))
def test_what_stands_is_what_the_rules_say_of_all_flows_that_are_alike_in_the_key(
    seed: int,
) -> None:
    chance = random_rules.chance_by(seed)
    ruleset = Ruleset(
        random_rules.rules(chance, chance.choice((4, 40))),
        default=chance.choice((Action.ALLOW, Action.REJECT, Action.ASK)),
        answers=random_rules.rules(chance, 3),
    )
    some = random_rules.case(chance)
    stands = standing(ruleset, some)
    event(f"stands for {stands.reach.name}" if stands else "does not stand")
    if stands is None:
        return

    assert stands.ruling.action is not Action.ASK
    for _ in range(20):
        other = alike(some, chance, stands.reach)
        if stands.until_ns is None or other.now.monotonic_ns < stands.until_ns:
            assert ruleset.rule_on(other)._replace(entry=None) == stands.ruling


def alike(some: Case, chance: Random, reach: Reach) -> Case:
    """Return another case with the same program, within *reach*, and else nothing in common."""
    other, owner = random_rules.case(chance), some.owner
    assert isinstance(owner, Process)
    program = replace(
        owner,
        pid=chance.randrange(2, 99),
        tid=chance.randrange(2, 99),
        start_time_ns=chance.randrange(10**12),
        args=chance.choice((("curl",), ("a", "b"), Unknown("not read"))),
        comm=chance.choice(("curl", "x")),
        parents=chance.choice(((), (Ancestor(1, 1, executable("/a")),))),
        identity=other.owner.identity if isinstance(other.owner, Process) else owner.identity,
        cwd="/c",
    )
    changed = some.flow._replace(sport=chance.choice(random_rules.PORTS))
    addresses = [each for each in random_rules.ADDRESSES if (":" in each) == (changed.family == 6)]
    changed = changed._replace(saddr=packed_address(chance.choice(addresses)))
    if reach >= Reach.PORT:
        changed = changed._replace(daddr=packed_address(chance.choice(addresses)))
    if reach is Reach.ANYWHERE:
        changed = changed._replace(dport=chance.choice([*random_rules.PORTS, 2]))
    now = instant(chance.choice((0, 1, 90_000)))
    return Case(changed, program, chance.choice(("eth0", "wlan0")), now, names=other.names)


def rules(*conditions: Condition, action: Action = Action.ALLOW) -> Ruleset:
    """Return one rule of these conditions, and a default that says something else."""
    return Ruleset((Rule("first", action, conditions, "test:1"),), default=Action.REJECT)


def exe(*globs: str) -> Condition:
    return of.ValueCondition("exe", of.read_exe, paths(globs))


def named(name: str) -> Names:
    return Names((Name(name, NameSource.DNS, own=True, known_ns=0),), may_come=False)


OTHER_THAN_KEY: list[Condition] = [
    of.ValueCondition("args", of.read_args, regexes([".*"])),
    of.ValueCondition("comm", of.read_comm, paths(["*"])),
    of.ValueCondition("iface", of.read_iface, paths(["eth0"])),
    of.ValueCondition("sport", of.read_sport, frozenset({40_000})),
    of.ParentCondition("parent", paths(["/usr/bin/bash"])),
    of.OneProcessCondition("pid", 4_711, 5_000_000_000),
    HostCondition("host", HostNames(frozenset({"a.test"}), frozenset())),
    ListCondition("list", (NamedList(ListDefinition("l", "/l")),)),
    ScheduleCondition("schedule", weekly([Span(0, 7 * 1_440)])),
    ExpiryCondition("until", 10**19),
]


@pytest.mark.parametrize("condition", OTHER_THAN_KEY, ids=lambda each: each.field)
def test_what_a_rule_may_say_for_something_else_does_not_stand(condition: Condition) -> None:
    assert standing(rules(condition), case()) is None
    assert standing(rules(exe("/usr/bin/curl"), condition), case()) is None


@pytest.mark.parametrize("condition", OTHER_THAN_KEY, ids=lambda each: each.field)
def test_a_rule_for_another_program_keeps_nothing_from_standing(condition: Condition) -> None:
    stands = standing(rules(condition, exe("/usr/bin/wget")), case())

    assert stands is not None
    assert stands.ruling == Ruling(Action.REJECT, Reason.DEFAULT, None)


def test_a_rule_with_a_deadline_stands_until_then() -> None:
    deadline = DeadlineCondition("for", instant().monotonic_ns + HOUR_NS)

    stands = standing(rules(deadline), case())

    assert stands is not None
    assert (stands.ruling.rule, stands.until_ns) == ("first", instant().monotonic_ns + HOUR_NS)
    late = case()._replace(now=instant(3_601))
    over = standing(rules(deadline), late)
    assert over is not None
    assert (over.ruling, over.until_ns) == (Ruling(Action.REJECT, Reason.DEFAULT, None), None)


TO_HTTPS = of.ValueCondition("dport", of.read_dport, frozenset({443}))
TO_NET = of.ValueCondition("daddr", of.read_daddr, random_rules.some_addresses(Random(1)))  # noqa: S311
OF_WGET = exe("/usr/bin/wget")


@pytest.mark.parametrize(
    ("of_first", "reach"),
    [
        ((exe("/usr/bin/curl"),), Reach.ANYWHERE),
        ((OF_WGET, TO_NET), Reach.ANYWHERE),
        ((exe("/usr/bin/curl"), TO_HTTPS), Reach.PORT),
        ((TO_HTTPS, TO_NET), Reach.PORT),
        ((exe("/usr/bin/curl"), TO_NET), Reach.DESTINATION),
        ((TO_NET,), Reach.DESTINATION),
    ],
)
@pytest.mark.parametrize("others", [0, 20, 100])
def test_what_does_not_depend_on_the_destination_stands_for_others_as_well(
    of_first: tuple[Condition, ...], reach: Reach, others: int
) -> None:
    first = Rule("first", Action.ALLOW, of_first, "test:1")
    unlike = [
        Rule(f"r{at}", Action.ALLOW, (exe(f"/bin/{at}"), TO_NET), "test:2") for at in range(others)
    ]

    stands = standing(Ruleset((*unlike, first), default=Action.REJECT), case())

    assert stands is not None
    assert stands.reach is reach


def test_where_more_rules_may_decide_than_are_looked_at_a_decision_stands_for_its_destination() -> (
    None
):
    many = [
        Rule(f"r{at}", Action.ALLOW, (of.ValueCondition("dport", of.read_dport, {at}),), "test:1")
        for at in range(1_000, 1_100)
    ]

    stands = standing(Ruleset(tuple(many), default=Action.REJECT), case())

    assert stands is not None
    assert stands.reach is Reach.DESTINATION


def test_where_people_are_asked_only_their_answers_stand() -> None:
    asked = Ruleset((), default=Action.ASK)
    answers = rules(exe("/usr/bin/curl")).rules

    assert standing(asked, case()) is None
    stands = standing(replace(asked, answers=tuple(answers)), case())
    assert stands is not None
    assert stands.ruling.rule == "first"


def test_what_is_known_of_nobody_does_not_stand() -> None:
    nobody = case()._replace(owner=Unknown("gone"))
    nameless = replace(process(), exe=replace(executable("/x"), path=Unknown("too long")))

    assert standing(rules(), nobody) is None
    assert standing(rules(), case(owner=nameless)) is None


def emitted(ruleset: Ruleset, arrived: FlowArrived) -> list[str]:
    """Return what the kernel is told to do by itself, by the names of the commands."""
    ruling = ruleset.rule_on(case(arrived.flow, arrived.found.owner))
    return [type(each).__name__ for each in kernel_verdicts(ruleset, arrived, ruling)]


PASS, CACHE = [PassFlow.__name__], [CacheVerdict.__name__]


def test_the_kernel_is_told_of_connections_and_of_datagrams_that_are_allowed() -> None:
    curl = process()
    allow, reject = rules(), rules(action=Action.REJECT)

    assert emitted(allow, arrival(1, of_flow=flow(), owner=curl)) == CACHE
    assert emitted(allow, arrival(1, of_flow=datagrams(), owner=curl)) == CACHE
    assert emitted(reject, arrival(1, of_flow=flow(), owner=curl)) == CACHE
    # sendto(2) would fail, which it does not where the packet was queued.
    assert emitted(reject, arrival(1, of_flow=datagrams(), owner=curl)) == []


def test_a_datagram_that_only_its_arguments_allow_passes_for_its_socket_alone() -> None:
    by_args = rules(of.ValueCondition("args", of.read_args, regexes([".*"])))

    assert emitted(by_args, arrival(1, of_flow=datagrams(), owner=process())) == PASS


def test_the_kernel_is_told_nothing_of_what_is_not_sure() -> None:
    curl = process()
    sure = arrival(1, of_flow=flow(), owner=curl)

    unsure = [
        arrival(1, of_flow=flow(), owner=curl, rivals=(process("/other"),)),
        arrival(1, of_flow=flow(), owner=curl, sock_cookie=Unknown("no cookie")),
        sure._replace(found=sure.found._replace(attribution=Attribution.PORT_MAP)),
        sure._replace(found=sure.found._replace(iface_in="eth1")),
        arrival(1, of_flow=flow(), owner=Unknown("gone")),
    ]

    assert emitted(rules(), sure) == CACHE
    assert [emitted(rules(), each) for each in unsure] == [[]] * len(unsure)


def test_questions_of_dns_are_all_judged_where_rules_may_refuse_them() -> None:
    refusing = Rule(
        "no ads",
        Action.REJECT,
        (exe("/none"), HostCondition("host", HostNames(frozenset({"ads.test"}), frozenset()))),
        "test:2",
        dns=AtQuestion.REFUSE,
    )
    ruleset = Ruleset((refusing, *rules().rules))
    question = arrival(1, of_flow=datagrams(dport=53), owner=process())
    other = arrival(1, of_flow=datagrams(dport=54), owner=process())

    assert emitted(rules(), question) == CACHE
    assert emitted(ruleset, question) == []
    assert emitted(ruleset, other) == CACHE
    assert [reached(each, other) for each in (rules(), ruleset)] == [Reach.ANYWHERE, Reach.PORT]


def reached(ruleset: Ruleset, arrived: FlowArrived) -> Reach:
    """Return how far the decision reaches that the kernel is to repeat."""
    ruling = ruleset.rule_on(case(arrived.flow, arrived.found.owner))
    (command,) = kernel_verdicts(ruleset, arrived, ruling)
    assert isinstance(command, CacheVerdict)
    return command.reach
