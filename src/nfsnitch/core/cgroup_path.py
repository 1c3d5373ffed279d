r"""What a cgroup's path says: which systemd unit it is, and which app or container.

    /system.slice/cron.service                                               a system unit
    /user.slice/user-1000.slice/user@1000.service/app.slice/app-x-1.scope    a user's unit
    /system.slice/docker-<id>.scope   /docker/<id>   /lxc.payload.<name>     a container
    └─ slices ──┘└─ the system unit: everything below is whoever's it was given to

What can be trusted
-------------------
A process can make cgroups only below one that was given to it ("delegated", `cgroups(7)`). The
slices at the top and the first component below them that is no slice are made by the system manager
(or by another process of root), and slices are never given away. So:

- The **system unit** is that first component, and nothing below it is ever taken for one, however
  it is called: ``/user.slice/user-1000.slice/user@1000.service/cron.service`` is no cron.service.
- A **container** is looked for in that component (and, where a container engine manages cgroups by
  itself, in the known places below its own directory at the top), not deeper: a container may give
  any name to what is inside it.
- What stands below ``user@UID.service`` was made by that user's own manager *or by any other
  process of this user*. User units, Flatpak apps, snaps that a user has started and containers
  without root are the user's claims. They are never mixed up with system units: a user unit is
  always named together with its manager, as ``user@1000.service/app-x.scope``, and no unit's name
  has a ``/``.
  For apps the difference is not visible in the name.

Names: `systemd.unit(5)`, `systemd-escape(1)`; "_" before names that the kernel would take for its
own files: `cg_escape` in systemd's ``src/basic/cgroup-util.c``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from nfsnitch.core.text import decoded, encoded
from nfsnitch.core.unknown import Unknown

_CACHED = 512
_MAX_UNIT_CHARACTERS = 255
_UNIT = re.compile(r"[A-Za-z0-9:_.\\@-]+\.(service|scope|socket|mount|swap|slice)", re.ASCII)
_USER_MANAGER = re.compile(r"user@[0-9]+\.service", re.ASCII)
_ESCAPE = re.compile(rb"\\x([0-9a-f]{2})")
_ID = "[0-9a-f]{64}"

_APPS = (
    ("flatpak", re.compile(r"app-flatpak-(.+)-[0-9]+\.scope", re.ASCII)),
    ("snap", re.compile(r"snap\.([a-z0-9-]+(?:_[a-z0-9]+)?)\..+\.(?:scope|service)", re.ASCII)),
    (
        "container",
        re.compile(rf"(?:docker|libpod|cri-containerd|crio|nerdctl)-({_ID})\.scope", re.ASCII),
    ),
    ("container", re.compile(r"machine-(.+)\.scope", re.ASCII)),
    ("container", re.compile(r"systemd-nspawn@(.+)\.service", re.ASCII)),
)
"""The form of a unit's name → which kind of app it is; the group is its name."""

_ENGINES = (
    re.compile(rf"/docker/({_ID})"),
    re.compile(rf"/libpod_parent/libpod-({_ID})"),
    re.compile(rf"/kubepods/(?:besteffort/|burstable/)?pod[^/]+/({_ID})"),
    re.compile(r"/lxc/([^/]+)"),
    re.compile(r"/lxc\.payload/([^/]+)"),
    re.compile(r"/lxc\.payload\.([^/]+)"),
)
"""Where container engines put containers if they manage cgroups without systemd."""

_PODS = (
    re.compile(r"kubepods(?:-besteffort|-burstable)?-pod([0-9A-Za-z_]+)\.slice", re.ASCII),
    re.compile(rf"machine-libpod_pod_({_ID})\.slice", re.ASCII),
)
"""The form of a slice's name; the group is the pod, with "_" for "-", which divides slices."""
_KUBELETS = re.compile(r"/kubepods/(?:besteffort/|burstable/)?pod([0-9A-Za-z-]+)(?:/|$)", re.ASCII)
"""Where a kubelet puts pods if it manages cgroups without systemd."""

_NO_UNIT = Unknown("its cgroup is no unit of systemd")
_NO_APP = Unknown("its cgroup is none of Flatpak, Snap or a container engine")
_NO_POD = Unknown("its cgroup is in no pod")
_ODD = Unknown("its cgroup lies outside of what can be seen from here")


class Place(NamedTuple):
    """What the path of a process's cgroup says."""

    unit: str | Unknown
    """The system unit, as in ``cron.service`` or ``user@1000.service``."""
    user_unit: str | Unknown
    """The unit of a user's manager, as in ``user@1000.service/app-x.scope``: the user's claim."""
    app: str | Unknown
    """``flatpak:ID``, ``snap:NAME`` or ``container:ID``."""
    pod: str | Unknown
    """The pod of Kubernetes, by its UID, or of Podman, by its ID."""

    @property
    def units(self) -> tuple[str, ...] | Unknown:
        """All units that the process belongs to, the system's first."""
        found = (self.unit, self.user_unit)
        names = tuple(unit for unit in found if not isinstance(unit, Unknown))
        return names or _NO_UNIT


@lru_cache(_CACHED)
def place(path: str) -> Place:
    """Return what *path* says, a cgroup's below the root of cgroup v2."""
    parts = path.split("/")[1:]
    if ".." in parts or not path.startswith("/"):
        return Place(_ODD, _ODD, _ODD, _ODD)
    unit, pod = _first_unit(parts), _pod(path, parts)
    if isinstance(unit, Unknown):
        return Place(unit, unit, _app_of_engine(path), pod)
    if _USER_MANAGER.fullmatch(unit) is None:
        return Place(unit, _NO_UNIT, _app_of_unit(unit), pod)
    below = _first_unit(parts[_slices(parts) + 1 :])
    if isinstance(below, Unknown):
        return Place(unit, below, _NO_APP, pod)
    return Place(unit, f"{unit}/{below}", _app_of_unit(below), pod)


def _pod(path: str, parts: Sequence[str]) -> str | Unknown:
    """Return the pod that slices at the top name, or a kubelet's own directory there."""
    match = _KUBELETS.match(path)
    if match is not None:
        return match[1]
    for part in parts[: _slices(parts)]:
        for form in _PODS:
            if (match := form.fullmatch(part)) is not None:
                return match[1].replace("_", "-")
    return _NO_POD


def unescaped(text: str) -> str:
    r"""Undo systemd's escapes in a part of a unit's name: ``\x2d`` is a ``-``."""
    raw = _ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), encoded(text))
    return decoded(raw)


def _first_unit(parts: Sequence[str]) -> str | Unknown:
    """Return the first of *parts* that is no slice, if it is a unit."""
    at = _slices(parts)
    if at == len(parts):
        return _NO_UNIT
    name = _unit_name(parts[at])
    return _NO_UNIT if name is None else name


def _slices(parts: Sequence[str]) -> int:
    """Return with how many slices *parts* begin."""
    for at, part in enumerate(parts):
        name = _unit_name(part)
        if name is None or not name.endswith(".slice"):
            return at
    return len(parts)


def _unit_name(part: str) -> str | None:
    name = part.removeprefix("_")
    if len(name) > _MAX_UNIT_CHARACTERS or _UNIT.fullmatch(name) is None:
        return None
    return name


def _app_of_unit(unit: str) -> str | Unknown:
    for kind, form in _APPS:
        match = form.fullmatch(unit)
        if match is not None:
            return f"{kind}:{unescaped(match[1])}"
    return _NO_APP


def _app_of_engine(path: str) -> str | Unknown:
    for form in _ENGINES:
        match = form.match(path)
        if match is not None and path[match.end() : match.end() + 1] in {"", "/"}:
            return f"container:{match[1]}"
    return _NO_APP
