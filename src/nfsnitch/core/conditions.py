"""The conditions that rules are made of.

Most fields ask the same: is the one value that this flow or owner has for the field among those
that the rule names? `ValueCondition` asks it, with a *reader* that finds the value. Fields of
another shape have classes of their own. Each keeps the promise of `nfsnitch.core.rule.Condition`:
what is not known is not matched, and so not matched by ``not:`` either.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar, cast

from nfsnitch.core.case import Case
from nfsnitch.core.cgroup_path import place
from nfsnitch.core.flow import Bypass, Family
from nfsnitch.core.owner import Forwarded, Kernel, Owner, Process
from nfsnitch.core.script import script_of
from nfsnitch.core.unknown import Unknown

T = TypeVar("T")
Reader = Callable[[Case], T | Unknown]
"""Finds the value that a case has for a field."""

CGROUP_FIELDS = frozenset({"cgroup", "unit", "app", "pod"})
"""What is read off the path of the owner's cgroup."""
SADDR_FIELD, SCRIPT_FIELD, PROTO_FIELD = "saddr", "script", "proto"
SHA256_FIELD, CHANGED_FIELD, PACKAGE_FIELD = "sha256", "changed", "package"
_NO_PROCESS = Unknown("no process is known to own the flow")
_KERNEL_PARENT_PID = 2
_TICK_NS = 10_000_000


class OwnerKind(StrEnum):
    """What kind of owner a flow has; the values of the field ``owner``."""

    PROCESS = "process"
    KERNEL = "kernel"
    FORWARDED = "forwarded"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ValueCondition(Generic[T]):
    """Holds where the value that `read` finds is known and is in `wanted` (or is not, negated)."""

    field: str
    read: Reader[T]
    wanted: Container[T]
    negated: bool = False

    def matches(self, case: Case) -> bool:
        """Whether the value is known, and is among those wanted."""
        value = self.read(case)
        if isinstance(value, Unknown):
            return False
        return (value in self.wanted) is not self.negated


@dataclass(frozen=True, slots=True)
class AnyValueCondition(Generic[T]):
    """The same for a field of which a flow may have several values: any of them must be wanted.

    Negated none of them must be.
    """

    field: str
    read: Reader[tuple[T, ...]]
    wanted: Container[T]
    negated: bool = False

    def matches(self, case: Case) -> bool:
        """Whether the values are known, and any of them is among those wanted."""
        values = self.read(case)
        if isinstance(values, Unknown):
            return False
        return any(value in self.wanted for value in values) is not self.negated


@dataclass(frozen=True, slots=True)
class DisabledCondition:
    """Never holds: of a rule that is kept in the file, but put out of force."""

    field: str

    def matches(self, case: Case) -> bool:
        """Whether the rule is in force: it is not."""
        del case
        return False


@dataclass(frozen=True, slots=True)
class OneProcessCondition:
    """Holds for one process, and not for the one that gets its pid when it is gone."""

    field: str
    pid: int
    start_time_ns: int

    def matches(self, case: Case) -> bool:
        """Whether this very process sends."""
        owner = case.owner
        return isinstance(owner, Process) and is_process(owner, self.pid, self.start_time_ns)


@dataclass(frozen=True, slots=True)
class ParentCondition:
    """Holds where the exe of any ancestor is in `wanted`.

    Negated it holds where no ancestor's is, which can only be said of a chain that is known
    wholly: up to the first process, and each exe on the way. Otherwise a process could fork itself
    out of sight.
    """

    field: str
    wanted: Container[str]
    negated: bool = False

    def matches(self, case: Case) -> bool:
        """Whether any ancestor's exe is wanted, or surely none."""
        owner = case.owner
        if not isinstance(owner, Process):
            return False
        if any(ancestor.exe.path in self.wanted for ancestor in owner.parents):
            return not self.negated
        return self.negated and _ancestors_known(owner)


@dataclass(frozen=True, slots=True)
class OwnerCondition:
    """Holds for owners of the kinds in `wanted`; the one condition that can match an Unknown.

    Negated it does not: an owner that is not known may be of any kind.
    """

    field: str
    wanted: Container[OwnerKind]
    negated: bool = False

    def matches(self, case: Case) -> bool:
        """Whether the owner is of a kind that is wanted."""
        kind = owner_kind(case.owner)
        if not self.negated:
            return kind in self.wanted
        return kind is not OwnerKind.UNKNOWN and kind not in self.wanted


def is_process(owner: Process, pid: int, start_time_ns: int) -> bool:
    """Whether an owner is the process of this number that was started then (since boot)."""
    # What comes from /proc is cut to clock ticks.
    return owner.pid == pid and abs(owner.start_time_ns - start_time_ns) < _TICK_NS


def owner_kind(owner: Owner) -> OwnerKind:
    """Return what kind of owner this is."""
    if isinstance(owner, Process):
        return OwnerKind.PROCESS
    if isinstance(owner, Forwarded):
        return OwnerKind.FORWARDED
    return OwnerKind.KERNEL if isinstance(owner, Kernel) else OwnerKind.UNKNOWN


def bypasses_of(conditions: Iterable[Any]) -> frozenset[Bypass]:
    """Return the sockets past netfilter that a rule of these conditions names; not by ``not:``."""
    named = frozenset[int]()
    for each in conditions:
        if each.field == PROTO_FIELD and isinstance(each, ValueCondition) and not each.negated:
            named = cast("frozenset[int]", each.wanted)
    return frozenset(bypass for bypass in Bypass if bypass in named) if named else frozenset()


def read_exe(case: Case) -> str | Unknown:
    """Return the path of the owner's program file."""
    owner = case.owner
    return owner.exe.path if isinstance(owner, Process) else _NO_PROCESS


def read_args(case: Case) -> str | Unknown:
    """Return the owner's arguments, argv[0] included, joined by one space each."""
    owner = case.owner
    if not isinstance(owner, Process):
        return _NO_PROCESS
    args = owner.args
    return args if isinstance(args, Unknown) else " ".join(args)


def read_uid(case: Case) -> int | Unknown:
    """Return the owner's user id."""
    owner = case.owner
    return owner.uid if isinstance(owner, Process) else _NO_PROCESS


def read_gid(case: Case) -> int | Unknown:
    """Return the owner's group id."""
    owner = case.owner
    return owner.gid if isinstance(owner, Process) else _NO_PROCESS


def read_pid(case: Case) -> int | Unknown:
    """Return the owner's process id."""
    owner = case.owner
    return owner.pid if isinstance(owner, Process) else _NO_PROCESS


def read_comm(case: Case) -> str | Unknown:
    """Return the name of the owner's thread, of 15 bytes at most."""
    owner = case.owner
    return owner.comm if isinstance(owner, Process) else _NO_PROCESS


def read_netns(case: Case) -> int | Unknown:
    """Return the inode number of the owner's network namespace."""
    owner = case.owner
    return owner.netns if isinstance(owner, Process) else _NO_PROCESS


def read_cgroup(case: Case) -> str | Unknown:
    """Return the path of the owner's cgroup."""
    owner = case.owner
    return owner.cgroup if isinstance(owner, Process) else _NO_PROCESS


def read_units(case: Case) -> tuple[str, ...] | Unknown:
    """Return the systemd units that the owner belongs to: the system's, then the user's."""
    path = read_cgroup(case)
    return path if isinstance(path, Unknown) else place(path).units


def read_app(case: Case) -> str | Unknown:
    """Return the Flatpak, Snap or container that the owner belongs to."""
    path = read_cgroup(case)
    return path if isinstance(path, Unknown) else place(path).app


def read_pod(case: Case) -> str | Unknown:
    """Return the pod that the owner belongs to."""
    path = read_cgroup(case)
    return path if isinstance(path, Unknown) else place(path).pod


def read_exe_inside(case: Case) -> str | Unknown:
    """Return the path of the owner's program file as the owner sees it, where that is another."""
    owner = case.owner
    return owner.exe.inside if isinstance(owner, Process) else _NO_PROCESS


def read_script(case: Case) -> str | Unknown:
    """Return the script that the owner, an interpreter, says it runs."""
    owner = case.owner
    return script_of(owner) if isinstance(owner, Process) else _NO_PROCESS


def read_sha256(case: Case) -> str | Unknown:
    """Return the SHA-256 of the owner's program file, in hexadecimal digits."""
    owner = case.owner
    return owner.identity.sha256 if isinstance(owner, Process) else _NO_PROCESS


def read_changed(case: Case) -> bool | Unknown:
    """Return whether the owner's program is another file than the one last let out."""
    owner = case.owner
    return owner.identity.changed if isinstance(owner, Process) else _NO_PROCESS


def read_package(case: Case) -> str | Unknown:
    """Return the package that the owner's program file belongs to."""
    owner = case.owner
    return owner.identity.package if isinstance(owner, Process) else _NO_PROCESS


def read_iface(case: Case) -> str | Unknown:
    """Return the interface through which the packet would leave."""
    return case.iface


def read_iface_in(case: Case) -> str | Unknown:
    """Return the interface by which a forwarded packet came."""
    return case.iface_in


def read_saddr(case: Case) -> bytes | Unknown:
    """Return the packed source address."""
    return case.flow.saddr


def read_sport(case: Case) -> int | Unknown:
    """Return the source port."""
    return case.flow.sport


def read_proto(case: Case) -> int | Unknown:
    """Return the number of the transport protocol."""
    return case.flow.proto


def read_family(case: Case) -> Family | Unknown:
    """Return the address family."""
    return case.flow.family


def read_daddr(case: Case) -> bytes | Unknown:
    """Return the packed destination address."""
    return case.flow.daddr


def read_dport(case: Case) -> int | Unknown:
    """Return the destination port."""
    return case.flow.dport


def _ancestors_known(process: Process) -> bool:
    """Whether the chain goes up to init (or kthreadd, which starts the kernel's helpers)."""
    top_pid = process.parents[-1].pid if process.parents else process.pid
    if top_pid > _KERNEL_PARENT_PID:
        return False
    return not any(isinstance(ancestor.exe.path, Unknown) for ancestor in process.parents)
