"""People are asked: real programs wait, somebody answers, and that very packet goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from answerer import Answerer
from builders import WriteRules
from daemon_asks import ask
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child
from nfsnitch.lab.programs import build_program
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT
from nfsnitch.lab.world import World
from nfsnitch.protocol import (
    ModeRequest,
    ModeSet,
    Preview,
    PreviewRequest,
    Revoked,
    RevokeRequest,
    Rules,
    RulesRequest,
    Silenced,
    SilencedRequest,
)

pytestmark = [
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("services"),
]

RULES = """
default: ask
unanswered: deny
timeouts: {ask: 10m}
rules:
  - {name: others, action: allow, dport: 2002}
""".replace("2002", str(SINK_PORT))


def connects(world: World, port: int = ECHO_PORT) -> Child:
    """Start a program that tries one connection."""
    return world.spawn([str(build_program("one_connect")), "192.0.2.1", str(port)])


@pytest.mark.vm_guest
def test_a_yes_lets_the_very_packet_go_that_waited(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        child = connects(world)
        question = somebody.question(dport=ECHO_PORT)
        answered = somebody.answer(question.number)
        ended = somebody.ended(question.number)
        done = child.finish(20)
        record = firewall.wait_for_record(having(pid=child.pid))
        counters = counted(firewall.stop())

    assert done.returncode == 0, done.stderr
    assert question.owner["pid"] == child.pid
    assert question.reason == "default"
    assert answered.taken == (question.number,)
    assert answered.rules == ()
    assert (ended.outcome, ended.action, ended.uid) == ("answered", "allow", 0)
    assert (record["verdict"], record["reason"], record["packets"]) == ("accept", "answered", 1)
    assert counters[Counter.HELD] == counters[Counter.ASKED] == counters[Counter.ANSWERED] == 1
    assert_one_verdict_each(counters)


def test_an_answer_for_ever_is_a_rule_in_a_file_and_holds_after_a_restart(
    world: World, rules: WriteRules
) -> None:
    path = rules(RULES)
    firewall = Firewall(world, [path])
    with firewall, Answerer(world) as somebody:
        first = connects(world)
        number = somebody.question().number
        request = PreviewRequest(number, "reject", "program", "port", "forever")
        preview = somebody.ask(request, Preview).rule
        answered = somebody.answer(number, action="reject", where="port", duration="forever")
        first.finish(20)
        second = connects(world).finish(20)
        listed = somebody.ask(RulesRequest("lasting", 0), Rules)
    written = (world.folder / "state/answers.yaml").read_text("utf-8")
    with firewall:
        third = connects(world)
        refused = third.finish(20)
        record = firewall.wait_for_record(having(pid=third.pid))

    assert path.read_text("utf-8") == RULES
    assert answered.problem is None
    assert [row["name"] for row in listed.rows] == list(answered.rules)
    assert listed.rows[0]["rule"] == preview
    assert all(line.strip() in written for line in preview.splitlines())
    assert second.returncode == refused.returncode != 0
    assert (record["verdict"], record["rule"]) == ("reject", answered.rules[0])


def test_an_answer_for_this_process_is_for_no_other_one(world: World, rules: WriteRules) -> None:
    twice = f"exec 3<>/dev/tcp/192.0.2.1/{ECHO_PORT}; exec 4<>/dev/tcp/192.0.2.1/{ECHO_PORT}"
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        first = world.spawn(["/bin/bash", "-c", twice])
        number = somebody.question().number
        answered = somebody.answer(number, duration="process")
        temporary = somebody.ask(RulesRequest("temporary", 0), Rules)
        two = firewall.wait_for_records(having(pid=first.pid), 2)
        world.spawn(["/bin/bash", "-c", twice])
        other = somebody.question()
        revoked = somebody.ask(RevokeRequest(answered.rules[0]), Revoked)

    assert [row["process"] for row in temporary.rows] == [first.pid]
    assert {record["rule"] for record in two} == {answered.rules[0]}
    assert other.number != number
    assert revoked.name == answered.rules[0]


def test_a_dismissed_question_is_not_asked_again_for_the_same_connection(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        child = connects(world)
        number = somebody.question().number
        somebody.answer(number, action="dismiss")
        ended = somebody.ended(number)
        again = firewall.wait_for_record(
            having(pid=child.pid, reason="dismissed", action="deny"), timeout_s=20
        )
        asked = ask(world).counters["asked"]
        child.stop(signal.SIGKILL, 5)

    assert ended.outcome == "dismissed"
    assert again["verdict"] == "drop"
    assert asked == 1


def test_a_program_that_gives_up_takes_its_question_along(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]), Answerer(world) as somebody:
        child = connects(world)
        number = somebody.question().number
        child.stop(signal.SIGKILL, 5)
        ended = somebody.ended(number)
        late = somebody.answer(number)

    assert ended.outcome == "gone"
    assert late.taken == ()


def test_rules_that_come_in_force_decide_what_was_asked(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        child = connects(world)
        number = somebody.question().number
        rules(RULES.replace("default: ask", "default: allow"))
        os.kill(firewall.child.pid, signal.SIGHUP)
        ended = somebody.ended(number)
        done = child.finish(20)

    assert ended.outcome == "rules"
    assert done.returncode == 0


def test_two_who_answer_at_once_the_first_one_counts(world: World, rules: WriteRules) -> None:
    with (
        Firewall(world, [rules(RULES)]),
        Answerer(world) as one,
        Answerer(world) as two,
    ):
        child = connects(world)
        number = one.question().number
        assert two.question().number == number
        first = one.answer(number)
        second = two.answer(number, action="reject")
        seen = two.ended(number)
        done = child.finish(20)

    assert (first.taken, second.taken) == ((number,), ())
    assert (seen.outcome, seen.action) == ("answered", "allow")
    assert done.returncode == 0


def test_nobody_is_asked_in_a_silent_mode_and_it_can_be_answered_later(
    world: World, rules: WriteRules
) -> None:
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        waiting = connects(world)
        number = somebody.question().number
        somebody.ask(ModeRequest("allow-silently", 600.0), ModeSet)
        ended = somebody.ended(number)
        passed = [waiting.finish(20), connects(world).finish(20)]
        record = firewall.wait_for_record(having(reason="silent"))
        silenced = somebody.ask(SilencedRequest(0), Silenced)
        row = silenced.rows[0]
        answered = somebody.answer(row["number"], action="reject", duration="restart")
        refused = connects(world).finish(20)
        left = somebody.ask(SilencedRequest(0), Silenced)
        back = somebody.ask(ModeRequest("ask", None), ModeSet)

    assert ended.outcome == "rules"
    assert [done.returncode for done in passed] == [0, 0]
    assert record["verdict"] == "accept"
    assert (silenced.total, row["times"], row["silently"]) == (1, 2, "allow")
    assert len(answered.rules) == 1
    assert refused.returncode != 0
    assert left.total == 0
    assert (back.mode, back.left_s) == ("ask", None)


def test_a_daemon_that_stops_tells_those_who_were_asked(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        child = connects(world)
        number = somebody.question().number
        stopped = firewall.stop()
        ended = somebody.ended(number)
        child.stop(signal.SIGKILL, 5)

    assert stopped.returncode == 0
    assert ended.outcome == "stopping"


def test_what_somebody_writes_into_the_file_of_answers_is_in_force_and_stays(
    world: World, rules: WriteRules
) -> None:
    answers = world.folder / "state/answers.yaml"
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        write_answers(
            answers, "# mine\nrules:\n# the echo service\n- name: by hand\n  action: allow\n"
        )
        child = connects(world)
        done = child.finish(20)
        record = firewall.wait_for_record(having(pid=child.pid))
        udp = world.spawn(["/bin/bash", "-c", "echo x >/dev/udp/192.0.2.1/9"])
        udp.finish(20)
        somebody.ask(RulesRequest("lasting", 0), Rules)

    assert done.returncode == 0
    assert record["rule"] == "by hand"
    assert answers.read_text("utf-8").startswith("# mine\n")


def write_answers(path: Path, text: str) -> None:
    """Write the file as an editor does."""
    new = path.with_suffix(".tmp")
    new.write_text(text, "utf-8")
    new.replace(path)


def test_records_say_what_was_answered(world: World, rules: WriteRules) -> None:
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        child = connects(world)
        somebody.answer(somebody.question().number, action="deny", duration="15m")
        record = firewall.wait_for_record(having(pid=child.pid))
        rows = somebody.ask(RulesRequest("temporary", 0), Rules).rows
        by_hand = somebody.ask(RulesRequest("file", 0), Rules)
        child.stop(signal.SIGKILL, 5)

    assert (record["verdict"], record["action"], record["reason"]) == ("drop", "ask", "answered")
    assert record["rule"] == rows[0]["name"]
    assert 0 < rows[0]["left_s"] <= 15 * 60
    assert "action: deny" in rows[0]["rule"]
    assert (by_hand.total, by_hand.rows[0]["kind"]) == (1, "file")
    assert by_hand.rows[0]["rule"] == f"{{name: others, action: allow, dport: {SINK_PORT}}}\n"
