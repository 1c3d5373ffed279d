"""The owner of a recorded flow, read back: the other way round than `core.record.owner_json`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from nfsnitch.core.identity import NOT_IDENTIFIED, DesktopName, Identity
from nfsnitch.core.owner import (
    SEEN_ALIKE,
    Ancestor,
    Executable,
    Forwarded,
    Kernel,
    Owner,
    Process,
)
from nfsnitch.core.script import needs_cwd, script_of
from nfsnitch.core.unknown import Unknown
from nfsnitch.lab.replay.fields import (
    Json,
    UnreadableError,
    flag,
    integer,
    known_integer,
    known_text,
    text,
    unknown_in,
)

_OF_KERNEL = "the kernel's own: "
_OF_OTHERS = "no process of this machine: "
"""What `core.record` puts in front of why there is no process."""
_NOT_SAID = Unknown("the record does not say it")
_NOBODYS = "/\0"
"""No directory has such a name."""
_DEPTH = 64
"""More directories than arguments go up (``../..``)."""


def read_owner(document: object, netns: int | Unknown) -> Owner:
    """Return who sent, by a record or by one of its rivals; *netns* is where the owner is.

    Raises:
        UnreadableError: that cannot be told.

    """
    if not isinstance(document, Mapping):
        raise UnreadableError("an owner is no JSON object")
    kind = text(document, "owner")
    if kind == "process":
        return _process(document, netns)
    why = unknown_in(document, "exe") or _NOT_SAID
    if kind == "kernel":
        return Kernel(why.reason.removeprefix(_OF_KERNEL))
    if kind == "forwarded":
        return Forwarded(why.reason.removeprefix(_OF_OTHERS))
    if kind != "unknown":
        raise UnreadableError("owner is none of those that are known here")
    return why


def _process(document: Json, netns: int | Unknown) -> Process:
    process = Process(
        pid=integer(document, "pid"),
        tid=integer(document, "tid"),
        start_time_ns=integer(document, "start_time"),
        uid=integer(document, "uid"),
        gid=integer(document, "gid"),
        exe=_executable(document),
        args=_args(document),
        comm=text(document, "comm"),
        parents=_parents(document),
        cgroup_id=known_integer(document, "cgroup_id"),
        cgroup=known_text(document, "cgroup"),
        netns=netns,
        opener=_opener(document),
        identity=_identity(document),
    )
    return replace(process, cwd=_cwd(process, document)) if needs_cwd(process) else process


def _executable(document: Json) -> Executable:
    return Executable(
        known_text(document, "exe"),
        known_integer(document, "exe_device"),
        known_integer(document, "exe_inode"),
        deleted=flag(document, "exe_deleted"),
        inside=text(document, "exe_inside") if "exe_inside" in document else SEEN_ALIKE,
    )


def _args(document: Json) -> tuple[str, ...] | Unknown:
    if (unknown := unknown_in(document, "args")) is not None:
        return unknown
    args = document.get("args")
    if not isinstance(args, list) or not all(isinstance(each, str) for each in args):
        raise UnreadableError("args is no list of texts")
    return tuple(args)


def _parents(document: Json) -> tuple[Ancestor, ...]:
    parents = document.get("parents")
    if not isinstance(parents, list):
        raise UnreadableError("parents is no list")
    return tuple(map(_ancestor, parents))


def _ancestor(document: object) -> Ancestor:
    if not isinstance(document, Mapping):
        raise UnreadableError("an ancestor is no JSON object")
    exe = Executable(known_text(document, "exe"), _NOT_SAID, _NOT_SAID)
    return Ancestor(integer(document, "pid"), integer(document, "start_time"), exe)


def _opener(document: Json) -> Ancestor | Unknown | None:
    if "opener" not in document:
        return None
    return unknown_in(document, "opener") or _ancestor(document["opener"])


def _identity(document: Json) -> Identity:
    identity = NOT_IDENTIFIED
    if "sha256" in document:
        changed = unknown_in(document, "changed")
        identity = Identity(
            sha256=known_text(document, "sha256"),
            changed=flag(document, "changed") if changed is None else changed,
            package=known_text(document, "package"),
        )
    if "previous_sha256" in document:
        identity = replace(
            identity,
            previous_sha256=text(document, "previous_sha256"),
            package_updated=flag(document, "package_updated"),
        )
    if "user" in document:
        identity = replace(identity, user=text(document, "user"))
    if "group" in document:
        identity = replace(identity, group=text(document, "group"))
    desktop = document.get("desktop")
    if isinstance(desktop, Mapping):
        icon = None if desktop.get("icon") is None else text(desktop, "icon")
        named = DesktopName(text(desktop, "entry"), text(desktop, "name"), icon)
        identity = replace(identity, desktop=named)
    return identity


def _cwd(process: Process, document: Json) -> str | Unknown:
    """Return a directory from which the arguments lead to the script that was recorded."""
    if "script" not in document:
        return _NOT_SAID
    script = text(document, "script")
    # What the arguments make of a directory that nobody has says how much of it they keep.
    probe = script_of(replace(process, cwd=_NOBODYS * _DEPTH))
    if isinstance(probe, Unknown):
        return _NOT_SAID
    kept = probe.count(_NOBODYS)
    rest = probe[kept * len(_NOBODYS) :]
    cwd = script.removesuffix(rest) + "/_" * (_DEPTH - kept) or "/"
    return cwd if script_of(replace(process, cwd=cwd)) == script else _NOT_SAID
