"""Hostile clients at the real daemon, while programs wait for answers and others are decided.

Tens of thousands of messages: more would take hours, by the rates that each user is held to. So
each connection here is another user's. A million, without the rates: tests/unit/test_control_fuzz.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from answerer import Answerer
from builders import WriteRules
from daemon_asks import ask
from daemon_counters import assert_one_verdict_each, counted
from fuzz_messages import HELD, KEPT_RULE
from nfsnitch.core.counters import Counter
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.process import Child, same_modules
from nfsnitch.lab.programs import build_program, swarm
from nfsnitch.lab.services import ECHO_PORT, SINK_PORT
from nfsnitch.lab.world import World
from nfsnitch.protocol import (
    AddRuleRequest,
    Asked,
    Rules,
    RuleSet,
    RulesRequest,
    Status,
    socket_path,
)
from other_user import ANSWERERS, ANSWERERS_GID, WATCHERS, WATCHERS_GID

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.usefixtures("services"),
]

MESSAGES = {"watch": 20_000, "answer": 10_000}
SEEDS = {"watch": 51, "answer": 52}
GIDS = {"watch": WATCHERS_GID, "answer": ANSWERERS_GID}
RULES = f"""
default: deny
timeouts: {{ask: 10m}}
rules:
  - {{name: asked, action: ask, dport: {ECHO_PORT}}}
  - {{name: others, action: allow, dport: {SINK_PORT}}}
"""
KEPT = f"name: {KEPT_RULE}\naction: deny\ndport: 9\n"
FUZZ_CLIENT, BAD_COMPANY = (
    Path(__file__).parents[1] / name for name in ("fuzz_client.py", "bad_company.py")
)


def waiting_programs(world: World, somebody: Answerer) -> tuple[list[Child], dict[int, Asked]]:
    """Start programs that wait for an answer each; return their questions, too."""
    program = build_program("one_connect").read_bytes()
    children, questions = list[Child](), dict[int, Asked]()
    for number in range(HELD):
        path = world.folder / f"program-{number}"
        path.write_bytes(program)
        path.chmod(0o755)
        children.append(world.spawn([str(path), "192.0.2.1", str(ECHO_PORT)]))
    while len(questions) < HELD:
        question = somebody.question(dport=ECHO_PORT)
        questions[question.number] = question
    return children, questions


def hostile(path: str, role: str) -> subprocess.Popen[str]:
    """Start a client that says so much, as one user after the other."""
    what = (path, str(SEEDS[role]), str(MESSAGES[role]), role, str(GIDS[role]))
    return subprocess.Popen(
        [sys.executable, str(FUZZ_CLIENT), *what],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env=same_modules(),
    )


@contextmanager
def bad_company(path: str) -> Iterator[None]:
    """Have others there that never read, never end a line, say half of it, or flood."""
    with subprocess.Popen(
        [sys.executable, "-I", "-S", str(BAD_COMPANY), path, str(WATCHERS_GID)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "ready\n"
        yield
        clients.kill()


def test_hostile_clients_change_no_verdict_and_cost_nothing_that_lasts(
    world: World, rules: WriteRules
) -> None:
    path = socket_path(world.netns_inode("client"))
    groups = ("--group", WATCHERS, "--answer-group", ANSWERERS)
    with Firewall(world, [rules(RULES)], extra=groups) as firewall:
        with Answerer(world) as somebody:
            somebody.ask(AddRuleRequest(KEPT, "forever"), RuleSet)
            children, questions = waiting_programs(world, somebody)
            descriptors = descriptors_of(firewall.child.pid)
            before = ask(world)
            answers, decided = fuzzed(world, path)
            after = ask(world)
            left_over = descriptors_left(world, firewall.child.pid, descriptors)
        with Answerer(world) as anew:
            listed = anew.ask(RulesRequest("lasting", 0), Rules)
            still = {anew.question(dport=ECHO_PORT).number for _ in questions}
            firewall.wait_for_records(having(reason="rule"), decided)  # the kernel tells later
            meanwhile = [record["reason"] for record in firewall.records]
            for number in questions:
                assert anew.answer(number).taken == (number,)
            statuses = [child.finish(20).returncode for child in children]
            firewall.wait_for_records(having(reason="answered"), HELD)
        counters = counted(firewall.stop())

    sys.stdout.write(f"seeds {SEEDS}; {answers}\n")
    assert sum(sum(each.values()) for each in answers.values()) >= sum(MESSAGES.values())
    assert {"answered", "mode-set", "rule-set", "revoked"}.isdisjoint(answers["watch"])
    assert {"mode-set", "rule-set", "revoked"}.isdisjoint(answers["answer"])
    assert still == questions.keys()
    assert (after.held_flows, after.questions, after.mode) == (HELD, HELD, "ask")
    assert after.counters["answered"] == after.counters["dismissed"] == 0
    assert [row["name"] for row in listed.rows] == [KEPT_RULE]
    assert after.temporary_answers == 0
    assert meanwhile == ["rule"] * decided
    assert statuses == [0] * HELD
    assert left_over <= 0
    assert after.memory_bytes - before.memory_bytes < 20_000_000
    assert counters[Counter.CONTROL_ERRORS] == counters[Counter.ERRORS] == 0
    assert counters[Counter.CONTROL_REFUSED] > 10_000
    assert_one_verdict_each(counters)


def fuzzed(world: World, path: str) -> tuple[dict[str, dict[str, int]], int]:
    """Let them all loose; return what was answered, and how many packets of others were sent."""
    decided = 0
    answers: dict[str, dict[str, int]] = {}
    with bad_company(path), ExitStack() as stack:
        clients = {role: stack.enter_context(hostile(path, role)) for role in SEEDS}
        while any(client.poll() is None for client in clients.values()):
            gone = swarm(world, 20, build_program("one_connect"), "192.0.2.1", str(SINK_PORT))
            assert gone.done.returncode == 0, gone.done.stderr
            decided += 20
            assert isinstance(ask(world), Status)
        for role, client in clients.items():
            out, _ = client.communicate()
            assert client.returncode == 0
            answers[role] = json.loads(out)
    return answers, decided


def descriptors_left(world: World, pid: int, before: int) -> int:
    """Return how many more a process has, once it has had time to hear of those who have left."""
    left_over = descriptors_of(pid) - before
    for _ in range(100):
        if left_over <= 0:
            break
        ask(world)
        left_over = descriptors_of(pid) - before
    return left_over


def descriptors_of(pid: int) -> int:
    """Return how many descriptors a process has."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))
