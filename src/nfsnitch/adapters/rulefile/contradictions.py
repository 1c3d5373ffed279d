"""Rules that could never match, because two of their fields contradict each other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from nfsnitch.adapters.rulefile.fields import RULE_FIELDS, Subject
from nfsnitch.adapters.rulefile.problems import Refused, listed
from nfsnitch.adapters.rulefile.values import has_ports
from nfsnitch.core.conditions import OwnerCondition, OwnerKind, ValueCondition
from nfsnitch.core.flow import Family
from nfsnitch.core.ranges import Addresses
from nfsnitch.core.rule import Condition


def contradictions(
    conditions: Mapping[str, Condition], fields: Iterable[str]
) -> Iterator[tuple[str, Refused]]:
    """Yield each field that contradicts another one, with the reason.

    *conditions* has those of the rule's *fields* that could be read.
    """
    yield from _owner_and_process(conditions, fields)
    yield from _family_and_daddr(conditions)
    yield from _proto_and_dport(conditions)


def _owner_and_process(
    conditions: Mapping[str, Condition], fields: Iterable[str]
) -> Iterator[tuple[str, Refused]]:
    owner = conditions.get("owner")
    if not isinstance(owner, OwnerCondition) or owner.negated or OwnerKind.PROCESS in owner.wanted:
        return
    for name in fields:
        if name in RULE_FIELDS and RULE_FIELDS[name].subject is Subject.PROCESS:
            why = f"{name} speaks of a process, and owner: of flows that have none"
            yield name, Refused(why, f"remove {name} or owner")


def _family_and_daddr(conditions: Mapping[str, Condition]) -> Iterator[tuple[str, Refused]]:
    family = conditions.get("family")
    daddr = conditions.get("daddr")
    if not isinstance(family, ValueCondition) or not isinstance(daddr, ValueCondition):
        return
    if daddr.negated or not isinstance(daddr.wanted, Addresses):
        return
    if not any((each in family.wanted) is not family.negated for each in daddr.wanted.families):
        has = listed(each.name.lower() for each in Family if each in daddr.wanted.families)
        why = f"all its addresses are {has}, which family: rules out"
        yield "daddr", Refused(why, "remove family or write addresses of that family")


def _proto_and_dport(conditions: Mapping[str, Condition]) -> Iterator[tuple[str, Refused]]:
    proto = conditions.get("proto")
    if "dport" not in conditions or not isinstance(proto, ValueCondition) or proto.negated:
        return
    if isinstance(proto.wanted, frozenset) and not any(map(has_ports, proto.wanted)):
        why = "no protocol of proto: has ports"
        yield "dport", Refused(why, "remove dport or write proto: [tcp, udp]")
