"""Our rules as Little Snitch's.

There the more specific of two rules decides, wherever it stands (`LittleSnitchRule.precedence`).
Where that is not the one that comes first here, ``priority`` helps once; where even that does not,
the rule that allows is left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from nfsnitch.adapters.rulefile.problems import quoted
from nfsnitch.core.conditions import DisabledCondition, ParentCondition, ValueCondition
from nfsnitch.core.decision import Action
from nfsnitch.core.flow import PROTOCOL_NAMES, Family
from nfsnitch.core.name_conditions import HostCondition
from nfsnitch.core.pattern import Paths
from nfsnitch.core.ranges import Addresses, Ports
from nfsnitch.core.rule import Condition, Rule
from nfsnitch.core.ruleset import Ruleset
from nfsnitch.core.text import shown
from nfsnitch.exchange.exporting import (
    MAX_ALTERNATIVES,
    UnsayableError,
    default_action,
    disjoint,
    said_rules,
)
from nfsnitch.exchange.lsrules_rules import ANY, LittleSnitchRule, Server
from nfsnitch.exchange.ours import place
from nfsnitch.exchange.plain import address_texts, port_texts
from nfsnitch.exchange.report import Report

MAX_COMPARED = 2_000
"""Each rule is compared with each other one."""

_SERVER_KEYS = {
    Server.ADDRESSES: "remote-addresses",
    Server.HOSTS: "remote-hosts",
    Server.DOMAINS: "remote-domains",
}
_EVERYWHERE = {Family.IPV4: "0.0.0.0/0", Family.IPV6: "::/0"}
_ACTIONS = {
    Action.ALLOW: "allow",
    Action.DENY: "deny",
    Action.REJECT: "deny",
    Action.ASK: "ask",
}
_SAYABLE = frozenset({"exe", "parent", "daddr", "host", "family", "proto", "dport"})

Remote = tuple[Server, tuple[str, ...]]


def export_lsrules(ruleset: Ruleset, title: str, report: Report) -> dict[str, Any]:
    """Return *ruleset* as the JSON object of a ``.lsrules`` file."""
    exported = said_rules(ruleset.rules, lambda rule: _words(rule, report), report)
    pairs = [(rule, each) for rule, words in exported.rules for each in words]
    if len(pairs) > MAX_COMPARED:
        for rule, _ in pairs[MAX_COMPARED:]:
            why = f"of more than {MAX_COMPARED} rules nobody has compared which is more specific"
            report.left_out(place(rule), rule.name, why)
        pairs = pairs[:MAX_COMPARED]
    default = default_action(ruleset, exported.missing, report)
    if default is not None:
        last = Rule("default", default, (), "rules")
        pairs += [(last, each) for each in _words(last, report)]
    ordered = _in_order(pairs, report)
    if any(rule.action is Action.REJECT for rule, _ in ordered):
        report.changed("rules", None, "reject is deny there")
    documents = [_document(rule, each) for rule, each in ordered]
    return {"name": title, "description": "Exported from nfsnitch", "rules": documents}


def _in_order(
    pairs: list[tuple[Rule, LittleSnitchRule]], report: Report
) -> list[tuple[Rule, LittleSnitchRule]]:
    """Return *pairs* with priorities by which the first of ours decides there, too."""
    conflicts = list(_conflicts(pairs))
    high: set[int] = set()
    while True:
        more = {
            first
            for first, second in conflicts
            if first not in high and not _precedes(pairs, high, first, second)
        }
        if not more:
            break
        high |= more
    lost: set[int] = set()
    for first, second in conflicts:
        if second in lost or first in lost or _precedes(pairs, high, first, second):
            continue
        before, rule = pairs[first][0], pairs[second][0]
        if rule.action is Action.ALLOW:
            why = f"Little Snitch would let it decide before rule {quoted(before.name)}"
            report.left_out(place(rule), rule.name, why)
            lost.add(second)
        else:
            why = f"Little Snitch lets rule {quoted(rule.name)} decide before it"
            report.in_part(place(before), before.name, why)
    return [
        (rule, replace(each, is_high=at in high))
        for at, (rule, each) in enumerate(pairs)
        if at not in lost
    ]


def _conflicts(pairs: list[tuple[Rule, LittleSnitchRule]]) -> Iterator[tuple[int, int]]:
    """Yield the places of two rules that may both match, and say different things."""
    for second, (rule, theirs) in enumerate(pairs):
        for first in range(second):
            before, earlier = pairs[first]
            differ = theirs.action != earlier.action
            if differ and rule.enabled and before.enabled and not disjoint(before, rule):
                yield first, second


def _precedes(
    pairs: list[tuple[Rule, LittleSnitchRule]], high: set[int], first: int, second: int
) -> bool:
    one, other = (replace(pairs[at][1], is_high=at in high) for at in (first, second))
    return one.precedence < other.precedence


def _document(rule: Rule, each: LittleSnitchRule) -> dict[str, Any]:
    document: dict[str, Any] = {"action": each.action, "process": each.process or ANY}
    if each.via is not None:
        document["via"] = each.via
    if each.server is Server.ANY:
        document["remote"] = ANY
    elif each.server is Server.ADDRESSES:
        document[_SERVER_KEYS[each.server]] = ", ".join(each.values)
    else:
        document[_SERVER_KEYS[each.server]] = list(each.values)
    if each.ports:
        document["ports"] = ", ".join(each.ports)
    if each.protocol is not None:
        document["protocol"] = each.protocol
    if each.is_high:
        document["priority"] = "high"
    if each.disabled:
        document["disabled"] = True
    document["notes"] = shown(rule.name if rule.note is None else f"{rule.name}: {rule.note}")
    return document


def _words(rule: Rule, report: Report) -> tuple[LittleSnitchRule, ...]:
    """Return what *rule* is there; all of these together are it."""
    if rule.on_unknown_name is not None:
        raise UnsayableError("Little Snitch passes by rules whose name it does not know")
    found: dict[str, Condition] = {}
    for condition in rule.conditions:
        if isinstance(condition, DisabledCondition):
            continue
        if condition.field not in _SAYABLE:
            raise UnsayableError(f"Little Snitch has nothing like {condition.field}:")
        if getattr(condition, "negated", False):
            raise UnsayableError(f"Little Snitch has nothing like {condition.field}: not:")
        found[condition.field] = condition
    words = tuple(
        LittleSnitchRule(
            _ACTIONS[rule.action],
            process,
            via,
            server,
            values,
            (ports,) if ports else (),
            protocol,
            "outgoing",
            is_high=False,
            disabled=not rule.enabled,
            notes="",
            owner=ANY,
        )
        for process, via in _programs(found)
        for server, values in _remotes(rule, found, report)
        for protocol in _protocols(found.get("proto"))
        for ports in _ports(found.get("dport"))
    )
    if not words:
        raise UnsayableError("it names nothing that there is, and never matches")
    if len(words) > MAX_ALTERNATIVES:
        raise UnsayableError(f"it would become more than {MAX_ALTERNATIVES} rules")
    return words


def _programs(found: dict[str, Condition]) -> list[tuple[str | None, str | None]]:
    """Return the pairs of ``process`` and ``via``."""
    exes, parents = (_exact(found.get(field), field) for field in ("exe", "parent"))
    if parents is None:
        return [(None, None)] if exes is None else [(exe, None) for exe in exes]
    if exes is None:
        raise UnsayableError("Little Snitch has nothing like parent: without exe:")
    return [(parent, exe) for parent in parents for exe in exes]


def _exact(condition: Condition | None, field: str) -> list[str] | None:
    if condition is None:
        return None
    wanted = condition.wanted if isinstance(condition, ValueCondition | ParentCondition) else None
    if not isinstance(wanted, Paths) or wanted.globs:
        raise UnsayableError(f"Little Snitch has no globs in {field}:")
    if not all(path.isprintable() for path in wanted.exact):
        raise UnsayableError("it has characters in it that cannot be seen")
    return sorted(wanted.exact)


def _remotes(rule: Rule, found: dict[str, Condition], report: Report) -> list[Remote]:
    host, daddr, family = (found.get(field) for field in ("host", "daddr", "family"))
    if sum(each is not None for each in (host, daddr, family)) > 1:
        raise UnsayableError("Little Snitch compares one of host:, daddr: and family: at once")
    if isinstance(host, HostCondition):
        return _hosts(rule, host, report)
    wanted = None
    for each in (daddr, family):
        if isinstance(each, ValueCondition):
            wanted = each.wanted
    if wanted is None:
        return [(Server.ANY, ())]
    if isinstance(wanted, Addresses):
        values = tuple(address_texts(wanted))
    else:
        values = tuple(text for family_, text in _EVERYWHERE.items() if family_ in wanted)
    return [(Server.ADDRESSES, values)] if values else []


def _hosts(rule: Rule, host: HostCondition, report: Report) -> list[Remote]:
    exact, below = host.wanted.exact, host.wanted.below
    if below - exact:
        if rule.action is Action.ALLOW:
            raise UnsayableError("Little Snitch cannot mean all below a domain without itself")
        why = "where it means all below a domain, the domain itself is meant there, too"
        report.changed(place(rule), rule.name, why)
    kinds = ((Server.HOSTS, exact - below), (Server.DOMAINS, below))
    return [(server, tuple(sorted(names))) for server, names in kinds if names]


def _protocols(condition: Condition | None) -> list[str | None]:
    if condition is None:
        return [None]
    wanted = condition.wanted if isinstance(condition, ValueCondition) else None
    if not isinstance(wanted, frozenset):
        raise UnsayableError("nobody knows how to write its proto:")
    if any(number not in range(256) for number in wanted):
        raise UnsayableError("Little Snitch has nothing like proto: packet or xdp")
    return [PROTOCOL_NAMES.get(number, str(number)) for number in sorted(wanted)]


def _ports(condition: Condition | None) -> list[str]:
    """Return ports and ranges of them; an empty text is any."""
    if condition is None:
        return [""]
    wanted = condition.wanted if isinstance(condition, ValueCondition) else None
    if not isinstance(wanted, Ports):
        raise UnsayableError("nobody knows how to write its dport:")
    return list(port_texts(wanted))
