"""Five hundred programs, each with a question of its own, answered in any order."""

from __future__ import annotations

import random

import pytest

from answerer import Answerer
from builders import WriteRules
from daemon_asks import ask
from daemon_counters import assert_one_verdict_each, counted
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.programs import build_program, swarm
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT
from nfsnitch.lab.world import World
from nfsnitch.protocol import Asked

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.usefixtures("services"),
]

PROGRAMS, OTHERS = 500, 200
ANSWERS = {"allow": "accept", "reject": "reject"}
RULES = f"""
default: deny
timeouts: {{ask: 10m}}
rules:
  - {{name: asked, action: ask, dport: {ECHO_PORT}}}
  - {{name: others, action: allow, dport: {SINK_PORT}}}
"""


def test_five_hundred_programs_wait_and_each_gets_its_own_answer(
    world: World, rules: WriteRules
) -> None:
    program = build_program("one_connect").read_bytes()
    order = random.Random(5)  # noqa: S311  the same one each time
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as somebody:
        children = {}
        for number in range(PROGRAMS):
            path = world.folder / f"program-{number}"
            path.write_bytes(program)
            path.chmod(0o755)
            child = world.spawn([str(path), "192.0.2.1", str(ECHO_PORT)])
            children[child.pid] = child
        questions: dict[int, Asked] = {}
        while len(questions) < PROGRAMS:
            question = somebody.question(dport=ECHO_PORT)
            questions[question.owner["pid"]] = question
        held = ask(world)
        gone = swarm(world, OTHERS, build_program("one_connect"), "192.0.2.1", str(SINK_PORT))
        others = firewall.wait_for_records(having(dport=SINK_PORT), OTHERS, timeout_s=60)
        decided_meanwhile = {record["pid"] for record in firewall.records}
        said = {pid: order.choice(list(ANSWERS)) for pid in questions}
        for pid in order.sample(sorted(questions), PROGRAMS):
            taken = somebody.answer(questions[pid].number, action=said[pid])
            assert taken.taken == (questions[pid].number,)
        records = firewall.wait_for_records(having(reason="answered"), PROGRAMS, timeout_s=60)
        statuses = {pid: child.finish(20).returncode for pid, child in children.items()}
        counters = counted(firewall.stop())

    assert set(questions) == set(children)
    assert (held.held_flows, held.questions) == (PROGRAMS, PROGRAMS)
    assert held.counters["unanswered"] == held.counters["held-limit"] == 0
    assert gone.done.returncode == 0, gone.done.stderr
    assert {record["rule"] for record in others} == {"others"}
    assert not decided_meanwhile & set(questions)
    assert {record["pid"]: record["verdict"] for record in records} == {
        pid: ANSWERS[action] for pid, action in said.items()
    }
    assert {pid for pid, status in statuses.items() if status == 0} == {
        pid for pid, action in said.items() if action == "allow"
    }
    assert counters[Counter.ANSWERED] == counters[Counter.ASKED] == PROGRAMS
    assert_one_verdict_each(counters)
