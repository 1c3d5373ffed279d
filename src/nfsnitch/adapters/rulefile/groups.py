"""Named groups of addresses, which may contain each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from nfsnitch.adapters.rulefile.document import Mapping, Node, Scalar, Sequence, kind
from nfsnitch.adapters.rulefile.problems import Position, Problems, Refused, closest, quoted
from nfsnitch.adapters.rulefile.values import is_group_name, parse_addresses
from nfsnitch.core.ranges import AddressRange, merged_addresses

MAX_RANGES = 4_000_000
"""In all groups together, with the groups that they contain."""


@dataclass(slots=True)
class _Group:
    """A group as it is declared."""

    position: Position
    ranges: list[AddressRange] = field(default_factory=list)
    members: list[Scalar] = field(default_factory=list)
    """Names of other groups."""


class Groups:
    """Collects the groups of all files, then resolves them."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
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

    def resolved(self) -> dict[str, tuple[AddressRange, ...]]:
        """Return the addresses of each group; what is wrong is noted and left out."""
        resolved: dict[str, tuple[AddressRange, ...]] = {}
        total = 0
        for name in self._members_first():
            group = self._declared[name]
            ranges = list(group.ranges)
            for member in group.members:
                ranges += resolved.get(member.text, ())
            resolved[name] = merged_addresses(ranges)
            total += len(ranges)
            if total > MAX_RANGES:
                why = f"with the groups in it there are more than {MAX_RANGES} ranges"
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
        group = self._declared[key.text] = _Group(key.position)
        for scalar in self._values(what, node):
            self._read_value(group, what, scalar)

    def _values(self, what: str, node: Node) -> Iterator[Scalar]:
        nodes = node.items if isinstance(node, Sequence) else (node,)
        if not nodes:
            why = "an empty group matches nothing"
            self._problems.add(node.position, what, why, "write an address or remove the group")
        for each in nodes:
            if isinstance(each, Scalar):
                yield each
            else:
                why = f"it takes addresses and names of groups, not {kind(each)}"
                self._problems.add(each.position, what, why, "write a flat list")

    def _read_value(self, group: _Group, what: str, scalar: Scalar) -> None:
        if is_group_name(scalar.text):
            group.members.append(scalar)
            return
        try:
            group.ranges.append(parse_addresses(scalar.text))
        except Refused as refused:
            self._problems.refuse(scalar.position, f"{quoted(scalar.text)} in {what}", refused)

    def _members_first(self) -> list[str]:
        """Return all groups, each after the groups in it; circles are noted and cut."""
        done: dict[str, None] = {}
        for root in self._declared:
            path: dict[str, Iterator[Scalar]] = {}
            if root not in done:
                path[root] = self._members(root)
            while path:
                name = next(reversed(path))
                member = next(path[name], None)
                if member is None:
                    done[name] = None
                    del path[name]
                elif member.text in path:
                    self._note_circle(name, member)
                elif member.text not in done:
                    path[member.text] = self._members(member.text)
        return list(done)

    def _members(self, name: str) -> Iterator[Scalar]:
        for member in self._declared[name].members:
            if member.text in self._declared:
                yield member
            else:
                hint = "define it under groups: or write an address"
                instead = closest(member.text, self._declared, hint)
                what = f"{quoted(member.text)} in group {quoted(name)}"
                self._problems.add(member.position, what, "there is no such group", instead)

    def _note_circle(self, name: str, member: Scalar) -> None:
        group = self._declared[name]
        group.members = [each for each in group.members if each is not member]
        why = f"group {quoted(member.text)} would contain itself"
        what = f"{quoted(member.text)} in group {quoted(name)}"
        self._problems.add(member.position, what, why, "write the addresses that are meant")
