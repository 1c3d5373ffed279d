"""The judge of mutants: two faults are found out, and what no scenario sees survives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.mutants.catalogue import MUTANTS
from lab.mutants.running import Judge
from nfsnitch.lab.scenario.playing import Manner, Player

pytestmark = [pytest.mark.root, pytest.mark.netns, pytest.mark.bpf]


@pytest.fixture(name="judge", scope="module")
def fixture_judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    keep: Path = tmp_path_factory.mktemp("captures")
    with Player(Manner(keep=keep)) as player:
        yield Judge(player)


def test_a_wrong_verdict_is_found_out(judge: Judge) -> None:
    judgement = judge.judged(MUTANTS["drop-becomes-accept"])
    assert judgement.caught_by == "tcp/denied-in-silence"
    assert judgement.how.startswith("failed: expected bad to end with 'no answer' on stdout")


def test_a_record_without_a_user_is_found_out(judge: Judge) -> None:
    judgement = judge.judged(MUTANTS["record-without-uid"])
    assert judgement.caught_by == "asking/another-user"
    assert "uid 4242" in judgement.how


def test_a_fault_that_no_scenario_sees_survives(judge: Judge) -> None:
    blind = replace(MUTANTS["record-without-uid"], scenarios=("udp/request-without-reply",))
    judgement = judge.judged(blind)
    assert (judgement.caught_by, judgement.how) == ("", "passed")
