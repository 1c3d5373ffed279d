"""The settings of a rule file that are no rules, and how those of several files come together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar, kind
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused, closest, listed, quoted
from nfsnitch.adapters.rulefile.values import parse_action, parse_answer, parse_duration_ns


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name in the file, in `Ruleset`, and how its text is read."""

    name: str
    attribute: str
    parse: Callable[[str], Any]


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("default", "default", parse_action),
        Setting("unattributed", "unattributed", parse_action),
        Setting("unanswered", "unanswered", parse_answer),
    )
}
TIMEOUTS = {
    setting.name: setting for setting in (Setting("ask", "ask_timeout_ns", parse_duration_ns),)
}


class Settings:
    """What the files have set so far."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._set: dict[str, tuple[Any, Position]] = {}

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of `Ruleset` → value."""
        return {attribute: value for attribute, (value, _) in self._set.items()}

    def read(self, setting: Setting, node: Node) -> None:
        """Take one setting, and note what is wrong with it."""
        if not isinstance(node, Scalar):
            why = f"it takes a single value, not {kind(node)}"
            self._problems.add(node.position, setting.name, why, "write one value")
            return
        what = f"{setting.name} {quoted(node.text)}"
        try:
            value = setting.parse(node.text)
        except Refused as refused:
            self._problems.refuse(node.position, what, refused)
            return
        earlier, position = self._set.setdefault(setting.attribute, (value, node.position))
        if earlier != value:
            why = f"{position} says otherwise"
            self._problems.add(node.position, what, why, "keep one of the two")

    def read_timeouts(self, node: Node) -> None:
        """Take the mapping ``timeouts``, and note what is wrong with it."""
        if not isinstance(node, MappingNode):
            why = f"it takes a mapping, not {kind(node)}"
            self._problems.add(node.position, "timeouts", why, "write timeouts: {ask: 30s}")
            return
        for key, value in node.pairs:
            setting = TIMEOUTS.get(key.text)
            if setting is None:
                hint = f"write {listed(TIMEOUTS)}"
                why = "there is no such timeout"
                instead = closest(key.text, TIMEOUTS, hint)
                self._problems.add(key.position, f"timeout {quoted(key.text)}", why, instead)
            else:
                self.read(setting, value)
