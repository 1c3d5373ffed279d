"""The one table of rule fields. A new field is one entry here."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Any, TypeVar

from nfsnitch.adapters.rulefile import (
    identity_values,
    name_values,
    place_values,
    time_values,
    values,
)
from nfsnitch.adapters.rulefile.values import Known
from nfsnitch.core import conditions as core
from nfsnitch.core.listing import NamedList
from nfsnitch.core.name_conditions import (
    HOST_FIELD,
    LIST_FIELD,
    HostCondition,
    ListCondition,
)
from nfsnitch.core.pattern import paths, regexes
from nfsnitch.core.ranges import addresses, ports
from nfsnitch.core.rule import Condition
from nfsnitch.core.schedule import Span, weekly
from nfsnitch.core.timed import ScheduleCondition

T = TypeVar("T")


class Subject(Enum):
    """What a field speaks of."""

    PROCESS = auto()
    """The process that owns the flow: the field matches no other owner."""
    FLOW = auto()
    OWNER = auto()
    """What kind of owner there is."""


@dataclass(frozen=True, slots=True)
class RuleField:
    """One field that a rule may have."""

    name: str
    subject: Subject
    takes: str
    """What its values are, for messages."""
    parse: Callable[[str, Known], Iterable[Any]]
    """Returns what the text of one value stands for; raises `Refused`."""
    condition: Callable[[Iterable[Any], bool], Condition]
    """Makes the condition of all parsed values; the second argument is whether it is negated."""


def _field(
    name: str,
    subject: Subject,
    takes: str,
    parse: Callable[[str, Known], Iterable[T]],
    condition: Callable[[Iterable[T], bool], Condition],
) -> RuleField:
    """Return the field; unlike `RuleField` itself it sees to it that the two functions fit."""
    return RuleField(name, subject, takes, parse, condition)


def _one_of(
    name: str, read: core.Reader[Any], collect: Callable[[Iterable[T]], Container[Any]]
) -> Callable[[Iterable[T], bool], Condition]:
    """Return the maker of conditions that look one value up among those that the rule names."""

    def condition(parsed: Iterable[T], negated: bool) -> Condition:  # noqa: FBT001
        return core.ValueCondition(name, read, collect(parsed), negated)

    return condition


def _kind_of_owner(parsed: Iterable[core.OwnerKind], negated: bool) -> Condition:  # noqa: FBT001
    return core.OwnerCondition("owner", frozenset(parsed), negated)


def _any_ancestor(parsed: Iterable[str], negated: bool) -> Condition:  # noqa: FBT001
    return core.ParentCondition("parent", paths(parsed), negated)


def _any_unit(parsed: Iterable[str], negated: bool) -> Condition:  # noqa: FBT001
    return core.AnyValueCondition("unit", core.read_units, paths(parsed), negated)


def _at_hours(parsed: Iterable[Span], negated: bool) -> Condition:  # noqa: FBT001
    return ScheduleCondition("schedule", weekly(parsed), negated)


def _any_host(parsed: Iterable[name_values.HostValue], negated: bool) -> Condition:  # noqa: FBT001
    return HostCondition(HOST_FIELD, name_values.host_names(parsed), negated)


def _any_list(parsed: Iterable[NamedList], negated: bool) -> Condition:  # noqa: FBT001
    return ListCondition(LIST_FIELD, tuple(dict.fromkeys(parsed)), negated)


_PATH_OR_GLOB = "an absolute path, a glob or the name of a group of programs"
_ADDRESS = "an address, a block, a range or the name of a group"
_PORT = "a port, a range of ports or the name of a service or group"

RULE_FIELDS: dict[str, RuleField] = {
    field.name: field
    for field in (
        _field(
            "owner",
            Subject.OWNER,
            "unknown, kernel or forwarded",
            values.parse_owner,
            _kind_of_owner,
        ),
        _field(
            "family",
            Subject.FLOW,
            "ipv4 or ipv6",
            values.parse_family,
            _one_of("family", core.read_family, frozenset),
        ),
        _field(
            "proto",
            Subject.FLOW,
            "the name or number of a protocol",
            values.parse_proto,
            _one_of("proto", core.read_proto, frozenset),
        ),
        _field(
            "dport",
            Subject.FLOW,
            _PORT,
            values.parse_dport,
            _one_of("dport", core.read_dport, ports),
        ),
        _field(
            "daddr",
            Subject.FLOW,
            _ADDRESS,
            values.parse_daddr,
            _one_of("daddr", core.read_daddr, addresses),
        ),
        _field(
            "sport",
            Subject.FLOW,
            _PORT,
            values.parse_dport,
            _one_of("sport", core.read_sport, ports),
        ),
        _field(
            "saddr",
            Subject.FLOW,
            _ADDRESS,
            values.parse_daddr,
            _one_of("saddr", core.read_saddr, addresses),
        ),
        _field(
            "iface",
            Subject.FLOW,
            "the name of an interface or a glob",
            place_values.parse_iface,
            _one_of("iface", core.read_iface, paths),
        ),
        _field(
            "iface_in",
            Subject.FLOW,
            "the name of an interface or a glob",
            place_values.parse_iface,
            _one_of("iface_in", core.read_iface_in, paths),
        ),
        _field(
            "uid",
            Subject.PROCESS,
            "the number of a user or the name of a group of users",
            values.parse_uid,
            _one_of("uid", core.read_uid, frozenset),
        ),
        _field(
            "user",
            Subject.PROCESS,
            "the name of a user or of a group of users",
            values.parse_user,
            _one_of("user", core.read_uid, frozenset),
        ),
        _field(
            "gid",
            Subject.PROCESS,
            "the number of a user group or the name of a group of them",
            values.parse_gid,
            _one_of("gid", core.read_gid, frozenset),
        ),
        _field(
            "group",
            Subject.PROCESS,
            "the name of a user group or of a group of them",
            values.parse_group,
            _one_of("group", core.read_gid, frozenset),
        ),
        _field(
            "pid",
            Subject.PROCESS,
            "the number of a process",
            place_values.parse_pid,
            _one_of("pid", core.read_pid, frozenset),
        ),
        _field(
            "netns",
            Subject.PROCESS,
            "host, own, the name of a network namespace or its inode number",
            place_values.parse_netns,
            _one_of("netns", core.read_netns, frozenset),
        ),
        _field(
            "schedule",
            Subject.FLOW,
            "days, hours or both, as in mon-fri 08:00-18:00",
            time_values.parse_schedule,
            _at_hours,
        ),
        _field(
            "exe",
            Subject.PROCESS,
            _PATH_OR_GLOB,
            values.parse_path,
            _one_of("exe", core.read_exe, paths),
        ),
        _field(
            "exe_inside",
            Subject.PROCESS,
            _PATH_OR_GLOB,
            values.parse_path,
            _one_of("exe_inside", core.read_exe_inside, paths),
        ),
        _field(
            "comm",
            Subject.PROCESS,
            "a name of 15 bytes at most or a glob",
            place_values.parse_comm,
            _one_of("comm", core.read_comm, paths),
        ),
        _field(
            "cgroup",
            Subject.PROCESS,
            "the path of a cgroup or a glob",
            place_values.parse_cgroup,
            _one_of("cgroup", core.read_cgroup, paths),
        ),
        _field(
            "unit",
            Subject.PROCESS,
            "the name of a systemd unit or a glob",
            place_values.parse_unit,
            _any_unit,
        ),
        _field(
            "app",
            Subject.PROCESS,
            "flatpak:, snap: or container: and a name",
            place_values.parse_app,
            _one_of("app", core.read_app, paths),
        ),
        _field(
            "pod",
            Subject.PROCESS,
            "the UID or ID of a pod or a glob",
            place_values.parse_pod,
            _one_of("pod", core.read_pod, paths),
        ),
        _field("parent", Subject.PROCESS, _PATH_OR_GLOB, values.parse_path, _any_ancestor),
        _field(
            "args",
            Subject.PROCESS,
            "a regular expression",
            values.parse_regex,
            _one_of("args", core.read_args, regexes),
        ),
        _field(
            core.SCRIPT_FIELD,
            Subject.PROCESS,
            _PATH_OR_GLOB,
            values.parse_path,
            _one_of(core.SCRIPT_FIELD, core.read_script, paths),
        ),
        _field(
            HOST_FIELD,
            Subject.FLOW,
            "the name of a host, *. and a name for all below it, or the name of a group",
            name_values.parse_host,
            _any_host,
        ),
        _field(
            LIST_FIELD,
            Subject.FLOW,
            "the name of a list",
            name_values.parse_list,
            _any_list,
        ),
        # These last: only where all else matches is it worth waiting for what is not known yet.
        _field(
            core.PACKAGE_FIELD,
            Subject.PROCESS,
            "the name of a package, a glob, or none",
            identity_values.parse_package,
            _one_of(core.PACKAGE_FIELD, core.read_package, paths),
        ),
        _field(
            core.CHANGED_FIELD,
            Subject.PROCESS,
            "true or false",
            identity_values.parse_changed,
            _one_of(core.CHANGED_FIELD, core.read_changed, frozenset),
        ),
        _field(
            core.SHA256_FIELD,
            Subject.PROCESS,
            "a SHA-256 in hexadecimal digits",
            identity_values.parse_sha256,
            _one_of(core.SHA256_FIELD, core.read_sha256, frozenset),
        ),
    )
}
"""By name; a rule tries them in this order, the cheap ones first."""
