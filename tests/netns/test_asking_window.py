"""The whole way: curl starts, a window appears, somebody clicks, and that very packet goes out."""

from __future__ import annotations

import signal

import pytest

from builders import WriteRules
from nfsnitch.lab.answerer import Answerer
from nfsnitch.lab.desktop import Desktop
from nfsnitch.lab.firewall import Firewall, having
from nfsnitch.lab.services import AllServices
from nfsnitch.lab.world import World

pytestmark = [
    pytest.mark.undisturbed,
    pytest.mark.root,
    pytest.mark.netns,
    pytest.mark.bpf,
    pytest.mark.ui,
]

RULES = "default: ask\ntimeouts: {ask: 10m}\n"
URL = "http://192.0.2.1/"


def test_a_click_lets_the_very_packet_go_that_curl_waits_for(
    world: World, rules: WriteRules, all_services: AllServices
) -> None:
    del all_services
    with Firewall(world, [rules(RULES)]) as firewall, Answerer(world) as watching:
        desktop = Desktop(world)
        curl = world.spawn(["curl", "--silent", "--show-error", "--max-time", "60", URL])
        question = watching.question()
        painted = desktop.painted(question.number)
        ended = None
        for _ in range(60):  # a click in the first moments is not taken, by design
            desktop.click(painted.allow_x, painted.allow_y)
            ended = watching.heard_end(question.number, timeout_s=0.5)
            if ended is not None:
                break
        done = curl.finish(30)
        record = firewall.wait_for_record(having(pid=curl.pid))

    assert ended is not None
    assert (ended.outcome, ended.action) == ("answered", "allow")
    assert done.returncode == 0, done.stderr
    assert (record["verdict"], record["packets"], record["dport"]) == ("accept", 1, 80)


def test_a_window_that_is_killed_loses_no_question(
    world: World, rules: WriteRules, all_services: AllServices
) -> None:
    del all_services
    with Firewall(world, [rules(RULES)]), Answerer(world) as watching:
        desktop = Desktop(world)
        curl = world.spawn(["curl", "--silent", "--max-time", "60", URL])
        question = watching.question()
        desktop.painted(question.number)
        desktop.program.stop(signal.SIGKILL, 10)
        desktop.restart()
        again = desktop.painted(question.number)
        watching.answer(question.number)
        done = curl.finish(30)

    assert again.number == question.number
    assert done.returncode == 0
