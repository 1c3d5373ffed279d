"""One rule of a rule file: its head (`name`, `action`) and its fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nfsnitch.adapters.rulefile.contradictions import contradictions
from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar, Sequence, kind
from nfsnitch.adapters.rulefile.fields import RULE_FIELDS, RuleField
from nfsnitch.adapters.rulefile.head import HEAD, Heads, misplaced
from nfsnitch.adapters.rulefile.openings import OpeningsSoFar
from nfsnitch.adapters.rulefile.problems import (
    Absent,
    Position,
    Problems,
    Refused,
    absent_name,
    closest,
    quoted,
)
from nfsnitch.adapters.rulefile.values import Known, noting
from nfsnitch.core.decision import Action
from nfsnitch.core.rule import Condition, Rule

MAX_VALUES = 4_000_000
"""Of all fields of all rules, groups followed, equal fields counted once."""


class Rules:
    """Collects the rules of all files in order."""

    def __init__(
        self, known: Known, problems: Problems, on_unknown_name: Action | None = None
    ) -> None:
        """*on_unknown_name* is of the rules that ask for names and say nothing of it."""
        self._asked: list[str] = []
        """What has been asked of the machine, or of groups and lists, since the last condition."""
        self._dependent: set[int] = set()
        """By identity, the conditions that took such an answer."""
        self._known = noting(known, self._asked.append)
        self._problems = problems
        self._heads = Heads(problems, on_unknown_name)
        self._values = 0
        self.on_unknown_name = on_unknown_name
        self.openings = OpeningsSoFar()
        self._conditions: dict[tuple[str, bool, tuple[str, ...]], Condition] = {}
        """Equal fields share a condition: a group of many addresses is kept once."""
        self.rules: list[Rule] = []

    def read(self, node: Node) -> None:
        """Take the list ``rules`` of one file, and note what is wrong with it."""
        if not isinstance(node, Sequence):
            why = f"it takes a list, not {kind(node)}"
            instead = "write - before each rule, or [] for none"
            self._problems.add(node.position, "rules", why, instead)
            return
        for item in node.items:
            if isinstance(item, MappingNode):
                self.read_rule(item)
            else:
                why = f"it is a mapping of fields, not {kind(item)}"
                self._problems.add(item.position, "rule", why, "write - name: …, action: …")

    def taken(self) -> list[Rule]:
        """Return the rules read since this was last asked."""
        rules, self.rules = self.rules, []
        return rules

    def claims(self, name: str) -> bool:
        """Give a name to a rule that is not read by `read_rule`; whether no other has it."""
        return self._heads.claims(name)

    def condition_of(self, field: RuleField, texts: tuple[str, ...]) -> Condition:
        """Return the condition that a field of these values makes; none of them is empty.

        Raises:
            Refused: one of them cannot be taken.
            RuleFileError: there are too many values.

        """
        key = (field.name, False, texts)
        condition = self._conditions.get(key)
        if condition is None:
            parsed = [each for text in texts for each in field.parse(text, self._known)]
            self._count_values((), len(parsed))
            condition = self._kept(key, field.condition(parsed, False))  # noqa: FBT003
        return condition

    def is_dependent(self, condition: Condition) -> bool:
        """Whether groups, lists or this machine say what a condition is, beside its text."""
        return id(condition) in self._dependent

    def _kept(self, key: tuple[str, bool, tuple[str, ...]], condition: Condition) -> Condition:
        self._conditions[key] = condition
        if self._asked:
            self._dependent.add(id(condition))
            self._asked.clear()
        return condition

    def read_rule(self, node: MappingNode) -> None:
        """Take one rule, and note what is wrong with it."""
        nodes = {key.text: value for key, value in node.pairs}
        head = self._heads.read(node.position, nodes)
        conditions = self._read_fields(node)
        positions = {key.text: key.position for key, _ in node.pairs}
        refusals = [
            *contradictions(conditions, positions),
            *misplaced(head, positions),
            *self.openings.refusals(conditions, head.action),
        ]
        for field, refused in refusals:
            self._problems.refuse(positions[field], f"field {field}", refused)
        if head.name is not None and head.action is not None:
            origin = f"{node.position.file}:{node.position.line}"
            ordered = [conditions[field] for field in RULE_FIELDS if field in conditions]
            note = None if head.note is None else _apart(head.note)
            how = ((*head.limits, *ordered), origin, note, head.on_unknown_name, head.dns)
            self.rules.append(Rule(_apart(head.name), head.action, *how))

    def _read_fields(self, node: MappingNode) -> Mapping[str, Condition]:
        conditions: dict[str, Condition] = {}
        for key, value in node.pairs:
            field = RULE_FIELDS.get(key.text)
            if field is not None:
                condition = self._condition(field, value)
                if condition is not None:
                    conditions[field.name] = condition
            elif key.text not in HEAD:
                self._note_unknown_field(key)
        return conditions

    def _note_unknown_field(self, key: Scalar) -> None:
        names = (*HEAD, *RULE_FIELDS)
        instead = closest(key.text, names, "remove it")
        why = f"a rule has {', '.join(names)}"
        self._problems.add(key.position, f"unknown field {quoted(key.text)}", why, instead)

    def _condition(self, field: RuleField, node: Node) -> Condition | None:
        negated = isinstance(node, MappingNode)
        inner = self._negated(field, node) if isinstance(node, MappingNode) else node
        if inner is None:
            return None
        scalars = tuple(self._scalars(field, inner))
        texts = tuple(scalar.text for scalar in scalars)
        key = (field.name, negated, texts)
        condition = self._conditions.get(key)
        if condition is None:
            parsed = self._parsed(field, scalars, negated=negated)
            if parsed is None:
                return None
            condition = self._kept(key, field.condition(parsed, negated))
        return condition

    def _parsed(
        self, field: RuleField, scalars: tuple[Scalar, ...], *, negated: bool
    ) -> list[object] | None:
        """Return what the values stand for, all of them; None where one of them cannot be.

        A name that this machine does not have stands for nothing, so that a rule can be shared
        among machines. Not under ``not:``: there the rule would match more than it says.
        """
        parsed: list[object] = []
        whole = bool(scalars)
        absent = False
        for scalar in scalars:
            try:
                parsed += field.parse(_apart(scalar.text), self._known)
            except Refused as refused:
                what = f"{field.name} {quoted(scalar.text)}"
                if isinstance(refused, Absent) and not negated:
                    self._problems.warn(absent_name(scalar.position, what, refused))
                    absent = True
                    continue
                whole = False
                self._problems.refuse(scalar.position, what, refused)
        self._count_values(scalars, len(parsed))
        return parsed if whole and (parsed or absent) else None

    def _count_values(self, scalars: tuple[Scalar, ...], count: int) -> None:
        self._values += count
        if self._values > MAX_VALUES:
            why = f"with their groups the rules so far name more than {MAX_VALUES} values"
            where = scalars[0].position if scalars else Position(0, "", 1, 1)
            self._problems.add(where, "too large", why, "write smaller groups")
            self._problems.check()

    def _negated(self, field: RuleField, node: MappingNode) -> Node | None:
        """Return what stands under ``not``."""
        inner: Node | None = None
        for key, value in node.pairs:
            if key.text == "not":
                inner = value
            else:
                why = f"{field.name} takes {field.takes}, a list of them, or not: and these"
                instead = closest(key.text, ["not"], f"write {field.name}: {{not: …}}")
                self._problems.add(key.position, f"key {quoted(key.text)}", why, instead)
        if not node.pairs:
            why = "an empty mapping says nothing"
            self._problems.add(node.position, field.name, why, "write not: and a value")
        if isinstance(inner, MappingNode):
            why = "not: takes a value or a list, and is not nested"
            self._problems.add(inner.position, field.name, why, "write the values themselves")
            return None
        return inner

    def _scalars(self, field: RuleField, node: Node) -> Iterator[Scalar]:
        nodes = node.items if isinstance(node, Sequence) else (node,)
        if not nodes:
            why = "an empty list would match nothing (or everything, under not:)"
            self._problems.add(node.position, field.name, why, "write a value or remove the field")
        for each in nodes:
            if not isinstance(each, Scalar):
                why = f"it takes {field.takes}, not {kind(each)} inside a list"
                self._problems.add(each.position, field.name, why, "write a flat list of values")
            elif not each.text:
                why = f"it takes {field.takes}, and there is nothing"
                self._problems.add(each.position, field.name, why, "write one or remove the field")
            else:
                yield each


def _apart(text: str) -> str:
    """Return the same text in memory of its own.

    One text of a tree that is kept keeps the memory around it from being given back, and the tree
    of many rules takes several times what the rules do.
    """
    return text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
