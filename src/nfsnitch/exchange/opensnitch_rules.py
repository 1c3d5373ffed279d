"""OpenSnitch's rules as their files have them: one JSON object each.

Source of what is said here of OpenSnitch: its daemon/rule (operator.go, rule.go, loader.go) and
daemon/conman/connection.go, as of version 1.7.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.exchange.json_text import NotReadableError, parse

T = TypeVar("T")

MAX_OPERATORS = 64
"""Of one rule."""
ALWAYS = "always"

_RULE_KEYS = frozenset(
    {
        *("created", "updated", "name", "description", "action", "duration", "operator"),
        *("enabled", "precedence", "nolog"),
    }
)
_OPERATOR_KEYS = frozenset({"operand", "data", "type", "list", "sensitive"})
_ACTIONS = ("allow", "deny", "reject")
_LIST = "list"


class NotARuleError(ValueError):
    """What OpenSnitch would not take either, or what nobody knows the meaning of."""

    rule: str | None = None
    """Its name, if it has one."""


@dataclass(frozen=True, slots=True)
class Operator:
    """One comparison."""

    type: str
    operand: str
    data: str
    sensitive: bool


@dataclass(frozen=True, slots=True)
class OpenSnitchRule:
    """One rule."""

    file: str
    name: str
    action: str
    operators: tuple[Operator, ...]
    """All must match."""
    enabled: bool
    precedence: bool
    duration: str
    nolog: bool
    description: str
    legacy_list: bool = False
    """Its operators stood as JSON in a text, which OpenSnitch reads of disabled rules alone."""

    @property
    def ends(self) -> bool:
        """Whether no further rule is looked at where it matches."""
        return self.precedence or self.action != "allow"

    @property
    def is_temporary(self) -> bool:
        """Whether it is not for ever: OpenSnitch gives it its time anew whenever it starts."""
        return self.duration != ALWAYS


def read_rules(file: str, text: str) -> Iterator[OpenSnitchRule | NotARuleError]:
    """Yield the rule of a file, or the rules if it has a list of them; what is none, as its error.

    Raises:
        NotReadableError: the text is no JSON.

    """
    found = parse(text)
    for each in found if isinstance(found, list) else [found]:
        try:
            yield _rule(file, each)
        except NotARuleError as error:
            name = each.get("name") if isinstance(each, dict) else None
            error.rule = name if isinstance(name, str) and name else None
            yield error


def _rule(file: str, found: object) -> OpenSnitchRule:
    if not isinstance(found, dict):
        raise NotARuleError("a rule is a JSON object")
    _refuse_unknown(found, _RULE_KEYS, "rule")
    name = _get(found, "name", str, "")
    action = _get(found, "action", str, "").lower()
    if not name:
        raise NotARuleError("it has no name")
    if action not in _ACTIONS:
        raise NotARuleError(f"action {quoted(action)} is none of allow, deny, reject")
    operator = _get(found, "operator", dict, {})
    operators, legacy = _operators(operator)
    return OpenSnitchRule(
        file,
        name,
        action,
        operators,
        enabled=_get(found, "enabled", bool, default=False),
        precedence=_get(found, "precedence", bool, default=False),
        duration=_get(found, "duration", str, ""),
        nolog=_get(found, "nolog", bool, default=False),
        description=_get(found, "description", str, ""),
        legacy_list=legacy,
    )


def _operators(operator: Mapping[str, Any]) -> tuple[tuple[Operator, ...], bool]:
    """Return the operators that must all match, and whether they stood in a text."""
    _refuse_unknown(operator, _OPERATOR_KEYS, "operator")
    if _get(operator, "type", str, "") != _LIST:
        return (_operator(operator),), False
    inner = _get(operator, "list", list, [])
    legacy = not inner
    if legacy:
        data = _get(operator, "data", str, "")
        inner = _legacy(data) if data else []
    if not inner:
        raise NotARuleError(
            "its list of conditions is empty, and so OpenSnitch matches every connection by it; "
            "write a rule of your own if that is meant"
        )
    if len(inner) > MAX_OPERATORS:
        raise NotARuleError(f"it has more than {MAX_OPERATORS} conditions")
    return tuple(_operator(each) for each in inner), legacy


def _legacy(data: str) -> list[Any]:
    try:
        inner = parse(data)
    except NotReadableError as error:
        raise NotARuleError(f"of its list of conditions in data: {error}") from None
    if not isinstance(inner, list):
        raise NotARuleError("what stands in data is no list of conditions")
    return inner


def _operator(found: object) -> Operator:
    if not isinstance(found, dict):
        raise NotARuleError("a condition is a JSON object")
    _refuse_unknown(found, _OPERATOR_KEYS, "operator")
    kind = _get(found, "type", str, "")
    if kind == _LIST or found.get("list"):
        raise NotARuleError("it has a list within a list, which OpenSnitch does not read")
    return Operator(
        kind,
        _get(found, "operand", str, ""),
        _get(found, "data", str, ""),
        sensitive=_get(found, "sensitive", bool, default=False),
    )


def _get(found: Mapping[str, Any], key: str, kind: type[T], default: T) -> T:
    value = found.get(key)
    if value is None:  # as Go's encoding/json has it: null is as if it were not there
        return default
    if not isinstance(value, kind):
        raise NotARuleError(f"{key} has a value of another kind, and OpenSnitch refuses the file")
    return value


def _refuse_unknown(found: Mapping[str, Any], known: frozenset[str], what: str) -> None:
    for key in found:
        if key not in known:
            raise NotARuleError(f"nothing is known of {quoted(key)} in a {what}")
