"""Faults in what the rules say, and which are in force."""

from __future__ import annotations

from lab.mutants.mutant import Function, around, mutant
from nfsnitch.adapters.cutting import Cutting
from nfsnitch.core.case import Case
from nfsnitch.core.commands import Command, CutDone
from nfsnitch.core.conditions import ValueCondition
from nfsnitch.core.decision import Action, Reason
from nfsnitch.core.engine import Engine
from nfsnitch.core.judge import Judge
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset, Ruling


@mutant("reason-wrong", "what a rule decides is said to be the default's", "tcp/two-programs")
def _reason_wrong() -> None:
    def rule_on(real: Function, ruleset: Ruleset, case: Case) -> Ruling:
        ruling: Ruling = real(ruleset, case)
        is_rule = ruling.reason is Reason.RULE
        return ruling._replace(reason=Reason.DEFAULT) if is_rule else ruling

    around(Ruleset, "rule_on", rule_on)


@mutant("rule-unnamed", "a record does not name its rule", "tcp/two-programs")
def _rule_unnamed() -> None:
    def rule_on(real: Function, ruleset: Ruleset, case: Case) -> Ruling:
        ruling: Ruling = real(ruleset, case)
        return ruling._replace(rule=None)

    around(Ruleset, "rule_on", rule_on)


@mutant("last-match", "the last rule that matches decides, not the first", "rules/first-match")
def _last_match() -> None:
    def first(
        real: Function, ruleset: Ruleset, rules: tuple[Rule, ...], *args: object
    ) -> Ruling | None:
        ruling: Ruling | None = real(ruleset, rules[::-1], *args)
        return ruling

    around(Ruleset, "_first", first)


@mutant("first-rule-only", "only the first rule is looked at", "rules/first-match")
def _first_rule_only() -> None:
    def first(
        real: Function, ruleset: Ruleset, rules: tuple[Rule, ...], *args: object
    ) -> Ruling | None:
        ruling: Ruling | None = real(ruleset, rules[:1], *args)
        return ruling

    around(Ruleset, "_first", first)


@mutant(
    "unattributed-as-default",
    "a flow of nobody known meets the default",
    "rules/unattributed",
)
def _unattributed_as_default() -> None:
    def fallback(_real: Function, ruleset: Ruleset, _owner: object) -> Ruling:
        return Ruling(ruleset.default, Reason.DEFAULT, None)

    around(Ruleset, "fallback", fallback)


@mutant("uid-ignored", "a rule for a user is for every user", "asking/another-user")
def _uid_ignored() -> None:
    def matches(real: Function, condition: ValueCondition[int], case: Case) -> bool:
        return condition.field == "uid" or bool(real(condition, case))

    around(ValueCondition, "matches", matches)


@mutant(
    "rules-not-reloaded",
    "the engine goes on with the rules before",
    "asking/reload-to-allow",
    "asking/reload-to-reject",
)
def _rules_not_reloaded() -> None:
    def changed(_real: Function, _engine: Engine, _event: object) -> list[Command]:
        return []

    around(Engine, "_ruleset_changed", changed)


@mutant("nothing-cut", "what new rules refuse goes on", "asking/reload-cuts")
def _nothing_cut() -> None:
    around(Cutting, "cut", lambda _real, *_: CutDone(refused=True, spared=False))


@mutant("ask-means-allow", "what is to be asked about is let out", "asking/answer-deny")
def _ask_means_allow() -> None:
    def ruling(real: Function, *args: object) -> Ruling:
        said: Ruling = real(*args)
        return said._replace(action=Action.ALLOW) if said.action is Action.ASK else said

    around(Judge, "ruling", ruling)
