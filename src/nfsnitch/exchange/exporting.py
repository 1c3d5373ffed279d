"""What exports to other firewalls have in common: nothing goes out there that is refused here."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.core.covering import never_both
from nfsnitch.core.decision import Action
from nfsnitch.core.rule import Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.exchange.ours import place
from nfsnitch.exchange.report import Report

T = TypeVar("T")

MAX_ALTERNATIVES = 64
"""Rules of theirs that one of ours may become."""


class UnsayableError(ValueError):
    """A rule that the other side has no words for; the message says why."""


@dataclass(slots=True)
class Exported(Generic[T]):
    """Rules with what they are on the other side."""

    rules: list[tuple[Rule, tuple[T, ...]]] = field(default_factory=list)
    missing: list[Rule] = field(default_factory=list)
    """Rules in force that refuse or ask, and are not there."""


def said_rules(
    rules: Iterable[Rule], said: Callable[[Rule], tuple[T, ...]], report: Report
) -> Exported[T]:
    """Return those of *rules* for which *said* has words; *report* is told of the others.

    A rule that allows is left out, too, if one before it is that might have refused the same.
    """
    exported: Exported[T] = Exported()
    for rule in rules:
        try:
            words = said(rule)
            _refuse_widening(rule, exported.missing)
        except UnsayableError as error:
            report.left_out(place(rule), rule.name, str(error))
            if rule.enabled and rule.action is not Action.ALLOW:
                exported.missing.append(rule)
            continue
        if rule.dns is not None:
            why = "the connection is refused, the question for the name is not (dns:)"
            report.changed(place(rule), rule.name, why)
        exported.rules.append((rule, words))
    return exported


def _refuse_widening(rule: Rule, missing: list[Rule]) -> None:
    if rule.action is not Action.ALLOW or not rule.enabled:
        return
    for each in missing:
        if not disjoint(rule, each):
            why = f"rule {quoted(each.name)} before it is left out, and this one might allow"
            raise UnsayableError(f"{why} what that is to {each.action}")


def disjoint(one: Rule, other: Rule) -> bool:
    """Whether no connection can surely match both."""
    return any(never_both(each, another) for each in one.conditions for another in other.conditions)


def default_action(ruleset: Ruleset, missing: list[Rule], report: Report) -> Action | None:
    """Return what is to happen where no rule matches; None: nothing need be written of it.

    There are no connections there whose owner is unknown: what is to happen to these has to be the
    same, or the stricter of both counts.
    """
    default, unattributed = ruleset.default, ruleset.unattributed
    if default is Action.ASK:
        return None
    if default is Action.ALLOW and (missing or unattributed is not Action.ALLOW):
        why = "default: allow is left out, for it would allow what is refused here"
        report.left_out("rules", None, why)
        return None
    if default is not unattributed:
        why = f"default: {default} also holds there for what nobody is known to own"
        report.changed("rules", None, why)
    return default
