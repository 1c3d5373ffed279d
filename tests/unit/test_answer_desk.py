"""Answers on their way: to the flows that wait, into rules, and into the file."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

import pytest

from book_play import BROKEN, BY_HAND, add, opened, written_by_hand
from desk_play import UID, Desk
from engine_play import counts, records
from nfsnitch.adapters.rulefile.problems import Refused, RuleFileError
from nfsnitch.asking.book import MOST_TEMPORARY
from nfsnitch.core.counters import Counter
from nfsnitch.core.decision import Reason, Verdict
from nfsnitch.protocol import (
    AddRuleRequest,
    AnswerRequest,
    ChangeRuleRequest,
    CheckRuleRequest,
    MoveRuleRequest,
    PreviewRequest,
    RevokeRequest,
)
from nfsnitch.protocol import Answered as Reply
from nfsnitch.protocol.words import Mode

T = TypeVar("T")


@pytest.fixture(name="desk")
def fixture_desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path / "answers.yaml")


def refused(request: Coroutine[Any, Any, T]) -> str:
    with pytest.raises(Refused) as why:
        asyncio.run(request)
    return str(why.value)


def test_an_answer_lets_the_very_flow_go_and_the_next_one_is_not_asked_about(desk: Desk) -> None:
    first = desk.tries()

    reply = desk.answers(1)
    second = desk.tries()

    assert reply == Reply((1,), ("curl to 22/tcp anywhere",), None)
    assert desk.verdict(first) is desk.verdict(second) is Verdict.ACCEPT
    assert [each.decision.reason for each in records(desk.done)] == [Reason.ANSWERED, Reason.RULE]
    assert {each.decision.rule for each in records(desk.done)} == set(reply.rules)
    assert desk.path.read_text() == desk.book.lasting.text


def test_one_answer_to_many_questions_makes_each_rule_once(desk: Desk) -> None:
    packets = [desk.tries(dport=22), desk.tries(dport=25), desk.tries("/usr/bin/wget")]

    reply = desk.answers(1, 2, 3, where="anywhere", action="deny")

    assert reply.rules == ("curl to anywhere", "wget to anywhere")
    assert desk.names == list(reply.rules)
    assert {desk.verdict(each) for each in packets} == {Verdict.DROP}


def test_programs_of_one_file_name_get_rules_of_different_names(desk: Desk) -> None:
    desk.tries("/usr/bin/x")
    desk.tries("/opt/bin/x")

    assert desk.answers(2, 1).rules == ("x to 22/tcp anywhere", "x to 22/tcp anywhere (2)")
    assert [block.text.split("\n")[2] for block in desk.book.lasting.blocks] == [
        "exe: /opt/bin/x",
        "exe: /usr/bin/x",
    ]


def test_what_is_shown_before_is_what_is_kept_after(desk: Desk) -> None:
    desk.tries()
    asked = (1, "reject", "program", "address-port", "until 2030-06-30T18:00")

    preview = desk.desk.preview(PreviewRequest(*asked)).rule
    desk.answers(1, action="reject", where="address-port", duration=asked[-1])

    assert preview == (
        "name: curl to 192.0.2.1 22/tcp\naction: reject\nexpires: 2030-06-30T18:00\n"
        "exe: /usr/bin/curl\ndaddr: 192.0.2.1\nproto: tcp\ndport: 22\n"
    )
    assert [block.text for block in desk.book.lasting.blocks] == [preview]


def test_once_and_dismissed_make_no_rule_and_so_there_is_none_to_see_before(desk: Desk) -> None:
    desk.tries()

    for action, duration in (("allow", "once"), ("dismiss", "forever")):
        request = PreviewRequest(1, action, "program", "port", duration)
        assert desk.desk.preview(request).rule == ""


def test_once_is_for_what_waits_and_is_written_nowhere(desk: Desk) -> None:
    first = desk.tries()

    assert desk.answers(1, duration="once", who="", where="") == Reply((1,), (), None)
    second = desk.tries()

    assert (desk.verdict(first), desk.verdict(second)) == (Verdict.ACCEPT, None)
    assert not desk.path.exists()


def test_a_question_that_is_dismissed_is_decided_as_if_nobody_had_answered(desk: Desk) -> None:
    first = desk.tries()

    assert desk.answers(1, action="dismiss") == Reply((1,), (), None)
    assert desk.verdict(first) is Verdict.REJECT
    assert desk.names == []


def test_an_edited_rule_decides_with_what_it_says_itself(desk: Desk) -> None:
    packet = desk.tries()

    reply = desk.answers(1, action="allow", rule="name: mine\naction: deny\ndport: 22\n")

    assert reply.rules == ("mine",)
    assert desk.verdict(packet) is Verdict.DROP
    assert records(desk.done)[0].decision.rule == "mine"


@pytest.mark.parametrize(
    ("rule", "duration", "why"),
    [
        ("name: a\naction: ask\n", "forever", "does not ask"),
        ("name: taken\naction: deny\n", "forever", "'taken' already"),
        ("name: a\naction: deny\n", "until 2030-06-30T18:00", "does not say that it ends"),
        ("name: a\naction: deny\n", "until 1999-01-01", "is over"),
        ("name: a\naction: deny\n", "for ever", "says not for how long"),
        ("name: a\naction: deny\n", "25h", "longer than a day"),
    ],
)
def test_an_edited_rule_that_makes_no_sense_does_nothing_and_the_flow_waits(
    desk: Desk, rule: str, duration: str, why: str
) -> None:
    asyncio.run(desk.desk.add(AddRuleRequest("name: taken\naction: deny\ndport: 1\n", "forever")))
    packet, before = desk.tries(), desk.path.read_text()

    with pytest.raises(Refused, match=why):
        desk.answers(1, rule=rule, duration=duration)

    assert desk.verdict(packet) is None
    assert desk.names == ["taken"]
    assert desk.path.read_text() == before


def test_a_mistake_in_an_edited_rule_is_shown_where_it_is_and_the_flow_waits(desk: Desk) -> None:
    packet = desk.tries()

    with pytest.raises(RuleFileError) as error:
        desk.answers(1, rule="name: a\naction: deny\ndprot: 22\n")
    checked = desk.desk.check(CheckRuleRequest("name: a\naction: deny\ndprot: 22\n"))

    assert [(each.position.line, each.what) for each in error.value.problems] == [
        (3, "unknown field 'dprot'")
    ]
    assert [(each["line"], each["column"]) for each in checked.problems] == [(3, 1)]
    assert desk.verdict(packet) is None


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ({"action": "maybe"}, "no answer 'maybe'"),
        ({"who": "app"}, "this question has no who 'app'"),
        ({"who": "me"}, "there is no who 'me'"),
        ({"where": "here"}, "there is no where 'here'"),
        ({"duration": ""}, "says not for how long"),
        ({"rule": "name: a\naction: deny\n", "action": "dismiss"}, "answers one question"),
    ],
)
def test_words_that_no_question_has_are_refused_and_the_flow_waits(
    desk: Desk, words: dict[str, str], why: str
) -> None:
    packet = desk.tries()

    with pytest.raises(Refused, match=why):
        desk.answers(1, **words)
    assert desk.verdict(packet) is None


@pytest.mark.parametrize("numbers", [(), (1, 1), tuple(range(1_001))])
def test_no_question_is_answered_twice_in_one_breath_nor_too_many(
    desk: Desk, numbers: tuple[int, ...]
) -> None:
    packet = desk.tries()

    with pytest.raises(Refused, match="once each"):
        desk.answers(*numbers)
    assert desk.verdict(packet) is None


def test_an_answer_that_comes_late_makes_no_rule(desk: Desk) -> None:
    desk.tries()
    desk.answers(1, action="deny")

    late = desk.answers(1, 77, action="allow", where="anywhere")

    assert late == Reply((), (), None)
    assert desk.names == ["curl to 22/tcp anywhere"]
    assert counts(desk.done)[Counter.ANSWERED_LATE] == 2


def test_where_some_are_late_the_others_are_answered(desk: Desk) -> None:
    packet = desk.tries()

    assert desk.answers(9, 1).taken == (1,)
    assert desk.verdict(packet) is Verdict.ACCEPT


def test_what_nobody_was_asked_can_be_answered_afterwards(desk: Desk) -> None:
    desk.silently(Mode.DENY_SILENTLY)
    first = desk.tries()
    (silenced,) = desk.engine.silenced

    reply = desk.answers(silenced.number)
    second = desk.tries()

    assert (desk.verdict(first), desk.verdict(second)) == (Verdict.DROP, Verdict.ACCEPT)
    assert reply.rules == ("curl to 22/tcp anywhere",)
    assert desk.engine.silenced == []


def test_an_answer_that_cannot_be_kept_holds_until_the_end_and_says_so(desk: Desk) -> None:
    desk.path.with_name("answers.yaml.new").mkdir()
    first = desk.tries()

    reply = desk.answers(1)

    assert reply.problem == f"{desk.path}: Is a directory"
    assert desk.verdict(first) is desk.verdict(desk.tries()) is Verdict.ACCEPT
    assert "until the daemon ends" in refused(desk.desk.revoke(RevokeRequest(reply.rules[0])))
    assert desk.verdict(desk.tries()) is None


def test_a_broken_file_is_told_before_anything_is_done(desk: Desk) -> None:
    packet = desk.tries()
    written_by_hand(desk.path, BROKEN)

    with pytest.raises(Refused, match="action 'alow'"):
        desk.answers(1)
    assert desk.verdict(packet) is None

    assert desk.answers(1, duration="15m").problem is None
    assert desk.verdict(packet) is Verdict.ACCEPT
    assert desk.path.read_text() == BROKEN


def test_of_many_rules_none_is_made_where_not_all_of_them_have_room(desk: Desk) -> None:
    for number in range(MOST_TEMPORARY - 1):
        add(desk.book, f"{number}", "5m", more="dport: 1\n")
    packets = desk.tries("/bin/a"), desk.tries("/bin/b")

    with pytest.raises(Refused, match="revoke some"):
        desk.answers(1, 2, duration="5m")
    assert [desk.verdict(each) for each in packets] == [None, None]
    assert len(desk.book.rules()) == MOST_TEMPORARY - 1


def test_what_a_person_writes_is_in_force_even_if_a_refused_request_noticed_it(desk: Desk) -> None:
    written_by_hand(desk.path, BY_HAND.replace("80", "22"))

    assert "no answer has made" in refused(desk.desk.revoke(RevokeRequest("nothing")))

    assert desk.names == ["by hand"]
    assert desk.verdict(desk.tries()) is Verdict.ACCEPT


def test_an_answer_for_a_process_ends_with_it(desk: Desk) -> None:
    desk.tries()
    desk.answers(1, duration="process", where="anywhere")

    same, other = desk.tries(dport=25), desk.tries(dport=25, pid=9)

    assert (desk.verdict(same), desk.verdict(other)) == (Verdict.ACCEPT, None)


@pytest.mark.parametrize("duration", ["once", "process"])
def test_a_rule_that_answers_no_question_cannot_end_with_one(desk: Desk, duration: str) -> None:
    request = AddRuleRequest("name: a\naction: deny\n", duration)

    assert "answers no question" in refused(desk.desk.add(request))


def test_rules_are_changed_moved_and_revoked_in_force_and_in_the_file(desk: Desk) -> None:
    do, run = desk.desk, asyncio.run
    run(do.add(AddRuleRequest("name: a\naction: deny\ndport: 22\n", "forever")))
    run(do.add(AddRuleRequest("name: b\naction: allow\ndport: 22\n", "forever")))
    denied = desk.tries()

    moved = run(do.move(MoveRuleRequest("b", 0)))
    allowed = desk.tries()
    changed = run(do.change(ChangeRuleRequest("b", "name: c\naction: reject\ndport: 22\n")))
    rejected = desk.tries()
    run(do.revoke(RevokeRequest("c")))
    again = desk.tries()

    assert (moved.name, changed.name) == ("b", "c")
    seen = [desk.verdict(each) for each in (denied, allowed, rejected, again)]
    assert seen == [Verdict.DROP, Verdict.ACCEPT, Verdict.REJECT, Verdict.DROP]
    assert "name: a" in desk.path.read_text()
    assert "name: c" not in desk.path.read_text()


def test_answers_given_at_the_same_time_are_all_kept(desk: Desk) -> None:
    for number in range(20):
        desk.tries(dport=1_000 + number)

    async def all_at_once() -> list[Reply]:
        requests = [
            AnswerRequest((number,), "allow", "program", "port", "forever", None)
            for number in range(1, 21)
        ]
        return await asyncio.gather(*(desk.desk.answer(each, UID) for each in requests))

    replies = asyncio.run(all_at_once())

    assert {each.problem for each in replies} == {None}
    assert len(opened(desk.path).lasting.rules) == 20


def test_who_stops_waiting_for_the_disk_leaves_the_answer_to_be_written_at_the_end(
    desk: Desk,
) -> None:
    desk.tries()

    async def stopped_meanwhile() -> None:
        request = AnswerRequest((1,), "allow", "program", "port", "forever", None)
        answering = asyncio.create_task(desk.desk.answer(request, UID))
        await asyncio.sleep(0)
        answering.cancel()
        with pytest.raises(asyncio.CancelledError):
            await answering

    asyncio.run(stopped_meanwhile())

    assert not desk.book.is_saved
    desk.book.saved(desk.book.begin_to_save()())
    assert len(opened(desk.path).lasting.rules) == 1
