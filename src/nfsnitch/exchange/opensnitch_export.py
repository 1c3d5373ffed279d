"""Our rules as OpenSnitch's.

There the first rule in the order of names decides that denies, rejects or has precedence. So each
rule has precedence, and its place in its name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from nfsnitch.core.conditions import DisabledCondition, ParentCondition, ValueCondition
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import Family, Protocol
from nfsnitch.core.name_conditions import HostCondition
from nfsnitch.core.pattern import Paths, Regexes, glob_regex
from nfsnitch.core.ranges import Addresses, Ports
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.text import shown
from nfsnitch.exchange.exporting import (
    MAX_ALTERNATIVES,
    UnsayableError,
    default_action,
    said_rules,
)
from nfsnitch.exchange.plain import networks
from nfsnitch.exchange.report import Report

Operator = dict[str, Any]
Words = tuple[Operator, ...]
"""Operators that must all match."""

_NEVER = "1970-01-01T00:00:00Z"
"""No file says when a rule was made."""
_MAX_NAME_BYTES = 180
_MAX_DATA = 65_536
_MAX_PORT = 65_535
_NOT_IN_NAMES = re.compile(r"[^\w .,()+=@-]")
_META = re.compile(r"([\\.+*?()|\[\]{}^$])")
_WORDS = {
    **{
        (number, family): f"{number.name.lower()}{suffix}"
        for number in (Protocol.TCP, Protocol.UDP, Protocol.UDPLITE, Protocol.SCTP)
        for family, suffix in ((Family.IPV4, ""), (Family.IPV6, "6"))
    },
    (Protocol.ICMP, Family.IPV4): "icmp",
    (Protocol.ICMPV6, Family.IPV6): "icmp6",
}
"""All that OpenSnitch sees, by protocol and family."""
_TOGETHER = ("proto", "family")


def export_opensnitch(ruleset: Ruleset, report: Report) -> list[Operator]:
    """Return *ruleset* as the JSON objects of OpenSnitch's rules, in the order of their names."""
    exported = said_rules(ruleset.rules, _words, report)
    found: list[Operator] = []
    for rule, alternatives in exported.rules:
        for words in alternatives:
            name = _name(len(found), rule.name)
            action = rule.action.value
            note = rule.name if rule.note is None else f"{rule.name}: {rule.note}"
            found.append(_document(name, action, note, words, enabled=rule.enabled))
    default = default_action(ruleset, exported.missing, report)
    if default is not None:
        name = _name(len(found), "default")
        note = "where no rule before it matches"
        found.append(_document(name, default.value, note, (), enabled=True))
    return found


def _document(name: str, action: str, note: str, words: Words, *, enabled: bool) -> Operator:
    return {
        "created": _NEVER,
        "updated": _NEVER,
        "name": name,
        "description": shown(note),
        "enabled": enabled,
        "precedence": True,
        "nolog": False,
        "action": action,
        "duration": "always",
        "operator": _all_of(words),
    }


def _all_of(words: Words) -> Operator:
    if not words:
        return _operator("simple", "true", "")
    if len(words) == 1:
        return words[0]
    return {**_operator("list", "list", ""), "list": list(words)}


def _operator(kind: str, operand: str, data: str) -> Operator:
    return {"type": kind, "operand": operand, "data": data, "sensitive": True, "list": None}


def _name(at: int, name: str) -> str:
    """Return a name that is a file's name, too, and sorts by its place."""
    plain = _NOT_IN_NAMES.sub("_", name, re.ASCII)[:_MAX_NAME_BYTES]
    return f"{at:05}-{plain}"


def _words(rule: Rule) -> tuple[Words, ...]:
    """Return the alternatives of *rule*, each as operators that must all match."""
    if rule.action is Action.ASK:
        raise UnsayableError("OpenSnitch has no rules that ask; it asks where no rule matches")
    if rule.on_unknown_name is not None:
        raise UnsayableError("OpenSnitch passes by rules whose name it does not know")
    conditions = [each for each in rule.conditions if not isinstance(each, DisabledCondition)]
    any_of: list[Sequence[Operator]] = []
    protocols = [each for each in conditions if each.field in _TOGETHER]
    if protocols:
        any_of.append([_protocol(protocols)])
    any_of += [_said(each) for each in conditions if each.field not in _TOGETHER]
    ways: list[Words] = [()]
    for operators in any_of:
        ways = [(*way, operator) for way in ways for operator in operators]
        if len(ways) > MAX_ALTERNATIVES:
            raise UnsayableError(f"it would become more than {MAX_ALTERNATIVES} rules")
    for operator in (each for way in ways for each in way):
        _check_data(operator["data"])
    return tuple(ways)


def _check_data(data: str) -> None:
    if len(data) > _MAX_DATA:
        raise UnsayableError("it has a condition of more than 64 KiB")
    if not data.isprintable():
        raise UnsayableError("it has characters in it that cannot be seen")


def _said(condition: Condition) -> list[Operator]:
    """Return the operators any of which has to match."""
    if isinstance(condition, HostCondition):
        return [_host(condition)]
    if isinstance(condition, ParentCondition):
        _refuse_negated(condition.field, negated=condition.negated)
        return [_paths("process.parent.path", condition.wanted)]
    translate = _FIELDS.get(condition.field)
    if translate is None or not isinstance(condition, ValueCondition):
        raise UnsayableError(f"OpenSnitch has nothing like {condition.field}:")
    return translate(condition)


def _refuse_negated(field: str, *, negated: bool) -> None:
    if negated:
        raise UnsayableError(f"OpenSnitch has nothing like {field}: not:")


def _protocol(conditions: Iterable[Condition]) -> Operator:
    words = dict(_WORDS)
    for condition in conditions:
        wanted = condition.wanted if isinstance(condition, ValueCondition) else None
        if not isinstance(condition, ValueCondition) or not isinstance(wanted, frozenset):
            raise UnsayableError(f"OpenSnitch has nothing like {condition.field}:")
        at = _TOGETHER.index(condition.field)
        known = {key[at] for key in _WORDS}
        if not condition.negated and wanted - known:
            raise UnsayableError("OpenSnitch sees TCP, UDP, UDP-Lite, SCTP and ICMP alone")
        words = {
            key: word for key, word in words.items() if (key[at] in wanted) is not condition.negated
        }
    if not words:
        raise UnsayableError("it is about protocols that OpenSnitch does not see")
    return _one_of("protocol", words.values())


def _one_of(operand: str, texts: Iterable[str]) -> Operator:
    """Return the operator for any of *texts*, as they are."""
    each = list(texts)
    if len(each) == 1:
        return _operator("simple", operand, each[0])
    return _operator("regexp", operand, f"^({'|'.join(map(_literal, each))})$")


def _literal(text: str) -> str:
    return _META.sub(r"\\\1", text)


def _exe(condition: ValueCondition[Any]) -> list[Operator]:
    _refuse_negated(condition.field, negated=condition.negated)
    return [_paths("process.path", condition.wanted)]


def _iface(condition: ValueCondition[Any]) -> list[Operator]:
    _refuse_negated(condition.field, negated=condition.negated)
    return [_paths("iface.out", condition.wanted)]


def _paths(operand: str, wanted: object) -> Operator:
    if not isinstance(wanted, Paths):
        raise UnsayableError(f"nobody knows how to write it as {operand}")
    if not wanted.globs:
        return _one_of(operand, _some(sorted(wanted.exact)))
    texts = [*map(_literal, sorted(wanted.exact)), *map(glob_regex, wanted.globs)]
    return _operator("regexp", operand, f"(?s)^({'|'.join(texts)})$")


def _args(condition: ValueCondition[Any]) -> list[Operator]:
    _refuse_negated(condition.field, negated=condition.negated)
    if not isinstance(condition.wanted, Regexes):
        raise UnsayableError("nobody knows how to write it as process.command")
    sources = [f"(?:{source})" for source in condition.wanted.sources]
    return [_operator("regexp", "process.command", f"(?s){'|'.join(sources)}")]


def _number(operand: str) -> Callable[[ValueCondition[Any]], list[Operator]]:
    def translate(condition: ValueCondition[Any]) -> list[Operator]:
        _refuse_negated(condition.field, negated=condition.negated)
        if not isinstance(condition.wanted, frozenset):
            raise UnsayableError(f"nobody knows how to write it as {operand}")
        return [_one_of(operand, _some(map(str, sorted(condition.wanted))))]

    return translate


def _port(operand: str) -> Callable[[ValueCondition[Any]], list[Operator]]:
    def translate(condition: ValueCondition[Any]) -> list[Operator]:
        if not isinstance(condition.wanted, Ports):
            raise UnsayableError(f"nobody knows how to write it as {operand}")
        pairs = list(zip(condition.wanted.firsts, condition.wanted.lasts, strict=True))
        if condition.negated:
            pairs = list(_gaps(pairs, _MAX_PORT))
        # OpenSnitch says that what has no ports, like ping, has port 0.
        ranges = [(max(first, 1), last) for first, last in pairs if last]
        single = [str(first) for first, last in ranges if first == last]
        wide = [f"{first}-{last}" for first, last in ranges if first < last]
        operators = [_operator("range", operand, each) for each in wide]
        return _some([*([_one_of(operand, single)] if single else []), *operators])

    return translate


def _address(where: str) -> Callable[[ValueCondition[Any]], list[Operator]]:
    def translate(condition: ValueCondition[Any]) -> list[Operator]:
        wanted = condition.wanted
        if not isinstance(wanted, Addresses):
            raise UnsayableError(f"nobody knows how to write it as {where}.ip")
        found: list[Operator] = []
        for bits, firsts, lasts in (
            (32, wanted.firsts4, wanted.lasts4),
            (128, wanted.firsts6, wanted.lasts6),
        ):
            numbers = [
                (int.from_bytes(first, "big"), int.from_bytes(last, "big"))
                for first, last in zip(firsts, lasts, strict=True)
            ]
            if condition.negated:
                numbers = list(_gaps(numbers, (1 << bits) - 1))
            found += (_network(where, block) for block in _blocks(numbers, bits))
        return _some(found)

    return translate


def _network(where: str, block: str) -> Operator:
    address, _, length = block.partition("/")
    if length == ("128" if ":" in address else "32"):
        return _operator("simple", f"{where}.ip", address)
    return _operator("network", f"{where}.network", block)


def _blocks(numbers: Iterable[tuple[int, int]], bits: int) -> Iterator[str]:
    for first, last in numbers:
        yield from networks(first.to_bytes(bits // 8, "big"), last.to_bytes(bits // 8, "big"))


def _gaps(pairs: Iterable[tuple[int, int]], most: int) -> Iterator[tuple[int, int]]:
    """Yield the ranges up to *most* that are in none of *pairs*, which ascend."""
    start = 0
    for first, last in pairs:
        if first > start:
            yield start, first - 1
        start = last + 1
    if start <= most:
        yield start, most


def _host(condition: HostCondition) -> Operator:
    _refuse_negated(condition.field, negated=condition.negated)
    exact, below = condition.wanted.exact, condition.wanted.below
    if not below:
        return _one_of("dest.host", _some(sorted(exact)))
    both = [rf"(.*\.)?{_literal(name)}" for name in sorted(below & exact)]
    only_below = [rf".*\.{_literal(name)}" for name in sorted(below - exact)]
    only_exact = [_literal(name) for name in sorted(exact - below)]
    return _operator("regexp", "dest.host", f"^({'|'.join([*only_exact, *both, *only_below])})$")


def _some(found: Iterable[Any]) -> list[Any]:
    """Return what is *found*, if there is anything."""
    each = list(found)
    if not each:
        raise UnsayableError("it names nothing that there is, and never matches")
    return each


_FIELDS: dict[str, Callable[[ValueCondition[Any]], list[Operator]]] = {
    "exe": _exe,
    "args": _args,
    "uid": _number("user.id"),
    "user": _number("user.id"),
    "pid": _number("process.id"),
    "daddr": _address("dest"),
    "saddr": _address("source"),
    "dport": _port("dest.port"),
    "sport": _port("source.port"),
    "iface": _iface,
}
