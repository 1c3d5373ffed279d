"""Invented examples become scenarios, and these become files."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings

from lab.inventing.composing import scenario_of
from lab.inventing.inventions import Invention, RuleFile, Sent, inventions
from nfsnitch.adapters.rulefile.files import Source
from nfsnitch.lab.scenario.model import Answer, ExpectRecord, NewRules, Run
from nfsnitch.lab.scenario.reading import load_text
from nfsnitch.lab.scenario.writing import as_yaml, without_positions

RULES = RuleFile("deny", "deny", "deny", (("ask", (("dport", "7"),)),))
ASKED = Sent("alpha", "udp", "198.51.100.2", 7)
DENIED = Sent("alpha", "udp", "198.51.100.2", 9)


@settings(max_examples=50, suppress_health_check=list(HealthCheck))
@given(inventions())
def test_what_is_invented_is_read_from_a_file_as_it_was(invention: Invention) -> None:
    scenario = scenario_of(invention, "Invented.")
    again = load_text(Source(0, "invented.yaml", as_yaml(scenario)))
    assert without_positions(again) == without_positions(scenario)


def test_what_is_held_is_sent_first_and_answered_last() -> None:
    steps = scenario_of(Invention(RULES, (DENIED, ASKED), ("allow",)), "Invented.").steps
    runs = [each for each in steps if isinstance(each, Run)]
    assert [each.background for each in runs] == [True, False]
    [denied, nothing_yet, answered] = [each for each in steps if isinstance(each, ExpectRecord)]
    assert (denied.fields["verdict"], denied.fields["sport"]) == ("drop", "20000")
    assert (nothing_yet.fields["sport"], nothing_yet.count.most) == ("20001", 0)
    assert (answered.fields["verdict"], answered.fields["reason"]) == ("accept", "answered")
    [answer] = [each for each in steps if isinstance(each, Answer)]
    assert steps.index(denied) < steps.index(answer) < steps.index(answered)


def test_what_is_held_is_decided_by_the_rules_that_come_meanwhile() -> None:
    more = RuleFile("allow", "deny", "deny", ())
    invention = Invention(RULES, (ASKED,), ("deny",), more, (DENIED,))
    steps = scenario_of(invention, "Invented.").steps
    assert not any(isinstance(each, Answer) for each in steps)
    changed = next(at for at, each in enumerate(steps) if isinstance(each, NewRules))
    decided = [each for each in steps[changed:] if isinstance(each, ExpectRecord)]
    assert [each.fields["verdict"] for each in decided] == ["accept", "accept"]
    assert [each.fields["sport"] for each in decided] == ["20000", "20001"]
