"""The rule that an answer makes."""

from __future__ import annotations

from collections.abc import Container
from typing import NamedTuple

from nfsnitch.adapters.rulefile.problems import Refused, listed, quoted
from nfsnitch.adapters.rulefile.writing import rule_text
from nfsnitch.asking.duration import Duration
from nfsnitch.core.choices import Choice, Value, wheres, whos
from nfsnitch.core.decision import Action
from nfsnitch.core.owner import Process
from nfsnitch.core.question import Question
from nfsnitch.protocol.words import PROCESS, Say, Where, Who

_MOST_NAMES = 1_000


class Scope(NamedTuple):
    """For whom, and for where."""

    who: Choice
    where: Choice


def scope_of(question: Question, who: str, where: str) -> Scope:
    """Return what an answer is for.

    Raises:
        Refused: it cannot be for that.

    """
    return Scope(
        _chosen("who", who, whos(question), Who), _chosen("where", where, wheres(question), Where)
    )


def _chosen(
    what: str, word: str, choices: dict[Who, Choice] | dict[Where, Choice], kind: type[Who | Where]
) -> Choice:
    for each, choice in choices.items():
        if each == word:
            return choice
    instead = f"write {listed(choices)}" if choices else "answer once"
    if word in list(kind):
        raise Refused(f"this question has no {what} {quoted(word)}", instead)
    raise Refused(f"there is no {what} {quoted(word)}", instead)


def action_of(word: str) -> Action | None:
    """Return the action that is answered; None for a dismissal.

    Raises:
        Refused: there is no such answer.

    """
    if word == Say.DISMISS:
        return None
    if word not in list(Say):
        raise Refused(f"there is no answer {quoted(word)}", f"write {listed(Say)}")
    return Action(word)


def composed(
    question: Question, scope: Scope, action: Action, duration: Duration, taken: Container[str]
) -> str:
    """Return the rule, in YAML, with a name that is not *taken*.

    Raises:
        Refused: it cannot be bound to a process that is not known.

    """
    fields: dict[str, Value] = {
        "name": _free_name(f"{scope.who.name} to {scope.where.name}", taken),
        "action": action.value,
    }
    if duration.until is not None:
        fields["expires"] = duration.until
    fields |= scope.who.fields
    if duration.word == PROCESS:
        fields["pid"] = process_of(question).pid
    return rule_text(fields | scope.where.fields)


def process_of(question: Question) -> Process:
    """Return the process that is asked about.

    Raises:
        Refused: there is none, or it may be one of several.

    """
    owner = question.found.owner
    if not isinstance(owner, Process) or question.found.rivals:
        why = "which process it is, is not known"
        raise Refused(why, "answer once, or for some minutes")
    return owner


def _free_name(name: str, taken: Container[str]) -> str:
    for number in range(1, _MOST_NAMES):
        candidate = name if number == 1 else f"{name} ({number})"
        if candidate not in taken:
            return candidate
    raise Refused(f"there are {_MOST_NAMES} rules {quoted(name)}", "revoke some of them")
