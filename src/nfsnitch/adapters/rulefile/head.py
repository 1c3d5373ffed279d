"""The head of a rule: what it is called, what it does, and when it is in force at all."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple, TypeVar

from nfsnitch.adapters.rulefile.document import Node, Scalar, kind
from nfsnitch.adapters.rulefile.name_values import parse_at_question, parse_on_unknown_name
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused, quoted
from nfsnitch.adapters.rulefile.time_values import parse_expires
from nfsnitch.adapters.rulefile.values import parse_action
from nfsnitch.core.conditions import DisabledCondition
from nfsnitch.core.decision import Action
from nfsnitch.core.rule import NAME_FIELDS, AtQuestion, Condition
from nfsnitch.core.ruleset import FLOW_FIELDS
from nfsnitch.core.timed import ExpiryCondition

T = TypeVar("T")

MAX_NAME_CHARACTERS = 200
MAX_NOTE_CHARACTERS = 1_000

HEAD = ("name", "action", "enabled", "note", "expires", "on_unknown_name", "dns")
_ENABLED = {"true": True, "false": False}
_REFUSING = {Action.DENY, Action.REJECT}
_ELSEWHERE = Position(-1, "", 0, 0)


class Head(NamedTuple):
    """What could be read of a rule's head; what could not is noted."""

    name: str | None
    action: Action | None
    note: str | None
    limits: tuple[Condition, ...]
    """Conditions that say when the rule is in force."""
    on_unknown_name: Action | None
    dns: AtQuestion | None


class Heads:
    """Reads the heads of all rules of all files."""

    def __init__(self, problems: Problems, on_unknown_name: Action | None) -> None:
        """*on_unknown_name* is of the rules that say nothing of it."""
        self._problems = problems
        self._on_unknown_name = on_unknown_name
        self._named: dict[str, Position] = {}

    def claims(self, name: str) -> bool:
        """Take a name for a rule that is not read here; whether no other has it."""
        if name in self._named:
            return False
        self._named[name] = _ELSEWHERE
        return True

    def read(self, rule: Position, nodes: Mapping[str, Node]) -> Head:
        """Return the head of the rule at a position, whose keys are those of *nodes*."""
        limits = (self._enabled(nodes.get("enabled")), self._expiry(nodes.get("expires")))
        return Head(
            self._name(rule, nodes.get("name")),
            self._action(rule, nodes.get("action")),
            self._note(nodes.get("note")),
            tuple(each for each in limits if each is not None),
            self._on_unknown(nodes),
            self._value("dns", nodes.get("dns"), parse_at_question),
        )

    def _name(self, rule: Position, node: Node | None) -> str | None:
        if (text := self._head("name", "write name: and a text", rule, node)) is None:
            return None
        if not text.text.strip() or len(text.text) > MAX_NAME_CHARACTERS:
            why = f"a name has from 1 to {MAX_NAME_CHARACTERS} characters"
            instead = "write a few words that tell this rule from others"
            self._problems.add(text.position, f"name {quoted(text.text)}", why, instead)
            return None
        earlier = self._named.setdefault(text.text, text.position)
        if earlier != text.position:
            why = f"{earlier} has it already, and records name the rule that decided"
            instead = "give each rule a name of its own"
            self._problems.add(text.position, f"name {quoted(text.text)}", why, instead)
        return text.text

    def _action(self, rule: Position, node: Node | None) -> Action | None:
        text = self._head("action", "write action: allow, deny, reject or ask", rule, node)
        return None if text is None else self._value("action", text, parse_action)

    def _note(self, node: Node | None) -> str | None:
        text = None if node is None else self._single("note", node)
        if text is None:
            return None
        if not text.text.strip() or len(text.text) > MAX_NOTE_CHARACTERS:
            why = f"a note has from 1 to {MAX_NOTE_CHARACTERS} characters"
            self._problems.add(text.position, "note", why, "write why there is this rule")
        return text.text

    def _enabled(self, node: Node | None) -> Condition | None:
        text = None if node is None else self._single("enabled", node)
        if text is None:
            return None
        if text.text not in _ENABLED:
            why = "it is one of true, false"
            what = f"enabled {quoted(text.text)}"
            self._problems.add(text.position, what, why, "write false to put a rule out of force")
            return None
        return None if _ENABLED[text.text] else DisabledCondition("enabled")

    def _expiry(self, node: Node | None) -> Condition | None:
        ends_ns = self._value("expires", node, parse_expires)
        return None if ends_ns is None else ExpiryCondition("expires", ends_ns)

    def _on_unknown(self, nodes: Mapping[str, Node]) -> Action | None:
        if "on_unknown_name" in nodes:
            return self._value("on_unknown_name", nodes["on_unknown_name"], parse_on_unknown_name)
        return self._on_unknown_name if nodes.keys() & NAME_FIELDS else None

    def _value(self, field: str, node: Node | None, parse: Callable[[str], T]) -> T | None:
        text = None if node is None else self._single(field, node)
        if text is None:
            return None
        try:
            return parse(text.text)
        except Refused as refused:
            self._problems.refuse(text.position, f"{field} {quoted(text.text)}", refused)
            return None

    def _head(self, field: str, instead: str, rule: Position, node: Node | None) -> Scalar | None:
        if node is None:
            self._problems.add(rule, f"rule without {field}", "every rule has one", instead)
            return None
        return self._single(field, node, instead)

    def _single(self, field: str, node: Node, instead: str = "write one value") -> Scalar | None:
        if isinstance(node, Scalar):
            return node
        why = f"it takes a single value, not {kind(node)}"
        self._problems.add(node.position, field, why, instead)
        return None


def misplaced(head: Head, fields: Collection[str]) -> list[tuple[str, Refused]]:
    """Return each key of the head that makes no sense beside the rule's other *fields*."""
    found: list[tuple[str, Refused]] = []
    if not NAME_FIELDS & set(fields):
        found += [
            (key, Refused("the rule asks for no name", f"remove {key}, or add host: or list:"))
            for key in ("on_unknown_name", "dns")
            if key in fields
        ]
    elif "dns" in fields and head.action is not None:
        if head.action not in _REFUSING:
            why = f"only what is refused is refused at the question, and this is to {head.action}"
            found.append(("dns", Refused(why, "write action: deny or reject")))
        of_flow = [each for each in fields if each in FLOW_FIELDS]
        if of_flow:
            why = f"when a name is asked for, no {of_flow[0]} is known yet"
            found.append(("dns", Refused(why, f"remove {of_flow[0]} or dns")))
    return found
