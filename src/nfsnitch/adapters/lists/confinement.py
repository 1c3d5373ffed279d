"""How the process that reads and fetches lists gives up what it does not need.

What it reads comes from anybody. It needs the descriptors that it was born with, Python's own
files, and to fetch something what it takes to resolve names and to check certificates.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import ssl
import sys
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from struct import Struct

from nfsnitch.adapters import privileges

MEMORY_BYTES = 4 << 30
_FILE_BYTES = 1 << 30
_CPU_S = 600
_FILES = 64
_FIRST_KILLED = b"1000"

_CAP_SETGID, _CAP_SETUID = 6, 7
_NOBODY = 65_534

# linux/landlock.h; the system calls have these numbers on all architectures but alpha
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION = 1
_BENEATH = 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_FILE_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights on files each version of the interface knows, from bit 0; later ones: 16."""
_LATER_FILE_RIGHTS = 16
_NET_VERSION, _SCOPE_VERSION = 4, 6
_BIND, _CONNECT = 1, 2
_SCOPES = 3
_RULESET = Struct("=QQQ")
_PATH_RULE = Struct("=Qi")

_PROGRAM_FILES = ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime")
_RESOLVING = (
    *("/etc/resolv.conf", "/etc/hosts", "/etc/nsswitch.conf", "/etc/host.conf", "/etc/gai.conf"),
    *("/etc/services", "/etc/ssl", "/etc/pki", "/etc/ca-certificates", "/etc/crypto-policies"),
    *("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager", "/run/nscd"),
)


def confine(*, fetches: bool) -> str:
    """Give it up, for good; return in words what keeps this process in.

    Raises:
        PrivilegesError: the kernel refused to take capabilities away.

    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(_FIRST_KILLED)
    _limit()
    paths = [*_PROGRAM_FILES, sys.prefix, sys.base_prefix, *sys.path]
    if fetches:
        paths += [*_RESOLVING, *_certificates()]
    done = ["no capabilities"]
    if _become_nobody():
        done.append("user nobody")
    privileges.keep_only(set())
    if _landlock(paths, connects=fetches):
        done.append("Landlock")
    return ", ".join(done)


def _limit() -> None:
    for what, most in (
        (resource.RLIMIT_AS, MEMORY_BYTES),
        (resource.RLIMIT_FSIZE, _FILE_BYTES),
        (resource.RLIMIT_CPU, _CPU_S),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_CORE, 0),
    ):
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)  # noqa: PLW2901
        resource.setrlimit(what, (most, most))


def _certificates() -> Iterable[str]:
    found = ssl.get_default_verify_paths()
    return [each for each in (found.cafile, found.capath) if each]


def _become_nobody() -> bool:
    """Become the user nobody, where that is allowed: the daemon has given up the right to."""
    if not {_CAP_SETGID, _CAP_SETUID} <= privileges.effective():
        return os.getuid() != 0
    try:
        entry = pwd.getpwnam("nobody")
        uid, gid = entry.pw_uid, entry.pw_gid
    except KeyError:
        uid = gid = _NOBODY
    try:
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError:  # in a user namespace that has no such user
        return False
    return True


def _landlock(paths: Iterable[str], *, connects: bool) -> bool:
    """Leave nothing of the file system but reading below *paths* (landlock(7))."""
    library = ctypes.CDLL(None, use_errno=True)
    version = library.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _GET_VERSION)
    if version < 1:
        return False
    files = (1 << _FILE_RIGHTS.get(version, _LATER_FILE_RIGHTS)) - 1
    net = (_BIND if connects else _BIND | _CONNECT) if version >= _NET_VERSION else 0
    rules = _RULESET.pack(files, net, _SCOPES if version >= _SCOPE_VERSION else 0)
    size = 24 if version >= _SCOPE_VERSION else 16 if version >= _NET_VERSION else 8
    ruleset = library.syscall(_CREATE_RULESET, rules, ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        for path in set(paths):
            _allow_reading(library, ruleset, path)
        return bool(library.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow_reading(library: ctypes.CDLL, ruleset: int, path: str) -> None:
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        rights = _READ_FILE | _READ_DIR if Path(path).is_dir() else _READ_FILE
        rule = _PATH_RULE.pack(rights, place)
        library.syscall(_ADD_RULE, ruleset, _BENEATH, rule, 0)
    finally:
        os.close(place)
