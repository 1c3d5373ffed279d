"""Named groups of addresses, ports, programs, users or hosts; they may contain others."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nfsnitch.adapters.rulefile import name_values, values
from nfsnitch.adapters.rulefile.document import Mapping, Node, Scalar, kind
from nfsnitch.adapters.rulefile.document import Sequence as SequenceNode
from nfsnitch.adapters.rulefile.names import Names
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused, closest, listed, quoted
from nfsnitch.adapters.rulefile.values import Group, GroupKind, Known, is_group_name
from nfsnitch.core.ranges import AddressRange, merged_addresses

MAX_RANGES = 4_000_000
"""In all groups together, with the groups that they contain."""


@dataclass(slots=True)
class _Group:
    """A group as it is declared."""

    position: Position
    kind: GroupKind
    values: list[Scalar]
    members: list[Scalar] = field(default_factory=list)
    """Those of the values that name other groups; known once all files have been read."""


def _addresses(text: str, known: Known) -> tuple[AddressRange]:
    del known
    return (values.parse_addresses(text),)


_PARSERS: dict[GroupKind, Callable[[str, Known], Iterable[Any]]] = {
    GroupKind.ADDRESSES: _addresses,
    GroupKind.PORTS: values.parse_dport,
    GroupKind.PROGRAMS: values.parse_path,
    GroupKind.USERS: values.parse_user_or_uid,
    GroupKind.USERGROUPS: values.parse_group_or_gid,
    GroupKind.HOSTS: name_values.parse_host,
}
_AN_EXAMPLE = {GroupKind.ADDRESSES: "an address", GroupKind.PROGRAMS: "a program's whole path"}
_NAMES_ARE_GROUPS = {GroupKind.ADDRESSES, GroupKind.PROGRAMS}
"""Kinds of which no value looks like a group's name. Of the others a name may be the machine's."""


class Groups:
    """Collects the groups of all files, then resolves them."""

    def __init__(self, problems: Problems, names: Names) -> None:
        self._problems = problems
        self._known = Known(names, {})
        self._declared: dict[str, _Group] = {}

    def read(self, node: Node) -> None:
        """Take the mapping ``groups`` of one file, and note what is wrong with it."""
        if not isinstance(node, Mapping):
            why = f"it takes a mapping, not {kind(node)}"
            instead = "write a name for each group, as in office: [192.0.2.0/24]"
            self._problems.add(node.position, "groups", why, instead)
            return
        for key, value in node.pairs:
            self._declare(key, value)

    def resolved(self) -> dict[str, Group]:
        """Return what is in each group; what is wrong is noted and left out."""
        for name, group in self._declared.items():
            group.members = list(self._members_of(name, group))
        resolved: dict[str, Group] = {}
        total = 0
        for name in self._members_first():
            group = self._declared[name]
            found = list(self._parsed(name, group))
            for member in group.members:
                found += resolved[member.text].members
            resolved[name] = Group(group.kind, _merged(group.kind, found))
            total += len(found)
            if total > MAX_RANGES:
                why = f"with the groups in it there are more than {MAX_RANGES} values"
                self._problems.add(group.position, f"group {quoted(name)}", why, "write less")
                self._problems.check()
        return resolved

    def _declare(self, key: Scalar, node: Node) -> None:
        what = f"group {quoted(key.text)}"
        if not is_group_name(key.text):
            why = "a group's name is a letter, then letters, digits, _ or -, 64 at most"
            self._problems.add(key.position, what, why, "write a name as in office-lan")
            return
        earlier = self._declared.get(key.text)
        if earlier is not None:
            why = f"{earlier.position} defines it already"
            self._problems.add(key.position, what, why, "give one of the two another name")
            return
        its_kind, inner = self._kind(what, node)
        scalars = [] if inner is None else list(self._values(what, its_kind, inner))
        self._declared[key.text] = _Group(key.position, its_kind, scalars)

    def _kind(self, what: str, node: Node) -> tuple[GroupKind, Node | None]:
        """Return what the group holds, and the node of its values if there is one."""
        if not isinstance(node, Mapping):
            return GroupKind.ADDRESSES, node
        known = [(key, value) for key, value in node.pairs if key.text in set(GroupKind)]
        for key, _ in node.pairs:
            if key.text not in set(GroupKind):
                instead = closest(key.text, list(GroupKind), "write ports: [80, 443], for example")
                why = f"a group holds {listed(GroupKind)}"
                self._problems.add(key.position, f"{quoted(key.text)} in {what}", why, instead)
        if len(known) > 1:
            why = "a group holds one kind of things"
            self._problems.add(known[1][0].position, what, why, "write two groups")
        if not node.pairs:
            self._problems.add(node.position, what, "it is empty", "write ports: and a list")
        if not known:
            return GroupKind.ADDRESSES, None
        return GroupKind(known[0][0].text), known[0][1]

    def _values(self, what: str, its_kind: GroupKind, node: Node) -> Iterator[Scalar]:
        nodes = node.items if isinstance(node, SequenceNode) else (node,)
        if not nodes:
            why = "an empty group matches nothing"
            self._problems.add(node.position, what, why, "write a value or remove the group")
        for each in nodes:
            if isinstance(each, Scalar):
                yield each
            else:
                why = f"it takes {its_kind} and names of groups, not {kind(each)}"
                self._problems.add(each.position, what, why, "write a flat list")

    def _members_of(self, name: str, group: _Group) -> Iterator[Scalar]:
        """Yield those of a group's values that name other groups of its kind."""
        for scalar in group.values:
            if not self._names_group(group.kind, scalar.text):
                continue
            what = f"{quoted(scalar.text)} in group {quoted(name)}"
            other = self._declared.get(scalar.text)
            if other is None:
                hint = f"define it under groups: or write {_AN_EXAMPLE[group.kind]}"
                instead = closest(scalar.text, self._declared, hint)
                self._problems.add(scalar.position, what, "there is no such group", instead)
            elif other.kind is not group.kind:
                why = f"that is a group of {other.kind}, and this one of {group.kind}"
                self._problems.add(scalar.position, what, why, "write groups of one kind")
            else:
                yield scalar

    def _names_group(self, its_kind: GroupKind, text: str) -> bool:
        if its_kind in _NAMES_ARE_GROUPS:
            return is_group_name(text)
        return text in self._declared

    def _parsed(self, name: str, group: _Group) -> Iterator[Any]:
        for scalar in group.values:
            if self._names_group(group.kind, scalar.text):
                continue
            try:
                yield from _PARSERS[group.kind](scalar.text, self._known)
            except Refused as refused:
                what = f"{quoted(scalar.text)} in group {quoted(name)}"
                self._problems.refuse(scalar.position, what, refused)

    def _members_first(self) -> list[str]:
        """Return all groups, each after the groups in it; circles are noted and cut."""
        done: dict[str, None] = {}
        for root in self._declared:
            path: dict[str, Iterator[Scalar]] = {}
            if root not in done:
                path[root] = iter(self._declared[root].members)
            while path:
                name = next(reversed(path))
                member = next(path[name], None)
                if member is None:
                    done[name] = None
                    del path[name]
                elif member.text in path:
                    self._note_circle(name, member)
                elif member.text not in done:
                    path[member.text] = iter(self._declared[member.text].members)
        return list(done)

    def _note_circle(self, name: str, member: Scalar) -> None:
        group = self._declared[name]
        group.members = [each for each in group.members if each is not member]
        why = f"group {quoted(member.text)} would contain itself"
        what = f"{quoted(member.text)} in group {quoted(name)}"
        self._problems.add(member.position, what, why, f"write the {group.kind} that are meant")


def _merged(its_kind: GroupKind, found: list[Any]) -> Sequence[Any]:
    if its_kind is GroupKind.ADDRESSES:
        return merged_addresses(found)
    return tuple(dict.fromkeys(found))
