"""Parsers of values that say where a process or a packet is, or how the process calls itself.

For what they have in common see `nfsnitch.adapters.rulefile.values`.
"""

from __future__ import annotations

import re

from nfsnitch.adapters.rulefile.problems import Refused, closest, listed, quoted
from nfsnitch.adapters.rulefile.values import Known, check_pattern, number
from nfsnitch.core.pattern import paths
from nfsnitch.core.text import encoded

MAX_PID = 2**22
"""PID_MAX_LIMIT in the kernel's include/linux/threads.h."""
MAX_INODE = 2**32 - 1
"""Namespaces' inode numbers have 32 bits."""
MAX_COMM_BYTES = 15
"""TASK_COMM_LEN without the NUL at the end (include/linux/sched.h)."""
MAX_IFACE_BYTES = 15
"""IFNAMSIZ without the NUL at the end (`netdevice(7)`)."""

_APP_KINDS = ("flatpak", "snap", "container")
_ID_BEGINNING = re.compile(r"[0-9a-f]{12,63}")
"""Container engines show 12 digits of an id that has 64."""
_UNIT_TYPES = ("service", "scope", "socket", "mount", "swap")
_UNIT_ESCAPE = re.compile(r"\\(?=x[0-9a-f]{2})")
_NEVER_IN_PODS = re.compile(r"[\s/:]|^$")
_NEVER_IN_IFACES = re.compile(r"[/\s:]")


def parse_comm(text: str, known: Known) -> tuple[str]:
    """Return a thread's name or a glob."""
    del known
    check_pattern(paths, text)
    if _is_plain(text) and len(encoded(text)) > MAX_COMM_BYTES:
        beginning = encoded(text)[:MAX_COMM_BYTES].decode("utf-8", "ignore")
        why = f"the kernel keeps {MAX_COMM_BYTES} bytes of it"
        raise Refused(why, f"write {quoted(beginning)}")
    return (text,)


def parse_cgroup(text: str, known: Known) -> tuple[str]:
    """Return the path of a cgroup or a glob."""
    del known
    if not text.startswith("/"):
        why = "a cgroup's path begins with /, below the root of cgroup v2"
        raise Refused(why, f"write {quoted(f'/{text}')} (see /proc/PID/cgroup)")
    if text.endswith("/") and text != "/":
        raise Refused("a cgroup's path does not end in /", f"write {quoted(f'{text}**')} for all")
    check_pattern(paths, text)
    return (text,)


def parse_unit(text: str, known: Known) -> tuple[str]:
    r"""Return a unit's name or a glob; ``\x2d`` is as `systemctl` shows it, and no wildcard."""
    del known
    glob = _UNIT_ESCAPE.sub(r"\\\\", text)
    check_pattern(paths, glob)
    name = glob.rpartition("/")[2]
    if glob.startswith("/"):
        why = "a unit's name is no path"
        raise Refused(why, f"write {quoted(name or 'cron.service')}, or cgroup: for a path")
    if name.endswith(".slice"):
        path = quoted(f"/{name}/**")
        raise Refused("processes are in the units of a slice", f"write cgroup: {path}")
    if not name.endswith(("*", "]", "?", *(f".{each}" for each in _UNIT_TYPES))):
        why = f"a unit's name ends in .{listed(_UNIT_TYPES)}"
        raise Refused(why, f"write {quoted(f'{text}.service')}")
    return (glob,)


def parse_app(text: str, known: Known) -> tuple[str]:
    """Return an app or container as it is, or a glob; the beginning of an id becomes a glob."""
    del known
    kind, colon, name = text.partition(":")
    if kind not in _APP_KINDS or not colon or not name:
        hint = f"write {listed(f'{each}:NAME' for each in _APP_KINDS)}"
        instead = closest(kind, _APP_KINDS, hint) if colon and name else hint
        raise Refused("an app has a kind and a name", instead)
    check_pattern(paths, text)
    is_beginning = kind == "container" and _ID_BEGINNING.fullmatch(name) is not None
    return (f"{text}*",) if is_beginning else (text,)


def parse_pid(text: str, known: Known) -> tuple[int]:
    """Return a process id."""
    del known
    return (number(text, MAX_PID, "process ids"),)


def parse_pod(text: str, known: Known) -> tuple[str]:
    """Return a pod's UID or ID, or a glob."""
    del known
    if _NEVER_IN_PODS.search(text):
        why = "a pod goes by its UID (Kubernetes) or ID (Podman)"
        raise Refused(why, "write one as in kubectl get pod -o jsonpath={.metadata.uid}")
    check_pattern(paths, text)
    return (text,)


def parse_iface(text: str, known: Known) -> tuple[str]:
    """Return an interface's name or a glob."""
    del known
    if _NEVER_IN_IFACES.search(text):
        raise Refused("interfaces have no such names", "write one as in eth0 or wg* (ip link)")
    check_pattern(paths, text)
    if _is_plain(text) and len(encoded(text)) > MAX_IFACE_BYTES:
        raise Refused(f"interfaces' names have {MAX_IFACE_BYTES} bytes at most", "check it")
    return (text,)


def parse_netns(text: str, known: Known) -> tuple[int]:
    """Return the inode number of a network namespace."""
    if text.isdecimal():
        return (number(text, MAX_INODE, "inode numbers"),)
    inode = known.names.netns_of(text)
    if inode is None:
        why = "there is no network namespace of this name now"
        raise Refused(why, "write host, own, a name (ip netns) or an inode number (lsns -t net)")
    return (inode,)


def _is_plain(text: str) -> bool:
    """Whether a well-formed glob has no wildcards."""
    return bool(paths([text]).exact)
