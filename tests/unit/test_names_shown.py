"""Names as people see them: records, lines, questions, answers for names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builders import WALL_NS, arrival, flow, instant, process
from engine_play import new_engine
from nfsnitch.adapters.rulefile.answers import EMPTY, read_answers
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.adapters.rulefile.names import Names as SystemNames
from nfsnitch.asking.composing import composed, scope_of
from nfsnitch.asking.duration import parse_duration
from nfsnitch.commands.record_line import record_line
from nfsnitch.core.case import Case
from nfsnitch.core.choices import wheres
from nfsnitch.core.commands import ShowQuestion, WriteRecord
from nfsnitch.core.decision import Action, Decision, Reason, Verdict
from nfsnitch.core.listing import Entry
from nfsnitch.core.name import Name, Names, NameSource
from nfsnitch.core.owner import Attribution, Finding
from nfsnitch.core.question import Question
from nfsnitch.core.record import Record
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruling
from nfsnitch.prompt.choices import Choices
from nfsnitch.prompt.words import destination, facts, headline
from nfsnitch.protocol import Where
from scripted_daemon import question

SYSTEM = SystemNames({"alice": 1_000}.get, lambda _service: frozenset())
NAMED = {Where.HOST, Where.HOST_PORT, Where.DOMAIN, Where.DOMAIN_PORT}
NOW = instant()


def name(text: str, source: NameSource = NameSource.DNS) -> Name:
    known_ns = NOW.monotonic_ns - 2_500_000_000
    return Name(text, source, True, known_ns, 300, "192.0.2.53", ("cdn.example",))  # noqa: FBT003  its own


def names(*texts: str) -> Names:
    return Names(tuple(map(name, texts)), "nobody asked")


def record(of: Names, entry: Entry | None = None) -> dict[str, Any]:
    decision = Decision(Verdict.REJECT, Action.REJECT, Reason.RULE, "no ads", entry)
    who = (process(), Attribution.FLOW_MAP, 1, "eth0")
    made = Record(WALL_NS, decision, 0, 1, flow(), *who)
    made = made._replace(names=of, monotonic_ns=NOW.monotonic_ns)
    content: dict[str, Any] = json.loads(made.as_line())
    return content


# records


def test_a_record_has_the_one_name_and_where_it_came_from() -> None:
    fields = record(names("www.example.org"))
    assert fields["host"] == "www.example.org"
    assert fields["names"] == [
        {
            "name": "www.example.org",
            "source": "dns",
            "own": True,
            "age_s": 2.5,
            "ttl_s": 300,
            "stale": False,
            "resolver": "192.0.2.53",
            "aliases": ["cdn.example"],
        }
    ]


def test_a_record_says_that_several_names_are_ambiguous_and_why_there_is_none() -> None:
    assert record(names("a.example", "b.example"))["host"] == {
        "ambiguous": ["a.example", "b.example"]
    }
    unnamed = record(names())
    assert unnamed["host"] == {"unknown": "nobody asked"}
    assert "names" not in unnamed


def test_a_record_names_the_line_of_the_list_that_blocked() -> None:
    fields = record(names("x.ads.example"), Entry("ads", 17, "ads.example"))
    assert fields["list"] == {"name": "ads", "line": 17, "entry": "ads.example"}
    assert "list" not in record(names("x.ads.example"))


def test_the_engine_hands_names_and_lines_of_lists_on_to_records() -> None:
    engine = new_engine()
    found = arrival(1, of_flow=flow(dport=80)).found._replace(names=names("www.example.org"))
    (written,) = [
        each.record
        for each in engine.receive(arrival(1, of_flow=flow(dport=80))._replace(found=found))
        if isinstance(each, WriteRecord)
    ]
    assert written.as_json()["host"] == "www.example.org"
    assert written.as_json()["names"][0]["age_s"] == 2.5


@pytest.mark.parametrize(
    ("of", "place"),
    [
        (names("www.example.org"), "tcp → www.example.org:80 (192.0.2.1)"),
        (names("a.example", "b.example"), "tcp → 192.0.2.1:80 (a.example or b.example)"),
        (
            names(*"abcde"),
            "tcp → 192.0.2.1:80 (a or b or c or 2 others)",
        ),
        (names(), "tcp → 192.0.2.1:80"),
        (names("\\027[31m.example"), "tcp → \\\\027[31m.example:80 (192.0.2.1)"),
    ],
)
def test_a_line_of_watch_has_the_name_and_the_address(of: Names, place: str) -> None:
    assert record_line(record(of), colour=False).split("  ")[-2] == place


def test_a_line_of_watch_has_the_line_of_the_list() -> None:
    line = record_line(
        record(names("x.ads.example"), Entry("ads", 17, "ads.example")), colour=False
    )
    assert line.endswith("  rule 'no ads', list ads:17 ads.example")


# questions


def flow_row(of: Names) -> dict[str, Any]:
    fields = record(of)
    return {key: fields[key] for key in ("host", "names") if key in fields}


def test_a_question_says_the_name_and_in_its_facts_the_address_and_where_the_name_came_from() -> (
    None
):
    asked = question(1, flow=flow_row(names("www.example.org")))
    assert headline(asked) == "curl wants to connect to www.example.org port 443 (https)"
    assert destination(asked.flow) == "www.example.org:443"
    told = [(fact.name, fact.text) for fact in facts(asked)]
    assert ("to", "192.0.2.1 port 443 (https), tcp, by eth0") in told
    assert (
        "name",
        "www.example.org: it asked by DNS, 192.0.2.53 answered 2 s ago, alias of cdn.example",
    ) in told


def test_a_question_whose_host_is_ambiguous_says_so_aloud() -> None:
    asked = question(1, flow=flow_row(names("a.example", "b.example")))
    assert headline(asked) == (
        "curl wants to connect to 192.0.2.1 port 443 (https), which is a.example or b.example"
    )
    loud = [fact.text for fact in facts(asked) if fact.is_loud]
    assert loud == ["ambiguous: a.example or b.example"]


def test_the_host_is_offered_first_and_what_was_chosen_without_a_name_comes_next() -> None:
    choices = Choices()
    named = question(1, where={"host-port": "", "host": "", "address-port": "", "address": ""})
    unnamed = question(1, where={"address-port": "", "address": ""})
    assert choices.where_for(named) == "host-port"
    assert choices.where_for(unnamed) == "address-port"
    choices.where = "host"
    assert choices.where_for(unnamed) == "address"


# answers for names


def asked_about(of: Names, rivals: tuple[Names, ...] = ()) -> Question:
    others = tuple(process(pid=5_000 + at) for at in range(len(rivals)))
    found = Finding(process(), Attribution.FLOW_MAP, 1, others, names=of, names_of_rivals=rivals)
    ruling = Ruling(Action.ASK, Reason.DEFAULT, None)
    return Question(1, NOW, 0, ruling, flow(dport=443), found, "eth0", 1)


def rule_for(where: Where, of: Names) -> Rule:
    asked = asked_about(of)
    scope = scope_of(asked, "program", where)
    text = composed(asked, scope, Action.ALLOW, parse_duration("restart", WALL_NS), frozenset())
    return read_answers(Source(0, "answers", EMPTY), SYSTEM).block_of(text, SYSTEM).rule


def matches(rule: Rule, *hosts: str, dport: int = 443) -> bool:
    case = Case(flow("198.51.100.7", dport=dport), process(), "eth0", NOW, names=names(*hosts))
    return rule.first_mismatch(case) is None


def test_an_answer_for_a_host_holds_for_that_name_at_any_address_and_for_no_other_name() -> None:
    rule = rule_for(Where.HOST_PORT, names("www.example.org"))
    assert matches(rule, "www.example.org")
    assert not matches(rule, "www.example.org", dport=80)
    assert not matches(rule, "example.org")
    assert not matches(rule, "a.www.example.org")
    assert not matches(rule, "www.example.org", "other.example")
    assert not matches(rule)
    assert matches(rule_for(Where.HOST, names("www.example.org")), "www.example.org", dport=80)


def test_an_answer_for_a_domain_holds_for_what_is_below_it_and_itself() -> None:
    rule = rule_for(Where.DOMAIN_PORT, names("www.example.org"))
    assert matches(rule, "mail.example.org")
    assert matches(rule, "example.org")
    assert not matches(rule, "badexample.org")
    assert not matches(rule, "mail.example.org", dport=80)
    assert matches(rule_for(Where.DOMAIN, names("a.b.example.org")), "c.b.example.org", dport=80)


def test_the_domain_is_shown_as_what_it_means_and_a_top_level_one_is_not_offered() -> None:
    offered = wheres(asked_about(names("www.example.org")))
    assert list(offered)[:2] == [Where.HOST_PORT, Where.HOST]
    assert offered[Where.HOST_PORT].text == "www.example.org, 443/tcp"
    assert offered[Where.DOMAIN].text == "*.example.org"
    assert NAMED & wheres(asked_about(names("example.org"))).keys() == {
        Where.HOST,
        Where.HOST_PORT,
    }


@pytest.mark.parametrize(
    "of",
    [
        names(),
        names("a.example", "b.example"),
        names("*.example.org"),
        names("*"),
        names("a\\046b.example"),
        names("192.0.2.1"),
        names("10"),
        names("-a.example"),
        names("a..example"),
        names("x" * 64 + ".example"),
    ],
    ids=lambda of: ",".join(each.text for each in of.names)[:20],
)
def test_no_host_is_offered_that_a_rule_cannot_name_or_would_mistake(of: Names) -> None:
    assert not NAMED & wheres(asked_about(of)).keys()


def test_of_several_senders_all_must_have_looked_for_the_same_name() -> None:
    same, other = names("a.example.org"), names("b.example.org")
    assert wheres(asked_about(same, (same,))).keys() >= NAMED
    assert not NAMED & wheres(asked_about(same, (other,))).keys()
    assert not NAMED & wheres(asked_about(same, (names(),))).keys()


def test_flows_to_two_names_at_one_address_are_two_questions() -> None:
    engine = new_engine()
    numbers = []
    for packet_id, text in enumerate(("a.example", "a.example", "b.example"), 1):
        event = arrival(packet_id, of_flow=flow(dport=22, sport=packet_id), sock_cookie=packet_id)
        event = event._replace(found=event.found._replace(names=names(text)))
        commands = engine.receive(event)
        numbers += [each.question.number for each in commands if isinstance(each, ShowQuestion)]
    assert numbers == [1, 1, 2]
