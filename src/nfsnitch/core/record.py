"""The audit row of one decision."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, NamedTuple

from nfsnitch.core.cgroup_path import place
from nfsnitch.core.decision import Decision
from nfsnitch.core.flow import BYPASS_NAMES, Flow, address_text
from nfsnitch.core.identity import NOT_IDENTIFIED, Identity, appimage_of
from nfsnitch.core.name import NOT_LOOKED_UP, Names
from nfsnitch.core.name_record import entry_json, names_json
from nfsnitch.core.opening import NO_FLOW, Opening
from nfsnitch.core.owner import (
    NOT_FORWARDED,
    Ancestor,
    Attribution,
    Forwarded,
    Kernel,
    Owner,
    Process,
)
from nfsnitch.core.script import script_of
from nfsnitch.core.unknown import Unknown

Json = dict[str, Any]

_OWNER_FIELDS = (
    "pid",
    "tid",
    "start_time",
    "exe",
    "exe_device",
    "exe_inode",
    "exe_deleted",
    "args",
    "uid",
    "gid",
    "cgroup",
    "cgroup_id",
    "parents",
    "comm",
)


_SOCKET_TYPES = {2: "dgram", 3: "raw", 10: "packet"}
"""linux/net.h, of those that AF_PACKET and AF_XDP have."""


class Record(NamedTuple):
    """One decision, with all that was known when it was made."""

    wall_ns: int
    decision: Decision
    held_ns: int
    """How long the first packet waited for its verdict."""
    packets: int
    """How many queued packets got this verdict; 0 of a flow that was cut, and of an opening."""
    flow: Flow | Opening | Unknown
    owner: Owner
    attribution: Attribution
    netns: int
    """Inode number of the network namespace in which the packet was seen."""
    iface: str | Unknown
    rivals: tuple[Owner, ...] = ()
    """Others who may have sent it instead; the decision is one that holds for them, too."""
    generation: int = 1
    """Of the rules that decided: 1 at the start, one more with each change."""
    iface_in: str | Unknown = NOT_FORWARDED
    """The interface by which it came, if it is forwarded."""
    names: Names = NOT_LOOKED_UP
    """Of the destination, as far as they count for `owner`."""
    monotonic_ns: int = 0
    """The same moment as `wall_ns`, by the clock of `names`."""
    is_cached: bool = False
    """The kernel repeated it by itself: no packet of the flow was queued."""

    def as_json(self) -> Json:
        """Return the record as JSON data; what is not known is ``{"unknown": reason}``."""
        decision = self.decision
        return {
            "time": time_text(self.wall_ns),
            "verdict": decision.verdict.value,
            "action": decision.action.value,
            "rule": decision.rule,
            "reason": decision.reason.value,
            "generation": self.generation,
            "attribution": self.attribution.value,
            "held_ms": round(self.held_ns / 1e6, 3),
            "packets": self.packets,
            **({"cached": True} if self.is_cached else {}),
            **owner_json(self.owner),
            "netns": self.netns,
            **flow_json(self.flow),
            **self.host_json(),
            **entry_json(decision.entry),
            "iface": _value(self.iface),
            **({} if self.iface_in is NOT_FORWARDED else {"iface_in": _value(self.iface_in)}),
            **({"rivals": [owner_json(each) for each in self.rivals]} if self.rivals else {}),
        }

    def host_json(self) -> Json:
        """Return the part of it that names the destination's host."""
        if isinstance(self.flow, Flow):
            return names_json(self.names, self.monotonic_ns)
        return {"host": _value(self.flow if isinstance(self.flow, Unknown) else NO_FLOW)}

    def as_line(self) -> str:
        """Return the record as one line of ASCII JSON, without the line end."""
        return json.dumps(self.as_json(), separators=(",", ":"))


def flow_json(flow: Flow | Opening | Unknown) -> Json:
    """Return the part of a record that names the flow, or the socket that was opened."""
    if isinstance(flow, Opening):
        return _opening_json(flow)
    if isinstance(flow, Unknown):
        unknown = _value(flow)
        return dict.fromkeys(("proto", "saddr", "sport", "daddr", "dport"), unknown)
    fields: Json = {
        "proto": flow.proto_name,
        "saddr": address_text(flow.saddr),
        "sport": _value(flow.sport),
        "daddr": address_text(flow.daddr),
        "dport": _value(flow.dport),
    }
    if flow.icmp is not None:
        fields["icmp_type"] = flow.icmp.type
        fields["icmp_code"] = flow.icmp.code
    return fields


def _opening_json(opening: Opening) -> Json:
    return {
        "proto": BYPASS_NAMES[opening.bypass],
        **dict.fromkeys(("saddr", "sport", "daddr", "dport"), _value(NO_FLOW)),
        "socket_type": _SOCKET_TYPES.get(opening.socket_type, str(opening.socket_type)),
        "ethertype": opening.protocol,
    }


def owner_json(owner: Owner) -> Json:
    """Return the part of a record that names the owner; `owner` says which kind it is."""
    if isinstance(owner, Process):
        return {"owner": "process", **_process_json(owner)}
    if isinstance(owner, Kernel):
        reason = Unknown(f"the kernel's own: {owner.reason}")
        return {"owner": "kernel", **dict.fromkeys(_OWNER_FIELDS, _value(reason))}
    if isinstance(owner, Forwarded):
        reason = Unknown(f"no process of this machine: {owner.reason}")
        return {"owner": "forwarded", **dict.fromkeys(_OWNER_FIELDS, _value(reason))}
    return {"owner": "unknown", **dict.fromkeys(_OWNER_FIELDS, _value(owner))}


def _process_json(process: Process) -> Json:
    args = process.args
    return {
        "pid": process.pid,
        "tid": process.tid,
        "start_time": process.start_time_ns,
        "exe": _value(process.exe.path),
        "exe_device": _value(process.exe.device),
        "exe_inode": _value(process.exe.inode),
        "exe_deleted": process.exe.deleted,
        "args": _value(args) if isinstance(args, Unknown) else list(args),
        "uid": process.uid,
        "gid": process.gid,
        "cgroup": _value(process.cgroup),
        "cgroup_id": _value(process.cgroup_id),
        "parents": [_ancestor_json(ancestor) for ancestor in process.parents],
        "comm": process.comm,
        **_opener_json(process.opener),
        **_identity_json(process.identity),
        **_for_people(process),
    }


def _opener_json(opener: Ancestor | Unknown | None) -> Json:
    """Return who opened the socket; nothing if that was the process itself."""
    if opener is None:
        return {}
    return {"opener": _value(opener) if isinstance(opener, Unknown) else _ancestor_json(opener)}


def _for_people(process: Process) -> Json:
    """Return what else can be told of a process; what cannot is left away."""
    identity = process.identity
    found = {
        "exe_inside": process.exe.inside,
        "script": script_of(process),
        "user": identity.user,
        "group": identity.group,
        "appimage": appimage_of(process.exe.path),
    }
    if not isinstance(process.cgroup, Unknown):
        there = place(process.cgroup)
        found["unit"] = there.unit if isinstance(there.user_unit, Unknown) else there.user_unit
        found["app"] = there.app
        found["pod"] = there.pod
    told: Json = {key: value for key, value in found.items() if not isinstance(value, Unknown)}
    if not isinstance(identity.desktop, Unknown):
        told["desktop"] = {
            "entry": identity.desktop.entry,
            "name": identity.desktop.name,
            "icon": identity.desktop.icon,
        }
    return told


def _identity_json(identity: Identity) -> Json:
    """Return which binary a program is; where nobody was to look, nothing."""
    if identity is NOT_IDENTIFIED:
        return {}
    told: Json = {
        "sha256": _value(identity.sha256),
        "changed": _value(identity.changed),
        "package": _value(identity.package),
    }
    if identity.previous_sha256 is not None:
        told["previous_sha256"] = identity.previous_sha256
        told["package_updated"] = identity.package_updated
    return told


def _ancestor_json(ancestor: Ancestor) -> Json:
    return {
        "pid": ancestor.pid,
        "start_time": ancestor.start_time_ns,
        "exe": _value(ancestor.exe.path),
    }


def _value(value: str | int | Unknown) -> str | int | Json:
    return {"unknown": value.reason} if isinstance(value, Unknown) else value


def time_text(wall_ns: int) -> str:
    """Return a moment (ns since 1970 UTC) as records have it."""
    seconds, nanoseconds = divmod(wall_ns, 1_000_000_000)
    moment = datetime.fromtimestamp(seconds, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{nanoseconds // 1000:06d}Z"
