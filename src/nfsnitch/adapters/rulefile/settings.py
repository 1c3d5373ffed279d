"""The settings of a rule file that are no rules, and how those of several files come together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, NamedTuple

from nfsnitch.adapters.rulefile.document import Mapping as MappingNode
from nfsnitch.adapters.rulefile.document import Node, Scalar, kind
from nfsnitch.adapters.rulefile.name_values import (
    parse_keep_ns,
    parse_on_unknown_name,
    parse_switch,
)
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused, closest, listed, quoted
from nfsnitch.adapters.rulefile.setting_values import (
    number_between,
    parse_bit,
    parse_fail_mode,
    parse_hang_timeout_ns,
    parse_loopback,
    parse_mark,
)
from nfsnitch.adapters.rulefile.values import parse_action, parse_answer, parse_duration_ns
from nfsnitch.core import settings as core
from nfsnitch.core.decision import Action
from nfsnitch.core.settings import MAX_LABEL, MAX_QUEUE_LENGTH, marks_collide, most_held

_MAX_KEPT = 1_048_576


class Part(Enum):
    """Where a setting ends up."""

    RULESET = auto()
    SETTINGS = auto()
    LIMITS = auto()
    NAMES = auto()
    RULES = auto()
    """It stands for what a rule does not say itself."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name in the file, where it goes, and how its text is read."""

    name: str
    attribute: str
    parse: Callable[[str], Any]
    part: Part = Part.RULESET


def _by_name(*settings: Setting) -> dict[str, Setting]:
    return {setting.name: setting for setting in settings}


SETTINGS = _by_name(
    Setting("default", "default", parse_action),
    Setting("unattributed", "unattributed", parse_action),
    Setting("unanswered", "unanswered", parse_answer),
    Setting("fail", "fail", parse_fail_mode, Part.SETTINGS),
    Setting("loopback", "loopback", parse_loopback, Part.SETTINGS),
    Setting("queue_length", "queue_length", number_between(16, MAX_QUEUE_LENGTH), Part.SETTINGS),
    Setting("reject_mark", "reject_mark", parse_mark, Part.SETTINGS),
    Setting("queue_bit", "queue_bit", parse_bit, Part.SETTINGS),
    Setting("label", "label", number_between(0, MAX_LABEL), Part.SETTINGS),
    Setting("on_unknown_name", "on_unknown_name", parse_on_unknown_name, Part.RULES),
)
TIMEOUTS = _by_name(
    Setting("ask", "ask_timeout_ns", parse_duration_ns),
    Setting("hang", "hang_timeout_ns", parse_hang_timeout_ns, Part.SETTINGS),
)
LIMITS = _by_name(
    *(
        Setting(name, name, number_between(1, _MAX_KEPT), Part.LIMITS)
        for name in (
            "held_flows",
            "held_flows_of_program",
            "packets_of_held_flow",
            "decided_flows",
            "trusted_flows",
            "names",
            "names_of_process",
        )
    )
)


NAMES = _by_name(
    Setting("first_data", "first_data", parse_switch, Part.NAMES),
    Setting("libc", "libc", parse_switch, Part.NAMES),
    Setting("keep", "keep_ns", parse_keep_ns, Part.NAMES),
)


class Group(NamedTuple):
    """A mapping of settings."""

    settings: Mapping[str, Setting]
    singular: str
    example: str


GROUPS = {
    "timeouts": Group(TIMEOUTS, "timeout", "timeouts: {ask: 30s}"),
    "limits": Group(LIMITS, "limit", "limits: {held_flows: 16384}"),
    "names": Group(NAMES, "setting of names", "names: {first_data: false}"),
}


class Settings:
    """What the files have set so far."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._set: dict[Part, dict[str, tuple[Any, Position]]] = {part: {} for part in Part}

    def attributes(self) -> Mapping[str, Any]:
        """Return attributes of `Ruleset` → value, and note what does not fit together."""
        if not self._marks_fit():
            return {}
        limits = self._limits()
        values = {name: value for name, (value, _) in self._set[Part.SETTINGS].items()}
        own = {name: value for name, (value, _) in self._set[Part.RULESET].items()}
        names = {name: value for name, (value, _) in self._set[Part.NAMES].items()}
        made = core.Settings(**values, limits=limits, names=core.NameSettings(**names))
        return own | {"settings": made}

    @property
    def on_unknown_name(self) -> Action | None:
        """What becomes of a flow whose name cannot be told, by rules that say nothing of it."""
        value, _ = self._set[Part.RULES].get("on_unknown_name", (None, None))
        return value

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
        of_part = self._set[setting.part]
        earlier, position = of_part.setdefault(setting.attribute, (value, node.position))
        if earlier != value:
            why = f"{position} says otherwise"
            self._problems.add(node.position, what, why, "keep one of the two")

    def read_group(self, name: str, node: Node) -> None:
        """Take a mapping of settings, and note what is wrong with it."""
        group = GROUPS[name]
        if not isinstance(node, MappingNode):
            why = f"it takes a mapping, not {kind(node)}"
            self._problems.add(node.position, name, why, f"write {group.example}")
            return
        for key, value in node.pairs:
            setting = group.settings.get(key.text)
            if setting is None:
                hint = f"write {listed(group.settings)}"
                why = f"there is no such {group.singular}"
                instead = closest(key.text, group.settings, hint)
                what = f"{group.singular} {quoted(key.text)}"
                self._problems.add(key.position, what, why, instead)
            else:
                self.read(setting, value)

    def _marks_fit(self) -> bool:
        default = core.Settings()
        given = self._set[Part.SETTINGS]
        mark, _ = given.get("reject_mark", (default.reject_mark, None))
        bit, _ = given.get("queue_bit", (default.queue_bit, None))
        if not marks_collide(mark, bit):
            return True
        for name, value in (("reject_mark", mark), ("queue_bit", bit)):
            if name in given:
                why = f"reject_mark {mark:#x} has queue_bit {bit:#x} in it"
                instead = "choose a bit that is not set in reject_mark"
                self._problems.add(given[name][1], f"{name} {value:#x}", why, instead)
        return False

    def _limits(self) -> core.Limits:
        default = core.Settings()
        queue_length, _ = self._set[Part.SETTINGS].get("queue_length", (default.queue_length, None))
        most = most_held(queue_length)
        values = {name: value for name, (value, _) in self._set[Part.LIMITS].items()}
        held_flows = values.setdefault("held_flows", min(most, default.limits.held_flows))
        if held_flows > most:
            position = self._set[Part.LIMITS]["held_flows"][1]
            why = f"of a queue_length of {queue_length} packets, {most} may be held"
            instead = f"write {most} or a longer queue_length"
            self._problems.add(position, f"held_flows {held_flows}", why, instead)
        return core.Limits(**values)
