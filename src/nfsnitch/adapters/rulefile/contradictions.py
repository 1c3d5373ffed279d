"""Rules that could never match, because two of their fields contradict each other."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping

from nfsnitch.adapters.rulefile.fields import RULE_FIELDS, Subject
from nfsnitch.adapters.rulefile.problems import Refused, listed, quoted
from nfsnitch.adapters.rulefile.values import has_ports
from nfsnitch.core.conditions import SCRIPT_FIELD, OwnerCondition, OwnerKind, ValueCondition
from nfsnitch.core.flow import Family
from nfsnitch.core.pattern import Paths
from nfsnitch.core.ranges import Addresses
from nfsnitch.core.rule import Condition
from nfsnitch.core.script import INTERPRETERS, interpreter_of


def contradictions(
    conditions: Mapping[str, Condition], fields: Collection[str]
) -> Iterator[tuple[str, Refused]]:
    """Yield each field that contradicts another one, with the reason.

    *conditions* has those of the rule's *fields* that could be read.
    """
    yield from _owner_and_process(conditions, fields)
    yield from _family_and_addresses(conditions)
    yield from _proto_and_ports(conditions)
    yield from _script_without_interpreter(conditions, fields)


def _owner_and_process(
    conditions: Mapping[str, Condition], fields: Collection[str]
) -> Iterator[tuple[str, Refused]]:
    owner = conditions.get("owner")
    if not isinstance(owner, OwnerCondition) or owner.negated or OwnerKind.PROCESS in owner.wanted:
        return
    for name in fields:
        if name in RULE_FIELDS and RULE_FIELDS[name].subject is Subject.PROCESS:
            why = f"{name} speaks of a process, and owner: of flows that have none"
            yield name, Refused(why, f"remove {name} or owner")


def _family_and_addresses(
    conditions: Mapping[str, Condition],
) -> Iterator[tuple[str, Refused]]:
    family = conditions.get("family")
    if not isinstance(family, ValueCondition):
        return
    for name in ("daddr", "saddr"):
        condition = conditions.get(name)
        if not isinstance(condition, ValueCondition) or condition.negated:
            continue
        if not isinstance(condition.wanted, Addresses):
            continue
        there = condition.wanted.families
        if not any((each in family.wanted) is not family.negated for each in there):
            has = listed(each.name.lower() for each in Family if each in there)
            why = f"all its addresses are {has}, which family: rules out"
            yield name, Refused(why, "remove family or write addresses of that family")


def _proto_and_ports(conditions: Mapping[str, Condition]) -> Iterator[tuple[str, Refused]]:
    proto = conditions.get("proto")
    if not isinstance(proto, ValueCondition) or proto.negated:
        return
    if not isinstance(proto.wanted, frozenset) or any(map(has_ports, proto.wanted)):
        return
    for name in ("dport", "sport"):
        if name in conditions:
            why = "no protocol of proto: has ports"
            yield name, Refused(why, f"remove {name} or write proto: [tcp, udp]")


def _script_without_interpreter(
    conditions: Mapping[str, Condition], fields: Collection[str]
) -> Iterator[tuple[str, Refused]]:
    """Find a script of whatever program calls itself an interpreter.

    Any program can be called python3 and be given any arguments; the interpreter's path is what
    can be told for sure.
    """
    if SCRIPT_FIELD not in fields:
        return
    exe = conditions.get("exe")
    if "exe" in fields and not isinstance(exe, ValueCondition):
        return  # it could not be read, and that is said already
    if not isinstance(exe, ValueCondition) or exe.negated:
        why = "a script's name is the program's own claim, and so exe: has to name its interpreter"
        yield SCRIPT_FIELD, Refused(why, "add exe: with its path, as in /usr/bin/python3*")
        return
    if isinstance(exe.wanted, Paths):
        for path in (*sorted(exe.wanted.exact), *exe.wanted.globs):
            if interpreter_of(_plain_beginning(path)) is None:
                why = f"script: needs an interpreter that is known here, and {quoted(path)} is none"
                yield "exe", Refused(why, f"write the path of {listed(INTERPRETERS)}")


def _plain_beginning(glob: str) -> str:
    """Return a glob up to the first wildcard in its last part."""
    return re.split(r"[*?\[]", glob.rpartition("/")[2], maxsplit=1)[0].rstrip(".-")
